"""The head: scalp, skull, brain with ventricles, face, eyes and neck. Origin: the middle of the brain."""

from __future__ import annotations

import numpy as np

from radvqa.phantom.anatomy import Anatomy, Builder
from radvqa.phantom.solids import ellipsoid, tube


def build(rng: np.random.Generator) -> Anatomy:
    """A random head, about 150 x 190 x 220 mm."""
    size = 1 + np.clip(rng.normal(0, 0.03), -0.07, 0.07)
    scale = tuple(float(size * (1 + np.clip(rng.normal(0, 0.03), -0.06, 0.06))) for _ in range(3))
    body = Builder(rng, scale, 0.04)
    _hull(body, fat_mm=rng.uniform(2.5, 5.5), bone_mm=rng.uniform(6.5, 9))
    _face(body, rng)
    brain = _brain(body, rng)
    return Anatomy("head", tuple(body.solids), fov_mm=225 * max(scale), tall_mm=255 * max(scale), brain=brain)


def _hull(body: Builder, fat_mm: float, bone_mm: float) -> None:
    add, layer = body.add, ("skin", "fat", "muscle", "background")
    for name, thin in (("skin", 0.0), ("fat", 2.0), ("muscle", 2.0 + fat_mm)):
        inner = () if name == "skin" else layer
        over = {"skin": "air", "fat": "skin", "muscle": "fat"}[name]
        xray = name == "skin"
        add(
            ellipsoid(name, name, (0, 0, 0), (77 - thin, 97 - thin, 96 - thin), over=over, within=inner, xray=xray),
            fixed=True,
        )
        neck = (54 - thin, 58 - thin, 400.0)
        face = (58 - thin, 68 - thin, 78 - thin)
        add(ellipsoid(name, name, (0, 22, -400 - 62), neck, over=over, within=inner, power=4, xray=False), fixed=True)
        add(
            tube(
                name, name, (0, 22, -70), (0, 26, -190), 54 - thin, over="air", within=inner, xray=xray, carve=("skin",)
            ),
            fixed=True,
        )
        add(
            ellipsoid(name, name, (0, -26, -62), face, over="air", within=inner, xray=xray, carve=("skin",)), fixed=True
        )
        if name == "skin":
            add(tube(name, name, (0, -88, -48), (0, -104, -58), 8, 12, over="air", xray=False), fixed=True)
    skull = (71.5, 91.5, 90.5)
    add(ellipsoid("skull", "cortex", (0, 1, 0), skull, over="muscle"), fixed=True)
    thin = tuple(v - 0.33 * bone_mm for v in skull)
    thick = tuple(v - 0.67 * bone_mm for v in skull)
    add(ellipsoid("", "marrow", (0, 1, 0), thin, over="cortex", within=("skull",)), fixed=True)
    add(ellipsoid("", "cortex", (0, 1, 0), thick, over="marrow", within=("skull",)), fixed=True)
    cavity = tuple(v - bone_mm for v in skull)
    add(ellipsoid("cerebrospinal fluid", "csf", (0, 1, 0), cavity, over="cortex"), fixed=True)


