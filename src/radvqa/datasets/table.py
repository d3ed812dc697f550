"""Your own questions: CSV, TSV, JSON lines, a JSON array or Parquet, with the names of your columns given.

A row is one question. `columns` says which column holds which field, e.g. {question: q, answer: a, image: file}; only
question and answer must exist. Images are files of the image folder (by default the folder of the table).

    radvqa import table mine.csv --out corpora/mine columns.question=q columns.answer=a columns.image=file images=pictures
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.columnar import parquet_records
from radvqa.datasets.columns import Columns
from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import Record, csv_records, jsonl_records
from radvqa.datasets.source import Card, Drop, Holdout, Row, held_out, told_card
from radvqa.errors import InputError

CARD = Card(
    name="table",
    title="A table of your own",
    licence="not stated",
    commercial=False,
    citation="not stated",
    homepage="",
)
READERS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}


def rows(
    path: Path | None,
    *,
    columns: dict[str, str] | None = None,
    images: Path | None = None,
    format: Literal["auto", "csv", "tsv", "jsonl", "json", "parquet"] = "auto",
    encoding: str = "utf-8",
    split: Literal["train", "validation", "test"] = "train",
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    separator: str = "|",
    drop_empty_answers: bool = False,
    without_image: Literal["refuse", "keep", "drop"] = "refuse",
    name: str | None = None,
    licence: str = CARD.licence,
    commercial: bool = False,
    citation: str = CARD.citation,
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the table.

    `columns`: field -> column; a field that is not named is looked for under its own name, and left out if there is
    none. `images`: the image folder. `split`: of rows that name none. `validation_share` of the training subjects
    (images, where no subject is given) go to `holdout`. `separator` parts several answers, choices or findings in one
    text field (JSON and Parquet may hold lists). `drop_empty_answers` and `without_image` say what becomes of rows
    without an answer or an image: as they stand, such a row stops the import. `name`, `licence`, `commercial`, `citation` go onto the card.
    """
    if path is None or not path.is_file():
        raise InputError("table needs a file", file=path, fix="give a " + ", ".join(READERS) + " file")
    images = images or path.parent
    if not images.is_dir():
        raise InputError("no such image folder", file=images, key="images")
    columns_of = Columns(path, columns or {}, images=images, split=split, separator=separator, name=name or path.stem)
    kind = _format_of(path, format)
    moved: dict[str, str] = {}
    if validation_share:
        records = _records(path, kind, encoding)
        moved = held_out(columns_of.train_subjects(records), validation_share, seed, holdout)
    yield from columns_of.rows(
        _records(path, kind, encoding),
        moved,
        drop_empty_answers=drop_empty_answers,
        without_image=without_image,
        ids=set(),
        drop=drop,
    )


def describe(options: Mapping[str, Any]) -> Card:
    """The card with what the user, or the card.json of an export, says of the table."""
    return told_card(CARD, options)


def _format_of(path: Path, format: str) -> str:
    if format == "auto":
        stem = Path(path.stem) if path.suffix == ".gz" else path
        format = READERS.get(stem.suffix.lower(), "")
        if not format:
            raise InputError(
                f"the ending {path.suffix!r} says no format", file=path, key="format", fix="say which it is"
            )
    return format


def _records(file: Path, format: str, encoding: str) -> Iterator[tuple[int, Record]]:
    if format in ("csv", "tsv"):
        return csv_records(file, "\t" if format == "tsv" else ",", encoding=encoding)
    return {"jsonl": jsonl_records, "json": json_records, "parquet": parquet_records}[format](file)
