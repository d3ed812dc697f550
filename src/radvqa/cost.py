"""What training costs: parameters by tower, operations and memory of a step, counted from the configuration alone.

In: a model family and the sizes of a step. Out: operations (a multiply-add is two) and bytes.

    work = step_flops(family, adapt, images=4, rows=32, tokens_a_row=280)

Counted: the linear layers and the attention products of both towers. Backward costs once the forward for the gradients of
activations, and once more where whole weights are trained; gradients of low-rank factors are left out (under 2 % at rank
12 of a 3 B model).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from radvqa.recipe_sections import Adapt


@dataclass(frozen=True)
class Tower:
    """A transformer's sizes."""

    layers: int
    width: int
    attention: int
    """Width of all query heads together."""
    shared: int
    """Width of all key heads together."""
    mlp: int
    matrices: int
    """Matrices in an MLP: 2, or 3 with a gate."""

    @property
    def weights(self) -> int:
        """Weights of the linear layers of one layer."""
        return self.width * (2 * self.attention + 2 * self.shared) + self.matrices * self.width * self.mlp

    def flops(self, rows: int, length: int) -> float:
        """Forward operations of `rows` sequences of `length` tokens."""
        tokens = rows * length
        return self.layers * tokens * (2.0 * self.weights + 4.0 * length * self.attention)

    def kept(self, tokens: int) -> float:
        """Numbers that a forward pass keeps for the backward pass: inputs of norms, products and activations."""
        a_token = 6 * self.width + 3 * self.attention + 3 * self.shared + 2 * (self.matrices - 1) * self.mlp
        return self.layers * tokens * a_token

    def recomputed(self, tokens: int) -> float:
        """The same where activations are computed again: the inputs of the layers, and what one layer keeps."""
        return self.layers * tokens * self.width + self.kept(tokens) / self.layers

    def without_last(self) -> Tower:
        """The layers that are computed for every token (of the last, only keys and values are: see last_layer)."""
        return replace(self, layers=self.layers - 1)


def towers(family: Any) -> tuple[Tower, Tower]:
    """Vision and language."""
    v, t = family.vision, family.text
    vision = Tower(family.num_vision_layers, v.hidden_size, v.hidden_size, v.hidden_size, v.intermediate_size, 2)
    heads, shared = family.head_dim * t.num_attention_heads, family.head_dim * t.num_key_value_heads
    return vision, Tower(t.num_hidden_layers, t.hidden_size, heads, shared, t.intermediate_size, 3)


def step_flops(family: Any, settings: Adapt, images: int, rows: int, tokens_a_row: int, supervised: int = 0) -> float:
    """Operations of one step that sees `images` pictures and `rows` sequences: forward, backward, logits."""
    vision, language = towers(family)
    full = settings.method == "full"
    sees_back = full or settings.projector or bool(settings.vision)
    back = 3 if full else 2
    projector = 2.0 * images * family.num_image_tokens * vision.width * language.width
    tower = vision.flops(images, family.num_patches) + projector
    logits = 2.0 * supervised * language.width * family.text.vocab_size
    last = 4.0 * rows * tokens_a_row * language.width * language.shared
    words = language.without_last().flops(rows, tokens_a_row) + last + logits
    return tower * (back if sees_back else 1) + words * back


def step_bytes(
    family: Any,
    settings: Adapt,
    images: int,
    rows: int,
    tokens_a_row: int,
    supervised: int,
    size: int,
    recompute: bool = False,
) -> float:
    """Bytes that a micro-batch's forward pass keeps, numbers of `size` bytes; logits are float32 and kept twice."""
    vision, language = towers(family)
    sees_back = settings.method == "full" or settings.projector or bool(settings.vision)
    parts = [(language.without_last(), rows * tokens_a_row)]
    parts += [(vision, images * family.num_patches)] if sees_back else []
    kept = sum(tower.recomputed(tokens) if recompute else tower.kept(tokens) for tower, tokens in parts)
    return kept * size + 8.0 * supervised * family.text.vocab_size


@cache
def matmul_ceiling(device: str, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Operations a second that large matrix products reach on this kind of device, measured once: what MFU is a share of."""
    size = 8192 if device == "cuda" else 768
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    a @ b  # the first product also makes the device ready
    if device == "cuda":
        torch.cuda.synchronize()
    best, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        began = time.perf_counter()
        for _ in range(4):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2.0 * size**3 / (time.perf_counter() - began))
    return best
