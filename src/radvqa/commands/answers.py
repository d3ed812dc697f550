"""Answers: `predict` and `ask`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import (
    AdapterPath,
    BaseUrl,
    CallsFile,
    Choices,
    Concurrency,
    Image,
    ModelName,
    Question,
    verb,
)
from radvqa.errors import InputError

ENGINES = ("local", "openai")


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
    engine: Annotated[str, typer.Option("--engine", help="local, or openai: any OpenAI-compatible server.")] = "local",
    base_url: BaseUrl = None,
    calls: CallsFile = None,
    concurrency: Concurrency = 8,
    instruction: Annotated[
        str | None, typer.Option("--instruction", help="What a served model is told below each question.")
    ] = None,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Ask the server for log-probabilities.")] = False,
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Answer the questions of corpora, with probabilities; by a local model or by any served one."""
    sources = sources_of(corpora, split, max_samples, seed)
    about = {"model": model, "control": control, "split": split, "max_samples": max_samples, "seed": seed}
    about |= {"max_new_tokens": max_new_tokens}
    if checked_engine(engine, base_url, adapter) == "openai":
        arm = arm or model.rpartition("/")[2]
        server = {"base_url": base_url, "calls": calls, "concurrency": concurrency}
        _served(corpora, sources, out, arm, about, server, instruction, logprobs)
    else:
        arm = arm or ("adapted" if adapter else "base")
        _local(corpora, sources, out, arm, about, adapter, batch_size)
    typer.echo(f"{sum(len(samples) for _, samples in sources):,} answers in {out / 'predictions.parquet'}")


def sources_of(corpora: Sequence[Path], split: str, max_samples: int | None, seed: int) -> list[tuple[Any, list[Any]]]:
    """Each corpus with its samples of a split. Raises InputError where there are none."""
    from radvqa.mix import capped
    from radvqa.sample import SPLITS, Corpus
    from radvqa.tree import one_of

    if split not in SPLITS:
        raise InputError(f"found {split!r}", key="--split", fix=one_of(split, SPLITS))
    sources = []
    for folder in corpora:
        samples = list(Corpus(folder).samples(split=split))
        if not samples:
            raise InputError(f"no questions in split {split}", file=folder, key="--split")
        sources.append((Corpus(folder), [samples[row] for row in capped(len(samples), max_samples, seed)]))
    return sources


def checked_engine(engine: str, base_url: str | None, adapter: Path | None) -> str:
    """The engine. Raises InputError for an unknown one, and for options that go with another."""
    from radvqa.tree import one_of

    if engine not in ENGINES:
        raise InputError(f"found {engine!r}", key="--engine", fix=one_of(engine, ENGINES))
    if engine == "openai" and base_url is None:
        raise InputError("a served model needs its address", key="--base-url", fix="e.g. http://localhost:11434/v1")
    if engine == "openai" and adapter is not None:
        raise InputError("a server loads its own adapter", key="--adapter", fix="leave it out")
    if engine == "local" and base_url is not None:
        raise InputError("only a served model has an address", key="--base-url", fix="add --engine openai")
    return engine


def _local(
    corpora: Sequence[Path],
    sources: list[tuple[Any, list[Any]]],
    out: Path,
    arm: str,
    about: dict[str, Any],
    adapter: Path | None,
    batch_size: int,
) -> None:
    from radvqa.predict import predict_arm
    from radvqa.screen import Screen
    from radvqa.stage import path_hash, writing

    inputs = {str(folder): path_hash(folder, content=True) for folder in (*corpora, *([adapter] if adapter else []))}
    with Screen().doing(arm) as tell, writing(out, {**about, "arm": arm}, inputs) as partial:
        predict_arm(
            model_name=about["model"],
            adapter=adapter,
            sources=sources,
            arm=arm,
            control=about["control"],
            folder=partial,
            batch_size=batch_size,
            max_new_tokens=about["max_new_tokens"],
            seed=about["seed"],
            progress=lambda done, total: tell(done, total, "questions"),
        )


def _served(
    corpora: Sequence[Path],
    sources: list[tuple[Any, list[Any]]],
    out: Path,
    arm: str,
    about: dict[str, Any],
    server: dict[str, Any],
    instruction: str | None,
    logprobs: bool,
) -> None:
    from radvqa.calls import Calls
    from radvqa.prompt import BRIEFLY
    from radvqa.screen import Screen
    from radvqa.served import predict_served
    from radvqa.stage import path_hash, writing

    store = server["calls"] or out.parent / "calls.sqlite"
    told = BRIEFLY if instruction is None else instruction
    inputs = {str(folder): path_hash(folder, content=True) for folder in corpora}
    config = {**about, "arm": arm, "engine": "openai", "base_url": server["base_url"], "instruction": told}
    with (
        Calls(store, server["base_url"], about["model"], concurrency=server["concurrency"]) as calls,
        Screen().doing(arm) as tell,
        writing(out, {**config, "logprobs": logprobs}, inputs) as partial,
    ):
        _, failed = predict_served(
            calls,
            sources=sources,
            arm=arm,
            control=about["control"],
            folder=partial,
            max_new_tokens=about["max_new_tokens"],
            logprobs=logprobs,
            instruction=told,
            seed=about["seed"],
            progress=lambda done, total: tell(done, total, "questions"),
        )
    typer.echo(calls.account())
    for line in failed[:5]:
        typer.echo(f"warning: no answer to {line}")
    if failed:
        typer.echo(f"warning: {len(failed)} questions have no answer and will be unscored; the same command asks again")


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
