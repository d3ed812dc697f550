"""Ranking: which method to trust for this model, from faithfulness measured on many answers.

In: the rows of faithfulness.parquet. Out: for every method and measure the mean with its interval, the paired
difference to the random and the centre control and to the first of the ranking, each with interval and p-value; and a
verdict in a word.

    rank(pl.read_parquet("faithfulness.parquet"))[0]["verdict"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from radvqa.saliency import CONTROLS
from radvqa.score.intervals import cluster_interval
from radvqa.score.paired import holm, permutation_test

MEASURES = ("deletion", "insertion", "pointing", "mass")
LOWER_IS_BETTER = frozenset(("deletion",))
AGAINST = ("random", "centre")
"""The controls that a method has to beat."""
LEVEL = 0.05


def rank(table: pl.DataFrame, *, num_draws: int = 2000, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each method, smallest deletion area under the first fill-in first.

    Intervals and tests are clustered by image; p-values of one measure, fill-in and control are Holm-adjusted over
    methods. `better_by` is positive where the method is better, whichever way the measure goes.
    """
    methods = table["method"].unique(maintain_order=True).to_list()
    fills = table["fill"].unique(maintain_order=True).to_list()
    rows: dict[str, dict[str, Any]] = {name: {"method": name, "measures": [], "paired": []} for name in methods}
    wides = {
        (measure, fill if measure in ("deletion", "insertion") else None): _wide(table, measure, fill)
        for measure in MEASURES
        for fill in (fills if measure in ("deletion", "insertion") else fills[:1])
    }
    for (measure, fill), wide in wides.items():
        about = {"measure": measure, "fill": fill}
        for name in methods:
            mean = cluster_interval(_column(wide, name), wide["image"].to_numpy(), num_draws=num_draws, seed=seed)
            one = {**about, "n": mean.n, "value": mean.value, "low": mean.low, "high": mean.high}
            rows[name]["measures"].append(one)
    found = sorted(rows.values(), key=_first_deletion)
    best = [row["method"] for row in found if row["method"] not in CONTROLS][:1]
    for (measure, fill), wide in wides.items():
        for other in dict.fromkeys([*AGAINST, *best]):
            if other in methods:
                tested = [name for name in methods if name != other]
                for name, test in zip(tested, paired(wide, tested, other, measure, num_draws, seed)):
                    rows[name]["paired"].append({"measure": measure, "fill": fill, "against": other, **test})
    for row in found:
        row["verdict"] = verdict(row)
    return found


def paired(
    wide: pl.DataFrame, methods: Sequence[str], other: str, measure: str, num_draws: int, seed: int
) -> list[dict[str, Any]]:
    """For each method how much better than another it is on the same answers: better_by, low, high, p, n."""
    sign, images = -1.0 if measure in LOWER_IS_BETTER else 1.0, wide["image"].to_numpy()
    differences = [sign * (_column(wide, name) - _column(wide, other)) for name in methods]
    tests = [permutation_test(difference, images, seed=seed) for difference in differences]
    adjusted = holm([1.0 if test.p is None else test.p for test in tests])
    found = []
    for difference, test, p in zip(differences, tests, adjusted):
        mean = cluster_interval(difference, images, num_draws=num_draws, seed=seed, unit=False)
        one = {"better_by": test.difference, "low": mean.low, "high": mean.high}
        found.append({**one, "p": None if test.p is None else p, "n": test.n})
    return found


def _wide(table: pl.DataFrame, measure: str, fill: str) -> pl.DataFrame:
    """A row for each answer, a column for each method."""
    return table.filter(pl.col("fill") == fill).pivot("method", index=["id", "image"], values=measure)


def _column(wide: pl.DataFrame, name: str) -> np.ndarray:
    return wide[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def verdict(row: dict[str, Any]) -> str:
    """faithful: better than random and centre in deletion under every fill-in; partly: in some of these; not: in none."""
    if row["method"] in CONTROLS:
        return "control"
    tests = [test for test in row["paired"] if test["measure"] == "deletion" and test["against"] in AGAINST]
    if not tests:
        return "not measured"
    won = [test["p"] is not None and test["p"] < LEVEL and test["better_by"] > 0 for test in tests]
    return "faithful" if all(won) else "partly" if any(won) else "not"


def _first_deletion(row: dict[str, Any]) -> float:
    value = next(m["value"] for m in row["measures"] if m["measure"] == "deletion")
    return float("inf") if value is None else value
