"""The grid of a picture: where each pixel lies in the patient, which pixels a solid holds, how far a ray runs in it.

grid = make_grid("axial", size_px=192, centre=(0, 0, 0), fov_mm=240)
window, mask = inside(ellipsoid("liver", "liver", (0, 0, 0), (60, 40, 30)), grid)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from radvqa.phantom.solids import Point, Solid

Array = np.ndarray[Any, Any]
AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0), "frontal": (0, 2, 1), "lateral": (1, 2, 0)}
"""plane -> the patient axis along the picture's columns, along its rows, and along the line of sight."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the pixels of a picture lie. `a`, `b`: float32[H, W], mm along the patient axes `axes[0]`, `axes[1]`."""

    plane: str
    axes: tuple[int, int, int]
    a: Array
    b: Array
    depth: float
    """Position of the slice along axes[2] (mm); unused in projections."""
    spacing_mm: float
    centre: tuple[float, float]
    turn: tuple[float, float]
    """Cosine and sine of the picture's turn."""
    slack_mm: float
    """How far the warp moves a pixel at most."""

    @property
    def size(self) -> int:
        return self.a.shape[0]

    def pixel(self, a: float, b: float) -> tuple[float, float]:
        """Column and row (px) of a point in the plane, the warp left out."""
        flip = 1.0 if self.axes[1] == 1 else -1.0
        da, db, (cos, sin) = a - self.centre[0], flip * (b - self.centre[1]), self.turn
        middle = (self.size - 1) / 2
        return middle + (cos * da + sin * db) / self.spacing_mm, middle + (cos * db - sin * da) / self.spacing_mm

    def window(self, solid: Solid) -> tuple[slice, slice] | None:
        """Rows and columns that can hold the solid; None if it is outside the picture."""
        ia, ib, _ = self.axes
        column, row = self.pixel(solid.centre[ia], solid.centre[ib])
        cos, sin = abs(self.turn[0]), abs(self.turn[1])
        wide = (cos * solid.half[ia] + sin * solid.half[ib] + self.slack_mm) / self.spacing_mm + 1
        high = (cos * solid.half[ib] + sin * solid.half[ia] + self.slack_mm) / self.spacing_mm + 1
        left, right = max(0, int(column - wide)), min(self.size, int(column + wide) + 2)
        top, bottom = max(0, int(row - high)), min(self.size, int(row + high) + 2)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None


@lru_cache(maxsize=64)
def spread(size: int, knots: int) -> Array:
    """float32[size, knots]: cubic B-spline weights that draw a smooth curve of `size` points from `knots` values."""
    at = np.linspace(0, knots - 1, size)[:, None] - np.arange(knots)[None, :]
    d = np.abs(at)
    near, far = 2 / 3 - d**2 + d**3 / 2, np.clip(2 - d, 0, None) ** 3 / 6
    weights = np.where(d < 1, near, far)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def smooth_field(rng: np.random.Generator, size: int, knots: int) -> Array:
    """float32[size, size]: a smooth random field of about unit variance with `knots` random values a side."""
    weights = spread(size, knots)
    return weights @ rng.standard_normal((knots, knots), dtype=np.float32) @ weights.T * np.float32(2.0)


