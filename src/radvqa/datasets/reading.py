"""Text files of data sets, read with the file and the row in every complaint.

In: JSON, JSON lines, CSV / TSV (gzip too), plain lines; UTF-8, with or without a byte order mark. Out: values, or
`(row, record)` pairs; the row is the line in the file, for a JSON array the place in it, both from 1. Files that are
read while `watching` is open are noted, so an import can store the hash of everything it was made from.

    for row, record in csv_records(Path("questions.csv")): print(row, record["question"])
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, cast

from radvqa.errors import InputError

Record = dict[str, Any]
NAME_SHOWN = 80
DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a file may raise when its disk, or its compression, is damaged."""
csv.field_size_limit(1 << 30)  # a picture in base64 is a field too
_watched: ContextVar[set[Path] | None] = ContextVar("watched", default=None)


@contextmanager
def watching() -> Iterator[set[Path]]:
    """Collects the files that are read inside the block."""
    files: set[Path] = set()
    token = _watched.set(files)
    try:
        yield files
    finally:
        _watched.reset(token)


def note(file: Path) -> None:
    """Says that `file` is an input of the import under way."""
    files = _watched.get()
    if files is not None:
        files.add(file)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_input(file: Path) -> IO[bytes]:
    """The file's bytes, unzipped if the name ends in .gz; InputError if it is missing or cannot be opened."""
    if not file.is_file():
        raise InputError("no such file", file=file, fix="check the path and the data set's official layout")
    note(file)
    try:
        return cast(IO[bytes], gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")
    except OSError as error:
        raise InputError(f"the file cannot be opened ({error.strerror})", file=file) from error


def lines(file: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """`(row, line)` without line ends; refuses bytes that are not `encoding` and NUL bytes."""
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise InputError(f"unknown encoding {encoding!r}", key="encoding") from error
    with open_input(file) as stream:
        try:
            for row, raw in enumerate(stream, 1):
                yield row, _decode(raw, file, row, encoding).rstrip("\r\n")
        except DAMAGED as error:
            raise InputError(f"the file cannot be read to its end ({error})", file=file) from error


def _decode(raw: bytes, file: Path, row: int, encoding: str) -> str:
    if row == 1:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError("the file is UTF-16", file=file, row=row, fix="save it as UTF-8")
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw:
        raise InputError("a NUL byte", file=file, row=row, fix="the file is damaged or is not text")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at column {error.start + 1} is not {encoding}"
        raise InputError(found, file=file, row=row, fix="save the file as UTF-8") from error


def json_value(file: Path) -> Any:
    """The one value a JSON file holds."""
    with open_input(file) as stream:
        text = _whole(stream, file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise InputError(f"not valid JSON ({error})", file=file, row=line, fix="is the file complete?") from error


def jsonl_records(file: Path) -> Iterator[tuple[int, Record]]:
    """One JSON object a line; blank lines are passed over."""
    for row, line in lines(file):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"not valid JSON ({error})", file=file, row=row) from error
            yield row, record_of(record, file, row)


def csv_records(
    file: Path, delimiter: str = ",", required: Sequence[str] = (), encoding: str = "utf-8"
) -> Iterator[tuple[int, Record]]:
    """One record a row under the names of the header; a row with more or fewer fields than the header is refused."""
    numbered = lines(file, encoding)
    reader = csv.reader((line + "\n" for _, line in numbered), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise InputError(f"not a valid table ({error})", file=file, row=reader.line_num) from error
        if fields is None:
            break
        if fields and header is None:
            header = _header(fields, file, required)
        elif fields and header is not None:
            if len(fields) != len(header):
                found = f"{len(fields)} fields where the header has {len(header)}"
                raise InputError(found, file=file, row=reader.line_num, fix="quote fields that hold the delimiter")
            yield reader.line_num, dict(zip(header, fields))
    if header is None:
        raise InputError("the file is empty", file=file)


def _header(fields: list[str], file: Path, required: Sequence[str]) -> list[str]:
    header = [name.strip() for name in fields]
    for name in required:
        if name not in header:
            raise InputError("no such column", file=file, key=name, fix="the columns are " + ", ".join(header))
    doubled = {name for name in header if name and header.count(name) > 1}
    if doubled:
        raise InputError("a column name is there twice: " + ", ".join(sorted(doubled)), file=file, row=1)
    return header


def _whole(stream: IO[bytes], file: Path) -> str:
    try:
        raw = stream.read()
    except DAMAGED as error:
        raise InputError(f"the file cannot be read to its end ({error})", file=file) from error
    text = _decode(raw, file, 1, "utf-8")
    if not text.strip():
        raise InputError("the file is empty", file=file)
    return text


def record_of(value: Any, file: Path, row: int) -> Record:
    """The value, which must be a JSON object."""
    if not isinstance(value, dict):
        raise InputError(f"expected a record, found {type(value).__name__}", file=file, row=row)
    return value


def text_of(record: Record, key: str, file: Path, row: int, *, default: str | None = None) -> str:
    """The text under `key`, numbers written out; a missing key, a null, NaN or another type is an InputError.

    `default` is what a missing key, a null or NaN gives instead.
    """
    value = record.get(key)
    if default is not None and (value is None or value != value):
        return default
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value != value:
        found = "the field is missing" if key not in record else f"expected text, found {type(value).__name__}"
        raise InputError(found, file=file, row=row, key=key)
    return str(value)


def picture_in(folder: Path, name: str, file: Path, row: int) -> Path:
    """The picture's path inside `folder`; names that lead out of it, also by a symbolic link, are refused."""
    name = name.strip().replace("\\", "/")
    inside = Path(name)
    if not _plausible(name) or inside.is_absolute() or ".." in inside.parts or name[1:3] == ":/":
        found = f"the image name {name[:NAME_SHOWN]!r} is not a path inside {folder.name}"
        raise InputError(found, file=file, row=row, fix="give names relative to the image folder")
    path = folder / inside
    if not _within(path, folder):
        raise InputError(f"the image {name[:NAME_SHOWN]!r} is a link that leaves {folder.name}", file=file, row=row)
    return path


def _plausible(name: str) -> bool:
    """Whether a file system could hold the name at all: not empty, no NUL, encodable, no part over 255 bytes."""
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    return bool(name) and "\0" not in name and max(map(len, parts)) <= 255 and len(name) <= 1024


@lru_cache(maxsize=1 << 16)
def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
