"""Every metric of every answer: the rows of scores.parquet.

In: predictions (a row per question, arm and control). Out: a float a row and metric, nan where unscored.

    columns, statistics = score_rows(predictions, [METRICS["token_f1"]])

Answers repeat (arms, controls, yes and no), so each distinct (kind, answer, references, choices) is scored once.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import polars as pl

from radvqa.score.bleu import NUM_STATISTICS, bleu_statistics
from radvqa.score.registry import METRICS, Metric

Key = tuple[str, str | None, tuple[str, ...], tuple[str, ...]]
"""kind, answer (None: the model gave none), references, choices."""

PARALLEL = 50_000
"""From this many distinct answers on, worker processes pay for their start."""


def score_rows(
    predictions: pl.DataFrame, metrics: Sequence[Metric], labels: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """float[N, M] of metrics and float[N, 10] of BLEU statistics, nan where unscored or where a metric does not apply.

    labels: the answers of the train split, for metrics that match against a list of labels.
    """
    textual = [place for place, metric in enumerate(metrics) if metric.uses != "likelihood"]
    numbers: dict[Key, int] = {}
    codes = np.array([numbers.setdefault(key, len(numbers)) for key in _keys(predictions)], dtype=np.int64)
    found = _score_keys(list(numbers), tuple(metrics[place].name for place in textual), tuple(labels))
    columns = np.full((len(codes), len(metrics)), np.nan)
    if len(codes):
        columns[:, textual] = found[codes, : len(textual)]
    for place, metric in enumerate(metrics):
        if metric.uses == "likelihood":
            columns[:, place] = _by_likelihood(predictions, metric)
    return columns, found[codes, len(textual) :] if len(codes) else np.empty((0, NUM_STATISTICS))


def _keys(predictions: pl.DataFrame) -> list[Key]:
    kinds, answers = predictions["kind"].to_list(), predictions["answer"].to_list()
    references, choices = predictions["answers"].to_list(), predictions["choices"].to_list()
    return [(k, a, tuple(r or ()), tuple(c or ())) for k, a, r, c in zip(kinds, answers, references, choices)]


def _score_keys(keys: list[Key], names: tuple[str, ...], labels: tuple[str, ...]) -> np.ndarray:
    """float[keys, names + 10]; in worker processes where that pays."""
    workers = min(os.cpu_count() or 1, 8)
    if len(keys) < PARALLEL or workers == 1 or "fork" not in multiprocessing.get_all_start_methods():
        return _score_chunk(keys, names, labels)
    size = min(20_000, -(-len(keys) // workers))
    chunks = [keys[start : start + size] for start in range(0, len(keys), size)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        return np.concatenate(list(pool.map(_score_chunk, chunks, [names] * len(chunks), [labels] * len(chunks))))


def _score_chunk(keys: Sequence[Key], names: tuple[str, ...], labels: tuple[str, ...]) -> np.ndarray:
    metrics = [METRICS[name] for name in names]
    rows = np.full((len(keys), len(metrics) + NUM_STATISTICS), np.nan)
    for row, (kind, answer, references, choices) in zip(rows, keys):
        if answer is None:
            continue
        more = {"answer": (), "choices": (choices,), "labels": (labels,)}
        values = [m.function(answer, references, *more[m.uses]) if kind in m.kinds else None for m in metrics]
        row[: len(metrics)] = [math.nan if value is None else value for value in values]
        row[len(metrics) :] = bleu_statistics(answer, references) or math.nan
    return rows


def _by_likelihood(predictions: pl.DataFrame, metric: Metric) -> np.ndarray:
    column = np.full(len(predictions), np.nan)
    if not {"options", "option_logprobs"} <= set(predictions.columns):
        return column
    rows = predictions.select("kind", "options", "option_logprobs", "answers").iter_rows()
    for place, (kind, options, logprobs, references) in enumerate(rows):
        if options and kind in metric.kinds:
            value = metric.function(options, logprobs or (), references)
            column[place] = math.nan if value is None else value
    return column
