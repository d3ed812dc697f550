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


Rates = tuple[float, float, float, float, float, float]


def measure(num: int, seed: int = 990) -> dict[tuple[str, str], Rates]:
    """(region, organ) -> per 1000 pictures: visible, absent (without radiographs), upper, lower, left, right."""
    total: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for index in range(num):
        picture = phantom(seed, index, size_px=96)
        for organ in HOME[picture.region]:
            count, there = total[picture.region, organ], seen(picture, organ)
            if there is not None and picture.modality != "X-ray":
                count[0 if there else 1] += 1
            if there:
                up, left = halves(picture, organ)
                for first, value in ((2, up), (4, left)):
                    if value is not None:
                        count[first + (not value)] += 1
    keys = [(region, organ) for region, organs in HOME.items() for organ in organs]
    return {key: tuple(round(1000 * total[key][k] / num, 1) for k in range(6)) for key in keys}  # type: ignore[misc]


RATES: dict[tuple[str, str], Rates] = {
    ("head", "ventricles"): (47.8, 54.2, 14.0, 3.2, 0.2, 2.0),
    ("head", "cerebellum"): (88.0, 131.5, 0.0, 52.0, 0.0, 64.5),
    ("head", "brainstem"): (21.5, 187.8, 0.0, 11.2, 0.2, 0.0),
    ("head", "left eye"): (10.8, 198.0, 0.0, 30.5, 37.2, 47.0),
    ("head", "right eye"): (8.8, 198.2, 0.0, 20.0, 58.0, 0.0),
    ("head", "jaw"): (94.8, 123.2, 0.5, 198.2, 112.5, 2.0),
    ("head", "sinus"): (89.0, 97.8, 0.0, 192.0, 100.2, 0.0),
    ("head", "spine"): (46.2, 165.8, 0.0, 150.2, 3.0, 48.8),
    ("thorax", "heart"): (119.5, 114.5, 41.0, 127.8, 50.5, 104.2),
    ("thorax", "liver"): (129.0, 112.0, 1.2, 216.5, 183.0, 0.0),
    ("thorax", "spleen"): (70.8, 164.0, 0.0, 159.2, 0.0, 133.0),
    ("thorax", "stomach"): (78.0, 161.8, 0.0, 173.2, 35.8, 101.2),
    ("thorax", "trachea"): (20.5, 169.0, 61.8, 0.0, 0.2, 5.5),
    ("thorax", "aorta"): (93.0, 64.2, 32.5, 90.0, 0.0, 49.0),
    ("thorax", "clavicles"): (2.2, 154.2, 97.5, 0.0, 44.5, 4.2),
    ("thorax", "scapulae"): (65.8, 138.2, 142.5, 18.8, 4.8, 44.5),
    ("thorax", "left lung"): (207.2, 34.5, 110.5, 3.8, 8.5, 231.5),
    ("thorax", "right lung"): (212.0, 29.8, 150.8, 0.8, 249.2, 0.0),
    ("abdomen", "left kidney"): (144.5, 71.2, 91.0, 33.5, 0.0, 201.5),
    ("abdomen", "right kidney"): (139.8, 78.2, 61.2, 30.0, 178.5, 35.0),
    ("abdomen", "liver"): (165.0, 62.8, 230.8, 0.0, 234.0, 0.0),
    ("abdomen", "spleen"): (112.0, 106.5, 190.0, 10.8, 0.0, 174.8),
    ("abdomen", "stomach"): (70.5, 156.0, 146.0, 0.0, 59.5, 72.0),
    ("abdomen", "colon"): (143.0, 44.2, 59.8, 42.8, 29.5, 51.8),
    ("abdomen", "bowel"): (95.5, 109.8, 22.2, 66.8, 42.2, 5.2),
    ("abdomen", "pelvis"): (102.5, 112.8, 0.0, 207.0, 14.0, 73.5),
    ("abdomen", "ribs"): (191.2, 38.0, 249.2, 3.8, 36.0, 6.5),
    ("abdomen", "bowel gas"): (141.2, 40.8, 74.2, 110.0, 66.0, 61.2),
}
"""What `measure` found over 4000 pictures."""

if __name__ == "__main__":
    for key, row in measure(4000).items():
        print(f"    {key}: {row},")
