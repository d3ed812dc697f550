"""Relevancy (Chefer, Gur and Wolf 2021, eq. 5-6): gradient-weighted attention rolled out, the vision tower included.

In: a turn and a target. Out: for each answer token the relevance of every patch of the picture.

    explain(prepare(model, picture, "Is there a mass?"), Target(against="no"))

A_l = mean over heads of (dS/dA * A)+ and R <- R + A_l R, from the lowest layer up. Only the row of the answer's token
is wanted, so a row vector goes down instead: r <- r + r A_l. All answer tokens go together, a chunk of rows at a
time; at the image tokens the vector moves to the vision tower's patches and goes on there.
"""

from __future__ import annotations

import torch

from radvqa.saliency.capture import rows_at_once
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.trace import Trace, spread, trace
from radvqa.saliency.turn import WHOLE, Target, Turn

CHUNK = 32
"""Rows at a time on a CPU."""


def explain(turn: Turn, target: Target = WHOLE, *, tower: bool = True) -> Explanation:
    """Relevancy of the patches (`tower` False: of the image tokens, without going through the vision tower)."""
    traced = trace(turn, target, vision=tower)
    start = torch.zeros(len(traced.tokens), turn.batch.ids.shape[1], device=turn.batch.ids.device)
    start[range(len(traced.tokens)), turn.rows[list(traced.tokens)]] = 1.0
    carried = propagate(traced, "language", start)
    image, prompt = carried[:, turn.image], carried[:, turn.prompt]
    if tower:
        image = propagate(traced, "vision", image)
    return explanation(
        turn,
        target,
        "relevancy",
        spread(turn, traced.tokens, image).cpu().numpy(),
        scale=f"relevancy of the {target.quantity}, " + ("both towers" if tower else "language tower"),
        prompt_values=spread(turn, traced.tokens, prompt).cpu().numpy(),
    )


@torch.no_grad()
def propagate(traced: Trace, tower: str, start: torch.Tensor) -> torch.Tensor:
    """float32[T', L]: row vectors float32[T', L], nowhere negative, carried from the top of a tower to its input.

    r_i (dA_ij A_ij)+ = A_ij (r_i dO_i . V_j)+ because r and A are never negative: the row vector goes into the small
    dO, and what is L wide is touched three times, in blocks that a processor's cache holds.
    """
    carried = start
    for number in reversed(range(len(traced.layers[tower]))):
        layer, outer = traced.layers[tower][number], traced.gradients[tower][number]
        assert layer.value is not None
        values = layer.value[0].float().transpose(1, 2)  # [K, d, L]
        scaled = outer.float() * (carried / layer.num_heads)[:, :, None, None]
        added = torch.zeros_like(carried)
        wanted = torch.nonzero((carried != 0).any(0)).flatten()
        for rows in (
            wanted.split(rows_at_once(wanted, CHUNK)) if len(wanted) else ()
        ):  # nothing reaches this tower: nothing to carry
            weights = layer.weights(rows)[0].flatten(0, 1)  # [H R, L]
            for token in range(len(carried)):
                few = scaled[token, rows].transpose(0, 1).reshape(len(values), -1, values.shape[1])  # [K, H/K R, d]
                added[token] += torch.bmm(few, values).flatten(0, 1).clamp_(min=0.0).mul_(weights).sum(0)
        carried = carried + added
    return carried
