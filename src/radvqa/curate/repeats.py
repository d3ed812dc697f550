"""Pairs that are there twice: on one image, or in other words on two.

In: sketches of pairs (sketches.py), block by block. Out: for each pair the place of the earlier one that it repeats, or -1.

    with Repeats(folder) as repeats:
        for block in blocks: repeats.add(sketch(block))
        earlier = repeats.find()  # int32[N]

On one image: the same question, or one of almost the same words (Jaccard similarity 0.8) that does not differ in a word
that changes its meaning (left, upper, not ...). Across images: question and answer of long pairs alike at 0.8 in their word
triples; compared are those that share a MinHash band with the first or the one before in its bucket.

Everything lies in `folder`, about 0.2 KB a pair; keys are sorted 2^20 at a time. In memory: 4 bytes a pair and 8 for each
two that are alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radvqa.curate.sketches import Keys, Sketches, hash_of
from radvqa.curate.texts import NUM_BANDS, SIMILAR

Places = NDArray[np.int64]
MATTERS = (
    "left right bilateral upper lower middle superior inferior anterior posterior medial lateral proximal distal first "
    "second third no not without with normal abnormal larger smaller largest smallest increased decreased high low t1 t2 "
    "ct mr mri axial sagittal coronal benign malignant acute chronic"
)
"""Two questions that differ in one of these words ask different things."""
_MATTERS = frozenset(map(hash_of, MATTERS.split()))


class Stored:
    """Short arrays on disk, found by their place."""

    def __init__(self, file: Path, kind: type[np.generic]) -> None:
        self._kind, self._size = kind, np.dtype(kind).itemsize
        self._values = file.open("w+b", buffering=0)
        self._ends = file.with_name(file.name + "-ends").open("w+b", buffering=0)
        _write(self._ends, np.zeros(1, np.int64))
        self._end = 0

    def add(self, values: NDArray[Any], sizes: NDArray[np.int64]) -> None:
        """Further arrays, one after the other in `values`. Only before the first is read."""
        ends = self._end + np.cumsum(sizes)
        _write(self._values, values.astype(self._kind, copy=False))
        _write(self._ends, ends)
        self._end += int(sizes.sum())

    def __getitem__(self, place: int) -> NDArray[Any]:
        self._ends.seek(8 * place)
        first, end = np.frombuffer(self._ends.read(16), np.int64).tolist()
        self._values.seek(self._size * first)
        return np.frombuffer(self._values.read(self._size * (end - first)), self._kind)

    def close(self) -> None:
        self._values.close()
        self._ends.close()


class Repeats:
    """Collects the sketches of pairs and then finds the repeats among them. A context manager."""

    def __init__(self, folder: Path, *, at_once: int = 1 << 20) -> None:
        """`at_once`: keys sorted at a time."""
        self.num, self.at_once = 0, at_once
        self._words, self._triples = Stored(folder / "words", np.uint32), Stored(folder / "triples", np.uint32)
        names = ["image", *(f"band-{band}" for band in range(NUM_BANDS))]
        self._keys = [(folder / name).open("w+b", buffering=0) for name in names]

    def __enter__(self) -> Repeats:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; what is in the folder is of no further use."""
        self._words.close()
        self._triples.close()
        for file in self._keys:
            file.close()

    def add(self, some: Sketches) -> None:
        """Further pairs; the place of each is the number of those before it."""
        self._words.add(some.words.values, some.words.sizes)
        self._triples.add(some.triples.values, some.triples.sizes)
        for file, keys in zip(self._keys, (some.image, *some.bands)):
            _write(file, keys)
        self.num += len(some.image)

    def find(self) -> NDArray[np.int32]:
        """int32[N]: the place of the earlier pair that is repeated, which is no repeat itself; -1 where there is none."""
        earlier = np.full(self.num, -1, np.int32)
        for keys, places in self._sorted(0):
            for some in np.split(places, np.flatnonzero(keys[1:] != keys[:-1]) + 1):
                if len(some) > 1:
                    self._on_one_image(some.tolist(), earlier)
        alike = np.empty(0, np.int64)
        for band in range(NUM_BANDS):
            alike = np.union1d(alike, self._alike(1 + band, alike))
        for code in map(int, alike):  # by place, then by the place before
            place, before = code >> 32, code & 0xFFFFFFFF
            if earlier[place] < 0 and earlier[before] < 0:
                earlier[place] = before
        return earlier

    def num_images(self, among: NDArray[np.bool_]) -> int:
        """How many images the pairs of `among` (bool[N]) have."""
        return sum(len(np.unique(keys[among[places]])) for keys, places in self._sorted(0))

    def _on_one_image(self, places: list[int], earlier: NDArray[np.int32]) -> None:
        kept: list[tuple[int, frozenset[int]]] = []
        for place in places:
            words = frozenset(self._words[place].tolist())
            before = next((k for k, others in kept if _same_question(others, words)), None)
            if before is None:
                kept.append((place, words))
            else:
                earlier[place] = before

    def _alike(self, number: int, known: Places) -> Places:
        """place << 32 | place before, of two that share this band and are alike, less those known to be."""
        found = [known[:0]]
        for keys, places in self._sorted(number):
            begins = np.concatenate([[True], keys[1:] != keys[:-1]])
            first = places[np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))]
            before = np.concatenate([places[:1], places[:-1]])
            both = [places[~begins] << 32 | others[~begins] for others in (first, before)]
            codes = np.setdiff1d(np.concatenate(both), known)
            found.append(
                codes[np.array([self._are_alike(code >> 32, code & 0xFFFFFFFF) for code in map(int, codes)], bool)]
            )
        return np.concatenate(found)

    def _are_alike(self, a: int, b: int) -> bool:
        return _jaccard(frozenset(self._triples[a].tolist()), frozenset(self._triples[b].tolist())) >= SIMILAR

    def _sorted(self, number: int) -> Iterator[tuple[Keys, Places]]:
        """The keys of a file in order, with their places, in parts that share no key; equal ones by place; no 0."""
        parts = np.uint64(-(-self.num // self.at_once))
        for part in range(int(parts)):
            some = [
                (keys[mine], at + mine)
                for at, keys in self._read(number)
                for mine in [np.flatnonzero((keys % parts == part) & (keys != 0))]
            ]
            keys, places = (np.concatenate(column) for column in zip(*some))
            order = np.argsort(keys, kind="stable")
            if len(order):
                yield keys[order], places[order]

    def _read(self, number: int) -> Iterator[tuple[int, Keys]]:
        self._keys[number].seek(0)
        for at in range(0, self.num, 1 << 16):
            yield at, np.frombuffer(self._keys[number].read(8 << 16), np.uint64)


def _write(file: Any, values: NDArray[Any]) -> None:
    left = memoryview(values.tobytes())
    while len(left):
        left = left[file.write(left) :]


def _same_question(a: frozenset[int], b: frozenset[int]) -> bool:
    return a == b or (_jaccard(a, b) >= SIMILAR and not (a ^ b) & _MATTERS)


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / max(1, len(a | b))
