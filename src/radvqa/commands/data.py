"""Data sets and corpora: `import` and `card`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radvqa.commands import verb


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
