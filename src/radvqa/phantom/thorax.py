"""The thorax: chest wall, ribs, lungs with vessels, heart and great vessels, upper abdomen. Origin: behind the heart."""

from __future__ import annotations

import itertools

import numpy as np

from radvqa.phantom.anatomy import Anatomy, Builder, Cage
from radvqa.phantom.solids import ellipsoid, tube


def build(rng: np.random.Generator) -> Anatomy:
    """A random thorax, about 300 x 210 x 330 mm."""
    size = 1 + np.clip(rng.normal(0, 0.04), -0.08, 0.08)
    scale = tuple(float(size * (1 + np.clip(rng.normal(0, 0.04), -0.07, 0.07))) for _ in range(3))
    body = Builder(rng, scale, 0.05)
    fat = float(rng.uniform(5, 22))
    cavity = (130 * scale[0], 86 * scale[1], 150 * scale[2])
    _wall(body, fat, breasts=rng.random() < 0.5, bust=rng.uniform(0.7, 1.3))
    _lungs(body, rng)
    _middle(body, rng)
    cage = Cage(
        cavity, 20.0, 0.0, 27 * scale[2], rng.uniform(0.4, 0.5), rng.uniform(0.35, 0.55), 8.0, -165.0, rng.uniform(0, 1)
    )
    wide = 2 * (130 * scale[0] + 26 + fat)
    return Anatomy(
        "thorax", tuple(body.solids), fov_mm=wide * 1.08, tall_mm=max(wide * 1.08, 345 * scale[2]), cage=cage
    )


def _wall(body: Builder, fat: float, breasts: bool, bust: float) -> None:
    add, outer = body.add, ("skin", "fat", "muscle", "background")
    for name, grow in (("skin", fat + 24.0), ("fat", fat + 22.0), ("muscle", 22.0)):
        inner = () if name == "skin" else outer
        over = {"skin": "air", "fat": "skin", "muscle": "fat"}[name]
        trunk = (130 + grow, 86 + grow, 500.0)
        add(ellipsoid(name, name, (0, 4, -395), trunk, over=over, within=inner, power=3, xray=False), fixed=True)
        add(
            ellipsoid(name, name, (0, 4, -280), (130 + grow, 86 + grow, 430), over=over, within=inner, power=4),
            fixed=True,
        )
        if breasts and name != "muscle":
            for side in (-1, 1):
                r = tuple(v * bust - (2 if name == "fat" else 0) for v in (58, 46, 54))
                add(
                    ellipsoid(
                        name,
                        name,
                        (side * 72, -88 - fat, -30),
                        r,
                        over="air",
                        within=inner,
                        xray=name == "skin",
                        carve=("skin",),
                    ),
                    fixed=True,
                )
        for side in (-1, 1):
            arm = 54 - (24 + fat - grow) * 0.8
            add(
                tube(
                    name,
                    name,
                    (side * 100, 14, 128),
                    (side * 175, 8, 112),
                    arm,
                    over="air",
                    within=inner,
                    xray=name == "skin",
                    carve=("skin",),
                ),
                fixed=True,
            )
        add(
            tube(
                name,
                name,
                (0, 20, 120),
                (0, 8, 260),
                62 - (24 + fat - grow),
                over=over,
                within=inner,
                xray=name == "skin",
                carve=("skin",),
            ),
            fixed=True,
        )


def _lungs(body: Builder, rng: np.random.Generator) -> None:
    add = body.add
    for side, name in ((1, "left lung"), (-1, "right lung")):
        carve = ("heart", "liver", "spleen", "stomach", "aorta")
        add(ellipsoid(name, "lung", (side * 69, 0, 0), (56, 80, 142), power=2.6, carve=carve))
    add(ellipsoid("muscle", "vessel", (0, -2, 10), (24, 62, 130), power=2.6, over="lung", xray=False))
    for side, lung in ((1, "left lung"), (-1, "right lung")):
        root = np.array([side * 26.0, 6.0, 8.0])
        for _ in range(7):
            aim = np.array([side * rng.uniform(55, 105), rng.uniform(-55, 60), rng.uniform(-80, 100)])
            fork = root + (aim - root) * rng.uniform(0.4, 0.6) + rng.normal(0, 5, 3)
            add(tube("", "vessel", tuple(root), tuple(fork), 4.2, 2.8, over="lung", within=(lung,)), fixed=True)
            for _ in range(2):
                tip = aim + rng.normal(0, 16, 3)
                add(tube("", "vessel", tuple(fork), tuple(tip), 2.6, 1.3, over="lung", within=(lung,)), fixed=True)


