"""Findings in a slice: paint them into the label and tissue maps; the mask is exactly what was painted.

mask = paint_finding(plan, anatomy, grid, labels, tissues, rng)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from radvqa.phantom.anatomy import Anatomy
from radvqa.phantom.findings import DIAMETER, LOBES, Plan, blob, choose_pixel, side_mask
from radvqa.phantom.grid import Array, Grid, level
from radvqa.phantom.slices import lookup
from radvqa.phantom.tissue import FINDINGS, ID, T

_SOFT = ~lookup(
    tuple(ID[name] for name in ("background", "skin", "spine", "ribs", "pelvis", "aorta", "spinal cord", *FINDINGS))
)
_POOL = lookup(
    tuple(ID[n] for n in ("fat", "bowel", "colon", "bowel gas", "liver", "spleen", "stomach", "gallbladder"))
)
"""Labels that a lump in the abdomen may push into; those that free fluid in the abdomen takes the place of."""


def paint_finding(
    plan: Plan, anatomy: Anatomy, grid: Grid, labels: Array, tissues: Array, rng: np.random.Generator
) -> Array | None:
    """Paint a finding into a slice; None (and nothing changed) if its organ gives it no room here."""
    if plan.name == "fracture":
        return _break_bone(plan, grid, labels, tissues, rng)
    if plan.name == "effusion":
        return _pool(plan, grid, labels, tissues, rng)
    if plan.name == "haemorrhage" and rng.random() < 0.4:
        return _subdural(plan, anatomy, grid, labels, tissues, rng)
    return _lump(plan, anatomy, grid, labels, tissues, rng)


def _lump(
    plan: Plan, anatomy: Anatomy, grid: Grid, labels: Array, tissues: Array, rng: np.random.Generator
) -> Array | None:
    radius = rng.uniform(*DIAMETER[plan.name]) / 2 * grid.size
    organ = labels == ID[plan.organ]
    at = choose_pixel(organ, radius * 0.7, {"mass": 0.6, "stone": 0.7}.get(plan.name, 0.8), rng)
    if at is None:
        return None
    shape = blob(labels.shape, at, radius, rng, LOBES[plan.name])
    bed = _SOFT[labels] | organ if anatomy.region == "abdomen" else organ
    mask = (shape < 1) & bed
    if plan.name == "mass" and anatomy.region == "head":
        halo = (shape < 2.1) & organ & ~mask
        tissues[halo] = T["oedema"]
    tissues[mask] = T["blood" if plan.name == "haemorrhage" else plan.name]
    if plan.name == "mass" and anatomy.region != "thorax":
        tissues[mask & (shape < rng.uniform(0.2, 0.4))] = T["necrosis"]
    labels[mask] = ID[plan.name]
    return mask


def _subdural(
    plan: Plan, anatomy: Anatomy, grid: Grid, labels: Array, tissues: Array, rng: np.random.Generator
) -> Array | None:
    """A crescent between skull and brain: the brain's outline less the same outline pushed inwards."""
    assert anatomy.brain is not None
    thick = grid.spacing_mm * grid.size * rng.uniform(0.075, 0.11)
    sign = 1 if plan.side == "left" else -1
    push = [sign * thick, rng.uniform(-0.4, 0.4) * thick, 0.0]
    if grid.axes[2] == 0:
        push = [0.0, rng.choice([-0.8, 0.8]) * thick, 0.8 * thick]
    window = grid.window(anatomy.brain)
    if window is None:
        return None
    centre = tuple(c - p for c, p in zip(anatomy.brain.centre, push))
    moved = replace(anatomy.brain, centre=centre)
    mask = np.zeros(labels.shape, bool)
    mask[window] = level(moved, grid, window) > 1
    mask &= labels == ID[plan.organ]
    if mask.sum() < 0.012 * mask.size:
        return None
    tissues[mask], labels[mask] = T["blood"], ID["haemorrhage"]
    return mask


