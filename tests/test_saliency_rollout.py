"""Raw attention and rollout: parity with naive loops, dependence on question and answer, and what is saved."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from radvqa.errors import InputError
from radvqa.saliency import METHODS, explain, method_named
from radvqa.saliency.capture import capture
from radvqa.saliency.map import Explanation
from radvqa.saliency.raw import attention_rows, patch_to_answer
from radvqa.saliency.rollout import one_hot, rollout
from radvqa.saliency.turn import Target, group_words, pieces, prepare
from saliency_tiny import ANSWER, QUESTION, saliency_model, saliency_picture, saliency_turn


@torch.no_grad()
def all_weights(turn, tower="language"):
    """float64[layers, H, L, L], everything, for the naive loops."""
    family, network = turn.model.family, turn.model.network
    with capture(network, towers=(tower,)) as seen:
        family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    return np.stack([layer.weights()[0].double().numpy() for layer in seen.layers(tower)])


def naive_rollout(weights, residual=0.5):
    """Abnar and Zuidema 2020, written as the paper has it: A_l = 0.5 W + 0.5 I, then A~_l = A_l A~_(l-1)."""
    rolled = None
    for layer in weights:
        attention = (1 - residual) * layer.mean(0) + residual * np.eye(layer.shape[-1])
        attention = attention / attention.sum(-1, keepdims=True)
        rolled = attention if rolled is None else attention @ rolled
    return rolled


def seed_rollout(weights, image):
    """The founding tool's: the image block cut out, multiplied lowest layer on the left, and its diagonal read."""
    size = len(image)
    rolled = np.eye(size)
    for layer in weights:
        block = layer.mean(0)[np.ix_(image, image)] + np.eye(size)
        rolled = rolled @ (block / block.sum(-1, keepdims=True))
    return np.diag(rolled)


def test_rollout_equals_the_naive_product():
    turn = saliency_turn()
    expected = naive_rollout(all_weights(turn))
    found = method_named("rollout")(turn)
    wanted = expected[np.ix_(turn.rows.numpy(), turn.image.numpy())]
    assert np.abs(found.values.reshape(len(wanted), -1) - wanted).max() < 1e-6
    prompt = expected[np.ix_(turn.rows.numpy(), turn.prompt.numpy())]
    assert np.abs(found.prompt_values - prompt).max() < 1e-6
    assert found.values.max() > 1.2 * found.values.mean()


def test_rollout_multiplies_the_lowest_layer_last():
    """2 tokens by hand: W_1 = [[0, 1], [1, 0]], W_2 = [[1, 0], [0.5, 0.5]]; A_2 A_1 and A_1 A_2 differ.

    A_1 = [[.5, .5], [.5, .5]], A_2 = [[1, 0], [.25, .75]]; second row of A_2 A_1 = [.5, .5], of A_1 A_2 = [.625, .375].
    """

    class Fixed:
        def __init__(self, weights):
            self.matrix = torch.tensor(weights)[None, None]

        def weights(self, rows):
            return self.matrix[:, :, rows]

    layers = [Fixed([[0.0, 1.0], [1.0, 0.0]]), Fixed([[1.0, 0.0], [0.5, 0.5]])]
    assert rollout(layers, one_hot(torch.tensor([1]), 2))[0, 0].tolist() == [0.5, 0.5]
    assert rollout(layers[::-1], one_hot(torch.tensor([1]), 2))[0, 0].tolist() == [0.625, 0.375]


def test_rollout_shares_sum_to_one_and_padding_gets_nothing():
    model = saliency_model()
    turn = saliency_turn(model)
    family, network = model.family, model.network
    with torch.no_grad(), capture(network) as seen:
        family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    reached = rollout(seen.layers(), one_hot(turn.rows, turn.batch.ids.shape[1]))[0]
    assert torch.allclose(reached.sum(-1), torch.ones(len(turn.rows)), atol=1e-6)
    for t, row in enumerate(turn.rows.tolist()):
        assert float(reached[t, row + 1 :].abs().sum()) == 0.0  # nothing from the future


