"""The scores as a terminal shows them: every metric of every run over all questions, and what the numbers can show.

In: the content of scores.json. Out: a rich table, and sentences.

    Console().print(metric_table(json.loads(Path("scores/scores.json").read_text())))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from radvqa.score.formats import UNSCORED

CHOICES = ("choice_letter", "choice_best_match")
"""Metrics beside which the best constant letter stands."""


def metric_table(found: Mapping[str, Any]) -> Table:
    """A row a metric over all questions it applies to, a column a run that sees the pictures; in percent, 95 %."""
    rows = [row for row in found["metrics"] if row["slice"] == {} and row["control"] == "none"]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    cells = {(row["metric"], row["arm"]): row for row in rows}
    majority = {row["metric"]: row for row in found["majority"] if row["slice"] == {}}
    heading = {"title": "every metric in %, 95 % intervals by image", "title_justify": "left", "title_style": "bold"}
    table = Table(**heading, box=SIMPLE_HEAD)  # type: ignore[arg-type]
    table.add_column("")
    for name in ("n", *arms, *(["majority"] if majority else [])):
        table.add_column(escape(name), justify="right")
    for metric in dict.fromkeys(row["metric"] for row in rows):
        asked = [cells[metric, arm] for arm in arms if (metric, arm) in cells]
        shown = [_value(cells.get((metric, arm))) for arm in arms]
        shown += [_value(majority.get(metric))] if majority else []
        title = found["about"].get(metric, {}).get("title", "BLEU (corpus)")
        table.add_row(title, _n(asked), *shown)
        if metric in CHOICES and (letter := found["constant_letter"]):
            table.add_row(
                f"  always {letter['letter']}", str(letter["n"]), *([_value(letter)] + [""] * (len(shown) - 1))
            )
    return table


def _n(rows: list[Mapping[str, Any]]) -> str:
    """Scored questions, and unscored ones where there are some; of the run that has most."""
    most = max(rows, key=lambda row: row["n"] + row["num_unscored"])
    return f"{most['n']}" + (f" (+{most['num_unscored']} unscored)" if most["num_unscored"] else "")


def _value(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return UNSCORED
    interval = "" if row["low"] is None else f" ({100 * row['low']:.1f}-{100 * row['high']:.1f})"
    return f"{100 * row['value']:.1f}{interval}"


def power_lines(found: Mapping[str, Any]) -> list[str]:
    """How small a difference these questions can show, for each comparison of two runs in closed accuracy."""
    lines = []
    for pair in found["paired"]:
        of_runs = pair["a"]["control"] == pair["b"]["control"] == "none"
        if pair["metric"] != "closed_accuracy" or pair["slice"] or pair["test"] != "permutation" or not of_runs:
            continue
        line = (
            f"{pair['a']['arm']} - {pair['b']['arm']}: {100 * pair['difference']:+.1f} points of closed accuracy, "
            f"p = {pair['p_holm']:.2g} after Holm"
        )
        if pair["detectable"]:
            line += f"; {pair['n']} questions show {100 * pair['detectable']:.1f} points in four of five studies"
        lines.append(line + (f", {pair['num_needed']:,} would show this" if pair["num_needed"] else ""))
    return lines
