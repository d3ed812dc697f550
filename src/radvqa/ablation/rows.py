"""The scores of one run's answers, question by question, as a table or a comparison reads them.

In: a run folder, RUN:STAGE, a study's folder, or a folder that `score` wrote. Out: Rows.

    rows = read_rows(["runs/ablation", "runs/demo:stage1"])

A run stands for the answers of its last stage unless a stage (or base) is named behind a colon; a study for its base
model and the last stage of every arm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa import tree
from radvqa.errors import InputError
from radvqa.score.registry import METRICS
from radvqa.score.table import ARMS
from radvqa.tables import read_table
from radvqa.tree import one_of

ASKED = ("id", "image", "subject", "source", "topic", "kind", "modality", "plane", "region", "question", "answers")
SAID = ("arm", "control", "answer")
JUDGE = "judge"


@dataclass(frozen=True)
class Row:
    """What one model, or one stage of one run, answered."""

    name: str
    folder: Path
    stage: str
    """base, a stage, or whatever name the answers were scored under."""

    @cached_property
    def scores(self) -> pl.DataFrame:
        """A row a question and control: id, control, a column a metric; a judge's verdict is one, where there is one."""
        found = self._read("scores.parquet").filter(pl.col("arm") == self.stage).drop("arm")
        file = self.folder / "judge" / "judge.parquet"
        if not file.is_file() or JUDGE in found.columns:
            return found
        return found.join(_verdicts(read_table(file), self.stage), on=["id", "control"], how="left")

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The content of scores.json."""
        return json.loads((self.scored / "scores.json").read_text())

    @property
    def settings(self) -> dict[str, Any]:
        """How the scores were made: cluster, num_draws, seed."""
        return self.tables.get("settings", {})

    @cached_property
    def questions(self) -> pl.DataFrame:
        """A row a question: what was asked, and `cluster`; empty where the folder keeps no predictions."""
        found = self.answers.select([name for name in ASKED if name in self.answers.columns])
        first, second = ("subject", "image") if self.settings.get("cluster") == "subject" else ("image", "subject")
        if found.is_empty():
            return found
        there = [pl.col(name) for name in (first, second, "id") if name in found.columns]
        return found.with_columns(pl.coalesce(*there).alias("cluster"))

    @cached_property
    def answers(self) -> pl.DataFrame:
        """The predictions with the true image."""
        file = self.folder / "predictions" / f"{self.stage}-none" / "predictions.parquet"
        return read_table(file) if file.is_file() else pl.DataFrame(schema={"id": pl.String, "image": pl.String})

    @property
    def scored(self) -> Path:
        """Where its scores lie."""
        return scored_in(self.folder)

    @property
    def metrics(self) -> list[str]:
        """The metrics that were computed."""
        return [name for name in self.scores.columns if name not in ("id", "control")]

    def values(self, metric: str, control: str, ids: Sequence[str]) -> np.ndarray:
        """float[N] of the questions asked for, nan where there is no score."""
        if metric not in self.scores.columns:
            return np.full(len(ids), np.nan)
        frame = self.scores.filter(pl.col("control") == control)
        found = pl.DataFrame({"id": list(ids)}).join(
            frame.select("id", metric), on="id", how="left", maintain_order="left"
        )
        return found[metric].cast(pl.Float64).fill_null(np.nan).to_numpy()

    def _read(self, name: str) -> pl.DataFrame:
        return read_table(self.scored / name)


def _verdicts(judged: pl.DataFrame, stage: str) -> pl.DataFrame:
    """id, control and whether the judge calls the answer correct; of several judges what more than half of them say."""
    last = judged["judge"].to_list()[-1] if len(judged) else None  # the consensus is written last
    some = judged.filter(pl.col("arm") == stage, pl.col("judge") == last)
    right = (pl.col("verdict") == "correct").cast(pl.Float64)
    return some.select("id", "control", right.alias(JUDGE))


def scored_in(folder: Path) -> Path:
    """The folder with scores.parquet: a run's `scores`, or itself."""
    return folder / "scores" if (folder / "scores" / "scores.parquet").is_file() else folder


def read_rows(places: Sequence[str | Path]) -> list[Row]:
    """The rows that folders stand for, each name once. InputError for a folder without scores and an unknown stage."""
    rows: list[Row] = []
    for place in places:
        folder, stage = _split(str(place))
        arms = arms_of(folder)
        if arms:
            rows += _of_study(folder, arms, stage)
        else:
            stages = stages_of(folder)
            if stage is not None and stage not in stages:
                raise InputError(f"found {stage!r}", file=folder, key="stage", fix=one_of(stage, stages))
            name = folder.resolve().name + (f" · {stage}" if stage else "")
            rows.append(Row(name, folder, stage or stages[-1]))
    names = [row.name for row in rows]
    return [row if names.count(row.name) == 1 else _renamed(row) for row in rows]


def _split(place: str) -> tuple[Path, str | None]:
    """runs/x:stage1 -> (runs/x, stage1)."""
    if Path(place).exists() or ":" not in place:
        return Path(place), None
    folder, _, stage = place.rpartition(":")
    return Path(folder), stage


def _renamed(row: Row) -> Row:
    return Row(f"{row.folder} · {row.stage}", row.folder, row.stage)


def _of_study(study: Path, arms: Sequence[str], stage: str | None) -> list[Row]:
    rows, base = [], None
    for arm in arms:
        if not (scored_in(study / arm) / "scores.parquet").is_file():
            continue  # an arm that is not finished; the table says which
        stages = stages_of(study / arm)
        base = base or (Row("base model", study / arm, "base") if "base" in stages[:-1] else None)
        if stage is None or stage in stages:
            rows.append(Row(arm, study / arm, stage or stages[-1]))
    if not rows:
        raise InputError("no arm of this study has scores" + (f" of {stage}" if stage else ""), file=study)
    return [*([base] if base and stage is None else []), *rows]


def arms_of(folder: Path) -> list[str]:
    """The arms of a study's folder, finished or not, in the order of its recipe; empty: no study."""
    file = folder / "recipe.yaml"
    if not file.is_file():
        return []
    found = tree.read(file).get("arms")
    return list(found) if isinstance(found, dict) else []


def stages_of(folder: Path) -> list[str]:
    """base and the stages that were scored, the last one last."""
    file = scored_in(folder) / "scores.parquet"
    if not file.is_file():
        fix = "give a run, a study, or a folder that `score` wrote"
        raise InputError("there are no scores here", file=folder, fix=fix if folder.is_dir() else "there is no folder")
    found = read_table(file, columns=["arm"])["arm"].unique().to_list()
    recipe = folder / "recipe.yaml"
    stages = tree.read(recipe).get("stages") or [] if recipe.is_file() else []
    order = ["base", *(stage["name"] for stage in stages)] if stages else list(ARMS)
    return sorted(found, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))


def is_binary(metric: str, values: np.ndarray) -> bool:
    """Whether only right and wrong come out of a metric: as it says itself, or as its values (nan: unscored) look."""
    if metric in METRICS:
        return METRICS[metric].binary
    scored = values[~np.isnan(values)]
    return bool(len(scored)) and bool(np.isin(scored, (0, 1)).all())
