"""What is explained, sinks, and the verb for one picture."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from radvqa import cli
from radvqa.saliency import METHODS, explain, method_named
from radvqa.saliency.faithfulness import probabilities
from radvqa.saliency.map import Explanation
from radvqa.saliency.sinks import find_sinks, sinks, without_sinks
from radvqa.saliency.turn import Target, prepare
from saliency_tiny import saliency_model, saliency_picture, saliency_turn


def test_likelihood_of_a_choice_counts_the_answer_to_its_end():
    turn = saliency_turn(answer="left lung")
    assert turn.chosen(Target()) == (0, 1) and turn.chosen(Target(quantity="likelihood")) == (0, 1, 2)
    whole = np.ones((1, 4, 4), np.float32)
    likelihood = probabilities(turn, whole, "grey", Target(quantity="likelihood"))[0]
    answer = turn.model.answer(saliency_picture(), turn.question, ("left lung", "no"))
    logprobs = prepare(turn.model, saliency_picture(), turn.question, "left lung", ("left lung", "no"))
    found = probabilities(logprobs, whole, "grey", Target(quantity="likelihood"))[0]
    assert np.log(found) == pytest.approx(answer.option_logprobs[0], abs=1e-4)  # as prediction weighs the choice
    assert likelihood < 0.5 * probabilities(turn, whole, "grey")[0]
    explained = method_named("gradient")(turn, Target(quantity="likelihood"))
    assert explained.chosen == (0, 1, 2) and explained.target["quantity"] == "likelihood"


def test_faithfulness_of_a_contrast_is_between_the_two_words():
    turn = saliency_turn(answer="left lung")
    whole = np.ones((1, 4, 4), np.float32)
    found = probabilities(turn, whole, "grey", Target(against="right lung"))[0]
    other = saliency_turn(turn.model, answer="right lung")
    own, others = (float(t.logprobs(t.batch.pixels)[0, 0].exp()) for t in (turn, other))
    assert found == pytest.approx(own / (own + others), rel=1e-4)


def test_sinks_are_found_shown_and_removed():
    image = np.full((2, 2, 3, 16), 0.01)
    image[..., 5] = 0.5
    assert sinks(image).tolist() == [5] and sinks(np.full((1, 1, 1, 4), 0.25)).tolist() == []
    turn = saliency_turn()
    found = method_named("rollout")(turn)
    assert found.details["sinks"].tolist() == find_sinks(turn).tolist()
    cleaned = without_sinks(found, np.array([5]))
    flat, before = cleaned.values.reshape(6, 16), found.values.reshape(6, 16)
    others = np.delete(np.arange(16), 5)
    assert np.array_equal(flat[:, others], before[:, others])
    assert np.allclose(flat[:, 5], np.median(before[:, others], axis=1)) and "1 sink removed" in cleaned.scale
    assert without_sinks(found, np.array([], int)) is found
    plain, crossed = (np.asarray(e.overlay()) for e in (found, cleaned))
    patch = (slice(112, 224), slice(112, 224))  # row 1, column 1 of four, 448 px wide (a picture of 70 x 50)
    patch = (slice(80, 160), slice(112, 224))
    assert (crossed[patch] == 255).all(-1).any() and not (plain[patch] == 255).all(-1).any()


def test_explain_without_sinks(monkeypatch):
    model = saliency_model()
    monkeypatch.setattr("radvqa.saliency.sinks.FACTOR", 0.0)
    for method in ("rollout", "relevancy"):
        found = model.explain(saliency_picture(), "is there a mass ?", answer="left", method=method, drop_sinks=True)
        assert np.isfinite(found.values).all()


@torch.no_grad()
def test_the_seeds_diagonal_is_the_same_for_left_and_right_where_the_image_sees_itself_only():
    """The control fails: no word of the answer moves it. Every method that is no control moves."""
    model = saliency_model()
    for name in ("diagonal", "rollout"):
        left, right = (
            explain(model, saliency_picture(), "where is the mass ?", a, name) for a in ("left lung", "right lung")
        )
        same = np.abs(left.values[1] - right.values[1]).max() < 1e-7
        assert same == (name == "diagonal")


def run_verb(*arguments):
    return CliRunner().invoke(cli.app, ["explain", *map(str, arguments)])


def test_verb_for_a_picture(tmp_path):
    picture = tmp_path / "chest.png"
    saliency_picture(size=(64, 64)).save(picture)
    asked = (picture, "Is there a mass?", "--answer", "yes", "--against", "no", "--out", tmp_path / "why.png")
    found = run_verb(*asked, "--methods", "gradient,occlusion")
    assert found.exit_code == 0, found.output
    for name in ("gradient", "occlusion"):
        again = Explanation.load(tmp_path / f"why-{name}.png")
        assert again.method == name and again.target["against"] == "no" and again.answer == "yes"
    assert json.loads((tmp_path / "why-gradient.json").read_text())["grid"] == [12, 12]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("chest.png",), "without a question"),
        ((".",), "no recipe.yaml here"),
        ((".", "Is there a mass?"), "a run and a question"),
        ((".", "--answer", "yes"), "are for a picture"),
        (("chest.png", "q", "--methods", "chefer"), "unknown saliency method 'chefer'"),
        (("chest.png", "q", "--answer", "yes", "--against", "no"), "cannot tell two answers apart"),
        (("chest.png", "q", "--answer", "yes", "--quantity", "loss", "--method", "gradient"), "unknown quantity"),
        (("nothing.png", "q"), "nothing.png"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    saliency_picture(size=(64, 64)).save("chest.png")
    found = run_verb(*arguments)
    assert found.exit_code == 2 and message in found.output and "Traceback" not in found.output
    assert not list(tmp_path.glob("why*"))


def test_controls_and_slow_methods_are_methods():
    from radvqa.saliency import CONTROLS, SLOW

    assert {*CONTROLS, *SLOW} <= set(METHODS)
