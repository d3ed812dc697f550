"""The data card: what the questions and pictures are, where they come from, what was left out, how they look.

In: the corpora of a run. Out: plain values, bar charts and thumbnails for the template.

    data_card("phantom", corpus, num_pictures=12).tiles[0].question
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from radvqa.report.charts import bars
from radvqa.report.pictures import Picture, thumbnail
from radvqa.report.words import dimension_name
from radvqa.sample import Corpus
from radvqa.tables import read_table

COUNTED = ("split", "kind", "topic", "modality", "plane", "region")
VARIED = ("modality", "plane", "region", "topic", "kind")
CANDIDATES = 2000
"""Questions looked at when sample pictures are chosen; a corpus may have millions."""


@dataclass(frozen=True)
class Tile:
    """One picture with one of its questions."""

    picture: Picture
    question: str
    answer: str
    facts: str


@dataclass(frozen=True)
class DataCard:
    """One corpus."""

    name: str
    title: str
    facts: tuple[tuple[str, str], ...]
    homepage: str
    num_questions: int | None
    num_images: int | None
    charts: tuple[tuple[str, Markup], ...]
    same: tuple[tuple[str, str], ...]
    """Dimensions in which all questions are alike, with the value they share."""
    dropped: tuple[tuple[str, int], ...]
    tiles: tuple[Tile, ...]


def data_card(name: str, corpus: Corpus, *, num_pictures: int) -> DataCard:
    """What the page says of one corpus."""
    card = corpus.card
    counts = {d: c for d in COUNTED if (c := (card.get("counts") or {}).get(d)) and set(c) != {"unknown"}}
    commercial = None
    if isinstance(card.get("commercial"), bool):
        commercial = "allowed by the licence" if card["commercial"] else "not allowed by the licence"
    facts = (("Licence", card.get("licence")), ("Commercial use", commercial), ("Citation", card.get("citation")))
    homepage = str(card.get("homepage") or "")
    return DataCard(
        name=name,
        title=str(card.get("title") or card.get("name") or name),
        facts=tuple((label, str(value)) for label, value in facts if value),
        homepage=homepage if homepage.startswith(("https://", "http://")) else "",
        num_questions=card.get("num_questions"),
        num_images=card.get("num_images"),
        charts=tuple(
            (dimension_name(d), Markup(bars(c, label=f"Questions by {d}"))) for d, c in counts.items() if len(c) > 1
        ),
        same=tuple((dimension_name(d), next(iter(c))) for d, c in counts.items() if len(c) == 1),
        dropped=tuple((card.get("dropped") or {}).items()),
        tiles=tuple(_tile(corpus, row) for row in varied(_table(corpus), num_pictures)),
    )


SHARED = {
    "pixels": "the same picture",
    "picture": "the same picture at another size, crop or contrast",
    "id": "the same image id",
    "subject": "the same patient or case",
    "caption": "nearly the same caption",
    "text": "nearly the same question and answer",
}


def leakage_sentence(found: Mapping[str, Any] | None) -> str | None:
    """What training and test questions share; None where they were not compared."""
    if not found:
        return None
    pairs, dropped = found.get("pairs") or {}, sum((found.get("dropped") or {}).values())
    compared = (
        f"{found['train_questions']:,} training questions were compared with {found['test_questions']:,} test questions"
    )
    if not pairs:
        return f"{compared}: they share no picture, image id, patient or text."
    shares = ", ".join(f"{SHARED.get(reason, reason)} ({number:,})" for reason, number in pairs.items())
    fate = f"{dropped:,} training questions were left out for it" if dropped else "all were trained on"
    return f"{compared}. Pairs that share {shares}; {fate}."


def _table(corpus: Corpus) -> pl.DataFrame:
    """The columns that are shown; masks and captions stay on disk."""
    return read_table(corpus.folder / "questions.parquet", columns=["id", "image", "question", "answers", *VARIED])


def varied(table: pl.DataFrame, number: int) -> list[dict[str, Any]]:
    """Rows of different pictures that differ from each other as much as they can, the same ones every time.

    Rows come in the order of the hash of their ids; each time the one is taken whose modality, plane, region, topic
    and kind were taken least often before.
    """
    table = table.filter(pl.col("image").is_not_null())
    order = sorted(range(len(table)), key=lambda i: hashlib.sha256(table["id"][i].encode()).digest())
    rows = table[order[:CANDIDATES]].to_dicts()
    seen: Counter[tuple[str, Any]] = Counter()
    taken: list[dict[str, Any]] = []
    while rows and len(taken) < number:
        best = min(range(len(rows)), key=lambda i: sum(seen[field, rows[i][field]] for field in VARIED))
        row = rows[best]
        rows = [other for other in rows if other["image"] != row["image"]]
        seen.update((field, row[field]) for field in VARIED)
        taken.append(row)
    return taken


def _tile(corpus: Corpus, row: dict[str, Any]) -> Tile:
    facts = [row["modality"], row["plane"], row["region"], row["topic"]]
    return Tile(
        picture=thumbnail(corpus.image(row["image"]), most_px=320, quality=76),
        question=row["question"],
        answer=" / ".join(row["answers"]),
        facts=" · ".join(fact for fact in facts if fact),
    )
