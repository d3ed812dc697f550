"""Trust, the arithmetic: risk, its quality, abstention and slices, on tables made by hand or drawn from known laws."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from radvqa.errors import InputError
from radvqa.trust import abstain, quality, risk, slices
from radvqa.trust.indicators import INDICATORS, directed, measured


def drawn(seed=0, num_clusters=160, strength=1.5, shared=0.5):
    """Answers whose true log-odds of being wrong are known; questions of one cluster share a part of them."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(num_clusters), rng.integers(1, 5, num_clusters))
    x = rng.normal(size=(len(clusters), 3))
    log_odds = -0.4 + strength * x[:, 0] + shared * rng.normal(size=num_clusters)[clusters]
    return x, rng.random(len(clusters)) < expit(log_odds), clusters


# ---------------------------------------------------------------- quality


def test_auroc_is_scikit_learns_ties_included():
    """Parity."""
    rng = np.random.default_rng(0)
    score, wrong = rng.integers(0, 6, 200) / 5, rng.random(200) < 0.4
    assert quality.auroc(score, wrong) == pytest.approx(roc_auc_score(wrong, score), abs=1e-12)
    assert math.isnan(quality.auroc(score, np.zeros(200, dtype=bool)))


def test_risk_coverage_by_hand():
    """Golden: answered in the order of risk the errors are 0, 1/2, 1/3, 2/4; their mean is (0 + 1/2 + 1/3 + 1/2) / 4."""
    score, wrong = np.array([0.1, 0.9, 0.2, 0.5]), np.array([False, True, True, False])
    coverage, error = quality.risk_coverage(score, wrong)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert error == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert quality.aurc(score, wrong) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert quality.best_aurc(wrong) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_equal_risks_are_answered_in_no_order():
    """Invariant: whatever the order of the rows, a tie carries its mean error."""
    wrong = np.array([True, False, True, False])
    for order in ([0, 1, 2, 3], [1, 3, 0, 2]):
        assert quality.aurc(np.zeros(4), wrong[order]) == pytest.approx(0.5)


def test_calibration_error_by_hand():
    """Golden: bins {0.1, 0.3} and {0.6, 0.8}; gaps 0.2 - 0.5 and 0.7 - 0.5; error (2 x 0.3 + 2 x 0.2) / 4."""
    score, wrong = np.array([0.1, 0.6, 0.3, 0.8]), np.array([True, False, False, True])
    assert quality.calibration_error(score, wrong, num_bins=2) == pytest.approx(0.25)


def test_the_floor_is_what_true_risks_show():
    rng = np.random.default_rng(1)
    score = rng.random(500)
    shown = np.mean([quality.calibration_error(score, rng.random(500) < score) for _ in range(100)])
    assert quality.calibration_floor(score) == pytest.approx(shown, abs=0.004)
    assert quality.calibration_error(0.5 * score, rng.random(500) < score) > 3 * shown


