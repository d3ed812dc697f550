"""Which answers to trust: `trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import Changes, verb
from radvqa.errors import InputError


@verb("trust")
def trust(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    changes: Changes = None,
    redo: Annotated[bool, typer.Option("--redo", help="Do it again although nothing changed.")] = False,
) -> None:
    """Say which answers of a run will be wrong, when to abstain, and which groups to keep the model away from.

    Changes are to the recipe's `trust` section, e.g. num_runs=10 or 'more=[{corpus: vqa_rad, split: validation}]'.
    """
    from rich.console import Console

    from radvqa.pipeline import add_steps
    from radvqa.recipe import load
    from radvqa.report.trust_words import summary

    file = run / "recipe.yaml"
    if not file.is_file():
        raise InputError("no recipe.yaml here, so this is no run", file=run, fix="give the folder `radvqa run` wrote")
    recipe = load(file, [f"out={run}", *(f"trust.{change}" for change in changes or ())])
    if recipe.trust is None:
        recipe = load(file, [f"out={run}", "trust={}"])
    add_steps(recipe, ("trust", "report"), redo=("trust",) if redo else ())
    console = Console(highlight=False)
    for line in summary(run / "trust"):
        console.print(line, soft_wrap=True)
    typer.echo(f"the page: {run / 'report.html'}")
