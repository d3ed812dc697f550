"""The abdomen: wall, liver, spleen, kidneys, stomach, bowel, great vessels, spine, pelvis. Origin: in front of L2."""

from __future__ import annotations

import itertools

import numpy as np

from radvqa.phantom.anatomy import Anatomy, Builder, Cage
from radvqa.phantom.solids import Solid, ellipsoid, tube


def build(rng: np.random.Generator) -> Anatomy:
    """A random abdomen, about 300 x 220 x 330 mm."""
    size = 1 + np.clip(rng.normal(0, 0.04), -0.08, 0.08)
    scale = tuple(float(size * (1 + np.clip(rng.normal(0, 0.04), -0.07, 0.07))) for _ in range(3))
    body = Builder(rng, scale, 0.06)
    fat = float(rng.uniform(8, 32))
    cavity = _wall(body, fat)
    _bowel(body, rng)
    _organs(body, rng)
    _bones(body)
    cage = Cage(
        (128 * scale[0], 92 * scale[1], 150.0), 60.0, 2.0, 27 * scale[2], 0.42, 0.6, 8.0, 10.0, rng.uniform(0, 1)
    )
    wide = 2 * (126 * scale[0] + 22 + fat) * 1.06
    return Anatomy(
        "abdomen", tuple(body.solids), fov_mm=wide, tall_mm=max(wide, 330 * scale[2]), cage=cage, cavity=cavity
    )


def _wall(body: Builder, fat: float) -> Solid:
    add = body.add
    for name, grow in (("skin", fat + 16.0), ("fat", fat + 14.0), ("muscle", 14.0)):
        over = {"skin": "air", "fat": "skin", "muscle": "fat"}[name]
        add(ellipsoid(name, name, (0, 4, 0), (126 + grow, 90 + grow, 900), over=over, power=2.8), fixed=True)
    for side in (-1, 1):
        add(tube("muscle", "muscle", (side * 36, 96, 400), (side * 36, 96, -400), 27, xray=False), fixed=True)
    return add(ellipsoid("fat", "fat", (0, -2, -5), (118, 80, 900), power=2.8), fixed=True)


def _bowel(body: Builder, rng: np.random.Generator) -> None:
    add = body.add
    frame = [
        (-96, 6, -130),
        (-98, 2, -60),
        (-92, -14, 10),
        (-40, -58, 16),
        (30, -60, 12),
        (86, -20, 40),
        (100, 14, -10),
        (98, 20, -80),
        (84, 16, -135),
    ]
    for start, end in itertools.pairwise(frame):
        for step in np.linspace(0, 1, 5)[:-1]:
            at = np.array(start) + (np.array(end) - np.array(start)) * step + rng.normal(0, 2.5, 3)
            r = rng.uniform(16, 21)
            add(ellipsoid("colon", "wall", tuple(at), (r, r, r * 1.15), over="fat", xray=False))
            full = body.solids[-1]
            inner = tuple(v - 2.5 for v in full.axes)
            place = full.centre
            if rng.random() < 0.55:
                _fill(body, place, inner, rng)
            else:
                body.solids.append(ellipsoid("", "content", place, inner, over="wall", within=("colon",), xray=False))
    for _ in range(34):
        at = (rng.uniform(-72, 76), rng.uniform(-62, 12), rng.uniform(-165, 0))
        r = rng.uniform(11, 17, 3)
        add(ellipsoid("bowel", "wall", at, tuple(r), turn=tuple(rng.uniform(-40, 40, 3)), over="fat", xray=False))
        if rng.random() < 0.25:
            _fill(body, at, tuple(r - 3), rng)
        else:
            body.solids.append(ellipsoid("", "content", at, tuple(r - 3), over="wall", within=("bowel",), xray=False))


def _fill(body: Builder, place: tuple[float, ...], inner: tuple[float, ...], rng: np.random.Generator) -> None:
    """Gas in a loop; a lying patient's gas gathers in front."""
    x, y, z = place
    body.solids.append(ellipsoid("bowel gas", "gas", (x, y - 2, z), inner, over="muscle", within=("bowel", "colon")))


