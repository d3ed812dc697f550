"""Leakage: how many copies become candidates, how many strangers, and how long the search takes.

    python benchmarks/leakage.py copies corpora/medpix --pictures 300
    python benchmarks/leakage.py scale --pictures 100000

`copies` cuts pictures of a corpus by 20 % a side, halves, darkens and stores them as JPEG 30, and prints which share of
them are candidates of, and the same as, their originals, and which share of the other pairs are. `scale` compares two
lists of hashes drawn around common centres, as pictures of one anatomy are. A line of JSON each.
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from radvqa.curate.candidates import near
from radvqa.curate.hashing import CONTENT, THUMB_PX, Looks, look_at
from radvqa.curate.register import SAME, same_picture
from radvqa.sample import Corpus

FLIPPED_BITS = 0.25
"""Share of a hash's bits that differ from its centre: two of one centre are 48 of 128 bits apart on average."""


def copied(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A fifth of either side cut off, half the scale, darker, JPEG of quality 30."""
    width, height = picture.size
    left, top = (round(0.2 * side * rng.random()) for side in (width, height))
    cut = picture.crop((left, top, left + round(0.8 * width), top + round(0.8 * height)))
    small = cut.resize((max(1, cut.width // 2), max(1, cut.height // 2)), Image.Resampling.BILINEAR)
    dark = small.point([round(255 * (value / 255) ** 1.5) for value in range(256)] * 3)
    buffer = io.BytesIO()
    dark.save(buffer, "JPEG", quality=30)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def copies(corpus: Corpus, number: int) -> dict[str, float]:
    """Shares of copies and of strangers that are candidates, and of copies that score as the same."""
    rng = np.random.default_rng(0)
    keys = sorted(corpus.image_keys())
    pictures = [corpus.image(keys[place]) for place in rng.choice(len(keys), min(number, len(keys)), replace=False)]
    made = [copied(picture, rng) for picture in pictures]
    pairs = {pair for part in near(look_at(made), look_at(pictures)) for pair in zip(part.left, part.right)}
    own = sum(i == j for i, j in pairs)
    scores = [same_picture(_grey(a), _grey(b)).score for a, b in list(zip(made, pictures))[:50]]
    num = len(pictures)
    found = {"pictures": num, "copies_that_are_candidates": own / num}
    found["strangers_that_are_candidates"] = (len(pairs) - own) / (num * (num - 1))
    return found | {"copies_the_same_from_the_whole_picture": float(np.mean(np.array(scores) >= SAME))}


def _grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"))


def scale(number: int) -> dict[str, float]:
    """Seconds to find the candidates of `number` x `number` pictures by their hashes; every hundredth is a copy."""
    rng = np.random.default_rng(0)
    centres = rng.integers(2**63, size=(200, 2), dtype=np.uint64)

    def looks() -> Looks:
        hashes = centres[rng.integers(len(centres), size=number)][:, None].repeat(CONTENT + 1, axis=1)
        flips = rng.random((number, CONTENT + 1, 128), dtype=np.float32) < FLIPPED_BITS
        hashes ^= np.packbits(flips, axis=2).view(np.uint64)
        return Looks(np.zeros((number, 1, 1), np.uint8), np.zeros((number, 4), np.float32), hashes)

    left, right = looks(), looks()
    right.hashes[::100, 0] = left.hashes[::100, 0]
    begun, processor = time.perf_counter(), time.process_time()
    found = {pair for part in near(left, right) for pair in zip(part.left.tolist(), part.right.tolist())}
    result = {"pictures": number, "candidates": len(found), "wall_s": time.perf_counter() - begun}
    copied = sum((place, place) in found for place in range(0, number, 100))
    return result | {
        "processor_s": time.process_time() - processor,
        "copies_found": copied / len(range(0, number, 100)),
    }


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["copies", "scale"])
    parser.add_argument("corpus", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=300)
    chosen = parser.parse_args()
    found = scale(chosen.pictures) if chosen.what == "scale" else copies(Corpus(chosen.corpus), chosen.pictures)
    print(json.dumps({"what": chosen.what, "thumb_px": THUMB_PX} | found))


if __name__ == "__main__":
    main()
