"""Which questions every optimizer step learns: a function of the questions, the seed and the step alone.

In: Samples, or an index map of a curriculum. Out: the Items of step 0, 1, ..., and how they are cut into micro-batches.

    order = Order(items, seed=0, per_step=96, per_image=8)
    for part in cut(order.step(17), size=6): ...

How a step is cut, sorted by length or shared among devices does not change its gradient: the loss of a step is the sum
over its supervised tokens divided by their number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from radvqa.batch import Encoded
from radvqa.errors import InputError
from radvqa.model import VQAModel
from radvqa.prompt import sample_prompt, sample_target
from radvqa.sample import Sample


@dataclass(frozen=True, slots=True)
class Item:
    """One question ready to be put into a batch."""

    id: str
    image: str
    encoded: Encoded


def encode_samples(model: VQAModel, samples: Sequence[Sample]) -> list[Item]:
    """Samples as token ids. Raises InputError for one without a picture or with an image token in its text."""
    items = []
    for sample in samples:
        if sample.image is None:
            raise InputError("a question without a picture", row=sample.id, key="image")
        encoded = model.encode(sample_prompt(sample, model.style), sample_target(sample))
        if encoded.ids.count(model.family.image_token_id) != model.family.num_image_tokens:
            raise InputError("the text holds the image token", row=sample.id, key="question")
        items.append(Item(sample.id, sample.image, encoded))
    return items


def too_long(items: Iterable[Item], limit: int) -> list[Item]:
    """Those that are longer than `limit` tokens, image tokens included."""
    return [item for item in items if len(item.encoded.ids) > limit]


def by_image(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Items of one picture together, pictures in the order in which they first come."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.image, []).append(item)
    return groups


class Order:
    """The order in which a stage sees its questions.

    By default every epoch is a new permutation in which at most `per_image` questions of one picture come side by side,
    each question once. `places` int[T] gives the order instead: positions in `items`, gone through again when it ends.
    """

    def __init__(
        self, items: Sequence[Item], seed: int, per_step: int, per_image: int, places: Sequence[int] | None = None
    ) -> None:
        self.items, self.seed, self.per_step, self.per_image = items, seed, per_step, per_image
        self.places = None if places is None else [int(place) for place in places]
        wrong = [place for place in self.places or () if not 0 <= place < len(items)]
        if wrong:
            raise InputError(f"the order names question {wrong[0]}", key="order", fix=f"there are {len(items)}, from 0")
        self.length = len(items) if self.places is None else len(self.places)
        self.steps_per_epoch = math.ceil(self.length / per_step)
        self._epoch: tuple[int, list[Item]] = (-1, [])

    def step(self, step: int) -> list[Item]:
        """The questions of one optimizer step; the last step of an epoch may hold fewer."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self.epoch(epoch)
        return self._epoch[1][place * self.per_step : (place + 1) * self.per_step]

    def epoch(self, epoch: int) -> list[Item]:
        """One pass: every question once, or the given order."""
        if self.places is not None:
            return [self.items[place] for place in self.places]
        rng = np.random.default_rng([self.seed, epoch])
        groups = by_image(self.items[i] for i in rng.permutation(len(self.items))).values()
        n = self.per_image
        parts = [some[i : i + n] for some in groups for i in range(0, len(some), n)]
        return [item for i in rng.permutation(len(parts)) for item in parts[i]]


def cut(
    items: Sequence[Item], size: int, max_tokens: int | None = None, cost: Callable[[Sequence[Item]], int] | None = None
) -> list[list[Item]]:
    """A step's questions in micro-batches of at most `size` questions and at most `max_tokens` tokens by `cost`.

    Questions of one picture stay together, pictures with long questions come first, so that rows of a micro-batch are
    of like length. A single question is never cut, whatever it costs.
    """
    groups = sorted(by_image(items).values(), key=lambda some: -max(len(item.encoded.ids) for item in some))
    parts: list[list[Item]] = [[]]
    for item in (item for some in groups for item in some):
        full = len(parts[-1]) == size
        if parts[-1] and not full and max_tokens is not None and cost is not None:
            full = cost([*parts[-1], item]) > max_tokens
        if full:
            parts.append([])
        parts[-1].append(item)
    return parts


def share(items: Sequence[Item], rank: int, num: int) -> list[Item]:
    """The part of a step that falls to one of `num` processes: whole pictures, dealt so that each gets like numbers."""
    load = Counter(dict.fromkeys(range(num), 0))
    mine: list[Item] = []
    for some in sorted(by_image(items).values(), key=len, reverse=True):
        least = min(range(num), key=lambda i: (load[i], i))
        load[least] += len(some)
        mine += some if least == rank else []
    return mine
