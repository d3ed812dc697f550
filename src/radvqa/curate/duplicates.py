"""Pictures that are the same though their pixels are not: other scale, crop, contrast or JPEG quality.

In: the pictures of corpora. Out: pairs with a score. Hashes propose pairs, pixels decide.

    print(duplicates(Corpus("corpora/medpix")))

Found are, of 40 copies each of phantoms, VQA-RAD, MedPix and ROCOv2 images: at half the scale all, at a quarter 25 to 40
(least where 56 pixels are left of 224), cut by 10 or 20 % of each side 38 to 40, with another gamma or window 32 to 40, as
JPEG of quality 30 all, turned by 3 degrees 32 to 40, with a margin 28 to 40; cut, halved, darkened and compressed at once
34 to 38. Cut by 30 % one in five; mirrored, negative, or one panel of a montage none. None of 99,840 pairs of different
pictures is called the same (benchmarks/leakage-copies-2cpu.json).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from radvqa.curate.candidates import near
from radvqa.curate.hashing import Looks, look_at
from radvqa.curate.overlay import overlaid
from radvqa.curate.register import SAME, Match, coarse, fine
from radvqa.sample import Corpus

GREY_PX = 512
"""Pictures are compared at no more than this many pixels a side."""
KEPT_IN_MEMORY = 512


class Album:
    """The distinct pictures of some corpora, each with how it looks. Decodes every picture once, and those that are
    compared again; holds 4.5 KB a picture."""

    def __init__(self, parts: Sequence[tuple[Corpus, Collection[str]]]) -> None:
        self._corpus_of = {key: corpus for corpus, keys in parts for key in keys}
        self.keys = list(self._corpus_of)
        self.grey = lru_cache(maxsize=KEPT_IN_MEMORY)(self._grey)

    def image(self, key: str) -> Image.Image:
        """The picture of a key, RGB."""
        return self._corpus_of[key].image(key)

    @cached_property
    def looks(self) -> Looks:
        """How all of them look, in the order of `keys`."""
        return look_at(self.image(key) for key in self.keys)

    def _grey(self, place: int) -> NDArray[np.uint8]:
        picture = self.image(self.keys[place]).convert("L")
        picture.thumbnail((GREY_PX, GREY_PX), Image.Resampling.BOX)
        return np.asarray(picture)


@dataclass(frozen=True)
class SamePicture:
    """Two keys of the same picture and how the one lies in the other."""

    left: str
    right: str
    match: Match


def same_pictures(left: Album, right: Album, *, threshold: float = SAME) -> Iterator[SamePicture]:
    """The pairs of different keys that show the same picture. `left` and `right` may be the same Album; then each pair
    comes once. Time: 4 ms a picture, a nanosecond or less a pair for the hashes, 0.13 ms a candidate, of which one in
    six is aligned (6 ms), and 40 ms for the few whose full pictures are compared."""
    for found in near(left.looks, right.looks):
        new = np.array([left.keys[i] != right.keys[j] for i, j in zip(found.left.tolist(), found.right.tolist())], bool)
        new &= found.left < found.right if left is right else True
        for i, j, start in overlaid(left.looks, right.looks, found.only(new)):
            a, b = (looks.thumbs[place].astype(np.float64) for looks, place in ((left.looks, i), (right.looks, j)))
            laid = coarse(a, b, start)
            if laid is not None:
                match = fine(left.grey(i), right.grey(j), laid)
                if match.score >= threshold:
                    yield SamePicture(left.keys[i], right.keys[j], match)


def duplicates(corpus: Corpus, *, threshold: float = SAME) -> pl.DataFrame:
    """Same pictures within one corpus: left_image, right_image (keys), score; best first. Pictures with the same
    pixels are one key already, and none of them is a pair."""
    album = Album([(corpus, corpus.image_keys())])
    rows = [(pair.left, pair.right, pair.match.score) for pair in same_pictures(album, album, threshold=threshold)]
    schema = {"left_image": pl.String, "right_image": pl.String, "score": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("score", descending=True)
