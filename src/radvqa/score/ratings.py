"""What people said of answers: a file of ratings, one row a rating, as the web app or a spreadsheet writes it.

In: JSONL, a JSON array, CSV, TSV, .xlsx or Parquet with `id` and `rating` (or `verdict`): correct, partly, wrong, right,
yes, no, or 0-1; `arm`, `control` and `rater` where there are some. Out: a row an answer: the raters' mean, partly as 0.
A row whose `cannot_judge` is true is no rating: it is left out, and with it an answer that nobody could judge.

    read_ratings("ratings.csv")         # id, (arm, control,) rating float in [0, 1], num_raters
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from radvqa.errors import InputError
from radvqa.score.answer_files import read_rows

NAMES = ("rating", "verdict", "label", "judgement")
RIGHT = {"correct": 1.0, "right": 1.0, "yes": 1.0, "true": 1.0, "1": 1.0, "1.0": 1.0}
NOT_RIGHT = {name: 0.0 for name in ("partly", "partial", "wrong", "incorrect", "no", "false", "0", "0.0", "0.5")}
"""Only a correct answer counts, as in the judge's strict accuracy."""


def read_ratings(path: str | Path) -> pl.DataFrame:
    """The mean of the ratings of each answer. Raises InputError naming the row of what is no rating."""
    file = Path(path)
    if not file.is_file():
        raise InputError("no such file of ratings", file=file)
    said = [(number, dict(row)) for number, row in enumerate(read_rows(file), 1) if not _cannot_judge(row)]
    rows = [_rating(row, number, file) for number, row in said]
    if not rows:
        raise InputError("the file holds no ratings", file=file)
    frame = pl.DataFrame(rows)
    keys = [name for name in ("id", "arm", "control") if name in frame.columns]
    return frame.group_by(keys, maintain_order=True).agg(pl.col("rating").mean(), num_raters=pl.len())


def _cannot_judge(row: Mapping[str, Any]) -> bool:
    return str(row.get("cannot_judge")).strip().lower() in ("true", "1", "yes")


def _rating(row: dict[str, Any], number: int, file: Path) -> dict[str, Any]:
    columns = {str(name).strip().lower(): value for name, value in row.items()}
    said = next((columns[name] for name in NAMES if columns.get(name) is not None), None)
    word = str(int(said) if isinstance(said, bool) else said).strip().lower()
    if columns.get("id") is None:
        raise InputError("a rating without the id of its answer", file=file, row=number, key="id")
    if word not in RIGHT | NOT_RIGHT:
        fix = "use correct, partly or wrong (or 1 and 0)"
        raise InputError(f"the rating is {said!r}", file=file, row=number, key="rating", fix=fix)
    about = {name: str(columns[name]) for name in ("id", "arm", "control") if columns.get(name) is not None}
    return about | {"rating": (RIGHT | NOT_RIGHT)[word]}
