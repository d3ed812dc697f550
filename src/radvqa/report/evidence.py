"""The scores: plots, the table of all metrics, paired tests in words, and values by slice.

In: Scores. Out: charts and rows of text for the template.

    forest_of(scores, "closed_accuracy")     # '<svg ...'
    slice_tables(scores)[0].groups["Modality"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from radvqa.report.charts import Mark, Row, forest, strip
from radvqa.report.lookup import MAJORITY, Entry, Scores, side, turn
from radvqa.report.words import (
    NONE,
    arm_in_text,
    arm_name,
    bounds,
    control_name,
    count,
    dimension_name,
    interval,
    is_number,
    metric_name,
    number,
    p_value,
    signed,
)
from radvqa.score import METRICS

SHAPE_OF = {"none": "disc", "blank": "ring", "shuffled": "diamond"}
OWN_FAMILIES = ("radvqa", "rouge-score", "sacrebleu", "nltk")
"""Metrics of these families stand in the first table; those of other projects' scripts are folded below it."""
STRIPS = 6
"""How many metrics get a small plot; all are in the table."""
SLICE_METRICS = 3
"""How many metrics get a table by slice; the first is open, the others are folded."""


# ---------------------------------------------------------------- plots


def forest_of(scores: Scores, metric: str) -> Markup:
    """Every arm under every control, with the majority answer as a dashed line."""
    return Markup(
        forest(
            _rows(scores, metric),
            label=f"{metric_name(metric)} of each model under each control, with 95 % intervals",
            reference=_reference(scores, metric),
        )
    )


def strips_of(scores: Scores, metrics: Sequence[str]) -> list[tuple[str, Markup]]:
    """A small plot for each of the first STRIPS of these metrics."""
    found = []
    for metric in metrics[:STRIPS]:
        label = f"{metric_name(metric)} of each model under each control"
        plot = strip(_rows(scores, metric), label=label, reference=_reference(scores, metric))
        found.append((metric_name(metric), Markup(plot)))
    return found


def _rows(scores: Scores, metric: str) -> list[Row]:
    rows = []
    for tone, arm in enumerate(scores.arms):
        marks = []
        for control in scores.controls:
            entry = scores.find(metric, arm, control)
            if entry is not None:
                value, low, high = (entry.get(key) for key in ("value", "low", "high"))
                shape = SHAPE_OF.get(control, "ring")
                note = f"n {count(entry.get('n'))}"
                marks.append(Mark(control_name(control), value, low, high, tone=tone, shape=shape, note=note))
        rows += [Row(arm_name(arm), marks)] if marks else []
    return rows


def _reference(scores: Scores, metric: str) -> tuple[str, float] | None:
    entry = scores.majority_for(metric)
    return ("majority", entry["value"]) if entry and is_number(entry.get("value")) else None


# ---------------------------------------------------------------- tables


@dataclass(frozen=True)
class Cell:
    """A value, its interval, and what a tint would show; `share` is None where there is no number."""

    value: str
    bounds: str
    n: str
    share: float | None = None
    """The value itself, 0-1, for the tint."""


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    name: str
    cells: tuple[Cell, ...]
    n: str
    num_unscored: str
    faint: bool = False


@dataclass(frozen=True)
class Overview:
    """One line a metric: every arm, the last one without seeing, the majority."""

    columns: tuple[str, ...]
    own: tuple[Line, ...]
    others: tuple[Line, ...]
    """Metrics as other projects define them."""


def overview(scores: Scores) -> Overview:
    """The table of all metrics."""
    columns = _columns(scores)
    own: list[Line] = []
    others: list[Line] = []
    for metric in scores.metrics:
        line = _line(metric_name(metric), [scores.find(metric, arm, control) for _, arm, control in columns])
        foreign = metric in METRICS and METRICS[metric].family not in OWN_FAMILIES
        (others if foreign else own).append(line)
    return Overview(tuple(label for label, *_ in columns), tuple(own), tuple(others))


def score_table(scores: Scores) -> list[tuple[str, list[Line]]]:
    """For each metric: a line with the true image, one for each control, and the majority, a cell for each arm."""
    found = []
    for metric in scores.metrics:
        lines = []
        for control in scores.controls:
            entries = [scores.find(metric, arm, control) for arm in scores.arms]
            if any(entries):
                lines.append(_line(control_name(control), entries, faint=control != "none"))
        majority = scores.majority_for(metric)
        if majority is not None:
            lines.append(_line("Majority answer", [majority], faint=True))
        found.append((metric_name(metric), lines))
    return found


def _line(name: str, entries: Sequence[Entry | None], *, faint: bool = False) -> Line:
    return Line(
        name,
        tuple(_cell(entry) for entry in entries),
        _common([count(e.get("n")) for e in entries if e]),
        _common([count(e.get("num_unscored")) for e in entries if e]),
        faint,
    )


def _cell(entry: Entry | None) -> Cell:
    if entry is None:
        return Cell(NONE, "", "")
    value = entry.get("value")
    share = min(1.0, max(0.0, value)) if is_number(value) else None
    return Cell(number(value), bounds(entry.get("low"), entry.get("high")), count(entry.get("n")), share)


def _common(texts: Sequence[str]) -> str:
    """One text where all agree, else all of them in the order of the arms."""
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts) if texts else NONE


@dataclass(frozen=True)
class SliceTable:
    """One metric by slice."""

    metric: str
    columns: tuple[str, ...]
    groups: Mapping[str, list[Line]]


