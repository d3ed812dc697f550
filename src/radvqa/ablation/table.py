"""Runs side by side: every metric with its interval, and paired tests against one of them.

In: Rows. Out: a Table, written as Markdown, LaTeX, HTML, CSV and JSON.

    write_table(["runs/ablation"], "runs/ablation/table")

The shape is that of the founding paper's Tables 1 and 2, a row a run and a column a metric, with what they left out:
n, intervals by cluster bootstrap, and a sign-flip test by image of each cell against the same cell of the reference row
on the questions that both answered, with Holm's correction over all tests of the table. Intervals and tests are about
other questions for these runs: how much a run moves with its seed, only runs with other seeds can tell.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars import selectors as cs

from radvqa.ablation.rows import JUDGE, Row, is_binary, read_rows
from radvqa.errors import InputError
from radvqa.score.intervals import cluster_interval
from radvqa.score.paired import holm, mcnemar, permutation_test
from radvqa.score.registry import METRICS
from radvqa.stage import path_hash, writing
from radvqa.tree import one_of

METRIC_ORDER = ("closed_accuracy", "choice_letter", "token_f1", "rouge1", "rouge2", "rougeL", "bleu")
"""The columns unless others are asked for, of those that were scored; a judge's verdict comes before them."""
TITLES = {JUDGE: "correct by judge"}
LEVEL = 0.05
BY = ("kind", "source", "topic", "modality", "plane", "region")
"""What the rows can be divided by."""


@dataclass(frozen=True)
class Difference:
    """A cell minus the same cell of the reference row."""

    value: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    p_mcnemar: float | None
    """Only for metrics of right and wrong; it takes questions for independent."""
    n: int


@dataclass(frozen=True)
class Cell:
    """One metric of one row in one block; value is None where nothing was scored."""

    block: str
    row: str
    metric: str
    control: str
    n: int
    num_clusters: int
    num_unscored: int
    value: float | None
    low: float | None
    high: float | None
    sd: float | None
    num_right: int | None
    """For metrics of right and wrong."""
    difference: Difference | None = None


@dataclass(frozen=True)
class Table:
    """Cells in the order of blocks, rows and columns."""

    rows: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    """(metric, control)"""
    blocks: tuple[str, ...]
    by: str | None
    reference: str | None
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    found: dict[tuple[str, str, str, str], Cell] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {(cell.block, cell.row, cell.metric, cell.control): cell for cell in self.cells}
        object.__setattr__(self, "found", places)

    def cell(self, block: str, row: str, column: tuple[str, str]) -> Cell:
        """The cell of a row in a column (metric, control)."""
        return self.found[(block, row, *column)]

    @property
    def tests(self) -> list[Cell]:
        """The cells that were tested against the reference row."""
        return [cell for cell in self.cells if cell.difference is not None]


def title(metric: str, control: str = "none") -> str:
    """A column's heading."""
    name = METRICS[metric].title if metric in METRICS else TITLES.get(metric, metric.replace("_", " "))
    return name if control == "none" else f"{name}, {control} image{'s' if control == 'shuffled' else ''}"


