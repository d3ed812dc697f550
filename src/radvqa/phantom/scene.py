"""One phantom picture: subject, view, findings and rendering, all from (seed, index).

picture = phantom(seed=0, index=17); picture.caption
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from radvqa.phantom.anatomy import REGIONS, Anatomy, build
from radvqa.phantom.findings import Plan, draw_plan, move_to, possible
from radvqa.phantom.grid import Array
from radvqa.phantom.lesions import paint_finding
from radvqa.phantom.radiograph import project
from radvqa.phantom.render import render_ct, render_mr, render_xray
from radvqa.phantom.shadows import break_clavicle, project_finding
from radvqa.phantom.slices import cut
from radvqa.phantom.tissue import FINDINGS, STRUCTURES
from radvqa.phantom.view import lay_view

MODALITIES = {"CT": 0.4, "MR": 0.3, "X-ray": 0.3}
PLANES = {
    "CT": {"axial": 0.4, "coronal": 0.33, "sagittal": 0.27},
    "MR": {"axial": 0.4, "coronal": 0.33, "sagittal": 0.27},
    "X-ray": {"frontal": 0.6, "lateral": 0.4},
}
NUM_FINDINGS = (0.35, 0.50, 0.15)
"""Share of pictures with no, one and two findings (where only two kinds are possible: none or one)."""
MIN_SHARE = 0.006
"""An organ is visible when it covers at least this part of the picture."""
BLOCK = 5
"""Subjects are drawn in blocks of this many consecutive indices; no subject crosses a multiple of it."""
_PARTS = (
    (2, 3),
    (3, 2),
    (1, 2, 2),
    (2, 1, 2),
    (2, 2, 1),
    (1, 3, 1),
    (1, 1, 3),
    (3, 1, 1),
    (1, 1, 1, 2),
    (1, 1, 1, 1, 1),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding that is in the picture."""

    name: str
    side: str | None
    """The patient's side; None where the view does not tell (sagittal, lateral)."""
    organ: str
    """Where it is; without a side where `side` is None."""
    mask: Array
    """bool[H, W]: exactly the pixels it covers (radiograph: whose ray passes through it)."""
    box: tuple[int, int, int, int]
    """Left, top, width, height of the mask (px)."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """A picture whose truth is known."""

    seed: int
    index: int
    image: Array
    """uint8[H, W]"""
    labels: Array
    """uint8[H, W]: index into STRUCTURES. Radiographs: the organ in front (see `radiograph`)."""
    findings: tuple[Finding, ...]
    modality: str
    sequence: str | None
    window: str | None
    plane: str
    region: str
    subject: str
    organs: tuple[str, ...]
    """Visible organs, largest first."""

    @property
    def caption(self) -> str:
        """One sentence on the picture and one on each finding."""
        from radvqa.phantom.captions import describe

        return describe(self)


def subject_of(seed: int, index: int) -> tuple[str, int]:
    """Name of the subject of a picture and the index of the subject's first picture (1 to 3 pictures a subject)."""
    first, place = index - index % BLOCK, index % BLOCK
    parts = _PARTS[int(np.random.default_rng((seed, first, 11)).integers(len(_PARTS)))]
    for number in parts:
        if place < number:
            return f"phantom-{seed}-{first}", first
        first, place = first + number, place - number
    raise AssertionError("the parts of a block add up to BLOCK")


@lru_cache(maxsize=4)
def _subject(seed: int, first: int) -> Anatomy:
    rng = np.random.default_rng((seed, first, 12))
    return build(REGIONS[int(rng.integers(len(REGIONS)))], rng)


def pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    """One of the names, each with its share (the shares add up to 1)."""
    at = float(rng.random())
    for name, share in shares.items():
        at -= share
        if at < 0:
            return name
    return name


