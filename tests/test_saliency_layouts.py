"""Saliency under the image-first layout: the same rows alone and packed, and maps that follow the question."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radvqa.batch import collate_image_first, encode
from radvqa.errors import InputError
from radvqa.prompt import prompt
from radvqa.saliency import COSTLY, METHODS, method_named
from radvqa.saliency.capture import capture
from radvqa.saliency.causal import knock_out
from radvqa.saliency.turn import prepare
from saliency_tiny import saliency_model, saliency_picture
from test_saliency_capture import eager_weights

ASKED = (
    ("is the mass in the left lung ?", "yes"),
    ("is the mass in the right lung ?", "no"),
    ("where is the nodule ?", "left lung"),
)


def image_first():
    return replace(saliency_model(), layout="image-first")


def rows_of(model, batch):
    with torch.no_grad(), capture(model.network) as seen:
        model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    return seen.layers()


@torch.no_grad()
def test_rows_equal_eager_attention_and_the_picture_sees_itself_only():
    model = image_first()
    turn = prepare(model, saliency_picture(), *ASKED[2])
    for layer, wanted in zip(rows_of(model, turn.batch), eager_weights(model.network, turn.batch, model.family)):
        assert (layer.weights() - wanted).abs().max() < 1e-6
        assert float(layer.weights()[:, :, :16, 16:].abs().max()) == 0.0
    assert turn.image.tolist() == list(range(16)) and turn.prompt.tolist() == list(range(17, int(turn.columns[0])))
    assert "".join(turn.tokens).startswith("left lung") and "".join(turn.prompt_tokens).endswith("\n")
    with pytest.raises(InputError, match="image never looks at prompt"):
        knock_out(turn, "prompt", "image")


def test_questions_packed_behind_their_pictures_have_the_rows_that_they_have_alone():
    """Two pictures, three questions each, in one batch: what a question's rows see is what they see alone."""
    model = image_first()
    groups = [[encode(model.tokenizer, 16, prompt(q), a) for q, a in ASKED]] * 2
    pictures = [saliency_picture(i) for i in range(2)]
    pixels = model.form.normalise(np.stack([model.form.resize(p) for p in pictures]))
    batch = collate_image_first(groups, pixels, model.tokenizer.pad_token_id)
    packed = rows_of(model, batch)
    for row, picture in enumerate(pictures):
        for number, (question, answer) in enumerate(ASKED, 1):
            turn = prepare(model, picture, question, answer)
            own = torch.nonzero((batch.owner[row] == 0) | (batch.owner[row] == number)).flatten()
            others = torch.nonzero((batch.owner[row] != 0) & (batch.owner[row] != number)).flatten()
            for alone, together in zip(rows_of(model, turn.batch), packed):
                weights = together.weights()[row][:, own]
                assert (weights[:, :, own] - alone.weights()[0]).abs().max() < 1e-5
                assert float(weights[:, :, others].abs().max()) == 0.0


@pytest.mark.parametrize("name", [name for name in METHODS if name not in COSTLY])
def test_left_and_right_have_maps_of_their_own_and_the_seeds_diagonal_has_one_for_all(name):
    """The founding tool's map is the same for left, right and any other question; every method here tells them apart."""
    model = image_first()
    left, right, other = (method_named(name)(prepare(model, saliency_picture(), *asked)).overall for asked in ASKED)
    fixed = name in ("diagonal", "centre", "edges")
    for a, b in ((left, right), (left, other)):
        assert (np.abs(a - b).max() < 1e-6 * np.abs(a).max()) == fixed


@pytest.mark.parametrize("name", COSTLY[:3])
def test_the_other_methods_run_too(name):
    found = method_named(name)(prepare(image_first(), saliency_picture(), *ASKED[0]))
    assert found.values.shape == (2, 4, 4) and found.values[0].std() > 0
