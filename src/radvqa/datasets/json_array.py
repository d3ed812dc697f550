"""A JSON array, one element at a time: a file of any size in, `(place from 1, value)` out, in bounded memory.

for place, record in json_records(Path("train.json")): print(place, record["question"])
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from radvqa.datasets.reading import DAMAGED, Record, open_input, record_of
from radvqa.errors import InputError

CHUNK = 1 << 20
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def json_records(file: Path) -> Iterator[tuple[int, Record]]:
    """The objects of a JSON array, with their places from 1; InputError if it is anything else."""
    for place, value in elements(file):
        yield place, record_of(value, file, place)


def elements(file: Path) -> Iterator[tuple[int, Any]]:
    """The array's elements; InputError, with the place, for anything that is not one whole JSON array in UTF-8.

    An element that does not parse may only be cut by the end of what was read so far, so more is read, twice as much
    each time, until it parses or the file ends.
    """
    with open_input(file) as stream:
        more = _reader(stream, file)
        text = more(CHUNK)
        at, place, size = _skip(text, 0), 0, CHUNK
        if text[at : at + 1] != "[":
            found = f"expected a list of records, found {text[at : at + 20]!r}" if text.strip() else "the file is empty"
            raise InputError(found, file=file)
        at += 1
        while True:
            try:
                element = _element(text, at, first=place == 0)
            except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
                fresh = more(size)
                if not fresh:
                    raise InputError(f"not valid JSON ({error})", file=file, row=place + 1) from error
                text, at, size = text[at:] + fresh, 0, size * 2
                continue
            if element is None:
                break
            value, at = element
            place, size = place + 1, CHUNK
            yield place, value
        rest = (text[_skip(text, at) + 1 :] + more(CHUNK)).strip()
        if rest:
            raise InputError(f"something follows the list: {rest[:20]!r}", file=file, row=place)


def _element(text: str, at: int, first: bool) -> tuple[Any, int] | None:
    """The element after `at` and where it ends; None at the closing bracket."""
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return None
    if not first:
        at = _skip(text, at + 1)  # the comma, which was there when the element before was read
    value, end = _DECODER.raw_decode(text, at)
    after = _skip(text, end)
    if text[after : after + 1] not in (",", "]"):  # nothing is taken before what follows is seen: 1. may become 1.5
        raise json.JSONDecodeError("expected a comma or the end of the list", text, end)
    return value, end


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None  # the pattern matches nothing at all, too
    return blank.end()


def _reader(stream: IO[bytes], file: Path) -> Any:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def more(size: int) -> str:
        try:
            while raw := stream.read(size):
                if text := decoder.decode(raw):
                    return text
            return decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise InputError("the file is not UTF-8", file=file, fix="save it as UTF-8") from error
        except DAMAGED as error:
            raise InputError(f"the file cannot be read to its end ({error})", file=file) from error

    return more
