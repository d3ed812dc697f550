"""A ranking of methods in words: the table that screen and report show, and what follows from it in a sentence.

In: ranking.json as read. Out: a heading and a line for each method; a sentence; a table for a terminal.

    ranking = json.loads(Path("runs/demo/saliency/ranking.json").read_text())
    print(said(ranking)); Console().print(ranking_table(ranking))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from radvqa.saliency import CONTROLS
from radvqa.saliency.ranking import LEVEL

if TYPE_CHECKING:
    from rich.table import Table

Ranking = Mapping[str, Any]
COLUMNS = {
    "deletion": "area while the most important patches are taken out; small is faithful",
    "below random": "how much smaller than the random control's on the same answers; bold where it is clear",
    "below centre": "how much smaller than the centre control's",
    "insertion": "area while the most important patches are put in; large is faithful",
    "points at truth": "how often the strongest patch touches the true evidence, in %",
    "mass in truth": "share of the map inside the true evidence, in %",
    "random weights": "likeness to the map of a network whose weights are shuffled; should vanish",
    "other side": "likeness to the map when left and right are exchanged in the question; 1: it does not matter",
    "other question": "likeness to the map of another question about the picture",
}
"""Column -> what it means. Likeness is Spearman's rank correlation."""
CHECKS = ("random weights", "other side", "other question")
NONE = "–"


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    text: str
    bounds: str = ""
    """Its 95 % interval, or the p-value of a difference."""
    clear: bool = False
    """It speaks for the method beyond doubt: a difference that is significant, a check that is passed."""


@dataclass(frozen=True)
class Line:
    """One method of the table."""

    method: str
    cells: tuple[Cell, ...]
    """One for each of COLUMNS."""
    verdict: str


def lines(ranking: Ranking) -> list[Line]:
    """The methods in order."""
    return [_line(row, ranking) for row in ranking["methods"]]


def _line(row: Mapping[str, Any], ranking: Ranking) -> Line:
    fill = row["measures"][0]["fill"]
    measure = {m["measure"]: m for m in row["measures"] if m["fill"] in (None, fill)}
    against = {t["against"]: t for t in row["paired"] if t["measure"] == "deletion" and t["fill"] == fill}
    checks = {c["check"]: c for c in ranking["sanity"] if c["method"] == row["method"]}
    cells = [
        _value(measure["deletion"]),
        *(_difference(against.get(name)) for name in ("random", "centre")),
        _value(measure["insertion"]),
        *(_value(measure[name], 100.0, 0) for name in ("pointing", "mass")),
        *(_value(checks.get(name)) for name in CHECKS),
    ]
    failed = [] if row["method"] in CONTROLS else failures(row["method"], ranking)
    return Line(row["method"], tuple(cells), row["verdict"] + (", fails: " + ", ".join(failed) if failed else ""))


def failures(method: str, ranking: Ranking) -> list[str]:
    """The sanity checks that a method fails."""
    return [c["check"] for c in ranking["sanity"] if c["method"] == method and not c["passes"]]


def _value(found: Mapping[str, Any] | None, times: float = 1.0, digits: int = 2) -> Cell:
    if found is None or found["value"] is None:
        return Cell(NONE)
    low, high = found["low"], found["high"]
    bounds = "" if low is None else f"{times * low:.{digits}f} to {times * high:.{digits}f}"
    return Cell(f"{times * found['value']:.{digits}f}", bounds, bool(found.get("passes")))


def _difference(test: Mapping[str, Any] | None) -> Cell:
    if test is None or test["better_by"] is None or test["p"] is None:
        return Cell(NONE)
    p = "p < 0.001" if test["p"] < 0.001 else f"p = {test['p']:.3f}"
    return Cell(f"{test['better_by']:+.2f}", p, test["p"] < LEVEL and test["better_by"] > 0)


def said(ranking: Ranking) -> str:
    """What to make of it: the method to trust, those that fail, and on how many answers this rests."""
    rows = [row for row in ranking["methods"] if row["verdict"] != "control"]
    sound = [row for row in rows if row["verdict"] == "faithful" and not failures(row["method"], ranking)]
    first = f"Measured on {ranking['num_answers']} right answers, {ranking['num_with_truth']} with a known truth."
    if sound:
        pointing = next(m for m in sound[0]["measures"] if m["measure"] == "pointing")
        hits = "" if pointing["value"] is None else f" and points at the true evidence in {pointing['value']:.0%}"
        told = f"Trust {sound[0]['method']} for this model: it beats random and centre in deletion under every fill-in{hits}."
    else:
        told = (
            "No method can be trusted for this model: none beats random and centre in deletion and passes every check."
        )
    rest = [
        ("Faithful too", [row["method"] for row in sound[1:]]),
        ("Faithful under some fill-ins or against one control only", _named(rows, "partly")),
        ("No better than controls in deletion", _named(rows, "not")),
        ("Fail a sanity check", [row["method"] for row in rows if failures(row["method"], ranking)]),
    ]
    return " ".join([first, told, *(f"{name}: {', '.join(names)}." for name, names in rest if names)])


def _named(rows: Sequence[Mapping[str, Any]], verdict: str) -> list[str]:
    return [row["method"] for row in rows if row["verdict"] == verdict]


def ranking_table(ranking: Ranking) -> Table:
    """The table for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    table = RichTable(title="methods by deletion area, the most faithful first", title_justify="left", box=SIMPLE_HEAD)
    for name in ("", *COLUMNS, "verdict"):
        table.add_column(name)
    for line in lines(ranking):
        cells = [f"[bold]{cell.text}[/bold]" if cell.clear else cell.text for cell in line.cells]
        table.add_row(line.method, *cells, line.verdict)
    return table
