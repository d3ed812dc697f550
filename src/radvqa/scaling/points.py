"""The points a law is fitted to: a loss, how much data and of what size the model was, and what it was measured on.

In: a table (CSV, JSON lines or Parquet), one row a finished run and group of questions. Out: Points, by group.

    groups = read_points("points.csv", by="topic")

Columns: `loss`, `data` (training questions, or whatever D is), `model` (rank, weights ...: X) where there is one, `run`
where several rows come from one run. Other names are given as loss=..., data=..., model=....
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.scaling.law import Form
from radvqa.tree import one_of

COLUMN = {"D": "data", "X": "model"}
ALL = "all"
"""The group of rows that are not divided."""


@dataclass(frozen=True)
class Points:
    """N measured losses of one group of questions."""

    group: str
    loss: np.ndarray
    """float[N], nats; any unit in which less is better and 0 is the least."""
    factors: dict[str, np.ndarray]
    """D and X -> float[N]."""
    runs: tuple[str, ...] = ()
    """Which run each comes from; empty: each from its own."""

    def __len__(self) -> int:
        return len(self.loss)

    def logs(self, form: Form) -> np.ndarray:
        """float[N, F], the logarithms of the factors of a form. Raises InputError for a factor that was not measured."""
        for factor in form.factors:
            if factor not in self.factors:
                fix = f"give the column of {factor}, or fit another form"
                raise InputError(f"{form.text} needs {factor}", key=COLUMN[factor], fix=fix)
        return np.log(np.stack([self.factors[factor] for factor in form.factors], axis=1))

    def chosen(self, rows: np.ndarray) -> Points:
        """Some of the points: rows is bool[N] or int[M]."""
        factors = {name: column[rows] for name, column in self.factors.items()}
        return replace(
            self, loss=self.loss[rows], factors=factors, runs=tuple(np.array(self.runs)[rows]) if self.runs else ()
        )


def read_points(
    file: str | Path, *, loss: str = "loss", data: str = "data", model: str | None = None, by: str | None = None
) -> list[Points]:
    """The points of a table, a Points for each value of the column `by`, in the order in which they come.

    model: the column of X; None: `model` where there is one. Raises InputError naming file, row and column for a column
    that is missing and for a value that is not a number above 0.
    """
    file = Path(file)
    frame = _read(file)
    if model is None and "model" in frame.columns:
        model = "model"
    wanted = {"loss": loss, "D": data} | ({"X": model} if model else {})
    for key, name in {**wanted, **({"group": by} if by else {})}.items():
        if name not in frame.columns:
            fix = one_of(name, frame.columns) + f" (--{COLUMN.get(key, 'by' if key == 'group' else key)})"
            raise InputError(f"there is no column {name!r}", file=file, fix=fix)
    numbers = {key: _positive(frame[name], name, file) for key, name in wanted.items()}
    groups = [str(value) for value in frame[by]] if by else [ALL] * len(frame)
    runs = tuple(map(str, frame["run"])) if "run" in frame.columns else ()
    whole = Points(ALL, numbers.pop("loss"), numbers, runs or tuple(map(str, range(len(frame)))))
    return [_group(whole, groups, name) for name in dict.fromkeys(groups)]


def _group(whole: Points, groups: Sequence[str], name: str) -> Points:
    return replace(whole.chosen(np.array([group == name for group in groups])), group=name)


def _read(file: Path) -> pl.DataFrame:
    readers: dict[str, Any] = {".csv": pl.read_csv, ".jsonl": pl.read_ndjson, ".parquet": pl.read_parquet}
    if file.suffix not in readers:
        raise InputError(f"{file.suffix or 'no ending'} is no table", file=file, fix="give .csv, .jsonl or .parquet")
    if not file.is_file():
        raise InputError("no such file", file=file)
    try:
        frame = readers[file.suffix](file)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as {file.suffix} ({str(error).splitlines()[0]})", file=file) from error
    if frame.is_empty():
        raise InputError("there are no points", file=file)
    return frame


def _positive(column: pl.Series, name: str, file: Path) -> np.ndarray:
    numbers = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"found {column[row]!r}", file=file, row=row + 1, key=name, fix="give a number above 0")
    return numbers


def falling(points: Points) -> tuple[Points, int]:
    """The points up to the lowest loss, by D, and how many were left out: what comes after is over-fitting.

    For the curve of one run, whose loss rises again while the same questions are gone through once more; a law of
    this form cannot rise.
    """
    order = np.argsort(points.factors["D"], kind="stable")
    kept = order[: int(points.loss[order].argmin()) + 1]
    return points.chosen(kept), len(points) - len(kept)
