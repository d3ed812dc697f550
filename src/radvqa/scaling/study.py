"""Fits of every group of points, written down.

In: Points by group. Out: a folder with fit.json (every law with its draws, from which `reach` answers), fit.png and
stage.json.

    fits, held = write_fits(read_points("points.csv", by="topic"), "laws/", inputs={})
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from radvqa.scaling.estimate import Fit, estimate, form_for
from radvqa.scaling.plot import draw
from radvqa.scaling.points import Points, falling
from radvqa.scaling.reach import HeldOut, held_out
from radvqa.stage import writing


def write_fits(
    groups: Sequence[Points],
    out: str | Path,
    *,
    inputs: Mapping[str, str],
    form: str | None = None,
    until_lowest: bool = False,
    together: bool = False,
    num_draws: int = 1000,
    seed: int = 0,
    x_label: str | None = None,
) -> tuple[list[Fit], list[HeldOut | None]]:
    """Fit every group, write the folder `out` and return the laws and their held-out errors. InputError as `estimate`.

    until_lowest: leave out, count and draw hollow the points after the lowest loss.
    """
    forms = [form_for(points, form) for points in groups]
    used = [falling(points) if until_lowest else (points, 0) for points in groups]
    fits = [estimate(points, form, num_draws=num_draws, seed=seed) for (points, _), form in zip(used, forms)]
    held = [held_out(points, form) for (points, _), form in zip(used, forms)]
    settings = {"form": form, "until_lowest": until_lowest, "together": together, "num_draws": num_draws, "seed": seed}
    laws = [
        fit.summary() | {"num_left_out": left, "held_out": one.summary() if one else None}
        for fit, (_, left), one in zip(fits, used, held)
    ]
    aside = [_aside(whole, kept) for whole, (kept, _) in zip(groups, used)]
    with writing(Path(out), settings, inputs) as partial:
        (partial / "fit.json").write_text(json.dumps({"laws": laws, "settings": settings}) + "\n")
        draw(fits, partial / "fit.png", together=together, aside=aside, **({"x_label": x_label} if x_label else {}))
    return fits, held


def _aside(whole: Points, kept: Points) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the points that were left out."""
    column = whole.factors.get("D", whole.factors.get("X", np.empty(0)))
    left = ~np.isin(column, kept.factors.get("D", column))
    return column[left], whole.loss[left]
