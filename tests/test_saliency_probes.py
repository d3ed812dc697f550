"""Flow, occlusion, RISE, controls and causal probes: against naive versions, and on cases that can be seen by eye."""

from contextlib import ExitStack
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image

from radvqa.errors import InputError
from radvqa.saliency import causal, method_named
from radvqa.saliency.capture import attention_modules, capture
from radvqa.saliency.causal import GROUPS, answers, closed, knock_out, smallest_set
from radvqa.saliency.fill import without
from radvqa.saliency.flow import flows
from radvqa.saliency.rise import random_masks
from radvqa.saliency.turn import Target, prepare
from saliency_tiny import saliency_model, saliency_picture, saliency_turn


class Fixed:
    """A layer with given weights [H, L, L]."""

    def __init__(self, weights):
        self.matrix = torch.tensor(weights, dtype=torch.float32)[None]
        self.key = torch.zeros(1, 1, self.matrix.shape[-1], 1)

    def weights(self, rows):
        return self.matrix[:, :, rows]


def naive_flow(layers, row, sink, residual=0.5):
    """Every edge of the layered graph in networkx, its own maximum flow on floats."""
    graph = nx.DiGraph()
    for level, weights in enumerate(layers, 1):
        matrix = (1 - residual) * weights.mean(0) + residual * np.eye(weights.shape[-1])
        for i in range(len(matrix)):
            for j in range(len(matrix)):
                graph.add_edge((level, i), (level - 1, j), capacity=float(matrix[i, j]))
    return nx.maximum_flow_value(graph, (len(layers), row), (0, sink))


def test_flow_equals_networkx_on_a_real_network():
    turn = saliency_turn(saliency_model(image_px=28), answer="left lung")
    family, network = turn.model.family, turn.model.network
    with torch.no_grad(), capture(network) as seen:
        family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    weights = [layer.weights()[0].double().numpy() for layer in seen.layers()]
    found = method_named("flow")(turn, Target(tokens=(0, 1)))
    for t in (0, 1):
        for place in range(4):
            wanted = naive_flow(weights, int(turn.rows[t]), place)
            assert found.values[t].ravel()[place] == pytest.approx(wanted, abs=1e-5)
    assert found.values[:2].min() > 0 and not found.values[2].any()


def test_flow_by_hand_is_not_rollout():
    """Two layers, three positions, from position 2. A_2 row 2 = [.2, .3, .5]; into position 0: A_1[:, 0] = [.5, .5, 0].

    A path is as wide as its narrowest edge: min(.2, .5) + min(.3, .5) + min(.5, 0) = .5; rollout has .1 + .15 = .25.
    """
    lower = [[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]  # with the residual: rows [.5, .5, 0], [.5, .5, 0]
    upper = [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.4, 0.6, 0.0]]]  # with the residual: row 2 = [.2, .3, .5]
    found = flows([Fixed(lower), Fixed(upper)], 2, np.array([0, 1, 2]))
    assert found == pytest.approx([0.5, 0.5, 0.5], abs=1e-6)


def test_occlusion_equals_a_loop_over_windows():
    turn = saliency_turn(answer="left lung")
    found = method_named("occlusion")(turn, window=2, stride=2, fill="grey")
    whole = turn.logprobs(turn.batch.pixels)[0]
    for top in (0, 2):
        for left in (0, 2):
            pixels = turn.batch.pixels.clone()
            pixels[:, :, top * 14 : top * 14 + 28, left * 14 : left * 14 + 28] = 0
            drop = whole - turn.logprobs(pixels)[0]
            part = found.values[:, top : top + 2, left : left + 2]
            assert np.abs(part - drop.numpy()[:, None, None]).max() < 1e-5
    with pytest.raises(InputError, match="the grid is 4 x 4"):
        method_named("occlusion")(turn, window=5)


def test_occlusion_windows_reach_the_border_and_overlaps_are_averaged():
    turn = saliency_turn(answer="left lung")
    found = method_named("occlusion")(turn, window=3, stride=2)  # tops 0 and 1: every patch is covered
    assert (found.values[0] != 0).all()


def test_rise_masks_cover_and_the_weighted_mean_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    masks = random_masks(2000, (16, 16), 7, 0.5, generator)
    assert masks.shape == (2000, 16, 16) and masks.min() >= 0 and masks.max() <= 1
    assert (masks.mean(0) - 0.5).abs().max() < 0.05
    small = random_masks(5, (4, 4), 7, 0.5, generator)
    assert small.shape == (5, 4, 4)
    turn = saliency_turn(answer="left lung")
    found = method_named("rise")(turn, num_masks=20, seed=3)
    kept = random_masks(20, (4, 4), 7, 0.5, torch.Generator().manual_seed(3))
    scores = torch.cat([turn.logprobs(without(turn.batch.pixels, m[None], "blur")) for m in kept]).exp()
    wanted = ((scores - scores.mean(0)).T @ kept.flatten(1)) / kept.flatten(1).sum(0)
    assert np.abs(found.values.reshape(3, -1) - wanted.numpy()).max() < 1e-6


