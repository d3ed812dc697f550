"""A subject: one body region as a list of solids in painting order, drawn at random around the normal adult.

In: a random generator. Out: an Anatomy whose solids later ones overwrite earlier ones, all in patient millimetres.

    anatomy = build("thorax", np.random.default_rng(1))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radvqa.phantom.solids import Point, Solid, ellipsoid, tube
from radvqa.phantom.tissue import ID, T

REGIONS = ("head", "thorax", "abdomen")
LAYERS = (("skin", "air"), ("fat", "skin"), ("muscle", "fat"))
"""The body's outer layers from outside inwards, each with the tissue it displaces."""
OUTER = ("background", "skin", "fat", "muscle")


@dataclass(frozen=True, slots=True)
class Cage:
    """The rib cage: a shell around the chest cavity, cut into ribs by a wave that falls from back to front."""

    axes: Point
    """Half width (x), half depth (y) and height of the dome (z) of the cavity, mm."""
    z_dome: float
    """Above this height the cavity closes like a dome; below it is a cylinder."""
    y: float
    period: float
    """Distance from rib to rib (mm)."""
    share: float
    """Part of a period that is bone."""
    slope: float
    """Millimetres that a rib falls per millimetre towards the front."""
    thickness: float
    z_low: float
    phase: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One region of one subject."""

    region: str
    solids: tuple[Solid, ...]
    fov_mm: float
    """Field of view that holds an axial picture of it."""
    tall_mm: float
    """Field of view of coronal, sagittal and projection pictures."""
    brain: Solid | None = None
    cage: Cage | None = None


_AS_IT_IS = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


class Builder:
    """Collects solids, scaled to the subject and each varied a little: `jitter` is the relative spread of sizes."""

    PLACE_MM = 1.5
    """Standard deviation of an organ's place."""

    def __init__(self, rng: np.random.Generator, scale: Point, jitter: float) -> None:
        self.rng, self.scale = rng, scale
        self.solids: list[Solid] = []
        drawn = np.clip(rng.standard_normal((400, 6)), -2, 2) * ([jitter] * 3 + [self.PLACE_MM] * 3)
        drawn[:, :3] += 1
        self._variations = iter(drawn.tolist())

    def ellipsoid(
        self, structure: str, tissue: str, centre: Point, axes: Point, *, fixed: bool = False, **more: Any
    ) -> Solid:
        """Paint a superquadric (arguments of `solids.ellipsoid`) over what is there; `fixed`: as it is, only scaled."""
        gx, gy, gz, *move = self._vary(fixed)
        sx, sy, sz = self.scale
        if more.get("turn") is not None:  # its axes are not the patient's: one factor for all
            sx = sy = sz = (sx + sy + sz) / 3
            gy = gz = gx
        grown = (axes[0] * sx * gx, axes[1] * sy * gy, axes[2] * sz * gz)
        self.solids.append(ellipsoid(structure, tissue, self._place(centre, move), grown, **more))
        return self.solids[-1]

    def tube(
        self, structure: str, tissue: str, start: Point, end: Point, radius: float, radius_end: float | None = None,
        *, fixed: bool = False, **more: Any,
    ) -> Solid:  # fmt: skip
        """Paint a tube (arguments of `solids.tube`) over what is there; `fixed`: as it is, only scaled."""
        grow, _, _, *move = self._vary(fixed)
        last = radius if radius_end is None else radius_end
        ends = self._place(start, move), self._place(end, move)
        self.solids.append(tube(structure, tissue, *ends, radius * grow, last * grow, **more))
        return self.solids[-1]

    def _vary(self, fixed: bool) -> list[float]:
        return _AS_IT_IS if fixed else next(self._variations)

    def _place(self, point: Point, move: list[float]) -> Point:
        s = self.scale
        return point[0] * s[0] + move[0], point[1] * s[1] + move[1], point[2] * s[2] + move[2]

    def core(self, around: Solid, tissue: str, thin_mm: float, *, structure: str = "", xray: bool = True) -> Solid:
        """Paint the inside of the solid that was just painted, `thin_mm` below its surface, with another tissue."""
        done = replace(
            around, structure=ID[structure] if structure else 0, tissue=T[tissue], over=around.tissue,
            within=(around.structure,), xray=xray,
        )  # fmt: skip
        if around.tube is not None:
            start, end, r0, r1 = around.tube
            done = replace(done, tube=(start, end, r0 - thin_mm, r1 - thin_mm))
        else:
            axes = tuple(max(axis - thin_mm, 0.3 * axis) for axis in around.axes)
            matrix = tuple(tuple(v * a / b for v in row) for row, a, b in zip(around.matrix, around.axes, axes))
            done = replace(done, axes=axes, matrix=matrix, half=around.half if around.straight is False else axes)
        self.solids.append(done)
        return done


def scale_of(rng: np.random.Generator, spread: float) -> Point:
    """Stature: one common factor and a smaller one of its own for width, depth and height."""
    common, *own = np.clip(rng.standard_normal(4), -2, 2) * spread + 1
    return tuple(float(common * each) for each in own)  # type: ignore[return-value]


def build(region: str, rng: np.random.Generator) -> Anatomy:
    """A random subject of one of REGIONS."""
    from radvqa.phantom import abdomen, head, thorax

    return {"head": head, "thorax": thorax, "abdomen": abdomen}[region].build(rng)
