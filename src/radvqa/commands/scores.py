"""Scores: `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import verb


@verb("score")
def score(
    predictions: Annotated[list[Path], typer.Argument(metavar="PREDICTIONS", help="Folders or Parquet files.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write scores.parquet and scores.json into.")],
    corpus: Annotated[
        list[Path] | None, typer.Option("--corpus", help="Corpora whose train split the majority answer may know.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", help="Bootstrap draws behind each interval.")] = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Score predictions: every metric with its interval, controls and runs side by side."""
    from rich.console import Console

    from radvqa.score import write_scores
    from radvqa.screen import score_table

    found = write_scores(predictions, out, corpora=corpus or (), num_draws=draws, seed=seed)
    Console().print(score_table(found))
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}")
    typer.echo(f"all scores: {out / 'scores.json'}")
