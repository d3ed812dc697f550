"""Is one picture the other's copy? They are laid upon each other and compared tile by tile.

In: two grey pictures and roughly how one lies in the other. Out: a Match: the affine map and how far they agree.

    match = same_picture(np.asarray(grey_a), np.asarray(grey_b), start=WHOLE); print(match.score >= SAME)

Maps are float[2, 3] over shares of width and height: a point (x, y) of the left picture lies at map @ (x, y, 1) in the
right one. Alignment maximises the enhanced correlation coefficient (Evangelidis and Psarakis 2008, equations 17-19),
which is blind to brightness and contrast, from 32 to 160 px. The overlap of both is then cut out of the full pictures,
so that both have the same resolution, and aligned again; one is given the other's tones (the mean grey of one for each
grey of the other), and over 8 x 8 tiles

    score = weighted mean of max(0, correlation of the two gradient fields) - 0.5 x weighted mean of the local shift (px)

Noise (JPEG, blur) lowers the correlation but shifts nothing; in a neighbouring slice of the same patient structures
have moved, if by half a pixel. That tells a bad copy from a neighbour where the correlation alone would not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.floating[Any]]
WHOLE: Floats = np.eye(3)[:2]
"""The map of a picture onto another of the same extent."""
SAME = 0.74
"""Pictures that score at least this are the same. It loses 60 of 2,080 copies, 24 of them of a quarter of the scale, and
lets none of 99,840 pairs of different pictures pass (benchmarks/leakage-copies-2cpu.json)."""
SIDE_PX, NUM_TILES = 160, 8
MIN_COVER = 0.3
"""The overlap is at least this share of either picture, so that a shared logo is no match."""
MIN_EDGES = (0.5, 0.65)
"""Edges that agree less than this at 32 and at 64 px belong to different pictures, and the full pictures are not read. It
loses 13 of 2,080 copies, 10 of them with a margin around or turned by 3 degrees."""


@dataclass(frozen=True)
class Match:
    """How two pictures lie upon each other and how far they agree."""

    score: float
    map: Floats
    cover: tuple[float, float] = (0.0, 0.0)
    """The share of the left and of the right picture that is also in the other."""


def square(grey: NDArray[np.uint8], side_px: int, box: tuple[float, ...] = (0.0, 0.0, 1.0, 1.0)) -> Floats:
    """float[side, side] of a window (in shares) of a grey picture, averaged when made smaller."""
    height, width = grey.shape
    pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    picture = Image.fromarray(grey).convert("F")
    return np.asarray(picture.resize((side_px, side_px), Image.Resampling.BILINEAR, box=pixels), np.float64)


def correlation(left: Floats, right: Floats) -> float:
    """Pearson's, 0 where one is flat."""
    a, b = left - left.mean(), right - right.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / size) if size > 1e-6 else 0.0


def same_picture(left: NDArray[np.uint8], right: NDArray[np.uint8], start: Floats = WHOLE) -> Match:
    """Compare two grey pictures uint8[H, W], beginning at the map `start`. Score 0: they do not lie upon each other."""
    found = coarse(square(left, 64), square(right, 64), start)
    return Match(0.0, start) if found is None else fine(left, right, found)


def coarse(left: Floats, right: Floats, start: Floats) -> Floats | None:
    """The map between two thumbnails float[64, 64], or None where they are not of one picture."""
    left_half, right_half = (picture.reshape(32, 2, 32, 2).mean(axis=(1, 3)) for picture in (left, right))
    _, found = align(left_half, right_half, start, steps=8)
    if edges_agree(left_half, right_half, found) < MIN_EDGES[0]:
        return None
    _, found = align(left, right, found, steps=8)
    if edges_agree(left, right, found) < MIN_EDGES[1] or min(_covers(found)) < MIN_COVER:
        return None
    return found


def edges_agree(left: Floats, right: Floats, by: Floats) -> float:
    """Correlation of the gradients of two laid thumbnails, each as long as the root of its length: so the outline of the
    body, which strangers share, counts no more than what is within it."""
    warped, inside = _warp(right, by, len(left))
    inside = _shrunk(inside, 1)
    if inside.mean() < 0.25:
        return 0.0
    (a_y, a_x), (b_y, b_x) = (np.gradient(picture) for picture in (left, warped))
    a, b = np.stack([a_x, a_y])[:, inside], np.stack([b_x, b_y])[:, inside]
    a, b = (edges / (np.hypot(*edges) ** 0.5 + 1e-6) for edges in (a, b))
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / size) if size > 1e-6 else 0.0


