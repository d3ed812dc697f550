"""Integrated gradients (Sundararajan, Taly and Yan 2017, eq. 1) from a baseline picture to the picture.

In: a turn and a target. Out: for each answer token the share of every patch in the change of its score; the shares of
all patches sum to score(picture) - score(baseline), up to the step size (`details["gap"]` says how far off it is).

    explain(prepare(model, picture, "Is there a mass?"), steps=32, baseline="blur")
"""

from __future__ import annotations

import torch

from radvqa.errors import InputError
from radvqa.saliency.fill import FILLS, filled
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.trace import frozen, scored_tokens, spread
from radvqa.saliency.turn import MAX_VARIANTS, WHOLE, Target, Turn


def explain(turn: Turn, target: Target = WHOLE, *, steps: int = 32, baseline: str = "grey") -> Explanation:
    """Integrated gradients by the midpoint rule. Raises InputError for a baseline that `fill.FILLS` does not have."""
    if steps < 1:
        raise InputError(f"found {steps} steps", key="steps", fix="use at least 1")
    pixels = turn.batch.pixels.detach()
    start = filled(pixels, baseline)
    places = ((torch.arange(steps, device=pixels.device) + 0.5) / steps).to(pixels.dtype)
    tokens = scored_tokens(turn, target)
    total = torch.zeros(len(tokens), *pixels.shape[1:], device=pixels.device)
    with frozen(turn.model.network), torch.enable_grad():
        for part in places.split(MAX_VARIANTS):
            variants = (start + part[:, None, None, None] * (pixels - start)).requires_grad_()
            scores = scores_of(turn, target, variants)
            for number, token in enumerate(tokens):
                more = number < len(tokens) - 1
                (gradient,) = torch.autograd.grad(scores[:, token].sum(), variants, retain_graph=more)
                total[number] += gradient.float().sum(0) / steps
    shares = per_patch(turn, (pixels - start).float() * total)
    with torch.no_grad():
        ends = scores_of(turn, target, torch.cat([start, pixels]))[:, list(tokens)]
    gap = shares.sum(1) - (ends[1] - ends[0])
    return explanation(
        turn,
        target,
        "integrated",
        spread(turn, tokens, shares).cpu().numpy(),
        scale=f"share in the {target.quantity}'s change from a {FILLS[baseline]}",
        signed=True,
        details={"gap": gap.cpu().numpy()},
    )


def scores_of(turn: Turn, target: Target, pixels: torch.Tensor) -> torch.Tensor:
    """float32[V, T], the scores under pictures float[V, 3, H, W], in the autograd graph."""
    family, network = turn.model.family, turn.model.network
    hidden = family.hidden(network, turn.variants(pixels), family.encode(network, pixels))
    return turn.score(turn.logits(hidden), target)


def per_patch(turn: Turn, values: torch.Tensor) -> torch.Tensor:
    """float[T, N]: sums over the channels and pixels of each patch of float[T, 3, H, W]."""
    rows, columns = turn.grid
    num, channels, height, width = values.shape
    assert height % rows == 0 and width % columns == 0, "patches of unequal size"
    blocks = values.reshape(num, channels, rows, height // rows, columns, width // columns)
    return blocks.sum((1, 3, 5)).reshape(num, rows * columns)
