"""The score room's door: predictions in, scores.parquet and scores.json out.

In: predictions of any number of runs (arm and control), and the train answers. Out: every metric of every answer, and
the tables with intervals, paired tests, the majority answer and warnings.

    write_scores(["runs/x/predictions/stage2-none"], "runs/x/scores", corpora=["runs/x/corpora/phantom"])
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.sample import KINDS, Corpus
from radvqa.score.bleu import NUM_STATISTICS
from radvqa.score.compare import MAJORITY, adjust, compare
from radvqa.score.compare import SLICES as COMPARED
from radvqa.score.majority import ANSWER_RULE, majority_answers
from radvqa.score.per_question import score_rows
from radvqa.score.registry import METRICS, Metric
from radvqa.score.table import SLICES, Scored, Settings, means, parts, run_order
from radvqa.score.warn import find_warnings
from radvqa.stage import path_hash, writing

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


def score_predictions(
    predictions: pl.DataFrame,
    train_answers: pl.DataFrame | None = None,
    *,
    metrics: Sequence[str] | None = None,
    cluster: str = "image",
    num_draws: int = 2000,
    seed: int = 0,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Score every answer and make the tables.

    predictions: the schema of predictions.parquet; id, kind, question, answers and answer are needed. A null answer is
    unscored, an empty one wrong. train_answers: question, kind, topic, answers of the train split, for the majority
    answer and for label lists; None leaves these out. metrics: names from METRICS, all by default. cluster: image or
    subject; where it is null the other one, else the question itself.
    Returns scores (id, arm, control, a column a metric, null = unscored) and the content of scores.json.
    Raises InputError for a missing column, an unknown kind, or a question answered twice in one run.
    """
    chosen = _chosen(metrics)
    frame = _read(predictions, cluster)
    labels = _labels(train_answers)
    chosen = [metric for metric in chosen if metric.uses != "labels" or labels]
    if not {"options", "option_logprobs"} <= set(frame.columns) or not frame["options"].list.len().sum():
        chosen = [metric for metric in chosen if metric.uses != "likelihood"]
    values, statistics = score_rows(frame, chosen, labels)
    scores = frame.select("id", "arm", "control").with_columns(
        pl.Series(metric.name, values[:, place], nan_to_null=True) for place, metric in enumerate(chosen)
    )
    questions, codes = _questions(frame)
    answered = _with_majority(frame, values, statistics, codes, questions, train_answers, chosen, labels)
    scored = _scored(questions, chosen, *answered)
    settings = Settings(num_draws=num_draws, seed=seed)
    slices, num_left_out = parts(scored, settings)
    rows = [row for part in slices for row in means(part)]
    pairs = adjust([row for part in slices if {*part.where} <= {*COMPARED} for row in compare(part)])
    found = {
        "metrics": [row for row in rows if _run(row) != MAJORITY],
        "paired": pairs,
        "majority": [_majority_row(row) for row in rows if _run(row) == MAJORITY and row["n"]],
        "warnings": find_warnings(frame, rows, pairs, num_left_out),
        "settings": {"cluster": cluster, "num_draws": num_draws, "num_flips": settings.num_flips, "seed": seed},
    }
    return scores, found


