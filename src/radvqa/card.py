"""Corpora side by side: value counts of conditions, modalities, regions, kinds and lengths, as PNG and as one page.

In: corpus folders. Out: a folder with `index.html`, which needs no other file and no network, and a PNG a figure.

    draw_card([Path("corpora/medpix"), Path("corpora/slake")], Path("card"))

Conditions, modalities and regions count pictures (subjects, where a corpus has none); kinds and lengths count questions.
Bars show shares, so that corpora of different size compare, with the count beside them.
"""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from radvqa.card_figures import Counts, bars, lengths
from radvqa.conditions import conditions_of
from radvqa.datasets.terms import region_of
from radvqa.errors import InputError
from radvqa.sample import Corpus
from radvqa.tables import read_table

DPI = 180
UNKNOWN = "not stated"
COLUMNS = ["id", "image", "subject", "question", "answers", "kind", "modality", "region"]


def draw_card(corpora: Sequence[str | Path], out: str | Path) -> Path:
    """Write the figures and the page into the folder `out`; an older card there is replaced. The path of the page."""
    if not corpora:
        raise InputError("no corpus is given", key="corpora")
    out = Path(out)
    if out.exists() and not (out.is_dir() and (out / "index.html").is_file()):
        raise InputError("there is something that is no card", file=out, fix="give the name of a new folder")
    opened = [Corpus(folder) for folder in corpora]
    names = _names(opened)
    tables = [_table(corpus) for corpus in opened]
    counts = {name: [one(table, title) for table, title in zip(tables, names)] for name, one in COUNTED.items()}
    figures = {name: bars(some) for name, some in counts.items()}
    for field, unit in (("question", "questions"), ("answer", "answers")):
        words = [table[field].to_numpy().astype(np.int64) for table in tables]
        figures[f"Length of {unit}"] = lengths(names, words, unit)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pictures = {name: _png(figure) for name, figure in figures.items()}
    for name, data in pictures.items():
        (partial / f"{name.lower().replace(' ', '_')}.png").write_bytes(data)
    (partial / "index.html").write_text(_page(opened, names, pictures, counts), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return out / "index.html"


def _names(corpora: Sequence[Corpus]) -> list[str]:
    """The title on the card; where two are the same, the folder's name with it."""
    names = [str(corpus.card.get("title") or corpus.card.get("name") or corpus.folder.name) for corpus in corpora]
    return [f"{name} ({corpus.folder.name})" if names.count(name) > 1 else name for name, corpus in zip(names, corpora)]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


# ---------------------------------------------------------------- counting


def _table(corpus: Corpus) -> pl.DataFrame:
    """A question a row, `question` and `answer` as numbers of words; `picture` is the image, where a corpus has none the
    subject or else the question; `conditions` a list."""
    frame = read_table(corpus.folder / "questions.parquet", columns=COLUMNS)
    conditions = [conditions_of(sample) for sample in corpus.samples()]
    texts = [pl.col("question"), pl.col("answers").list.first().alias("answer")]
    shown = ["image"] if frame["image"].count() else ["subject"]
    return frame.with_columns(
        pl.coalesce(*shown, "id").alias("picture"),
        pl.col("region").map_elements(lambda region: region_of(region) or region, return_dtype=pl.String),
        pl.Series("conditions", conditions, pl.List(pl.String)),
        *(text.str.count_matches(r"\S+") for text in texts),
    )


def _of_pictures(table: pl.DataFrame, corpus: str, column: str) -> Counts:
    """Pictures by a value: one with several counts for each, one of which no question says any is not stated."""
    stated = table.select("picture", column)
    stated = (stated.explode(column) if stated[column].dtype == pl.List else stated).drop_nulls().unique()
    number = table["picture"].n_unique()
    silent = number - stated["picture"].n_unique()
    unit = "pictures" if table["image"].count() else "subjects" if table["subject"].count() else "questions"
    return Counts(corpus, _counted(stated, column) | ({UNKNOWN: silent} if silent else {}), number, unit)


def _counted(table: pl.DataFrame, column: str) -> dict[str, int]:
    """How often each value occurs, the most common first, then by name."""
    return dict(table.group_by(column).len().sort("len", column, descending=[True, False]).rows())


COUNTED = {
    "Conditions": lambda table, corpus: _of_pictures(table, corpus, "conditions"),
    "Modalities": lambda table, corpus: _of_pictures(table, corpus, "modality"),
    "Body regions": lambda table, corpus: _of_pictures(table, corpus, "region"),
    "Kinds of question": lambda table, corpus: Counts(corpus, _counted(table, "kind"), table.height, "questions"),
}


# ---------------------------------------------------------------- the page

STYLE = """
:root { --ink: #1b1f23; --soft: #59636b; --line: #dfe2e4; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 948px; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; letter-spacing: -.015em; line-height: 1.2; margin: 0 0 1.5rem; }
h2 { font-size: 1.2rem; margin: 3rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
img { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1.25rem .35rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; white-space: nowrap; }
th { font-weight: 600; } tbody th { font-weight: 400; }
summary { cursor: pointer; color: var(--soft); font-size: .875rem; margin: .75rem 0; }
p { color: var(--soft); font-size: .875rem; }
@media print { body { max-width: none; } details { display: none; } h2 { break-after: avoid; } }
"""


def _page(
    corpora: Sequence[Corpus], names: Sequence[str], pictures: dict[str, bytes], counts: dict[str, list[Counts]]
) -> str:
    title = " · ".join(names) if len(names) <= 4 else f"{len(names)} corpora"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>',
        f"<h1>{escape(title)}</h1>{_facts(corpora, names)}",
    ]
    for name, data in pictures.items():
        encoded = base64.b64encode(data).decode("ascii")
        alternative = f"{name} of {', '.join(names)}" + (
            "; all numbers are in the table below" if name in counts else ""
        )
        parts.append(f'<h2>{escape(name)}</h2><img alt="{escape(alternative)}" src="data:image/png;base64,{encoded}">')
        parts.append(_numbers(counts[name]) if name in counts else "")
    parts.append(
        "<p>Conditions, modalities and regions count pictures, or subjects where a corpus has no pictures; a picture with "
        "several conditions counts for each. Conditions are those that captions, reports, concepts and answers affirm, in one "
        "vocabulary for all corpora.</p></body></html>\n"
    )
    return "".join(parts)


