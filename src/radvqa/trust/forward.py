"""What one teacher-forced pass over prompt and answer tells: how sure each token was, and where its rows looked.

In: a model, pictures, prompts and the answers that were given. Out: a Reading for each answer.

    readings = read_answers(model, pixels, [Given(0, "answer en Is there a mass?", "no")])

All rows of a batch share one pass; the attention rows of the answer are computed beside the fast kernel (`capture`),
and the second map comes from one backward pass to the image features, for all answers of the batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import rankdata

from radvqa.batch import IGNORED, Batch, collate
from radvqa.model import VQAModel
from radvqa.saliency.capture import Attention, capture
from radvqa.saliency.turn import banned


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that was given: its picture (by its place in the pixels), its prompt and its text."""

    picture: int
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What the pass says of one answer; probabilities as in prediction, the end token included."""

    logprob: float
    """Natural logarithm of the probability of the whole answer."""
    entropy: float
    """Mean over the answer's tokens of the entropy of the next-token distribution, in nats."""
    image_attention: float
    """Share of the answer rows' attention that falls on the image."""
    map_entropy: float
    """Entropy of the raw attention map over N image tokens, divided by log N: 1 is a flat map."""
    agreement: float
    """Spearman's correlation of the raw attention map and |gradient x input| of the image features; nan: not asked
    for, or one of them is constant."""


def laid_out(model: VQAModel, pixels: torch.Tensor, given: Sequence[Given]) -> Batch:
    """The batch of prompts with their answers, as training lays it out."""
    rows = [model.encode(one.prompt, " ".join(one.answer.split())) for one in given]
    pad = model.tokenizer.pad_token_id
    batch = collate(rows, [one.picture for one in given], pixels, pad, layout=model.layout)
    return batch.to(model.device, model.dtype)


@torch.no_grad()
def answer_logprobs(model: VQAModel, pixels: torch.Tensor, given: Sequence[Given]) -> list[float]:
    """Log-probability of each answer about pictures float[I, 3, H, W]: what the blank control needs, and no more."""
    batch = laid_out(model, pixels, given)
    rows, real = answer_rows(batch)
    features = model.family.encode(model.network, batch.pixels)
    own, _ = _token_scores(model, batch, model.family.hidden(model.network, batch, features), rows, real)
    return own.sum(1).tolist()


def read_answers(
    model: VQAModel, pixels: torch.Tensor, given: Sequence[Given], *, agreement: bool = True
) -> list[Reading]:
    """A Reading of each answer about pictures float[I, 3, H, W]. `agreement` costs a backward pass."""
    family, network = model.family, model.network
    batch = laid_out(model, pixels, given)
    rows, real = answer_rows(batch)
    with torch.no_grad():
        features = family.encode(network, batch.pixels)[
            batch.image_of_row
        ]  # each picture encoded once, then a row each
    batch = replace(batch, image_of_row=torch.arange(len(given), device=features.device))
    with torch.set_grad_enabled(agreement), capture(network, rows=rows) as seen:
        features.requires_grad_(agreement)
        own, entropy = _token_scores(model, batch, family.hidden(network, batch, features), rows, real)
        gradient = torch.autograd.grad(own.sum(), features)[0] if agreement else None
    maps = _attention_maps(seen.layers("language"), batch.ids == family.image_token_id, real)
    mass = maps.sum(1)
    shares = maps / mass[:, None]
    flatness = torch.special.entr(shares).sum(1) / np.log(maps.shape[1])
    second = None if gradient is None else (gradient * features.detach()).sum(-1).abs().float().cpu().numpy()
    ranked = np.full(len(given), np.nan) if second is None else rank_correlation(maps.cpu().numpy(), second)
    mean_entropy = entropy.sum(1) / real.sum(1)
    columns = (own.detach().sum(1), mean_entropy.detach(), mass, flatness)
    return [Reading(*values) for values in zip(*(column.tolist() for column in columns), ranked.tolist())]


def answer_rows(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """int[B, R] rows that predict the answers' tokens, and bool[B, R] False where a shorter answer has none.

    Where there is none the row is the last real one, so that every index is valid.
    """
    supervised = batch.labels != IGNORED
    counts = supervised.sum(1)
    place = torch.arange(int(counts.max()), device=counts.device)
    first = supervised.long().argmax(1)  # answers are contiguous
    rows = first[:, None] - 1 + torch.minimum(place[None], counts[:, None] - 1)
    return rows, place[None] < counts[:, None]


def _token_scores(
    model: VQAModel, batch: Batch, hidden: torch.Tensor, rows: torch.Tensor, real: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32[B, R] log-probability and entropy of each answer token, 0 where there is none."""
    wanted = hidden.take_along_dim(rows[..., None], 1)
    logits = model.family.logits(model.network, wanted)
    logprobs = logits.index_fill(-1, banned(model), -torch.inf).log_softmax(-1)
    own = logprobs.take_along_dim(batch.labels.clamp(min=0).take_along_dim(rows + 1, 1)[..., None], 2)[..., 0]
    entropy = torch.special.entr(logprobs.detach().exp()).sum(-1)
    return own.masked_fill(~real, 0.0), entropy.masked_fill(~real, 0.0)


def _attention_maps(layers: Sequence[Attention], is_image: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """float32[B, N]: attention of the answer's rows to each image token, mean over layers, heads and tokens."""
    columns = is_image.nonzero()[:, 1].view(len(is_image), 1, 1, -1)
    weight = (real.float() / real.sum(1, keepdim=True))[:, None, :, None]
    total = torch.zeros(len(is_image), columns.shape[-1], device=real.device)
    for layer in layers:
        total += (layer.weights().take_along_dim(columns, 3) * weight).sum(2).mean(1)
    return total / len(layers)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of float[B, N] with the same row of another, nan where one is constant."""
    a, b = (rankdata(x, axis=1) for x in (first, second))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    below = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), below, out=np.full(len(a), np.nan), where=below > 0)
