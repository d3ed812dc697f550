"""The last decoder layer at chosen positions only: training and scoring want no other states of it.

In: the layer, bool[B, L], the positions whose states are wanted, and the mask of some positions. Out: the same states as
the whole layer would give.

    with last_layer_at(language_model.layers[-1], at, batch.attention_mask) as chosen:
        states = chosen(language_model(inputs_embeds=embeds, ...).last_hidden_state)     # float[M, D]

Keys and values are computed for all L positions, queries, output projection and MLP for those alone: with T of them in
the longest row the layer costs about T / L of what it did. A step of a four-layer model becomes about a fifth cheaper.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class _Keys:
    """Stands where a cache would: gives the attention the keys and values of every position."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.both = keys, values

    def update(self, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.both


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A bool mask as it is added to attention scores: 0 where one may look, the least number of the type elsewhere."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


@contextmanager
def last_layer_at(
    layer: nn.Module, at: torch.Tensor, mask_of: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """While open, `layer` computes only positions `at` bool[B, L]; the function given picks float[M, D] from its output.

    `at` best lies on the CPU: else a GPU is waited for.
    mask_of: int[B, T] positions -> bool[B, 1, T, L], what they may look at.

    Under gradient checkpointing, which takes caches away, the layer is left whole and the states are picked from it.
    """
    device = next(layer.parameters()).device
    if getattr(layer, "gradient_checkpointing", False) and layer.training:
        everywhere = [index.to(device) for index in at.nonzero(as_tuple=True)]
        yield lambda states: states[*everywhere]
        return
    most = max(int(at.sum(1).max()), 1)
    columns = at.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # the wanted first, in reading order
    wanted = [index.to(device, non_blocking=True) for index in at.gather(1, columns).nonzero(as_tuple=True)]
    columns = columns.to(device, non_blocking=True)
    hook = layer.register_forward_pre_hook(
        lambda _, args, kwargs: _narrow(layer, columns, mask_of(columns), args, kwargs), with_kwargs=True
    )
    try:
        yield lambda states: states[*wanted]
    finally:
        hook.remove()


def _narrow(
    layer: Any, columns: torch.Tensor, mask: torch.Tensor, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    """The layer's arguments at int[B, T] columns, its keys and values at all."""
    hidden, attention = args[0], layer.self_attn
    cos, sin = kwargs["position_embeddings"]
    normed = layer.input_layernorm(hidden)
    shape = (*normed.shape[:-1], -1, attention.head_dim)
    keys = attention.k_proj(normed).view(shape)
    keys = (attention.k_norm(keys) if hasattr(attention, "k_norm") else keys).transpose(1, 2)
    values = attention.v_proj(normed).view(shape).transpose(1, 2)
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    keys = rotate(keys, keys, cos, sin)[1]
    at = {
        "attention_mask": additive(mask, hidden.dtype),
        "position_embeddings": tuple(
            x.expand(len(hidden), -1, -1).take_along_dim(columns[..., None], 1) for x in (cos, sin)
        ),
        "past_key_values": _Keys(keys, values),
    }
    return (hidden.take_along_dim(columns[..., None], 1), *args[1:]), {**kwargs, **at}
