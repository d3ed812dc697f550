"""Faithfulness and sanity: by hand on models whose evidence is known, and the study end to end."""

import numpy as np
import polars as pl
import pytest
import torch

from radvqa.saliency import faithfulness as faith
from radvqa.saliency import method_named
from radvqa.saliency.faithfulness import Curves, curves, measure, probabilities, ranked
from radvqa.saliency.ranking import rank
from radvqa.saliency.sanity import (
    agreement,
    cascade,
    likeness,
    parts_from_the_top,
    preserved,
    shuffle_weights,
    swapped_question,
)
from radvqa.saliency.turn import Turn
from saliency_tiny import saliency_model, saliency_turn


@pytest.fixture
def planted(monkeypatch):
    """A model whose answer needs patch (1, 2) and nothing else: probability 0.9 with it, 0.1 without."""

    def logprobs(self, pixels, target=None):
        reference = self.batch.pixels[:, :, 14:28, 28:42]
        seen = (pixels[:, :, 14:28, 28:42] == reference).flatten(1).all(1)
        first = torch.where(seen, 0.9, 0.1).log()
        return torch.stack([first, torch.zeros_like(first)], 1)

    monkeypatch.setattr(Turn, "logprobs", logprobs)
    return saliency_turn(answer="left")


def grid_with(place):
    values = np.zeros((4, 4))
    values[place] = 1.0
    return values


def test_areas_by_hand(planted):
    """16 patches, fractions 0, .25, .5, 1 = 0, 4, 8, 16 patches; the map that puts (1, 2) first.

    Deletion: .9, .1, .1, .1 -> .25 (.9 + .1) / 2 + .25 x .1 + .5 x .1 = .125 + .025 + .05 = .2
    Insertion: .1, .9, .9, .9 -> .25 (.1 + .9) / 2 + .25 x .9 + .5 x .9 = .125 + .225 + .45 = .8
    """
    found = curves(planted, {"good": grid_with((1, 2))}, fractions=(0.0, 0.25, 0.5, 1.0))["good"]
    assert found.deletion.tolist() == pytest.approx([0.9, 0.1, 0.1, 0.1])
    assert found.deletion_area == pytest.approx(0.2) and found.insertion_area == pytest.approx(0.8)


def test_the_right_map_beats_wrong_ones_under_every_fill(planted):
    grids = {"good": grid_with((1, 2)), "bad": 1 - grid_with((1, 2)), "even": np.ones((4, 4))}
    for fill in ("blur", "grey", "mean", "black"):
        found = curves(planted, grids, fill)
        assert found["good"].deletion_area < found["even"].deletion_area < found["bad"].deletion_area
        assert found["good"].insertion_area > found["even"].insertion_area > found["bad"].insertion_area


def test_the_ends_are_shared_and_no_mask_is_asked_twice(planted, monkeypatch):
    asked = []
    monkeypatch.setattr(faith, "probabilities", lambda t, kept, *rest: asked.append(len(kept)) or np.zeros(len(kept)))
    grids = {"a": grid_with((0, 0)), "b": grid_with((0, 0)), "c": grid_with((3, 3))}
    curves(planted, grids, fractions=(0.0, 0.5, 1.0))
    assert asked == [6]  # all, none, and for two different maps half out and half in


def test_probabilities_are_of_all_chosen_tokens_together():
    turn = saliency_turn(answer="left lung")
    found = probabilities(turn, np.ones((1, 4, 4), np.float32), "grey")
    assert found[0] == pytest.approx(float(turn.logprobs(turn.batch.pixels)[0, :2].sum().exp()), rel=1e-5)


def test_ties_are_not_ordered_by_place():
    order = ranked(np.ones((4, 4)))
    assert sorted(order) == list(range(16)) and order.tolist() != list(range(16))
    assert ranked(grid_with((1, 2)))[0] == 6


def test_measure_with_and_without_a_truth(planted):
    truth = np.zeros((56, 56), bool)
    truth[14:28, 28:42] = True
    maps = {name: method_named(name)(planted) for name in ("random", "centre")}
    rows = measure(planted, maps, ("blur",), truth)
    assert [row["method"] for row in rows] == ["random", "centre"]
    centre = rows[1]
    assert centre["pointing"] == 0.25 and centre["pointing_by_chance"] == 1 / 16 == centre["mass_by_chance"]
    assert centre["mass"] > centre["mass_by_chance"]
    assert measure(planted, maps, ("blur",))[0]["pointing"] is None


