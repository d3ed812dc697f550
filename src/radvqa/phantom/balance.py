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
            if there is not None and picture.modality != "X-ray":
                total[organ][0 if there else 1] += 1
            if there:
                up, left = halves(picture, organ)
                for first, value in ((2, up), (4, left)):
                    if value is not None:
                        total[organ][first + (not value)] += 1
    return {organ: tuple(round(1000 * total[organ][k] / num, 1) for k in range(6)) for organ in ORGANS}  # type: ignore[misc]


RATES: dict[str, tuple[float, float, float, float, float, float]] = {
    "aorta": (91.6, 65.0, 31.8, 90.0, 0.0, 48.2),
    "bowel": (99.6, 108.0, 22.0, 70.4, 43.6, 5.2),
    "bowel gas": (142.6, 38.4, 75.6, 110.8, 67.6, 60.4),
    "brainstem": (23.4, 188.8, 0.0, 11.8, 0.2, 0.0),
    "cerebellum": (87.8, 136.6, 0.0, 51.8, 0.2, 63.8),
    "clavicles": (2.0, 149.6, 99.0, 0.0, 46.8, 3.8),
    "colon": (146.8, 41.4, 62.8, 41.2, 30.8, 52.6),
    "heart": (122.2, 107.6, 41.4, 130.8, 53.6, 103.0),
    "jaw": (93.0, 129.2, 0.4, 194.4, 110.4, 1.4),
    "left eye": (10.8, 202.0, 0.0, 31.0, 37.0, 46.4),
    "left kidney": (144.4, 73.4, 88.2, 35.2, 0.0, 198.8),
    "left lung": (203.4, 33.6, 110.2, 4.0, 8.8, 226.0),
    "liver": (291.4, 173.6, 233.0, 214.2, 413.2, 0.0),
    "pelvis": (100.0, 116.0, 0.0, 204.2, 14.8, 73.8),
    "ribs": (191.6, 38.8, 248.4, 3.8, 35.4, 7.0),
    "right eye": (9.4, 203.6, 0.0, 20.8, 57.6, 0.0),
    "right kidney": (141.2, 77.2, 59.6, 30.4, 175.8, 36.2),
    "right lung": (205.6, 31.4, 148.2, 0.6, 244.0, 0.0),
    "scapulae": (62.4, 138.8, 142.8, 17.0, 4.6, 46.2),
    "sinus": (87.6, 102.8, 0.0, 188.6, 98.8, 0.0),
    "spine": (46.2, 170.0, 0.0, 148.0, 3.2, 48.4),
    "spleen": (172.6, 276.0, 184.8, 166.4, 0.0, 296.0),
    "stomach": (148.0, 314.0, 146.2, 176.6, 98.0, 171.6),
    "trachea": (19.6, 168.6, 62.6, 0.0, 0.2, 6.6),
    "ventricles": (47.6, 58.2, 14.4, 3.8, 0.2, 2.0),
}

if __name__ == "__main__":
    for name, row in measure(6000).items():
        print(f'    "{name}": {row},')
