"""Trust with a model: what one pass reads, sampled runs, distances; the room within a run, on the command line, on the page."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console
from scipy.stats import spearmanr
from typer.testing import CliRunner

from radvqa import pipeline
from radvqa.agenda import plan
from radvqa.cli import app
from radvqa.errors import InputError
from radvqa.predict import Question, answer_batch
from radvqa.prompt import prompt
from radvqa.recipe import load
from radvqa.repeats import sample_batch
from radvqa.report import write_report
from radvqa.saliency.raw import explain
from radvqa.saliency.turn import prepare
from radvqa.sample import Corpus, CorpusWriter, Sample
from radvqa.screen import Screen
from radvqa.steps import STEPS
from radvqa.trust.distance import neighbour_distances, pictures_learned
from radvqa.trust.forward import Given, answer_logprobs, rank_correlation, read_answers
from radvqa.trust.measure import disagreement
from saliency_tiny import saliency_model, saliency_picture
from tiny import save_tiny

QUESTIONS = ("is there a mass ?", "is there a nodule in the left lung ?", "which plane is shown ?")
SAID = ("yes", "mass in the left lung", "axial")


@pytest.fixture(scope="module", params=["prefix", "image-first"])
def model(request):
    return replace(saliency_model(), layout=request.param)


@pytest.fixture(scope="module")
def asked(model):
    """Two pictures, three questions: pixels and what was answered."""
    pixels = model.form.normalise(np.stack([model.form.resize(saliency_picture(i)) for i in range(2)]))
    return pixels, [Given(i % 2, prompt(q), said) for i, (q, said) in enumerate(zip(QUESTIONS, SAID))]


# ---------------------------------------------------------------- one pass


def test_the_pass_gives_the_probabilities_of_prediction(model, asked):
    """Parity: what prediction says of an option, its end included, the pass says of it as an answer."""
    pixels, _ = asked
    for question in (Question(i % 2, prompt(q), SAID) for i, q in enumerate(QUESTIONS)):
        weighed = answer_batch(model, pixels, [question], max_new_tokens=1)[0].option_logprobs
        readings = read_answers(model, pixels, [Given(question.picture, question.prompt, said) for said in SAID])
        assert [reading.logprob for reading in readings] == pytest.approx(weighed, abs=1e-4)


def test_attention_and_entropy_are_those_of_a_naive_pass(model, asked):
    """Parity with the raw method of the saliency room, an answer at a time."""
    pixels, given = asked
    for i, reading in enumerate(read_answers(model, pixels, given)):
        turn = prepare(model, saliency_picture(i % 2), QUESTIONS[i], SAID[i])
        found = explain(turn).values.mean(0).ravel()  # all answer tokens, the end included
        assert reading.image_attention == pytest.approx(found.sum(), abs=1e-5)
        shares = found / found.sum()
        assert reading.map_entropy == pytest.approx(-(shares * np.log(shares)).sum() / np.log(len(found)), abs=1e-5)
        with torch.no_grad():
            hidden = model.family.hidden(
                model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels)
            )
            logprobs = turn.logits(hidden)[0].log_softmax(-1).numpy()
        entropy = -(np.exp(logprobs) * np.where(np.isfinite(logprobs), logprobs, 0.0)).sum(-1)
        assert reading.entropy == pytest.approx(entropy.mean(), abs=1e-4)
        assert reading.logprob == pytest.approx(turn.logprobs(turn.batch.pixels)[0].sum().item(), abs=1e-4)


def test_answers_of_a_batch_are_read_as_one_by_one(model, asked):
    """Invariant: lengths differ, so rows are padded and hold nothing of each other."""
    pixels, given = asked
    together = read_answers(model, pixels, given)
    for one, reading in zip(given, together):
        alone = read_answers(model, pixels, [one])[0]
        for name in ("logprob", "entropy", "image_attention", "map_entropy", "agreement"):
            assert getattr(alone, name) == pytest.approx(getattr(reading, name), abs=2e-3), name
    blank = answer_logprobs(model, pixels, given)
    assert blank == pytest.approx([reading.logprob for reading in together], abs=1e-4)


def test_agreement_is_spearmans_and_can_be_left_out(model, asked):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 3, 16)) / 4
    assert rank_correlation(a, b) == pytest.approx([spearmanr(x, y).statistic for x, y in zip(a, b)])
    assert np.isnan(rank_correlation(np.ones((1, 4)), np.arange(4.0)[None]))[0]
    pixels, given = asked
    assert all(np.isnan(one.agreement) for one in read_answers(model, pixels, given, agreement=False))
    assert all(-1 <= one.agreement <= 1 for one in read_answers(model, pixels, given))


# ---------------------------------------------------------------- sampled runs


def texts_of(runs):
    return [[said.answer for said in some] for some in runs]


def test_cold_runs_say_the_greedy_answer(model, asked):
    pixels, given = asked
    questions = [Question(one.picture, one.prompt) for one in given]
    draws = [np.random.default_rng(i).random((3, 3)) for i in range(len(questions))]
    greedy = [answer.text for answer in answer_batch(model, pixels, questions, max_new_tokens=3)]
    runs = texts_of(sample_batch(model, pixels, questions, draws, temperature=1e-4))
    assert runs == [[text] * 3 for text in greedy]


def test_runs_follow_the_probabilities_and_do_not_depend_on_the_batch(model, asked):
    """First tokens drawn with evenly spread numbers come as often as the model says, to one in the number of runs."""
    pixels, given = asked
    questions = [Question(one.picture, one.prompt) for one in given]
    spread = np.repeat(((np.arange(200) + 0.5) / 200)[None, :, None], 3, axis=0)
    runs = texts_of(sample_batch(model, pixels, questions, spread, temperature=1.0))
    for place, (question, texts) in enumerate(zip(questions, runs)):
        alone = texts_of(
            sample_batch(model, pixels[[question.picture]], [replace(question, picture=0)], spread[:1], 1.0)
        )
        assert alone[0] == texts, place
        answer = answer_batch(model, pixels, [question], max_new_tokens=1)[0]
        share = np.mean([text == answer.text for text in texts])
        assert share >= np.exp(answer.token_logprobs[0]) - 0.011  # two tokens may read the same


def test_disagreement_compares_words():
    assert disagreement("The left lung.", ["left lung", "LEFT LUNG", "right lung", ""]) == 0.5


def test_distance_by_hand():
    """Golden: around the mean (0, 0) of four points on the axes, (1, 1) has cosine 0.707 with two and -0.707 with two."""
    learned = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    asked = np.array([[1.0, 1], [2, 0]])
    assert neighbour_distances(asked, learned, 2) == pytest.approx([1 - 0.5**0.5, 1.0])
    assert neighbour_distances(asked, learned, 9) == pytest.approx([1 + 0.5**0.5, 2.0])  # fewer pictures: the farthest


# ---------------------------------------------------------------- in a run

RECIPE = """
name: small
out: {folder}/run
model: {{name: {folder}/model}}
data: {{toy: {{dataset: corpus, path: {folder}/corpus}}}}
adapt: {{rank: 2}}
stages: [{{name: stage1, steps: 2, lr: 1e-2, batch_size: 4, eval_samples: 0, data: [{{corpus: toy}}]}}]
evaluate: {{data: [{{corpus: toy}}], controls: [], max_new_tokens: 2, bootstrap_draws: 100, batch_size: 32}}
explain: null
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run without the trust room: 64 test questions about 32 pictures, 16 more in validation."""
    folder = tmp_path_factory.mktemp("trusted")
    with CorpusWriter(folder / "corpus", {"name": "toy", "title": "Toy", "licence": "CC0"}) as writer:
        for i in range(48):
            split = "train" if i < 8 else "validation" if i < 16 else "test"
            for j, question in enumerate(QUESTIONS[:2]):
                sample = Sample(
                    id=f"q{i}-{j}", question=question, answers=("yes",), kind="closed", split=split, source="toy",
                    subject=f"s{i}", region=("chest", "head")[i % 2],
                )  # fmt: skip
                writer.add(sample, saliency_picture(i))
    save_tiny(folder / "model")
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))

    def predict(task):
        """A random model says nothing that can be right: answers are put into its mouth, more wrong ones of chests."""
        said = STEPS["predict"](task)
        path = task.folder / "predictions.parquet"
        number = pl.col("id").str.extract(r"q(\d+)").cast(pl.Int64)
        wrong = ((number % 2 == 0) & (number % 8 != 0)) | (number % 9 == 0)
        pl.read_parquet(path).with_columns(
            answer=pl.when(wrong).then(pl.lit("no")).otherwise(pl.lit("yes"))
        ).write_parquet(path)
        return said

    screen = Screen(Console(file=io.StringIO()))
    pipeline.run(load(folder / "recipe.yaml"), steps={**STEPS, "predict": predict}, screen=screen)
    return folder


@pytest.fixture(scope="module")
def judged(folder):
    """The same after `radvqa trust`."""
    copy = shutil.copytree(folder / "run", folder / "judged")
    changes = ["num_runs=2", "num_resplits=4", "alphas=[0.2, 0.5]"]
    done = CliRunner().invoke(app, ["trust", str(copy), *changes])
    assert done.exit_code == 0, done.output
    return copy, done


def test_the_verb_judges_a_finished_run(judged):
    run, done = judged
    found = json.loads((run / "trust" / "trust.json").read_text())
    assert found["n"] == 64 and found["splits"] == {"test": 64} and found["num_clusters"] == 32
    table = pl.read_parquet(run / "trust" / "indicators.parquet")
    assert table["wrong"].sum() == found["num_wrong"] and table["risk"].is_between(0, 1).all()
    assert table["distance"].null_count() == 0  # the mixture that training left says what it learned from
    assert [rule["alpha"] for rule in found["abstention"]] == [0.2, 0.5]
    assert [group["where"] for group in found["slices"]["groups"]] == [{"region": "chest"}]
    assert "Keep away from region chest" in " ".join(done.stdout.split())
    assert not list(run.rglob("*.partial"))


def test_the_page_says_it(judged):
    run, _ = judged
    page = (run / "report.html").read_text()
    assert 'href="#trust"' in page and "Which groups to keep this model away from" in page and "region chest" in page
    assert 'class="chart reliability"' in page


def test_a_page_without_it_is_as_before(judged, tmp_path):
    run, _ = judged
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "trust")
    assert 'id="trust"' not in write_report(copy, tmp_path / "page.html").read_text()


def test_the_run_knows_it_and_does_nothing_twice(judged):
    run, _ = judged
    said = io.StringIO()
    recipe = load(run / "recipe.yaml", [f"out={run}"])
    assert recipe.trust is not None and recipe.trust.num_runs == 2
    pipeline.run(recipe, screen=Screen(Console(file=said, width=200)))
    assert said.getvalue().count("unchanged since") == len(plan(recipe))


def test_more_questions_are_those_that_were_not_asked(folder, tmp_path):
    """A random model answers them, so none is right; they are counted and judged all the same."""
    run = shutil.copytree(folder / "run", tmp_path / "run")
    more = "more=[{corpus: toy, split: validation}, {corpus: toy, split: test}]"
    done = CliRunner().invoke(app, ["trust", str(run), more, "num_runs=0", "agreement=false", "num_resplits=2"])
    assert done.exit_code == 0, done.output
    found = json.loads((run / "trust" / "trust.json").read_text())
    assert found["splits"] == {"test": 64, "validation": 16}
    names = [one["name"] for one in found["indicators"]]
    assert "disagreement" not in names and "agreement" not in names


def test_pictures_learned_are_those_of_the_mixture(folder):
    table = Corpus(folder / "corpus").table
    learned = set(table.filter(pl.col("split") == "train")["image"])
    assert pictures_learned(folder / "run", ["stage1"]) == sorted(learned)
    assert pictures_learned(folder / "run", []) == []


# ---------------------------------------------------------------- bad input


def test_no_run_and_no_predictions_are_named(folder, tmp_path):
    done = CliRunner().invoke(app, ["trust", str(tmp_path)])
    assert done.exit_code == 2 and "no recipe.yaml here" in done.output
    run = shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(run / "predictions" / "stage1-none")
    done = CliRunner().invoke(app, ["trust", str(run)])
    assert done.exit_code == 2 and "predictions/stage1-none, which is not finished" in done.output
    assert not (run / "trust").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("trust.arm=stage2", "trust.arm: found 'stage2'"),
        ("trust.alphas=[0.1, 2]", "less than 1"),
        ("trust.more=[{corpus: other}]", "trust.more.0.corpus: found 'other'"),
        ("trust.run=3", "there is no such key"),
    ],
)
def test_a_wrong_recipe_is_refused(folder, change, text):
    with pytest.raises(InputError) as error:
        load(folder / "recipe.yaml", ["trust={}", change])
    assert text in str(error.value)


def test_answers_that_are_all_wrong_conclude_nothing(folder, tmp_path):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    path = run / "predictions" / "stage1-none" / "predictions.parquet"
    pl.read_parquet(path).with_columns(answer=pl.lit("no")).write_parquet(path)
    done = CliRunner().invoke(app, ["trust", str(run)])
    assert done.exit_code == 2 and "64 answers that can be scored, 64 of them wrong" in done.output
    assert not (run / "trust").exists() and not list(run.glob("trust*"))
