"""The abdomen: wall, liver, spleen, kidneys, stomach, bowel, great vessels, spine, pelvis. Origin: in front of L2."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from radvqa.phantom.anatomy import LAYERS, Anatomy, Builder, Cage, scale_of
from radvqa.phantom.solids import Solid, ellipsoid

FRAME = (
    (-96, 6, -130),
    (-98, 2, -60),
    (-92, -14, 10),
    (-40, -58, 16),
    (30, -60, 12),
    (86, -20, 40),
    (100, 14, -10),
    (98, 20, -80),
    (84, 16, -135),
)
"""The way of the colon."""


def build(rng: np.random.Generator) -> Anatomy:
    """A random abdomen, about 300 x 220 x 330 mm."""
    scale = scale_of(rng, 0.035)
    body = Builder(rng, scale, 0.06)
    fat = float(rng.uniform(8, 32))
    _wall(body, fat)
    _bowel(body, rng)
    _liver(body, rng)
    _organs(body)
    _bones(body)
    cage = Cage(
        axes=(128 * scale[0], 92 * scale[1], 150.0), z_dome=60.0, y=2.0, period=27 * scale[2],
        share=0.42, slope=0.6, thickness=8.0, z_low=10.0, phase=rng.uniform(0, 1),
    )  # fmt: skip
    wide = 2 * (126 * scale[0] + 22 + fat) * 1.06
    return Anatomy("abdomen", tuple(body.solids), fov_mm=wide, tall_mm=max(wide, 330 * scale[2]), cage=cage)


def _wall(body: Builder, fat: float) -> None:
    for (name, over), grow in zip(LAYERS, (fat + 16.0, fat + 14.0, 14.0)):
        body.ellipsoid(name, name, (0, 4, 0), (126 + grow, 90 + grow, 900), over=over, power=2.8, fixed=True)
    for side in (-1, 1):
        body.tube("muscle", "muscle", (side * 36, 96, 400), (side * 36, 96, -400), 27, xray=False, fixed=True)
    body.ellipsoid("fat", "fat", (0, -2, -5), (118, 80, 900), power=2.8, fixed=True)
    for side in (-1, 1):
        body.tube("muscle", "muscle", (side * 30, 60, 40), (side * 58, 44, -160), 15, 22, over="fat")


def _bowel(body: Builder, rng: np.random.Generator) -> None:
    for start, end in pairwise(FRAME):
        for step in np.linspace(0, 1, 6)[:-1]:
            at = np.array(start) + (np.array(end) - np.array(start)) * step + rng.normal(0, 2.5, 3)
            r = float(rng.uniform(16, 21))
            loop = body.ellipsoid("colon", "wall", tuple(at.tolist()), (r, r, r * 1.1), over="fat", xray=False)
            _fill(body, loop, gas=bool(rng.random() < 0.5))
    for _ in range(52):
        middle = (rng.uniform(-74, 78), rng.uniform(-66, 14), rng.uniform(-165, -2))
        axes = tuple(rng.uniform(12, 18, 3).tolist())
        turn = tuple(rng.uniform(-40, 40, 3).tolist())
        loop = body.ellipsoid("bowel", "wall", middle, axes, turn=turn, over="fat", xray=False)
        _fill(body, loop, gas=bool(rng.random() < 0.2))


def _fill(body: Builder, loop: Solid, gas: bool) -> None:
    """What is in a loop of bowel: fluid and stool, or gas (which also darkens a radiograph)."""
    if gas:
        body.core(loop, "gas", 2.5, structure="bowel gas")
    else:
        body.core(loop, "content", 2.5, xray=False)


def _liver(body: Builder, rng: np.random.Generator) -> None:
    body.ellipsoid("liver", "liver", (-60, 0, 78), (62, 74, 74), over="fat", turn=(0, -14, 0), power=2.4)
    body.ellipsoid("liver", "liver", (-12, -40, 86), (66, 36, 38), over="fat", turn=(0, -16, 8))
    for _ in range(9):
        root = tuple(rng.normal((-40, 0, 75), (6, 6, 8)).tolist())
        tip = tuple(rng.normal((-60, -5, 80), (40, 34, 32)).tolist())
        body.tube("", "vessel", root, tip, 4.5, 2, over="liver", within=("liver",), xray=False, fixed=True)


def _organs(body: Builder) -> None:
    stomach = body.ellipsoid("stomach", "wall", (54, -30, 84), (46, 38, 44), over="fat", turn=(0, 24, 10))
    body.core(stomach, "content", 4.5, xray=False)
    body.ellipsoid("bowel gas", "gas", (52, -48, 94), (30, 14, 26), within=("stomach",))
    body.ellipsoid("spleen", "spleen", (90, 36, 84), (26, 42, 50), over="fat", turn=(0, 8, 18))
    body.ellipsoid("gallbladder", "bile", (-52, -42, 34), (13, 19, 22), turn=(20, 0, 0), xray=False)
    for start, end in pairwise([(-26, -14, 14), (-8, -18, 26), (24, -8, 34), (62, 14, 52)]):
        body.tube("pancreas", "pancreas", start, end, 12 if start[0] < -20 else 10, 8, over="fat", xray=False)
    for side, name in ((1, "left kidney"), (-1, "right kidney")):
        turn = (14.0, side * 12.0, side * -24.0)
        kidney = body.ellipsoid(name, "kidney", (side * 66, 42, 14 + 6 * side), (28, 26, 54), over="fat", turn=turn)
        x, y, z = kidney.centre
        for tissue, axes, deep in (("fat", (13, 8, 22), 15), ("bile", (8, 5, 10), 13)):
            body.solids.append(
                ellipsoid("", tissue, (x - side * deep, y - 5, z), axes, turn=turn, within=(name,), xray=False)
            )
    body.tube("aorta", "vessel", (12, 30, 220), (6, 28, -70), 11, 9.5, over="fat", xray=False)
    body.tube("vena cava", "vessel", (-16, 28, 220), (-16, 30, -70), 12, 12, over="fat", xray=False)
    for side in (-1, 1):
        body.tube("aorta", "vessel", (6, 28, -70), (side * 42, 24, -150), 7, 6, over="fat", xray=False)
        body.tube("vena cava", "vessel", (side * 8, 20, 22), (side * 52, 36, 20), 4, xray=False)


def _bones(body: Builder) -> None:
    for number in range(12):
        z = -210.0 + 36 * number
        body.ellipsoid("spine", "disc", (0, 62, z + 18), (22, 17, 6.5), power=4, xray=False, fixed=True)
        block = body.ellipsoid("spine", "cortex", (0, 62, z), (23.5, 18.5, 13.5), power=4, fixed=True)
        body.core(block, "marrow", 2.4)
        body.ellipsoid("spine", "cortex", (0, 110, z - 8), (4.5, 18, 11), power=4, fixed=True)
        for side in (-1, 1):
            body.tube("spine", "cortex", (side * 17, 76, z), (side * 13, 96, z - 5), 6, fixed=True)
            body.tube("spine", "cortex", (side * 15, 88, z + 2), (side * 44, 90, z + 2), 5, 4, fixed=True)
    body.tube("spinal cord", "csf", (0, 86, -300), (0, 86, 300), 10, xray=False, fixed=True)
    body.tube("", "cord", (0, 88, 0), (0, 87, 300), 5, xray=False, fixed=True)
    for side in (-1, 1):
        wing = body.ellipsoid("pelvis", "cortex", (side * 86, 46, -150), (40, 10, 54), turn=(-20, 0, side * -50))
        body.core(wing, "marrow", 3.5)