def _facts(corpora: Sequence[Corpus], names: Sequence[str]) -> str:
    """One row a corpus: how large, how divided, on which terms."""
    head = ("Corpus", "Questions", "Pictures", "Train", "Validation", "Test", "Licence")
    rows = [_cells(head, "th", range(1, 6))]
    for corpus, name in zip(corpora, names):
        splits = corpus.card.get("counts", {}).get("split", {})
        numbers = [corpus.card.get("num_questions", 0), corpus.card.get("num_images", 0)]
        numbers += [splits.get(split, 0) for split in ("train", "validation", "test")]
        licence = str(corpus.card.get("licence") or UNKNOWN)
        rows.append(_cells([name, *(f"{number:,}" for number in numbers), licence], "td", range(1, 6)))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _numbers(counts: Sequence[Counts]) -> str:
    """All values with their numbers, folded away."""
    values = dict.fromkeys(value for one in counts for value in sorted(one.values, key=lambda v: -one.values[v]))
    rows = [_cells(["", *(one.corpus for one in counts)], "th", range(1, len(counts) + 1))]
    for value in values:
        numbers = [f"{one.values.get(value, 0):,}" for one in counts]
        rows.append(_cells([value, *numbers], "td", range(1, len(counts) + 1)))
    return f'<details><summary>{len(values):,} values</summary><div class="wide"><table>{"".join(rows)}</table></div></details>'


def _cells(texts: Sequence[str], tag: str, numeric: range) -> str:
    cells = (
        f"<{tag}{' class=n' if place in numeric else ''}>{escape(text)}</{tag}>" for place, text in enumerate(texts)
    )
    return f"<tr>{''.join(cells)}</tr>"