def slice_tables(scores: Scores) -> list[SliceTable]:
    """Values by modality, plane, region, kind, topic ...: each arm, the last one blind, and the majority."""
    order = ("kind", "modality", "plane", "region", "topic", "findings", "source")
    tables = []
    for metric in scores.metrics:
        groups = {}
        slices = scores.slices(metric)
        for dimension in sorted(slices, key=lambda d: (order.index(d) if d in order else len(order), d)):
            lines = [_slice_line(scores, metric, dimension, value) for value in slices[dimension]]
            if len(lines) > 1:
                groups[dimension_name(dimension)] = lines
            elif dimension == "kind" and (other := _with_kinds(scores)) not in (None, metric):
                lines = [_slice_line(scores, other, "kind", value) for value in scores.slices(other)["kind"]]
                groups[f"{dimension_name('kind')} ({metric_name(other)})"] = lines
        if groups:
            columns = tuple(label for label, *_ in _columns(scores))
            tables.append(SliceTable(metric_name(metric), columns, groups))
    return tables[:SLICE_METRICS]


def _with_kinds(scores: Scores) -> str | None:
    """A metric that was computed for questions of several kinds."""
    return next((metric for metric in scores.metrics if len(scores.slices(metric).get("kind", ())) > 1), None)


def _columns(scores: Scores) -> list[tuple[str, str, str]]:
    """Label, arm and control of each column: the arms as they are, the last one under each control, the majority."""
    columns = [(arm_name(arm), arm, "none") for arm in scores.arms]
    blind = [control for control in scores.controls if control != "none"]
    columns += [
        (f"{arm_name(scores.arms[-1])}, {control_name(control).lower()}", scores.arms[-1], control) for control in blind
    ]
    return [*columns, ("Majority answer", MAJORITY, "none")] if scores.majority else columns


def _slice_line(scores: Scores, metric: str, dimension: str, value: str) -> Line:
    where = {dimension: value}
    return _line(value, [scores.find(metric, arm, control, where) for _, arm, control in _columns(scores)])


def constant_letter(scores: Scores) -> str | None:
    """What stands beside every score of choice questions; None where there are none."""
    found = scores.constant_letter
    if not found or not is_number(found.get("value")):
        return None
    value = interval(found["value"], found.get("low"), found.get("high"))
    return f"Always choosing {found['letter']}, the best constant letter, is right in {value}, n {count(found['n'])}."


# ---------------------------------------------------------------- paired tests


@dataclass(frozen=True)
class Comparison:
    """One paired test."""

    sentence: str
    metric: str
    pair: str
    difference: str
    n: str
    p: str
    test: str
    turn: int
    """1: a is clearly above b, -1: below, 0: neither."""


def comparisons(scores: Scores) -> tuple[list[Comparison], list[Comparison]]:
    """The tests that are said in words, and all tests over all questions.

    Said is what the headline's metric shows of the arms against each other and of the last one against not seeing.
    """
    every = [_comparison(test) for test in scores.paired if not test.get("slice")]
    arms = [(arm, "none") for arm in scores.arms]
    pairs = [(b, a) for place, a in enumerate(arms) for b in arms[place + 1 :]]
    pairs += [(a, (a[0], control)) for a in arms[-1:] for control in scores.controls if control != "none"]
    pairs += [(a, (MAJORITY, "none")) for a in arms[-1:]]
    said = [test for a, b in pairs if scores.headline and (test := scores.test(scores.headline, a, b))]
    return [_comparison(test) for test in said], every


def power(scores: Scores) -> str | None:
    """Which difference of the headline's metric the questions would show; None where there are not two arms."""
    if len(scores.arms) < 2 or not scores.headline:
        return None
    last, first = ((arm, "none") for arm in (scores.arms[-1], scores.arms[0]))
    test = scores.test(scores.headline, last, first)
    if test is None or not is_number(test.get("detectable")):
        return None
    shown = f"{count(test['n'], 'question')} like these show a difference of {number(test['detectable'])} between two models"
    said = f"{shown} in four of five studies"
    if is_number(test.get("num_needed")):
        said += f"; {count(test['num_needed'])} would show the {number(abs(test['difference']))} found here"
    return f"{said}."


def _comparison(test: Entry) -> Comparison:
    a, b = side(test["a"]), side(test["b"])
    low, high = test.get("low"), test.get("high")
    way = turn(test)
    corrected = is_number(test.get("p_holm"))
    p = p_value(test["p_holm"] if corrected else test.get("p"))
    difference = interval(test.get("difference"), low, high, signed)
    verb = {1: "scores higher than", -1: "scores lower than", 0: "does not clearly differ from"}[way]
    sentence = f"{_run_name(a)} {verb} {_run_name(b, inner=True)}: {difference}, {p}."
    return Comparison(
        sentence=sentence,
        metric=metric_name(test["metric"]),
        pair=f"{_run_name(a)} − {_run_name(b, inner=True)}",
        difference=difference,
        n=count(test.get("n")),
        p=p,
        test=str(test.get("test", "")) + (", Holm" if corrected else ""),
        turn=way,
    )


def _run_name(run: tuple[str, str], *, inner: bool = False) -> str:
    arm, control = run
    name = "the majority answer" if arm == MAJORITY else arm_in_text(arm)
    name = name if inner else name[:1].upper() + name[1:]
    return name if control == "none" else f"{name} with {_with(control)}"


def _with(control: str) -> str:
    return {"blank": "a blank image", "shuffled": "shuffled images"}.get(control, control)