def _pool(plan: Plan, grid: Grid, labels: Array, tissues: Array, rng: np.random.Generator) -> Array | None:
    """Free fluid of a patient lying half upright: it fills its space from behind and below, with a meniscus outwards."""
    if plan.organ == "abdominal cavity":
        space = _POOL[labels] & _inner(grid, labels) & side_mask(grid, plan.side, 12)
        weights, part = (0.75, 0.45, -0.25), rng.uniform(0.12, 0.24)
    else:
        space = labels == ID[plan.organ]
        weights, part = (0.1, 0.75, -0.5), rng.uniform(0.22, 0.42)
    num = int(space.sum())
    if num * part < 0.015 * space.size:
        return None
    place: list[Array | float] = [0.0, 0.0, 0.0]
    place[grid.axes[0]], place[grid.axes[1]], place[grid.axes[2]] = grid.a, grid.b, 0.0
    score = np.zeros(labels.shape, np.float32)
    for value, weight in zip(place, weights):
        if isinstance(value, np.ndarray):
            inner = np.abs(value) if value is place[0] else value
            spot = inner[space]
            away = (inner - spot.mean()) * np.float32(1 / max(float(spot.std()), 1.0))
            score += np.float32(weight) * away + np.float32(0.1) * away * away  # the surface rises at the walls
    mask = space & (score > np.quantile(score[space], 1 - part))
    tissues[mask], labels[mask] = T["fluid"], ID["effusion"]
    return mask


def _inner(grid: Grid, labels: Array) -> Array:
    """The abdominal cavity: what lies inside the muscle of the wall, roughly an ellipse around the organs."""
    fat = labels == ID["fat"]
    # fat outside the wall is left of the first or right of the last muscle pixel of its row, or above the first
    muscle = labels == ID["muscle"]
    after_left = np.maximum.accumulate(muscle, 1)
    before_right = np.maximum.accumulate(muscle[:, ::-1], 1)[:, ::-1]
    below_top = np.maximum.accumulate(muscle, 0) if grid.plane == "axial" else True
    return ~fat | (after_left & before_right & below_top)


def _break_bone(plan: Plan, grid: Grid, labels: Array, tissues: Array, rng: np.random.Generator) -> Array | None:
    """A displaced break: one end of the bone is pushed inwards, the gap and its bed fill with oedematous tissue."""
    bone = labels == ID[plan.organ]
    margin_mm, low, high = (18, 8, 200) if plan.organ == "skull" else (60, -95, 75)
    allowed = bone & side_mask(grid, plan.side, margin_mm)
    if grid.axes[1] == 2:
        allowed &= (grid.b > low) & (grid.b < high)
    radius = rng.uniform(*DIAMETER["fracture"]) / 2 * grid.size
    at = choose_pixel(allowed, radius * 0.4, 0.3, rng)
    if at is None:
        return None
    size = grid.size
    body = np.argwhere(labels[::8, ::8] > ID["skin"]).mean(0) * 8
    inward = np.array([body[0] - at[0], body[1] - at[1]])
    inward /= max(float(np.hypot(*inward)), 1.0)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    dy, dx = rows - at[0], columns - at[1]
    disc = dy * dy + dx * dx < radius * radius
    along = dx * inward[0] - dy * inward[1]
    deep = dy * inward[0] + dx * inward[1]
    step = np.float32(radius * rng.uniform(0.5, 0.75))
    gap = np.abs(along) < radius * 0.3
    pushed = along > 0
    source_row = np.clip(rows - inward[0] * step * pushed, 0, size - 1).astype(np.int32)
    source_column = np.clip(columns - inward[1] * step * pushed, 0, size - 1).astype(np.int32)
    piece = bone[source_row, source_column] & disc & ~gap
    free = labels < ID["nodule"]
    bed = disc & free & (bone | ((deep > -radius * 0.2) & (labels != ID["skin"])))
    piece &= free
    mask = bed | piece
    marrow = tissues[source_row, source_column]
    tissues[bed] = T["oedema"]
    tissues[piece] = np.where(np.isin(marrow[piece], (T["marrow"], T["cortex"])), marrow[piece], T["cortex"])
    labels[mask] = ID["fracture"]
    return mask
