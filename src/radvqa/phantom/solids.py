"""Solids in patient coordinates: millimetres, x to the patient's left, y to the back, z to the head.

A solid is a superquadric (power 2 = ellipsoid, 4 = a rounded box) or a tapering tube.

    ellipsoid("liver", "liver", (-60, 0, 78), (62, 74, 74), over="fat")
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin, sqrt

from radvqa.phantom.tissue import ID, T

Point = tuple[float, ...]
"""Three numbers: x, y, z (mm)."""


@dataclass(frozen=True, slots=True)
class Solid:
    """One superquadric |u|^n + |v|^n + |w|^n <= 1 with (u, v, w) = matrix @ (p - centre), or a tube."""

    structure: int
    """Label it paints; 0 keeps the label that is there (a part of the organ around it)."""
    tissue: int
    over: int
    """The tissue it displaces: a ray's attenuation changes by chord * (mu[tissue] - mu[over])."""
    centre: Point
    matrix: tuple[Point, ...]
    axes: Point
    half: Point
    """Half extents of the bounding box along x, y, z (mm)."""
    power: float = 2.0
    within: tuple[int, ...] = ()
    """Only pixels with one of these labels are painted (empty: all)."""
    tube: tuple[Point, Point, float, float] | None = None
    """Start, end, radius at the start, radius at the end."""
    straight: bool = True
    """The axes are those of the patient."""
    xray: bool = True
    """Takes part in projections."""
    side: int = 0
    """1: only where x > 1 mm (the patient's left), -1: only where x < -1 mm, 0: whole."""
    carve: tuple[str, ...] = ()
    """In projections: solids of these structures take their part out of this one (the heart out of a lung)."""


def rotation(angles_deg: Point) -> tuple[Point, ...]:
    """The matrix R = Rz Ry Rx that turns by angles about x, then y, then z."""
    (ca, cb, cc), (sa, sb, sc) = ([f(radians(angle)) for angle in angles_deg] for f in (cos, sin))
    return (
        (cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa),
        (sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa),
        (-sb, cb * sa, cb * ca),
    )


def ellipsoid(
    structure: str,
    tissue: str,
    centre: Point,
    axes: Point,
    *,
    over: str = "muscle",
    turn: Point | None = None,
    power: float = 2.0,
    within: tuple[str, ...] = (),
    xray: bool = True,
    side: int = 0,
    carve: tuple[str, ...] = (),
) -> Solid:
    """A superquadric; `structure` "" keeps the label underneath; `turn` are degrees about x, y, z."""
    if turn is None:
        matrix = tuple(tuple(1.0 / axes[i] if i == k else 0.0 for k in range(3)) for i in range(3))
        half: Point = axes
    else:
        r = rotation(turn)
        matrix = tuple(tuple(r[k][i] / axes[i] for k in range(3)) for i in range(3))
        if power > 2:
            half = tuple(sum(abs(v) * axis for v, axis in zip(row, axes)) for row in r)
        else:
            half = tuple(sqrt(sum((v * axis) ** 2 for v, axis in zip(row, axes))) for row in r)
    label = ID[structure] if structure else 0
    inner = tuple(ID[name] for name in within)
    return Solid(
        label, T[tissue], T[over], centre, matrix, axes, half, power, inner, None, turn is None, xray, side, carve
    )


def tube(
    structure: str,
    tissue: str,
    start: Point,
    end: Point,
    radius: float,
    radius_end: float | None = None,
    *,
    over: str = "muscle",
    within: tuple[str, ...] = (),
    xray: bool = True,
    carve: tuple[str, ...] = (),
) -> Solid:
    """A round tube between two points whose radius changes evenly."""
    last = radius if radius_end is None else radius_end
    widest = max(radius, last)
    centre = tuple((a + b) / 2 for a, b in zip(start, end))
    half = tuple(abs(a - b) / 2 + widest for a, b in zip(start, end))
    label = ID[structure] if structure else 0
    inner = tuple(ID[name] for name in within)
    line = (start, end, radius, last)
    return Solid(label, T[tissue], T[over], centre, (), (0, 0, 0), half, 2.0, inner, line, False, xray, 0, carve)
