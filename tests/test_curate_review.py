"""Draws for review, verdicts carried out, and the statistics over them."""

import math

import numpy as np
import polars as pl
import pytest

from radvqa.curate.agreement import (
    agreement,
    bad_share,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    stratified_bad_share,
)
from radvqa.curate.review import applied, draw, remaining_bad, settled
from radvqa.errors import InputError
from radvqa.review import Drawn, Verdict
from radvqa.sample import Sample

TABLE = pl.DataFrame({"id": [f"q{i}" for i in range(100)], "modality": ["CT"] * 90 + ["MR"] * 10})


def said(sample, kind, reviewer="ada", **more):
    reason = "other" if kind == "reject" else None
    more = {"answer": "left"} | more if kind == "edit" else more
    return Verdict(
        id=f"{sample}-{reviewer}", corpus="c", sample=sample, reviewer=reviewer, verdict=kind, reason=reason, **more
    )


def sample(name, **more):
    fields = {"question": "Which side?", "answers": ("right",), "kind": "open", "split": "train", "source": "s"}
    return Sample(id=name, **fields | more)


def test_draws_are_seeded_distinct_and_say_how():
    first = draw(TABLE, 20, seed=1)
    assert first == draw(TABLE, 20, seed=1) != draw(TABLE, 20, seed=2)
    assert len({each.sample for each in first}) == 20 and {each.how for each in first} == {"random"}
    both = draw(TABLE, 30, how="stratified", by="modality")
    assert [each.stratum for each in both].count("modality=MR") == 10  # all there are
    least = draw(TABLE, 2, how="uncertain", uncertainty={"q5": 0.1, "q7": 0.9, "q9": 0.4, "elsewhere": 1.0})
    assert [each.sample for each in least] == ["q7", "q9"]
    for wrong in ({"how": "stratified", "by": "nope"}, {"how": "uncertain"}, {"how": "best"}):
        with pytest.raises(InputError):
            draw(TABLE, 3, **wrong)


def test_the_majority_settles_and_a_tie_goes_to_the_stricter():
    verdicts = [said("a", "accept"), said("a", "accept", "bo"), said("a", "reject", "cy"), said("b", "accept")]
    verdicts += [said("b", "reject", "bo"), said("c", "edit", answer="left"), said("c", "edit", "bo", answer="links")]
    found = settled(verdicts)
    assert [found[k].verdict for k in "abc"] == ["accept", "reject", "edit"] and found["c"].answer == "links"


def test_verdicts_are_carried_out():
    verdicts = [said("a", "accept"), said("b", "reject"), said("c", "edit", answer=" left ", question=None)]
    out = list(applied([sample(name) for name in "abcd"], verdicts))
    assert [reason for _, reason in out] == [None, "rejected: other", None, None]
    assert out[2][0].answers == ("left",) and out[2][0].question == "Which side?"
    assert next(applied([sample("d")], verdicts, only_reviewed=True))[1] == "not reviewed"


def test_cohen_by_hand():
    # 20 both yes, 5 yes/no, 10 no/yes, 15 both no: p_o = 35/50 = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(0.4)
    assert math.isnan(cohen_kappa(["y", "y"], ["y", "y"])) and math.isnan(cohen_kappa([], []))
    with pytest.raises(InputError):
        cohen_kappa(["y"], [])


