"""The command line: one short verb a room.

In: what was typed. Out: what the room does; exit code 0. A mistake in what was given ends with one message on stderr and
code 2, any other failure of the machine with code 1, Ctrl-C with 130, and nothing half-written under a final name.

    radvqa run recipes/demo.yaml adapt.rank=8 stages.stage2.lr=1e-4

Nothing heavy is imported here: each verb imports its own room when it is called.
"""

from __future__ import annotations

import errno
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.errors import InputError

app = typer.Typer(
    name="radvqa",
    help="Adapt a lightweight vision-language model to radiological visual question answering, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
debugging = False

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Changes = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to it, e.g. stages.stage2.lr=1e-4")
]
ModelName = Annotated[str, typer.Option("--model", help="radvqa-tiny, a hub id or a folder.")]
AdapterPath = Annotated[Path | None, typer.Option("--adapter", help="An adapter folder, e.g. runs/x/stage2/adapter.")]
Image = Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked about it.")]
Choices = Annotated[
    list[str] | None, typer.Option("--choice", help="An answer to choose from; give it again for each.")
]


def verb(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a verb whose failures become one message and an exit code."""

    def register(work: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(work)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                work(*args, **kwargs)
            except (InputError, OSError, KeyboardInterrupt, RuntimeError) as error:
                message, code = _said(error)
                if debugging or message is None:
                    raise
                typer.echo(message, err=True)
                raise typer.Exit(code) from None

        return app.command(name)(guarded)

    return register


def _said(error: BaseException) -> tuple[str | None, int]:
    """What is printed for an error and the exit code; None: not one we know, so the traceback is shown."""
    if isinstance(error, KeyboardInterrupt):
        return "\nstopped; the same command goes on from here", 130
    if is_disk_full(error):
        name = getattr(error, "filename", None)
        where = f" while writing {name}" if name else ""
        return f"error: the disk is full{where}; make room, and the same command goes on from here", 1
    if isinstance(error, InputError):
        return f"error: {error}", 2
    if isinstance(error, OSError):
        return f"error: {error}", 1
    if type(error).__name__ == "OutOfMemoryError":
        return "error: out of GPU memory; lower batch_size (and raise accumulation as much)", 1
    return None, 1


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is a full disk or quota; libraries wrap that in errors of their own."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"radvqa {version('radvqa')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    global debugging
    debugging = debug


# ---------------------------------------------------------------- whole runs


@verb("run")
def run(
    recipe: RecipeFile,
    changes: Changes = None,
    model: Annotated[str | None, typer.Option("--model", help="Short for model.name=...")] = None,
    redo: Annotated[list[str] | None, typer.Option("--redo", help="A step to do again, e.g. scores.")] = None,
) -> None:
    """Walk a recipe from data to report; what is finished and unchanged is skipped, what was cut goes on."""
    _walk(recipe, [*(changes or ()), *([f"model.name={model}"] if model else [])], redo=redo or ())


@verb("train")
def train(recipe: RecipeFile, changes: Changes = None) -> None:
    """Import and train only: a run up to its last adapter."""
    _walk(recipe, changes or (), until="train")


def _walk(file: Path, changes: Sequence[str], **more: Any) -> None:
    from radvqa.pipeline import run
    from radvqa.recipe import load

    try:
        run(load(file, changes), **more)
    except InputError as error:
        if error.file is None and error.key is not None:
            raise InputError(error.found, file=file, row=error.row, key=error.key, fix=error.fix) from error
        raise


# ---------------------------------------------------------------- single rooms


@verb("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The data set, e.g. vqa_rad; `table` for your own.")],
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="Its folder or file; phantoms need none.")] = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its options, e.g. validation_share=0.1")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The corpus folder; corpora/NAME unless given.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out, and count, questions whose image is missing.")
    ] = False,
) -> None:
    """Turn a data set into a corpus folder."""
    from radvqa.datasets import import_corpus
    from radvqa.tree import assigned

    texts = list(options or ())
    if path is not None and "=" in str(path) and not path.exists():
        texts, path = [str(path), *texts], None
    corpus = import_corpus(
        name, path, out or Path("corpora") / name, options=assigned(texts), allow_missing=allow_missing
    )
    typer.echo(_card(corpus))


@verb("card")
def card(corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")]) -> None:
    """Say what is in a corpus: licence, counts, what was left out and why."""
    from radvqa.sample import Corpus

    typer.echo(_card(Corpus(corpus)))


def _card(corpus: Any) -> str:
    card = corpus.card
    lines = [f"{card.get('title', corpus.folder.name)} in {corpus.folder}"]
    lines += [f"  {key}: {card[key]}" for key in ("licence", "homepage", "citation") if card.get(key)]
    lines.append(f"  {card['num_questions']:,} questions on {card['num_images']:,} images")
    for name, counts in card["counts"].items():
        shown = [f"{value} {number:,}" for value, number in list(counts.items())[:12]]
        lines.append(f"  {name}: {', '.join(shown)}" + (f" and {len(counts) - 12} more" if len(counts) > 12 else ""))
    lines += [f"  left out: {number:,} - {reason}" for reason, number in card.get("dropped", {}).items()]
    return "\n".join(lines)


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


@verb("report")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page; RUN/report.html unless given.")] = None,
) -> None:
    """Write the page of a run folder, finished or not."""
    from radvqa.report import write_report

    typer.echo(str(write_report(run, out or run / "report.html")))


def main() -> None:
    """The entry point; --debug may stand anywhere."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|transformers|peft)\.")
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    app(arguments)


if __name__ == "__main__":
    main()
