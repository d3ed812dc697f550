"""The picture of a table: a panel a column, a point a run, its 95 % interval, the reference as a dashed line.

In: a Table. Out: a PNG (or SVG, PDF: by the file's ending).

    draw(table, Path("runs/ablation/table/table.png"))

Filled points differ from the reference after the correction over the table, hollow ones do not; small grey diamonds are
the same run with a blank picture. A divided table shows its first column, a panel a block.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from radvqa.ablation.table import LEVEL, Cell, Table, title

TONE, FAINT, REFERENCE = "#0072B2", "#8a8a8a", "#D55E00"
MOST_PANELS = 9
PANELS_ACROSS = 3


def draw(table: Table, file: Path) -> Path:
    """Draw a table and write the picture; beyond MOST_PANELS columns or blocks are left out (they are in the tables)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = table.columns[0]
    whole = [column for column in table.columns if column[1] == "none"]
    panels = [(block, first) for block in table.blocks] if table.by else [("", column) for column in whole]
    panels = panels[:MOST_PANELS]
    across = min(PANELS_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    height = 0.9 + 0.27 * len(table.rows)
    figure = Figure(figsize=(3.5 * across + 1.2, height * down), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for axis, (block, column) in zip(axes, panels):
        _panel(axis, table, block, column)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.savefig(file, dpi=140)
    return file


def _panel(axis: Any, table: Table, block: str, column: tuple[str, str]) -> None:
    blind = (column[0], "blank")
    percent = table.cell(block, table.rows[0], column).num_right is not None
    scale = 100 if percent else 1
    for place, row in enumerate(table.rows):
        _point(axis, table.cell(block, row, column), place, scale, row == table.reference)
        if blind in table.columns:
            value = table.cell(block, row, blind).value
            if value is not None:
                axis.plot(scale * value, place, "D", color=FAINT, ms=3.5)
    wanted = table.cell(block, table.reference, column).value if table.reference else None
    if wanted is not None:
        axis.axvline(scale * wanted, color=REFERENCE, lw=0.9, ls="--", zorder=0)
    axis.set_yticks(range(len(table.rows)), table.rows)
    axis.set_ylim(len(table.rows) - 0.5, -0.5)
    heading = f"{block}: {title(*column)}" if table.by else title(*column)
    axis.set_title(heading + (", %" if percent else ""), fontsize=9, loc="left")
    axis.tick_params(labelsize=8, length=0)
    axis.grid(axis="x", alpha=0.3, lw=0.6)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _point(axis: Any, cell: Cell, place: int, scale: int, is_reference: bool) -> None:
    if cell.value is None:
        return
    tone = REFERENCE if is_reference else TONE
    if cell.low is not None and cell.high is not None:
        axis.plot([scale * cell.low, scale * cell.high], [place, place], color=tone, lw=1.4)
    differs = cell.difference is not None and cell.difference.p_holm < LEVEL
    axis.plot(scale * cell.value, place, "o", color=tone, mfc=tone if differs or is_reference else "white", ms=6)
