"""FlexAttention for training on a GPU: the mask as blocks, of which those where nothing is visible are not computed.

In: a Batch. Out: its BlockMask, and an attention function of transformers that takes it (Dong et al. 2024, FlexAttention).

    core.set_attn_implementation({"text_config": BLOCKS}); mask = block_mask(batch)

Fast only where it is compiled; without it is the plain formula, product by product. Keys and values that heads share are
not copied for each, as SDPA with a mask has it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from radvqa.batch import Batch

BLOCKS = "radvqa_blocks"
"""Its name among transformers' attention functions."""
LEAST = 256
"""Tokens in a row from which on a mask is worth its blocks."""


def block_mask(batch: Batch) -> BlockMask:
    """The batch's own mask, in blocks of 128 x 128."""
    visible, (rows, length) = batch.visible(), batch.ids.shape
    return create_block_mask(
        lambda row, head, query, key: visible(row, query, key), rows, None, length, length, device=batch.ids.device
    )


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: BlockMask | torch.Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """float[B, L, H, D] from queries float[B, H, L, D] and fewer key heads; SDPA where the mask is no BlockMask."""
    if not isinstance(attention_mask, BlockMask):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **more)
    out: Any = flex_attention(query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(BLOCKS, attend)
