"""Which pictures of two lists could be one another's copy or crop, by their hashes.

In: the looks of N and of M pictures. Out: pairs (left, right, route), where the route says which view of the left
picture looks like which view of the right one.

    for found in near(look_at(pictures_a), look_at(pictures_b)): print(found.left, found.right)

A pair is a candidate when the whole of one is near a window of the other, or the contents of both are near: at most 16
of 64 grey bits and 36 of 128 bits apart. Of 300 MedPix images cut by 20 % a side, halved, darkened and stored as JPEG
30, 99.7 % are (benchmarks/leakage-cells-2cpu.json); of the pairs of MedPix and VQA-RAD images 1.3 % are.

Up to EXACT comparisons all are made. Beyond, hashes are put into the cell of the nearest of 1,024 pivots, and a whole
picture is compared with the 128 cells nearest to it only (an inverted file, Sivic and Zisserman 2003): an eighth of the
work, and 99.3 % of those copies; of copies a seventh of whose bits differ, among 100,000 x 100,000, 95 %
(benchmarks/leakage-scale-2cpu.json: 92 seconds on two cores).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from radvqa.curate.hashing import CONTENT, WINDOWS, Bits, Looks

RADIUS_BITS = 36
"""Candidates differ in at most this many of 128 bits ..."""
FIRST_BITS = 16
"""... and in at most this many of the 64 bits of the grey hash, which is compared first."""
EXACT = 20_000_000_000
"""Comparisons of hashes up to which every one is made: 20,000 x 20,000 pictures, 17 seconds of one core."""
PIVOTS, PROBED = 1024, 128
BLOCK = 1 << 16
"""Hashes compared at once: the arrays of a comparison stay within a core's cache."""
CHUNK = 8192
"""Left pictures whose candidates are held at once."""

Ints = NDArray[np.int64]
ROUTES = [(0, view) for view in range(len(WINDOWS))] + [(view, 0) for view in range(len(WINDOWS))]
ROUTES += [(CONTENT, CONTENT)]
"""Which view of the left picture is compared with which view of the right one."""


@dataclass(frozen=True)
class Candidates:
    """Pairs whose hashes are near, each once, over its nearest route; int64 arrays of one length."""

    left: Ints
    right: Ints
    route: Ints
    """Places in ROUTES."""

    def only(self, kept: NDArray[np.bool_]) -> Candidates:
        """Those that `kept`, bool[number], says."""
        return Candidates(self.left[kept], self.right[kept], self.route[kept])


@dataclass(frozen=True)
class _Cells:
    """Hashes sorted by the cell they are in."""

    hashes: Bits
    """uint64[items, 2]."""
    place: Ints
    """Where each was before sorting."""
    starts: Ints
    """int64[cells + 1]: cell c is starts[c]:starts[c + 1]."""


def near(left: Looks, right: Looks, *, radius: int = RADIUS_BITS, exact: int = EXACT) -> Iterator[Candidates]:
    """The candidate pairs, those of some left pictures at a time. `radius` is in bits of 128."""
    num_windows = len(WINDOWS)
    if not len(left) or not len(right):
        return
    whole, windows = right.hashes[:, 0], _flat(right.hashes[:, :num_windows])
    pivots = _pivots(left, right) if len(left) * len(right) * len(ROUTES) > exact else None
    with ThreadPoolExecutor(_num_cores()) as pool:
        right_cells, right_probes = _cells(windows, pivots, pool), _probes(whole, pivots, pool)
        for start in range(0, len(left), CHUNK):
            part = left.hashes[start : start + CHUNK]
            i, j = _compare(part[:, 0], _probes(part[:, 0], pivots, pool), right_cells, radius, pool)
            found = [(i, *_parted(j, num_windows))]
            own = _cells(_flat(part[:, 1:num_windows]), pivots, pool)
            j, i = _compare(whole, right_probes, own, radius, pool)
            i, window = _parted(i, num_windows - 1)
            found.append((i, j, num_windows + 1 + window))
            contents = _cells(right.hashes[:, CONTENT], None, pool)
            i, j = _compare(part[:, CONTENT], None, contents, radius, pool)
            found.append((i, j, np.full(len(i), len(ROUTES) - 1)))
            yield _nearest(found, start, left, right)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _flat(hashes: Bits) -> Bits:
    return np.ascontiguousarray(hashes).reshape(-1, 2)


def _parted(items: Ints, width: int) -> tuple[Ints, Ints]:
    picture, view = np.divmod(items, width)
    return picture, view


