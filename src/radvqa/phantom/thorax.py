"""The thorax: chest wall, ribs, lungs with vessels, heart and great vessels, upper abdomen. Origin: behind the heart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from radvqa.phantom.anatomy import LAYERS, OUTER, Anatomy, Builder, Cage, scale_of


def build(rng: np.random.Generator) -> Anatomy:
    """A random thorax, about 300 x 210 x 330 mm."""
    scale = scale_of(rng, 0.035)
    body = Builder(rng, scale, 0.05)
    fat = float(rng.uniform(5, 22))
    _wall(body, fat, bust=rng.uniform(0.7, 1.3) if rng.random() < 0.5 else 0.0)
    _lungs(body, rng)
    _below(body, rng)
    _heart(body, rng.uniform(0.9, 1.12))
    _vessels(body)
    _bones(body)
    cage = Cage(
        axes=(130 * scale[0], 86 * scale[1], 150 * scale[2]), z_dome=20.0, y=0.0, period=27 * scale[2],
        share=rng.uniform(0.4, 0.5), slope=rng.uniform(0.35, 0.55), thickness=8.0, z_low=-165.0, phase=rng.uniform(0, 1),
    )  # fmt: skip
    wide = 2 * (130 * scale[0] + 26 + fat) * 1.08
    return Anatomy("thorax", tuple(body.solids), fov_mm=wide, tall_mm=max(wide, 345 * scale[2]), cage=cage)


def _wall(body: Builder, fat: float, bust: float) -> None:
    for (name, over), grow in zip(LAYERS, (fat + 24.0, fat + 22.0, 22.0)):
        how: dict[str, Any] = {"over": over, "within": () if name == "skin" else OUTER, "fixed": True}
        trunk, less = (130 + grow, 86 + grow), fat + 24 - grow
        body.ellipsoid(name, name, (0, 4, -395), (*trunk, 500), power=3, xray=False, **how)
        body.ellipsoid(name, name, (0, 4, -280), (*trunk, 430), power=4, **how)
        how |= {"over": "air", "carve": ("skin",), "xray": name == "skin"}
        body.ellipsoid(name, name, (0, 10, 104), (158 - less, 84 - less, 70 - less), **how)
        for side in (-1, 1):
            if bust and name != "muscle":
                breast = tuple(v * bust - less for v in (58, 46, 54))
                body.ellipsoid(name, name, (side * 72, -88 - fat, -30), breast, **how)
            body.tube(name, name, (side * 100, 14, 128), (side * 175, 8, 112), 54 - 0.8 * less, **how)
        body.tube(name, name, (0, 20, 120), (0, 8, 260), 62 - less, **how)


def _lungs(body: Builder, rng: np.random.Generator) -> None:
    carve = ("heart", "liver", "spleen", "stomach", "aorta")
    for side, name in ((1, "left lung"), (-1, "right lung")):
        body.ellipsoid(name, "lung", (side * 69, 0, 0), (56, 80, 142), power=2.6, carve=carve)
    body.ellipsoid("muscle", "vessel", (0, -2, 10), (24, 62, 130), power=2.6, over="lung", xray=False)
    for side, name in ((1, "left lung"), (-1, "right lung")):
        root = np.array([side * 26.0, 6.0, 8.0])
        how: dict[str, Any] = {"over": "lung", "within": (name,), "fixed": True}
        for _ in range(10):
            aim = np.array([side * rng.uniform(50, 112), rng.uniform(-62, 66), rng.uniform(-95, 105)])
            fork = root + (aim - root) * rng.uniform(0.4, 0.6) + rng.normal(0, 5, 3)
            body.tube("", "vessel", tuple(root.tolist()), tuple(fork.tolist()), 4.4, 2.9, **how)
            for tip in (aim + rng.normal(0, 16, (2, 3))).tolist():
                body.tube("", "vessel", tuple(fork.tolist()), tuple(tip), 2.8, 1.5, **how)


def _below(body: Builder, rng: np.random.Generator) -> None:
    body.ellipsoid("fat", "fat", (0, -46, 60), (20, 24, 50), xray=False)
    body.ellipsoid("liver", "liver", (-62, -2, -150), (80, 84, 86))
    body.ellipsoid("liver", "liver", (-2, -28, -140), (66, 48, 46), xray=False)
    body.ellipsoid("fat", "fat", (70, 0, -158), (64, 82, 76), xray=False)
    body.ellipsoid("spleen", "spleen", (88, 42, -146), (34, 38, 52))
    stomach = body.ellipsoid("stomach", "wall", (62, -22, -138), (40, 40, 46))
    body.core(stomach, "content", 4, xray=False)
    body.ellipsoid("bowel gas", "gas", (62, -36, -116), (28 * rng.uniform(0.6, 1.1), 22, 16))


def _heart(body: Builder, size: float) -> None:
    turn = (20.0, 0.0, 28.0)
    around = (62 * size, 48 * size, 60 * size)
    body.ellipsoid("fat", "fat", (26, -34, -42), around, over="lung", turn=turn, xray=False)
    body.ellipsoid("heart", "heart", (26, -32, -42), (58 * size, 44 * size, 56 * size), turn=turn)
    for place, r in (((44, -26, -50), 22), ((4, -46, -44), 21), ((-10, -22, -32), 19), ((22, -4, -28), 20)):
        axes = (r * size, r * 0.9 * size, r * 1.2 * size)
        body.ellipsoid("", "vessel", place, axes, over="heart", within=("heart",), xray=False)


def _vessels(body: Builder) -> None:
    bow = [(4, -24, -4), (-4, -26, 38), (0, -10, 62), (12, 18, 66), (20, 44, 46), (21, 52, 0), (14, 50, -190)]
    for start, end in pairwise(bow):
        body.tube("aorta", "vessel", start, end, 14, 13 if end[2] > 0 else 11.5, fixed=True)
    body.tube("aorta", "vessel", (4, -2, 66), (26, 4, 130), 6, 5, xray=False)
    body.tube("vena cava", "vessel", (-22, -16, -20), (-20, -14, 110), 9)
    body.tube("vena cava", "vessel", (-20, 4, -70), (-18, 20, -190), 11, xray=False)
    body.tube("", "vessel", (14, -26, 10), (30, 0, 22), 13, 10, xray=False)
    body.tube("", "vessel", (14, -20, 18), (-34, 0, 14), 11, 9, xray=False)
    body.tube("trachea", "gas", (0, 14, 170), (0, 20, 34), 9)
    for side in (-1, 1):
        body.tube("trachea", "gas", (0, 20, 36), (side * 34, 18, 6), 7, 5.5)
    body.tube("oesophagus", "wall", (2, 36, 150), (8, 34, -130), 7, xray=False)


def _bones(body: Builder) -> None:
    for number in range(15):
        z = -178.0 + 25 * number
        body.ellipsoid("spine", "disc", (0, 70, z + 12.5), (17, 14, 5), power=4, xray=False, fixed=True)
        block = body.ellipsoid("spine", "cortex", (0, 70, z), (18.5, 15.5, 10.5), power=4, fixed=True)
        body.core(block, "marrow", 2.3)
        body.ellipsoid("spine", "cortex", (0, 112, z - 8), (4, 17, 7), power=4, fixed=True)
        for side in (-1, 1):
            body.tube("spine", "cortex", (side * 14, 80, z), (side * 12, 98, z - 4), 5, fixed=True)
            body.tube("spine", "cortex", (side * 13, 94, z), (side * 34, 98, z + 2), 5, 4, fixed=True)
    body.tube("spinal cord", "csf", (0, 91, -220), (0, 91, 260), 8, xray=False, fixed=True)
    body.tube("", "cord", (0, 91, -220), (0, 91, 260), 5, xray=False, fixed=True)
    sternum = body.ellipsoid("sternum", "cortex", (0, -93, 22), (17, 6, 74), power=4)
    body.core(sternum, "marrow", 2.2)
    for side in (-1, 1):
        body.tube("clavicles", "compact", (side * 18, -78, 112), (side * 78, -60, 124), 8, fixed=True)
        body.tube(
            "clavicles", "compact", (side * 78, -60, 124), (side * 148, -14, 132), 8, fixed=True, carve=("clavicles",)
        )
        head = body.tube("scapulae", "cortex", (side * 154, 8, 118), (side * 158, 8, 117), 23, 23, fixed=True)
        body.core(head, "marrow", 3)
        body.ellipsoid("scapulae", "cortex", (side * 116, 93, 66), (34, 4.5, 62), turn=(0, 12 * side, side * 28))
