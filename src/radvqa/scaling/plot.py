"""The plot of fitted laws: points, curve with its band, floor.

In: Fits. Out: a PNG (or SVG, PDF: by the file's ending), a panel a group or all in one.

    draw(fits, "scaling.png", unit="epochs")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radvqa.scaling.estimate import Fit

TONES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Apart for colour-blind eyes too (Okabe and Ito 2008)."""
BEYOND = 4.0
"""The curve is drawn on to so many times the most data, dashed."""


def draw(
    fits: Sequence[Fit],
    file: str | Path,
    *,
    together: bool = False,
    x_label: str = "fine-tuning data D",
    y_label: str = "loss",
    aside: Sequence[tuple[np.ndarray, np.ndarray]] = (),
) -> Path:
    """Draw laws and write the picture. together: all in one panel. aside: x and y of points a fit left out, hollow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 1 if together else min(3, len(fits))
    rows = 1 if together else math.ceil(len(fits) / columns)
    size = (9.4, 4.6) if together else (7.2, 4.6) if len(fits) == 1 else (4.2 * columns, 3.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for place, fit in enumerate(fits):
        axis = axes[0 if together else place]
        _panel(axis, fit, place if together else None)
        if place < len(aside):
            tone = TONES[place % len(TONES)] if together else TONES[0]
            axis.plot(*aside[place], "o", mfc="none", mec=tone, ms=4.5, zorder=3)
    for axis in axes[: 1 if together else len(fits)]:
        axis.set_xlabel(x_label if "D" in fits[0].form.factors else "model X")
        axis.set_ylabel(y_label)
        beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if together else {}
        axis.legend(frameon=False, fontsize=8, **beside)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, lw=0.6)
    for axis in axes[1 if together else len(fits) :]:
        axis.set_visible(False)
    file = Path(file)
    partial = file.with_name(f".partial-{file.name}")
    try:
        figure.savefig(partial, dpi=140)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return file


def _panel(axis: Any, fit: Fit, place: int | None) -> None:
    """One law; place: its colour among others in one panel, whose legend names its group."""
    main = "D" if "D" in fit.form.factors else "X"
    others = [factor for factor in fit.form.factors if factor != main]
    column = fit.points.factors[main]
    inside = np.geomspace(column.min(), column.max(), 120)
    outside = np.geomspace(column.max(), BEYOND * column.max(), 40)
    levels = np.unique(fit.points.factors[others[0]]) if others else np.array([np.nan])
    for i, level in enumerate(levels):
        tone = TONES[(i if place is None else place) % len(TONES)]
        here = fit.points.factors[others[0]] == level if others else np.ones(len(column), dtype=bool)
        name = f"{others[0]} = {level:g}" if others else None if place is None else fit.group
        axis.plot(column[here], fit.points.loss[here], "o", color=tone, ms=4.5, label=name, zorder=3)
        for xs, style in ((inside, "-"), (outside, "--")):
            factors = {main: xs, **{other: np.full(len(xs), level) for other in others}}
            axis.plot(xs, fit.predict(factors), style, color=tone, lw=1.4)
            axis.fill_between(xs, *fit.band(factors), color=tone, alpha=0.13, lw=0)
    _floor(axis, fit, TONES[(place or 0) % len(TONES)] if place is not None else "#444444")
    axis.set_xscale("log")
    if place is None:
        axis.set_title(fit.group, fontsize=10, loc="left")


def _floor(axis: Any, fit: Fit, tone: str) -> None:
    low, high = fit.interval("E")
    bottom = fit.points.loss.min() - 0.6 * np.ptp(fit.points.loss)
    name = f"E = {fit.value('E'):.4g} ({100 * fit.level:.0f} %: {low:.4g} to {high:.4g})"
    if fit.value("E") >= bottom:
        axis.axhline(fit.value("E"), color=tone, lw=0.9, ls=":", label=name)
    else:  # far below what was measured: said, not drawn, or the points would be a line
        axis.plot([], [], color=tone, lw=0.9, ls=":", label=name)
