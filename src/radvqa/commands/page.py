"""The page of a run: `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import verb


@verb("report")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page; RUN/report.html unless given.")] = None,
) -> None:
    """Write the page of a run folder, finished or not."""
    from radvqa.report import write_report

    typer.echo(str(write_report(run, out or run / "report.html")))
