"""Occlusion (Zeiler and Fergus 2014): cover a window of patches, see how much less likely the answer becomes.

In: a turn. Out: for each answer token and patch the mean drop in log-probability over the windows that cover it;
negative where the answer becomes more likely. Needs no gradient and no access to the inside of the network.

    explain(prepare(model, picture, "Is there a mass?"), window=2)
"""

from __future__ import annotations

import torch

from radvqa.errors import InputError
from radvqa.saliency.fill import FILLS, filled, without
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.turn import MAX_VARIANTS, WHOLE, Target, Turn


def explain(turn: Turn, target: Target = WHOLE, *, window: int = 2, stride: int = 1, fill: str = "blur") -> Explanation:
    """Occlusion by square windows of `window` patches, `stride` apart, the last ones at the border.

    A contrast is explained by the drop of the difference. Cost: a forward a window, MAX_VARIANTS at once.
    Raises InputError for a window that does not fit.
    """
    rows, columns = turn.grid
    if not 1 <= window <= min(rows, columns) or stride < 1:
        raise InputError(
            f"a window of {window} patches {stride} apart", key="window", fix=f"the grid is {rows} x {columns}"
        )
    tops = [*range(0, rows - window, stride), rows - window]
    lefts = [*range(0, columns - window, stride), columns - window]
    kept = torch.ones(len(tops) * len(lefts), rows, columns, device=turn.batch.pixels.device)
    for number, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        kept[number, top : top + window, left : left + window] = 0.0
    drops = whole_logprobs(turn, target) - masked_logprobs(turn, target, kept, fill)  # [V, T]
    covered = 1.0 - kept.flatten(1)
    values = (drops.T @ covered) / covered.sum(0).clamp(min=1.0)
    return explanation(
        turn,
        target,
        "occlusion",
        values.cpu().numpy(),
        scale=f"drop in log-probability, windows of {window} patches replaced by a {FILLS[fill]}",
        signed=True,
    )


def whole_logprobs(turn: Turn, target: Target) -> torch.Tensor:
    """float32[1, T] of the picture as it is; for a contrast the difference to the other answer's token."""
    return masked_logprobs(turn, target, torch.ones(1, *turn.grid, device=turn.batch.pixels.device), "grey")


@torch.no_grad()
def masked_logprobs(turn: Turn, target: Target, kept: torch.Tensor, fill: str) -> torch.Tensor:
    """float32[V, T] under the picture with only float[V, gh, gw] of it kept."""
    quantity = Target(target.tokens, target.against, "logprob")
    family, network = turn.model.family, turn.model.network
    stand_in = filled(turn.batch.pixels, fill)
    found = []
    for part in kept.split(MAX_VARIANTS):
        pixels = without(turn.batch.pixels, part, stand_in)
        hidden = family.hidden(network, turn.variants(pixels), family.encode(network, pixels))
        found.append(turn.score(turn.logits(hidden), quantity))
    return torch.cat(found)
