"""Mixtures: which samples of which source one pass over a stage's data holds, as a seeded index map.

In: how many samples each source has, the share of the mixture it was given or none, and a cap. Out: int[T, 2], a row
for each place in the pass: which source, and which of its samples.

    index = mixture([Part(size=4919), Part(size=60_000, share=0.2)], seed=0)

Sources without a share are taken whole, once. A source with a share fills that fraction of the whole: by drawing
without replacement where it has enough, by going round again where it has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a mixture."""

    size: int
    """Samples it has."""
    share: float | None = None
    """Fraction of the mixture it shall be, 0-1; None: taken whole."""
    max_samples: int | None = None
    """At most so many of its samples are ever used, drawn by the seed."""

    @property
    def num_used(self) -> int:
        """Samples that may be drawn."""
        return self.size if self.max_samples is None else min(self.size, self.max_samples)


def counts(parts: Sequence[Part]) -> list[int]:
    """How many places each source fills.

    With W samples in the sources taken whole and shares s_i, the mixture has W / (1 - sum s_i) places and source i
    fills s_i of them; where every source has a share, it has as many places as there are samples.
    """
    whole = sum(part.num_used for part in parts if part.share is None)
    shared = sum(part.share for part in parts if part.share is not None)
    if all(part.share is not None for part in parts):
        total = float(sum(part.num_used for part in parts))
    else:
        assert shared < 1, "shares leave no room for the sources taken whole"
        total = whole / (1 - shared)
    return [part.num_used if part.share is None else round(part.share * total) for part in parts]


def mixture(parts: Sequence[Part], seed: int) -> np.ndarray:
    """int64[T, 2] (source, sample): a function of its arguments alone, in a random order.

    A source that goes round again is drawn whole each time round, so its samples differ in use by at most one.
    """
    drawn = []
    for place, (part, number) in enumerate(zip(parts, counts(parts))):
        rng = np.random.default_rng([seed, place])
        used = rng.permutation(part.size)[: part.num_used]
        rounds = -(-number // len(used)) if number else 0
        rows = np.concatenate([rng.permutation(used) for _ in range(rounds)])[:number] if rounds else used[:0]
        drawn.append(np.stack([np.full(len(rows), place), rows], axis=1))
    index = np.concatenate(drawn).astype(np.int64)
    return index[np.random.default_rng([seed, len(parts)]).permutation(len(index))]


def capped(size: int, max_samples: int | None, seed: int) -> np.ndarray:
    """int64[N]: which of `size` samples are used under a cap, in their own order."""
    chosen = np.random.default_rng([seed, 0]).permutation(size)[: size if max_samples is None else max_samples]
    return np.sort(chosen)
