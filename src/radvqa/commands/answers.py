"""Answers: `predict` and `ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radvqa.commands import AdapterPath, Choices, Image, ModelName, Question, verb
from radvqa.errors import InputError


@verb("predict")
def predict(
    corpora: Annotated[list[Path], typer.Argument(metavar="CORPUS", help="Corpus folders.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write predictions.parquet into.")],
    model: ModelName = "radvqa-tiny",
    adapter: AdapterPath = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    control: Annotated[str, typer.Option("--control", help="none, blank or shuffled pictures.")] = "none",
    arm: Annotated[str | None, typer.Option("--arm", help="What the answers are reported under.")] = None,
    max_samples: Annotated[int | None, typer.Option("--max-samples", help="At most so many a corpus.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Questions answered at once.")] = 16,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Longest answer.")] = 32,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Answer the questions of corpora, with probabilities."""
    from radvqa.mix import capped
    from radvqa.predict import predict_arm
    from radvqa.sample import SPLITS, Corpus
    from radvqa.screen import Screen
    from radvqa.stage import path_hash, writing
    from radvqa.tree import one_of

    if split not in SPLITS:
        raise InputError(f"found {split!r}", key="--split", fix=one_of(split, SPLITS))
    arm = arm or ("adapted" if adapter else "base")
    sources = []
    for folder in corpora:
        samples = list(Corpus(folder).samples(split=split))
        if not samples:
            raise InputError(f"no questions in split {split}", file=folder, key="--split")
        sources.append((Corpus(folder), [samples[row] for row in capped(len(samples), max_samples, seed)]))
    settings = {"model": model, "arm": arm, "control": control, "split": split, "max_samples": max_samples}
    settings |= {"max_new_tokens": max_new_tokens, "seed": seed}
    inputs = {str(folder): path_hash(folder, content=True) for folder in (*corpora, *([adapter] if adapter else []))}
    with Screen().doing(arm) as tell, writing(out, settings, inputs) as partial:
        predict_arm(
            model_name=model,
            adapter=adapter,
            sources=sources,
            arm=arm,
            control=control,
            folder=partial,
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            seed=seed,
            progress=lambda done, total: tell(done, total, "questions"),
        )
    typer.echo(f"{sum(len(samples) for _, samples in sources):,} answers in {out / 'predictions.parquet'}")


@verb("ask")
def ask(
    image: Image,
    question: Question,
    choice: Choices = None,
    model: ModelName = "radvqa-tiny",
    adapter: AdapterPath = None,
) -> None:
    """Ask one question about one picture."""
    from radvqa.model import load

    answer = load(model, adapter).answer(image, question, tuple(choice or ()))
    typer.echo(f"{answer.text}  (probability {answer.probability:.2f})")
