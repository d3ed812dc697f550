"""Questions about a phantom, worded from templates and answered from its truth.

In: a Phantom. Out: Samples. Stage 1 topics: modality, plane, organ, position; stage 2 topics: finding, pathology.
Closed questions are balanced by construction (see `balance`), so that the question alone says nothing.

    for sample in questions(phantom(0, 3)): print(sample.topic, sample.question, sample.answers)
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from radvqa.phantom.asker import Asker
from radvqa.phantom.render import WINDOWS
from radvqa.phantom.scene import MODALITIES, PLANES, Phantom
from radvqa.phantom.stage1 import REGION_SHARES, ask_stage1
from radvqa.phantom.stage2 import ask_stage2
from radvqa.phantom.tissue import FINDINGS, STRUCTURES
from radvqa.sample import Sample

STAGE1 = ("modality", "plane", "organ", "position")
STAGE2 = ("finding", "pathology")
ANSWERS = tuple(
    dict.fromkeys(
        ["yes", "no", "left", "right", "upper half", "lower half", "none", "t1", "t2"]
        + [name.lower() for name in MODALITIES]
        + [name for names in PLANES.values() for name in names]
        + [*REGION_SHARES, *WINDOWS, *FINDINGS]
        + [name for name in STRUCTURES if name not in ("background", *FINDINGS)]
        + ["lung", "kidney", "hemisphere", "abdominal cavity"]
    )
)
"""The closed vocabulary: every answer is one of these."""


def questions(picture: Phantom, *, split: str = "train", topics: Iterable[str] = STAGE1 + STAGE2) -> list[Sample]:
    """The questions of one picture, about five of stage 1 and four of stage 2; the same for the same picture.

    `topics` keeps those on the given topics; ids do not depend on it.
    """
    asker = Asker(picture, np.random.default_rng((picture.seed, picture.index, 14)), split)
    ask_stage1(asker)
    ask_stage2(asker)
    wanted = set(topics)
    return [sample for sample in asker.samples if sample.topic in wanted]
