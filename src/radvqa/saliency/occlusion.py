"""Occlusion (Zeiler and Fergus 2014): cover a window of patches, see how much less likely the answer becomes.

In: a turn. Out: for each answer token and patch the mean drop in log-probability over the windows that cover it;
negative where the answer becomes more likely. Needs no gradient and no access to the inside of the network.

    explain(prepare(model, picture, "Is there a mass?"), window=2)
"""

from __future__ import annotations

import torch

from radvqa.errors import InputError
from radvqa.saliency.fill import FILLS
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.turn import WHOLE, Target, Turn


def explain(turn: Turn, target: Target = WHOLE, *, window: int = 2, stride: int = 1, fill: str = "blur") -> Explanation:
    """Occlusion by square windows of `window` patches, `stride` apart, the last ones at the border.

    A contrast is explained by the drop of the difference. Cost: a forward a window.
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
    drops = turn.logprobs(turn.batch.pixels, target) - turn.masked_logprobs(kept, fill, target)  # [V, T]
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
