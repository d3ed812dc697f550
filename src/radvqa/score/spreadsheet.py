"""The first sheet of an .xlsx workbook as rows of text: what VLMEvalKit writes its answers into.

In: a workbook (ECMA-376: a zip of XML). Out: a dict a row, from the names in the first row to text; None where a cell
is empty.

    rows = read_sheet(Path("model_set.xlsx"))
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from radvqa.errors import InputError

_SPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_LETTERS = re.compile(r"[A-Z]+")


def read_sheet(path: Path) -> list[dict[str, str | None]]:
    """The rows below the names. Raises InputError for what is no workbook."""
    try:
        with zipfile.ZipFile(path) as book:
            names = book.namelist()
            shared = _texts(book, "xl/sharedStrings.xml") if "xl/sharedStrings.xml" in names else []
            sheet = sorted(name for name in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name))[0]
            rows = [_cells(row, shared) for row in ElementTree.fromstring(book.read(sheet)).iter(f"{_SPACE}row")]
    except (zipfile.BadZipFile, ElementTree.ParseError, IndexError, KeyError, ValueError) as error:
        raise InputError(f"not an .xlsx workbook ({error})", file=path, fix="save it as TSV") from error
    if not rows:
        return []
    heads = rows[0]
    return [{name: row.get(place) for place, name in heads.items() if name} for row in rows[1:]]


def _texts(book: zipfile.ZipFile, name: str) -> list[str]:
    items = ElementTree.fromstring(book.read(name)).iter(f"{_SPACE}si")
    return ["".join(text.text or "" for text in item.iter(f"{_SPACE}t")) for item in items]


def _cells(row: ElementTree.Element, shared: list[str]) -> dict[int, str | None]:
    return {_place(cell, at): _text(cell, shared) for at, cell in enumerate(row.iter(f"{_SPACE}c"))}


def _place(cell: ElementTree.Element, at: int) -> int:
    """The column of a cell from its name (C7 is 2); cells that are empty may be left out of a file."""
    name = _LETTERS.match(cell.get("r", ""))
    if name is None:
        return at
    place = 0
    for letter in name[0]:
        place = 26 * place + ord(letter) - ord("A") + 1
    return place - 1


def _text(cell: ElementTree.Element, shared: list[str]) -> str | None:
    kind = cell.get("t")
    if kind == "inlineStr":
        return "".join(text.text or "" for text in cell.iter(f"{_SPACE}t"))
    value = cell.find(f"{_SPACE}v")
    if value is None or value.text is None:
        return None
    if kind == "s":
        return shared[int(value.text)]
    if kind == "b":
        return "true" if value.text == "1" else "false"
    return value.text
