"""Loss curves: what each stage's training looked like.

In: the log of a stage. Out: a chart and the few numbers one asks for first.

    stage_curves("stage1", run.logs["stage1"], tone=1).chart
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from markupsafe import Markup

from radvqa.report.charts import Line, lines
from radvqa.report.read import Log
from radvqa.report.words import arm_name, count, is_number, number, seconds

POINTS = 400
"""A curve is drawn with at most so many points; longer ones are averaged in equal stretches."""


@dataclass(frozen=True)
class Curves:
    """One stage."""

    name: str
    chart: Markup
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def stage_curves(stage: str, log: Log, *, tone: int) -> Curves:
    """The chart and the facts of one stage's log."""
    steps, losses = log.column("loss")
    train, validation = log.column("train_slice_loss"), log.column("validation_slice_loss")
    xs, ys, width = thinned(steps, losses)
    series = [Line("each step", xs, ys, tone, faint=True)] if xs else []
    series += [Line("train slice", *train, tone, marked=True, dashed=True)] if train[0] else []
    series += [Line("validation slice", *validation, tone, marked=True)] if validation[0] else []
    name = arm_name(stage)
    chart = lines(series, label=f"{name}: loss by step", x_label="step", y_label="loss, nats a token")
    notes = [
        "The faint line is the loss of each training step" + (f", averaged over {width} steps" if width > 1 else "")
    ]
    notes += ["The log ends in the middle of a line: the run was cut there"] if log.torn else []
    return Curves(name, Markup(chart), _facts(log, validation), tuple(notes))


def thinned(xs: list[float], ys: list[float], most: int = POINTS) -> tuple[list[float], list[float], int]:
    """At most `most` points: means over stretches of equal length, and that length; gaps (None, NaN) are left out."""
    points = [(x, y) for x, y in zip(xs, ys) if is_number(x) and is_number(y)]
    width = -(-len(points) // most) if points else 1
    parts = [points[i : i + width] for i in range(0, len(points), width)]
    return [p[-1][0] for p in parts], [statistics.fmean(y for _, y in p) for p in parts], width


def _facts(log: Log, validation: tuple[list[float], list[float]]) -> tuple[tuple[str, str], ...]:
    facts = []
    steps, _ = log.column("loss")
    epochs = log.column("epoch")[1]
    if steps:
        facts.append(("Steps", count(max(steps)) + (f" ({number(max(epochs), 1)} epochs)" if epochs else "")))
    known = [(y, x) for x, y in zip(*validation) if is_number(y)]
    if known:
        lowest, where = min(known)
        facts.append(("Lowest validation loss", f"{number(lowest, 3)} at step {count(where)}"))
    for label, column, unit in (
        ("Questions", "questions_per_s", "a second"),
        ("Image tokens", "image_tokens_per_s", "a second"),
    ):
        values = [v for v in log.column(column)[1] if is_number(v)]
        facts += [(label, f"{count(round(statistics.median(values)))} {unit}")] if values else []
    rates = [v for v in log.column("lr")[1] if is_number(v)]
    facts += [("Peak learning rate", f"{max(rates):.2g}")] if rates else []
    supervised = [v for v in log.column("supervised_tokens")[1] if is_number(v)]
    facts += [("Answer tokens learned from", count(sum(supervised)))] if supervised else []
    spent = [v for v in log.column("seconds")[1] if is_number(v)]
    facts += [("Seconds in steps", seconds(sum(spent)))] if spent else []
    return tuple(facts)
