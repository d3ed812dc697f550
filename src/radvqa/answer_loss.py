"""The loss of a micro-batch: what the answers' tokens cost, and nothing else.

In: a Batch, best on the CPU. Out: its summed cross-entropy in nats, on the network's device, with gradients.

    loss = AnswerLoss(model)(batch) / tokens_of_the_step

Each picture is encoded once, logits are computed where they are wanted only.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from radvqa.batch import IGNORED, Batch
from radvqa.model import VQAModel


class AnswerLoss(nn.Module):
    """Batch -> summed cross-entropy (nats) of its supervised tokens: each image encoded once, logits only where needed.

    The batch may lie on the CPU: where the loss looks is then known before a GPU has computed anything, and nothing waits.
    """

    def __init__(self, model: VQAModel) -> None:
        super().__init__()
        self.network, self.family, self.model = model.network, model.family, model

    def forward(self, batch: Batch) -> torch.Tensor:
        target = torch.cat([batch.labels[:, 1:], torch.full_like(batch.labels[:, :1], IGNORED)], 1)
        here = target != IGNORED
        device, dtype = self.model.device, self.model.dtype
        wanted, batch = target[here].to(device, non_blocking=True), batch.to(device, dtype)
        is_features = batch.pixels.ndim == 3
        features = batch.pixels if is_features else self.family.encode(self.network, batch.pixels)
        logits = self.family.logits(self.network, self.family.hidden(self.network, batch, features, at=here))
        return cross_entropy(logits, wanted, reduction="sum")