def phantom(seed: int, index: int, *, size_px: int = 192) -> Phantom:
    """The picture number `index` of the endless collection `seed`; the same in every process and order."""
    subject, first = subject_of(seed, index)
    anatomy = _subject(seed, first)
    rng = np.random.default_rng((seed, index, 13))
    modality = pick(rng, MODALITIES)
    plane = pick(rng, PLANES[modality])
    names = possible(anatomy.region, modality, plane)
    shares = NUM_FINDINGS if len(names) > 2 else (NUM_FINDINGS[0], 1 - NUM_FINDINGS[0], 0.0)
    num = int(np.searchsorted(np.cumsum(shares), rng.random(), side="right"))
    plan = draw_plan(rng, anatomy.region, modality, plane)
    assert plan is not None
    draw = _radiograph if modality == "X-ray" else _slice
    # a cut may leave no room: try others, then fewer findings (about 1 picture in 200)
    tries = [num] * 8 + [min(num, 1)] * 8 + [0]
    done = next(
        done for each in tries if (done := draw(anatomy, modality, plane, plan, each, size_px, rng)) is not None
    )
    image, labels, found, sequence, window = done
    sided = plane not in ("sagittal", "lateral")
    findings = tuple(_finding(plan, mask, sided) for plan, mask in found)
    return Phantom(
        seed=seed, index=index, image=image, labels=labels, findings=findings, modality=modality, sequence=sequence,
        window=window, plane=plane, region=anatomy.region, subject=subject, organs=visible(labels),
    )  # fmt: skip


def _finding(plan: Plan, mask: Array, sided: bool) -> Finding:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))
    organ = plan.organ if sided else plan.organ.removeprefix("left ").removeprefix("right ")
    return Finding(plan.name, plan.side if sided else None, organ, mask, box)


def visible(labels: Array) -> tuple[str, ...]:
    """Organs that cover at least MIN_SHARE of the picture, largest first; layers, air and findings left out."""
    count = np.bincount(labels.ravel(), minlength=len(STRUCTURES))
    order = np.argsort(-count, kind="stable")
    plain = ("background", "skin", "fat", "muscle", *FINDINGS)
    return tuple(STRUCTURES[k] for k in order if count[k] >= MIN_SHARE * labels.size and STRUCTURES[k] not in plain)


Drawn = tuple[Array, Array, list[tuple[Plan, Array]], str | None, str | None]


def _plans(first: Plan, num: int, region: str, modality: str, plane: str, rng: np.random.Generator) -> list[Plan]:
    plans = [first][:num]
    if num == 2 and (second := draw_plan(rng, region, modality, plane, (first.name,))) is not None:
        if plane == "sagittal":  # one slice lies on one side
            second = move_to(second, first.side)
        plans.append(second)
    return sorted(plans, key=lambda plan: plan.name != "effusion")  # what else there is lies outside the fluid


def _slice(
    anatomy: Anatomy, modality: str, plane: str, plan: Plan, num: int, size_px: int, rng: np.random.Generator
) -> Drawn | None:
    grid = lay_view(anatomy, plane, plan, size_px, rng)
    labels, tissues = cut(anatomy, grid, rng)
    found = []
    for each in _plans(plan, num, anatomy.region, modality, plane, rng):
        mask = paint_finding(each, anatomy, grid, labels, tissues, rng)
        if mask is None:
            return None
        found.append((each, mask))
    if modality == "MR":
        sequence = ("T1", "T2")[int(rng.integers(2))]
        return render_mr(tissues, sequence, rng), labels, found, sequence, None
    names = [plan.name, *(each.name for each, _ in found)]
    window = _window(anatomy.region, names, rng)
    # stones are looked for without contrast medium, which would hide them
    enhanced = anatomy.region != "head" and rng.random() < 0.5 and "stone" not in names
    return render_ct(tissues, window, rng, enhanced=enhanced), labels, found, None, window


def _window(region: str, names: list[str], rng: np.random.Generator) -> str:
    """A window in which the findings show: bone for breaks alone, never for soft lesions."""
    broken, soft = "fracture" in names, any(name != "fracture" for name in names)
    if region == "head":
        return "bone" if broken and not soft and rng.random() < 0.6 else "brain"
    if region == "abdomen":
        return "soft tissue"
    if broken:
        return "bone" if not soft and rng.random() < 0.6 else "soft tissue"
    return "lung" if rng.random() < 0.6 else "soft tissue"


def _radiograph(
    anatomy: Anatomy, modality: str, plane: str, plan: Plan, num: int, size_px: int, rng: np.random.Generator
) -> Drawn | None:
    grid = lay_view(anatomy, plane, plan, size_px, rng)
    plans = _plans(plan, num, anatomy.region, modality, plane, rng)
    place = None
    for each in plans:
        if each.organ == "clavicles":
            anatomy, place = break_clavicle(each, anatomy, rng)
    picture = project(anatomy, grid)
    found = []
    for each in plans:
        mask = project_finding(each, grid, picture, rng, place)
        if mask is None:
            return None
        found.append((each, mask))
    return render_xray(picture.path, rng), picture.labels, found, None, None
