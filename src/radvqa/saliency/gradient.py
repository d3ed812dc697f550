"""Gradient x attention: the attention of an answer token's own rows, weighted by what it does to the token's score.

In: a turn and a target. Out: for each answer token and image token the mean over layers and heads of (dS/dA * A)+.

    explain(prepare(model, picture, "Is there a mass?"))

Barkan et al. 2021 (Grad-SAM) for the row of a token that is generated; only the rows that predict the answer
are computed. Unlike relevancy it does not follow the attention of other rows.
"""

from __future__ import annotations

import torch

from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.trace import spread, trace
from radvqa.saliency.turn import WHOLE, Target, Turn


def explain(turn: Turn, target: Target = WHOLE, *, signed: bool = False) -> Explanation:
    """Gradient x attention to the image tokens; `signed` keeps what speaks against the answer."""
    traced = trace(turn, target)
    places = torch.arange(len(traced.tokens))
    rows = turn.rows[list(traced.tokens)]
    total = torch.zeros(len(rows), turn.batch.ids.shape[1], device=rows.device)
    with torch.no_grad():
        for layer in range(len(traced.layers["language"])):
            weights, gradients = traced.chunk("language", layer, rows)
            own = weights[0].transpose(0, 1) * gradients[places, :, places]  # [T', H, L]
            total += (own if signed else own.clamp(min=0.0)).mean(1)
    total /= len(traced.layers["language"])
    return explanation(
        turn,
        target,
        "gradient",
        spread(turn, traced.tokens, total[:, turn.image]).cpu().numpy(),
        scale=f"gradient of the {target.quantity} x attention, mean over layers and heads",
        signed=signed,
        prompt_values=spread(turn, traced.tokens, total[:, turn.prompt]).cpu().numpy(),
    )
