"""What is kept of a pair to find its repeats by: hashes of its words, of its word triples, and MinHash bands of those.

In: image, question and answer of some pairs. Out: a few flat arrays, small enough to cross processes and to lie on disk.

    sketches = sketch([("i", "Is there a mass?", "Yes"), (None, "What is gout?", "A crystal arthritis")])

Only long pairs (together at least twelve words, the answer five) have triples and bands: short ones ("Is it CT? yes") are
alike without being copies. Sixteen bands of four MinHash values (Broder 1997), as in texts.py.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from radvqa.curate.texts import BAND, NUM_BANDS

Keys = NDArray[np.uint64]
MIN_WORDS, MIN_ANSWER_WORDS = 12, 5
_WORD = re.compile(r"\w+")
_DRAW = np.random.default_rng(0)
_FACTOR = _DRAW.integers(2**63, size=NUM_BANDS * BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSET = _DRAW.integers(2**63, size=NUM_BANDS * BAND, dtype=np.uint64)


@dataclass(frozen=True)
class Sets:
    """N small sets of hashes, one after the other."""

    values: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    """int64[N]"""

    @classmethod
    def of(cls, sets: Sequence[Iterable[int]]) -> Sets:
        flat = [list(one) for one in sets]
        return cls(np.array(list(chain.from_iterable(flat)), np.uint32), np.array([len(one) for one in flat], np.int64))


@dataclass(frozen=True)
class Sketches:
    """N pairs. A key of 0 is none: it is equal to nothing."""

    image: Keys
    """uint64[N]: a hash of the image's key."""
    words: Sets
    """Of the question."""
    triples: Sets
    """Of question and answer together; empty where they are short."""
    bands: Keys
    """uint64[NUM_BANDS, N]"""

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Take away the keys of pairs that are not to be compared."""
        self.image[gone] = 0
        self.bands[:, gone] = 0


def sketch(pairs: Iterable[tuple[str | None, str, str]]) -> Sketches:
    """The sketches of (image, question, answer); about 20 µs a word triple for all of them."""
    images, words, triples = [], [], []
    for image, question, answer in pairs:
        asked, answered = _WORD.findall(question.lower()), _WORD.findall(answer.lower())
        every = asked + answered
        long = len(every) >= MIN_WORDS and len(answered) >= MIN_ANSWER_WORDS
        images.append(0 if image is None else int.from_bytes(blake2b(image.encode(), digest_size=8).digest()) or 1)
        words.append({hash_of(word) for word in asked})
        triples.append({hash_of(" ".join(every[at : at + 3])) for at in range(len(every) - 2)} if long else ())
    long_ones = Sets.of(triples)
    return Sketches(np.array(images, np.uint64), Sets.of(words), long_ones, _bands(long_ones))


def hash_of(text: str) -> int:
    """32 bits of a word or triple."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _bands(sets: Sets) -> Keys:
    """uint64[NUM_BANDS, N]: each band of the MinHash signature in one number, 0 for an empty set."""
    bands = np.zeros((NUM_BANDS, len(sets.sizes)), np.uint64)
    some = np.flatnonzero(sets.sizes)
    if len(some):
        starts = (np.cumsum(sets.sizes) - sets.sizes)[some]  # empty sets between them take no place
        values = sets.values.astype(np.uint64)
        for k in range(NUM_BANDS * BAND):
            least = np.minimum.reduceat((values * _FACTOR[k] + _OFFSET[k]) >> np.uint64(16), starts)
            bands[k // BAND, some] = (bands[k // BAND, some] ^ least) * np.uint64(0x9E3779B97F4A7C15)
        bands[:, some] = np.maximum(bands[:, some], 1)
    return bands
