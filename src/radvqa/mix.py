"""Mixtures, curricula and annealing: which sample of which source is learned when, as seeded index maps.

In: how many samples each source has, the share of the mixture it was given or none, and a cap. Out: int[T, 2], a row
for each place in the order: which source, and which of its samples.

    index = mixture([Part(size=4919), Part(size=60_000, share=0.2)], seed=0)
    index = annealed([Part(size=60_000), Part(size=1653, share=0.1)], 0, total=90_000, source=1, start=0.75, share=0.5)

Sources without a share are taken whole, `times` over. A source with a share fills that fraction of the whole: by drawing
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
    times: float = 1.0
    """How often a source taken whole is gone through."""

    @property
    def num_used(self) -> int:
        """Samples that may be drawn."""
        return self.size if self.max_samples is None else min(self.size, self.max_samples)


def counts(parts: Sequence[Part]) -> list[int]:
    """How many places each source fills.

    With W samples in the sources taken whole and shares s_i, the mixture has W / (1 - sum s_i) places and source i
    fills s_i of them; where every source has a share, it has as many places as there are samples.
    """
    whole = sum(_taken(part) for part in parts if part.share is None)
    shared = sum(part.share for part in parts if part.share is not None)
    if all(part.share is not None for part in parts):
        total = float(sum(part.num_used for part in parts))
    else:
        assert shared < 1, "shares leave no room for the sources taken whole"
        total = whole / (1 - shared)
    return [_taken(part) if part.share is None else round(part.share * total) for part in parts]


def _taken(part: Part) -> int:
    return round(part.times * part.num_used)


def tempered(sizes: Sequence[int], temperature: float) -> list[float]:
    """Shares in proportion to size ** (1 / temperature) (Devlin 2019; Raffel et al. 2020, section 3.5.2).

    1: as large as they are; the higher, the more even.
    """
    weights = np.array(sizes, float) ** (1 / temperature)
    return [float(weight) for weight in weights / weights.sum()]


def mixture(parts: Sequence[Part], seed: int) -> np.ndarray:
    """int64[T, 2] (source, sample): a function of its arguments alone, in a random order.

    A source that goes round again is drawn whole each time round, so its samples differ in use by at most one.
    """
    drawn = [_filled(part, place, number, seed) for place, (part, number) in enumerate(zip(parts, counts(parts)))]
    index = np.concatenate(drawn)
    return index[np.random.default_rng([seed, len(parts)]).permutation(len(index))]


def curriculum(parts: Sequence[Part], seed: int) -> np.ndarray:
    """int64[T, 2]: the same places as `mixture`, one source after another, each in random order within itself."""
    return np.concatenate(
        [_filled(part, place, number, seed) for place, (part, number) in enumerate(zip(parts, counts(parts)))]
    )


def annealed(parts: Sequence[Part], seed: int, *, total: int, source: int, start: float, share: float) -> np.ndarray:
    """int64[total, 2]: a mixture in which the share of one source rises over the last part of training.

    Until `start` (a fraction of `total`) every source has its share of `mixture`; from there that of `source` goes
    linearly to `share`, the others keeping their proportions (Hu et al. 2024, MiniCPM, section 4; Llama 3, section
    3.4.3). At every place each source is within one sample of what its share has summed up to.
    """
    before = np.array(counts(parts), float)
    before /= before.sum()
    done = (np.arange(total) + 0.5) / max(1, total)
    rise = np.clip((done - start) / (1 - start), 0, 1)
    shares = np.outer(1 - rise, before) + np.outer(rise, _with(before, source, share))
    chosen = _dealt(shares)
    rows = np.empty(total, np.int64)
    for place, part in enumerate(parts):
        mine = chosen == place
        rows[mine] = _filled(part, place, int(mine.sum()), seed)[:, 1]
    return np.stack([chosen, rows], axis=1)


def _with(shares: np.ndarray, source: int, share: float) -> np.ndarray:
    """The shares with that of one source changed and the others in their proportions."""
    rest = shares.copy()
    rest[source] = 0
    found: np.ndarray = rest / rest.sum() * (1 - share) if rest.sum() else rest
    found[source] = share if rest.sum() else 1.0
    return found


def _dealt(shares: np.ndarray) -> np.ndarray:
    """int64[T]: at each place the source that lags furthest behind the sum of its shares float[T, S]."""
    owed, chosen = np.zeros(shares.shape[1]), np.empty(len(shares), np.int64)
    for place, row in enumerate(shares):
        owed += row
        chosen[place] = np.argmax(owed)
        owed[chosen[place]] -= 1
    return chosen


def _filled(part: Part, place: int, number: int, seed: int) -> np.ndarray:
    """int64[number, 2] of one source: as many rounds through its samples as it takes, each in a new order."""
    rng = np.random.default_rng([seed, place])
    used = rng.permutation(part.size)[: part.num_used]
    rounds = -(-number // len(used)) if number else 0
    rows = np.concatenate([rng.permutation(used) for _ in range(rounds)])[:number] if rounds else used[:0]
    return np.stack([np.full(len(rows), place), rows], axis=1).astype(np.int64)


def shares_over(sources: np.ndarray, num_sources: int, num_bins: int) -> np.ndarray:
    """float[num_bins, S]: the share of each source in equal stretches of an order int[T] of sources."""
    bins = np.arange(len(sources)) * num_bins // max(1, len(sources))
    found = np.zeros((num_bins, num_sources))
    np.add.at(found, (bins, sources), 1)
    whole: np.ndarray = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    return whole


def capped(size: int, max_samples: int | None, seed: int) -> np.ndarray:
    """int64[N]: which of `size` samples are used under a cap, in their own order."""
    chosen = np.random.default_rng([seed, 0]).permutation(size)[: size if max_samples is None else max_samples]
    return np.sort(chosen)
