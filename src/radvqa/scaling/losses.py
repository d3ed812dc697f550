"""What each question costs a model: the loss of its reference answer.

In: a model and questions. Out: losses.parquet, a row a question: nats of its answer, tokens, and what it is about.

    frame = question_losses(load("radvqa-tiny", adapter), [(corpus, samples)])

The sum over questions of nats by the sum of tokens is the loss that training minimises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
import torch
from torch.nn.functional import cross_entropy

from radvqa.batch import IGNORED, Batch
from radvqa.model import VQAModel
from radvqa.pixels import PixelStore
from radvqa.sample import Corpus, Sample
from radvqa.train import encode_samples, make_batch

ABOUT = ("kind", "topic", "source", "modality", "plane", "region")


@torch.inference_mode()
def batch_losses(model: VQAModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats float[B] and supervised tokens int[B] of each question of a batch."""
    family, network = model.family, model.network
    hidden = family.hidden(network, batch, family.encode(network, batch.pixels))
    target = batch.labels[:, 1:]
    here = target != IGNORED
    nats = cross_entropy(family.logits(network, hidden[:, :-1][here]).float(), target[here], reduction="none")
    total = torch.zeros(len(target), device=nats.device).index_add_(0, here.nonzero()[:, 0], nats)
    return total, here.sum(dim=1)


def question_losses(
    model: VQAModel,
    sources: Sequence[tuple[Corpus, list[Sample]]],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """id, nats, num_tokens and ABOUT of every question."""
    samples = [sample for _, some in sources for sample in some]
    order = sorted(range(len(samples)), key=lambda i: (samples[i].image or "", samples[i].id))
    samples = [samples[i] for i in order]  # questions of one image side by side: it is encoded once for them
    items, store = encode_samples(model, samples), PixelStore([corpus for corpus, _ in sources], model.form)
    model.network.eval()
    nats: list[float] = []
    tokens: list[int] = []
    for start in range(0, len(items), batch_size):
        batch = make_batch(model, store, items[start : start + batch_size]).to(model.device, model.dtype)
        some, number = batch_losses(model, batch)
        nats += some.tolist()
        tokens += number.tolist()
        if progress:
            progress(len(nats), len(items))
    about = {name: pl.Series([getattr(sample, name) for sample in samples], dtype=pl.String) for name in ABOUT}
    return pl.DataFrame({"id": [sample.id for sample in samples], "nats": nats, "num_tokens": tokens, **about})
