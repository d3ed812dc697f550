"""What a phantom shows, in sentences (pretraining, evidence) and as a grid of labels (dense pretraining targets).

captions(picture, rng)   ->  eight wordings, each naming modality, plane, region and every finding
layout(picture, 14)      ->  int64[14, 14] indices into STRUCTURES
"""

from __future__ import annotations

import numpy as np

from radvqa.phantom.grid import Array
from radvqa.phantom.scene import Finding, Phantom
from radvqa.phantom.tissue import FINDINGS, ID, STRUCTURES


def article(name: str) -> str:
    """a or an before a finding or modality."""
    return f"an {name}" if name[0].lower() in "aeioux" or name.lower() == "mr" else f"a {name}"


def technique(picture: Phantom) -> str:
    """ct, t1 mr, t2 mr or x-ray."""
    return f"{picture.sequence.lower()} mr" if picture.sequence else picture.modality.lower()


def place(finding: Finding) -> str:
    """Where it is, with its side: 'left lung', 'left ribs', 'liver'."""
    if finding.side is None or finding.side in finding.organ or finding.organ in ("liver", "spleen"):
        return finding.organ
    if finding.organ in ("skull", "abdominal cavity"):
        return f"{finding.side} side of the {finding.organ}"
    return f"{finding.side} {finding.organ}"


def describe(picture: Phantom) -> str:
    """The first caption: 'axial ct of the thorax, lung window. nodule in the left lung.'"""
    return captions(picture, np.random.default_rng(0))[0]


def captions(picture: Phantom, rng: np.random.Generator) -> tuple[str, ...]:
    """Eight captions in lower case; `rng` sets the order of findings and organs."""
    kind, plane, region = technique(picture), picture.plane, picture.region
    window = f", {picture.window} window" if picture.window else ""
    order = [picture.findings[k] for k in rng.permutation(len(picture.findings))]
    short = " and ".join(f"{finding.name} in the {place(finding)}" for finding in order)
    long = " and ".join(f"{article(finding.name)} in the {place(finding)}" for finding in order)
    organs = [picture.organs[k] for k in rng.permutation(min(4, len(picture.organs)))]
    seen = ", ".join(organs) or region
    names = " and ".join(finding.name for finding in order) or "none"
    spots = " and ".join(place(finding) for finding in order) or "none"
    return (
        f"{plane} {kind} of the {region}{window}. {short or 'no abnormality'}.",
        f"{kind}, {plane}, {region}{window}: {short or 'normal'}.",
        f"this is {article(plane)} {kind} of the {region}. it shows {long or 'no abnormality'}.",
        f"{long or 'no abnormality'} on {article(plane)} {kind} of the {region}{window}.",
        f"{region} {kind} in the {plane} plane. finding: {names}. place: {spots}.",
        f"{plane} {kind} of the {region}. visible: {seen}. {short or 'normal'}.",
        f"the {region} in {article(plane)} {kind}{window}. {'there is ' + long if long else 'nothing abnormal is seen'}.",
        f"modality {kind}. plane {plane}. region {region}. finding {names}. place {spots}.",
    )


def layout(picture: Phantom, grid: int) -> Array:
    """int64[grid, grid]: the label that most pixels of a cell have; a finding wins once it covers over a quarter."""
    height, width = picture.labels.shape
    rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
    cell = rows[:, None] * grid + columns[None, :]
    num = len(STRUCTURES)
    count = np.bincount((cell * num + picture.labels).ravel(), minlength=grid * grid * num).reshape(-1, num)
    majority = count.argmax(1)
    lesions = count[:, ID[FINDINGS[0]] :]
    first = lesions.argmax(1)
    wins = lesions.max(1) * 4 > count.sum(1)
    return np.where(wins, first + ID[FINDINGS[0]], majority).reshape(grid, grid)
