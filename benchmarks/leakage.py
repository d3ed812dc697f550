r"""Leakage: which copies of a picture are found, whether strangers are, and how long the search takes.

    python benchmarks/leakage.py copies corpora/phantom corpora/vqa_rad corpora/medpix corpora/rocov2 --pictures 40 \
        --out benchmarks/leakage-copies-2cpu.json
    python benchmarks/leakage.py strangers corpora/medpix corpora/vqa_rad --out benchmarks/leakage-strangers-2cpu.json
    python benchmarks/leakage.py exhaustive corpora/vqa_rad corpora/medpix --out benchmarks/leakage-exhaustive-2cpu.json
    python benchmarks/leakage.py cells corpora/medpix --pictures 300 --out benchmarks/leakage-cells-2cpu.json
    python benchmarks/leakage.py scale --pictures 100000 --out benchmarks/leakage-scale-2cpu.json

`copies` changes pictures of each corpus in every way of CHANGES, and counts those that are found to be the same as their
original, and where the others were lost; a changed picture that is said to be the same as another's original is a false
pair. `strangers` compares all pictures of each corpus with each other and all corpora with each other: what is found across
subjects is listed, to be looked at. `exhaustive` compares every picture of one corpus with every one of another without
hashes, to see what the search misses. `cells` counts what is lost where hashes lie in cells, as they do in large
searches. `scale` compares two lists of hashes drawn around common centres, as pictures of one
anatomy are.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from radvqa.curate.candidates import EXACT, FIRST_BITS, RADIUS_BITS, ROUTES, Candidates, _num_cores, near
from radvqa.curate.duplicates import Album, same_pictures
from radvqa.curate.hashing import CONTENT, THUMB_PX, Looks, look_at
from radvqa.curate.overlay import overlaid
from radvqa.curate.register import SAME, coarse, fine
from radvqa.sample import Corpus

FLIPPED_BITS = 0.25
"""Share of a hash's bits that differ from its centre: two of one centre are 48 of 128 bits apart on average."""
COPY_BITS = 0.15
"""And of a copy's bits from its original's."""
GREY_PX = 512
LISTED = 0.55
"""Pairs of strangers that score this are listed, though they are not the same."""
Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def scaled(share: float) -> Change:
    def change(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        size = [max(16, round(share * side)) for side in picture.size]
        return picture.resize(size, Image.Resampling.BILINEAR)

    return change


def cut(share: float) -> Change:
    """A share of the width and of the height gone, the rest anywhere."""

    def change(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        left, top = (round(share * side * rng.random()) for side in picture.size)
        width, height = (round((1 - share) * side) for side in picture.size)
        return picture.crop((left, top, left + width, top + height))

    return change


def toned(of: Callable[[float], float]) -> Change:
    """Every grey from 0 to 1 replaced."""
    table = [round(255 * min(max(of(value / 255), 0.0), 1.0)) for value in range(256)] * 3
    return lambda picture, rng: picture.point(table)


def as_jpeg(quality: int) -> Change:
    def change(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

    return change


def one_after_the_other(*changes: Change) -> Change:
    def change(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        for one in changes:
            picture = one(picture, rng)
        return picture

    return change


CHANGES: dict[str, Change] = {
    "scale 1/2": scaled(0.5),
    "scale 1/4": scaled(0.25),
    "cut by 10 % a side": cut(0.1),
    "cut by 20 % a side": cut(0.2),
    "cut by 30 % a side": cut(0.3),
    "margin of 10 % around": lambda picture, rng: ImageOps.expand(picture, round(0.1 * max(picture.size))),
    "gamma 0.5": toned(lambda grey: grey**0.5),
    "gamma 2": toned(lambda grey: grey**2),
    "window from 15 to 75 %": toned(lambda grey: (grey - 0.15) / 0.6),
    "JPEG 50": as_jpeg(50),
    "JPEG 30": as_jpeg(30),
    "JPEG 10": as_jpeg(10),
    "turned by 3 degrees": lambda picture, rng: picture.rotate(3, Image.Resampling.BILINEAR),
    "cut 20 %, 1/2, gamma 1.5, JPEG 30": one_after_the_other(
        cut(0.2), scaled(0.5), toned(lambda grey: grey**1.5), as_jpeg(30)
    ),
    "mirrored": lambda picture, rng: ImageOps.mirror(picture),
    "negative": toned(lambda grey: 1 - grey),
}


# ---------------------------------------------------------------- copies


def copies(corpus: Corpus, number: int) -> dict[str, Any]:
    """Found and lost copies and false pairs of some pictures, change by change."""
    rng = np.random.default_rng(0)
    keys = sorted(corpus.image_keys())
    chosen = [keys[place] for place in rng.choice(len(keys), min(number, len(keys)), replace=False)]
    originals = [corpus.image(key) for key in chosen]
    looks, greys = look_at(originals), [_grey(picture) for picture in originals]
    rows = {name: _one_change(originals, looks, greys, change, rng) for name, change in CHANGES.items()}
    return {"corpus": corpus.card["title"], "pictures": len(chosen), "changes": rows}


def _one_change(
    originals: list[Image.Image], looks: Looks, greys: list[np.ndarray], change: Change, rng: np.random.Generator
) -> dict[str, Any]:
    made = [change(picture, rng) for picture in originals]
    own = look_at(made)
    counts = {name: 0 for name in ("found", "lost_by_hash", "lost_by_overlay", "lost_by_thumbnail", "lost_by_score")}
    strangers = {name: 0 for name in ("by_hash", "by_overlay", "by_thumbnail", "false_pairs")}
    candidates = {pair for part in near(own, looks) for pair in zip(part.left.tolist(), part.right.tolist())}
    starts = {(i, j): start for part in near(own, looks) for i, j, start in overlaid(own, looks, part)}
    lowest: float | None = None
    for pair in sorted(candidates | {(place, place) for place in range(len(made))}):
        i, j = pair
        stage, score = "hash", 0.0
        if pair in candidates:
            stage = "overlay"
        if pair in starts:
            stage = "thumbnail"
            laid = coarse(own.thumbs[i].astype(np.float64), looks.thumbs[j].astype(np.float64), starts[pair])
            if laid is not None:
                score = fine(_grey(made[i]), greys[j], laid).score
                stage = "found" if score >= SAME else "score"
        if i == j:
            counts["found" if stage == "found" else f"lost_by_{stage}"] += 1
            lowest = min(lowest or 1.0, round(score, 3)) if stage == "found" else lowest
        else:
            strangers["by_hash"] += 1
            strangers["by_overlay"] += stage in ("thumbnail", "score", "found")
            strangers["by_thumbnail"] += stage in ("score", "found")
            strangers["false_pairs"] += stage == "found"
    num = len(made)
    return counts | {"lowest_score_found": lowest, "pairs_of_strangers": num * (num - 1), "passed": strangers}


def _grey(picture: Image.Image) -> np.ndarray:
    small = picture.convert("L")
    small.thumbnail((GREY_PX, GREY_PX), Image.Resampling.BOX)
    return np.asarray(small)


# ---------------------------------------------------------------- strangers


def strangers(corpora: list[Corpus]) -> list[dict[str, Any]]:
    """All pictures against all, within every corpus and between every two."""
    albums = [Album([(corpus, corpus.image_keys())]) for corpus in corpora]
    subjects = [{s.image: (s.subject, s.id) for s in corpus.samples()} for corpus in corpora]
    found = []
    for a, b in [(place, place) for place in range(len(corpora))] + list(combinations(range(len(corpora)), 2)):
        begun, num_a, num_b = time.process_time(), len(albums[a].keys), len(albums[b].keys)
        pairs = list(same_pictures(albums[a], albums[b], threshold=LISTED))
        row: dict[str, Any] = {"left": corpora[a].card["title"], "right": corpora[b].card["title"]}
        row["pairs_compared"] = num_a * (num_a - 1) // 2 if a == b else num_a * num_b
        told = sorted(
            (round(p.match.score, 3), a == b and own[p.left][0] == other[p.right][0], own[p.left][1], other[p.right][1])
            for p in pairs
            for own, other in [(subjects[a], subjects[b])]
        )
        row["found_within_a_subject"] = [one for one in told if one[0] >= SAME and one[1]]
        row["found_across_subjects"] = [one for one in told if one[0] >= SAME and not one[1]]
        row["closest_others"] = [one for one in told if one[0] < SAME][-20:]
        found.append(row | {"processor_s": round(time.process_time() - begun, 1)})
    return found


def exhaustive(left: Corpus, right: Corpus) -> dict[str, Any]:
    """Every pair laid whole upon whole and content upon content, whatever the hashes say: what does the search miss?"""
    a, b = (Album([(corpus, corpus.image_keys())]) for corpus in (left, right))
    usual = {(pair.left, pair.right) for pair in same_pictures(a, b)}
    i, j = (part.ravel() for part in np.meshgrid(np.arange(len(a.keys)), np.arange(len(b.keys)), indexing="ij"))
    scores: dict[tuple[str, str], float] = {}
    for route in (0, len(ROUTES) - 1):
        for x, y, start in overlaid(a.looks, b.looks, Candidates(i, j, np.full(len(i), route))):
            laid = coarse(a.looks.thumbs[x].astype(np.float64), b.looks.thumbs[y].astype(np.float64), start)
            pair = a.keys[x], b.keys[y]
            if laid is not None and pair[0] != pair[1]:
                scores[pair] = max(scores.get(pair, 0.0), fine(a.grey(x), b.grey(y), laid).score)
    found = {pair for pair, score in scores.items() if score >= SAME}
    closest = sorted((round(score, 3) for pair, score in scores.items() if score < SAME), reverse=True)[:10]
    row: dict[str, Any] = {"left": left.card["title"], "right": right.card["title"], "pairs_compared": len(i)}
    row |= {"found": len(found), "of_them_missed_by_the_search": len(found - usual), "closest_others": closest}
    return row | {"found_by_the_search_alone": len(usual - found)}


# ---------------------------------------------------------------- scale


def scale(number: int) -> dict[str, Any]:
    """Seconds to find the candidates of `number` x `number` pictures by their hashes; every hundredth is a copy."""
    rng = np.random.default_rng(0)
    centres = rng.integers(2**63, size=(200, 2), dtype=np.uint64)

    def looks() -> Looks:
        hashes = centres[rng.integers(len(centres), size=number)][:, None].repeat(CONTENT + 1, axis=1)
        flips = rng.random((number, CONTENT + 1, 128), dtype=np.float32) < FLIPPED_BITS
        hashes ^= np.packbits(flips, axis=2).view(np.uint64)
        return Looks(np.zeros((number, 1, 1), np.uint8), np.zeros((number, 4), np.float32), hashes)

    left, right = looks(), looks()
    flips = rng.random((number, 128), dtype=np.float32)[::100] < COPY_BITS
    right.hashes[::100, 0] = left.hashes[::100, 0] ^ np.packbits(flips, axis=1).view(np.uint64)
    alike = flips[:, :64].sum(axis=1) <= FIRST_BITS
    alike &= flips.sum(axis=1) <= RADIUS_BITS
    begun, processor = time.perf_counter(), time.process_time()
    found = {pair for part in near(left, right) for pair in zip(part.left.tolist(), part.right.tolist())}
    result = {"pictures": number, "candidates": len(found), "wall_s": round(time.perf_counter() - begun, 1)}
    copied = sum((place, place) in found for place in (100 * np.flatnonzero(alike)).tolist())
    result |= {"processor_s": round(time.process_time() - processor, 1), "cores": _num_cores()}
    return result | {"near_copies": int(alike.sum()), "near_copies_found": copied / int(alike.sum())}


def cells(corpus: Corpus, number: int) -> dict[str, Any]:
    """How many of the candidates, and of those that are copies, are still found where hashes lie in cells."""
    rng = np.random.default_rng(1)
    keys = corpus.image_keys()
    looks = look_at(corpus.image(key) for key in keys)
    chosen = rng.choice(len(keys), min(number, len(keys)), replace=False).tolist()
    change = CHANGES["cut 20 %, 1/2, gamma 1.5, JPEG 30"]
    own = look_at(change(corpus.image(keys[place]), rng) for place in chosen)
    exact, celled = (
        {(i, j) for part in near(own, looks, exact=most) for i, j in zip(part.left.tolist(), part.right.tolist())}
        for most in (EXACT, 0)
    )
    copies = [(i, j) in exact for i, j in enumerate(chosen)]
    kept = [(i, j) in celled for i, j in enumerate(chosen)]
    row = {"corpus": corpus.card["title"], "copies": len(chosen), "pictures": len(keys), "candidates": len(exact)}
    row |= {"candidates_kept": len(celled) / len(exact)}
    return row | {"copies_that_are_candidates": sum(copies) / len(chosen), "of_them_kept": sum(kept) / sum(copies)}


def main() -> None:
    """Print the result as JSON, and write it where `--out` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["copies", "strangers", "exhaustive", "cells", "scale"])
    parser.add_argument("corpora", type=Path, nargs="*")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    corpora = [Corpus(folder) for folder in chosen.corpora]
    found: Any
    if chosen.what == "scale":
        found = scale(chosen.pictures)
    elif chosen.what == "cells":
        found = [cells(corpus, chosen.pictures) for corpus in corpora]
    elif chosen.what == "exhaustive":
        found = exhaustive(*corpora)
    elif chosen.what == "copies":
        found = [copies(corpus, chosen.pictures) for corpus in corpora]
    else:
        found = strangers(corpora)
    text = json.dumps({"what": chosen.what, "thumb_px": THUMB_PX, "result": found}, indent=1, ensure_ascii=False)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
