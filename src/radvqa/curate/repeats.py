"""Pairs that are there twice: on one image, or in other words on two.

In: questions and answers, one after the other. Out: for each repeat the place of the earlier pair it repeats.

    repeats = Repeats()
    for image, question, answer in rows: repeats.add(image, question, answer)
    earlier = repeats.find()  # {17: 4}

On one image: the same question, or one of almost the same words (Jaccard similarity 0.8) that does not differ in a word
that changes its meaning (left, upper, not ...). Across images: question and answer together of at least twelve words, the
answer of five, alike at 0.8 in their word triples, found by MinHash (Broder 1997) as in texts.py; short ones ("Is it CT? yes") are alike
without being copies. Memory: about 200 bytes a pair.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from radvqa.curate.texts import BAND, NUM_BANDS, SIMILAR

MIN_WORDS, MIN_ANSWER_WORDS = 12, 5
MATTERS = (
    "left right bilateral upper lower middle superior inferior anterior posterior medial lateral proximal distal first "
    "second third no not without with normal abnormal larger smaller largest smallest increased decreased high low t1 t2 "
    "ct mr mri axial sagittal coronal benign malignant acute chronic"
)
"""Two questions that differ in one of these words ask different things."""
_WORD = re.compile(r"\w+")


class Repeats:
    """Collects pairs and then finds the repeats among them."""

    def __init__(self) -> None:
        self._of_image: dict[int, list[int]] = defaultdict(list)
        self._words = array("I")
        self._num_words = array("I")
        self._triples = array("I")
        self._num_triples = array("I")

    def add(self, image: str | None, question: str, answer: str) -> None:
        """One more pair; its place is the number of those before it."""
        place = len(self._num_words)
        asked = _WORD.findall(question.lower())
        answered = _WORD.findall(answer.lower())
        every = asked + answered
        if image is not None:
            self._of_image[zlib.crc32(image.encode()) | zlib.adler32(image.encode()) << 32].append(place)
        hashes = {_hash(word) for word in asked}
        self._words.extend(hashes)
        self._num_words.append(len(hashes))
        long = len(every) >= MIN_WORDS and len(answered) >= MIN_ANSWER_WORDS
        triples = {_hash(" ".join(every[at : at + 3])) for at in range(len(every) - 2)} if long else set()
        self._triples.extend(triples)
        self._num_triples.append(len(triples))

    def find(self) -> dict[int, int]:
        """{place of a repeat: place of the earlier pair}; the earlier one is no repeat itself."""
        found: dict[int, int] = {}
        words = _Sets(self._words, self._num_words)
        for places in self._of_image.values():
            kept: list[int] = []
            for place in places:
                earlier = next((k for k in kept if _same_question(words[k], words[place])), None)
                if earlier is None:
                    kept.append(place)
                else:
                    found[place] = earlier
        triples = _Sets(self._triples, self._num_triples)
        for place, earlier in _candidates(triples):
            if place not in found and earlier not in found and _jaccard(triples[earlier], triples[place]) >= SIMILAR:
                found[place] = earlier
        return found


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


_MATTERS = frozenset(map(_hash, MATTERS.split()))


class _Sets:
    """Many small sets of hashes in one array."""

    def __init__(self, values: array[int], sizes: array[int]) -> None:
        self.values = np.frombuffer(values, np.uint32) if len(values) else np.empty(0, np.uint32)
        self.sizes = np.frombuffer(sizes, np.uint32).astype(np.int64) if len(sizes) else np.empty(0, np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)])

    def __getitem__(self, place: int) -> frozenset[int]:
        return frozenset(self.values[self.starts[place] : self.starts[place + 1]].tolist())

    def __len__(self) -> int:
        return len(self.sizes)


def _same_question(a: frozenset[int], b: frozenset[int]) -> bool:
    return a == b or (_jaccard(a, b) >= SIMILAR and not (a ^ b) & _MATTERS)


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / max(1, len(a | b))


def _candidates(sets: _Sets) -> list[tuple[int, int]]:
    """(place, earlier) of sets that share a band of their signatures with the first or the one before in its bucket."""
    long = np.flatnonzero(sets.sizes > 0)
    if len(long) < 2:
        return []
    bands = _bands(sets, long)
    pairs: set[tuple[int, int]] = set()
    for band in range(NUM_BANDS):
        order = np.argsort(bands[:, band], kind="stable")  # stable: within a bucket in the order of arrival
        keys = bands[order, band]
        same = np.flatnonzero(keys[1:] == keys[:-1]) + 1
        first = np.maximum.accumulate(
            np.where(np.concatenate([[True], keys[1:] != keys[:-1]]), np.arange(len(keys)), 0)
        )
        for mine, other in ((same, same - 1), (same, first[same])):
            pairs.update(zip(long[order[mine]].tolist(), long[order[other]].tolist()))
    return sorted((max(pair), min(pair)) for pair in pairs)


def _bands(sets: _Sets, places: NDArray[np.int64], block: int = 4096) -> NDArray[np.uint64]:
    """uint64[N, NUM_BANDS]: each band of the MinHash signature in one number; a block of sets at a time."""
    draw = np.random.default_rng(0)
    factor = draw.integers(2**63, size=NUM_BANDS * BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offset = draw.integers(2**63, size=NUM_BANDS * BAND, dtype=np.uint64)
    bands = np.empty((len(places), NUM_BANDS), np.uint64)
    for at in range(0, len(places), block):
        some = places[at : at + block]
        first, last = sets.starts[some[0]], sets.starts[some[-1] + 1]
        values = sets.values[first:last].astype(np.uint64)  # sets between them are empty, so they lie side by side
        starts = sets.starts[some] - first
        for band in range(NUM_BANDS):
            mixed = np.zeros(len(some), np.uint64)
            for k in range(band * BAND, (band + 1) * BAND):
                least = np.minimum.reduceat((values * factor[k] + offset[k]) >> np.uint64(16), starts)
                mixed = (mixed ^ least) * np.uint64(0x9E3779B97F4A7C15)
            bands[at : at + block, band] = mixed
    return bands
