"""Which candidates are worth aligning: their views are slid over each other and the edges compared.

In: the looks of two lists of pictures and the candidate pairs among them. Out: the pairs whose edges agree somewhere within
two pixels of 32, with that displacement.

    for i, j, start in overlaid(left, right, candidates): print(i, j, start)

Hashes are near for one pair of strangers in a hundred, because one axial head is laid out as another. Here the two views
are compared as they are: their gradients as complex numbers, each as long as the root of its length, so that the outline
of the body counts no more than what is within it, correlated over all displacements at once by their Fourier transforms.
That costs a fiftieth of an alignment and leaves it one stranger in six.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from radvqa.curate.candidates import ROUTES, Candidates
from radvqa.curate.hashing import CONTENT, THUMB_PX, WINDOWS, Looks

SIDE_PX, REACH_PX = 32, 2
AGREE = 0.45
"""Edges that agree less belong to different pictures. It loses 3 of 2,080 copies, and five of six of the pairs of VQA-RAD
and MedPix that hashes let through (benchmarks/leakage-copies-2cpu.json)."""
CHUNK = 256
"""Pairs compared at once."""

Fields = NDArray[np.complex64]
Floats = NDArray[np.float32]
Starts = NDArray[np.float64]


def overlaid(left: Looks, right: Looks, found: Candidates) -> Iterator[tuple[int, int, Starts]]:
    """(place in left, place in right, map float[2, 3] of the left picture into the right one in shares)."""
    views = np.array(ROUTES)[found.route]
    for at in range(0, len(found.left), CHUNK):
        part = slice(at, at + CHUNK)
        i, j = found.left[part], found.right[part]
        own, other = _boxes(left, i, views[part, 0]), _boxes(right, j, views[part, 1])
        fit, across, down = _slide(_edges(left.thumbs, i, own), _edges(right.thumbs, j, other))
        for place in np.flatnonzero(fit >= AGREE).tolist():
            moved = (across[place] / SIDE_PX, down[place] / SIDE_PX)
            yield int(i[place]), int(j[place]), _between(own[place], other[place], moved)


def _boxes(looks: Looks, places: NDArray[np.int64], views: NDArray[np.int64]) -> Floats:
    """float[K, 4]: left, top, right, bottom of every view in shares of its picture."""
    fixed = np.array([*WINDOWS, WINDOWS[0]], np.float32)[views]
    return np.where((views == CONTENT)[:, None], looks.boxes[places], fixed)


def _between(own: Floats, other: Floats, moved: tuple[float, float]) -> Starts:
    """The map that lays the one box, displaced by shares of it, upon the other."""
    scale = (other[2:] - other[:2]).astype(np.float64) / (own[2:] - own[:2])
    shift = other[:2] - scale * own[:2] + np.array(moved) * (other[2:] - other[:2])
    return np.column_stack([np.diag(scale), shift])


def _edges(thumbs: NDArray[np.uint8], places: NDArray[np.int64], boxes: Floats) -> Fields:
    """complex64[K, 32, 32]: the spectra of the edges of every view, of length 1."""
    unique, back = np.unique(np.column_stack([places, boxes]), axis=0, return_inverse=True)
    places, boxes = unique[:, 0].astype(np.int64), unique[:, 1:].astype(np.float32)
    across, down = _weights(boxes[:, 0], boxes[:, 2]), _weights(boxes[:, 1], boxes[:, 3])
    grey = down @ thumbs[places].astype(np.float32) @ across.transpose(0, 2, 1)
    along_y, along_x = np.gradient(grey, axis=(1, 2))
    edges = (along_x + 1j * along_y).astype(np.complex64)
    edges /= np.sqrt(np.abs(edges)) + 1e-6
    edges /= np.linalg.norm(edges, axis=(1, 2), keepdims=True) + 1e-6
    return np.fft.fft2(edges).astype(np.complex64)[back.ravel()]


def _weights(low: Floats, high: Floats) -> Floats:
    """float[K, 32, 64]: how much every pixel of a thumbnail gives to every pixel of a view (triangle filter)."""
    step = (high - low)[:, None, None] * (THUMB_PX / SIDE_PX)
    centre = low[:, None, None] * THUMB_PX + step * (np.arange(SIDE_PX, dtype=np.float32) + 0.5)[None, :, None]
    away = np.abs(centre - (np.arange(THUMB_PX, dtype=np.float32) + 0.5)) / np.maximum(step, 1)
    weights = np.clip(1 - away, 0, None)
    found: Floats = weights / weights.sum(axis=2, keepdims=True)
    return found


def _slide(own: Fields, other: Fields) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The best correlation of every pair of spectra, and how many pixels right and down of its place the right one lies."""
    near = np.arange(-REACH_PX, REACH_PX + 1)
    everywhere = np.fft.ifft2(np.conj(own) * other).real
    reached = everywhere[:, near[:, None], near].reshape(len(own), -1)
    best = reached.argmax(axis=1)
    down, across = np.divmod(best, len(near))
    fit = np.take_along_axis(reached, best[:, None], axis=1)[:, 0].astype(np.float32)
    return fit, across - REACH_PX, down - REACH_PX
