"""Records with columns of any name in, Samples out: what `table` and `huggingface` have in common.

    columns = Columns(file, {"question": "q", "answer": "a"}, images=folder, split="train", separator="|", name="mine")
    for row in columns.rows(csv_records(file), {}, drop_empty_answers=False, without_image="refuse", ids=set(), drop=print):

A field is found under the column it is said to be in, else under its own name. Lists may be lists, JSON text or parts
between separators; boxes, mask and extra are understood as a corpus holds them, so what was exported reads back equal.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from radvqa.datasets.reading import Record, picture_in, text_of
from radvqa.datasets.source import Drop, Picture, Row, kind_of, sample_at, tidy
from radvqa.errors import InputError
from radvqa.sample import SPLITS, Box, Sample

TEXT_FIELDS = ("source", "topic", "subject", "language", "origin", "evidence", "modality", "plane", "region")
OTHER_FIELDS = ("question", "answer", "image", "id", "kind", "choices", "split", "findings", "boxes", "mask", "extra")
FIELDS = (*OTHER_FIELDS, *TEXT_FIELDS)
SPLIT_WORDS = {"dev": "validation", "val": "validation", "valid": "validation", "validate": "validation"}


class Columns:
    """Where the fields of a Sample are in the records of one file.

    `split` is of rows that name none, `name` the source of those that name none, `ids` what their ids begin with.
    """

    def __init__(
        self,
        file: Path,
        named: Mapping[str, str],
        *,
        images: Path,
        split: str,
        separator: str,
        name: str,
        ids: str | None = None,
    ) -> None:
        for field in named:
            if field not in FIELDS:
                raise InputError(f"there is no field {field!r}", key="columns", fix="fields are " + ", ".join(FIELDS))
        self.file, self.named, self.images = file, named, images
        self.default_split, self.separator, self.name, self.ids = split, separator, name, ids or name
        self.column = {field: named.get(field, field) for field in FIELDS}
        self.prepared = False
        """Whether the rows come out of a corpus, as a column `answers` says: then nothing in them is tidied."""

    def resolve(self, header: Collection[str]) -> None:
        """All columns that were named, and question and answer, exist; `answers` will do for `answer`."""
        if "answer" not in self.named and "answer" not in header and "answers" in header:
            self.column["answer"], self.prepared = "answers", True
        for field in dict.fromkeys(("question", "answer", *self.named)):
            if self.column[field] not in header:
                fix = "the columns are " + ", ".join(map(str, header)) + f"; say which holds it: columns.{field}=..."
                raise InputError(f"no column {self.column[field]!r}", file=self.file, key=f"columns.{field}", fix=fix)

    def text(self, row: int, record: Record, field: str) -> str | None:
        """The field's text, without blanks at its edges; None where there is none."""
        text = text_of(record, self.column[field], self.file, row, default="")
        return (text if self.prepared else text.strip()) or None

    def many(self, row: int, record: Record, field: str) -> tuple[str, ...]:
        """The texts of a field that may hold several."""
        value = self._unpacked(record, field, "[")
        if isinstance(value, list):
            found = [text_of({field: item}, field, self.file, row, default="") for item in value]
            if self.prepared:
                return tuple(found)
        else:
            text = self.text(row, record, field) or ""
            found = text.split(self.separator) if self.separator else [text]
        return tuple(item.strip() for item in found if item.strip())

    def split(self, row: int, record: Record) -> str:
        """train, validation or test; dev, val and valid are validation."""
        word = (self.text(row, record, "split") or self.default_split).lower()
        word = SPLIT_WORDS.get(word, word)
        if word not in SPLITS:
            fix = "use " + ", ".join(SPLITS)
            raise InputError(f"unknown split {word!r}", file=self.file, row=row, key=self.column["split"], fix=fix)
        return word

    def subject(self, row: int, record: Record) -> str:
        """What is kept together: the subject, else the image, else the row."""
        image = record.get(self.column["image"])
        return self.text(row, record, "subject") or (image if isinstance(image, str) and image else f"row {row}")

    def train_subjects(self, records: Iterable[tuple[int, Record]]) -> set[str]:
        """The subjects of the rows that are for training."""
        return {self.subject(row, record) for row, record in records if self.split(row, record) == "train"}

    def picture(self, row: int, record: Record) -> Picture | None:
        """A file of the image folder, or the bytes that a Parquet or Arrow file holds."""
        value = record.get(self.column["image"])
        if isinstance(value, dict):  # the Image feature of Hugging Face `datasets`
            value = value.get("bytes") or value.get("path")
        if isinstance(value, (bytes, Path)):
            return value
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            found = f"expected a file name, found {type(value).__name__}"
            raise InputError(found, file=self.file, row=row, key=self.column["image"])
        return picture_in(self.images, value, self.file, row)

    def sample(self, row: int, record: Record, moved: Mapping[str, str]) -> Sample:
        """The record as a Sample; `moved` says which training subjects are held out for which split."""
        question, answers = self.text(row, record, "question"), self.many(row, record, "answer")
        if question is None:
            raise InputError("the question is empty", file=self.file, row=row, key=self.column["question"])
        if not answers:
            fix = "give it one, or say drop_empty_answers"
            raise InputError(
                "a question without an answer", file=self.file, row=row, key=self.column["answer"], fix=fix
            )
        choices = self.many(row, record, "choices")
        if not self.prepared:
            answers = tuple(tidy(chosen(answer, choices, self.file, row)) for answer in answers)
        split = self.split(row, record)
        given = {field: value for field in TEXT_FIELDS if (value := self.text(row, record, field))}
        return sample_at(
            self.file,
            row,
            id=self.text(row, record, "id") or f"{self.ids}-{row}",
            question=question,
            answers=answers,
            kind=(self.text(row, record, "kind") or kind_of(answers, choices)).lower(),
            choices=choices,
            split=moved.get(self.subject(row, record), "train") if split == "train" else split,
            findings=self.many(row, record, "findings"),
            boxes=self.boxes(row, record),
            mask=self.mask(row, record),
            extra=self.extra(row, record),
            **({"source": self.name} | given),
        )

    def rows(
        self,
        records: Iterable[tuple[int, Record]],
        moved: Mapping[str, str],
        *,
        drop_empty_answers: bool,
        without_image: str,
        ids: set[str],
        drop: Drop,
    ) -> Iterator[Row]:
        """Every record as a Row, in order. `ids` are those already given out; one that comes again is an error."""
        for place, (row, record) in enumerate(records):
            if place == 0:
                self.resolve(record.keys())  # of the first; JSON may leave out a field of later ones
            if drop_empty_answers and not self.many(row, record, "answer"):
                drop("an empty answer")
                continue
            picture = self.picture(row, record)
            if picture is None and without_image == "refuse":
                fix = "name the column with columns.image, or say without_image: keep or drop"
                raise InputError("no image is named", file=self.file, row=row, key=self.column["image"], fix=fix)
            if picture is None and without_image == "drop":
                drop("no image is named")
                continue
            sample = self.sample(row, record, moved)
            if sample.id in ids:
                raise InputError(f"the id {sample.id!r} is there twice", file=self.file, row=row, key="id")
            ids.add(sample.id)
            yield Row(sample, picture)

    def boxes(self, row: int, record: Record) -> tuple[Box, ...]:
        """A list of records with label, x, y, width and height."""
        value = self._unpacked(record, "boxes", "[")
        try:
            return tuple(
                Box(label=str(box["label"]), **{key: float(box[key]) for key in ("x", "y", "width", "height")})
                for box in value or ()
            )
        except (TypeError, KeyError, ValueError) as error:  # InputError, of a box without a place, is one too
            fix = "a box has label, x, y, width and height"
            raise InputError(
                "not a list of boxes", file=self.file, row=row, key=self.column["boxes"], fix=fix
            ) from error

    def mask(self, row: int, record: Record) -> bytes | None:
        """A PNG as bytes, or as base64 text."""
        value = record.get(self.column["mask"])
        if value is None or value == "":
            return None
        try:
            data = value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
        except (TypeError, ValueError, binascii.Error):
            data = b""
        if not data.startswith(b"\x89PNG"):
            raise InputError("not a PNG, as bytes or in base64", file=self.file, row=row, key=self.column["mask"])
        return data

    def extra(self, row: int, record: Record) -> dict[str, Any]:
        """The `extra` column if there is one, and every plain value of a column that is no field."""
        value = self._unpacked(record, "extra", "{")
        if value not in (None, "") and not isinstance(value, dict):
            raise InputError("expected a record", file=self.file, row=row, key=self.column["extra"])
        known = set(self.column.values())
        return dict(value or {}) | {str(k): v for k, v in record.items() if k not in known and _is_plain(v)}

    def _unpacked(self, record: Record, field: str, opening: str) -> Any:
        """The field's value; a text that is a JSON list (record) is read as one."""
        value = record.get(self.column[field])
        if isinstance(value, str) and value.lstrip().startswith(opening):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):  # a text that begins with a bracket
                return value
        return value


def chosen(answer: str, choices: tuple[str, ...], file: Path, row: int) -> str:
    """The option an answer names, by its words or by its letter; the answer itself where there are no options."""
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
    return isinstance(value, (str, int, float, bool)) and value != "" and value == value
