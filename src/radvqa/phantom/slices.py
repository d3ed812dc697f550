"""Cut an Anatomy with a slice: which structure and which tissue each pixel shows.

In: Anatomy, Grid. Out: labels and tissues, uint8[H, W] each.

    labels, tissues = cut(anatomy, grid, rng)
"""

from __future__ import annotations

from functools import cache

import numpy as np

from radvqa.phantom.anatomy import Anatomy, Cage
from radvqa.phantom.grid import Array, Grid, inside, level, smooth_field
from radvqa.phantom.solids import Solid
from radvqa.phantom.tissue import ID, STRUCTURES, T

BRAIN = (ID["left hemisphere"], ID["right hemisphere"])


@cache
def lookup(names: tuple[int, ...]) -> Array:
    """bool[number of structures]: True for the labels given."""
    table = np.zeros(len(STRUCTURES), bool)
    table[list(names)] = True
    return table


def cut(anatomy: Anatomy, grid: Grid, rng: np.random.Generator) -> tuple[Array, Array]:
    """Paint the solids in their order, the ribs after the chest wall, the folds after the hemispheres."""
    labels = np.zeros((grid.size, grid.size), np.uint8)
    tissues = np.zeros_like(labels)
    ribs_due, folds_due = anatomy.cage is not None, anatomy.brain is not None
    for solid in anatomy.solids:
        if ribs_due and solid.structure not in (ID["skin"], ID["fat"], ID["muscle"]):
            assert anatomy.cage is not None
            _paint_ribs(anatomy.cage, grid, labels, tissues)
            ribs_due = False
        if folds_due and solid.structure in (ID["cerebellum"], ID["brainstem"]):
            assert anatomy.brain is not None
            _fold(anatomy.brain, grid, labels, tissues, rng)
            folds_due = False
        paint(solid, grid, labels, tissues)
    return labels, tissues


def paint(solid: Solid, grid: Grid, labels: Array, tissues: Array) -> None:
    """Write one solid into the maps."""
    found = inside(solid, grid)
    if found is None:
        return
    window, mask = found
    if solid.within:
        mask &= lookup(solid.within)[labels[window]]
    if solid.structure:
        np.copyto(labels[window], np.uint8(solid.structure), where=mask)
    np.copyto(tissues[window], np.uint8(solid.tissue), where=mask)


def cage_level(cage: Cage, x: Array | float, y: Array | float, z: Array | float, grow_mm: float = 0.0) -> Array:
    """Below 1 inside the chest cavity grown by `grow_mm`: a cylinder of power 2.6 that closes above `z_dome`."""
    dome = np.maximum(np.asarray(z) - cage.z_dome, 0) * (1 / (cage.axes[2] + grow_mm))
    n = np.float32(2.6)
    wide = np.abs(np.asarray(x) * (1 / (cage.axes[0] + grow_mm))) ** n
    deep = np.abs((np.asarray(y) - cage.y) * (1 / (cage.axes[1] + grow_mm))) ** n
    return wide + deep + dome**n


def _paint_ribs(cage: Cage, grid: Grid, labels: Array, tissues: Array) -> None:
    place: list[Array | float] = [0.0, 0.0, 0.0]
    place[grid.axes[0]], place[grid.axes[1]], place[grid.axes[2]] = grid.a, grid.b, grid.depth
    x, y, z = place
    if grid.axes[2] == 2 and grid.depth < cage.z_low:
        return
    inner, outer = cage_level(cage, x, y, z), cage_level(cage, x, y, z, cage.thickness)
    shell = (inner >= 1) & (outer < 1)
    rows, columns = np.nonzero(shell)
    at = [v[rows, columns] if isinstance(v, np.ndarray) else np.float32(v) for v in place]
    phase = (at[2] - cage.slope * at[1]) / cage.period + cage.phase
    saw = np.abs(phase - np.round(phase)) * 2  # 0 in the middle of a rib, 1 between two
    bone = (saw < cage.share) & (at[2] > cage.z_low) & ((np.abs(at[0]) > 30) | (at[1] > 0))
    labels[rows[bone], columns[bone]] = ID["ribs"]
    tissues[rows[bone], columns[bone]] = np.where(saw[bone] < cage.share - 0.2, T["marrow"], T["cortex"])


def _fold(brain: Solid, grid: Grid, labels: Array, tissues: Array, rng: np.random.Generator) -> None:
    """Sulci and white matter: the zero lines of a smooth field are the grooves, the deep parts are white."""
    if abs(grid.depth - brain.centre[grid.axes[2]]) >= brain.half[grid.axes[2]]:
        return
    window = grid.window(brain)
    if window is None:
        return
    grain = max(8, round(grid.spacing_mm * grid.size / 9.5))
    ridges = np.abs(smooth_field(rng, grid.size, grain)[window])
    depth = (1 - np.sqrt(level(brain, grid, window))) * 62  # about mm below the surface
    depth += 3.0 * (np.abs(smooth_field(rng, grid.size, 12)[window]) - 0.8)
    mine = lookup(BRAIN)[labels[window]]
    groove = mine & (depth < 13) & (ridges < 0.16)
    white = mine & (depth > 4.5) & ((ridges > 0.42) | (depth > 18))
    np.copyto(tissues[window], np.uint8(T["white"]), where=white)
    np.copyto(tissues[window], np.uint8(T["csf"]), where=groove)
