"""Scores: `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import verb

Predictions = Annotated[
    list[Path] | None, typer.Argument(metavar="PREDICTIONS", help="Folders of predictions, or Parquet files.")
]


@verb("score")
def score(
    predictions: Predictions = None,
    out: Annotated[Path, typer.Option("--out", help="The folder to write scores.parquet and scores.json into.")] = Path(
        "scores"
    ),
    answers: Annotated[
        list[str] | None,
        typer.Option("--answers", metavar="[NAME=]FILE", help="Answers of any model; give it again for each file."),
    ] = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option("--corpus", help="Corpora: what --answers answers, and whose train split the majority may know."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="The split --answers answers.")] = "test",
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Only this metric, or an extra one; again for each.")
    ] = None,
    cluster: Annotated[str, typer.Option("--cluster", help="What intervals are by: image or subject.")] = "image",
    draws: Annotated[int, typer.Option("--draws", help="Bootstrap draws behind each interval.")] = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Score predictions, or the answers of any model: every metric with its interval, controls and runs side by side."""
    from radvqa.score import read_answers, score_answers, write_scores

    settings: dict[str, Any] = {"metrics": metric, "cluster": cluster, "num_draws": draws, "seed": seed}
    if answers:
        read = [read_answers(file, corpus or (), name=name, split=split) for name, file in map(_named, answers)]
        found = score_answers(read, out, predictions=predictions or (), corpora=corpus or (), **settings)
    else:
        found = write_scores(predictions or (), out, corpora=corpus or (), **settings)
    _print(found, out)


def _named(text: str) -> tuple[str, Path]:
    """NAME=FILE; the file's own name where none is given. A file whose name holds "=" is a file."""
    name, _, file = text.partition("=")
    return (name, Path(file)) if file and not Path(text).exists() else (Path(text).stem, Path(text))


def _print(found: dict[str, Any], out: Path) -> None:
    """What a reader must know first, the scores, the other warnings, and where the rest is."""
    from rich.console import Console

    from radvqa.score.printed import metric_table, power_lines
    from radvqa.screen import score_table

    for line in found["blind"]:
        typer.echo(f"warning: {line}")
    console = Console()
    for table in (score_table(found), metric_table(found)):
        if table.row_count:
            console.print(table)
    for line in power_lines(found):
        typer.echo(line)
    for line in found["warnings"][len(found["blind"]) :]:
        typer.echo(f"warning: {line}")
    typer.echo(f"all scores: {out / 'scores.json'}")