def _organs(body: Builder, rng: np.random.Generator) -> None:
    add = body.add
    for side in (-1, 1):
        add(tube("muscle", "muscle", (side * 30, 60, 40), (side * 58, 44, -160), 15, 22, over="fat"))
    add(ellipsoid("liver", "liver", (-60, 0, 78), (62, 74, 74), over="fat", turn=(0, -14, 0), power=2.4))
    add(ellipsoid("liver", "liver", (-12, -40, 86), (66, 36, 38), over="fat", turn=(0, -16, 8)))
    for _ in range(7):
        root = (-40 + rng.normal(0, 6), 0 + rng.normal(0, 6), 75 + rng.normal(0, 8))
        tip = (-60 + rng.normal(0, 40), rng.normal(-5, 34), 80 + rng.normal(0, 32))
        add(tube("", "vessel", root, tip, 4.5, 2, over="liver", within=("liver",), xray=False), fixed=True)
    add(ellipsoid("stomach", "wall", (54, -30, 84), (46, 38, 44), over="fat", turn=(0, 24, 10)))
    add(
        ellipsoid(
            "", "content", (54, -29, 83), (41, 33, 39), over="wall", turn=(0, 24, 10), within=("stomach",), xray=False
        ),
        fixed=True,
    )
    add(ellipsoid("bowel gas", "gas", (52, -48, 94), (30, 14, 26), over="muscle", within=("stomach",)))
    add(ellipsoid("spleen", "spleen", (90, 36, 84), (26, 42, 50), over="fat", turn=(0, 8, 18)))
    add(ellipsoid("gallbladder", "bile", (-52, -42, 34), (13, 19, 22), over="muscle", turn=(20, 0, 0), xray=False))
    path = [(-26, -14, 14), (-8, -18, 26), (24, -8, 34), (62, 14, 52)]
    for start, end in itertools.pairwise(path):
        add(tube("pancreas", "pancreas", start, end, 12 if start[0] < -20 else 10, 8, over="fat", xray=False))
    for side, name in ((1, "left kidney"), (-1, "right kidney")):
        z = 14.0 + 6 * side
        place, turn = (side * 66.0, 42.0, z), (14.0, side * 12.0, side * -24.0)
        add(ellipsoid(name, "kidney", place, (28, 26, 54), over="fat", turn=turn))
        x, y, z = body.solids[-1].centre
        pelvis = ellipsoid("", "fat", (x - side * 15, y - 6, z), (13, 8, 22), turn=turn, within=(name,), xray=False)
        body.solids.append(pelvis)
        add(ellipsoid("", "bile", (side * 52, 38, z), (8, 5, 10), turn=turn, within=(name,), xray=False))
    add(tube("aorta", "vessel", (12, 30, 220), (6, 28, -70), 11, 9.5, over="fat", xray=False))
    add(tube("vena cava", "vessel", (-16, 28, 220), (-16, 30, -70), 12, 12, over="fat", xray=False))
    for side in (-1, 1):
        add(tube("aorta", "vessel", (6, 28, -70), (side * 42, 24, -150), 7, 6, over="fat", xray=False))
        add(tube("vena cava", "vessel", (side * 8, 20, 22), (side * 52, 36, 20), 4, xray=False))


def _bones(body: Builder) -> None:
    add = body.add
    for number in range(12):
        z = -210.0 + 36 * number
        add(ellipsoid("spine", "disc", (0, 62, z + 18), (22, 17, 6.5), power=4, xray=False), fixed=True)
        add(ellipsoid("spine", "cortex", (0, 62, z), (23.5, 18.5, 13.5), power=4), fixed=True)
        add(ellipsoid("", "marrow", (0, 62, z), (21, 16, 11), power=4, over="cortex"), fixed=True)
        add(ellipsoid("spine", "cortex", (0, 110, z - 8), (4.5, 18, 11), power=4), fixed=True)
        for side in (-1, 1):
            add(tube("spine", "cortex", (side * 17, 76, z), (side * 13, 96, z - 5), 6), fixed=True)
            add(tube("spine", "cortex", (side * 15, 88, z + 2), (side * 44, 90, z + 2), 5, 4), fixed=True)
    add(tube("spinal cord", "csf", (0, 86, -300), (0, 86, 300), 10, xray=False), fixed=True)
    add(tube("", "cord", (0, 88, 0), (0, 87, 300), 5, xray=False), fixed=True)
    for side in (-1, 1):
        add(ellipsoid("pelvis", "cortex", (side * 86, 46, -150), (40, 10, 54), turn=(-20, 0, side * -50)))
        add(
            ellipsoid(
                "",
                "marrow",
                (side * 86, 46, -150),
                (36, 6.5, 50),
                over="cortex",
                turn=(-20, 0, side * -50),
                within=("pelvis",),
            )
        )
