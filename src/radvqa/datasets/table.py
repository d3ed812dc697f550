"""Your own questions: CSV, TSV, JSON lines, a JSON array or Parquet, with the names of your columns given.

A row is one question. `columns` says which column holds which field, e.g. {question: q, answer: a, image: file}; only
question and answer must exist. Images are files of the image folder (by default the folder of the table).

    radvqa import table mine.csv --out corpora/mine columns.question=q columns.answer=a columns.image=file images=pictures
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.columnar import parquet_records
from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import Record, csv_records, jsonl_records, picture_in, text_of
from radvqa.datasets.source import Card, Drop, Holdout, Picture, Row, held_out, kind_of, sample_at, tidy
from radvqa.errors import InputError
from radvqa.sample import SPLITS, Sample

CARD = Card(
    name="table",
    title="A table of your own",
    licence="not stated",
    commercial=False,
    citation="not stated",
    homepage="",
)
TEXT_FIELDS = ("topic", "subject", "language", "origin", "evidence", "modality", "plane", "region")
FIELDS = ("question", "answer", "image", "id", "kind", "choices", "split", "findings", *TEXT_FIELDS)
SPLIT_WORDS = {"dev": "validation", "val": "validation", "valid": "validation", "validate": "validation"}
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
    table = _Table(path, columns or {}, images, split, separator, name or path.stem)
    read = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl, "json": _json, "parquet": _parquet}[_format_of(path, format)]
    moved: dict[str, str] = {}
    if validation_share:
        held = (
            table.subject(row, record) for row, record in read(table, encoding) if table.split(row, record) == "train"
        )
        moved = held_out(set(held), validation_share, seed, holdout)
    ids: set[str] = set()
    for number, record in read(table, encoding):
        if drop_empty_answers and not table.many(number, record, "answer"):
            drop("an empty answer")
            continue
        picture = table.picture(number, record)
        if picture is None and without_image != "keep":
            if without_image == "refuse":
                fix = "name the column with columns.image, or say without_image: keep or drop"
                raise InputError("no image is named", file=path, row=number, key=table.columns["image"], fix=fix)
            drop("no image is named")
            continue
        sample = table.sample(number, record, moved)
        if sample.id in ids:
            raise InputError(f"the id {sample.id!r} is there twice", file=path, row=number, key="id")
        ids.add(sample.id)
        yield Row(sample, picture)


def describe(options: Mapping[str, Any]) -> Card:
    """The card with what the user says of the table."""
    return replace(
        CARD, **{key: options[key] for key in ("name", "licence", "commercial", "citation") if options.get(key)}
    )


def _format_of(path: Path, format: str) -> str:
    if format == "auto":
        stem = Path(path.stem) if path.suffix == ".gz" else path
        format = READERS.get(stem.suffix.lower(), "")
        if not format:
            raise InputError(
                f"the ending {path.suffix!r} says no format", file=path, key="format", fix="say which it is"
            )
    return format


class _Table:
    """One table: where its fields are, and how a record becomes a Sample."""

    def __init__(
        self, file: Path, columns: dict[str, str], images: Path, split: str, separator: str, name: str
    ) -> None:
        for field in columns:
            if field not in FIELDS:
                raise InputError(f"there is no field {field!r}", key="columns", fix="fields are " + ", ".join(FIELDS))
        self.file, self.images, self.default_split, self.separator, self.name = file, images, split, separator, name
        self.named = columns
        self.columns = {field: columns.get(field, field) for field in FIELDS}

    def check(self, header: Collection[str]) -> None:
        """All columns that were named, and question and answer, exist."""
        for field in dict.fromkeys(("question", "answer", *self.named)):
            if self.columns[field] not in header:
                fix = "the columns are " + ", ".join(map(str, header)) + f"; say which holds it: columns.{field}=..."
                raise InputError(f"no column {self.columns[field]!r}", file=self.file, key=f"columns.{field}", fix=fix)

    def text(self, row: int, record: Record, field: str) -> str | None:
        return text_of(record, self.columns[field], self.file, row, default="").strip() or None

    def many(self, row: int, record: Record, field: str) -> tuple[str, ...]:
        """The texts of a field: a list as it is, a text that is a JSON list, or parts between separators."""
        value = record.get(self.columns[field])
        if isinstance(value, str) and value.lstrip().startswith("["):
            with contextlib.suppress(ValueError):  # then it is a text that begins with a bracket
                value = json.loads(value)
        if isinstance(value, list):
            found = [text_of({field: item}, field, self.file, row, default="") for item in value]
        else:
            text = self.text(row, record, field) or ""
            found = text.split(self.separator) if self.separator else [text]
        return tuple(item.strip() for item in found if item.strip())

    def split(self, row: int, record: Record) -> str:
        word = (self.text(row, record, "split") or self.default_split).lower()
        word = SPLIT_WORDS.get(word, word)
        if word not in SPLITS:
            raise InputError(
                f"unknown split {word!r}", file=self.file, row=row, key="split", fix="use " + ", ".join(SPLITS)
            )
        return word

    def subject(self, row: int, record: Record) -> str:
        """What is kept together: the subject, else the image, else the row."""
        image = record.get(self.columns["image"])
        return self.text(row, record, "subject") or (image if isinstance(image, str) and image else f"row {row}")

    def picture(self, row: int, record: Record) -> Picture | None:
        """A file of the image folder, or the bytes a Parquet table holds."""
        value = record.get(self.columns["image"])
        if isinstance(value, dict):  # the Image feature of Hugging Face `datasets`
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            found = f"expected a file name, found {type(value).__name__}"
            raise InputError(found, file=self.file, row=row, key=self.columns["image"])
        return picture_in(self.images, value, self.file, row)

    def sample(self, row: int, record: Record, moved: Mapping[str, str]) -> Sample:
        question, answers = self.text(row, record, "question"), self.many(row, record, "answer")
        if question is None:
            raise InputError("the question is empty", file=self.file, row=row, key=self.columns["question"])
        if not answers:
            fix = "give it one, or say drop_empty_answers"
            raise InputError(
                "a question without an answer", file=self.file, row=row, key=self.columns["answer"], fix=fix
            )
        choices = self.many(row, record, "choices")
        answers = tuple(tidy(_chosen(answer, choices, self.file, row)) for answer in answers)
        split = self.split(row, record)
        given = {field: value for field in TEXT_FIELDS if (value := self.text(row, record, field))}
        kind = (self.text(row, record, "kind") or kind_of(answers, choices)).lower()
        extra = {str(k): v for k, v in record.items() if k not in self.columns.values() and _is_plain(v)}
        return sample_at(
            self.file,
            row,
            id=self.text(row, record, "id") or f"{self.name}-{row}",
            question=question,
            answers=answers,
            kind=kind,
            choices=choices,
            split=moved.get(self.subject(row, record), "train") if split == "train" else split,
            source=self.name,
            findings=self.many(row, record, "findings"),
            extra=extra,
            **given,
        )


def _chosen(answer: str, choices: tuple[str, ...], file: Path, row: int) -> str:
    """The option an answer names: by its words, or by its letter."""
    if not choices:
        return answer
    same = [choice for choice in choices if choice.lower() == answer.lower()]
    place = ord(answer.upper()) - ord("A") if len(answer) == 1 and answer.isascii() else -1
    if not same and 0 <= place < len(choices):
        return choices[place]
    if not same:
        raise InputError(f"the answer {answer!r} is none of the choices", file=file, row=row, key="answer")
    return same[0]


def _is_plain(value: Any) -> bool:
    return value not in (None, "") and isinstance(value, (str, int, float, bool)) and value == value


def _csv(table: _Table, encoding: str) -> Iterator[tuple[int, Record]]:
    return _checked(table, csv_records(table.file, ",", encoding=encoding))


def _tsv(table: _Table, encoding: str) -> Iterator[tuple[int, Record]]:
    return _checked(table, csv_records(table.file, "\t", encoding=encoding))


def _jsonl(table: _Table, encoding: str) -> Iterator[tuple[int, Record]]:
    return _checked(table, jsonl_records(table.file))


def _json(table: _Table, encoding: str) -> Iterator[tuple[int, Record]]:
    return _checked(table, json_records(table.file))


def _parquet(table: _Table, encoding: str) -> Iterator[tuple[int, Record]]:
    return _checked(table, parquet_records(table.file))


def _checked(table: _Table, records: Iterator[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    """The records; the columns of the first must be there (JSON may leave out a field of later ones)."""
    for place, (row, record) in enumerate(records):
        if place == 0:
            table.check(record.keys())
        yield row, record
