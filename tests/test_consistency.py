"""Asking again: measures by hand, sampled runs that share a prefill, shuffled options, paraphrases, the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from radvqa import cli
from radvqa.asked import Repeats, forms_of
from radvqa.errors import InputError
from radvqa.model import load
from radvqa.predict import Question, answer_batch
from radvqa.repeats import repeat_arm, sample_batch, uniforms
from radvqa.sample import Corpus, CorpusWriter, Sample
from radvqa.score.consistency import label, question_measures, score_repeats
from scripted_server import serving
from tiny import save_tiny

# ---------------------------------------------------------------- labels and measures, by hand


@pytest.mark.parametrize(
    ("answer", "kind", "shown", "expected"),
    [
        ("B", "choice", ["CT", "MRI"], "mri"),
        ("B", "choice", ["MRI", "CT"], "ct"),
        ("The MRI.", "choice", ["CT", "MRI"], "mri"),
        ("something else", "choice", ["CT", "MRI"], "something else"),
        ("No, it is normal.", "closed", [], "no"),
        ("yes and no", "closed", [], "yes and no"),
        ("The left lung.", "open", [], "left lung"),
    ],
)
def test_labels(answer, kind, shown, expected):
    assert label(answer, kind, shown) == expected


def measures(labels, right="a"):
    return question_measures(list(labels), [float(one == right) for one in labels])


def test_measures_by_hand():
    same = measures("aaaaa")
    assert (same["run_accuracy"], same["agreement"], same["all_agree"], same["entropy_bits"]) == (1, 1, 1, 0)
    # aaabc: 3 of 5 right; pairs that agree: 3 of 10; entropy -(0.6 log 0.6 + 2 x 0.2 log 0.2) = 1.371 bits
    mixed = measures("aaabc")
    assert mixed["run_accuracy"] == 0.6 and mixed["agreement"] == 0.3 and mixed["all_agree"] == 0
    assert mixed["entropy_bits"] == pytest.approx(-(0.6 * math.log2(0.6) + 0.4 * math.log2(0.2)))


@pytest.mark.parametrize(
    ("labels", "rule", "distinct", "first"),
    [
        ("aaaaa", 1, 1, 1),
        ("aaabb", 1, 1, 1),  # two runs give another label
        ("aaabc", 1, 0, 1),  # ... and three labels are seen
        ("bbaaa", 1, 1, 0),  # the first run is wrong
        ("abbaa", 1, 1, 1),
        ("aabbc", 0, 0, 0),  # at least three runs give another label than any; no label has most runs
        ("abbbb", 0, 0, 0),  # the label of most runs is wrong; the first is right, but four runs leave it
        ("bbbbb", 0, 0, 0),
    ],
)
def test_the_paper_s_rule_in_three_readings(labels, rule, distinct, first):
    found = measures(labels)
    assert (found["paper_rule"], found["paper_distinct"], found["paper_first"]) == (rule, distinct, first)


def test_agreement_is_of_answers_not_of_scores():
    # all five are wrong, so their scores agree; the answers do not
    assert measures("bcdef")["agreement"] == 0.0 and measures("bcdef")["run_accuracy"] == 0.0


# ---------------------------------------------------------------- tables


def table(answers, kinds=None, extra=None, arm="m") -> pl.DataFrame:
    """answers: a text a run, for each question."""
    rows = []
    for number, runs in enumerate(answers):
        about = {"id": f"q{number}", "image": f"i{number // 2}", "subject": None, "question": f"wording {number}?"}
        about |= {"kind": (kinds or {}).get(number, "open"), "answers": ["left"], "arm": arm}
        about["extra"] = json.dumps((extra or {}).get(number, {}))
        rows += [about | {"run": run, "shown": [], "answer": answer} for run, answer in enumerate(runs)]
    return pl.DataFrame(rows, schema_overrides={"subject": pl.String, "shown": pl.List(pl.String)})


def mean(tables, name, **where):
    return next(row for row in tables["means"] if row["measure"] == name and row["slice"] == where)


def test_means_have_n_and_unscored_beside_them_and_order_does_not_matter():
    frame = table([["left"] * 5, ["left", "left", "left", "right", "brain"], ["left", None, "left", "left", "left"]])
    scores, tables = score_repeats(frame, num_draws=50)
    row = mean(tables, "paper_rule")
    assert (row["value"], row["n"], row["num_unscored"]) == (1.0, 2, 1)
    assert mean(tables, "run_accuracy")["value"] == pytest.approx((1 + 0.6) / 2)
    assert tables["runs"][0]["num_runs"] == 5 and tables["num_runs"] == 5
    again = score_repeats(frame.sample(fraction=1.0, shuffle=True, seed=1), num_draws=50)
    assert again[0].equals(scores) and again[1] == tables


def test_linked_questions_are_paraphrases():
    linked = {"qid_linked_id": "g", "question_relation": "strict agreement"}
    other = {"qid_linked_id": "h", "question_relation": "Inversion"}
    extra = {0: linked, 1: linked, 2: other, 3: other}
    _, tables = score_repeats(
        table([["left"] * 3, ["right"] * 3, ["left"] * 3, ["left"] * 3], extra=extra), num_draws=20
    )
    found = tables["paraphrases"][0]
    assert found["num_pairs"] == 1 and found["agreement"]["value"] == 0.0
    assert (found["both_right"], found["one_right"], found["both_wrong"]) == (0, 1, 0)


def test_bad_input():
    with pytest.raises(InputError, match="run: this column is missing"):
        score_repeats(table([["left"] * 2]).drop("run"))
    with pytest.raises(InputError, match=r"questions are asked \[2, 3\] times"):
        score_repeats(pl.concat([table([["left"] * 2]), table([["left"] * 3]).with_columns(id=pl.lit("other"))]))
    with pytest.raises(InputError, match="at least twice"):
        Repeats(num_runs=1)
    with pytest.raises(InputError, match="temperature"):
        Repeats(temperature=0.0)


# ---------------------------------------------------------------- sampled runs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(save_tiny(tmp_path_factory.mktemp("tiny")))


PROMPTS = ["answer en is there a mass?", "answer en what organ is shown in the picture?", "answer en where?"]


def sample(name="q0", kind="open", choices=(), number=0):
    return Sample(
        id=name,
        question="which organ?",
        answers=("left lung",),
        kind=kind,
        split="test",
        source="toy",
        choices=choices,
        subject=f"s{number}",
    )


def test_answers_equal_those_without_sharing(model):
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(5))
    draws = [uniforms(sample(f"q{place}"), range(5), 6, seed=3) for place in range(3)]
    shared = sample_batch(model, pixels, [Question(i, p) for i, p in enumerate(PROMPTS)], draws, 1.0)
    texts = [[one.answer for one in runs] for runs in shared]
    for place, prompt in enumerate(PROMPTS):
        for run in range(5):
            alone = sample_batch(model, pixels[[place]], [Question(0, prompt)], [draws[place][[run]]], 1.0)[0][0]
            assert alone.answer == texts[place][run]
            assert alone.logprob == pytest.approx(shared[place][run].logprob, abs=1e-4)
    assert len({text for runs in texts for text in runs}) > 5  # they are samples
    assert draws[0].tolist() == uniforms(sample("q0"), range(5), 6, seed=3).tolist()
    assert not np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0][0], draws[0][1])


def test_a_low_temperature_is_greedy(model):
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(5))
    greedy = answer_batch(model, pixels, [Question(0, PROMPTS[0])], max_new_tokens=6)[0]
    cold = sample_batch(model, pixels, [Question(0, PROMPTS[0])], [uniforms(sample(), range(3), 6, 0)], 1e-4)[0]
    assert {one.answer for one in cold} == {greedy.text} and cold[0].logprob == pytest.approx(greedy.logprob, abs=1e-4)


def test_tokens_are_drawn_as_often_as_they_are_likely(model):
    from radvqa.repeats import _drawn

    probabilities = torch.tensor([[0.5, 0.0, 0.3, 0.2]])
    uniform = torch.linspace(0, 1, 2001, dtype=torch.float64)[:-1]
    drawn = _drawn(probabilities.log().expand(2000, 4), uniform, 1.0)
    assert torch.bincount(drawn, minlength=4).tolist() == pytest.approx([1000, 0, 600, 400], abs=2)


def test_options_stand_in_another_order_and_labels_follow():
    choices = ("CT", "MRI", "US", "PET")
    one = sample("q1", "choice", choices)
    forms = forms_of(one, Repeats(num_runs=8, seed=1))
    assert forms[0].choices == choices and len({form.choices for form in forms}) > 3
    assert all(sorted(form.choices) == sorted(choices) for form in forms)
    assert forms == forms_of(one, Repeats(num_runs=8, seed=1))
    assert forms_of(one, Repeats(num_runs=8, shuffle=False)) == [one] * 8
    assert len({label("A", "choice", form.choices) for form in forms}) > 1  # always "A" is no opinion


@pytest.fixture
def corpus(tmp_path):
    with CorpusWriter(tmp_path / "toy", {"name": "toy"}) as writer:
        for number in range(6):
            kind = ("open", "choice")[number % 2]
            choices = ("left lung", "brain", "liver") if kind == "choice" else ()
            shade = 40 * (number // 2)
            writer.add(sample(f"q{number}", kind, choices, number // 2), Image.new("RGB", (28, 28), (shade,) * 3))
    return tmp_path / "toy"


def test_repeats_of_a_corpus(model, corpus, tmp_path):
    read = Corpus(corpus)
    sources, settings = [(read, list(read.samples()))], Repeats(num_runs=3, temperature=1.0)
    common = {"sources": sources, "arm": "m", "settings": settings, "max_new_tokens": 4}
    path = repeat_arm(model, folder=tmp_path / "a", **common)
    frame = pl.read_parquet(path)
    assert frame.group_by("id").len()["len"].to_list() == [3] * 6 and frame["answer"].null_count() == 0
    other = repeat_arm(model, folder=tmp_path / "b", batch_size=1, **common)
    assert pl.read_parquet(other)["answer"].to_list() == frame["answer"].to_list()
    changed = repeat_arm(model, folder=tmp_path / "c", **common | {"settings": replace(settings, seed=1)})
    assert pl.read_parquet(changed)["answer"].to_list() != frame["answer"].to_list()
    assert score_repeats(frame, num_draws=20)[1]["num_runs"] == 3


# ---------------------------------------------------------------- the command


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_consistency_as_a_user_runs_it(corpus, tmp_path):
    def script(request, number):
        return "left lung" if request["seed"] < 4 else "brain"

    with serving(script) as server:
        arguments = ("--engine", "openai", "--base-url", server.url, "--model", "m", "--out", tmp_path / "c")
        found = invoke("consistency", corpus, *arguments, "--draws", 50)
        assert found.exit_code == 0, found.output
        assert len(server.requests) == 30 and {request["temperature"] for request in server.requests} == {0.7}
    assert "accuracy by the founding paper's rule            1.000" in found.output
    assert "accuracy of a run                                0.800" in found.output
    assert "accuracy over 5 runs: 0.800 ± 0.447" in found.output
    assert json.loads((tmp_path / "c" / "consistency.json").read_text())["num_runs"] == 5
    assert invoke("consistency", corpus, "--runs", 1, "--out", tmp_path / "d").exit_code == 2
