"""VLMEvalKit's tables: tab-separated, pictures in base64, the options of a choice question in columns of their letter.

    index  image      question     A   B   answer  category
    0      /9j/4AAQ…  Which is it? CT  MR  B       modality
    1      0          Is it axial?         yes     plane

A number for an image names the row (by `index`) whose picture is meant; a table without pictures names files in
`image_path`. A folder holds one table or more. Tables that `radvqa export` wrote come back equal.

    radvqa import vlmevalkit OmniMedVQA.tsv --out corpora/omni split=test licence="CC BY 4.0"
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from tempfile import TemporaryDirectory
from typing import Any, Literal

from radvqa.datasets.columns import Columns, chosen
from radvqa.datasets.reading import Record, csv_records
from radvqa.datasets.source import Card, Drop, Row, tidy, told_card
from radvqa.errors import InputError

CARD = Card(
    name="vlmevalkit",
    title="A VLMEvalKit table",
    licence="not stated",
    commercial=False,
    citation="not stated",
    homepage="https://github.com/open-compass/VLMEvalKit",
)
REFERENCE_DIGITS = 12
"""A longer image cell is a picture, a shorter one of digits alone the index of one."""
OWN = ("index", "id", "image", "image_path", "question", "answer", "category", "split", "sample", *ascii_uppercase)


def rows(
    path: Path | None,
    *,
    images: Path | None = None,
    split: Literal["train", "validation", "test"] = "test",
    without_image: Literal["refuse", "keep", "drop"] = "refuse",
    name: str | None = None,
    licence: str = CARD.licence,
    commercial: bool = False,
    citation: str = CARD.citation,
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the tables.

    `images`: the folder of `image_path`, by default the one the table lies in. `split`: of rows that name none. The rest
    is as for `table`. Pictures in base64 lie in a scratch folder while they are read, since any row may name them.
    """
    if path is None:
        raise InputError("vlmevalkit needs a .tsv file, or a folder of them", key="path")
    ids: set[str] = set()
    for file in _files(path):
        folder = images or file.parent
        columns = Columns(file, {}, images=folder, split=split, separator="", name=name or file.stem)
        with TemporaryDirectory(prefix="radvqa-") as scratch:
            told = _records(file, Path(scratch) / file.stem)
            yield from columns.rows(told, {}, drop_empty_answers=False, without_image=without_image, ids=ids, drop=drop)


def describe(options: Mapping[str, Any]) -> Card:
    """The card with what the user, or the card.json of an export, says of the data."""
    return told_card(CARD, options)


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.glob("*.tsv"))
    if not files:
        raise InputError("no .tsv files here", file=path, fix="give the table itself")
    return files


def _records(file: Path, scratch: Path) -> Iterator[tuple[int, Record]]:
    """The rows under the names of a Sample's fields; their pictures as files."""
    pictures: dict[str, Path] = {}
    for row, record in csv_records(file, "\t", required=("index", "question", "answer")):
        told = _exported(record, file, row) if record.get("sample") else _plain(record, file, row)
        yield row, told | {"image": _picture(record, pictures, scratch, file, row)}


def _plain(record: Record, file: Path, row: int) -> Record:
    choices = [record[letter].strip() for letter in ascii_uppercase if record.get(letter, "").strip()]
    answer = record["answer"].strip()
    told = {key: value for key, value in record.items() if key not in OWN}
    told |= {"id": record.get("id", ""), "question": record["question"].strip(), "topic": record.get("category", "")}
    answers = [tidy(chosen(answer, tuple(choices), file, row))] if answer else []
    return told | {"answers": answers, "choices": choices, "split": record.get("split", "")}


def _exported(record: Record, file: Path, row: int) -> Record:
    """The Sample that an export put into the last column, unless the row was edited since."""
    try:
        sample = json.loads(record["sample"])
        answer = sample["answers"][0]
        if sample["kind"] == "choice":
            answer = ascii_uppercase[sample["choices"].index(answer)]
        # a line end within a cell is told by the reader as \n, whatever it was
        same = [record["question"].split(), record["answer"].split()] == [sample["question"].split(), answer.split()]
    except (TypeError, KeyError, IndexError, ValueError, AttributeError, RecursionError):
        same = False
    if not same:
        fix = "edit both, or empty the column `sample`"
        raise InputError("the row says something else than `sample`", file=file, row=row, key="sample", fix=fix)
    return dict(sample)


def _picture(record: Record, pictures: dict[str, Path], scratch: Path, file: Path, row: int) -> str | Path | None:
    """A file in the scratch folder; of `image_path`, its name."""
    cell = record.get("image", "").strip()
    if not cell:
        return record.get("image_path", "").strip() or None
    if len(cell) <= REFERENCE_DIGITS and cell.isdecimal():
        if cell not in pictures:
            raise InputError(
                f"no row before this one has the index {cell} and a picture", file=file, row=row, key="image"
            )
        return pictures[cell]
    if cell.startswith("["):
        raise InputError("several pictures in one question; one is read", file=file, row=row, key="image")
    try:
        data = base64.b64decode(cell, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError("neither base64 nor the index of a row", file=file, row=row, key="image") from error
    pictures[record["index"].strip()] = picture = scratch.with_name(f"{scratch.name}, row {row}")
    picture.write_bytes(data)
    return picture
