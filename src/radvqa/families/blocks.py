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
TUNED: dict[str, Any] = {"side": 128, "kernel": {}}
"""Tokens at the side of a block, and what else is not left to PyTorch, see tune."""


def tune(head_dim: int) -> None:
    """For this GPU: on Hopper, heads of Gemma's 256 are 15 % faster in smaller blocks and, backwards, 24 % with more warps.

    Both measured on an H200 at 448 tokens. PyTorch's kernels for narrower heads do not take smaller blocks.
    """
    on_hopper = torch.cuda.get_device_capability() == (9, 0)
    TUNED.update(
        {"side": 64, "kernel": {"bwd_num_warps": 8}} if on_hopper and head_dim > 128 else {"side": 128, "kernel": {}}
    )


def block_mask(batch: Batch) -> BlockMask:
    """The batch's own mask, in square blocks."""
    visible, (rows, length) = batch.visible(), batch.ids.shape
    return create_block_mask(
        lambda row, head, query, key: visible(row, query, key),
        rows,
        None,
        length,
        length,
        device=batch.ids.device,
        BLOCK_SIZE=TUNED["side"],
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
    options: Any = {**TUNED["kernel"]}
    out: Any = flex_attention(
        query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=True, kernel_options=options
    )
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(BLOCKS, attend)