def fine(left: NDArray[np.uint8], right: NDArray[np.uint8], found: Floats) -> Match:
    """The score at full detail, from the map that `coarse` found."""
    _, found = align(square(left, SIDE_PX), square(right, SIDE_PX), found, steps=4)
    left_box, right_box = _overlap(found)
    if min(left_box[2] - left_box[0], left_box[3] - left_box[1]) <= 0.2:
        return Match(0.0, found)
    a, b = square(left, SIDE_PX, left_box), square(right, SIDE_PX, right_box)
    into, back = _zoom(left_box), _zoom(right_box)
    within = np.linalg.inv(back) @ np.vstack([found, [0, 0, 1]]) @ into
    _, within_2x3 = align(a, b, within[:2], steps=6)
    warped, inside = _warp(b, within_2x3, SIDE_PX)
    found = (back @ np.vstack([within_2x3, [0, 0, 1]]) @ np.linalg.inv(into))[:2]
    covers = _covers(found)
    score = agreement(a, warped, _shrunk(inside)) if min(covers) >= MIN_COVER else 0.0
    return Match(score, found, covers)


# ---------------------------------------------------------------- alignment


def align(template: Floats, picture: Floats, start: Floats, *, steps: int) -> tuple[float, Floats]:
    """The affine map that correlates the picture best with the template (both square), and that correlation."""
    side = len(template)
    rows, columns = np.gradient(picture)
    slopes = np.stack([picture, columns * len(picture), rows * len(picture)])
    best, best_map, current = -1.0, start, start
    for step in range(steps + 1):
        warped, inside = _warp(slopes, current, side)
        if inside.mean() < MIN_COVER:
            break
        x, y = _places(side)
        x, y, wanted = x[inside], y[inside], template[inside]
        grey, along_x, along_y = (layer[inside] for layer in warped)
        wanted, grey = wanted - wanted.mean(), grey - grey.mean()
        size = float(np.sqrt((wanted @ wanted) * (grey @ grey)))
        if size < 1e-6:
            break
        fit = float(wanted @ grey) / size
        if fit > best:
            settled = step > 0 and fit - best < 1e-4
            best, best_map = fit, current
            if settled:
                break
        elif fit < best - 0.05:
            break
        jacobian = np.stack([along_x * x, along_x * y, along_x, along_y * x, along_y * y, along_y])
        current = current + _step(jacobian, wanted, grey)
    return best, best_map


def _step(jacobian: Floats, wanted: Floats, grey: Floats) -> Floats:
    """One step of ECC: the gain that fits best, then Gauss-Newton on what is left."""
    jacobian = jacobian - jacobian.mean(axis=1, keepdims=True)
    hessian = jacobian @ jacobian.T
    hessian += np.eye(6) * (1e-6 * np.trace(hessian) / 6 + 1e-12)
    of_wanted, of_grey = jacobian @ wanted, jacobian @ grey
    solved = np.linalg.solve(hessian, np.stack([of_wanted, of_grey], axis=1))
    over = grey @ grey - of_grey @ solved[:, 1]
    under = wanted @ grey - of_wanted @ solved[:, 1]
    gain = over / under if under > 0 else float(np.sqrt((grey @ grey) / (wanted @ wanted)))
    return (gain * solved[:, 0] - solved[:, 1]).reshape(2, 3)


@cache
def _places(side: int) -> tuple[Floats, Floats]:
    """Where the pixel centres lie, in shares."""
    centres = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(centres, centres)
    return x, y