def test_curve_areas_of_a_flat_curve():
    flat = Curves((0.0, 0.3, 1.0), np.full(3, 0.4), np.full(3, 0.4))
    assert flat.deletion_area == pytest.approx(0.4)


# ---------------------------------------------------------------- sanity


def test_likeness():
    a = np.arange(16.0).reshape(4, 4)
    assert likeness(a, a**3) == pytest.approx(1) and likeness(a, -a) == pytest.approx(-1)
    assert likeness(a, np.ones((4, 4))) == 0


def test_parts_go_from_the_answer_to_the_picture():
    names = [name for name, _ in parts_from_the_top(saliency_model().network)]
    assert names == ["language 2", "language 1", "language 0", "multi_modal_projector", "vision 1", "vision 0"]


def test_random_weights_change_the_map_and_are_undone_bit_by_bit():
    model = saliency_model()
    turn = saliency_turn(model)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    found = cascade(turn, method_named("relevancy"))
    assert len(found) == 6 and abs(found[-1][1]) < 0.7
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert [value for _, value in cascade(turn, method_named("edges"))] == [pytest.approx(1.0)] * 6  # fails the check


def test_shuffling_keeps_the_numbers_and_an_error_restores_them():
    model = saliency_model()
    layer = model.network.model.language_model.layers[0]
    before = layer.mlp.up_proj.weight.clone()
    with pytest.raises(RuntimeError), preserved(model.network):
        shuffle_weights(layer, torch.Generator().manual_seed(0))
        after = layer.mlp.up_proj.weight
        assert not torch.equal(after, before) and torch.equal(after.flatten().sort()[0], before.flatten().sort()[0])
        raise RuntimeError
    assert torch.equal(layer.mlp.up_proj.weight, before)


def test_swapped_question_and_agreement():
    model = saliency_model()
    turn, other = saliency_turn(model), saliency_turn(model, question="where is the nodule ?", answer="left")
    assert swapped_question(turn, other, method_named("rollout")) < 0.999
    assert swapped_question(turn, other, method_named("edges")) == pytest.approx(1)
    names, table = agreement({name: method_named(name)(turn) for name in ("raw", "rollout", "edges")})
    assert list(names) == ["raw", "rollout", "edges"] and np.allclose(table, table.T) and np.allclose(np.diag(table), 1)


# ---------------------------------------------------------------- ranking and the study


def table_of(good):
    """30 answers of 30 pictures; method `good` deletes better than the controls by 0.2 if asked to."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(30):
        for name in ("lrp", "random", "centre"):
            deletion = 0.5 + 0.05 * rng.standard_normal() - (0.2 if name == "lrp" and good else 0)
            rows.append(
                {"id": f"q{i}", "image": f"i{i}", "method": name, "fill": "blur", "deletion": deletion,
                 "insertion": 0.5, "pointing": float(i < 24) if name == "lrp" else 0.0, "mass": None}
            )  # fmt: skip
    return pl.DataFrame(rows, infer_schema_length=None)


def test_ranking_says_which_method_beats_the_controls():
    first = rank(table_of(True))[0]
    assert first["method"] == "lrp" and first["verdict"] == "faithful"
    pointing = next(m for m in first["measures"] if m["measure"] == "pointing")
    assert pointing["value"] == pytest.approx(0.8) and pointing["low"] < 0.8 < pointing["high"] and pointing["n"] == 30
    tests = {(t["measure"], t["against"]): t for t in first["paired"]}
    assert tests["deletion", "random"]["better_by"] == pytest.approx(0.2, abs=0.03)
    assert tests["deletion", "centre"]["p"] < 0.001
    assert tests["mass", "random"]["p"] is None and tests["mass", "random"]["n"] == 0
    verdicts = {row["method"]: row["verdict"] for row in rank(table_of(False))}
    assert verdicts == {"lrp": "not", "random": "control", "centre": "control"}
