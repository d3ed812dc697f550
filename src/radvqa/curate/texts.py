"""Near-equal texts in two lists, found without comparing all with all.

In: two lists of texts. Out: pairs of places with the Jaccard similarity of their word triples, at least 0.8.

    near_texts(["There is a mass in the left lung ..."], [...])  # [(0, 17, 0.93)]

MinHash signatures (Broder 1997) of 64 values in 16 bands of 4: two texts of similarity 0.8 share a band with probability
1 - (1 - 0.8^4)^16 = 0.9998, of 0.9 with 1 - 1e-7. Pairs that share one are compared exactly.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NUM_BANDS, BAND = 16, 4
SIMILAR = 0.8
MIN_WORDS = 8
"""Shorter texts ("Is there a fracture? no") are alike without having anything to do with each other."""


def words(text: str) -> list[str]:
    """The words of a text in small letters, without punctuation."""
    return re.findall(r"\w+", text.lower())


def near_texts(
    left: Sequence[str], right: Sequence[str], *, similar: float = SIMILAR, min_words: int = MIN_WORDS
) -> list[tuple[int, int, float]]:
    """(place in left, place in right, similarity) of texts of at least `min_words` words, each pair once."""
    shingles = [[_shingles(text, min_words) for text in texts] for texts in (left, right)]
    signatures = [_signatures(some) for some in shingles]
    found: dict[tuple[int, int], float] = {}
    for band in range(NUM_BANDS):
        columns = slice(band * BAND, (band + 1) * BAND)
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, triples in enumerate(shingles[1]):
            if triples:
                buckets[signatures[1][place, columns].tobytes()].append(place)
        for i, own in enumerate(shingles[0]):
            for j in buckets.get(signatures[0][i, columns].tobytes(), ()) if own else ():
                if (i, j) not in found:
                    found[i, j] = len(own & shingles[1][j]) / len(own | shingles[1][j])
    return sorted((i, j, score) for (i, j), score in found.items() if score >= similar)


def _shingles(text: str, min_words: int) -> frozenset[int]:
    """Hashes of all word triples."""
    found = words(text)
    if len(found) < min_words:
        return frozenset()
    return frozenset(zlib.crc32(" ".join(found[at : at + 3]).encode()) for at in range(len(found) - 2))


def _signatures(shingles: Sequence[frozenset[int]]) -> NDArray[np.uint64]:
    """uint64[texts, 64]: the smallest value of each of 64 multiply-shift hashes."""
    draw = np.random.default_rng(0)
    size = NUM_BANDS * BAND
    factor = draw.integers(2**63, size=(1, size), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offset = draw.integers(2**63, size=(1, size), dtype=np.uint64)
    signatures = np.zeros((len(shingles), size), np.uint64)
    for place, triples in enumerate(shingles):
        if triples:
            values = np.fromiter(triples, np.uint64, len(triples))[:, None]
            signatures[place] = ((values * factor + offset) >> np.uint64(16)).min(axis=0)
    return signatures