def test_rollout_through_the_tower_equals_the_naive_product():
    turn = saliency_turn()
    language = naive_rollout(all_weights(turn))[np.ix_(turn.rows.numpy(), turn.image.numpy())]
    wanted = language @ naive_rollout(all_weights(turn, "vision"))
    found = method_named("rollout")(turn, tower=True)
    assert np.abs(found.values.reshape(len(wanted), -1) - wanted).max() < 1e-6


def test_raw_rows_are_those_that_predict_each_token():
    turn = saliency_turn()
    weights = all_weights(turn)
    rows = attention_rows(turn).numpy()
    first = int(turn.columns[0])
    assert np.abs(rows[:, :, 0] - weights[:, :, first - 1]).max() < 1e-6
    found = method_named("raw")(turn)
    wanted = weights[:, :, first : first + 1, :16].mean((0, 1))[0]  # the row of token 0 predicts token 1
    assert np.abs(found.values[1].ravel() - wanted).max() < 1e-6
    assert found.details["image"].shape == (3, 4, 6, 16)
    picked = method_named("raw")(turn, layers=[2], heads=[0, 3])
    assert np.abs(picked.values[1].ravel() - weights[2][[0, 3], first, :16].mean(0)).max() < 1e-6
    assert np.array_equal(patch_to_answer(found, 2, 1), found.details["image"][..., 9])


@pytest.mark.parametrize("name", ["raw", "rollout"])
def test_the_map_depends_on_question_and_answer_and_the_seeds_does_not(name):
    """What the founding tool got wrong: its diagonal rollout is the control, and shows no dependence at all."""
    model = saliency_model()
    turns = {
        "own": saliency_turn(model),
        "question": saliency_turn(model, question="is there a nodule in the right lung ?"),
        "answer": saliency_turn(model, answer="nodule in the right lung"),
    }
    maps = {key: method_named(name)(turn) for key, turn in turns.items()}

    def apart(a, b):
        return np.abs(a - b).max() / np.abs(a).max()

    assert apart(maps["own"].overall, maps["question"].overall) > 0.02
    assert apart(maps["own"].values[1:5], maps["answer"].values[1:5]) > 0.01
    # and between tokens of one answer; a repeated word keeps its own map
    assert apart(maps["own"].values[0], maps["own"].values[4]) > 0.01

    control = {key: seed_rollout(all_weights(turn), turn.image.numpy()) for key, turn in turns.items()}
    for key, turn in turns.items():
        assert np.abs(method_named("diagonal")(turn).overall.ravel() - control[key]).max() < 1e-6
    assert np.abs(control["own"] - control["answer"]).max() < 1e-7  # fails the check above: it cannot see the answer


def test_seed_rollout_does_not_see_the_question_when_the_image_block_is_its_own():
    """Under an image-first mask the founding tool's map is the same for every question; ours is not."""
    model = saliency_model()
    image = torch.arange(16)
    for question in (QUESTION, "where is the nodule ?"):
        turn = saliency_turn(model, question=question)
        weights = all_weights(turn)
        weights[:, :, :16, 16:] = 0
        weights[:, :, :16] /= weights[:, :, :16].sum(-1, keepdims=True)
        assert np.allclose(weights[0][:, :16].sum(-1), 1)
        diagonal = seed_rollout(weights[:1], image.numpy())
        ours = naive_rollout(weights)[int(turn.rows[0]), :16]
        if question == QUESTION:
            first = diagonal, ours
    assert np.abs(first[0] - diagonal).max() < 1e-7
    assert np.abs(first[1] - ours).max() > 1e-4


def test_repeated_words_keep_their_own_maps():
    turn = saliency_turn(answer="left lung left lung")
    found = method_named("rollout")(turn)
    assert [word for word, _, _ in found.words] == ["left", "lung", "left", "lung"]
    assert np.abs(found.word(0) - found.word(2)).max() > 1e-4
    assert np.allclose(found.overall, found.values[:4].mean(0))


