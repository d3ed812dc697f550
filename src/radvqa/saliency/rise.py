"""RISE (Petsiuk, Das and Saenko 2018, eq. 6): the mean of random masks, weighted by how likely the answer stays.

In: a turn. Out: for each answer token and patch the mean probability of the token when the patch is seen, less its
mean over all masks, so that an even picture gives 0 everywhere.

    explain(prepare(model, picture, "Is there a mass?"), num_masks=256, seed=0)
"""

from __future__ import annotations

import torch
from torch.nn import functional

from radvqa.saliency.fill import FILLS
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.turn import WHOLE, Target, Turn


def explain(
    turn: Turn,
    target: Target = WHOLE,
    *,
    num_masks: int = 256,
    cells: int = 7,
    share: float = 0.5,
    fill: str = "blur",
    seed: int = 0,
) -> Explanation:
    """RISE with masks of `cells` x `cells` random cells, a `share` of them seen, shifted and smoothed as in the paper.

    A contrast is explained by log-probability differences instead of probabilities. Cost: num_masks forwards.
    """
    generator = torch.Generator().manual_seed(seed)
    kept = random_masks(num_masks, turn.grid, cells, share, generator).to(turn.batch.pixels.device)
    logprobs = turn.masked_logprobs(kept, fill, target)
    scores = logprobs.exp() if target.against is None else logprobs
    scores = scores - scores.mean(0)
    seen = kept.flatten(1)
    values = (scores.T @ seen) / seen.sum(0).clamp(min=1e-6)
    return explanation(
        turn,
        target,
        "rise",
        values.cpu().numpy(),
        scale=f"probability when seen, less the mean; {num_masks} random masks over a {FILLS[fill]}",
        signed=True,
    )


def random_masks(num: int, grid: tuple[int, int], cells: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """float32[num, gh, gw] in 0..1: random cells enlarged bilinearly and cut at a random shift, on the grid's patches."""
    rows, columns = grid
    cells = min(cells, rows, columns)
    tall, wide = -(-rows // cells), -(-columns // cells)
    coarse = (torch.rand(num, 1, cells + 1, cells + 1, generator=generator) < share).float()
    large = functional.interpolate(coarse, size=((cells + 1) * tall, (cells + 1) * wide), mode="bilinear")[:, 0]
    tops = torch.randint(0, tall + 1, (num,), generator=generator).tolist()
    lefts = torch.randint(0, wide + 1, (num,), generator=generator).tolist()
    return torch.stack([m[t : t + rows, s : s + columns] for m, t, s in zip(large, tops, lefts)])
