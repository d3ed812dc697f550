"""From scores per question to tables: the mean of every metric with its interval, over all questions and by slice.

In: Scored, every metric of every question in every run; a run is an (arm, control). Out: rows of scores.json.

    rows = [row for part in parts(scored, Settings())[0] for row in means(part)]

All runs and metrics of a slice are bootstrapped with the same draws of images, in one matrix product.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from radvqa.score import intervals
from radvqa.score.bleu import corpus_bleu
from radvqa.score.registry import METRICS

SLICES = ("kind", "modality", "plane", "region", "topic", "source", "findings")
MIN_SLICE = 10
"""Slices of fewer questions are not printed (kinds always are); how many were left out is said."""
ARMS = ("base", "stage1", "stage2")
Run = tuple[str, str]


@dataclass(frozen=True)
class Scored:
    """The scores of R runs over Q questions (sorted by id) in M metrics."""

    questions: pl.DataFrame
    """Q rows: id, cluster, and the columns of SLICES."""
    runs: list[Run]
    metrics: list[str]
    values: np.ndarray
    """float[Q, R, M], nan where not scored."""
    statistics: np.ndarray
    """float[Q, R, 10], of BLEU."""
    asked: np.ndarray
    """bool[Q, R]: the run holds this question."""


@dataclass(frozen=True)
class Settings:
    """How intervals and tests are drawn."""

    num_draws: int = 2000
    num_flips: int = 10_000
    seed: int = 0
    min_slice_n: int = MIN_SLICE
    """Slices of fewer questions are left out."""


@dataclass(frozen=True)
class Part:
    """One slice of the scores: q questions."""

    where: dict[str, str]
    """Empty for all questions, else one column of SLICES and its value."""
    scored: Scored
    settings: Settings
    values: np.ndarray
    """float[q, R, M]"""
    statistics: np.ndarray
    asked: np.ndarray
    kinds: np.ndarray
    codes: np.ndarray
    """int[q]: the cluster of each question, numbered within the slice."""

    @property
    def seed(self) -> list[int]:
        """Its own stream of random numbers, which does not move when other slices come or go."""
        return [self.settings.seed, zlib.crc32(json.dumps(self.where, sort_keys=True).encode())]


def parts(scored: Scored, settings: Settings) -> tuple[list[Part], int]:
    """All questions and every slice that is large enough, and how many slices are not."""
    found, num_left_out = [], 0
    kinds, clusters = scored.questions["kind"].to_numpy(), scored.questions["cluster"].to_numpy()
    for where, mask in slices(scored.questions):
        if not where or "kind" in where or mask.sum() >= settings.min_slice_n:
            arrays = (scored.values[mask], scored.statistics[mask], scored.asked[mask], kinds[mask])
            found.append(Part(where, scored, settings, *arrays, intervals.cluster_codes(clusters[mask])))
        else:
            num_left_out += 1
    return found, num_left_out


def slices(questions: pl.DataFrame) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """All questions, then every value of every column of SLICES with its rows bool[Q]; null is "unknown"."""
    yield {}, np.ones(len(questions), dtype=bool)
    for field in SLICES:
        column = questions[field]
        if column.dtype == pl.List(pl.String):
            for value in sorted(set(column.explode().drop_nulls())):
                yield {field: value}, column.list.contains(value).fill_null(False).to_numpy()
        elif column.null_count() < len(column):
            names = column.fill_null("unknown")
            for value in sorted(names.unique()):
                yield {field: value}, (names == value).to_numpy()


def run_order(run: Run) -> tuple[int, str, str]:
    """Sort key of runs: the known arms first, their control `none` before the others."""
    arm, control = run
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), arm, "" if control == "none" else control)


def means(part: Part) -> list[dict[str, Any]]:
    """A row for each run and metric that applies to a question of the slice, corpus BLEU last."""
    whole = {*part.where} <= {"kind"}
    places = [place for place, name in enumerate(part.scored.metrics) if whole or METRICS[name].compared]
    names = [part.scored.metrics[place] for place in places]
    applies = [np.isin(part.kinds, METRICS[name].kinds) for name in names]
    flat = part.values[:, :, places].reshape(len(part.values), -1)
    columns = summary(flat, part, unit=True)
    rows = []
    for place, (run, metric) in enumerate(itertools.product(range(len(part.scored.runs)), range(len(names)))):
        num_questions = int((applies[metric] & part.asked[:, run]).sum())
        if num_questions:
            row = _heading(part, run, names[metric]) | {key: found[place] for key, found in columns.items()}
            rows.append(row | {"num_unscored": num_questions - row["n"], "sd": _spread(flat[:, place])})
    return rows + (_corpus_bleu(part) if "bleu" in names else [])


def summary(flat: np.ndarray, part: Part, unit: bool) -> dict[str, list[Any]]:
    """n, num_clusters, value, low, high and error of each column of float[q, K]; unit: values are in [0, 1]."""
    sums, counts = intervals.cluster_sums(flat, part.codes)
    value = intervals.divide(sums.sum(axis=0), counts.sum(axis=0))
    number = (counts > 0).sum(axis=0)
    low, high = intervals.limits(intervals.bootstrap_means(sums, counts, part.settings.num_draws, part.seed), number)
    if unit:
        low, high = intervals.bounded(value, low, high, number)
    floats = {"value": value, "low": low, "high": high, "error": intervals.clustered_error(sums, counts)}
    whole = {"n": counts.sum(axis=0).astype(int).tolist(), "num_clusters": number.tolist()}
    return whole | {key: _plain(column) for key, column in floats.items()}


def _corpus_bleu(part: Part) -> list[dict[str, Any]]:
    """Corpus BLEU of each run, bootstrapped from its summed statistics; null where it is not defined."""
    num_runs, size = part.statistics.shape[1:]
    sums, counts = intervals.cluster_sums(part.statistics.reshape(len(part.statistics), -1), part.codes)
    draws = intervals.bootstrap_totals(sums, part.settings.num_draws, part.seed)
    draws = corpus_bleu(draws.reshape(-1, num_runs, size))
    value = corpus_bleu(sums.sum(axis=0).reshape(num_runs, size))
    read = counts.reshape(-1, num_runs, size)[:, :, 0]
    number = np.where(np.isnan(draws).any(axis=0), 0, (read > 0).sum(axis=0))
    low, high = intervals.limits(draws, number)
    rows = []
    for run, asked in enumerate(part.asked.sum(axis=0).tolist()):
        if asked:
            n = 0 if np.isnan(value[run]) else int(read[:, run].sum())
            row = _heading(part, run, "bleu_corpus") | {"n": n, "num_clusters": int((read[:, run] > 0).sum())}
            columns = {"value": value, "low": low, "high": high, "error": np.std(draws, axis=0, ddof=1)}
            row |= {key: _plain(column[[run]])[0] for key, column in columns.items()}
            rows.append(row | {"num_unscored": asked - n, "sd": None})
    return rows


def _heading(part: Part, run: int, metric: str) -> dict[str, Any]:
    arm, control = part.scored.runs[run]
    return {"arm": arm, "control": control, "metric": metric, "slice": part.where}


def _spread(column: np.ndarray) -> float | None:
    scored = column[~np.isnan(column)]
    return float(scored.std(ddof=1)) if len(scored) > 1 else None


def _plain(column: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in column]
