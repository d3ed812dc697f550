"""Where the model looked: `explain`, for one picture and for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import AdapterPath, Choices, ModelName, verb
from radvqa.errors import InputError


@verb("explain")
def explain(
    what: Annotated[Path, typer.Argument(metavar="RUN|IMAGE", help="A finished run folder, or a picture.")],
    question: Annotated[str | None, typer.Argument(metavar="[QUESTION]", help="What is asked about a picture.")] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", "--method", help="Names, separated by commas; all: every quick one.")
    ] = None,
    sample: Annotated[int, typer.Option("--sample", help="Right answers of a run to measure the methods on.")] = 200,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="Of a run, only such questions, e.g. topic=finding; repeat it.")
    ] = None,
    redo: Annotated[bool, typer.Option("--redo", help="Measure a run again although nothing changed.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Of a picture, the figure to write.")] = Path("why.png"),
    answer: Annotated[str | None, typer.Option("--answer", help="The answer to explain; else the model's own.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="What speaks for the answer and not for this.")
    ] = None,
    quantity: Annotated[str, typer.Option("--quantity", help="logit, logprob or likelihood of the answer.")] = "logit",
    choice: Choices = None,
    drop_sinks: Annotated[bool, typer.Option("--drop-sinks", help="Take out what draws attention always.")] = False,
    model: ModelName = "radvqa-tiny",
    adapter: AdapterPath = None,
) -> None:
    """Show where the model looked: for one answer about a picture, or over a run with a ranking of the methods."""
    if what.is_dir():
        if question is not None:
            raise InputError(
                "a run and a question", key="QUESTION", fix="give a picture with a question, or a run alone"
            )
        if answer or against or choice or drop_sinks or adapter:
            given = "--answer, --against, --choice, --drop-sinks and --adapter"
            raise InputError(f"{given} are for a picture", file=what, fix="leave them out: a run has its own answers")
        _explain_run(what, methods, sample, where or (), redo)
        return
    if question is None:
        raise InputError("a picture without a question", file=what, fix="say what is asked, or give a run folder")
    from radvqa.model import load
    from radvqa.saliency.turn import Target

    asked = _names(methods, "rollout")
    target = Target(against=against, quantity=quantity)
    loaded = load(model, adapter)
    for name in asked:
        path = out if len(asked) == 1 else out.with_name(f"{out.stem}-{name}{out.suffix or '.png'}")
        found = loaded.explain(
            what, question, answer=answer, choices=choice or (), method=name, target=target, drop_sinks=drop_sinks
        )
        found.save(path)
        typer.echo(f"{path}  {found.method}: {found.answer or '(empty)'}")


def _names(methods: str | None, default: str) -> list[str]:
    """The methods named, or the default. Raises InputError for one that does not exist."""
    from radvqa.saliency import METHODS, SLOW, method_named

    if methods == "all":
        return [name for name in METHODS if name not in SLOW]
    names = [name.strip() for name in (methods or default).split(",") if name.strip()]
    for name in names:
        method_named(name)
    return list(dict.fromkeys(names))


def _explain_run(run: Path, methods: str | None, sample: int, where: Any, redo: bool) -> None:
    import json

    from rich.console import Console

    from radvqa.pipeline import add_steps
    from radvqa.recipe import load
    from radvqa.saliency.words import ranking_table, said

    file = run / "recipe.yaml"
    if not file.is_file():
        raise InputError("no recipe.yaml here, so this is no run", file=run, fix="give the folder `radvqa run` wrote")
    changes = [f"out={run}", f"explain.methods=[{', '.join(_names(methods, 'all'))}]", f"explain.sample={sample}"]
    recipe = load(file, [*changes, *(f"explain.where.{one}" for one in where)])
    add_steps(recipe, ("saliency", "report"), redo=("saliency",) if redo else ())
    console = Console(highlight=False)
    ranking = json.loads((run / "saliency" / "ranking.json").read_text())
    console.print(ranking_table(ranking))
    console.print(said(ranking), soft_wrap=True)
    typer.echo(f"maps and tables: {run / 'saliency'}; the page: {run / 'report.html'}")