def write_scores(
    predictions: Sequence[str | Path],
    out: str | Path,
    *,
    corpora: Sequence[str | Path] = (),
    metrics: Sequence[str] | None = None,
    cluster: str = "image",
    num_draws: int = 2000,
    seed: int = 0,
    inputs: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Score the predictions of one or several folders (or parquet files) together and write the folder `out`.

    corpora: folders whose train split teaches the majority answer. inputs: hashes by name for stage.json, taken from
    the files where not given. Writes scores.parquet, scores.json, stage.json; returns the content of scores.json.
    """
    files = [path / "predictions.parquet" if path.is_dir() else path for path in map(Path, predictions)]
    if not files:
        raise InputError("no predictions to score", fix="name at least one predictions folder")
    for file in files:
        if not file.is_file():
            raise InputError("no such predictions", file=file, fix="make them with `radvqa predict`")
    frame = pl.concat([pl.read_parquet(file) for file in files], how="diagonal_relaxed")
    train = train_answers(corpora)
    config = {"metrics": metrics and list(metrics), "cluster": cluster, "num_draws": num_draws, "seed": seed}
    if inputs is None:
        inputs = {str(file): path_hash(file) for file in files}
        inputs |= {str(folder): path_hash(Path(folder) / "questions.parquet") for folder in corpora}
    with writing(Path(out), config, inputs) as partial:
        scores, found = score_predictions(
            frame, train, metrics=metrics, cluster=cluster, num_draws=num_draws, seed=seed
        )
        scores.write_parquet(partial / "scores.parquet")
        (partial / "scores.json").write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return found


def train_answers(corpora: Sequence[str | Path]) -> pl.DataFrame | None:
    """question, kind, topic, answers of the train splits of corpora; None where there are no such rows."""
    columns = ("question", "kind", "topic", "answers")
    tables = [Corpus(folder).table.filter(pl.col("split") == "train").select(columns) for folder in corpora]
    train = pl.concat(tables) if tables else None
    return train if train is not None and len(train) else None


def _chosen(names: Sequence[str] | None) -> list[Metric]:
    for name in names or ():
        if name not in METRICS:
            raise InputError(f"unknown metric {name!r}", key="metrics", fix="use " + ", ".join(METRICS))
    return [METRICS[name] for name in METRICS if names is None or name in names]


def _read(predictions: pl.DataFrame, cluster: str) -> pl.DataFrame:
    """The predictions checked, completed and sorted, with a column `cluster`."""
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


def _questions(frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """One row a question, sorted by id, and the place of each prediction's question."""
    columns = ("id", "cluster", "question", "answers", "choices", *SLICES)
    questions = frame.select(columns).unique("id", keep="first", maintain_order=True).sort("id")
    other = frame.join(questions.select("id", pl.col("question").alias("first")), on="id", how="left")
    other = other.filter(pl.col("question") != pl.col("first"))
    if len(other):
        raise InputError("two runs ask different questions under this id", row=other["id"][0], key="question")
    places = dict(zip(questions["id"], range(len(questions))))
    return questions, np.array([places[name] for name in frame["id"]], dtype=np.int64)


def _with_majority(
    frame: pl.DataFrame,
    values: np.ndarray,
    statistics: np.ndarray,
    codes: np.ndarray,
    questions: pl.DataFrame,
    train: pl.DataFrame | None,
    chosen: Sequence[Metric],
    labels: Sequence[str],
) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray, np.ndarray]:
    """Runs, places, values and statistics of all rows, the majority answer's rows added as one more run."""
    runs = list(zip(frame["arm"], frame["control"]))
    if train is None:
        return runs, codes, values, statistics
    answers = majority_answers(train, questions)["answer"]
    more, more_statistics = score_rows(questions.with_columns(answer=answers), chosen, labels)
    return (
        runs + [MAJORITY] * len(questions),
        np.concatenate([codes, np.arange(len(questions))]),
        np.concatenate([values, more]),
        np.concatenate([statistics, more_statistics]),
    )


def _scored(
    questions: pl.DataFrame,
    chosen: Sequence[Metric],
    runs: list[tuple[str, str]],
    codes: np.ndarray,
    values: np.ndarray,
    statistics: np.ndarray,
) -> Scored:
    names = sorted(set(runs), key=run_order)
    numbers = {run: number for number, run in enumerate(names)}
    where = (codes, np.array([numbers[run] for run in runs], dtype=np.int64))
    cube = np.full((len(questions), len(names), len(chosen)), np.nan)
    counts = np.full((len(questions), len(names), NUM_STATISTICS), np.nan)
    asked = np.zeros((len(questions), len(names)), dtype=bool)
    cube[where], counts[where], asked[where] = values, statistics, True
    return Scored(questions, names, [metric.name for metric in chosen], cube, counts, asked)


def _labels(train: pl.DataFrame | None) -> tuple[str, ...]:
    if train is None:
        return ()
    return tuple(sorted(set(train["answers"].list.first().drop_nulls())))


def _run(row: dict[str, Any]) -> tuple[str, str]:
    return row["arm"], row["control"]


def _majority_row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("arm", "control")} | {"answer_rule": ANSWER_RULE}
