"""Runs side by side: `table`, `compare` and `annealing gain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import group, verb
from radvqa.errors import InputError

Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders, RUN:STAGE, or a study's folder.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="A column; give it again for each.")]
Draws = Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws behind each interval.")]


@verb("table")
def table(
    runs: Runs,
    out: Annotated[Path, typer.Option("--out", help="The folder to write table.md, .tex, .html and .csv into.")],
    metric: Metrics = None,
    by: Annotated[str | None, typer.Option("--by", help="A block for each kind, source, topic ...")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The row the others are tested against.")] = None,
    shape: Annotated[
        str, typer.Option("--shape", help="interval, or paper: k/n and mean ± SD, as the founding paper prints them.")
    ] = "interval",
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="A row printed in brackets in the cells of the others.")
    ] = None,
    draws: Draws = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Put runs side by side: a row a run, a column a metric, with intervals and paired tests."""
    from rich.console import Console

    from radvqa.ablation.formats import notes, on_screen
    from radvqa.ablation.table import write_table

    made = write_table(
        runs,
        out,
        shape=shape,
        baseline=baseline,
        metrics=tuple(metric or ()),
        by=by,
        reference=reference,
        draws=draws,
        seed=seed,
    )
    Console().print(on_screen(made, shape, baseline))
    for note in notes(made):
        typer.echo(note)
    typer.echo(f"in {out}: table.md, table.tex, table.html, table.csv, table.png")


@verb("compare")
def compare(
    a: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or RUN:STAGE.")],
    b: Annotated[str, typer.Argument(metavar="RUN", help="Another, or another stage of the same.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write compare.html, .json and .csv into.")],
    metric: Annotated[str | None, typer.Option("--metric", help="One score for all kinds of questions.")] = None,
    draws: Draws = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Show where two runs differ, question by question."""
    from radvqa.ablation.differences import compare_rows, said, write_comparison
    from radvqa.ablation.rows import read_rows

    rows = read_rows([a, b])
    if len(rows) != 2:
        raise InputError("one of these is a study", key="RUN", fix="name one of its arms, e.g. runs/study/arm")
    found = compare_rows(*rows, metric=metric, draws=draws, seed=seed)
    write_comparison(found, out)
    for line in said(found):
        typer.echo(line)
    typer.echo(f"the questions: {out / 'compare.html'}")


annealing = group("annealing", "What annealing gains.")


@verb("gain", annealing)
def gain(
    pairs: Annotated[
        list[str],
        typer.Argument(metavar="PLAIN ANNEALED...", help="Runs in pairs; or two laws, FIT:GROUP, to compare floors."),
    ],
    metric: Metrics = None,
    draws: Draws = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Say what annealing gains, with its interval, from paired arms."""
    if len(pairs) % 2:
        raise InputError(f"{len(pairs)} runs are no pairs", key="PLAIN ANNEALED", fix="give plain, annealed, plain ...")
    if len(pairs) == 2 and all(is_law(place) for place in pairs):
        typer.echo(_floors(*pairs))
        return
    from radvqa.ablation.gain import gains
    from radvqa.ablation.rows import read_rows
    from radvqa.ablation.table import title

    rows = read_rows(pairs)
    if len(rows) != len(pairs):
        raise InputError("one of these is a study", key="PLAIN ANNEALED", fix="name its arms, e.g. runs/study/arm")
    found = gains(list(zip(rows[::2], rows[1::2])), metrics=metric or (), draws=draws, seed=seed)
    for one in found:
        span = f" [{one.low:+.3f}, {one.high:+.3f}]" if one.low is not None and one.high is not None else ""
        typer.echo(f"{title(one.metric):<26} {one.value:+.3f}{span}  p {one.p:.3f}, Holm {one.p_holm:.3f}  {one.pair}")
    if len(rows) == 2:
        typer.echo("one pair: the interval is about other questions for these two runs, not about other seeds")


def is_law(place: str) -> bool:
    """Whether a place is FIT:GROUP."""
    folder = Path(place.rpartition(":")[0] or place)
    return (folder / "fit.json").is_file()


def _floors(plain: str, annealed: str) -> str:
    from radvqa.ablation.gain import floor_gain
    from radvqa.commands.scaling import read_fit

    laws = []
    for place in (plain, annealed):
        folder, colon, name = place.rpartition(":")
        laws.append(read_fit(Path(folder if colon else place), name if colon else None))
    value, low, high = floor_gain(*laws)
    said = [f"{law.group}: E = {law.value('E'):.4g}" for law in laws]
    said.append(
        f"the annealed floor is {value:.4g} lower ({100 * laws[0].level:.0f} % interval {low:.4g} to {high:.4g})"
    )
    said += [f"warning, {law.group}: {warning}" for law in laws for warning in law.warnings]
    return "\n".join(said)
