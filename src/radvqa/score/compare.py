"""Which runs are compared, and the rows of paired tests.

In: a slice of the scores. Out: rows of "paired" in scores.json: first minus second run, interval, p-value.

    rows = adjust([row for part in parts for row in compare(part)])
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from radvqa.score.intervals import cluster_sums
from radvqa.score.paired import holm, mcnemar, sign_flip_p
from radvqa.score.power import detectable, num_questions
from radvqa.score.registry import METRICS
from radvqa.score.table import Part, Run, summary

MAJORITY: Run = ("majority", "none")
SLICES = ("kind",)
"""Comparisons are made over all questions and within the slices by these columns."""


def compare(part: Part) -> list[dict[str, Any]]:
    """Every comparison in every metric: the permutation test by image, and McNemar's where outcomes are 0 and 1.

    The interval is that of the mean difference, bootstrapped by image.
    """
    chosen = comparisons(part.scored.runs)
    places = [place for place, name in enumerate(part.scored.metrics) if METRICS[name].compared]
    if not chosen or not places:
        return []
    first, second = (part.values[:, [pair[side] for pair in chosen]][:, :, places] for side in (0, 1))
    flat = (first - second).reshape(len(first), -1)
    columns = summary(flat, part, unit=False)
    p_values = sign_flip_p(cluster_sums(flat, part.codes)[0], part.settings.num_flips, part.seed)
    rows = []
    for place, ((a, b), metric) in enumerate(itertools.product(chosen, places)):
        if columns["n"][place]:
            name = part.scored.metrics[metric]
            row = {"metric": name, "slice": part.where, "a": _name(part, a), "b": _name(part, b)}
            row |= {"difference": columns["value"][place]}
            row |= {key: columns[key][place] for key in ("n", "num_clusters", "low", "high", "error")}
            rows.append(row | {"p": float(p_values[place]), "test": "permutation"} | _power(row))
            if METRICS[name].binary:
                found = mcnemar(part.values[:, a, metric], part.values[:, b, metric])
                rows.append(row | {"p": found.p, "test": "mcnemar"})
    return rows


def _power(row: dict[str, Any]) -> dict[str, Any]:
    """detectable: the difference these questions show in four of five runs; num_needed: questions that would show
    the difference that was found."""
    if not row["error"]:
        return {"detectable": None, "num_needed": None}
    found, n = row["difference"], row["n"]
    needed = num_questions(found, error=row["error"], n=n) if abs(found) > 1e-12 else None
    return {"detectable": detectable(row["error"]), "num_needed": needed}


def _name(part: Part, run: int) -> dict[str, str]:
    return dict(zip(("arm", "control"), part.scored.runs[run]))


def comparisons(runs: Sequence[Run]) -> list[tuple[int, int]]:
    """Which runs are compared, the first minus the second: later arm and earlier arm, run and its control, and majority.

    Arms stand in the order base, stage1, stage2, then by name.
    """
    place = {run: number for number, run in enumerate(runs)}
    full = [run for run in runs if run[1] == "none" and run != MAJORITY]
    found = [(later, earlier) for number, later in enumerate(full) for earlier in full[:number]]
    found += [
        (run, (run[0], control)) for run in full for control in sorted({c for a, c in runs if a == run[0]} - {"none"})
    ]
    found += [(run, MAJORITY) for run in full if MAJORITY in place]
    return [(place[first], place[second]) for first, second in found]


def adjust(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with p_holm: Holm's correction over the comparisons of one metric, by one test, in slices by one column."""
    families: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for pair in pairs:
        families.setdefault((pair["metric"], pair["test"], *pair["slice"]), []).append(pair)
    for family in families.values():
        for pair, adjusted in zip(family, holm([pair["p"] for pair in family])):
            pair["p_holm"] = adjusted
    return pairs
