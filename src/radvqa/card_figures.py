"""Small multiples for a corpus card: one panel a corpus, the same values in the same place, the same scale.

In: Counts, or lists of lengths. Out: matplotlib Figures, 9 inches wide (900 px on the page).

    bars([Counts("SLAKE", {"CT": 282, "MR": 181}, 642, "pictures")]).savefig("modalities.png")
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#A8477F", "#56B4E9", "#B97E00")
"""After Okabe and Ito (2008): apart for every common kind of colour blindness; every panel is also named."""
INK, SOFT, GRID = "#1b1f23", "#59636b", "#e6e8ea"
PER_LINE, WIDTH_INCHES = 3, 9.0
SHOWN = 14
"""Values with a bar of their own; the others are summed."""
NAME_LETTERS = 30


@dataclass(frozen=True)
class Counts:
    """How often each value occurs in one corpus, out of how many."""

    corpus: str
    values: dict[str, int]
    total: int
    unit: str

    def share(self, value: str) -> float:
        """Of the total; 0 for a value that does not occur."""
        return self.values.get(value, 0) / max(self.total, 1)


def bars(counts: Sequence[Counts]) -> Figure:
    """Horizontal bars, the values that are most common over all corpora first."""
    weight: Counter[str] = Counter()
    for one in counts:
        weight.update({value: one.share(value) for value in one.values})
    shown = [value for value, _ in sorted(weight.items(), key=lambda item: (-item[1], item[0]))]
    shown, others = shown[:SHOWN], shown[SHOWN:]
    num_bars = len(shown) + bool(others)
    figure, panels = _panels(len(counts), 0.27 * num_bars + 0.75)
    most = max((one.share(value) for one in counts for value in shown), default=0.0)
    rest = {one.corpus: sum(one.values.get(value, 0) for value in others) for one in counts}
    most = max([most, *(number / max(one.total, 1) for one, number in zip(counts, rest.values()))])
    for place, (panel, one) in enumerate(zip(panels, counts)):
        numbers = [one.values.get(value, 0) for value in shown] + [rest[one.corpus]] * bool(others)
        labels = [_short(value) for value in shown] + [f"{len(others):,} others"] * bool(others)
        _draw_bars(panel, numbers, one.total, COLOURS[place % len(COLOURS)], most)
        panel.set_yticks(range(num_bars), labels if place % PER_LINE == 0 else [""] * num_bars)
        _title(panel, one.corpus, f"{one.total:,} {one.unit}")
    return figure


def _draw_bars(panel: Axes, numbers: Sequence[int], total: int, colour: str, most: float) -> None:
    shares = [number / max(total, 1) for number in numbers]
    panel.barh(range(len(numbers)), shares, height=0.68, color=colour)
    for place, (number, share) in enumerate(zip(numbers, shares)):
        text = f"{share:.0%}  {number:,}" if share >= 0.005 or not number else f"<1%  {number:,}"
        panel.text(share + most * 0.025, place, text if number else "–", va="center", fontsize=8, color=SOFT)
    panel.set_xlim(0, max(most, 1e-9) * 1.5)
    panel.set_ylim(len(numbers) - 0.4, -0.6)
    panel.set_xticks([])
    panel.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)


def lengths(names: Sequence[str], words: Sequence[NDArray[np.int64]], unit: str) -> Figure:
    """Histograms of a number of words, the share of `unit` (questions, answers) on a shared scale; with medians."""
    everything = np.concatenate(list(words)) if words else np.zeros(1, np.int64)
    top = max(int(np.percentile(everything, 99)), 4)
    step = max(1, math.ceil(top / 40))
    edges = np.arange(0.5, top + step + 0.5, step)
    figure, panels = _panels(len(names), 2.0)
    shares = []
    for values in words:
        counted, _ = np.histogram(np.clip(values, 1, edges[-1] - 0.5), edges)
        shares.append(counted / max(len(values), 1))
    most = max((float(share.max()) for share in shares), default=1.0)
    for place, (panel, name, values, share) in enumerate(zip(panels, names, words, shares)):
        panel.bar(edges[:-1], share, width=step * 0.86, align="edge", color=COLOURS[place % len(COLOURS)])
        panel.set_ylim(0, most * 1.12)
        panel.set_xlim(0, edges[-1] + 0.5)
        panel.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        panel.yaxis.grid(True, color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(length=0, labelsize=8.5, labelcolor=SOFT)
        panel.tick_params(axis="y", labelleft=place % PER_LINE == 0)
        panel.set_xlabel(f"words (the last bar: {edges[-2] + 0.5:.0f} and more)", fontsize=8.5, color=SOFT)
        middle = float(np.median(values)) if len(values) else 0.0
        _title(panel, name, f"{len(values):,} {unit}, median {middle:g} words")
    return figure


def _panels(number: int, height_inches: float) -> tuple[Figure, list[Axes]]:
    """So many empty panels, three in a line."""
    lines = math.ceil(number / PER_LINE)
    figure = Figure(
        figsize=(WIDTH_INCHES, lines * height_inches), layout=ConstrainedLayoutEngine(h_pad=0.1), facecolor="white"
    )
    grid = figure.subplots(lines, min(number, PER_LINE), squeeze=False)
    flat = list(grid.ravel())
    for panel in flat:
        panel.spines[:].set_visible(False)
    for panel in flat[number:]:
        panel.set_axis_off()
    return figure, flat[:number]


def _title(panel: Axes, name: str, below: str) -> None:
    panel.set_title(_short(name), loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=17)
    panel.text(0, 1, below, transform=panel.transAxes, va="bottom", fontsize=8.5, color=SOFT)


def _short(text: str) -> str:
    text = text.replace("$", r"\$")  # or matplotlib reads mathematics
    return text if len(text) <= NAME_LETTERS else text[: NAME_LETTERS - 1].rstrip() + "…"
