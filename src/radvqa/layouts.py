"""The two layouts of a batch: `prefix`, the model's own mask, and `image-first`, a row a picture with all its questions.

In: a model, a store of pictures, Items. Out: a Batch in which each distinct picture is there once.

    batch = BUILDERS[model.layout](model, store, items)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from radvqa.batch import Batch, collate, collate_image_first
from radvqa.model import VQAModel
from radvqa.order import Item, by_image


class Pictures(Protocol):
    """Where pictures come from: a PixelStore, or the features that a frozen tower made of them."""

    def batch(self, keys: Sequence[str]) -> torch.Tensor: ...

    def ahead(self, keys: Sequence[str]) -> None:
        """Which pictures the next steps will want."""


Build = Callable[[VQAModel, Pictures, Sequence[Item]], Batch]


def make_batch(model: VQAModel, store: Pictures, items: Sequence[Item]) -> Batch:
    """A row a question."""
    keys = list(by_image(items))
    place = {key: i for i, key in enumerate(keys)}
    rows, images = [item.encoded for item in items], [place[item.image] for item in items]
    return collate(rows, images, store.batch(keys), model.tokenizer.pad_token_id, layout=model.layout)


def make_image_first(model: VQAModel, store: Pictures, items: Sequence[Item]) -> Batch:
    """A row a picture, or several (see PackedBatch)."""
    groups = by_image(items)
    encoded = [[item.encoded for item in some] for some in groups.values()]
    return collate_image_first(encoded, store.batch(list(groups)), model.tokenizer.pad_token_id)


def tokens_by_question(items: Sequence[Item]) -> int:
    """Tokens of a micro-batch with a row a question, padding included."""
    return len(items) * max(len(item.encoded.ids) for item in items)


def tokens_by_image(items: Sequence[Item]) -> int:
    """Tokens of a micro-batch with a row a picture, each picture once."""
    texts = sum(len(item.encoded.ids) - item.encoded.num_shared for item in items)
    return texts + len(by_image(items)) * items[0].encoded.num_shared


BUILDERS: dict[str, Build] = {"prefix": make_batch, "image-first": make_image_first}
COSTS: dict[str, Callable[[Sequence[Item]], int]] = {"prefix": tokens_by_question, "image-first": tokens_by_image}
