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
from radvqa.sample import Corpus
from radvqa.score.bleu import NUM_STATISTICS
from radvqa.score.compare import MAJORITY, adjust, compare
from radvqa.score.compare import SLICES as COMPARED
from radvqa.score.frame import questions_of, read_frame
from radvqa.score.majority import ANSWER_RULE, best_letter, majority_answers
from radvqa.score.per_question import score_rows
from radvqa.score.registry import METRICS, Metric
from radvqa.score.table import MIN_SLICE, Scored, Settings, means, parts, run_order
from radvqa.score.warn import blind_runs, find_warnings
from radvqa.stage import path_hash, writing
from radvqa.tables import read_table

MAX_LABELS = 2000
"""Matching against a list of labels takes milliseconds an answer at this length, and seconds at a hundred times it."""


def score_predictions(
    predictions: pl.DataFrame,
    train_answers: pl.DataFrame | None = None,
    *,
    metrics: Sequence[str] | None = None,
    cluster: str = "image",
    num_draws: int = 2000,
    seed: int = 0,
    min_slice_n: int = MIN_SLICE,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Score every answer and make the tables.

    predictions: the schema of predictions.parquet; id, kind, question, answers and answer are needed. A null answer is
    unscored, an empty one wrong. train_answers: question, kind, topic, answers of the train split, for the majority
    answer and for label lists; None leaves these out. metrics: names from METRICS, by default all that need no extra
    package and at most MAX_LABELS labels. cluster: image or subject; where it is null the other one, else the question
    itself. min_slice_n: slices of fewer questions are counted and left out.
    Returns scores (id, arm, control, a column a metric, null = unscored) and the content of scores.json.
    Raises InputError for a missing column, an unknown kind, or a question answered twice in one run.
    """
    chosen = _chosen(metrics)
    frame = read_frame(predictions, cluster)
    labels = _labels(train_answers)
    chosen, left_out = _possible(chosen, frame, labels, asked=metrics is not None)
    values, statistics = score_rows(frame, chosen, labels)
    scores = frame.select("id", "arm", "control").with_columns(
        pl.Series(metric.name, values[:, place], nan_to_null=True) for place, metric in enumerate(chosen)
    )
    questions, codes = questions_of(frame)
    answered = _with_majority(frame, values, statistics, codes, questions, train_answers, chosen, labels)
    scored = _scored(questions, chosen, *answered)
    settings = Settings(num_draws=num_draws, seed=seed, min_slice_n=min_slice_n)
    slices, num_left_out = parts(scored, settings)
    rows = [row for part in slices for row in means(part)]
    pairs = adjust([row for part in slices if {*part.where} <= {*COMPARED} for row in compare(part)])
    blind = blind_runs(rows, pairs)
    found = {
        "blind": blind,
        "metrics": [row for row in rows if _run(row) != MAJORITY],
        "paired": pairs,
        "majority": [_majority_row(row) for row in rows if _run(row) == MAJORITY and row["n"]],
        "constant_letter": best_letter(questions, num_draws, seed),
        "warnings": [*blind, *find_warnings(frame, num_left_out), *left_out],
        "about": {metric.name: _about(metric) for metric in chosen},
        "settings": {"cluster": cluster, "num_draws": num_draws, "num_flips": settings.num_flips, "seed": seed}
        | {"min_slice_n": min_slice_n},
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
    min_slice_n: int = MIN_SLICE,
    inputs: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Score the predictions of one or several folders (or parquet files) together and write the folder `out`.

    corpora: folders whose train split teaches the majority answer. inputs: hashes by name for stage.json, taken from
    the files where not given. Writes scores.parquet, scores.json, stage.json; returns the content of scores.json.
    """
    files = prediction_files(predictions)
    if not files:
        raise InputError("no predictions to score", fix="name at least one predictions folder")
    frame = pl.concat([read_table(file) for file in files], how="diagonal_relaxed")
    if inputs is None:
        inputs = {str(file): path_hash(file) for file in files}
        inputs |= {str(folder): path_hash(Path(folder) / "questions.parquet") for folder in corpora}
    settings: dict[str, Any] = {"metrics": metrics, "cluster": cluster, "num_draws": num_draws, "seed": seed}
    settings["min_slice_n"] = min_slice_n
    return write_tables(frame, train_answers(corpora), out, inputs, **settings)


def prediction_files(predictions: Sequence[str | Path]) -> list[Path]:
    """The Parquet file of each folder of predictions (or the file itself). Raises InputError where there is none."""
    files = [path / "predictions.parquet" if path.is_dir() else path for path in map(Path, predictions)]
    for file in files:
        if not file.is_file():
            raise InputError("no such predictions", file=file, fix="make them with `radvqa predict`")
    return files


def write_tables(
    predictions: pl.DataFrame,
    train: pl.DataFrame | None,
    out: str | Path,
    inputs: dict[str, str],
    *,
    more: dict[str, Any] | None = None,
    warnings: Sequence[str] = (),
    **settings: Any,
) -> dict[str, Any]:
    """`score_predictions` into the folder `out`: scores.parquet, scores.json, stage.json. Returns the tables.

    more: further keys of scores.json. warnings: said after those on controls, which come first.
    """
    with writing(
        Path(out), {**settings, "metrics": settings["metrics"] and list(settings["metrics"])}, inputs
    ) as partial:
        scores, found = score_predictions(predictions, train, **settings)
        found |= {"warnings": [*found["warnings"], *warnings], **(more or {})}
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
    return [METRICS[name] for name in METRICS if (name in names if names else not METRICS[name].extra)]


def _possible(
    chosen: list[Metric], frame: pl.DataFrame, labels: Sequence[str], asked: bool
) -> tuple[list[Metric], list[str]]:
    """The metrics whose inputs are there, and a sentence on what is left out for its cost unless asked for by name."""
    unusable = {"labels"} if not labels or (len(labels) > MAX_LABELS and not asked) else set()
    if not {"options", "option_logprobs"} <= set(frame.columns) or not frame["options"].list.len().sum():
        unusable.add("likelihood")
    named = [metric.name for metric in chosen if metric.uses == "labels"]
    said = f"{', '.join(named)}: not computed, train has {len(labels):,} different answers; ask for it by name"
    kept = [metric for metric in chosen if metric.uses not in unusable]
    return kept, [said] if named and len(labels) > MAX_LABELS and not asked else []


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


def _about(metric: Metric) -> dict[str, Any]:
    return {"title": metric.title, "family": metric.family, "compared": metric.compared, "kinds": list(metric.kinds)}


def _run(row: dict[str, Any]) -> tuple[str, str]:
    return row["arm"], row["control"]


def _majority_row(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in ("arm", "control")} | {"answer_rule": ANSWER_RULE}