def _middle(body: Builder, rng: np.random.Generator) -> None:
    add = body.add
    # fat around the great vessels
    add(ellipsoid("fat", "fat", (0, -46, 60), (20, 24, 50), over="muscle", xray=False))
    add(ellipsoid("liver", "liver", (-62, -2, -150), (80, 84, 86), over="muscle"))
    add(ellipsoid("liver", "liver", (-2, -28, -140), (66, 48, 46), over="muscle", xray=False))
    add(ellipsoid("fat", "fat", (70, 0, -158), (64, 82, 76), over="muscle", xray=False))
    add(ellipsoid("spleen", "spleen", (88, 42, -146), (34, 38, 52), over="muscle"))
    add(ellipsoid("stomach", "wall", (62, -22, -138), (40, 40, 46), over="muscle"))
    add(ellipsoid("", "content", (62, -20, -138), (36, 36, 42), over="wall", xray=False))
    add(ellipsoid("bowel gas", "gas", (62, -36, -116), (28 * rng.uniform(0.6, 1.1), 22, 16), over="muscle"))
    turn = (20.0, 0.0, 28.0)
    big = rng.uniform(0.9, 1.12)
    add(ellipsoid("fat", "fat", (26, -34, -42), (62 * big, 48 * big, 60 * big), over="lung", turn=turn, xray=False))
    add(ellipsoid("heart", "heart", (26, -32, -42), (58 * big, 44 * big, 56 * big), over="muscle", turn=turn))
    for place, r in (((44, -26, -50), 22), ((4, -46, -44), 21), ((-10, -22, -32), 19), ((22, -4, -28), 20)):
        add(
            ellipsoid(
                "",
                "vessel",
                place,
                (r * big, r * 0.9 * big, r * 1.2 * big),
                over="heart",
                within=("heart",),
                xray=False,
            )
        )
    bow = [(4, -24, -4), (-4, -26, 38), (0, -10, 62), (12, 18, 66), (20, 44, 46), (21, 52, 0), (14, 50, -190)]
    for start, end in itertools.pairwise(bow):
        add(tube("aorta", "vessel", start, end, 14, 13 if end[2] > 0 else 11.5), fixed=True)
    add(tube("aorta", "vessel", (4, -2, 66), (26, 4, 130), 6, 5, xray=False))
    add(tube("vena cava", "vessel", (-22, -16, -20), (-20, -14, 110), 9, over="muscle"))
    add(tube("vena cava", "vessel", (-20, 4, -70), (-18, 20, -190), 11, xray=False))
    add(tube("", "vessel", (14, -26, 10), (30, 0, 22), 13, 10, xray=False))
    add(tube("", "vessel", (14, -20, 18), (-34, 0, 14), 11, 9, xray=False))
    add(tube("trachea", "gas", (0, 14, 170), (0, 20, 34), 9))
    for side in (-1, 1):
        add(tube("trachea", "gas", (0, 20, 36), (side * 34, 18, 6), 7, 5.5))
    add(tube("oesophagus", "wall", (2, 36, 150), (8, 34, -130), 7, xray=False))
    _bones(body)


def _bones(body: Builder) -> None:
    add = body.add
    for number in range(15):
        z = -178.0 + 25 * number
        add(ellipsoid("spine", "disc", (0, 70, z + 12.5), (17, 14, 5), power=4, xray=False), fixed=True)
        add(ellipsoid("spine", "cortex", (0, 70, z), (18.5, 15.5, 10.5), power=4), fixed=True)
        add(ellipsoid("", "marrow", (0, 70, z), (16, 13, 8.5), power=4, over="cortex"), fixed=True)
        add(ellipsoid("spine", "cortex", (0, 112, z - 8), (4, 17, 7), power=4), fixed=True)
        for side in (-1, 1):
            add(tube("spine", "cortex", (side * 14, 80, z), (side * 12, 98, z - 4), 5), fixed=True)
            add(tube("spine", "cortex", (side * 13, 94, z), (side * 34, 98, z + 2), 5, 4), fixed=True)
    add(tube("spinal cord", "csf", (0, 91, -220), (0, 91, 260), 8, xray=False), fixed=True)
    add(tube("", "cord", (0, 91, -220), (0, 91, 260), 5, xray=False), fixed=True)
    add(ellipsoid("sternum", "cortex", (0, -93, 22), (17, 6, 74), power=4))
    add(ellipsoid("", "marrow", (0, -93, 22), (14, 4, 71), power=4, over="cortex", within=("sternum",)))
    for side in (-1, 1):
        add(tube("clavicles", "cortex", (side * 18, -78, 112), (side * 78, -60, 128), 7.5), fixed=True)
        add(tube("clavicles", "cortex", (side * 78, -60, 128), (side * 148, -14, 136), 7.5), fixed=True)
        add(tube("scapulae", "cortex", (side * 154, 8, 118), (side * 158, 8, 117), 23, 23), fixed=True)
        add(ellipsoid("scapulae", "cortex", (side * 116, 93, 66), (34, 4.5, 62), turn=(0, 12 * side, side * 28)))
