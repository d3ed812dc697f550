"""How far a step moves the weights: learning rates, the optimizer, and a moving average of the weights.

In: a Stage and the step. Out: a rate; an AdamW over what is trainable; averaged weights that can stand in for a while.

    rate = learning_rate(stage, step, num_steps)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from radvqa.recipe_sections import Stage


def learning_rate(stage: Stage, step: int, num_steps: int) -> float:
    """Of step 0, 1 ... num_steps - 1: linear warm-up, then what `schedule` says.

    wsd: constant, and over the last `decay` of the steps linearly towards zero (Hu et al. 2024, MiniCPM, section 4);
    the data of an annealing phase belongs there.
    """
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.lr
    if stage.schedule == "wsd":
        num_decay = max(1, round(stage.decay * num_steps))
        return stage.lr * min(1.0, (num_steps - step) / (num_decay + 1))
    done = (step - stage.warmup_steps) / max(1, num_steps - stage.warmup_steps)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * done))


def optimizer_of(network: nn.Module, stage: Stage) -> torch.optim.AdamW:
    """AdamW over what is trainable; one fused kernel on a GPU."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    fused = bool(parameters) and parameters[0].device.type == "cuda"
    return torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay, fused=fused)


class Average:
    """Exponential moving average of the trainable weights: a <- d a + (1 - d) w after every step.

    d is min(decay, (1 + t) / (10 + t)) at step t = 1, 2, ..., so that the start is forgotten soon.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
        self._parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, weight in self.weights.items():
            weight.lerp_(self._parameters[name], 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averaged weights in the network while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self.weights.items():
            kept = weight.clone()
            weight.copy_(self._parameters[name])
            self._parameters[name].copy_(kept)
