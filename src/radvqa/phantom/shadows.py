"""Findings in a radiograph: add them to the path integral; the mask holds the rays that pass through them.

mask = project_finding(plan, grid, projection, rng, place)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from radvqa.phantom.anatomy import Anatomy
from radvqa.phantom.findings import DIAMETER, LOBES, Plan, blob, choose_pixel, side_mask
from radvqa.phantom.grid import Array, Grid
from radvqa.phantom.radiograph import Projection
from radvqa.phantom.tissue import ID, MU, T


def break_clavicle(
    plan: Plan, anatomy: Anatomy, rng: np.random.Generator
) -> tuple[Anatomy, tuple[float, float, float]]:
    """The anatomy with the outer half of one clavicle broken, its outer end sunk; and the place of the gap (mm)."""
    sign, solids, place = (1 if plan.side == "left" else -1), list(anatomy.solids), (0.0, 0.0, 0.0)
    for number, solid in enumerate(solids):
        if solid.structure != ID["clavicles"] or solid.tube is None or solid.centre[0] * sign < 60:
            continue
        start, end, r0, r1 = solid.tube
        cut = rng.uniform(0.03, 0.3)
        gap, sink = rng.uniform(0.18, 0.24), rng.uniform(15, 21)
        middle = tuple(s + (e - s) * cut for s, e in zip(start, end))
        far = tuple(s + (e - s) * (cut + gap) for s, e in zip(start, end))
        far = (far[0], far[1], far[2] - sink)
        low_end = (end[0], end[1], end[2] - sink)
        solids[number] = replace(solid, tube=(start, middle, r0, r1))
        second = replace(solid, tube=(far, low_end, r0, r1), half=tuple(h + sink for h in solid.half))
        solids.insert(number + 1, second)
        place = tuple((m + f) / 2 for m, f in zip(middle, far))  # type: ignore[assignment]
        break
    return replace(anatomy, solids=tuple(solids)), place


def project_finding(
    plan: Plan, grid: Grid, picture: Projection, rng: np.random.Generator, place: tuple[float, float, float] | None
) -> Array | None:
    """Add a finding to a projection: path and labels change in place; the mask holds the rays that pass through it."""
    if plan.organ == "clavicles":
        assert place is not None
        return _mark_gap(grid, picture, place)
    if plan.organ == "skull":
        return _crack(plan, grid, picture, rng)
    if plan.name == "effusion":
        return _level(plan, grid, picture, rng)
    return _shadow(plan, grid, picture, rng)


def _mark_gap(grid: Grid, picture: Projection, place: tuple[float, float, float]) -> Array | None:
    column, row = grid.pixel(place[grid.axes[0]], place[grid.axes[1]])
    rows, columns = np.mgrid[0 : grid.size, 0 : grid.size]
    radius = max(0.05 * grid.size, 16 / grid.spacing_mm)
    if not (radius < row < grid.size - radius and radius < column < grid.size - radius):
        return None
    mask = (rows - row) ** 2 + (columns - column) ** 2 < radius * radius
    picture.labels[mask] = ID["fracture"]
    return mask


def _organ_on_film(plan: Plan, grid: Grid, picture: Projection) -> Array:
    if plan.organ in picture.lungs:
        return (picture.lungs[plan.organ] > 45) & ~np.isin(picture.labels, (ID["heart"], ID["effusion"]))
    mask = np.zeros(picture.labels.shape, bool)
    name = "skull" if "hemisphere" in plan.organ else plan.organ
    for window, enter, leave in picture.spans.get(name, ()):
        mask[window] |= leave - enter > (100 if name == "skull" else 4)
    if name == "skull":
        mask &= (grid.b > 5) & side_mask(grid, plan.side, 14)
    return mask


def _shadow(plan: Plan, grid: Grid, picture: Projection, rng: np.random.Generator) -> Array | None:
    radius = rng.uniform(*DIAMETER[plan.name]) / 2 * grid.size
    organ = _organ_on_film(plan, grid, picture)
    at = choose_pixel(organ, radius * 0.7, 0.75, rng)
    if at is None:
        return None
    shape = blob(organ.shape, at, radius, rng, LOBES[plan.name])
    mask = shape < 1
    length = 2 * radius * grid.spacing_mm * np.sqrt(np.maximum(1 - shape, 0))
    if plan.organ in picture.lungs:
        length = np.minimum(length, np.maximum(picture.lungs[plan.organ], 1e-3))
        mask &= picture.lungs[plan.organ] > 1
        more = MU[T[plan.name]] - MU[T["lung"]] + (0.012 if plan.name == "nodule" else 0.006)
    else:
        more = MU[T["stone"]] - MU[T["kidney"]] if plan.name == "stone" else 0.011  # a partly calcified mass
    picture.path += length * np.float32(more) * mask
    picture.labels[mask] = ID[plan.name]
    return mask


def _level(plan: Plan, grid: Grid, picture: Projection, rng: np.random.Generator) -> Array | None:
    """Fluid of a standing patient: the lung's base is full up to a level that rises towards the chest wall."""
    lung = picture.lungs.get(plan.organ)
    if lung is None or not (lung > 4).any():
        return None
    space = lung > 4
    across = grid.a[space]
    middle, half = float(across.mean()), float(across.max() - across.min()) / 2
    curve = np.square((grid.a - middle) / half)
    if grid.axes[2] == 1:
        outward = 1 if plan.side == "left" else -1
        curve = curve * ((grid.a - middle) * outward > 0)
    height = grid.b - 28 * curve
    mask = space & (height < np.quantile(height[space], rng.uniform(0.2, 0.38)))
    if mask.sum() < 0.012 * mask.size:
        return None
    picture.path += lung * np.float32(MU[T["fluid"]] - MU[T["lung"]]) * mask
    picture.labels[mask] = ID["effusion"]
    return mask


def _crack(plan: Plan, grid: Grid, picture: Projection, rng: np.random.Generator) -> Array | None:
    """A jagged gap through one wall of the vault."""
    spans = picture.spans.get("skull", ())
    mask = np.zeros(picture.labels.shape, bool)
    for window, enter, leave in spans[:1]:
        mask[window] |= leave - enter > 70
    vault = mask & (grid.b > 8) & side_mask(grid, plan.side, 16)
    at = choose_pixel(vault, 0.06 * grid.size, 0.9, rng)
    if at is None:
        return None
    rows, columns = np.mgrid[0 : grid.size, 0 : grid.size].astype(np.float32)
    heading, length = rng.uniform(0, np.pi), rng.uniform(0.16, 0.26) * grid.size
    steps = np.linspace(-0.5, 0.5, 6) * length
    bend = rng.normal(0, 0.028 * grid.size, 6)
    ys = at[0] + steps * np.sin(heading) + bend * np.cos(heading)
    xs = at[1] + steps * np.cos(heading) - bend * np.sin(heading)
    near = np.full(mask.shape, 1e6, np.float32)
    for y0, x0, y1, x1 in zip(ys, xs, ys[1:], xs[1:]):
        t = np.clip(((rows - y0) * (y1 - y0) + (columns - x0) * (x1 - x0)) / ((y1 - y0) ** 2 + (x1 - x0) ** 2), 0, 1)
        near = np.minimum(near, np.square(rows - y0 - t * (y1 - y0)) + np.square(columns - x0 - t * (x1 - x0)))
    width = max(1.0, rng.uniform(0.011, 0.016) * grid.size)
    mask = (near < width * width) & vault
    bone = 13.0 * np.float32(MU[T["cortex"]] - MU[T["muscle"]])
    picture.path -= mask * bone
    picture.labels[mask] = ID["fracture"]
    return mask
