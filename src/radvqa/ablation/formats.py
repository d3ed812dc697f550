"""A table as text: Markdown, LaTeX, HTML, CSV, and on the screen.

In: a Table. Out: table.md, table.tex, table.html (opens without a server or a network), table.png and table.csv (a line a
cell, with everything that is known of it) in a folder.

    write(table, Path("runs/ablation/table"), shape="interval")

Shapes: `interval` gives the value with its 95 % interval, in percent where only right and wrong come out; `paper` what the
founding paper prints, right answers of all (k/n) and mean ± one standard deviation over the answers, with the baseline's
in brackets.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape as bare
from rich.table import Table as Screened

from radvqa.ablation.figure import draw
from radvqa.ablation.rows import Row
from radvqa.ablation.table import LEVEL, Cell, Table, title
from radvqa.errors import InputError
from radvqa.tree import one_of

SHAPES = ("interval", "paper")
NOTHING = "–"
MARK = "*"


def check(rows: Sequence[Row], shape: str, baseline: str | None) -> None:
    """InputError for a shape or a baseline that is not there."""
    if shape not in SHAPES:
        raise InputError(f"found {shape!r}", key="--shape", fix=one_of(shape, SHAPES))
    names = [row.name for row in rows]
    if baseline is not None and baseline not in names:
        raise InputError(f"found {baseline!r}", key="--baseline", fix=one_of(baseline, names))


def write(table: Table, folder: Path, *, shape: str = "interval", baseline: str | None = None) -> None:
    """Every format into a folder. baseline: a row that is printed in brackets in the cells of the others."""
    lines = _lines(table, shape, baseline)
    (folder / "table.md").write_text(markdown(table, lines), encoding="utf-8")
    (folder / "table.tex").write_text(latex(table, lines), encoding="utf-8")
    (folder / "table.html").write_text(html(table, lines, draw(table, folder / "table.png")), encoding="utf-8")
    (folder / "table.csv").write_text(as_csv(table), encoding="utf-8")


# ---------------------------------------------------------------- cells and notes


def shown(cell: Cell, shape: str) -> str:
    """The text of a cell, without its mark."""
    if cell.value is None:
        return NOTHING
    if shape == "paper":
        if cell.num_right is not None:
            return f"{cell.num_right}/{cell.n}"
        return f"{cell.value:.3f} ± {cell.sd:.3f}" if cell.sd is not None else f"{cell.value:.3f}"
    percent = cell.num_right is not None
    write: Callable[[float], str] = (lambda x: f"{100 * x:.1f}") if percent else (lambda x: f"{x:.3f}")
    return write(cell.value) + (
        f" [{write(cell.low)}, {write(cell.high)}]" if cell.low is not None and cell.high is not None else ""
    )


def _lines(table: Table, shape: str, baseline: str | None) -> list[tuple[str, str, str, list[str]]]:
    """(block, row, n, cells) of every line of the table."""
    found = []
    for block in table.blocks:
        for row in (name for name in table.rows if name != baseline):
            cells = [table.cell(block, row, column) for column in table.columns]
            texts = []
            for cell, column in zip(cells, table.columns):
                beside = f" ({shown(table.cell(block, baseline, column), shape)})" if baseline else ""
                marked = cell.difference is not None and cell.difference.p_holm < LEVEL
                texts.append(shown(cell, shape) + (MARK if marked else "") + beside)
            found.append((block, row, f"{max(cell.n for cell in cells):,}", texts))
    return found


def headings(table: Table, shape: str = "interval") -> list[str]:
    """The first line."""
    by = [table.by] if table.by else []
    return [*by, "", "n", *(title(*column) for column in table.columns)]


def notes(table: Table) -> list[str]:
    """What a reader must know beside the numbers."""
    found = ["; ".join(table.notes) + ". n: the most questions that a column of the line is scored on."]
    found.append("Intervals: 95 %, cluster bootstrap by image. Accuracies in %.")
    if table.tests:
        found.append(
            f"{MARK} differs from {table.reference}: paired sign-flip test by image, p < {LEVEL:g} after Holm's "
            f"correction over the {len(table.tests)} tests of this table. Tests and intervals are about other questions "
            "for these runs, not about other seeds."
        )
    return found


def differences(table: Table) -> list[list[str]]:
    """A line a test: block, row, metric, n, difference with its interval, p, p after Holm, p of McNemar."""
    lines = []
    for cell in table.tests:
        one = cell.difference
        assert one is not None
        span = f" [{one.low:+.3f}, {one.high:+.3f}]" if one.low is not None and one.high is not None else ""
        block = [cell.block] if table.by else []
        p_mcnemar = NOTHING if one.p_mcnemar is None else _p(one.p_mcnemar)
        measured = [f"{one.n:,}", f"{one.value:+.3f}{span}", _p(one.p), _p(one.p_holm), p_mcnemar]
        lines.append([*block, cell.row, title(cell.metric), *measured])
    return lines


def difference_headings(table: Table) -> list[str]:
    """The first line of the table of tests."""
    by = [table.by] if table.by else []
    return [*by, "", "metric", "n", f"minus {table.reference}", "p", "p (Holm)", "p (McNemar)"]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


# ---------------------------------------------------------------- Markdown and LaTeX


def markdown(table: Table, lines: Sequence[tuple[str, str, str, list[str]]]) -> str:
    """Two tables: the values, and the tests behind the marks."""
    rows = [[*([block] if table.by else []), row, n, *texts] for block, row, n, texts in lines]
    parts = [_markdown(headings(table), rows), "\n\n".join(note.replace(MARK, "\\*", 1) for note in notes(table))]
    if table.tests:
        parts.append(_markdown(difference_headings(table), differences(table)))
    return "\n\n".join(parts) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in cells) + " |"

    return "\n".join([line(head), "|" + " --- |" * len(head), *map(line, rows)])


SPECIAL = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "·": r"$\cdot$", "~": r"\textasciitilde{}"}
SPECIAL |= {sign: "\\" + sign for sign in "&%$#_{}"} | {"^": r"\textasciicircum{}", "*": "$^*$", "<": "$<$"}


def _tex(text: str) -> str:
    return "".join(SPECIAL.get(sign, sign) for sign in text)


def latex(table: Table, lines: Sequence[tuple[str, str, str, list[str]]]) -> str:
    """A tabular with booktabs rules, the notes below it."""
    head = headings(table)
    words = len(head) - 1 - len(table.columns)
    body, last = [], None
    for block, row, n, texts in lines:
        if last is not None and block != last:
            body.append(r"\midrule")
        block_cell = [block if block != last else ""] if table.by else []
        body.append(" & ".join(_tex(text) for text in [*block_cell, row, n, *texts]) + r" \\")
        last = block
    return "\n".join(
        [
            r"\begin{tabular}{" + "l" * words + "r" * (1 + len(table.columns)) + "}",
            r"\toprule",
            " & ".join(_tex(text) for text in head) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(f"% {note}" for note in notes(table)),
            "",
        ]
    )


# ---------------------------------------------------------------- HTML


STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:82rem;padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0;display:block;overflow-x:auto}
th,td{padding:.35rem .7rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}th[scope=row],
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid #888;vertical-align:bottom}
tr.first td,tr.first th{border-top:2px solid #8888}p{max-width:60rem}h1{font-size:1.4rem}h2{font-size:1.1rem}
.note{color:#777}.drawn{max-width:100%;background:#fff;border-radius:4px}section.question{display:flex;gap:1rem;padding:.8rem 0;border-top:1px solid #8884}
.question img{width:160px;height:160px;object-fit:contain;background:#000}dl{display:grid;margin:.3rem 0;
grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:#777}dd{margin:0}
"""


