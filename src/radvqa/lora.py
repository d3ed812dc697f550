"""LoRA in fewer and larger matrix products: the same function of the same parameters, less work a step.

In: a network with PEFT's LoRA layers. Out: the same network, whose layers without dropout compute

    float32   x (W + s B A)^T           one product instead of three
    16 bits   [x, x A^T] [W, s B]^T     two; W + s B A would round small updates away

    fuse(network)

Not for DoRA or 4-bit weights: those layers stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn.functional import linear, pad

ALIGNED = 8
"""Matrix units take 16-bit rows whose length is a multiple of this; a rank between is filled up with zeros."""


class _Whole(torch.autograd.Function):
    """y = x (W + s B A)^T + b. With G = dL/dy: dx = G (W + s B A), dA = s B^T G^T x, dB = s G^T x A^T (Hu et al. 2021, eq. 3)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        keep: bool,
    ) -> torch.Tensor:
        whole = torch.addmm(weight, b, a, alpha=scaling)
        ctx.save_for_backward(x, whole if keep else weight, a, b)
        ctx.scaling, ctx.keep = scaling, keep
        return linear(x, whole, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b = ctx.saved_tensors
        grad, rows = grads[0].flatten(0, -2), x.flatten(0, -2)
        grad_x = grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            whole = weight if ctx.keep else torch.addmm(weight, b, a, alpha=ctx.scaling)
            grad_x = (grad @ whole).view_as(x)
        if ctx.needs_input_grad[3]:
            grad_a = ctx.scaling * ((grad @ b).T @ rows)
            grad_b = ctx.scaling * (grad.T @ (rows @ a.T))
        return grad_x, None, None, grad_a, grad_b, None, None


class _Beside(torch.autograd.Function):
    """y = x W^T + b + h (s B)^T with h = x A^T; with G = dL/dy and u = G s B: dx = G W + u A, dA = u^T x, dB = s G^T h.

    The narrow term lies beside the wide one where that spares a second pass over the larger side: in the sum over inputs
    where outputs are more, [x, h] [W, sB]^T; in the sum over outputs, backwards, where inputs are more, [G, u] [W; A].
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        more = -len(a) % ALIGNED
        low_a = pad(a.to(weight.dtype), (0, 0, 0, more))
        low_b = pad((scaling * b).to(weight.dtype), (0, more))
        rows = x.flatten(0, -2)
        h = rows @ low_a.T
        if weight.shape[0] > weight.shape[1]:
            y = linear(torch.cat([rows, h], 1), torch.cat([weight, low_b], 1), bias)
        else:
            y = torch.addmm(linear(rows, weight, bias), h, low_b.T)
        ctx.save_for_backward(x, weight, low_a, low_b, h)
        ctx.rank, ctx.scaling = len(a), scaling
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, low_a, low_b, h = ctx.saved_tensors
        grad, rows = grads[0].flatten(0, -2), x.flatten(0, -2)
        u = grad @ low_b
        grad_x = None
        if ctx.needs_input_grad[0]:
            if weight.shape[0] > weight.shape[1]:
                grad_x = torch.addmm(grad @ weight, u, low_a).view_as(x)
            else:
                grad_x = (torch.cat([grad, u], 1) @ torch.cat([weight, low_a])).view_as(x)
        grad_a = (u.T @ rows)[: ctx.rank].float()
        grad_b = ctx.scaling * (grad.T @ h)[:, : ctx.rank].float()
        return grad_x, None, None, grad_a, grad_b, None


class Fused(Linear):
    """PEFT's layer with another forward; its parameters, and what is saved of it, stay."""

    keep = True
    """Whether W + s B A is kept for the backward pass, or made again: where weights are sharded it would keep them whole."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        name, base = self.active_adapters[0], self.base_layer
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        given: Any = (x, base.weight, base.bias, a, b, self.scaling[name])
        return _Whole.apply(*given, self.keep) if base.weight.dtype == torch.float32 else _Beside.apply(*given)


def fuse(network: nn.Module, keep: bool = True) -> int:
    """Let every LoRA layer that can compute in fewer products do so; keep: see Fused. Returns how many can."""
    layers = [module for module in network.modules() if isinstance(module, Linear) and _can(module)]
    for layer in layers:
        layer.__class__ = Fused
        layer.keep = keep  # type: ignore[assignment]
    return len(layers)


def _can(layer: Linear) -> bool:
    base, names = layer.base_layer, layer.active_adapters
    return (
        type(base) is nn.Linear
        and base.weight.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and not base.weight.requires_grad
        and len(names) == 1
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and names[0] not in layer.lora_variant  # DoRA
        and not layer.lora_bias[names[0]]
    )
