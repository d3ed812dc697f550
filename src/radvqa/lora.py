"""LoRA in one matrix product instead of three: the same function of the same parameters, about a sixth less work a step.

In: a network with PEFT's LoRA layers. Out: the same network, whose float32 layers without dropout compute
x (W + s B A)^T instead of x W^T + s (x A^T) B^T; gradients of A and B are those of the second form.

    fuse(network)

Not for bfloat16, where W + s B A would round small updates away, and not for DoRA or 4-bit weights: those layers stay as
they are.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn


class _Adapted(torch.autograd.Function):
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
    ) -> torch.Tensor:
        whole = torch.addmm(weight, b, a, alpha=scaling)
        ctx.save_for_backward(x, whole, a, b)
        ctx.scaling = scaling
        return nn.functional.linear(x, whole, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, whole, a, b = ctx.saved_tensors
        grad, rows = grads[0].flatten(0, -2), x.flatten(0, -2)
        grad_x = (grad @ whole).view_as(x) if ctx.needs_input_grad[0] else None
        grad_a = grad_b = None
        if ctx.needs_input_grad[3]:
            grad_a = ctx.scaling * ((grad @ b).T @ rows)
            grad_b = ctx.scaling * (grad.T @ (rows @ a.T))
        return grad_x, None, None, grad_a, grad_b, None


def fuse(network: nn.Module) -> int:
    """Let every LoRA layer that can compute in one product do so. Returns how many can."""
    layers = [module for module in network.modules() if isinstance(module, Linear) and _can(module)]
    for layer in layers:
        layer.forward = _forward.__get__(layer)  # type: ignore[method-assign]
    return len(layers)


def _can(layer: Linear) -> bool:
    base, names = layer.base_layer, layer.active_adapters
    return (
        type(base) is nn.Linear
        and base.weight.dtype == torch.float32
        and not base.weight.requires_grad
        and len(names) == 1
        and isinstance(layer.lora_dropout[names[0]], nn.Identity)
        and names[0] not in layer.lora_variant  # DoRA
        and not layer.lora_bias[names[0]]
    )


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    name, base = layer.active_adapters[0], layer.base_layer
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _Adapted.apply(x, base.weight, base.bias, a, b, layer.scaling[name])
