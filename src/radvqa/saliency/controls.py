"""Controls: maps that know nothing of the model. A method that does no better than these explains nothing.

In: a turn. Out: random values; a Gaussian in the centre; the edges of the picture; the diagonal of a rollout.

    centre(turn).overall
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from radvqa.saliency.integrated import per_patch
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.raw import attention_pass
from radvqa.saliency.turn import WHOLE, Target, Turn


def random(turn: Turn, target: Target = WHOLE, *, seed: int = 0) -> Explanation:
    """Uniform random values, for each question and picture its own, the same every time."""
    pixels = np.ascontiguousarray(turn.batch.pixels.float().cpu().numpy())
    digest = hashlib.sha256(turn.question.encode() + turn.answer.encode() + pixels.tobytes()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
    return _same_for_all(turn, target, "random", rng.random(turn.grid), "random numbers, a control")


def centre(turn: Turn, target: Target = WHOLE, *, deviation: float = 0.25) -> Explanation:
    """A Gaussian in the middle, its deviation a share of the picture's side."""
    down, across = (((np.arange(n) + 0.5) / n - 0.5) / deviation for n in turn.grid)
    values = np.exp(-0.5 * (down[:, None] ** 2 + across[None] ** 2))
    return _same_for_all(turn, target, "centre", values, "a bell in the centre, a control")


def edges(turn: Turn, target: Target = WHOLE) -> Explanation:
    """How much grey changes within each patch: what an edge detector would call salient (Adebayo et al. 2018)."""
    grey = turn.batch.pixels.float().mean(1, keepdim=True)
    down = torch.diff(grey, dim=2, append=grey[:, :, -1:])
    across = torch.diff(grey, dim=3, append=grey[:, :, :, -1:])
    values = per_patch(turn, torch.sqrt(down**2 + across**2)).cpu().numpy().reshape(turn.grid)
    return _same_for_all(turn, target, "edges", values, "edges of the picture, a control")


@torch.no_grad()
def diagonal(turn: Turn, target: Target = WHOLE) -> Explanation:
    """What the founding tool drew as rollout: question and answer cut out, the layers in the wrong order, the diagonal.

    It says how much of itself each image token keeps. No answer can change it, and where the image sees itself only no
    question either.
    """
    rolled = torch.eye(len(turn.image), device=turn.image.device)
    for layer in attention_pass(turn)["language"]:
        block = layer.weights(turn.image)[0].mean(0)[:, turn.image] + torch.eye(len(rolled), device=rolled.device)
        rolled = rolled @ (block / block.sum(-1, keepdim=True))
    values = rolled.diagonal().cpu().numpy()
    return _same_for_all(turn, target, "diagonal", values, "what each image token keeps of itself, a control")


def _same_for_all(turn: Turn, target: Target, name: str, values: np.ndarray, scale: str) -> Explanation:
    every = np.broadcast_to(values.ravel(), (len(turn.columns), values.size))
    return explanation(turn, target, name, every, scale=scale)
