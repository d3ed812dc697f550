"""Sinks: image tokens that draw attention whatever is asked; shown on every attention map, and removable from any map.

In: a turn. Out: which image tokens are sinks; a map without them.

    without_sinks(method_named("rollout")(turn), find_sinks(turn))

Xiao et al. 2024 (attention sinks) and Darcet et al. 2024 (registers): such tokens hold no local evidence, and a map
that is dominated by one says nothing about the rest of the picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from radvqa.saliency.capture import Attention
    from radvqa.saliency.map import Explanation
    from radvqa.saliency.turn import Turn

FACTOR = 20.0
"""A token with this many times the median attention of the image tokens is a sink."""


def sinks(image: np.ndarray, factor: float = FACTOR) -> np.ndarray:
    """int[*]: image tokens that draw `factor` times the median attention over float[layers, heads, T, N]."""
    mean = image.mean((0, 1, 2))
    return np.nonzero(mean > factor * np.median(mean))[0]


@torch.no_grad()
def find_sinks(turn: Turn, seen: dict[str, list[Attention]] | None = None) -> np.ndarray:
    """int[*], the sinks among the image tokens of a turn; seen: what `raw.attention_pass` gave, to spare it."""
    from radvqa.saliency.raw import attention_rows

    return sinks(attention_rows(turn, seen)[..., turn.image].cpu().numpy())


def without_sinks(explained: Explanation, found: np.ndarray) -> Explanation:
    """The map with its sinks at the median of the other patches, each answer token's own; its scale says so."""
    if not len(found):
        return explained
    flat = explained.values.reshape(len(explained.values), -1).copy()
    others = np.setdiff1d(np.arange(flat.shape[1]), found)
    flat[:, found] = np.median(flat[:, others], axis=1, keepdims=True)
    scale = f"{explained.scale}; {len(found)} sink{'s' if len(found) > 1 else ''} removed"
    details = {**explained.details, "sinks": found}
    return replace(explained, values=flat.reshape(explained.values.shape), scale=scale, details=details)