def test_spans_are_read_from_ids_with_left_padding_too():
    turn = saliency_turn()
    spans = turn.spans()
    assert spans["image"] == list(range(16))
    assert turn.batch.ids[0, 16] == turn.model.tokenizer.bos_token_id
    assert spans["prompt"] == list(range(17, spans["answer"][0]))
    assert "".join(turn.prompt_tokens).endswith("\n") and "".join(turn.tokens).startswith(ANSWER)
    assert turn.rows.tolist() == [column - 1 for column in spans["answer"]]


def test_words_are_places_not_strings():
    assert group_words(["left", " pleu", "ral", " left"]) == (("left", 0, 1), ("pleural", 1, 3), ("left", 3, 4))
    assert group_words([]) == ()
    assert group_words(["", " a"]) == (("", 0, 1), ("a", 1, 2))


def test_pieces_of_a_tokenizer_that_splits_characters():
    class Bytes:
        """Two tokens make one character, as byte fallback does."""

        def decode(self, ids):
            return bytes(ids).decode("utf-8", errors="replace")

    text = "né é"
    found = pieces(Bytes(), list(text.encode()))
    assert found == ("n", "", "é", " ", "", "é") and "".join(found) == text


def test_targets_choose_tokens_and_mistakes_are_named():
    turn = saliency_turn()
    one = method_named("rollout")(turn, Target(tokens=(2,)))
    assert np.allclose(one.overall, one.values[2])
    with pytest.raises(InputError, match="no token"):
        method_named("rollout")(turn, Target(tokens=(9,)))
    with pytest.raises(InputError, match="two answers"):
        method_named("rollout")(turn, Target(against="nodule"))
    with pytest.raises(InputError, match="unknown saliency method"):
        method_named("chefer")
    assert set(METHODS) >= {"raw", "rollout"}


def test_save_and_load_without_pickle(tmp_path):
    model = saliency_model()
    found = explain(model, saliency_picture(), QUESTION, ANSWER)
    truth = np.zeros((50, 70), bool)
    truth[10:30, 20:40] = True
    found = Explanation(**{**found.__dict__, "truth": truth})
    found.save(tmp_path / "deep" / "why.v1.png")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["why.v1.json", "why.v1.npz", "why.v1.png"]
    with np.load(tmp_path / "deep" / "why.v1.npz", allow_pickle=False) as arrays:
        assert arrays["values"].shape == (6, 4, 4) and arrays["values"].dtype == np.float32
    record = json.loads((tmp_path / "deep" / "why.v1.json").read_text())
    assert record["method"] == "rollout" and record["grid"] == [4, 4] and record["spans"]["image"][0] == 0
    again = Explanation.load(tmp_path / "deep" / "why.v1.png", saliency_picture())
    assert np.array_equal(again.values, found.values) and again.words == found.words and again.tokens == found.tokens
    with Image.open(tmp_path / "deep" / "why.v1.png") as page:
        assert page.width > 800


def test_overlay_shows_the_map_where_it_is_large():
    """A map with one bright patch, top right: the overlay changes the picture there and nowhere far from it."""
    values = np.zeros((2, 4, 4), np.float32)
    values[0, 0, 3] = 0.7
    grey = Image.new("RGB", (80, 80), (128, 128, 128))
    found = Explanation("rollout", values, ("yes", "<eos>"), (0,), "share", False, "q", "yes", picture=grey)
    panel = np.asarray(found.overlay())
    assert np.abs(panel[40, 400].astype(int) - 128).max() > 60
    assert np.abs(panel[400, 40].astype(int) - 128).max() == 0
    assert panel.shape[0] > panel.shape[1]  # the legend is below


def test_a_map_that_is_not_finite_or_breaks_its_sign_is_refused():
    values = np.full((1, 2, 2), np.nan, np.float32)
    with pytest.raises(AssertionError, match="finite"):
        Explanation("x", values, ("a",), (0,), "", False, "q", "a")
    with pytest.raises(AssertionError, match="signed"):
        Explanation("x", np.full((1, 2, 2), -1.0, np.float32), ("a",), (0,), "", False, "q", "a")


def test_own_answer_is_explained_when_none_is_given():
    model = saliency_model()
    turn = prepare(model, saliency_picture(), QUESTION)
    assert turn.answer == " ".join(model.answer(saliency_picture(), QUESTION).text.split())
