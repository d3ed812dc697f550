"""Where the model looked: `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import AdapterPath, Image, ModelName, Question, verb


@verb("explain")
def explain(
    image: Image,
    question: Question,
    out: Annotated[Path, typer.Option("--out", help="The picture to write.")] = Path("why.png"),
    method: Annotated[str, typer.Option("--method", help="rollout or raw.")] = "rollout",
    model: ModelName = "radvqa-tiny",
    adapter: AdapterPath = None,
) -> None:
    """Show where the model looked for its answer about one picture."""
    from radvqa.model import load

    load(model, adapter).explain(image, question, method=method).save(out)
    typer.echo(str(out))
