"""Yes and no equally likely for every wording, by construction: which closed question to ask of which picture.

Two tools. `decoy` turns a property of known shares (modality, plane, region) into a yes or a no question so that each
value is asked for equally often with either answer. `thin` keeps the commoner answer only as often as the rarer one, from
rates measured over many phantoms (`python -m radvqa.phantom.balance` prints them anew after a change of the anatomy).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from radvqa.phantom.scene import Phantom, phantom
from radvqa.phantom.tissue import ID

HOME = {
    "head": ("ventricles", "cerebellum", "brainstem", "left eye", "right eye", "jaw", "sinus", "spine"),
    "thorax": (
        "heart",
        "liver",
        "spleen",
        "stomach",
        "trachea",
        "aorta",
        "clavicles",
        "scapulae",
        "left lung",
        "right lung",
    ),
    "abdomen": (
        "left kidney",
        "right kidney",
        "liver",
        "spleen",
        "stomach",
        "colon",
        "bowel",
        "pelvis",
        "ribs",
        "bowel gas",
    ),
}
"""Organs that are asked about, in the regions where both answers occur."""
ORGANS = tuple(sorted({name for names in HOME.values() for name in names}))


@lru_cache(maxsize=32)
def _flows(shares: tuple[float, ...]) -> np.ndarray:
    """A symmetric matrix with zero diagonal and the shares as row sums (each share below 1/2, three at least)."""
    p = np.array(shares)
    a = p.copy()
    for _ in range(500):
        a = 0.5 * a + 0.5 * p / (a.sum() - a)
    flow = np.outer(a, a)
    np.fill_diagonal(flow, 0)
    return flow


def decoy(rng: np.random.Generator, shares: Mapping[str, float], true: str) -> tuple[str, bool] | None:
    """The value to ask for and whether the answer is yes; None: ask nothing of this picture.

    With flows f[i, j] = f[j, i] and sum over j = share i, value j is asked with the answer no by the part
    sum over i of f[i, j] / 2 = share j / 2 of all pictures: as often as with yes.
    """
    names = list(shares)
    if len(names) == 2:
        other = names[1 - names.index(true)]
        if rng.random() >= min(1.0, shares[other] / shares[true]):
            return None
        return (true, True) if rng.random() < 0.5 else (other, False)
    if rng.random() < 0.5:
        return true, True
    row = _flows(tuple(shares.values()))[names.index(true)]
    return names[int(np.searchsorted(np.cumsum(row / row.sum()), rng.random(), side="right"))], False


def thin(rng: np.random.Generator, rate_yes: float, rate_no: float, answer: bool) -> bool:
    """Whether to ask: the commoner answer is kept with probability rarer / commoner."""
    mine, other = (rate_yes, rate_no) if answer else (rate_no, rate_yes)
    return bool(rng.random() < min(1.0, other / max(mine, 1e-9)))


def seen(picture: Phantom, organ: str) -> bool | None:
    """True: visible; False: not a pixel of it; None: too little of it to ask."""
    if organ in picture.organs:
        return True
    return False if not (picture.labels == ID[organ]).any() else None


def halves(picture: Phantom, organ: str) -> tuple[bool | None, bool | None]:
    """(in the upper half, in the left half) of the picture by its centroid; None where it is within 7 % of the middle."""
    rows, columns = np.nonzero(picture.labels == ID[organ])
    up, left = rows.mean() / picture.labels.shape[0] - 0.5, columns.mean() / picture.labels.shape[1] - 0.5
    return None if abs(up) < 0.07 else bool(up < 0), None if abs(left) < 0.07 else bool(left < 0)


def measure(num: int, seed: int = 990) -> dict[str, tuple[float, float, float, float, float, float]]:
    """organ -> counts per 1000 pictures: visible, absent, upper, lower, left, right."""
    total: dict[str, Counter[int]] = defaultdict(Counter)
    for index in range(num):
        picture = phantom(seed, index, size_px=96)
        for organ in HOME[picture.region]:
            there = seen(picture, organ)
            if there is None:
                continue
            total[organ][0 if there else 1] += 1
            if there:
                up, left = halves(picture, organ)
                for first, value in ((2, up), (4, left)):
                    if value is not None:
                        total[organ][first + (not value)] += 1
    return {organ: tuple(round(1000 * total[organ][k] / num, 1) for k in range(6)) for organ in ORGANS}  # type: ignore[misc]


RATES: dict[str, tuple[float, float, float, float, float, float]] = {
    "aorta": (191.0, 65.3, 33.0, 90.0, 0.0, 46.7),
    "bowel": (79.0, 222.0, 17.3, 55.0, 33.7, 5.0),
    "bowel gas": (230.0, 43.7, 71.0, 78.7, 70.3, 65.0),
    "brainstem": (21.7, 300.0, 0.0, 11.7, 0.0, 0.0),
    "cerebellum": (88.0, 242.3, 0.0, 50.7, 0.7, 63.0),
    "clavicles": (94.0, 152.7, 94.0, 0.0, 44.3, 3.3),
    "colon": (141.3, 144.3, 55.7, 45.0, 27.3, 57.0),
    "heart": (215.0, 114.0, 42.0, 116.0, 47.7, 103.7),
    "jaw": (200.0, 125.3, 0.0, 200.0, 111.7, 1.7),
    "left eye": (17.0, 264.0, 0.0, 7.7, 17.0, 0.0),
    "left kidney": (200.3, 74.0, 84.3, 31.0, 0.0, 191.7),
    "left lung": (266.0, 47.3, 128.3, 4.3, 9.0, 229.7),
    "liver": (497.0, 165.0, 234.0, 217.7, 415.7, 0.0),
    "pelvis": (200.3, 113.0, 0.0, 200.3, 13.0, 70.3),
    "ribs": (294.3, 35.0, 248.3, 6.3, 37.7, 9.7),
    "right eye": (10.0, 289.7, 0.0, 4.3, 10.0, 0.0),
    "right kidney": (239.7, 76.7, 60.3, 29.7, 173.7, 34.0),
    "right lung": (309.0, 27.0, 164.0, 0.3, 249.7, 0.0),
    "scapulae": (156.7, 139.0, 140.7, 16.0, 3.7, 45.7),
    "sinus": (205.7, 96.0, 0.0, 204.3, 107.3, 0.3),
    "spine": (151.7, 169.7, 0.0, 151.7, 2.3, 52.0),
    "spleen": (364.7, 280.3, 186.0, 168.3, 0.0, 299.0),
    "stomach": (313.3, 316.7, 141.0, 168.7, 90.3, 166.3),
    "trachea": (61.0, 168.0, 61.0, 0.0, 0.0, 5.0),
    "ventricles": (48.3, 166.3, 13.3, 3.0, 1.3, 2.0),
}

if __name__ == "__main__":
    for name, row in measure(6000).items():
        print(f'    "{name}": {row},')
