"""A language model as judge: `judge`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import BaseUrl, CallsFile, Concurrency, verb
from radvqa.errors import InputError


@verb("judge")
def judge(
    predictions: Annotated[list[Path], typer.Argument(metavar="PREDICTIONS", help="Folders, or Parquet files.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write judge.parquet and judge.json into.")],
    model: Annotated[
        list[str], typer.Option("--model", metavar="NAME[@URL]", help="The judge; give it again for a second judge.")
    ],
    base_url: BaseUrl = None,
    ratings: Annotated[
        Path | None, typer.Option("--ratings", help="People's verdicts on some of the answers: id and rating.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="open, closed or choice only; all unless given.")
    ] = None,
    control: Annotated[list[str] | None, typer.Option("--control", help="Runs to judge; none unless given.")] = None,
    cluster: Annotated[str, typer.Option("--cluster", help="What intervals are by: image or subject.")] = "image",
    calls: CallsFile = None,
    concurrency: Concurrency = 8,
    draws: Annotated[int, typer.Option("--draws", help="Bootstrap draws behind each interval.")] = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Have served language models say of each answer whether it is right, and check them against people."""
    from radvqa.calls import Calls
    from radvqa.score.judged import judge_predictions
    from radvqa.screen import Screen

    store = calls or out.parent / "calls.sqlite"
    with ExitStack() as stack:
        judges = [
            stack.enter_context(Calls(store, url, name, concurrency=concurrency))
            for name, url in (_named(text, base_url) for text in model)
        ]
        tell = stack.enter_context(Screen().doing("judge"))
        found = judge_predictions(
            predictions,
            out,
            judges,
            ratings=ratings,
            kinds=kind or (),
            controls=control or ("none",),
            cluster=cluster,
            num_draws=draws,
            seed=seed,
            progress=lambda done, total: tell(done, total, "answers"),
        )
    _print(found, out)


def _named(text: str, base_url: str | None) -> tuple[str, str]:
    """NAME@URL, or NAME at --base-url."""
    name, _, url = text.partition("@")
    url = url or base_url or ""
    if not url:
        raise InputError(f"no address for the judge {name!r}", key="--base-url", fix="e.g. http://localhost:11434/v1")
    return name, url


def _print(found: dict[str, Any], out: Path) -> None:
    from radvqa.score.judged import agreement_lines

    for name, line in found["calls"].items():
        typer.echo(f"{name}: {line}")
    for row in found["table"]:
        if row["slice"] == {}:
            typer.echo(f"{row['arm']} / {row['control']}, judged by {row['judge']}: {_said(row)}")
    for line in agreement_lines(found):
        typer.echo(line)
    for row in found["calibration"]:
        if row["corrected"] is not None:
            bounds = _percent(row["corrected"], row["corrected_low"], row["corrected_high"])
            typer.echo(
                f"{row['arm']} / {row['control']}: people would say {bounds} by {row['num_rated']} rated answers; "
                f"{row['judge']} agrees with them on {100 * row['agreement']:.0f} %"
            )
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}")
    typer.echo(f"all verdicts: {out / 'judge.json'}")


def _said(row: dict[str, Any]) -> str:
    unscored = f", {row['num_unscored']} unscored" if row["num_unscored"] else ""
    return f"{row['k']}/{row['n']}, {_percent(row['value'], row['low'], row['high'])}; {row['partly']} partly{unscored}"


def _percent(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" + ("" if low is None or high is None else f" ({100 * low:.1f}-{100 * high:.1f})")
