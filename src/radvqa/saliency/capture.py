"""Capture: what the attention layers of a network look at, computed beside the fast kernel during a plain forward.

In: a network (with or without PEFT) and the rows that are wanted. Out: for every layer an `Attention` that can compute
its softmax rows; nothing of size L x L is ever stored. Everything is put back when the `with` block ends.

    with capture(network, rows=rows) as seen:
        family.hidden(network, batch, features)
    seen.layers("language")[0].weights()          # float32[B, H, R, L]

How: an attention function of ours is registered with transformers. While a capture is open the configuration of the
tower names it; it hands the call on to the implementation that was there before and keeps queries and keys, which
together determine the softmax rows and weigh L x d instead of L x L.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from radvqa.errors import InputError

NAME = "radvqa_capture"
TOWERS = {
    "language": re.compile(r"(^|\.)language_model\.(.*\.)?layers\.(?P<layer>\d+)\.self_attn$"),
    "vision": re.compile(r"(^|\.)vision_tower\.(.*\.)?layers\.(?P<layer>\d+)\.self_attn$"),
}
"""How the attention modules of each tower are named, below whatever wraps the network."""


GPU_ROWS = 1024


def rows_at_once(on: torch.Tensor, in_cache: int) -> int:
    """Rows of a softmax computed together: on a CPU as many as its cache holds, on a GPU enough to keep it busy."""
    return in_cache if on.device.type == "cpu" else GPU_ROWS


@dataclass(frozen=True)
class Attention:
    """One call of one attention layer: B rows, H query heads on K key heads, R kept queries, L keys, head size d."""

    query: torch.Tensor
    """float[B, H, R, d], after rotary embedding, the kept rows only."""
    key: torch.Tensor
    """float[B, K, L, d]."""
    mask: torch.Tensor | None
    """bool or additive [B or 1, 1, R, L]; None: every key is seen."""
    scaling: float
    softcap: float | None = None
    value: torch.Tensor | None = None
    """float[B, K, L, d], with keep_value."""
    output: torch.Tensor | None = None
    """float[B, L, H, d] in front of the output projection, part of the autograd graph, with keep_output."""

    @property
    def num_heads(self) -> int:
        return self.query.shape[1]

    @property
    def num_rows(self) -> int:
        return self.query.shape[2]

    def weights(self, rows: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """float32[B, H, R, L], the softmax of the kept rows, or of some of them.

        Vaswani et al. 2017, eq. 1: softmax(q k^T * scaling + mask), the softmax in float32 as in transformers' eager
        path. Memory: the rows asked for.
        """
        query = self.query[:, :, rows]
        batch, heads, num_rows, size = query.shape
        grouped = query.reshape(batch, self.key.shape[1], -1, size)
        scores = (grouped @ self.key.transpose(2, 3)).view(batch, heads, num_rows, -1) * self.scaling
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        if self.mask is not None:
            mask = self.mask[:, :, rows]
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        return scores.softmax(-1, dtype=torch.float32)


@dataclass
class Seen:
    """What one capture has recorded."""

    rows: torch.Tensor | None
    keep_value: bool
    keep_output: bool
    calls: dict[str, list[list[Attention]]] = field(default_factory=dict)
    """tower -> layer -> its calls, oldest first (one for a teacher-forced pass, one a step in generation)."""

    def layers(self, tower: str = "language") -> list[Attention]:
        """The layers of a tower, lowest first, of exactly one forward pass."""
        counts = {len(calls) for calls in self.calls[tower]}
        assert counts == {1}, f"{tower}: expected one call a layer, saw {sorted(counts)}"
        return [calls[0] for calls in self.calls[tower]]


def attention_modules(network: nn.Module, tower: str) -> list[nn.Module]:
    """The self-attention modules of a tower ("language" or "vision"), lowest layer first."""
    matches = ((TOWERS[tower].search(name), module) for name, module in network.named_modules())
    found = sorted(((int(match["layer"]), module) for match, module in matches if match), key=lambda pair: pair[0])
    assert [layer for layer, _ in found] == list(range(len(found))) and found, f"no {tower} attention layers found"
    return [module for _, module in found]


@contextmanager
def capture(
    network: nn.Module,
    *,
    rows: torch.Tensor | None = None,
    towers: Sequence[str] = ("language",),
    keep_value: bool = False,
    keep_output: bool = False,
) -> Iterator[Seen]:
    """Record the attention of every forward pass inside the block.

    rows: int[R] or int[B, R], the query positions kept in the language tower; None keeps all (as queries: L x d a
    layer). The vision tower always keeps all. keep_output keeps each layer's output in the autograd graph, so that
    `torch.autograd.grad` can be taken with respect to it. One capture at a time: another thread waits, nesting is
    refused. Raises InputError if the network runs FlashAttention, which drops a prefix mask.
    """
    seen = Seen(rows, keep_value, keep_output)
    with LOCK:
        assert not _RECORDERS, "a capture is already open in this thread"
        modules = {module: (tower, i) for tower in towers for i, module in enumerate(attention_modules(network, tower))}
        for tower in towers:
            seen.calls[tower] = [[] for owner, _ in modules.values() if owner == tower]
        try:
            for module, (tower, layer) in modules.items():
                _RECORDERS[module] = _Recorder(seen, tower, layer, implementation_of(module))
            with switched(list(modules), NAME):
                yield seen
        finally:
            _RECORDERS.clear()


@contextmanager
def switched(modules: Sequence[nn.Module], implementation: str) -> Iterator[None]:
    """Let the configurations that these attention modules read name another implementation; put the old names back."""
    configs = {id(module.config): _config(module) for module in modules}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = implementation
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def _config(module: nn.Module) -> Any:
    return module.config


def implementation_of(module: nn.Module) -> Callable[..., tuple[torch.Tensor, torch.Tensor | None]]:
    """The attention function that a module runs at present. Raises InputError for FlashAttention."""
    name = _config(module)._attn_implementation
    if "flash" in (name or ""):
        raise InputError("FlashAttention drops the prefix mask", key="attn_implementation", fix="use sdpa or eager")
    default = getattr(sys.modules[type(module).__module__], "eager_attention_forward", sdpa_attention_forward)
    return ALL_ATTENTION_FUNCTIONS.get_interface(name, default)


# ---------------------------------------------------------------- the registered function


@dataclass(frozen=True)
class _Recorder:
    seen: Seen
    tower: str
    layer: int
    inner: Callable[..., tuple[torch.Tensor, torch.Tensor | None]]

    def record(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        output: torch.Tensor,
        scaling: float,
        softcap: float | None,
    ) -> None:
        rows = self.seen.rows if self.tower == "language" else None
        query = query.detach()
        if rows is not None:
            query, mask = _take(query, rows), None if mask is None else _take(mask, rows)
        self.seen.calls[self.tower][self.layer].append(
            Attention(
                query=query,
                key=key.detach(),
                mask=mask,
                scaling=scaling,
                softcap=softcap,
                value=value.detach() if self.seen.keep_value else None,
                output=output if self.seen.keep_output else None,
            )
        )


_RECORDERS: dict[nn.Module, _Recorder] = {}
LOCK = threading.RLock()
"""Held while a network's attention functions are exchanged: one thread at a time."""


