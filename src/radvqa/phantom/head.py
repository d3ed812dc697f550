"""The head: scalp, skull, brain with ventricles, face, eyes and neck. Origin: the middle of the brain."""

from __future__ import annotations

from typing import Any

import numpy as np

from radvqa.phantom.anatomy import LAYERS, OUTER, Anatomy, Builder, scale_of
from radvqa.phantom.solids import Solid

CSF = "cerebrospinal fluid"
BRAIN = ("left hemisphere", "right hemisphere", CSF)


def build(rng: np.random.Generator) -> Anatomy:
    """A random head, about 150 x 190 x 220 mm."""
    scale = scale_of(rng, 0.03)
    body = Builder(rng, scale, 0.04)
    _hull(body, fat_mm=rng.uniform(2.5, 5.5), bone_mm=rng.uniform(6.5, 9))
    _face(body, rng)
    _neck(body)
    brain = _brain(body, rng)
    return Anatomy("head", tuple(body.solids), fov_mm=225 * max(scale), tall_mm=255 * max(scale), brain=brain)


def _hull(body: Builder, fat_mm: float, bone_mm: float) -> None:
    for (name, over), thin in zip(LAYERS, (0.0, 2.0, 2.0 + fat_mm)):
        how: dict[str, Any] = {
            "over": over,
            "within": () if name == "skin" else OUTER,
            "fixed": True,
            "xray": name == "skin",
        }
        body.ellipsoid(name, name, (0, 0, 0), (77 - thin, 97 - thin, 96 - thin), **how)
        how |= {"carve": ("skin",), "over": "air"}
        body.tube(name, name, (0, 22, -70), (0, 26, -190), 54 - thin, **how)
        body.ellipsoid(name, name, (0, -26, -62), (58 - thin, 68 - thin, 78 - thin), **how)
        if name == "skin":
            body.tube(name, name, (0, -88, -48), (0, -104, -58), 8, 12, over="air", xray=False, fixed=True)
    skull = body.ellipsoid("skull", "cortex", (0, 1, 0), (71.5, 91.5, 90.5), fixed=True)
    marrow = body.core(skull, "marrow", 0.33 * bone_mm, structure="skull")
    inner = body.core(marrow, "cortex", 0.33 * bone_mm, structure="skull")
    body.core(inner, "csf", 0.34 * bone_mm, structure=CSF)


def _face(body: Builder, rng: np.random.Generator) -> None:
    # the skull base and the face replace the lower part of the skull's ellipsoid
    low: dict[str, Any] = {"over": "csf", "within": ("skull", CSF), "xray": False, "fixed": True}
    body.ellipsoid("muscle", "muscle", (0, -50, -84), (52, 44, 42), **low)
    body.ellipsoid("muscle", "muscle", (0, 10, -92), (54, 50, 22), **low)
    for side in (-1, 1):
        body.tube("skull", "marrow", (side * 22, 4, -54), (side * 62, 30, -48), 9, 14)
        body.tube("skull", "cortex", (side * 10, -48, -44), (side * 58, -34, -38), 5, 7)
        body.tube("sinus", "gas", (side * 50, 32, -52), (side * 58, 36, -60), 7, 6, over="marrow", xray=False)
        body.ellipsoid("jaw", "cortex", (side * 31, -64, -36), (23, 26, 21), turn=(0, 0, side * 12))
        body.ellipsoid("fat", "fat", (side * 31, -68, -36), (20, 27, 18), over="cortex", turn=(0, 0, side * 12))
        body.ellipsoid("left eye" if side > 0 else "right eye", "eye", (side * 32, -76, -36), (12.5, 12.5, 12.5))
        body.ellipsoid("", "muscle", (side * 32, -86, -36), (5, 2.5, 5), xray=False)
        body.tube("muscle", "muscle", (side * 32, -62, -36), (side * 12, -38, -38), 2.5, xray=False)
        cheek = body.ellipsoid("jaw", "cortex", (side * 29, -60, -72), (18, 22, 19), power=2.6)
        body.core(cheek, "gas", 4, structure="sinus")
        body.tube("jaw", "cortex", (side * 52, -12, -62), (side * 47, -22, -104), 6, 8)
        body.tube("jaw", "cortex", (side * 47, -22, -104), (side * 12, -82, -122), 8)
    body.tube("jaw", "cortex", (-13, -82, -122), (13, -82, -122), 8)
    body.ellipsoid("jaw", "cortex", (0, -72, -92), (24, 18, 4), power=4)
    body.ellipsoid("jaw", "cortex", (0, -80, -102), (22, 7, 8), power=4)
    body.ellipsoid("sinus", "gas", (0, -62, -64), (9, 26, 20), power=2.6)
    body.ellipsoid("", "muscle", (0, -64, -64), (1.5, 26, 20), over="gas", xray=False)
    body.ellipsoid("sinus", "gas", (0, -40, -50), (13, 12, 9), power=2.6)
    body.ellipsoid("sinus", "gas", (0, -86, -18), (16 * rng.uniform(0.7, 1.3), 4, 10), power=2.6, over="cortex")
    body.tube("sinus", "gas", (0, -30, -75), (0, -6, -135), 8, 8)


