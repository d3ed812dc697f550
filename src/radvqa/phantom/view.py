"""Where a picture is taken: the slice or projection that shows the organ of interest, a little off every time.

grid = lay_view(anatomy, "axial", plan, 192, rng)
"""

from __future__ import annotations

import numpy as np

from radvqa.phantom.anatomy import Anatomy
from radvqa.phantom.findings import Plan
from radvqa.phantom.grid import AXES, Grid, make_grid

_SLICES = ("axial", "coronal", "sagittal")
_CUTS = {
    "hemisphere": ((-14, 50), (-45, 45), (14, 42)),
    "skull": ((2, 52), (-45, 45), (14, 40)),
    "lung": ((-80, 80), (-30, 45), (48, 88)),
    "ribs": ((-80, 80), (-20, 45), (48, 88)),
    "kidney": ((-12, 40), (30, 52), (54, 76)),
    "liver": ((48, 108), (-30, 32), (40, 88)),
    "spleen": ((62, 104), (16, 52), (78, 98)),
    "abdominal cavity": ((-100, 60), (-30, 40), (55, 92)),
}
"""Where slices cut an organ: ranges (mm) of z (axial), y (coronal) and |x| (sagittal)."""
_MIDDLE = {
    ("head", ""): (0.0, -2.0, -20.0), ("head", "axial"): (0.0, 0.0, 0.0),
    ("thorax", ""): (0.0, 4.0, -6.0), ("thorax", "frontal"): (0.0, 4.0, 8.0),
    ("abdomen", ""): (0.0, 10.0, -8.0),
}  # fmt: skip
"""The middle of the picture (mm) by region and, where it differs, plane."""


def lay_view(anatomy: Anatomy, plane: str, plan: Plan, size_px: int, rng: np.random.Generator) -> Grid:
    """A grid through the organ of `plan`, zoomed by 0.9 to 1.12, shifted by up to 6 %, turned by a few degrees."""
    ia, ib, ic = AXES[plane]
    fov = (anatomy.fov_mm if plane == "axial" else anatomy.tall_mm) * rng.uniform(0.9, 1.12)
    centre = list(_MIDDLE.get((anatomy.region, plane), _MIDDLE[anatomy.region, ""]))
    if plane in _SLICES:
        organ = plan.organ.removeprefix("left ").removeprefix("right ")
        place = rng.uniform(*_CUTS[organ][_SLICES.index(plane)])
        centre[ic] = -place if plane == "sagittal" and plan.side == "right" else place
    centre[ia] += fov * rng.uniform(-0.05, 0.05)
    centre[ib] += fov * rng.uniform(-0.06, 0.06)
    return make_grid(
        plane, size_px=size_px, centre=(centre[0], centre[1], centre[2]), fov_mm=float(fov),
        turn_deg=float(np.clip(rng.normal(0, 3.5), -9, 9)), warp_mm=rng.uniform(2, 5), rng=rng,
    )  # fmt: skip
