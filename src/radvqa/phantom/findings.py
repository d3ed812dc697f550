"""Findings: which can be where, how large they are, and where in an organ they find room.

In: a random generator and the kind of picture. Out: a Plan (what, which side, which organ), a pixel, a shape.

    plan = draw_plan(rng, "thorax", "CT", "axial")
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radvqa.phantom.grid import Array, Grid

MIN_DIAMETER = 0.08
"""Diameter of the smallest nodule, stone or cyst as a part of the picture's width (before it is cut by its organ)."""
DIAMETER = {
    "nodule": (0.08, 0.105),
    "stone": (0.08, 0.11),
    "cyst": (0.09, 0.15),
    "haemorrhage": (0.11, 0.20),
    "mass": (0.14, 0.22),
    "fracture": (0.115, 0.155),
}
"""Range of diameters, as a part of the picture's width."""

BY_REGION = {
    "head": ("haemorrhage", "mass", "fracture", "cyst"),
    "thorax": ("nodule", "mass", "effusion", "fracture"),
    "abdomen": ("stone", "cyst", "mass", "effusion"),
}
_SEEN = {
    ("head", "MR"): ("haemorrhage", "mass", "cyst"),
    ("head", "X-ray"): ("mass", "fracture"),
    ("thorax", "MR"): ("nodule", "mass", "effusion"),
    ("abdomen", "X-ray"): ("stone", "mass"),
}
_PAIRED = ("lung", "kidney", "hemisphere")
MIRROR = {"liver": "spleen", "spleen": "liver"}
MIRROR |= {f"left {organ}": f"right {organ}" for organ in _PAIRED} | {
    f"right {organ}": f"left {organ}" for organ in _PAIRED
}
"""The organ on the other side; findings are as likely in either."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A finding that is to be painted. `side` is the patient's."""

    name: str
    side: str
    organ: str


def possible(region: str, modality: str, plane: str) -> tuple[str, ...]:
    """The findings that such a picture can show: bone breaks are not read on MR, rib breaks need a cut along the rib."""
    names = _SEEN.get((region, modality), BY_REGION[region])
    if region == "thorax" and plane in ("sagittal", "lateral"):
        names = tuple(name for name in names if name != "fracture")
    return names


def draw_plan(
    rng: np.random.Generator, region: str, modality: str, plane: str, taken: tuple[str, ...] = ()
) -> Plan | None:
    """One of the possible findings not yet `taken`, each as likely as the other, left as likely as right."""
    names = [name for name in possible(region, modality, plane) if name not in taken]
    if not names:
        return None
    name = names[int(rng.integers(len(names)))]
    side = ("left", "right")[int(rng.integers(2))]
    solid_organ = rng.random() < 0.45
    return Plan(name, side, organ_of(name, region, modality, side, solid_organ))


def move_to(plan: Plan, side: str) -> Plan:
    """The same finding on the given side, in the organ that mirrors its own."""
    return plan if plan.side == side else Plan(plan.name, side, MIRROR.get(plan.organ, plan.organ))


def organ_of(name: str, region: str, modality: str, side: str, solid_organ: bool = False) -> str:
    """Where the finding sits; in the abdomen cysts and masses sit in a kidney or (`solid_organ`) in liver or spleen."""
    if name == "fracture":
        return "skull" if region == "head" else ("clavicles" if modality == "X-ray" else "ribs")
    if region == "abdomen" and name == "effusion":
        return "abdominal cavity"
    if region == "abdomen" and name != "stone" and solid_organ:
        return "spleen" if side == "left" else "liver"
    return f"{side} {({'head': 'hemisphere', 'thorax': 'lung', 'abdomen': 'kidney'})[region]}"


def side_mask(grid: Grid, side: str, margin_mm: float) -> Array | bool:
    sign = 1 if side == "left" else -1
    if grid.axes[2] == 0:
        return grid.depth * sign > 0 or grid.plane == "lateral"
    return grid.a * sign > margin_mm


def choose_pixel(allowed: Array, radius_px: float, share: float, rng: np.random.Generator) -> tuple[int, int] | None:
    """A random pixel around which at least `share` of a square of `radius_px` is allowed and that is not at the rim."""
    size, r = allowed.shape[0], max(1, round(radius_px))
    total = np.zeros((size + 1, size + 1), np.int32)
    np.cumsum(np.cumsum(allowed, 0, dtype=np.int32), 1, out=total[1:, 1:])
    if size <= 2 * r + 1:
        return None
    w = 2 * r + 1
    count = total[w:, w:] - total[:-w, w:] - total[w:, :-w] + total[:-w, :-w]
    good = np.flatnonzero((count >= share * w * w) & allowed[r : size - r, r : size - r])
    if not good.size:
        return None
    at = int(good[int(rng.integers(good.size))])
    return at // count.shape[1] + r, at % count.shape[1] + r


def blob(
    shape: tuple[int, int], at: tuple[int, int], radius_px: float, rng: np.random.Generator, lobes: float
) -> Array:
    """float32[H, W]: squared relative radius of a lobed disc, below 1 inside. Only a window is computed; far is 9."""
    out = np.full(shape, 9.0, np.float32)
    reach = int(radius_px * 2) + 2
    rows = slice(max(0, at[0] - reach), min(shape[0], at[0] + reach + 1))
    columns = slice(max(0, at[1] - reach), min(shape[1], at[1] + reach + 1))
    dy = (np.arange(rows.start, rows.stop) - at[0]).astype(np.float32)[:, None]
    dx = (np.arange(columns.start, columns.stop) - at[1]).astype(np.float32)[None, :]
    stretch = np.float32(rng.uniform(0.88, 1.14))
    angle = np.arctan2(dy, dx)
    edge = np.ones_like(angle)
    for k in (2, 3, 5):
        edge += np.float32(lobes * rng.uniform(0.3, 1.0) / k**0.5) * np.cos(k * angle + np.float32(rng.uniform(0, 6.3)))
    out[rows, columns] = ((dx * stretch) ** 2 + (dy / stretch) ** 2) / np.square(edge * np.float32(radius_px))
    return out


LOBES = {"nodule": 0.03, "mass": 0.11, "cyst": 0.02, "stone": 0.10, "haemorrhage": 0.12}
