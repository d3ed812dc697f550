"""What a run says while it walks: a line a step with its time, a bar while one is at work, the scores at the end.

In: what the pipeline tells. Out: lines on a console; on a terminal the step at work has a moving bar, elsewhere (a log
file) it says how far it is twice a minute.

    screen = Screen(); screen.begin("demo", Path("runs/demo"), 16)
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table

from radvqa.task import Tell

EVERY_S = 30.0
LOG_WIDTH = 120
"""Columns of a log file, which has no width of its own."""
METRIC = "closed_accuracy"


class Screen:
    """Tells one run to one console."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        if console is None and not self.console.is_terminal:
            self.console.width = LOG_WIDTH
        self.place, self.total, self.started = 0, 0, time.monotonic()

    def begin(self, name: str, folder: Path, num_steps: int) -> None:
        """The first line."""
        self.place, self.total, self.started = 0, num_steps, time.monotonic()
        self.console.print(f"[bold]{escape(name)}[/bold]: {num_steps} steps, in {escape(str(folder))}", soft_wrap=True)

    def say(self, text: str) -> None:
        """A remark of its own."""
        self.console.print(escape(text), soft_wrap=True)

    def skipped(self, name: str, record: Mapping[str, Any]) -> None:
        """A step that is finished and unchanged."""
        self._line("[dim]·[/dim]", name, f"[dim]unchanged since {record['finished']}[/dim]", "")

    def shared(self, name: str, twin: Path) -> None:
        """A step that another run has done already."""
        self._line("[dim]=[/dim]", name, f"[dim]the same as {escape(str(twin))}[/dim]", "")

    def done(self, name: str, said: str, record: Mapping[str, Any]) -> None:
        """A step that was done just now."""
        resumed = " (gone on from where it was cut)" if record.get("resumed") else ""
        self._line("[green]✓[/green]", name, escape(said) + resumed, span(record["wall_s"]))

    def _line(self, mark: str, name: str, said: str, took: str) -> None:
        self.place += 1
        number = f"{self.place:>{len(str(self.total))}}/{self.total}"
        self.console.print(f"{mark} {number}  [bold]{escape(name):<28}[/bold] {took:>8}  {said}", soft_wrap=True)

    @contextmanager
    def doing(self, name: str) -> Iterator[Tell]:
        """While a step is at work: call what is given with (done, total, note)."""
        if not self.console.is_terminal:
            yield self._lines(name)
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeElapsedColumn(), Remaining(), console=self.console, transient=True) as bar:
            task: list[TaskID] = []

            def tell(done: int, total: int, note: str) -> None:
                if not task:
                    task.append(bar.add_task(escape(name), total=total, note=note))
                bar.update(task[0], completed=done, total=total, note=escape(note))

            yield tell

    def _lines(self, name: str) -> Tell:
        last = time.monotonic()

        def tell(done: int, total: int, note: str) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY_S:
                last = time.monotonic()
                self.say(f"  {name}: {done} of {total}, {note}")

        return tell

    def end(self, folder: Path) -> None:
        """The scores and where the page is."""
        scores = folder / "scores" / "scores.json"
        if scores.is_file():
            self.console.print(score_table(json.loads(scores.read_text())))
        took = span(time.monotonic() - self.started)
        self.console.print(f"{took} in all; the report: {escape(str(folder / 'report.html'))}", soft_wrap=True)


def span(seconds: float) -> str:
    """Seconds in words: 3.2 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def score_table(scores: Mapping[str, Any]) -> Table:
    """Closed accuracy of every arm under every control, with the majority answer beside it.

    Of the questions of kind closed, or where there are none of all that closed accuracy applies to.
    """
    rows = [row for row in scores["metrics"] if row["metric"] == METRIC]
    where = {"kind": "closed"} if any(row["slice"] == {"kind": "closed"} for row in rows) else {}
    found = {(row["arm"], row["control"]): row for row in rows if row["slice"] == where}
    controls = list(dict.fromkeys(control for _, control in found))
    which = "yes/no questions, " if where else ""
    table = Table(
        title=f"{which}closed accuracy in %, with 95 % intervals",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
    )
    for name in ("", "n", *({"none": "full"}.get(control, control) for control in controls)):
        table.add_column(name, justify="right" if name else "left")
    for arm in dict.fromkeys(arm for arm, _ in found):
        cells = [found.get((arm, control)) for control in controls]
        table.add_row(escape(arm), str(max(cell["n"] for cell in cells if cell)), *map(percent, cells))
    for row in scores.get("majority", []):
        if row["slice"] == where and row.get("metric", METRIC) == METRIC:
            table.add_row("majority answer", str(row["n"]), percent(row))
    return table


def percent(row: Mapping[str, Any] | None) -> str:
    """A value with its interval."""
    if row is None or row["value"] is None:
        return "-"
    interval = "" if row["low"] is None else f" ({100 * row['low']:.1f}-{100 * row['high']:.1f})"
    return f"{100 * row['value']:.1f}{interval}"
