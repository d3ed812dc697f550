"""Causal probes: cut a path through the model, or take patches away, and see whether the answer survives.

In: a turn. Out: what each cut costs in log-probability, layer by layer; the smallest set of patches, in a map's own
order, with which the model still gives the answer.

    knock_out(turn, "image", "answer", window=2)  # float32[layers, T]: where the picture enters the answer
    smallest_set(turn, method_named("lrp")(turn))

Knock-out after Geva et al. 2023 (attention knock-out between groups of tokens); the set is what a causal graph over
patches is after (Rohekar et al. 2023, as in LVLM-Interpret), found by keeping patches instead of by statistical tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from radvqa.errors import InputError
from radvqa.saliency.capture import attention_modules
from radvqa.saliency.fill import filled, without
from radvqa.saliency.map import Explanation
from radvqa.saliency.turn import Target, Turn

GROUPS = ("image", "prompt", "answer")


@torch.no_grad()
def knock_out(turn: Turn, source: str, reader: str, *, window: int = 1) -> torch.Tensor:
    """float32[layers, T]: the drop of each answer token's log-probability when `reader` may not look at `source`.

    Row l: cut in the layers l .. l + window - 1. The reader "answer" means the rows that predict the answer. Raises
    InputError for a group that is none, or for a path that the mask has closed anyway.
    """
    for group in (source, reader):
        if group not in GROUPS:
            raise InputError(f"unknown group {group!r}", key="source", fix="use " + ", ".join(GROUPS))
    keys = {"image": turn.image, "prompt": turn.prompt, "answer": turn.columns}[source]
    rows = {"image": turn.image, "prompt": turn.prompt, "answer": turn.rows}[reader]
    if not turn.batch.attention_mask()[0, 0][rows][:, keys].any():
        raise InputError(f"{reader} never looks at {source}", key="reader", fix="choose a path that is open")
    family, network = turn.model.family, turn.model.network
    features = family.encode(network, turn.batch.pixels)
    modules = attention_modules(network, "language")

    def logprobs() -> torch.Tensor:
        return turn.score(turn.logits(family.hidden(network, turn.batch, features)), Target(quantity="logprob"))[0]

    whole, found = logprobs(), []
    for first in range(len(modules)):
        with ExitStack() as stack:
            for module in modules[first : first + window]:
                stack.enter_context(closed(module, rows, keys))
            found.append(whole - logprobs())
    return torch.stack(found)


@contextmanager
def closed(module: nn.Module, rows: torch.Tensor, keys: torch.Tensor) -> Iterator[None]:
    """Inside the block an attention module's rows do not see some keys; a row may always see itself."""

    def close(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        mask = kwargs["attention_mask"].clone()
        lowest = torch.finfo(mask.dtype).min
        pairs = rows[:, None] != keys[None, :]
        block = mask[:, :, rows[:, None], keys[None, :]]
        mask[:, :, rows[:, None], keys[None, :]] = torch.where(pairs, torch.full_like(block, lowest), block)
        return args, {**kwargs, "attention_mask": mask}

    handle = module.register_forward_pre_hook(close, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class SmallestSet:
    """Which patches are enough for the answer."""

    patches: np.ndarray
    """bool[gh, gw], what is kept."""
    num_patches: int
    tried: tuple[tuple[int, bool], ...]
    """(patches kept, answer kept) in the order in which it was tried."""


def smallest_set(turn: Turn, found: Explanation, *, fill: str = "blur") -> SmallestSet:
    """The fewest patches, taken from the top of a map, under which every answer token stays the likeliest one.

    Bisection over how many are kept, which takes it that more patches never lose the answer again; `tried` says what was
    looked at. Raises InputError if even the whole picture does not give the answer.
    """
    order = np.argsort(-found.overall.ravel(), kind="stable")
    stand_in = filled(turn.batch.pixels, fill)
    tried: list[tuple[int, bool]] = []

    def keeps(num: int) -> bool:
        kept = np.zeros(order.size, dtype=np.float32)
        kept[order[:num]] = 1.0
        share = torch.from_numpy(kept.reshape(1, *turn.grid)).to(turn.batch.pixels.device)
        tried.append((num, answers(turn, without(turn.batch.pixels, share, stand_in))[0]))
        return tried[-1][1]

    if not keeps(order.size):
        raise InputError("the model does not give this answer to the whole picture", key="answer")
    low, high = -1, order.size  # `high` keeps the answer, `low` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    patches = np.zeros(order.size, dtype=bool)
    patches[order[:high]] = True
    return SmallestSet(patches.reshape(found.grid), high, tuple(tried))


@torch.no_grad()
def answers(turn: Turn, pixels: torch.Tensor) -> Sequence[bool]:
    """For each picture float[V, 3, H, W] whether greedy decoding gives exactly the turn's answer."""
    family, network = turn.model.family, turn.model.network
    hidden = family.hidden(network, turn.variants(pixels), family.encode(network, pixels))
    likeliest = turn.logits(hidden).argmax(-1)
    return (likeliest == turn.batch.ids[:, turn.columns]).all(-1).tolist()