def test_an_indicator_that_is_the_risk_differs_from_it_by_nothing():
    x, wrong, clusters = drawn()
    found = quality.compare({"risk": x[:, 0], "same": x[:, 0], "noise": x[:, 1]}, wrong, clusters, reference="risk")
    assert found["same"]["auroc_difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["noise"]["auroc_difference"]["low"] > 0.1
    assert found["risk"]["auroc"]["low"] < quality.auroc(x[:, 0], wrong) < found["risk"]["auroc"]["high"]


# ---------------------------------------------------------------- risk


def test_folds_keep_clusters_whole_and_are_even():
    _, _, clusters = drawn()
    fold = risk.folds(clusters, 5, seed=3)
    assert all(len(np.unique(fold[clusters == c])) == 1 for c in np.unique(clusters))
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 4


@pytest.mark.parametrize("fit", [risk.logistic, risk.boosting])
def test_cross_fitting_cannot_learn_what_is_not_there(fit):
    """Every cluster has its own number and its own outcome: fitted and judged on the same rows, trees would know all."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 4)
    wrong = (rng.random(60) < 0.5)[clusters]
    x = np.stack([clusters + 0.0, rng.normal(size=240)], axis=1)
    rows = rng.permutation(240)
    risks = risk.cross_fitted(x[rows], wrong[rows], clusters[rows], fit, num_foldings=1)
    assert 0.3 < quality.auroc(risks, wrong[rows]) < 0.7


@pytest.mark.parametrize("fit", [risk.logistic, risk.boosting])
def test_risks_are_calibrated_and_find_the_signal(fit):
    x, wrong, clusters = drawn(num_clusters=500, shared=0.0)
    risks = risk.cross_fitted(x, wrong, clusters, fit, num_foldings=1)
    assert quality.auroc(risks, wrong) > 0.75
    assert quality.calibration_error(risks, wrong) < quality.calibration_floor(risks) + 0.02
    assert risks.mean() == pytest.approx(wrong.mean(), abs=0.02)


def test_a_stored_risk_model_judges_as_the_fitted_one_and_takes_what_is_missing():
    x, wrong, clusters = drawn()
    x[::7, 1] = np.nan
    fitted = risk.logistic(x, wrong, clusters, ("logprob", "entropy", "distance"))
    again = risk.Logistic.of(fitted.record())
    assert np.array_equal(again(x), fitted(x))
    assert np.isfinite(fitted(x)).all()


def test_one_outcome_only_gives_its_smoothed_rate():
    fitted = risk.logistic(np.ones((8, 2)), np.ones(8, dtype=bool), np.arange(8))
    assert fitted(np.zeros((1, 2))) == pytest.approx(9 / 10)


def test_weights_are_scikit_learns_where_no_sign_binds_and_nothing_where_one_does():
    """Parity: the same penalised loss. Turned round, an indicator that foretells is left out, not turned back."""
    x, wrong, clusters = drawn(strength=2.0)
    x[:, 1] += wrong
    x[:, 2] -= wrong
    fitted = risk.logistic(x, wrong, clusters)
    assert (fitted.weights[:2] > 0.1).all() and fitted.weights[2] == 0
    z = np.arcsinh((x - fitted.centres) / fitted.scales)
    free = fitted.weights > 0
    peer = LogisticRegression(C=risk.STRENGTH, tol=1e-10, max_iter=1000).fit(z[:, free], wrong)
    assert np.allclose(fitted.weights[free], peer.coef_[0], atol=1e-4)
    assert fitted.intercept == pytest.approx(peer.intercept_[0], abs=1e-4)
    turned = risk.logistic(-x[:, :1], wrong, clusters)
    assert turned.weights[0] == 0 and turned(x[:3, :1]) == pytest.approx(wrong.mean(), abs=1e-4)


def test_a_risk_is_the_mean_over_foldings():
    x, wrong, clusters = drawn()
    alone = [risk.cross_fitted(x, wrong, clusters, risk.logistic, num_foldings=1, seed=seed) for seed in range(3)]
    assert not np.allclose(alone[0], alone[1])
    assert np.allclose(risk.cross_fitted(x, wrong, clusters, risk.logistic, num_foldings=3), np.mean(alone, axis=0))


# ---------------------------------------------------------------- abstention


def test_the_tail_is_scipys_and_its_limit_clopper_pearsons():
    """Parity."""
    assert abstain.beta_binomial_tail(30, 100, 5.5, 21.0) == pytest.approx(stats.betabinom.sf(30, 100, 5.5, 21.0))
    exact = stats.binom.cdf(4, 60, 0.15)  # Clopper and Pearson: P(at most 4 of 60 wrong) at a rate of 0.15
    assert abstain.p_value(4, 60, 0.15) == pytest.approx(exact)
    assert abstain.p_value(4, 60, 0.15, 10**6) == pytest.approx(exact, abs=1e-3)
    assert abstain.p_value(4, 60, 0.15, 60) > exact  # a finite future varies too
    assert abstain.p_value(3, 3, 0.5) == 1.0 and abstain.p_value(0, 0, 0.5) == 1.0


def test_design_effect_by_hand():
    """Golden: clusters of 3 and 1: mean size beside an answer (9 + 1) / 4 = 2.5; 1 + 1.5 x 0.2 = 1.3, times the square of
    3.078 / 1.282 for one degree of freedom at 90 %; with many clusters the second factor is 1."""
    few = (3.0777 / 1.28155) ** 2
    assert abstain.design_effect(np.array([0, 0, 0, 1]), 0.2, 0.9) == pytest.approx(1.3 * few, rel=1e-4)
    assert abstain.design_effect(np.array([0, 0, 0, 1]), -0.5, 0.9) == pytest.approx(few, rel=1e-4)
    assert abstain.design_effect(np.repeat(np.arange(5000), 2), 0.2, 0.9) == pytest.approx(1.2, rel=1e-3)


def test_expected_threshold_by_hand():
    """Golden: 4 images of one question, alpha 0.4: (errors + 1) / 5 <= 0.4 allows one error, at the third risk."""
    score, wrong = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    found = abstain.expected_threshold(score, wrong, np.arange(4), 0.4)
    assert (found.threshold, found.coverage) == (0.3, 0.75)
    assert abstain.expected_threshold(score, wrong, np.arange(4), 0.1).threshold == -math.inf


def test_the_promise_holds_in_nine_of_ten_futures_and_is_not_empty():
    """The halves are independent here: what was promised for the next half is looked at in the next half."""
    kept, coverage = [], []
    for seed in range(120):
        x, wrong, clusters = drawn(seed, num_clusters=200, strength=2.0)
        here = clusters < 100
        fitted = risk.logistic(x[here], wrong[here], clusters[here])
        own = risk.cross_fitted(x[here], wrong[here], clusters[here], risk.logistic)
        rule = abstain.safe_threshold(own, wrong[here], clusters[here], 0.25, num_future=float((~here).sum()))
        given = fitted(x[~here]) <= rule.threshold
        kept.append(not given.any() or wrong[~here][given].mean() <= 0.25)
        coverage.append(given.mean())
    assert np.mean(kept) >= 0.9
    assert np.mean(coverage) > 0.2


def test_a_risk_that_knows_nothing_promises_nothing():
    rng = np.random.default_rng(0)
    wrong = rng.random(300) < 0.6
    rule = abstain.safe_threshold(rng.random(300), wrong, np.arange(300), 0.2)
    assert rule.threshold == -math.inf and rule.coverage == 0 and rule.error is None
    assert rule.record()["threshold"] is None


def test_resplits_count_silence_apart():
    x, wrong, clusters = drawn()
    sure, never = abstain.resplits(x, wrong, clusters, (0.45, 0.001), risk.logistic, num_resplits=20)
    assert sure["held"] >= 0.9 and sure["mean_coverage"] > 0.3 and sure["silent"] == 0
    assert never["silent"] == 1 and never["held"] == 1 and never["mean_error"] is None


# ---------------------------------------------------------------- slices


def tagged(seed, chest=0.0, chest_open=0.0, num_clusters=200):
    """Answers of images in three regions; kind varies within an image. Error 0.4, more in chest, more in chest x open."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(num_clusters), 4)
    region = np.array(["chest", "head", "abdomen"])[clusters % 3]
    kind = rng.permuted(np.array(["open", "closed"])[np.arange(len(clusters)) % 2])
    rate = 0.4 + chest * (region == "chest") + chest_open * ((region == "chest") & (kind == "open"))
    rate = rate + 0.15 * rng.choice((-1, 1), num_clusters)[clusters]
    wrong = rng.random(len(clusters)) < rate
    return pl.DataFrame({"region": region, "kind": kind}), wrong, np.full(len(clusters), 0.4), clusters


def test_false_alarms_are_held_at_their_level():
    """In 60 tables without a failing group at most 8 raise an alarm (5 % of 60 is 3; P(more than 8) < 1 %)."""
    alarms = [bool(slices.failing_slices(*tagged(seed))["groups"]) for seed in range(60)]
    assert sum(alarms) <= 8


def test_the_group_that_fails_is_named_and_no_other():
    found = slices.failing_slices(*tagged(0, chest=0.3))
    assert [group["where"] for group in found["groups"]] == [{"region": "chest"}]
    group = found["groups"][0]
    assert group["error"]["low"] > group["elsewhere"] and group["p"] < 0.01 and group["num_clusters"] == 67


def test_a_pair_is_named_where_it_fails_more_than_both_its_tags():
    found = slices.failing_slices(*tagged(0, chest_open=0.45))
    assert {"kind": "open", "region": "chest"} in [group["where"] for group in found["groups"]]


def test_small_groups_are_not_tested():
    tags, wrong, score, clusters = tagged(0)
    rare = np.where(np.arange(len(tags)) < slices.MIN_ANSWERS - 1, "rare", "common")
    assert slices.failing_slices(pl.DataFrame({"plane": rare}), wrong, score, clusters)["num_tested"] == 0


def test_findings_of_an_answer_are_tags_each():
    codes = np.arange(80)
    tags = pl.DataFrame({"findings": [["mass", "effusion"] if i % 2 else ["effusion"] for i in range(40)] + [[]] * 40})
    names = [group.where for group in slices.candidates(tags, codes)]
    assert (("findings", "effusion"),) in names and (("findings", "mass"),) in names


# ---------------------------------------------------------------- indicators


def test_directed_turns_so_that_more_is_riskier():
    table = pl.DataFrame({"logprob": [-1.0, -2.0], "entropy": [0.5, None], "distance": [3.0, 3.0]})
    assert measured(table) == ["logprob"]  # one known value, or all the same, says nothing
    x = directed(table, ["logprob", "entropy"])
    assert x[:, 0].tolist() == [1.0, 2.0] and x[0, 1] == 0.5 and math.isnan(x[1, 1])
    assert all(one.sign in (1, -1) for one in INDICATORS.values())


def test_too_few_answers_are_refused():
    from radvqa.trust.measure import Answered
    from radvqa.trust.run import check

    with pytest.raises(InputError, match="60 answers that can be scored, 3 of them wrong"):
        check([Answered(None, "yes", i < 3) for i in range(60)])
