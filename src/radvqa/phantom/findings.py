"""Findings: which can be where, and painting them into a slice or a radiograph with the exact mask.

In: a Plan (what, which side, which organ) and the maps of one picture. Out: the maps changed in place and a mask.

    plan = draw_plan(rng, "thorax", "CT", "axial")
    mask = paint_finding(plan, anatomy, grid, labels, tissues, rng)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from radvqa.phantom.anatomy import Anatomy
from radvqa.phantom.radiograph import Projection
from radvqa.phantom.solids import Array, Grid, level
from radvqa.phantom.tissue import ID, MU, T

MIN_DIAMETER = 0.08
"""Diameter of the smallest nodule, stone or cyst as a part of the picture's width (before it is cut by its organ)."""
DIAMETER = {
    "nodule": (0.08, 0.105),
    "stone": (0.08, 0.11),
    "cyst": (0.09, 0.15),
    "haemorrhage": (0.11, 0.20),
    "mass": (0.14, 0.22),
    "fracture": (0.095, 0.125),
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


def organ_of(name: str, region: str, modality: str, side: str, solid_organ: bool = False) -> str:
    """Where the finding sits; in the abdomen cysts and masses sit in a kidney or (`solid_organ`) in liver or spleen."""
    if name == "fracture":
        return "skull" if region == "head" else ("clavicles" if modality == "X-ray" else "ribs")
    if region == "abdomen" and name == "effusion":
        return "abdominal cavity"
    if region == "abdomen" and name != "stone" and solid_organ:
        return "spleen" if side == "left" else "liver"
    return f"{side} {({'head': 'hemisphere', 'thorax': 'lung', 'abdomen': 'kidney'})[region]}"


# ---------------------------------------------------------------- where


def _side_mask(grid: Grid, side: str, margin_mm: float) -> Array | bool:
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


def _blob(
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


# ---------------------------------------------------------------- slices


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
    shape = _blob(labels.shape, at, radius, rng, LOBES[plan.name])
    if anatomy.region == "abdomen":
        bed = ~np.isin(
            labels, [ID[n] for n in ("background", "skin", "spine", "ribs", "pelvis", "aorta", "spinal cord")]
        )
        bed = (bed & (labels < ID["nodule"])) | organ
    else:
        bed = organ
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
        names = ("fat", "bowel", "colon", "bowel gas", "liver", "spleen", "stomach", "gallbladder")
        space = np.isin(labels, [ID[name] for name in names]) & _inner(grid, labels) & _side_mask(grid, plan.side, 12)
        weights, part = (0.75, 0.45, -0.15), rng.uniform(0.12, 0.24)
    else:
        space = labels == ID[plan.organ]
        weights, part = (0.15, 0.75, -0.5), rng.uniform(0.22, 0.42)
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
            score += np.float32(weight) * (inner - spot.mean()) / max(float(spot.std()), 1.0)
    mask = space & (score > np.quantile(score[space], 1 - part))
    tissues[mask], labels[mask] = T["fluid"], ID["effusion"]
    return mask


def _inner(grid: Grid, labels: Array) -> Array:
    """The abdominal cavity: what lies inside the muscle of the wall, roughly an ellipse around the organs."""
    rows, _columns = np.nonzero(labels == ID["muscle"])
    if not rows.size:
        return np.zeros(labels.shape, bool)
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
    if plan.organ == "skull":
        bone &= _vault(grid)
    allowed = bone & _side_mask(grid, plan.side, 18)
    radius = rng.uniform(*DIAMETER["fracture"]) / 2 * grid.size
    at = choose_pixel(allowed, radius * 0.5, 0.25, rng)
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
    gap = np.abs(along) < radius * 0.28
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


def _vault(grid: Grid) -> Array | bool:
    if grid.axes[2] == 2:
        return True
    return grid.b > 8


# ---------------------------------------------------------------- radiographs


def break_clavicle(
    plan: Plan, anatomy: Anatomy, rng: np.random.Generator
) -> tuple[Anatomy, tuple[float, float, float]]:
    """The anatomy with the outer half of one clavicle broken, its outer end sunk; and the place of the gap (mm)."""
    sign, solids, place = (1 if plan.side == "left" else -1), list(anatomy.solids), (0.0, 0.0, 0.0)
    for number, solid in enumerate(solids):
        if solid.structure != ID["clavicles"] or solid.tube is None or solid.centre[0] * sign < 60:
            continue
        start, end, r0, r1 = solid.tube
        cut = rng.uniform(0.3, 0.5)
        gap, sink = rng.uniform(0.16, 0.2), rng.uniform(10, 15)
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
    radius = max(0.045 * grid.size, 13 / grid.spacing_mm)
    if not (radius < row < grid.size - radius and radius < column < grid.size - radius):
        return None
    mask = (rows - row) ** 2 + (columns - column) ** 2 < radius * radius
    picture.labels[mask] = ID["fracture"]
    return mask


def _organ_on_film(plan: Plan, grid: Grid, picture: Projection) -> Array:
    if plan.organ in picture.lungs:
        return (picture.lungs[plan.organ] > 45) & (picture.labels != ID["heart"])
    mask = np.zeros(picture.labels.shape, bool)
    name = "skull" if "hemisphere" in plan.organ else plan.organ
    for window, enter, leave in picture.spans.get(name, ()):
        mask[window] |= leave - enter > (100 if name == "skull" else 4)
    if name == "skull":
        mask &= (grid.b > 5) & _side_mask(grid, plan.side, 14)
    return mask


def _shadow(plan: Plan, grid: Grid, picture: Projection, rng: np.random.Generator) -> Array | None:
    radius = rng.uniform(*DIAMETER[plan.name]) / 2 * grid.size
    organ = _organ_on_film(plan, grid, picture)
    at = choose_pixel(organ, radius * 0.7, 0.75, rng)
    if at is None:
        return None
    shape = _blob(organ.shape, at, radius, rng, LOBES[plan.name])
    mask = shape < 1
    length = 2 * radius * grid.spacing_mm * np.sqrt(np.maximum(1 - shape, 0))
    if plan.organ in picture.lungs:
        length = np.minimum(length, np.maximum(picture.lungs[plan.organ], 1e-3))
        mask &= picture.lungs[plan.organ] > 1
        more = MU[T[plan.name]] - MU[T["lung"]] + 0.004
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
    vault = mask & (grid.b > 8) & _side_mask(grid, plan.side, 16)
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
    bone = 9.0 * np.float32(MU[T["cortex"]] - MU[T["muscle"]])
    picture.path -= mask * bone
    picture.labels[mask] = ID["fracture"]
    return mask
