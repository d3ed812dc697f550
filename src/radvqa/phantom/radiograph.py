"""Project an Anatomy as a radiograph: the line integral of attenuation of every ray, from exact chord lengths.

In: Anatomy, Grid (frontal or lateral; parallel rays along axes[2]). Out: a Projection whose `path` is the exponent of
Beer and Lambert's law, I = I0 exp(-path), and whose labels name the frontmost organ of clear outline on each ray
(painting order: body, lungs, soft organs, bones).

    projection = project(anatomy, grid)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radvqa.phantom.anatomy import Anatomy, Cage
from radvqa.phantom.grid import Array, Grid, chord
from radvqa.phantom.solids import Solid
from radvqa.phantom.tissue import ID, MU, STRUCTURES, T

LUNGS = (ID["left lung"], ID["right lung"])
Span = tuple[tuple[slice, slice], Array, Array]


@dataclass(slots=True)
class Projection:
    """`path`: float32[H, W]; `labels`: uint8[H, W]; `lungs`: name -> chord (mm, whole picture) of each lung."""

    path: Array
    labels: Array
    lungs: dict[str, Array]
    spans: dict[str, list[Span]]


def project(anatomy: Anatomy, grid: Grid) -> Projection:
    """Sum mu * chord over the solids, each counted against the tissue it displaces."""
    shape = (grid.size, grid.size)
    out = Projection(np.zeros(shape, np.float32), np.zeros(shape, np.uint8), {}, {})
    solids = [solid for solid in anatomy.solids if solid.xray and not _end_on(solid, grid)]
    spans = {id(solid): found for solid in solids if (found := _span(solid, grid)) is not None}
    ribs_due = anatomy.cage is not None
    for solid in solids:
        if ribs_due and solid.structure == ID["spine"]:
            assert anatomy.cage is not None
            _add_ribs(anatomy.cage, grid, out)
            ribs_due = False
        if id(solid) not in spans:
            continue
        window, enter, leave = spans[id(solid)]
        length = leave - enter
        for place, other in enumerate(solids if solid.carve else ()):
            if other is solid or (other.structure == solid.structure and place > solids.index(solid)):
                continue
            if STRUCTURES[other.structure] in solid.carve and id(other) in spans:
                length = _minus(length, (window, enter, leave), spans[id(other)])
        if solid.structure in LUNGS:
            whole = np.zeros(shape, np.float32)
            whole[window] = length
            out.lungs[STRUCTURES[solid.structure]] = whole
        if solid.structure:
            out.spans.setdefault(STRUCTURES[solid.structure], []).append((window, enter, leave))
        out.path[window] += length * (MU[solid.tissue] - MU[solid.over])
        if solid.structure:
            shown = length > (25 if solid.structure in LUNGS else 2)
            np.copyto(out.labels[window], np.uint8(solid.structure), where=shown)
    return out


def _end_on(solid: Solid, grid: Grid) -> bool:
    """A tube along the line of sight: a lateral picture is taken with the arms raised out of it."""
    if solid.tube is None:
        return False
    run = [abs(e - s) for s, e in zip(*solid.tube[:2])]
    return run[grid.axes[2]] > 0.7 * sum(run)


def _span(solid: Solid, grid: Grid) -> Span | None:
    window = grid.window(solid)
    if window is None:
        return None
    enter, leave = chord(solid, grid, window)
    return window, enter, leave


def _minus(length: Array, mine: Span, other: Span) -> Array:
    """The chord less what it shares with another solid, where both windows meet."""
    (rows, columns), enter, leave = mine
    (rows2, columns2), enter2, leave2 = other
    top, bottom = max(rows.start, rows2.start), min(rows.stop, rows2.stop)
    left, right = max(columns.start, columns2.start), min(columns.stop, columns2.stop)
    if top >= bottom or left >= right:
        return length
    one = (slice(top - rows.start, bottom - rows.start), slice(left - columns.start, right - columns.start))
    two = (slice(top - rows2.start, bottom - rows2.start), slice(left - columns2.start, right - columns2.start))
    shared = np.minimum(leave[one], leave2[two]) - np.maximum(enter[one], enter2[two])
    length = length.copy()
    length[one] = np.maximum(length[one] - np.maximum(shared, 0), 0)
    return length


def shell(cage: Cage, grid: Grid, across: Array, z: Array) -> tuple[Array, Array]:
    """Depth (mm) from the cage's middle plane to the outer wall, and the length of bone crossed there if it is bone."""
    wide, deep = (0, 1) if grid.axes[2] == 1 else (1, 0)
    middle = cage.y if wide == 1 else 0.0
    n = np.float32(2.6)

    def depth(grow: float) -> Array:
        dome = np.maximum(z - cage.z_dome, 0) * (1 / (cage.axes[2] + grow))
        rest = 1 - (np.abs(across - middle) * (1 / (cage.axes[wide] + grow))) ** n - dome**n
        return np.maximum(rest, 0) ** (1 / n) * np.float32(cage.axes[deep] + grow)

    outer, inner = depth(cage.thickness), depth(0.0)
    return outer, np.minimum(outer - inner, 26)


def _add_ribs(cage: Cage, grid: Grid, out: Projection) -> None:
    """Both walls of the cage, each with its own wave of ribs (front and back, or left and right)."""
    z = grid.b
    outer, bone = shell(cage, grid, grid.a, z)
    soft_edge = np.float32(grid.spacing_mm / cage.period * 2)
    for sign in (1, -1):
        y = sign * outer + cage.y if grid.axes[2] == 1 else grid.a
        phase = (z - cage.slope * y) / cage.period + cage.phase
        saw = np.abs(phase - np.round(phase)) * 2
        part = np.clip((cage.share - saw) / soft_edge + 0.5, 0, 1)
        rim = 0.45 + 0.9 * np.clip((saw - cage.share + 0.28) * 5, 0, 1)  # cortex at the edges, marrow within
        part = part * rim * (z > cage.z_low)
        if grid.axes[2] == 1 and sign < 0:
            part = part * np.clip((np.abs(grid.a) - 38) / 12, 0, 1) * 0.75  # cartilage in front
        out.path += bone * part * np.float32(MU[T["cortex"]] - MU[T["muscle"]])
        if sign > 0:
            np.copyto(out.labels, np.uint8(ID["ribs"]), where=(part > 0.5) & (bone > 3))