def test_controls_know_nothing_of_the_model():
    first, second = saliency_turn(saliency_model(0)), saliency_turn(saliency_model(1))
    for name in ("random", "centre", "edges"):
        assert np.array_equal(method_named(name)(first).overall, method_named(name)(second).overall)
    other = saliency_turn(question="where is the nodule ?")
    assert not np.array_equal(method_named("random")(first).overall, method_named("random")(other).overall)
    centre = method_named("centre")(first).overall
    assert centre[1, 1] == centre.max() and np.allclose(centre, centre[::-1, ::-1])
    half = np.zeros((56, 56, 3), np.uint8)
    half[:, 20:] = 255  # one edge, in the second column of patches
    edges = method_named("edges")(prepare(first.model, Image.fromarray(half), "q", "a")).overall
    assert edges[:, 1].min() > 10 * edges[:, [0, 2, 3]].max()


# ---------------------------------------------------------------- causal probes


def test_knocking_out_the_picture_everywhere_makes_the_answer_blind():
    """With answer and prompt cut off from the image in all layers, another picture gives the same log-probabilities."""
    model = saliency_model()
    turns = [prepare(model, saliency_picture(i), saliency_turn(model).question, "left lung") for i in (0, 1)]
    found = []
    for turn in turns:
        family, network = model.family, model.network
        everything = torch.arange(16, turn.batch.ids.shape[1])
        with ExitStack() as stack, torch.no_grad():
            for module in attention_modules(network, "language"):
                stack.enter_context(closed(module, everything, turn.image))
            hidden = family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
            found.append(turn.score(turn.logits(hidden), Target(quantity="logprob")))
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert (turns[0].logprobs(turns[0].batch.pixels) - turns[1].logprobs(turns[1].batch.pixels)).abs().max() > 1e-3


def test_knock_out_by_layer():
    turn = saliency_turn(answer="left lung")
    found = knock_out(turn, "image", "answer")
    assert found.shape == (3, 3) and found.abs().max() > 1e-4
    assert not any(m._forward_pre_hooks for m in turn.model.network.modules())
    assert knock_out(turn, "answer", "answer")[:, 0].abs().max() < 1e-5  # the first token has no answer before it
    with pytest.raises(InputError, match="image never looks at answer"):
        knock_out(turn, "answer", "image")
    with pytest.raises(InputError, match="unknown group"):
        knock_out(turn, "picture", "answer")
    assert GROUPS == ("image", "prompt", "answer")


def test_smallest_set_by_hand(monkeypatch):
    """The answer needs patches (1, 2) and (3, 0), which the map puts at places 3 and 6: seven patches are enough."""
    turn = saliency_turn(answer="left")

    def needs_two(turn, pixels):
        whole = turn.batch.pixels[0]
        return [
            all(
                torch.equal(p[:, y : y + 14, x : x + 14], whole[:, y : y + 14, x : x + 14])
                for y, x in ((14, 28), (42, 0))
            )
            for p in pixels
        ]

    monkeypatch.setattr(causal, "answers", needs_two)
    explained = method_named("centre")(turn)
    values = np.linspace(1, 0, 16, dtype=np.float32)[np.random.default_rng(1).permutation(16)].reshape(4, 4)
    order = np.argsort(-values.ravel())
    swapped = values.ravel().copy()
    for place, patch in ((3, 6), (6, 12)):
        at = int(np.flatnonzero(order == patch)[0])
        order[[place, at]] = order[[at, place]]
    swapped[order] = np.linspace(1, 0, 16)
    explained = replace(explained, values=np.repeat(swapped.reshape(1, 4, 4), 2, 0).astype(np.float32))
    found = smallest_set(turn, explained)
    assert found.num_patches == 7 == found.patches.sum() and found.patches[1, 2] and found.patches[3, 0]
    assert dict(found.tried)[7] and not dict(found.tried)[6] and len(found.tried) <= 6
    monkeypatch.setattr(causal, "answers", lambda turn, pixels: [False])
    with pytest.raises(InputError, match="does not give this answer"):
        smallest_set(turn, explained)


def test_answers_says_whether_greedy_decoding_gives_the_answer():
    model = saliency_model()
    turn = prepare(model, saliency_picture(), "is there a mass ?", "left lung")
    with torch.no_grad():
        hidden = model.family.hidden(model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels))
    likeliest = turn.logits(hidden)[0].argmax(-1)
    wanted = bool((likeliest == turn.batch.ids[0, turn.columns]).all())
    assert answers(turn, turn.batch.pixels.repeat(2, 1, 1, 1)) == [wanted, wanted]
    turn.batch.ids[0, turn.columns] = likeliest  # what decoding says, given these words before: causal, so one pass
    hidden = model.family.hidden(model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels))
    for _ in range(3):
        turn.batch.ids[0, turn.columns] = turn.logits(hidden)[0].argmax(-1)
        hidden = model.family.hidden(model.network, turn.batch, model.family.encode(model.network, turn.batch.pixels))
    assert answers(turn, turn.batch.pixels) == [True]
