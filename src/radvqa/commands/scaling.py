"""Scaling law: `scaling fit`, `scaling reach` and `scaling run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radvqa.commands import Changes, RecipeFile, group, verb
from radvqa.errors import InputError

if TYPE_CHECKING:
    from radvqa.scaling import Fit, HeldOut

scaling = group("scaling", "The scaling law L(X, D) = A / (X^alpha D^beta) + E: measure it, fit it, ask it.")


@verb("fit", scaling)
def fit(
    points: Annotated[
        Path, typer.Argument(metavar="POINTS", help="A table with columns loss, data and, if any, model.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to write fit.json and fit.png into.")],
    form: Annotated[str | None, typer.Option("--form", help="data, model, joint or additive; by what varies.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="A law for each value of this column, e.g. topic.")] = None,
    loss: Annotated[str, typer.Option("--loss", help="The column of the loss.")] = "loss",
    data: Annotated[str, typer.Option("--data", help="The column of D.")] = "data",
    model: Annotated[str | None, typer.Option("--model", help="The column of X.")] = None,
    until_lowest: Annotated[
        bool, typer.Option("--until-lowest", help="Curves of single runs: leave out what comes after the lowest loss.")
    ] = False,
    together: Annotated[bool, typer.Option("--together", help="All laws in one panel of the plot.")] = False,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws behind each interval.")] = 1000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Fit the law to the losses of many runs: parameters with intervals, held-out error, plot."""
    from radvqa.scaling import read_points
    from radvqa.scaling.study import write_fits
    from radvqa.stage import path_hash

    groups = read_points(points, loss=loss, data=data, model=model, by=by)
    fits, held = write_fits(
        groups,
        out,
        inputs={str(points): path_hash(points)},
        form=form,
        until_lowest=until_lowest,
        together=together,
        num_draws=draws,
        seed=seed,
        x_label=data if data != "data" else None,
    )
    for one, left in zip(fits, held):
        typer.echo(told(one, left))
    typer.echo(f"all numbers: {out / 'fit.json'}; the plot: {out / 'fit.png'}")


def told(fit: Fit, held: HeldOut | None) -> str:
    """A law in a few lines."""
    lines = [f"{fit.group}: {fit.form.text}, {len(fit.points)} points"]
    for name in fit.form.parameters:
        low, high = fit.interval(name)
        lines.append(f"  {name:<6} {fit.value(name):<10.4g} {100 * fit.level:.0f} % interval {low:.4g} to {high:.4g}")
    if held is not None:
        lines.append(
            f"  held out: at D = {held.at:g} ({held.n}) the law of the rest is {100 * held.error:.1f} % off, "
            f"the last loss carried forward {100 * held.carried:.1f} %"
        )
    return "\n".join(lines + [f"  warning: {warning}" for warning in fit.warnings])


@verb("reach", scaling)
def reach(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="A folder with fit.json, or the file.")],
    target: Annotated[float, typer.Argument(metavar="LOSS", help="The loss that is wanted.")],
    group: Annotated[str | None, typer.Option("--group", help="Which law, where there are several.")] = None,
    model: Annotated[float | None, typer.Option("--model", help="X, for laws that have it.")] = None,
) -> None:
    """Say how much data a target loss needs, or that no amount is enough, and why."""
    from radvqa.scaling import reach

    found = reach(read_fit(fit, group), target, model=model)
    high = f"{found.high:,.4g}" if found.high != float("inf") else "no limit"
    typer.echo(f"D = {found.data:,.4g} (interval {found.low:,.4g} to {high}) for a loss of {target:g}")
    if found.beyond > 1:
        typer.echo(f"warning: that is {found.beyond:.3g} times the most that was measured")
    if found.never > 0:
        typer.echo(f"warning: in {100 * found.never:.0f} % of the draws the floor is not below {target:g}")


def read_fit(path: Path, group: str | None) -> Any:
    """The law of a group from fit.json. Raises InputError with the groups there are."""
    from radvqa.scaling.estimate import from_summary
    from radvqa.tree import one_of

    file = path / "fit.json" if path.is_dir() else path
    try:
        laws = {law["group"]: law for law in json.loads(file.read_text())["laws"]}
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=file, fix="make it with `scaling fit`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("is no fit.json", file=file, fix="make it with `scaling fit`") from error
    if group is None and len(laws) > 1:
        raise InputError("there are several laws", file=file, key="--group", fix="choose " + ", ".join(laws))
    name = group or next(iter(laws))
    if name not in laws:
        raise InputError(f"found {name!r}", file=file, key="--group", fix=one_of(name, list(laws)))
    return from_summary(laws[name])


@verb("run", scaling)
def run(recipe: RecipeFile, changes: Changes = None) -> None:
    """Make a recipe's grid of runs (data shares x ranks x seeds), measure their losses and fit the law."""
    from radvqa.recipe import load
    from radvqa.scaling.grid import run_grid

    loaded = load(recipe, changes or ())
    try:
        fits, held = run_grid(loaded)
    except InputError as error:
        if error.file is None and error.key is not None:
            raise InputError(error.found, file=recipe, row=error.row, key=error.key, fix=error.fix) from error
        raise
    for one, left in zip(fits, held):
        typer.echo(told(one, left))
    typer.echo(f"the points: {loaded.out / 'points.csv'}; the laws: {loaded.out / 'law'}")