def make_table(
    rows: Sequence[Row],
    *,
    metrics: Sequence[str] = (),
    by: str | None = None,
    reference: str | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Table:
    """The table of these rows.

    metrics: columns; by default those of METRIC_ORDER that were scored, a judge's before them, and the first of all
    with a blank image. by: a block of rows for each value of kind, source, topic ... reference: the row that the others
    are tested against, by default the first that is not the base model. Raises InputError for a name that is not there.
    """
    columns, same = _distinct(rows, _columns(rows, metrics)) if not metrics else (_columns(rows, metrics), ())
    names = [row.name for row in rows]
    chosen = reference or next((row.name for row in rows if row.stage != "base"), names[0])
    if chosen not in names:
        raise InputError(f"found {chosen!r}", key="--reference", fix=one_of(chosen, names))
    questions = _questions(rows)
    blocks = list(_blocks(questions, by))
    cells = []
    for (block, part), row, column in itertools.product(blocks, rows, columns):
        cells.append(_cell(block, part, row, column, rows[names.index(chosen)], draws, seed))
    letters = _constant_letter(rows) if any(METRICS[m].kinds == ("choice",) for m, _ in columns if m in METRICS) else ()
    notes = (*_notes(rows, questions), *letters, *same)
    return Table(tuple(names), tuple(columns), tuple(b for b, _ in blocks), by, chosen, tuple(_adjusted(cells)), notes)


def _columns(rows: Sequence[Row], metrics: Sequence[str]) -> list[tuple[str, str]]:
    there = list(dict.fromkeys(name for row in rows for name in row.metrics))
    for name in metrics:
        if name not in there:
            raise InputError(f"found {name!r}", key="--metric", fix=one_of(name, there))
    judged = [name for name in there if name == JUDGE]
    some = list(metrics) or [
        name for name in (*judged, *METRIC_ORDER) if name in there and any(row.scores[name].count() for row in rows)
    ]
    if not some:
        raise InputError("none of the usual metrics was scored", key="--metric", fix="choose " + ", ".join(there))
    blind = any("blank" in row.scores["control"] for row in rows)
    seen = [name for name in some if name != JUDGE]  # blind answers are not judged
    return [(name, "none") for name in some] + ([(seen[0], "blank")] if blind and seen and not metrics else [])


def _distinct(rows: Sequence[Row], columns: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The columns without those that repeat an earlier one answer by answer, and a note: where answers are single words,
    ROUGE and F1 are the same number, and each would cost the correction a test more."""
    kept: list[tuple[str, str]] = []
    repeated: dict[str, list[str]] = {}
    for column in columns:
        twin = next((one for one in kept if one[1] == column[1] and _same(rows, one[0], column[0])), None)
        if twin is None:
            kept.append(column)
        else:
            repeated.setdefault(title(*twin), []).append(title(*column))
    return kept, tuple(f"{', '.join(names)}: the same as {twin} in every answer" for twin, names in repeated.items())


def _same(rows: Sequence[Row], a: str, b: str) -> bool:
    """Whether two metrics give every answer of every row the same score."""
    if not all({a, b} <= set(row.scores.columns) for row in rows):
        return False
    pairs = [[row.scores[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in (a, b)] for row in rows]
    return all(np.allclose(first, second, rtol=0, atol=1e-12, equal_nan=True) for first, second in pairs)


def _questions(rows: Sequence[Row]) -> pl.DataFrame:
    """Every question that any row answered, once, by id; where only scores are kept, the question is its own cluster."""
    known = [row.questions.select(~cs.by_dtype(pl.List(pl.String))) for row in rows]
    asked = pl.concat(known, how="diagonal").unique("id", keep="first")
    ids = pl.concat([row.scores.select("id") for row in rows]).unique()
    found = ids.join(asked, on="id", how="left")
    cluster = pl.coalesce("cluster", "id") if "cluster" in found.columns else pl.col("id")
    return found.with_columns(cluster.alias("cluster")).sort("id")


def _blocks(questions: pl.DataFrame, by: str | None) -> Iterator[tuple[str, pl.DataFrame]]:
    if by is None:
        yield "", questions
        return
    if by not in BY or by not in questions.columns:
        raise InputError(
            f"found {by!r}", key="--by", fix=one_of(by, [name for name in BY if name in questions.columns])
        )
    for value in sorted(questions[by].fill_null("unknown").unique()):
        yield value, questions.filter(pl.col(by).fill_null("unknown") == value)


def _cell(
    block: str, part: pl.DataFrame, row: Row, column: tuple[str, str], reference: Row, draws: int, seed: int
) -> Cell:
    metric, control = column
    ids, clusters = part["id"].to_list(), part["cluster"].to_numpy()
    values = row.values(metric, control, ids)
    found = cluster_interval(values, clusters, num_draws=draws, seed=seed)
    scored = values[~np.isnan(values)]
    right = int(scored.sum()) if is_binary(metric, values) else None
    spread = float(scored.std(ddof=1)) if len(scored) > 1 else None
    tested = row is not reference and control == "none"
    difference = _difference(values, reference.values(metric, control, ids), clusters, metric, draws, seed)
    return Cell(
        *(block, row.name, metric, control, found.n, found.num_clusters),
        *(_num_unscored(row, metric, control, part), found.value, found.low, found.high, spread, right),
        difference if tested else None,
    )


def _num_unscored(row: Row, metric: str, control: str, part: pl.DataFrame) -> int:
    """Questions that the metric applies to and that were answered, without a score."""
    kinds = METRICS[metric].kinds if metric in METRICS else None
    frame = row.scores.filter((pl.col("control") == control) & pl.col("id").is_in(part["id"].implode()))
    if kinds is not None and "kind" in part.columns:
        apply = part.filter(pl.col("kind").is_in(kinds))["id"]
        frame = frame.filter(pl.col("id").is_in(apply.implode()))
    return int(frame[metric].null_count()) if metric in frame.columns and kinds is not None else 0


def _difference(
    values: np.ndarray, other: np.ndarray, clusters: np.ndarray, metric: str, draws: int, seed: int
) -> Difference | None:
    paired = values - other
    test = permutation_test(paired, clusters, seed=seed)
    if test.difference is None or test.p is None:
        return None
    found = cluster_interval(paired, clusters, num_draws=draws, seed=seed, unit=False)
    mc = mcnemar(values, other).p if is_binary(metric, values) else None
    return Difference(test.difference, found.low, found.high, test.p, test.p, mc, test.n)


def _adjusted(cells: list[Cell]) -> list[Cell]:
    """Holm's correction over all tests of the table."""
    places = [place for place, cell in enumerate(cells) if cell.difference is not None]
    tested = [cells[place].difference for place in places]
    for place, one, p in zip(places, tested, holm([one.p for one in tested if one is not None])):
        assert one is not None
        cells[place] = replace(cells[place], difference=replace(one, p_holm=p))
    return cells


def _notes(rows: Sequence[Row], questions: pl.DataFrame) -> tuple[str, ...]:
    found = [f"{len(questions):,} questions on {questions['cluster'].n_unique():,} images"]
    for row in rows:
        asked = row.scores.filter(pl.col("control") == "none")["id"].n_unique()
        if asked != len(questions):
            found.append(f"{row.name} answered {asked:,} of them")
    return tuple(found)


def _constant_letter(rows: Sequence[Row]) -> tuple[str, ...]:
    """What always giving one letter scores: it stands beside every score of choice questions."""
    found = next((letter for row in rows if (letter := row.tables.get("constant_letter"))), None)
    if found is None:
        return ()
    return (f"always {found['letter']} is right in {100 * found['value']:.1f} % of {found['n']:,} choice questions",)


# ---------------------------------------------------------------- on disk


def write_table(
    places: Sequence[str | Path],
    out: str | Path,
    *,
    shape: str = "interval",
    baseline: str | None = None,
    **settings: Any,
) -> Table:
    """The table of these runs or studies in the folder `out`: table.md, .tex, .html, .csv, .json and table.png.

    shape, baseline: see `formats.write`; further arguments as `make_table`.
    """
    from radvqa.ablation.formats import check, write

    rows = read_rows(places)
    check(rows, shape, baseline)
    table = make_table(rows, **settings)
    inputs = {f"{row.folder}:{row.stage}": path_hash(row.scored / "scores.parquet") for row in rows}
    verdicts = {row.folder: row.folder / "judge" / "judge.parquet" for row in rows}
    inputs |= {f"{folder}:judge": path_hash(file) for folder, file in verdicts.items() if file.is_file()}
    config = {"shape": shape, "baseline": baseline, **settings}
    with writing(
        Path(out), {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()}, inputs
    ) as partial:
        write(table, partial, shape=shape, baseline=baseline)
        (partial / "table.json").write_text(json.dumps(asdict_of(table), indent=1, ensure_ascii=False) + "\n")
    return table


def asdict_of(table: Table) -> dict[str, Any]:
    """The table as table.json has it."""
    return {
        "rows": list(table.rows),
        "columns": [{"metric": metric, "control": control} for metric, control in table.columns],
        "by": table.by,
        "blocks": list(table.blocks),
        "reference": table.reference,
        "notes": list(table.notes),
        "cells": [asdict(cell) for cell in table.cells],
    }