def _face(body: Builder, rng: np.random.Generator) -> None:
    add = body.add
    # the skull base and the face below it replace the lower front of the skull's ellipsoid
    add(
        ellipsoid(
            "muscle",
            "muscle",
            (0, -50, -84),
            (52, 44, 42),
            over="csf",
            within=("skull", "cerebrospinal fluid"),
            xray=False,
        ),
        fixed=True,
    )
    add(
        ellipsoid(
            "muscle",
            "muscle",
            (0, 10, -92),
            (54, 50, 22),
            over="csf",
            within=("skull", "cerebrospinal fluid"),
            xray=False,
        ),
        fixed=True,
    )
    for side in (-1, 1):
        add(tube("skull", "marrow", (side * 22, 4, -54), (side * 62, 30, -48), 9, 14))
        add(tube("skull", "cortex", (side * 10, -48, -44), (side * 58, -34, -38), 5, 7))
        add(tube("sinus", "gas", (side * 50, 32, -52), (side * 58, 36, -60), 7, 6, over="marrow", xray=False))
        add(ellipsoid("fat", "fat", (side * 31, -66, -36), (19, 22, 17), turn=(0, 0, side * 12)))
        eye = "left eye" if side > 0 else "right eye"
        add(ellipsoid(eye, "eye", (side * 32, -76, -36), (12.5, 12.5, 12.5)))
        add(ellipsoid("", "muscle", (side * 32, -86, -36), (5, 2.5, 5), xray=False), fixed=True)
        add(tube("muscle", "muscle", (side * 32, -62, -36), (side * 12, -38, -38), 2.5, xray=False))
        add(ellipsoid("jaw", "cortex", (side * 29, -60, -72), (18, 22, 19), power=4))
        add(ellipsoid("sinus", "gas", (side * 29, -60, -71), (14, 18, 15), power=4, over="cortex"))
        add(tube("jaw", "cortex", (side * 52, -12, -62), (side * 47, -22, -104), 6, 8))
        add(tube("jaw", "cortex", (side * 47, -22, -104), (side * 12, -82, -122), 8))
    add(tube("jaw", "cortex", (-13, -82, -122), (13, -82, -122), 8))
    add(ellipsoid("jaw", "cortex", (0, -72, -92), (24, 18, 4), power=4))
    add(ellipsoid("jaw", "cortex", (0, -80, -102), (22, 7, 8), power=4))
    add(ellipsoid("sinus", "gas", (0, -62, -64), (9, 26, 20), power=4))
    add(ellipsoid("", "muscle", (0, -64, -64), (1.5, 26, 20), over="gas", xray=False))
    add(ellipsoid("sinus", "gas", (0, -40, -50), (13, 12, 9), power=4))
    add(ellipsoid("sinus", "gas", (0, -86, -18), (16 * rng.uniform(0.7, 1.3), 4, 10), power=4, over="cortex"))
    add(tube("sinus", "gas", (0, -30, -75), (0, -6, -135), 8, 8))
    for number in range(5):
        z = -92.0 - 19 * number
        add(ellipsoid("spine", "marrow", (0, 14, z), (12, 10, 7.5), power=4), fixed=True)
        add(ellipsoid("spine", "cortex", (0, 46, z - 4), (5, 9, 5), power=4), fixed=True)
        for side in (-1, 1):
            add(tube("spine", "cortex", (side * 18, 20, z), (side * 13, 38, z - 2), 5))
    add(tube("cerebrospinal fluid", "csf", (0, 31, -75), (0, 33, -200), 8, xray=False), fixed=True)


def _brain(body: Builder, rng: np.random.Generator) -> object:
    add, head = body.add, ("cerebrospinal fluid",)
    axes = (60.5, 79.5, 78.0)
    wide = rng.uniform(0.8, 1.35)  # age: the width of the ventricles
    brain = None
    for side, name in ((1, "left hemisphere"), (-1, "right hemisphere")):
        brain = add(
            ellipsoid(name, "grey", (0, 0, 2), axes, over="csf", within=head, side=side, xray=side > 0), fixed=True
        )
    tent = ("left hemisphere", "right hemisphere", "cerebrospinal fluid")
    add(ellipsoid("cerebrospinal fluid", "csf", (0, 44, -44), (50, 34, 25), within=tent, xray=False), fixed=True)
    for side in (-1, 1):
        add(
            ellipsoid(
                "cerebellum", "grey", (side * 21, 44, -46), (27, 30, 21), turn=(-12, 0, 0), within=tent, xray=False
            )
        )
    add(ellipsoid("cerebellum", "grey", (0, 42, -44), (14, 24, 20), within=tent, xray=False))
    soft = (*tent, "muscle", "cerebellum", "skull")
    add(tube("brainstem", "white", (0, 6, -18), (0, 18, -78), 13, 9, within=soft, xray=False))
    add(tube("spinal cord", "cord", (0, 31, -76), (0, 33, -200), 5, xray=False), fixed=True)
    add(ellipsoid("ventricles", "csf", (0, 30, -42), (6, 5, 8), xray=False))
    for side in (-1, 1):
        add(ellipsoid("", "grey", (side * 27, -4, -2), (6, 19, 12), turn=(0, 0, side * -14), xray=False))
        add(ellipsoid("", "grey", (side * 11, 10, -4), (8, 15, 9), turn=(0, 0, side * -22), xray=False))
        add(ellipsoid("", "grey", (side * 14, -22, 6), (5, 10, 9), xray=False))
        front = ellipsoid(
            "ventricles", "csf", (side * 9.5, -12, 10), (5.5 * wide, 26, 8), turn=(12, 0, side * 14), xray=False
        )
        back = ellipsoid(
            "ventricles", "csf", (side * 18, 28, 6), (6 * wide, 19, 9), turn=(-14, 0, side * -24), xray=False
        )
        add(front)
        add(back)
        add(
            ellipsoid(
                "ventricles", "csf", (side * 33, 14, -20), (3.5 * wide, 14, 4), turn=(20, 0, side * -14), xray=False
            )
        )
        if rng.random() < 0.6:  # calcified choroid plexus: normal, and bright on CT
            add(ellipsoid("", "calcium", (side * 19, 27, 6), (2.6, 5, 2.6), within=("ventricles",), xray=False))
    add(ellipsoid("ventricles", "csf", (0, 2, -6), (2.5 * wide, 12, 9), xray=False))
    if rng.random() < 0.6:
        add(ellipsoid("", "calcium", (0, 23, -3), (2.8, 3, 2.8), xray=False))
    return brain
