"""Attention rollout (Abnar and Zuidema 2020, eq. 1), from the answer's rows down to the image, on the true mask.

In: a turn. Out: for each answer token the share of its rolled-out attention that reaches each image token.

    explain(prepare(model, picture, "Is there a mass?")).overall

A_l = 0.5 (W_l + I) with W_l the mean over heads; the rollout is A_n ... A_2 A_1, the lowest layer on the right. Only the
answer's rows of that product are wanted, so a row vector is carried downwards: v <- v A_l. No product of two
matrices is formed and only some rows of a softmax exist at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from radvqa.saliency.capture import Attention, rows_at_once
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.raw import attention_pass, refuse_contrast
from radvqa.saliency.sinks import find_sinks
from radvqa.saliency.turn import WHOLE, Target, Turn

CHUNK = 128
"""Rows at a time on a CPU."""


def rollout(layers: Sequence[Attention], start: torch.Tensor, residual: float = 0.5) -> torch.Tensor:
    """float32[B, T, L]: row vectors `start` float32[B, T, L] times A_n ... A_1; `layers` are lowest first.

    residual: the weight of the identity in A_l; 0.5 in the paper.
    """
    carried = start
    for layer in reversed(layers):
        carried = residual * carried + (1.0 - residual) * times_mean(carried, layer)
    return carried


def times_mean(carried: torch.Tensor, layer: Attention, chunk: int | None = None) -> torch.Tensor:
    """float32[B, T, L]: float32[B, T, L] times the mean over heads of a layer's weights.

    Rows that carry nothing are not computed: in the top layer that leaves the answer's own.
    """
    rows = torch.nonzero((carried != 0).flatten(0, 1).any(0)).flatten()
    found = torch.zeros_like(carried)
    for part in rows.split(chunk or rows_at_once(rows, CHUNK)):
        found += carried[:, :, part] @ layer.weights(part).mean(1)
    return found


def one_hot(rows: torch.Tensor, length: int) -> torch.Tensor:
    """float32[1, T, L]: a 1 at each answer token's own row, where a rollout starts."""
    return torch.nn.functional.one_hot(rows, length).float()[None]


@torch.no_grad()
def explain(
    turn: Turn,
    target: Target = WHOLE,
    *,
    residual: float = 0.5,
    tower: bool = False,
    seen: dict[str, list[Attention]] | None = None,
) -> Explanation:
    """Rollout of each answer token to the image tokens; `tower` carries on through the vision tower's layers.

    seen: what `raw.attention_pass` gave, to spare it. Raises InputError for a contrast: attention does not know which
    word its row predicts.
    """
    refuse_contrast(target, "rollout")
    seen = seen or attention_pass(turn, ("language", "vision") if tower else ("language",))
    reached = rollout(seen["language"], one_hot(turn.rows, turn.batch.ids.shape[1]), residual)
    image = reached[..., turn.image]
    if tower:
        image = rollout(seen["vision"], image, residual)
    return explanation(
        turn,
        target,
        "rollout",
        image[0].cpu().numpy(),
        scale="share of rolled-out attention" + (", through the vision tower" if tower else ""),
        prompt_values=reached[0][:, turn.prompt].cpu().numpy(),
        details={"sinks": find_sinks(turn, seen)},
    )
