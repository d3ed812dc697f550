"""Curation: `select`, `questions`, `filter` and `review`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import Concurrency, verb
from radvqa.errors import InputError

CorpusPath = Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")]
OutPath = Annotated[Path, typer.Option("--out", help="The new corpus folder.")]


Url = Annotated[str | None, typer.Option("--url", "--base-url", help="A server, up to and with /v1.")]
Prices = Annotated[tuple[float, float], typer.Option("--price", help="Of a million tokens read and written.")]


@verb("select")
def select(
    corpus: CorpusPath,
    out: OutPath,
    by: Annotated[str, typer.Option("--by", help="finding, modality, plane or region.")] = "finding",
    value: Annotated[list[str] | None, typer.Option("--value", help="Only pictures with it; again for more.")] = None,
    common: Annotated[int | None, typer.Option("--common", help="Only the so many commonest values.")] = None,
    cap: Annotated[int | None, typer.Option("--cap", help="At most so many pictures of each value.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the cap.")] = 0,
) -> None:
    """Keep the pictures of some pathologies; OUT/curation.png draws the counts before and after."""
    from pydantic import ValidationError

    from radvqa.curate.steps import curate
    from radvqa.recipe_sections import Curate
    from radvqa.sample import Corpus

    try:
        settings = Curate(by=by, select=tuple(value or ()), common=common, cap=cap, filter=False)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), InputError):
            raise cause from None
        raise InputError(f"found {first['input']!r}", key=f"--{first['loc'][0]}", fix=first["msg"].lower()) from None
    typer.echo(f"{curate(Corpus(corpus), out, settings, seed=seed)}, in {out}")


@verb("questions")
def questions(
    corpus: CorpusPath,
    out: OutPath,
    url: Url = None,
    model: Annotated[str, typer.Option("--model", help="The server's name of the model.")] = "llama3.1",
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", help="open, closed, choice, literature, conversation; again for more."),
    ] = None,
    captions: Annotated[
        bool, typer.Option("--captions", help="Ask for a description, in many wordings; the caption is the answer.")
    ] = False,
    number: Annotated[int, typer.Option("--number", help="Pairs a picture and prompt.")] = 5,
    pictures: Annotated[bool, typer.Option("--pictures", help="Send the pictures along.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", help="Of the model's sampling.")] = 0.7,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Longest reply.")] = 1024,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait for one reply.")] = 120.0,
    retries: Annotated[int, typer.Option("--retries", help="Further tries of a call that failed.")] = 6,
    concurrency: Concurrency = 8,
    max_images: Annotated[int | None, typer.Option("--max-images", help="Only the first so many pictures.")] = None,
    price: Prices = (0.0, 0.0),
    seed: Annotated[int, typer.Option("--seed", help="Of the wordings, or sent to the model.")] = 0,
) -> None:
    """Ask questions of captioned pictures: by templates, or by a language model. Killed, it goes on where it was."""
    from radvqa.sample import Corpus

    source = Corpus(corpus)
    if url is None:
        if prompts:
            raise InputError("a prompt needs a language model", key="--prompt", fix="give --url as well")
        _without_model(source, out, captions, seed)
        return
    from radvqa.calls import Calls
    from radvqa.curate.generate import Wanted, generate, ledger_of, num_calls

    parameters = {"temperature": temperature, "max_tokens": max_tokens}
    wanted = Wanted(
        tuple(prompts or ("open", "closed")), number, pictures, parameters=parameters, seed=seed, max_images=max_images
    )
    total = num_calls(source.samples(), wanted, source)
    tries: dict[str, Any] = {"concurrency": concurrency, "timeout_s": timeout, "retries": retries, "prices": price}
    with Calls(ledger_of(out), url, model, **tries) as calls, _bar("calls", total) as more:
        made = generate(source, out, calls, wanted, more)
    typer.echo(f"{calls.account()}\n{made.card['num_questions']:,} pairs in {out}")
    for reason, count in made.card["dropped"].items():
        typer.echo(f"  left out: {count:,} - {reason}")


def _without_model(source: Any, out: Path, captions: bool, seed: int) -> None:
    from radvqa.curate.generate import caption_samples
    from radvqa.curate.steps import write_samples
    from radvqa.curate.templates import template_questions

    asked = (caption_samples if captions else template_questions)(source.samples(), seed=seed)
    made = write_samples(source, out, asked)
    typer.echo(f"{made.card['num_questions']:,} questions in {out}")


@contextmanager
def _bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar with an estimate of what is left, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda done: bar.update(task, completed=done)


@verb("filter")
def filter_(
    corpus: CorpusPath,
    out: Annotated[Path | None, typer.Option("--out", help="The new corpus folder.")] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Only show, of a filtered corpus, each reason with ten examples.")
    ] = False,
    off: Annotated[
        list[str] | None,
        typer.Option(
            "--off",
            help="A check not to ask: encoding, refusal, question, length, language, text, nothing, unseen, measurement, "
            "leak, caption, support; again for more.",
        ),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="One that stays (en unless given); again for more.")
    ] = None,
    blind: Annotated[
        list[Path] | None, typer.Option("--blind", help="predictions.parquet of a blank or shuffled control.")
    ] = None,
    url: Url = None,
    model: Annotated[
        str, typer.Option("--model", help="Asked whether the evidence supports each answer.")
    ] = "llama3.1",
    concurrency: Concurrency = 8,
    price: Prices = (0.0, 0.0),
    nli: Annotated[
        Path | None, typer.Option("--nli", help="Folder of an entailment model; what it finds contradicted goes.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that judge.")] = 1,
) -> None:
    """Keep the good pairs; the others go, each with its reason, to dropped.parquet."""
    from radvqa.calls import Calls
    from radvqa.curate.checks import Limits
    from radvqa.curate.filter import examples, filter_corpus
    from radvqa.curate.generate import ledger_of
    from radvqa.curate.steps import judges_of
    from radvqa.sample import Corpus

    if report:
        for reason, count, some in examples(corpus):
            typer.echo(f"\n{count:,}  {reason}")
            for row in some.iter_rows(named=True):
                detail = f"  [{row['detail']}]" if row["detail"] else ""
                typer.echo(f"    {_short(row['question'])}  ->  {_short(row['answers'][0])}{detail}")
        return
    if out is None:
        raise InputError("no place for the new corpus", key="--out", fix="give --out, or --report for an earlier one")
    source = Corpus(corpus)
    total = source.card["num_questions"]
    ledger = ledger_of(out)
    how: dict[str, Any] = {
        "limits": Limits(off=tuple(off or ()), languages=tuple(language or ("en",))),
        "blind": blind or (),
        "workers": workers,
    }
    with ExitStack() as stack:
        calls = stack.enter_context(Calls(ledger, url, model, concurrency=concurrency, prices=price)) if url else None
        judges = stack.enter_context(judges_of(calls, nli, ledger))
        more = stack.enter_context(_bar("pairs", total))
        counts = filter_corpus(source, out, judges=judges, progress=more, **how)
    if calls is not None:
        typer.echo(calls.account())
    for name, told in Corpus(out).card.get("support", {}).items() if judges else ():
        typer.echo(
            f"{name}: asked of {told['asked']:,} pairs, {told['without_verdict']:,} pairs without a verdict stay"
        )
    typer.echo(f"{total - sum(counts.values()):,} of {total:,} pairs stay, in {out}")
    for reason, count in counts.most_common():
        typer.echo(f"  {count:>9,}  {100 * count / total:5.1f} %  {reason}")


def _short(text: str, letters: int = 100) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


@verb("review")
def review(
    corpus: CorpusPath,
    store: Annotated[str, typer.Option("--store", help="A file for SQLite, or a database URL.")] = "reviews.sqlite",
    reviewer: Annotated[str | None, typer.Option("--as", help="Who you are; your login name unless given.")] = None,
    number: Annotated[int, typer.Option("--number", help="Questions to draw if none are queued yet.")] = 100,
    how: Annotated[str, typer.Option("--how", help="random, stratified or uncertain.")] = "random",
    by: Annotated[str, typer.Option("--by", help="Column of the strata.")] = "kind",
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="predictions.parquet to take the uncertainty from.")
    ] = None,
    wanted: Annotated[int, typer.Option("--reviewers", help="Reviewers each question goes to.")] = 1,
    status: Annotated[bool, typer.Option("--status", help="Only show agreement and what is left.")] = False,
    write: Annotated[
        Path | None, typer.Option("--write", help="Carry the verdicts out into this corpus folder.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw.")] = 0,
) -> None:
    """Read question-answer pairs and accept, edit or reject them; agreement, and how many bad ones are left."""
    import getpass

    from radvqa.curate import reviewing
    from radvqa.curate.review import draw
    from radvqa.review import ReviewStore, corpus_key
    from radvqa.sample import Corpus

    source, reviews = Corpus(corpus), ReviewStore(store)
    key = corpus_key(source)
    if write is not None:
        from radvqa.curate.steps import write_judged

        made = write_judged(source, write, reviews.verdicts(key))
        typer.echo(f"{made.card['num_questions']:,} questions in {write}")
    elif status:
        typer.echo(reviewing.summary(source, reviews, key))
    else:
        if not reviews.drawn(key):
            sure = reviewing.uncertainty(predictions) if predictions else None
            reviews.enqueue(key, draw(source.table, number, how=how, seed=seed, by=by, uncertainty=sure), wanted=wanted)
        reviewing.review(source, reviews, key, reviewer or getpass.getuser(), ask=_ask, say=typer.echo)
        typer.echo(reviewing.summary(source, reviews, key))


def _ask(prompt: str, default: str = "") -> Any:
    return typer.prompt(prompt, default=default, show_default=bool(default))