def page(heading: str, body: Sequence[str]) -> str:
    """A page that stands alone."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(heading)}</title><style>{STYLE}</style></head>\n<body><h1>{escape(heading)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], breaks: Sequence[int] = ()) -> str:
    """A table of plain texts; breaks: lines with a rule above them."""
    cells = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = []
    for place, row in enumerate(rows):
        first = ' class="first"' if place in breaks else ""
        tds = "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        body.append(f'<tr{first}><th scope="row">{escape(row[0])}</th>{tds}</tr>')
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def html(table: Table, lines: Sequence[tuple[str, str, str, list[str]]], picture: Path) -> str:
    """The page: the picture, values, notes, tests."""
    rows = [[*([block] if table.by else []), row, n, *texts] for block, row, n, texts in lines]
    breaks = [place for place in range(1, len(lines)) if lines[place][0] != lines[place - 1][0]]
    drawn = base64.b64encode(picture.read_bytes()).decode()
    said = "Every run in every column, with 95 % intervals; the numbers are in the table below"
    body = [f'<img class="drawn" alt="{said}" src="data:image/png;base64,{drawn}">']
    body += [html_table(headings(table), rows, breaks)]
    body += [f'<p class="note">{escape(note)}</p>' for note in notes(table)]
    if table.tests:
        body += [f"<h2>Differences from {escape(str(table.reference))}</h2>"]
        body += [html_table(difference_headings(table), differences(table))]
    return page("Runs side by side", body)


# ---------------------------------------------------------------- CSV and screen


def as_csv(table: Table) -> str:
    """A line a cell; numbers in full."""
    names = ("block", "row", "metric", "control", "n", "num_clusters", "num_unscored", "value", "low", "high", "sd")
    tests = ("value", "low", "high", "p", "p_holm", "p_mcnemar", "n")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "num_right", "reference", *(f"difference_{name}" for name in tests)])
    for cell in table.cells:
        one = cell.difference
        tested = [table.reference, *(getattr(one, name) for name in tests)] if one else [""] * (1 + len(tests))
        writer.writerow([*(getattr(cell, name) for name in names), cell.num_right, *tested])
    return text.getvalue()


def on_screen(table: Table, shape: str = "interval", baseline: str | None = None) -> Any:
    """The table for a console, which is narrow: a line a metric, a column a run."""
    screened = Screened(box=SIMPLE_HEAD)
    for name in (*([table.by] if table.by else []), "", *table.rows):
        if name != baseline:
            screened.add_column(bare(name), overflow="fold")
    lines = _lines(table, shape, baseline)
    for block in table.blocks:
        texts = [line[3] for line in lines if line[0] == block]
        for place, column in enumerate(table.columns):
            cells = [bare(some[place]) for some in texts]
            screened.add_row(*([bare(block)] if table.by else []), bare(title(*column)), *cells)
        screened.add_section()
    return screened