def test_fleiss_by_hand():
    # the worked example of Fleiss (1971): ten subjects, fourteen raters, five categories, kappa 0.210
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]]
    counts += [[7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(InputError):
        fleiss_kappa(np.array([[1, 1], [2, 1]]))


def test_krippendorff_by_hand():
    # Krippendorff (2011), section C: four observers, twelve units with gaps, nominal alpha 0.743
    observers = "123321412...", "1233224125.3", ".3332342251.", "12332441251."
    units = ["".join(labels).replace(".", "") for labels in zip(*observers)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)
    # two units, each one a and one b: D_o = 1; n = 4, D_e = 2 * 2 * 2 / (4 * 3) = 2/3; alpha = 1 - 3/2
    assert krippendorff_alpha(["ab", "ab"]) == pytest.approx(-0.5)
    assert math.isnan(krippendorff_alpha(["aa"])) and math.isnan(krippendorff_alpha(["a", "b"]))


def test_agreement_pairs_only_what_was_seen_by_both():
    labels = [("q1", "ada", "accept"), ("q1", "bo", "accept"), ("q2", "ada", "reject"), ("q2", "bo", "accept")]
    labels += [("q3", "ada", "accept")]
    found = agreement(labels)
    assert (found["questions"], found["shared"]) == (3, 2) and found["cohen"][0]["n"] == 2
    assert found["fleiss"]["n"] == 2 and found["krippendorff"] == pytest.approx(0.0)
    assert "fleiss" not in agreement([("q1", "ada", "accept")])


def test_the_exact_interval_covers():
    """Over all numbers of bad pairs in a small whole the true share lies within in at least 95 % of draws."""
    from scipy import stats

    whole, seen = 60, 15
    shares = [bad_share(found, seen, whole) for found in range(seen + 1)]
    for bad in range(whole + 1):
        within = 0.0
        for found in range(max(0, bad - (whole - seen)), min(seen, bad) + 1):
            rest = (bad - found) / (whole - seen)
            if shares[found].low - 1e-9 <= rest <= shares[found].high + 1e-9:
                within += float(stats.hypergeom.pmf(found, whole, bad, seen))
        assert within >= 0.95, (bad, within)


def test_shares_at_the_edges():
    none = bad_share(0, 200, 1_000_000)
    assert none.low == 0 and none.high == pytest.approx(3.69 / 200, rel=0.02)
    assert bad_share(0, 10, 10).num_rest == 0 and bad_share(0, 0, 10).high == 1.0
    with pytest.raises(InputError):
        bad_share(5, 4, 10)


def test_strata_are_weighted_by_what_is_left_of_them():
    # 900 CT with 10 % bad, 100 MR with 50 %: (850 * 0.1 + 50 * 0.5) / 900
    share = stratified_bad_share({"CT": (5, 50, 900), "MR": (25, 50, 100)})
    assert share.value == pytest.approx((850 * 0.1 + 50 * 0.5) / 900) and share.low < share.value < share.high
    assert stratified_bad_share({"CT": (0, 50, 900)}).high > 0.05
    with pytest.raises(InputError, match="MR"):
        stratified_bad_share({"CT": (0, 50, 900), "MR": (0, 0, 10)})


def test_the_stratified_interval_covers():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        sizes, rates, seen = (800, 150, 50), (0.05, 0.3, 0.6), 20
        pools = [rng.permutation(np.arange(size) < round(size * rate)) for size, rate in zip(sizes, rates)]
        share = stratified_bad_share({str(i): (int(p[:seen].sum()), seen, len(p)) for i, p in enumerate(pools)})
        hits += share.low <= sum(p[seen:].sum() for p in pools) / share.num_rest <= share.high
    assert hits >= 0.93 * 300


def test_the_rest_is_estimated_from_the_random_draw_alone():
    random = [Drawn(sample=f"q{i}", how="random") for i in range(20)]
    worst = [Drawn(sample=f"q{i}", how="uncertain") for i in range(20, 30)]
    verdicts = [said(f"q{i}", "reject" if i >= 18 else "accept") for i in range(30)]
    share = remaining_bad(TABLE, [*random, *worst], verdicts)
    assert share.value == pytest.approx(0.1) and share.num_reviewed == 20
    with pytest.raises(InputError, match="at random"):
        remaining_bad(TABLE, worst, verdicts)
    strata = draw(TABLE, 20, how="stratified", by="modality")
    kinds = {each.sample: "reject" if each.stratum == "modality=MR" else "accept" for each in strata}
    share = remaining_bad(TABLE, strata, [said(name, kind) for name, kind in kinds.items()])
    assert share.value == pytest.approx(0.0) and share.num_rest == 80  # every MR question was looked at
