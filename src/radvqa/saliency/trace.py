"""Trace: one forward and, for every answer token, one backward pass; gradients of attention without storing attention.

In: a turn and a target. Out: the layers of both towers with the gradient of each token's score with respect to the
output of every attention head.

    traced = trace(turn, target)
    traced.chunk("language", 3, rows)             # weights [1, H, R, L], their gradients [T, H, R, L]

The output of a head is O = A V, so the gradient of a score with respect to A is dO V^T: it follows from dO and V, both
L x d, for the rows that are wanted and one layer at a time. The fast attention kernel stays in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from radvqa.saliency.capture import Attention, capture
from radvqa.saliency.turn import Target, Turn


@dataclass(frozen=True)
class Trace:
    """What gradient methods need, for the T' answer tokens in `tokens`."""

    layers: dict[str, list[Attention]]
    gradients: dict[str, list[torch.Tensor]]
    """tower -> layer -> float[T', L, H, d], the gradient of each token's score with respect to the heads' output."""
    tokens: tuple[int, ...]

    def chunk(self, tower: str, layer: int, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights float32[1, H, R, L] and their gradients float32[T', H, R, L] for some rows of one layer."""
        attention = self.layers[tower][layer]
        assert attention.value is not None
        outer = self.gradients[tower][layer][:, rows].transpose(1, 2)  # [T', H, R, d]
        num, heads, num_rows, size = outer.shape
        shared = attention.value.shape[1]
        grouped = outer.reshape(num, shared, heads // shared * num_rows, size)
        inner = grouped.float() @ attention.value.float().transpose(2, 3)
        return attention.weights(rows), inner.reshape(num, heads, num_rows, -1)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside the block, so that backward passes compute those of activations only."""
    asking = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in asking:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def trace(turn: Turn, target: Target, *, vision: bool = False) -> Trace:
    """Trace the chosen tokens' scores through the language tower and, with `vision`, through the vision tower.

    Memory: activations of one forward, and T' x L x width a layer.
    """
    towers = ("language", "vision") if vision else ("language",)
    family, network = turn.model.family, turn.model.network
    with frozen(network), torch.enable_grad():
        with capture(network, towers=towers, keep_value=True, keep_output=True) as seen:
            pixels = turn.batch.pixels.detach().clone().requires_grad_(vision)
            features = family.encode(network, pixels)
            features = features if vision else features.detach().requires_grad_()
            scores = turn.score(turn.logits(family.hidden(network, turn.batch, features)), target)[0]
        layers = {tower: seen.layers(tower) for tower in towers}
        tokens = scored_tokens(turn, target)
        outputs = [layer.output for tower in towers for layer in layers[tower]]
        found = token_gradients(scores, tokens, outputs)  # type: ignore[arg-type]
    places = iter(found)
    gradients = {tower: [next(places)[:, 0] for _ in layers[tower]] for tower in towers}
    return Trace(layers, gradients, tokens)


def scored_tokens(turn: Turn, target: Target) -> tuple[int, ...]:
    """The answer tokens whose score is explained: those that make the whole, or the one of a contrast."""
    return turn.chosen(target) if target.against is None else tuple(turn.contrast(target.against)[0].tolist())


def token_gradients(scores: torch.Tensor, tokens: tuple[int, ...], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """For each input its gradients float[T', ...], one backward pass for each of the tokens of scores float[T]."""
    found: list[list[torch.Tensor]] = [[] for _ in inputs]
    for number, token in enumerate(tokens):
        last = number == len(tokens) - 1
        for place, gradient in zip(found, torch.autograd.grad(scores[token], inputs, retain_graph=not last)):
            place.append(gradient)
    return [torch.stack(place) for place in found]


def spread(turn: Turn, tokens: tuple[int, ...], values: torch.Tensor) -> torch.Tensor:
    """float32[T, N] from float[T', N]: 0 for answer tokens that were not asked for."""
    every = torch.zeros(len(turn.columns), values.shape[-1], device=values.device)
    every[list(tokens)] = values.float()
    return every
