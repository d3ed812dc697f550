"""Whole runs: `run`, `train` and `plan`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import Changes, RecipeFile, verb
from radvqa.errors import InputError


@verb("run")
def run(
    recipe: RecipeFile,
    changes: Changes = None,
    model: Annotated[str | None, typer.Option("--model", help="Short for model.name=...")] = None,
    redo: Annotated[list[str] | None, typer.Option("--redo", help="A step to do again, e.g. scores.")] = None,
) -> None:
    """Walk a recipe, or every arm of a study, from data to report; what is finished is skipped, what was cut goes on."""
    _walk(recipe, [*(changes or ()), *([f"model.name={model}"] if model else [])], redo=redo or ())


@verb("train")
def train(recipe: RecipeFile, changes: Changes = None) -> None:
    """Import and train only: a run up to its last adapter."""
    _walk(recipe, changes or (), until="train")


@verb("plan")
def plan(
    recipe: RecipeFile,
    changes: Changes = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What training a recipe will cost: parameters, tokens, operations, memory and time; nothing is loaded."""
    from dataclasses import asdict

    from radvqa.plan import ANSWER_TOKENS, SPEED, TEXT_TOKENS, plans
    from radvqa.recipe import load

    found = list(plans(load(recipe, changes or ())))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        typer.echo("\n".join(one.lines()))
    typer.echo(
        f"Assumed: {TEXT_TOKENS} text tokens a question, {ANSWER_TOKENS} of them supervised; {SPEED:.0%} of the speed of "
        "large matrix products, measured now."
    )


def _walk(file: Path, changes: Sequence[str], **more: Any) -> None:
    from radvqa.ablation.study import load_study, run_study
    from radvqa.pipeline import run
    from radvqa.recipe import load
    from radvqa.together import follow, follows, leading

    if follows():
        follow()
        return
    try:
        with leading():
            study = load_study(file, changes)
            if study is not None:
                run_study(study, **more)
            else:
                run(load(file, changes), **more)
    except InputError as error:
        if error.file is None and error.key is not None:
            raise InputError(error.found, file=file, row=error.row, key=error.key, fix=error.fix) from error
        raise