def _warp(layers: Floats, by: Floats, side: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The layers float[..., n, n] at the mapped places of a side x side grid (bilinear), and which lie inside."""
    x, y = _places(side)
    u, v = by[0, 0] * x + by[0, 1] * y + by[0, 2], by[1, 0] * x + by[1, 1] * y + by[1, 2]
    inside = (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
    length = layers.shape[-1]
    u, v = (np.clip(share * length - 0.5, 0, length - 1.001) for share in (u, v))
    left, top = u.astype(np.intp), v.astype(np.intp)
    right_share, low_share = u - left, v - top
    flat, at = layers.reshape(*layers.shape[:-2], -1), top * length + left
    upper = flat[..., at] * (1 - right_share) + flat[..., at + 1] * right_share
    lower = flat[..., at + length] * (1 - right_share) + flat[..., at + length + 1] * right_share
    return upper * (1 - low_share) + lower * low_share, inside


# ---------------------------------------------------------------- overlap


def _zoom(box: tuple[float, ...]) -> Floats:
    """float[3, 3]: shares of the box to shares of the picture."""
    left, top, right, bottom = box
    return np.array([[right - left, 0, left], [0, bottom - top, top], [0, 0, 1.0]])


def _overlap(found: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The rectangle of the left picture that lies in the right one, and where it lies there."""
    back = np.linalg.inv(np.vstack([found, [0, 0, 1]]) + np.eye(3) * 1e-12)[:2]
    left_box = _clipped(back, (0.0, 0.0, 1.0, 1.0))
    return left_box, _clipped(found, left_box)


def _clipped(by: Floats, box: tuple[float, ...]) -> tuple[float, ...]:
    """The rectangle around a mapped rectangle, within the picture."""
    left, top, right, bottom = box
    corners = by @ np.array([[left, right, left, right], [top, top, bottom, bottom], [1, 1, 1, 1]])
    low, high = corners.min(axis=1).clip(0, 1), corners.max(axis=1).clip(0, 1)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _covers(found: Floats) -> tuple[float, float]:
    """Which share of the left and of the right picture the overlap is."""
    if abs(np.linalg.det(found[:, :2])) < 0.05:
        return 0.0, 0.0
    boxes = _overlap(found)
    left, right = (max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in boxes)
    return left, right


def _shrunk(inside: NDArray[np.bool_], rim_px: int = 3) -> NDArray[np.bool_]:
    """Without a rim, where smoothing and differences reach over the edge."""
    kept = inside.copy()
    for shift in (-rim_px, rim_px):
        kept &= np.roll(inside, shift, axis=0) & np.roll(inside, shift, axis=1)
    kept[:rim_px] = kept[-rim_px:] = False
    kept[:, :rim_px] = kept[:, -rim_px:] = False
    return kept


# ---------------------------------------------------------------- agreement


def agreement(left: Floats, right: Floats, inside: NDArray[np.bool_]) -> float:
    """The score of two aligned pictures float[160, 160]: 1 for the same, below 0.74 for neighbouring slices."""
    if inside.mean() < 0.25:
        return 0.0
    a, b = gaussian_filter(left, 1.1), gaussian_filter(right, 1.1)
    return max(_agreement(_with_tones(a, b, inside), b, inside), _agreement(a, _with_tones(b, a, inside), inside))


def _with_tones(picture: Floats, other: Floats, inside: NDArray[np.bool_], bins: int = 48) -> Floats:
    """The picture with each grey replaced by the mean grey of the other where it occurs, brighter staying brighter."""
    edges = np.unique(np.quantile(picture[inside], np.linspace(0, 1, bins + 1)))
    if len(edges) < 3:
        return picture
    place = np.clip(np.searchsorted(edges, picture[inside], side="right") - 1, 0, len(edges) - 2)
    number = np.bincount(place, minlength=len(edges) - 1)
    filled = number > 0
    own, wanted = (
        np.bincount(place, values[inside], minlength=len(edges) - 1)[filled] / number[filled]
        for values in (picture, other)
    )
    return np.interp(picture, own, np.maximum.accumulate(wanted))


def _agreement(a: Floats, b: Floats, inside: NDArray[np.bool_]) -> float:
    (a_y, a_x), (b_y, b_x) = (list(np.gradient(field)) for field in (a, b))
    pixels = _per_tile(inside).sum(axis=1)
    both, left, right = (
        (_per_tile(field) * _per_tile(inside)).sum(axis=1)
        for field in (a_x * b_x + a_y * b_y, a_x**2 + a_y**2, b_x**2 + b_y**2)
    )
    size = (SIDE_PX // NUM_TILES) ** 2
    floor = 0.3 * np.maximum(pixels, 1)  # below it there is nothing but noise: half a grey level a pixel
    used = (pixels > size / 3) & ((left > floor) | (right > floor))
    weight = used * (left * right) ** 0.25
    if weight.sum() < 1e-9:
        return 0.0
    fit = np.clip(both / np.sqrt(left * right + 1e-9), 0, 1)
    shift = _shifts(a, b, (a_x + b_x) / 2, (a_y + b_y) / 2, inside)
    return float((weight * (fit - 0.5 * shift)).sum() / weight.sum())


def _shifts(a: Floats, b: Floats, along_x: Floats, along_y: Floats, inside: NDArray[np.bool_]) -> Floats:
    """How far each tile is displaced, px up to 3: least squares of a = gain b + offset + shift . gradient."""
    terms = np.stack([b, np.ones_like(b), along_x, along_y]) * inside
    tiles = np.stack([_per_tile(term) for term in terms], axis=1)
    wanted = _per_tile(a * inside)
    hessian = tiles @ tiles.transpose(0, 2, 1)
    size = (SIDE_PX // NUM_TILES) ** 2
    hessian += np.diag([1e-3, 1e-6, size, size])  # no shift where gradients are below one grey level
    solved = np.linalg.solve(hessian, (tiles @ wanted[..., None]))[..., 0]
    return np.minimum(np.hypot(solved[:, 2], solved[:, 3]), 3.0)


def _per_tile(field: NDArray[Any]) -> Floats:
    """float[64 tiles, pixels] of float[160, 160]."""
    edge = SIDE_PX // NUM_TILES
    tiles = np.asarray(field, np.float64).reshape(NUM_TILES, edge, NUM_TILES, edge).transpose(0, 2, 1, 3)
    return tiles.reshape(NUM_TILES**2, edge**2)
