"""Predictions, whoever made them: which pictures each control shows, and the table all metrics read. No torch.

In: Samples and what was said to each. Out: predictions.parquet, a row a question under one arm and one control.

    write_predictions(folder, samples, "llava", "none", [Said("yes"), Said("left lung")])

Controls: `blank` replaces every picture by a grey one, `shuffled` by the picture of another subject; the question stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.sample import Corpus, Sample

CONTROLS = ("none", "blank", "shuffled")
YES_NO = ("yes", "no")
ABOUT = (
    *("id", "image", "subject", "source", "split", "topic", "kind", "question", "answers", "choices"),
    *("modality", "plane", "region", "findings"),
)
"""What a prediction takes over from its Sample."""
LISTS = ("answers", "choices", "findings")


@dataclass(frozen=True, slots=True)
class Said:
    """What was answered to one question; None where the engine does not tell."""

    answer: str | None
    """None: it gave no answer, which is unscored."""
    logprob: float | None = None
    """Natural logarithm of the probability of the whole answer, its end included."""
    probability: float | None = None
    """Of the answer; among the options where it is one of them."""
    token_logprobs: Sequence[float] | None = None
    finished: bool | None = None
    """False: the answer was cut before the model ended it."""
    options: Sequence[str] = ()
    option_logprobs: Sequence[float] = ()
    seconds: float | None = None


SCHEMA: dict[str, Any] = {
    **{name: pl.List(pl.String) if name in LISTS else pl.String for name in ABOUT},
    **{name: pl.String for name in ("arm", "control", "answer")},
    "logprob": pl.Float64,
    "probability": pl.Float64,
    "num_tokens": pl.Int32,
    "token_logprobs": pl.List(pl.Float64),
    "finished": pl.Boolean,
    "options": pl.List(pl.String),
    "option_logprobs": pl.List(pl.Float64),
    "seconds": pl.Float64,
}


def write_predictions(folder: Path, samples: Sequence[Sample], arm: str, control: str, said: Sequence[Said]) -> Path:
    """Write folder/predictions.parquet, a row a sample in their order, and return its path."""
    assert len(samples) == len(said)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "predictions.parquet"
    rows = [_row(sample, arm, control, one) for sample, one in zip(samples, said)]
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)
    return path


def _row(sample: Sample, arm: str, control: str, said: Said) -> tuple:
    about = [getattr(sample, name) for name in ABOUT]
    tokens = None if said.token_logprobs is None else list(said.token_logprobs)
    found = [said.answer, said.logprob, said.probability, None if tokens is None else len(tokens), tokens]
    options = [list(said.options), list(said.option_logprobs)]
    return (
        *(list(x) if isinstance(x, tuple) else x for x in about),
        arm,
        control,
        *found,
        said.finished,
        *options,
        said.seconds,
    )


# ---------------------------------------------------------------- what is asked, with which picture


def asked_of(sources: Sequence[tuple[Corpus, list[Sample]]]) -> list[Sample]:
    """The samples of all sources, one after another. Raises InputError for none, and for one without a picture."""
    samples = [sample for _, some in sources for sample in some]
    if not samples:
        raise InputError("no questions to answer", key="evaluate.data")
    pictureless = [s.id for s in samples if s.image is None]
    if pictureless:
        raise InputError(f"{len(pictureless)} questions have no picture", row=pictureless[0], key="image")
    return samples


def pictures_shown(samples: Sequence[Sample], control: str, seed: int) -> list[str | None]:
    """The key of the picture each sample is asked about; None: a blank one."""
    if control not in CONTROLS:
        raise InputError(f"unknown control {control!r}", key="evaluate.controls", fix="use " + ", ".join(CONTROLS))
    swapped = swap_pictures(samples, seed) if control == "shuffled" else {}
    return [None if control == "blank" else swapped.get(s.image or "", s.image) for s in samples]


def options_of(sample: Sample) -> tuple[str, ...]:
    """What is weighed by likelihood: the choices, or yes and no for a question that yes or no answers."""
    if sample.kind == "choice":
        return sample.choices
    return YES_NO if {answer.strip().lower() for answer in sample.answers} <= set(YES_NO) else ()


def swap_pictures(samples: Sequence[Sample], seed: int) -> dict[str, str]:
    """For each image key the key of another subject's image: a seeded permutation.

    Images lie in a ring, those of one subject side by side, and each is replaced by the one m places on, m being the
    largest number of images of one subject. Raises InputError where one subject has more than half of the images.
    """
    subject_of = {s.image: s.subject or s.image for s in samples if s.image}
    keys = sorted(subject_of)
    names, counts = np.unique([subject_of[key] for key in keys], return_counts=True)
    largest = int(counts.max())
    if 2 * largest > len(keys):
        found = f"{largest} of {len(keys)} images are of one subject"
        raise InputError(
            found, key="evaluate.controls", fix="leave out the shuffled control, it would show their own images"
        )
    rng = np.random.default_rng(seed)
    place = dict(zip(names, rng.permutation(len(names))))
    ring = sorted((keys[i] for i in rng.permutation(len(keys))), key=lambda key: place[subject_of[key]])
    return {key: ring[(i + largest) % len(ring)] for i, key in enumerate(ring)}
