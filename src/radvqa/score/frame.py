"""Predictions as the score room needs them: checked, completed, sorted, and their questions apart.

In: the schema of predictions.parquet, or the part of it one has. Out: the same frame with every column and `cluster`.

    frame = read_frame(predictions, "image")
    questions, places = questions_of(frame)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.sample import KINDS
from radvqa.score.table import SLICES

CLUSTERS = ("image", "subject")
REQUIRED: dict[str, Any] = {
    "id": pl.String,
    "kind": pl.String,
    "question": pl.String,
    "answers": pl.List(pl.String),
    "answer": pl.String,
}
OPTIONAL: dict[str, Any] = {
    "arm": pl.String,
    "control": pl.String,
    "image": pl.String,
    "subject": pl.String,
    "choices": pl.List(pl.String),
    "findings": pl.List(pl.String),
    **{field: pl.String for field in SLICES if field not in ("kind", "findings")},
}
DEFAULTS = {"arm": "model", "control": "none"}


def read_frame(predictions: pl.DataFrame, cluster: str) -> pl.DataFrame:
    """The predictions checked, completed and sorted, with a column `cluster`: what the intervals are drawn by.

    cluster: image or subject; where it is null the other one, else the question itself.
    Raises InputError for a missing column, no rows, an unknown kind, or a question answered twice in one run.
    """
    if cluster not in CLUSTERS:
        raise InputError(f"cannot cluster by {cluster!r}", key="cluster", fix="use " + " or ".join(CLUSTERS))
    for name in REQUIRED:
        if name not in predictions.columns:
            raise InputError("this column is missing", key=name, fix="predictions need " + ", ".join(REQUIRED))
    if predictions.is_empty():
        raise InputError("there is no prediction to score", fix="check the split and the question filter")
    missing = [name for name in OPTIONAL if name not in predictions.columns]
    frame = predictions.with_columns(pl.lit(DEFAULTS.get(name), OPTIONAL[name]).alias(name) for name in missing)
    frame = frame.with_columns(pl.col(name).cast(kind) for name, kind in (REQUIRED | OPTIONAL).items())
    first, second = (cluster, *(name for name in CLUSTERS if name != cluster))
    frame = frame.with_columns(pl.coalesce(first, second, "id").alias("cluster")).sort("arm", "control", "id")
    wrong = frame.filter(~pl.col("kind").is_in(KINDS))
    if len(wrong):
        raise InputError(f"kind is {wrong['kind'][0]!r}", row=wrong["id"][0], key="kind", fix="use " + ", ".join(KINDS))
    twice = frame.filter(pl.struct("id", "arm", "control").is_duplicated())
    if len(twice):
        run = f"{twice['arm'][0]} / {twice['control'][0]}"
        raise InputError(f"answered twice in one run ({run})", row=twice["id"][0], key="id", fix="give each run a name")
    return frame


def questions_of(frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """One row a question, sorted by id, and int[rows of frame]: the place of each prediction's question."""
    columns = ("id", "cluster", "question", "answers", "choices", *SLICES)
    full_first = frame.sort(pl.col("control") != "none", maintain_order=True)  # a control may carry another image
    questions = full_first.select(columns).unique("id", keep="first", maintain_order=True).sort("id")
    other = frame.join(questions.select("id", pl.col("question").alias("first")), on="id", how="left")
    other = other.filter(pl.col("question") != pl.col("first"))
    if len(other):
        raise InputError("two runs ask different questions under this id", row=other["id"][0], key="question")
    places = dict(zip(questions["id"], range(len(questions))))
    return questions, np.array([places[name] for name in frame["id"]], dtype=np.int64)