def _neck(body: Builder) -> None:
    for number in range(5):
        z = -92.0 - 19 * number
        body.ellipsoid("spine", "marrow", (0, 14, z), (12, 10, 7.5), power=4, fixed=True)
        body.ellipsoid("spine", "cortex", (0, 46, z - 4), (5, 9, 5), power=4, fixed=True)
        for side in (-1, 1):
            body.tube("spine", "cortex", (side * 18, 20, z), (side * 13, 38, z - 2), 5)
    body.tube(CSF, "csf", (0, 31, -75), (0, 33, -200), 8, xray=False, fixed=True)


def _brain(body: Builder, rng: np.random.Generator) -> Solid:
    deep: dict[str, Any] = {"within": BRAIN, "xray": False}
    for side, name in ((-1, "right hemisphere"), (1, "left hemisphere")):
        brain = body.ellipsoid(
            name, "grey", (0, 0, 2), (60.5, 79.5, 78), over="csf", within=(CSF,), side=side, xray=False, fixed=True
        )
    body.ellipsoid(CSF, "csf", (0, 44, -44), (50, 34, 25), fixed=True, **deep)
    for side in (-1, 1):
        body.ellipsoid("cerebellum", "grey", (side * 21, 44, -46), (27, 30, 21), turn=(-12, 0, 0), **deep)
    body.ellipsoid("cerebellum", "grey", (0, 42, -44), (14, 24, 20), **deep)
    stem = (*BRAIN, "muscle", "cerebellum", "skull")
    body.tube("brainstem", "white", (0, 6, -18), (0, 18, -78), 13, 9, within=stem, xray=False)
    body.tube("spinal cord", "cord", (0, 31, -76), (0, 33, -200), 5, xray=False, fixed=True)
    wide = rng.uniform(0.8, 1.35)  # ventricles widen with age
    calcified = rng.random(2) < 0.6  # plexus and pineal gland: normal, and bright on CT
    fluid: dict[str, Any] = {"structure": "ventricles", "tissue": "csf", "xray": False}
    body.ellipsoid(centre=(0, 30, -42), axes=(6, 5, 8), **fluid)
    body.ellipsoid(centre=(0, 2, -6), axes=(2.5 * wide, 12, 9), **fluid)
    for side in (-1, 1):
        for place, axes, turn in (
            ((27, -4, -2), (6, 19, 12), -14),
            ((11, 10, -4), (8, 15, 9), -22),
            ((14, -22, 6), (5, 10, 9), 0),
        ):
            body.ellipsoid("", "grey", (side * place[0], *place[1:]), axes, turn=(0, 0, side * turn), xray=False)
        body.ellipsoid(centre=(side * 9.5, -12, 10), axes=(5.5 * wide, 26, 8), turn=(12, 0, side * 14), **fluid)
        body.ellipsoid(centre=(side * 18, 28, 6), axes=(6 * wide, 19, 9), turn=(-14, 0, side * -24), **fluid)
        body.ellipsoid(centre=(side * 33, 14, -20), axes=(3.5 * wide, 14, 4), turn=(20, 0, side * -14), **fluid)
        if calcified[0]:
            body.ellipsoid("", "calcium", (side * 19, 27, 6), (2.6, 5, 2.6), within=("ventricles",), xray=False)
    if calcified[1]:
        body.ellipsoid("", "calcium", (0, 23, -3), (2.8, 3, 2.8), xray=False)
    return brain
