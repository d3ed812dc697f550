"""Asking a question several times: which options are shown in which order, and the table of what was said.

In: Samples, and how often each is asked. Out: the form of every asking, and repeats.parquet, a row an asking. No torch.

    forms = forms_of(sample, num_runs=5, shuffle=True, seed=0)
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.predictions import ABOUT, LISTS, Said
from radvqa.sample import Sample

FILE = "repeats.parquet"
SCHEMA: dict[str, Any] = {
    **{name: pl.List(pl.String) if name in LISTS else pl.String for name in ABOUT},
    "extra": pl.String,
    "arm": pl.String,
    "run": pl.Int32,
    "shown": pl.List(pl.String),
    "answer": pl.String,
    "logprob": pl.Float64,
    "finished": pl.Boolean,
}


@dataclass(frozen=True)
class Repeats:
    """How often and how freely every question is asked."""

    num_runs: int = 5
    temperature: float = 0.7
    """Of the softmax tokens are drawn from; 0 would give the same answer every time."""
    shuffle: bool = True
    """The options of a choice question stand in another order in every run."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_runs < 2:
            raise InputError(f"found {self.num_runs}", key="runs", fix="ask every question at least twice")
        if self.temperature <= 0:
            raise InputError(f"found {self.temperature}", key="temperature", fix="above 0, e.g. 0.7")


def forms_of(sample: Sample, settings: Repeats) -> list[Sample]:
    """The sample as each run asks it: the same object in all runs, unless its options are shuffled."""
    if sample.kind != "choice" or not settings.shuffle:
        return [sample] * settings.num_runs
    rng = np.random.default_rng([settings.seed, crc(sample.id)])
    orders = [range(len(sample.choices))] + [rng.permutation(len(sample.choices)) for _ in range(settings.num_runs - 1)]
    return [replace(sample, choices=tuple(sample.choices[place] for place in order)) for order in orders]


def crc(text: str) -> int:
    """A number for a name, the same on every machine."""
    return zlib.crc32(text.encode())


def write_repeats(
    folder: Path, samples: Sequence[Sample], forms: Sequence[Sequence[Sample]], arm: str, said: Sequence[Sequence[Said]]
) -> Path:
    """Write folder/repeats.parquet: every sample, every run."""
    rows = []
    for sample, shown, answers in zip(samples, forms, said, strict=True):
        about = [list(x) if isinstance(x, tuple) else x for x in (getattr(sample, name) for name in ABOUT)]
        about.append(json.dumps(dict(sample.extra), ensure_ascii=False, sort_keys=True))
        for run, (form, one) in enumerate(zip(shown, answers, strict=True)):
            rows.append((*about, arm, run, list(form.choices), one.answer, one.logprob, one.finished))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(path.with_suffix(".partial"))
    path.with_suffix(".partial").rename(path)
    return path
