"""Raw attention: what the answer's rows of every layer and head look at, as it is.

In: a turn. Out: answer -> image by layer and head, answer -> prompt, image patch -> answer; the map is their mean.

    found = explain(prepare(model, picture, "Is there a mass?"))
    found.details["image"]                        # float32[layers, heads, T, N]
    patch_to_answer(found, row=3, column=5)       # float32[layers, heads, T]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from radvqa.errors import InputError
from radvqa.saliency.capture import Attention, capture
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.sinks import sinks
from radvqa.saliency.turn import WHOLE, Target, Turn


@torch.no_grad()
def attention_pass(turn: Turn, towers: Sequence[str] = ("language",)) -> dict[str, list[Attention]]:
    """tower -> its layers, lowest first, from one teacher-forced pass. Raw attention, rollout and flow can share it."""
    family, network = turn.model.family, turn.model.network
    with capture(network, towers=towers) as seen:
        family.hidden(network, turn.batch, family.encode(network, turn.batch.pixels))
    return {tower: seen.layers(tower) for tower in towers}


def attention_rows(turn: Turn, seen: dict[str, list[Attention]] | None = None) -> torch.Tensor:
    """float32[layers, heads, T, L]: the rows that predict the answer's tokens."""
    layers = (seen or attention_pass(turn))["language"]
    return torch.stack([layer.weights(turn.rows)[0] for layer in layers])


def explain(
    turn: Turn,
    target: Target = WHOLE,
    *,
    layers: list[int] | None = None,
    heads: list[int] | None = None,
    seen: dict[str, list[Attention]] | None = None,
) -> Explanation:
    """The mean attention of chosen layers and heads (None: all) to each image token.

    The row of a token is the one that predicts it, so the first token's map cannot depend on the answer.
    seen: what `attention_pass` gave, to spare it. Raises InputError for a contrast: attention has none.
    """
    refuse_contrast(target, "raw attention")
    weights = attention_rows(turn, seen)
    image, prompt = weights[..., turn.image], weights[..., turn.prompt]
    layer = list(range(len(weights))) if layers is None else layers
    head = list(range(weights.shape[1])) if heads is None else heads
    values = image[layer][:, head].mean((0, 1)).cpu().numpy()
    return explanation(
        turn,
        target,
        "raw",
        values,
        scale="attention weight, mean over layers and heads",
        prompt_values=prompt[layer][:, head].mean((0, 1)).cpu().numpy(),
        details={"image": image.cpu().numpy(), "prompt": prompt.cpu().numpy(), "sinks": sinks(image.cpu().numpy())},
    )


def patch_to_answer(found: Explanation, row: int, column: int) -> np.ndarray:
    """float32[layers, heads, T]: how much each answer token looks at one patch of the grid."""
    return found.details["image"][..., row * found.grid[1] + column]


def refuse_contrast(target: Target, name: str) -> None:
    """Methods without a gradient do not know which word the row predicts. Raises InputError for a contrast."""
    if target.against is not None:
        raise InputError(
            f"{name} cannot tell two answers apart", key="against", fix="use a gradient or occlusion method"
        )
