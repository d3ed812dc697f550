"""Ranking: which method to trust for this model, from faithfulness measured on many answers.

In: the rows of faithfulness.parquet. Out: for every method and measure the mean with its interval, and the paired
difference to the random and the centre control with its p-value; and a verdict in words.

    rank(pl.read_parquet("faithfulness.parquet"))[0]["verdict"]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from radvqa.saliency.faithfulness import LOWER_IS_BETTER
from radvqa.score.intervals import cluster_interval
from radvqa.score.paired import holm, permutation_test

MEASURES = ("deletion", "insertion", "pointing", "mass")
CONTROLS = ("random", "centre")
LEVEL = 0.05


def rank(table: pl.DataFrame, *, num_draws: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each method, best deletion first: measures with n, value, low, high; paired tests against controls.

    Intervals and tests are clustered by image; p-values of one measure and fill-in are Holm-adjusted over methods.
    """
    methods = table["method"].unique(maintain_order=True).to_list()
    fills = table["fill"].unique(maintain_order=True).to_list()
    rows = {name: {"method": name, "measures": [], "paired": []} for name in methods}
    for measure in MEASURES:
        for fill in fills if measure in ("deletion", "insertion") else fills[:1]:
            wide = _wide(table, measure, fill)
            named = fill if measure in ("deletion", "insertion") else None
            for name in methods:
                rows[name]["measures"].append(_interval(wide, name, measure, named, num_draws, seed))
            for control in CONTROLS:
                if control in methods:
                    _paired(rows, wide, [m for m in methods if m != control], control, measure, named, seed)
    for row in rows.values():
        row["verdict"] = verdict(row)
    return sorted(rows.values(), key=lambda row: _first_deletion(row))


def _wide(table: pl.DataFrame, measure: str, fill: str) -> pl.DataFrame:
    """A row for each answer, a column for each method."""
    return table.filter(pl.col("fill") == fill).pivot("method", index=["id", "image"], values=measure)


def _column(wide: pl.DataFrame, name: str) -> np.ndarray:
    return wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def _interval(
    wide: pl.DataFrame, name: str, measure: str, fill: str | None, num_draws: int, seed: int
) -> dict[str, Any]:
    found = cluster_interval(_column(wide, name), wide["image"].to_numpy(), num_draws=num_draws, seed=seed)
    return {
        "measure": measure,
        "fill": fill,
        "n": found.n,
        "value": found.value,
        "low": found.low,
        "high": found.high,
    }


def _paired(
    rows: dict[str, dict[str, Any]],
    wide: pl.DataFrame,
    methods: list[str],
    control: str,
    measure: str,
    fill: str | None,
    seed: int,
) -> None:
    sign = -1.0 if measure in LOWER_IS_BETTER else 1.0
    other = _column(wide, control)
    tests = [
        permutation_test(sign * (_column(wide, name) - other), wide["image"].to_numpy(), seed=seed) for name in methods
    ]
    adjusted = holm([1.0 if test.p is None else test.p for test in tests])
    for name, test, p in zip(methods, tests, adjusted):
        rows[name]["paired"].append(
            {
                "measure": measure,
                "fill": fill,
                "against": control,
                "better_by": test.difference,
                "p": None if test.p is None else p,
                "n": test.n,
            }
        )


def verdict(row: dict[str, Any]) -> str:
    """faithful: better than every control in deletion under every fill-in; partly: under some; not: under none."""
    tests = [test for test in row["paired"] if test["measure"] == "deletion"]
    if row["method"] in (*CONTROLS, "edges") or not tests:
        return "control" if row["method"] in (*CONTROLS, "edges") else "not measured"
    won = [test["p"] is not None and test["p"] < LEVEL and test["better_by"] > 0 for test in tests]
    return "faithful" if all(won) else "partly" if any(won) else "not"


def _first_deletion(row: dict[str, Any]) -> float:
    value = next(m["value"] for m in row["measures"] if m["measure"] == "deletion")
    return float("inf") if value is None else value
