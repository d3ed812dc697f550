"""Files of answers as other programs write them, read into plain records.

In: JSONL, a JSON array or object, a CSV or TSV table, an .xlsx sheet, or Parquet. Out: a Record a row: id, answer, and
whatever else the row says of its question.

    records = read_records(Path("answers.jsonl"))

Names are taken by what they mean in the wild. `answer` is the model's answer in a file of answers, and the reference
where the row holds a `prediction` beside it (VLMEvalKit's tables, side-by-side files).
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from radvqa.errors import InputError
from radvqa.sample import KINDS
from radvqa.score.closed import YES_NO
from radvqa.score.spreadsheet import read_sheet
from radvqa.score.text import normalise
from radvqa.tables import read_table

IDS = ("id", "question_id", "qid", "index", "idx")
PREDICTIONS = ("prediction", "pred", "predicted_answer", "model_answer", "response", "output", "generated_answer")
REFERENCES = ("reference", "references", "answers", "ground_truth", "gt_answer", "gt", "label", "target")
QUESTIONS = ("question", "prompt", "query")
KIND_NAMES = ("kind", "qtype", "answer_type", "question_type")
IMAGES = ("image", "image_id", "img_id", "image_name", "img_name", "image_path")
CHOICES = ("choices", "options")
LETTERS = string.ascii_uppercase
IMAGE_NAME_LENGTH = 500
"""A longer `image` is the picture itself in base64, as VLMEvalKit's tables have it, and names nothing."""


@dataclass(frozen=True)
class Record:
    """One answer as the file has it."""

    id: str
    answer: str | None
    """None: the row holds none; it will be unscored."""
    row: int
    references: tuple[str, ...] = ()
    question: str | None = None
    kind: str | None = None
    choices: tuple[str, ...] = ()
    image: str | None = None


def read_records(path: Path) -> list[Record]:
    """Every answer in the file, in its order. Raises InputError naming the row for what is no answer, and for an id
    that is there twice."""
    if not path.is_file():
        raise InputError("no such file of answers", file=path)
    records = [_record(row, number, path) for number, row in enumerate(read_rows(path), 1)]
    if not records:
        raise InputError("the file holds no answers", file=path)
    seen: dict[str, int] = {}
    for record in records:
        first = seen.setdefault(record.id, record.row)
        if first != record.row:
            raise InputError(f"the id {record.id!r} is there twice (first in row {first})", file=path, row=record.row)
    return records


def read_rows(path: Path) -> Iterable[Mapping[str, Any]]:
    """The rows of a file of any of the forms, by their own names. Raises InputError for what cannot be read."""
    ending = path.suffix.lower()
    if ending in (".tsv", ".csv"):
        return _table(path, "\t" if ending == ".tsv" else ",")
    if ending in (".parquet", ".pq"):
        return read_table(path).iter_rows(named=True)
    if ending == ".xlsx":
        return read_sheet(path)
    if ending == ".xls":
        raise InputError("old spreadsheets are not read", file=path, fix="save it as .xlsx or TSV")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason})", file=path) from error
    return _json_rows(text, path) if ending == ".json" or text.lstrip().startswith("[") else _json_lines(text, path)


def _table(path: Path, separator: str) -> Iterator[Mapping[str, Any]]:
    try:
        table = pl.read_csv(path, separator=separator, infer_schema_length=0)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"not a table ({error})", file=path) from error
    return table.iter_rows(named=True)


def _json_rows(text: str, path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if "Extra data" in error.msg:  # JSONL under another name
            return _json_lines(text, path)
        raise InputError(f"not JSON ({error.msg})", file=path, row=error.lineno) from error
    if isinstance(found, dict):
        if all(isinstance(value, str | None) for value in found.values()):
            return [{"id": key, "answer": value} for key, value in found.items()]
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else None
    if not isinstance(found, list):
        raise InputError("expected an array of answers, or an object from id to answer", file=path)
    return found


def _json_lines(text: str, path: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"not JSON ({error.msg})", file=path, row=number) from error


# ---------------------------------------------------------------- one row


def _record(row: Any, number: int, path: Path) -> Record:
    if not isinstance(row, Mapping):
        raise InputError("expected an object with an id and an answer", file=path, row=number)
    columns = {str(name).strip().lower(): value for name, value in row.items()}
    predicted = next((name for name in PREDICTIONS if name in columns), None)
    spoken = predicted or next((name for name in ("answer", "text") if name in columns), None)
    if spoken is None:
        fix = "name it answer, or prediction beside a reference"
        raise InputError("no answer in this row, only " + ", ".join(columns), file=path, row=number, fix=fix)
    choices = _choices(row, columns)
    references = _texts(_first(columns, REFERENCES))
    if not references and predicted:
        references = _texts(columns.get("answer"))
    references = tuple(_named_choice(reference, choices) for reference in references)
    name = _first(columns, IDS)
    return Record(
        id=str(number - 1) if name is None else _text(name),
        answer=None if columns[spoken] is None else _text(columns[spoken]),
        row=number,
        references=references,
        question=_text_or_none(_first(columns, QUESTIONS)),
        kind=_kind(_first(columns, KIND_NAMES), references, choices),
        choices=choices,
        image=_image(_first(columns, IMAGES)),
    )


def _first(columns: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((columns[name] for name in names if columns.get(name) is not None), None)


def _text(value: Any) -> str:
    """A value as text; 10.0, which a table makes of 10, is "10"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return tuple(_text(one) for one in values if _text(one).strip())


def _choices(row: Mapping[str, Any], columns: Mapping[str, Any]) -> tuple[str, ...]:
    """A list of choices, or the columns A, B, C ... as far as they are filled."""
    given = _first(columns, CHOICES)
    if isinstance(given, (list, tuple)):
        return _texts(given)
    filled = []
    for letter in LETTERS:
        if not _texts(row.get(letter)):
            break
        filled.append(_text(row[letter]))
    return tuple(filled) if len(filled) > 1 else ()


def _named_choice(reference: str, choices: tuple[str, ...]) -> str:
    """The choice a one-letter reference names; any other reference is its own text."""
    name = reference.strip().upper()
    place = LETTERS.find(name) if len(name) == 1 else -1
    return choices[place] if 0 <= place < len(choices) else reference


def _kind(given: Any, references: tuple[str, ...], choices: tuple[str, ...]) -> str | None:
    """What the row says, else choice where it has choices and closed where a reference is yes or no."""
    named = str(given).strip().lower()
    if named in KINDS:
        return named
    if choices:
        return "choice"
    if not references:
        return None
    return "closed" if any(normalise(reference) in YES_NO for reference in references) else "open"


def _image(value: Any) -> str | None:
    text = _text_or_none(value if isinstance(value, (str, int, float)) else None)
    return text if text and len(text) <= IMAGE_NAME_LENGTH else None