def make_grid(
    plane: str,
    *,
    size_px: int,
    centre: Point,
    fov_mm: float,
    turn_deg: float = 0.0,
    warp_mm: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Grid:
    """The grid of a square picture around `centre`, radiological convention, with a smooth random warp."""
    ia, ib, ic = AXES[plane]
    spacing = fov_mm / size_px
    along = ((np.arange(size_px) - (size_px - 1) / 2) * spacing).astype(np.float32)
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    flip = 1.0 if ib == 1 else -1.0
    a = (centre[ia] + cos * along)[None, :] - sin * along[:, None]
    b = (centre[ib] + flip * sin * along)[None, :] + flip * cos * along[:, None]
    if rng is not None and warp_mm:
        a = a + np.clip(smooth_field(rng, size_px, 6), -2, 2) * np.float32(warp_mm / 2)
        b = b + np.clip(smooth_field(rng, size_px, 6), -2, 2) * np.float32(warp_mm / 2)
    return Grid(
        plane,
        (ia, ib, ic),
        a.astype(np.float32),
        b.astype(np.float32),
        float(centre[ic]),
        spacing,
        (centre[ia], centre[ib]),
        (cos, sin),
        warp_mm * 1.05,
    )


def level(solid: Solid, grid: Grid, window: tuple[slice, slice], grow_mm: float = 0.0) -> Array:
    """float32 over the window: below 1 inside the slice of the solid, grown by `grow_mm`."""
    ia, ib, ic = grid.axes
    a, b = grid.a[window], grid.b[window]
    if solid.tube is not None:
        return _tube_level(solid, grid, a, b)
    c = grid.depth - solid.centre[ic]
    n = solid.power
    if solid.straight:
        r = [axis + grow_mm for axis in solid.axes]
        terms = [(a - solid.centre[ia]) * (1 / r[ia]), (b - solid.centre[ib]) * (1 / r[ib])]
        extra = abs(c / r[ic]) ** n
    else:
        m = solid.matrix
        da, db = a - solid.centre[ia], b - solid.centre[ib]
        terms = [da * m[i][ia] + db * m[i][ib] + m[i][ic] * c for i in range(3)]
        extra = 0.0
    total = _power(terms[0], n)
    for term in terms[1:]:
        total = total + _power(term, n)
    return total + np.float32(extra)


def _power(value: Array, n: float) -> Array:
    """|value|^n; 2 and 4 without the slow general power."""
    if n == 2:
        return value * value
    return np.square(value * value) if n == 4 else np.abs(value) ** np.float32(n)


def _root(value: Array, n: float) -> Array:
    if n == 2:
        return np.sqrt(value)
    return np.sqrt(np.sqrt(value)) if n == 4 else value ** np.float32(1 / n)


def _tube_level(solid: Solid, grid: Grid, a: Array, b: Array) -> Array:
    ia, ib, ic = grid.axes
    assert solid.tube is not None
    start, end, r0, r1 = solid.tube
    d = [e - s for s, e in zip(start, end)]
    length2 = max(sum(v * v for v in d), 1e-6)
    pa, pb, pc = a - start[ia], b - start[ib], grid.depth - start[ic]
    t = np.clip((pa * d[ia] + pb * d[ib] + pc * d[ic]) * (1 / length2), 0, 1)
    off = np.square(pa - t * d[ia]) + np.square(pb - t * d[ib]) + np.square(pc - t * d[ic])
    return off / np.square(r0 + (r1 - r0) * t)


def inside(solid: Solid, grid: Grid) -> tuple[tuple[slice, slice], Array] | None:
    """The window and bool mask of the pixels of a slice that lie in the solid; None if the slice misses it."""
    ic = grid.axes[2]
    if abs(grid.depth - solid.centre[ic]) >= solid.half[ic]:
        return None
    if solid.side and ic == 0 and grid.depth * solid.side < 1:
        return None
    window = grid.window(solid)
    if window is None:
        return None
    mask = level(solid, grid, window) < 1
    if solid.side and ic != 0:
        mask &= grid.a[window] * solid.side > 1
    return window, mask


def chord(solid: Solid, grid: Grid, window: tuple[slice, slice]) -> tuple[Array, Array]:
    """Where each ray enters and leaves the solid along axes[2] (mm); enter = leave where it misses.

    Ellipsoids and superquadrics along the patient axes are exact; turned superquadrics count as ellipsoids; a tube is
    taken as lying in the picture's plane at its mean depth.
    """
    ia, ib, ic = grid.axes
    a, b = grid.a[window], grid.b[window]
    if solid.tube is not None:
        start, end, r0, r1 = solid.tube
        run_a, run_b = end[ia] - start[ia], end[ib] - start[ib]
        pa, pb = a - start[ia], b - start[ib]
        t = np.clip((pa * run_a + pb * run_b) * (1 / max(run_a * run_a + run_b * run_b, 1e-6)), 0, 1)
        off = np.square(pa - t * run_a) + np.square(pb - t * run_b)
        half: Array = np.sqrt(np.maximum(np.square(r0 + (r1 - r0) * t) - off, 0))
        depth = np.float32((start[ic] + end[ic]) / 2)
        return depth - half, depth + half
    da, db = a - solid.centre[ia], b - solid.centre[ib]
    if solid.straight:
        n = solid.power
        rest = 1 - _power(da * (1 / solid.axes[ia]), n) - _power(db * (1 / solid.axes[ib]), n)
        half = _root(np.maximum(rest, 0), n) * np.float32(min(solid.axes[ic], 1e3))
        return solid.centre[ic] - half, solid.centre[ic] + half
    m = solid.matrix
    rows = [da * m[i][ia] + db * m[i][ib] for i in range(3)]
    qa = sum(m[i][ic] ** 2 for i in range(3))
    qb = sum(rows[i] * m[i][ic] for i in range(3))
    qc = sum(rows[i] * rows[i] for i in range(3)) - 1
    root = np.sqrt(np.maximum(qb * qb - qa * qc, 0)) / np.float32(qa)
    middle = solid.centre[ic] - qb / np.float32(qa)
    return middle - root, middle + root
