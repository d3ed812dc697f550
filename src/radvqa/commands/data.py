"""Data sets and corpora: `import`, `card`, `leakage` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import verb

SHOWN_PAIRS, SHOWN_LETTERS = 20, 120


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
    pictures: Annotated[
        bool, typer.Option(help="Without pictures a corpus can be compared by ids and texts, not trained on.")
    ] = True,
) -> None:
    """Turn a data set into a corpus folder."""
    from radvqa.datasets import import_corpus
    from radvqa.tree import assigned

    texts = list(options or ())
    if path is not None and "=" in str(path) and not path.exists():
        texts, path = [str(path), *texts], None
    out = out or Path("corpora") / name
    corpus = import_corpus(name, path, out, options=assigned(texts), allow_missing=allow_missing, pictures=pictures)
    typer.echo(_card(corpus))


@verb("card")
def card(
    corpora: Annotated[list[Path], typer.Argument(metavar="CORPUS...", help="Corpus folders, shown side by side.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for index.html and its figures.")] = Path("card"),
) -> None:
    """Say and draw what is in corpora: licence, counts, what was left out and why."""
    from radvqa.card import draw_card
    from radvqa.sample import Corpus

    for corpus in corpora:
        typer.echo(_card(Corpus(corpus)))
    typer.echo(f"figures: {draw_card(corpora, out)}")


@verb("leakage")
def leakage(
    a: Annotated[Path, typer.Argument(metavar="A", help="A corpus folder, say of test questions.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another, or the same with other filters.")],
    where_a: Annotated[
        list[str] | None, typer.Option("--where-a", metavar="FIELD=VALUE", help="Only such of A.")
    ] = None,
    where_b: Annotated[
        list[str] | None, typer.Option("--where-b", metavar="FIELD=VALUE", help="Only such of B.")
    ] = None,
    ids: Annotated[bool, typer.Option(help="Compare image ids and subjects too.")] = True,
    texts: Annotated[bool, typer.Option(help="Compare captions, questions and answers too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print all pairs as JSON.")] = False,
    draw: Annotated[Path, typer.Option("--draw", help="Where the pairs of pictures are drawn.")] = Path("leakage.png"),
) -> None:
    """Find what two corpora share: pictures, also resized or cropped, image ids, subjects, texts."""
    import json

    from radvqa import curate
    from radvqa.curate.leakage import summary
    from radvqa.curate.sheet import draw_pairs
    from radvqa.sample import Corpus
    from radvqa.tree import assigned

    left, right = Corpus(a), Corpus(b)
    where = assigned(where_a or ()), assigned(where_b or ())
    pairs = curate.leakage(left, right, where=where, use_ids=ids, texts=texts)
    sheets = draw_pairs(pairs, [left], [right], draw)
    if as_json:
        found = {"a": str(a), "b": str(b), "where_a": where[0], "where_b": where[1], "pairs": pairs.to_dicts()}
        typer.echo(json.dumps(found | {"drawn": [str(sheet) for sheet in sheets]}, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{a} and {b} share {summary(pairs)}")
    for (reason,), some in pairs.group_by("reason", maintain_order=True):
        for row in some.head(SHOWN_PAIRS).to_dicts():
            sides = f"{row['left_sample']} ({row['left_questions']}) = {row['right_sample']} ({row['right_questions']})"
            typer.echo(f"  {reason:<8} {row['score']:.2f}  {sides}  {_short(row['detail'])}".rstrip())
        if len(some) > SHOWN_PAIRS:
            typer.echo(f"  and {len(some) - SHOWN_PAIRS:,} more by {reason}; --json prints all")
    for sheet in sheets:
        typer.echo(f"drawn: {sheet}")


@verb("export")
def export(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")],
    form: Annotated[str, typer.Argument(metavar="FORM", help="huggingface, jsonl, llava or vlmevalkit.")],
    out: Annotated[Path, typer.Option("--out", help="The new folder.")],
) -> None:
    """Write a corpus in a form that other tools read."""
    from radvqa.export import export as write
    from radvqa.sample import Corpus

    found = write(Corpus(corpus), out, form)
    typer.echo(f"{found['questions']:,} questions in {found['folder']}")
    for reason, number in found["left_out"].items():
        typer.echo(f"  left out: {number:,} - {reason}")


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…"


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
