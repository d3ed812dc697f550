"""A subject: one body region as a list of solids in painting order, drawn at random around the normal adult.

In: a random generator. Out: an Anatomy whose solids later ones overwrite earlier ones, all in patient millimetres.

    anatomy = build("thorax", np.random.default_rng(1))
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from radvqa.phantom.solids import Solid

REGIONS = ("head", "thorax", "abdomen")


@dataclass(frozen=True, slots=True)
class Cage:
    """The rib cage: a shell around the chest cavity, cut into ribs by a wave that falls from back to front."""

    axes: tuple[float, float, float]
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
    cavity: Solid | None = None
    """Abdomen: where free fluid collects."""


class Builder:
    """Collects solids and varies each a little: `jitter` is the relative spread of sizes, in mm/10 of places."""

    def __init__(self, rng: np.random.Generator, scale: tuple[float, float, float], jitter: float = 0.06) -> None:
        self.rng, self.scale, self.jitter = rng, scale, jitter
        self.solids: list[Solid] = []

    def add(self, solid: Solid, *, fixed: bool = False) -> Solid:
        """Scale a solid to the subject, vary it unless `fixed`, and paint it after all before it."""
        s = self.scale
        grow, move = np.ones(3), np.zeros(3)
        if not fixed:
            grow = 1 + np.clip(self.rng.normal(0, self.jitter, 3), -2 * self.jitter, 2 * self.jitter)
            move = np.clip(self.rng.normal(0, 1.5, 3), -3, 3)
        centre = tuple(float(c * k + m) for c, k, m in zip(solid.centre, s, move))
        half = tuple(float(h * k * max(grow)) for h, k in zip(solid.half, (max(s),) * 3 if not solid.straight else s))
        line, matrix, axes = solid.tube, solid.matrix, solid.axes
        if line is not None:
            start, end, r0, r1 = line
            ends = [tuple(float(v * k + m) for v, k, m in zip(p, s, move)) for p in (start, end)]
            r0, r1 = float(r0 * grow[0]), float(r1 * grow[0])
            half = tuple(abs(a - b) / 2 + max(r0, r1) for a, b in zip(*ends))
            line = (ends[0], ends[1], r0, r1)  # type: ignore[assignment]
        elif solid.straight:
            axes = tuple(float(a * k * g) for a, k, g in zip(axes, s, grow))
            half = axes
        else:
            even = float(np.mean(s) * grow[0])
            matrix = tuple(tuple(v / even for v in row) for row in matrix)
            axes, half = tuple(a * even for a in axes), tuple(h * even for h in solid.half)
        done = replace(solid, centre=centre, half=half, tube=line, matrix=matrix, axes=axes)
        self.solids.append(done)
        return done


def build(region: str, rng: np.random.Generator) -> Anatomy:
    """A random subject of one of REGIONS."""
    from radvqa.phantom import abdomen, head, thorax

    return {"head": head, "thorax": thorax, "abdomen": abdomen}[region].build(rng)