def _take(tensor: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """[B, H, R, X] of [B, H, L, X]: the rows int[R], or int[B, R] where they differ by batch row."""
    if rows.ndim == 1:
        return tensor[:, :, rows]
    batch = max(len(tensor), len(rows))
    tensor = tensor.expand(batch, -1, -1, -1)
    return tensor.take_along_dim(rows.expand(batch, -1)[:, None, :, None], dim=2)


def _causal(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """bool[1, 1, Q, L], the mask that SDPA implies for a causal module without one."""
    num_rows, length = query.shape[2], key.shape[2]
    return torch.ones(num_rows, length, dtype=torch.bool, device=query.device).tril(length - num_rows)[None, None]


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    recorder = _RECORDERS.get(module)
    if recorder is None:  # another network that shares the configuration object
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    mask = attention_mask
    if mask is not None and mask.dtype == torch.bool and recorder.inner is not sdpa_attention_forward:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)  # eager adds
    output, weights = recorder.inner(module, query, key, value, mask, **kwargs)
    is_causal = kwargs.get("is_causal")
    is_causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    if mask is None and is_causal and query.shape[2] > 1:
        mask = _causal(query, key)
    recorder.record(query, key, value, mask, output, kwargs["scaling"], kwargs.get("softcap"))
    return output, weights


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