def _nearest(found: list[tuple[Ints, Ints, Ints]], start: int, left: Looks, right: Looks) -> Candidates:
    """Each pair once, with its nearest route."""
    i, j, route = (np.concatenate(part) for part in zip(*found))
    i = i + start
    views = np.array(ROUTES)[route]
    bits = _bits_apart(left.hashes[i, views[:, 0]], right.hashes[j, views[:, 1]])
    order = np.lexsort((route, bits, j, i))
    i, j, route = i[order], j[order], route[order]
    first = np.ones(len(i), bool)
    first[1:] = (i[1:] != i[:-1]) | (j[1:] != j[:-1])
    return Candidates(i[first], j[first], route[first])


def _bits_apart(a: Bits, b: Bits) -> NDArray[np.uint8]:
    """Of 128, for arrays of hashes uint64[..., 2]."""
    apart: NDArray[np.uint8] = np.bitwise_count(a[..., 0] ^ b[..., 0]) + np.bitwise_count(a[..., 1] ^ b[..., 1])
    return apart


# ---------------------------------------------------------------- cells


def _pivots(left: Looks, right: Looks) -> Bits:
    """Views drawn from both lists."""
    draw = np.random.default_rng(0)
    drawn = [
        looks.hashes[draw.integers(len(looks), size=PIVOTS // 2), draw.integers(len(WINDOWS), size=PIVOTS // 2)]
        for looks in (left, right)
    ]
    return np.concatenate(drawn)


def _cells(hashes: Bits, pivots: Bits | None, pool: ThreadPoolExecutor) -> _Cells:
    hashes = np.ascontiguousarray(hashes)
    if pivots is None:
        return _Cells(hashes, np.arange(len(hashes)), np.array([0, len(hashes)]))
    parts = _blocks(hashes)
    cell = np.concatenate(list(pool.map(lambda part: _bits_apart(part[:, None], pivots).argmin(axis=1), parts)))
    order = np.argsort(cell, kind="stable")
    return _Cells(hashes[order], order, np.searchsorted(cell[order], np.arange(len(pivots) + 1)))


def _probes(hashes: Bits, pivots: Bits | None, pool: ThreadPoolExecutor) -> list[Ints] | None:
    """For every cell, which of the hashes are to be compared with it; None: all with all."""
    if pivots is None:
        return None

    def nearest(part: Bits) -> Ints:
        return np.argpartition(_bits_apart(part[:, None], pivots), PROBED - 1, axis=1)[:, :PROBED]

    cells = np.concatenate(list(pool.map(nearest, _blocks(hashes)))).ravel()
    order = np.argsort(cells, kind="stable")
    starts = np.searchsorted(cells[order], np.arange(len(pivots) + 1))
    return [order[a:b] // PROBED for a, b in pairwise(starts.tolist())]


def _blocks(hashes: Bits) -> list[Bits]:
    return [hashes[at : at + 256] for at in range(0, len(hashes), 256)]


def _compare(
    asked: Bits, probes: list[Ints] | None, cells: _Cells, radius: int, pool: ThreadPoolExecutor
) -> tuple[Ints, Ints]:
    """The pairs (place in asked, place among the items) within the radius."""

    def in_cell(queries: Ints | None, a: int, b: int) -> tuple[Ints, Ints]:
        i, j = _close(asked if queries is None else asked[queries], cells.hashes[a:b], radius)
        return i if queries is None else queries[i], cells.place[a:b][j]

    if probes is None:  # no cells: the asked are divided among the cores instead
        parts = np.array_split(np.arange(len(asked)), min(64, max(1, len(asked))))
        jobs = [(part, 0, len(cells.hashes)) for part in parts]
    else:
        jobs = [(queries, *ends) for queries, ends in zip(probes, pairwise(cells.starts.tolist()))]
    found = [job.result() for job in [pool.submit(in_cell, *job) for job in jobs]]
    i, j = (np.concatenate(part) for part in zip(*found))
    return i, j


def _close(asked: Bits, items: Bits, radius: int) -> tuple[Ints, Ints]:
    """All against all: the pairs near enough, first by the grey hashes alone, then by both."""
    if not len(asked) or not len(items):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    grey, other = np.ascontiguousarray(asked[:, :1]), np.ascontiguousarray(items[:, 0])
    width = min(len(other), BLOCK)
    height = max(1, BLOCK // width)
    differing, counts = np.empty(height * width, np.uint64), np.empty(height * width, np.uint8)
    found = [np.empty(0, np.int64)]
    for top in range(0, len(grey), height):
        rows = grey[top : top + height]
        for start in range(0, len(other), width):
            part = other[start : start + width]
            size = len(rows) * len(part)
            np.bitwise_xor(rows, part, out=differing[:size].reshape(len(rows), len(part)))
            np.bitwise_count(differing[:size], out=counts[:size])
            close = np.flatnonzero(counts[:size] <= FIRST_BITS)
            if len(close):
                i, j = np.divmod(close, len(part))
                found.append((top + i) * len(other) + start + j)
    i, j = np.divmod(np.concatenate(found), len(other))
    kept = _bits_apart(asked[i], items[j]) <= radius
    return i[kept], j[kept]
