"""SLAKE 1.0: 14,028 questions in English and Chinese about 642 CT, MR and X-ray images. CC BY 4.0; med-vqa.com/slake.

Official folder: `train.json`, `validate.json` (or the Hugging Face export's `validation.json`), `test.json`, `mask.txt`
and `imgs/xmlabN/{source.jpg, mask.png, detection.json}`. 9,835 / 2,099 / 2,094 rows. One record:

    {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Does the picture contain liver?", "answer": "Yes",
     "q_lang": "en", "location": "Abdomen", "modality": "MRI", "answer_type": "CLOSED", "base_type": "vqa",
     "content_type": "Organ", "triple": ["vhead", "_", "_"], "qid": 3}

The two languages divide the images differently: 72 English test images are Chinese training images. One training
row has no answer and is dropped. Where the images are there, boxes come from detection.json, and a question that names
a structure of mask.txt carries that structure's mask.

    radvqa import slake Slake1.0/ --out corpora/slake languages=[en]
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import Record, json_value, lines, note, picture_in, text_of
from radvqa.datasets.source import Card, Drop, Row, sample_at, tidy
from radvqa.datasets.terms import modality_of, plane_of, region_of
from radvqa.errors import InputError
from radvqa.sample import Box

CARD = Card(
    name="slake",
    title="SLAKE 1.0",
    licence="CC BY 4.0",
    commercial=True,
    citation="Liu, Zhan, Xu, Ma, Yang, Wu. SLAKE: A Semantically-Labeled Knowledge-Enhanced Dataset for Medical Visual "
    "Question Answering. IEEE ISBI (2021).",
    homepage="https://www.med-vqa.com/slake/",
)
FILES = {"train": ("train.json",), "validation": ("validate.json", "validation.json"), "test": ("test.json",)}
KEPT = ("location", "base_type", "triple", "qid", "img_name")


def rows(
    path: Path | None,
    *,
    languages: tuple[Literal["en", "zh"], ...] = ("en",),
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    evidence: bool = True,
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the files.

    `languages`: which to take; `splits`: which files to read; `evidence`: whether to read boxes and masks where the
    image folders have them.
    """
    if path is None:
        raise InputError("slake needs the folder of its files", key="path")
    known = _Evidence(path / "mask.txt") if evidence else None
    planes = _planes(path, splits)
    for split in dict.fromkeys(splits):
        file = _file_of(path, split)
        for row, record in json_records(file):
            if text_of(record, "q_lang", file, row) not in languages:
                continue
            if not text_of(record, "answer", file, row, default="").strip():
                drop("an empty answer")
                continue
            picture = picture_in(path / "imgs", text_of(record, "img_name", file, row), file, row)
            yield _row(file, row, record, split, picture, known, planes)


def _planes(folder: Path, splits: tuple[str, ...]) -> dict[str, str]:
    """{image: plane} from the questions, in either language, that ask for it."""
    planes: dict[str, str] = {}
    for file in [_file_of(folder, split) for split in dict.fromkeys(splits)]:
        for row, record in json_records(file):
            plane = plane_of(text_of(record, "answer", file, row, default=""))
            if plane and record.get("content_type") == "Plane":
                planes.setdefault(text_of(record, "img_name", file, row), plane)
    return planes


def _file_of(folder: Path, split: str) -> Path:
    found = [folder / name for name in FILES[split] if (folder / name).is_file()]
    if not found:
        raise InputError(
            f"no {' or '.join(FILES[split])} here",
            file=folder,
            fix=f"give the folder Slake1.0, unpacked, or leave {split} out of splits",
        )
    return found[0]


def _row(
    file: Path, row: int, record: Record, split: str, picture: Path, known: _Evidence | None, planes: dict[str, str]
) -> Row:
    question, answer = text_of(record, "question", file, row).strip(), text_of(record, "answer", file, row)
    content = text_of(record, "content_type", file, row, default="").strip()
    folder = picture.parent
    sample = sample_at(
        file,
        row,
        id=f"slake-{text_of(record, 'qid', file, row)}",
        question=question,
        answers=(tidy(answer),),
        kind="closed" if text_of(record, "answer_type", file, row).strip().upper() == "CLOSED" else "open",
        topic="knowledge" if content == "KG" else content.lower() or None,
        split=split,
        source=CARD.name,
        subject=f"slake-{text_of(record, 'img_id', file, row)}",
        language=record["q_lang"],
        modality=modality_of(text_of(record, "modality", file, row, default="")),
        plane=planes.get(record["img_name"]),
        region=region_of(text_of(record, "location", file, row, default="")),
        boxes=known.boxes(folder / "detection.json") if known else (),
        mask=known.mask(folder / "mask.png", question + " " + answer) if known else None,
        extra={key: record[key] for key in KEPT if key in record},
    )
    return Row(sample, picture)


class _Evidence:
    """Boxes and masks of the images, each file read once an import."""

    def __init__(self, names: Path) -> None:
        self.names = _mask_names(names)
        self.boxes = lru_cache(maxsize=1024)(_boxes)
        self.png = lru_cache(maxsize=1024)(_mask_png)

    def mask(self, file: Path, text: str) -> bytes | None:
        """Where the structures lie that the text names: a PNG of 1 bit a pixel, None if nowhere.

        The longest name counts: "left lung" is not also "lung".
        """
        values: list[int] = []
        text = text.lower()
        for name in sorted(self.names, key=len, reverse=True):
            if re.search(rf"\b{re.escape(name)}\b", text):
                values.append(self.names[name])
                text = re.sub(rf"\b{re.escape(name)}\b", " ", text)
        return self.png(file, tuple(sorted(values))) if values and file.is_file() else None


def _boxes(file: Path) -> tuple[Box, ...]:
    """detection.json: a list of {label: [x, y, width, height]}; most images have one or two, some have none."""
    if not file.is_file():
        return ()
    found = json_value(file)
    try:
        return tuple(
            Box(label=label, x=float(x), y=float(y), width=float(width), height=float(height))
            for entry in found
            for label, (x, y, width, height) in entry.items()
        )
    except (AttributeError, TypeError, ValueError) as error:  # InputError, of a box without a place, is one too
        raise InputError("expected a list of {label: [x, y, width, height]}", file=file) from error


def _mask_names(file: Path) -> dict[str, int]:
    """mask.txt: one `value:structure` a line; {structure in small letters: grey value in mask.png}."""
    names: dict[str, int] = {}
    for row, line in lines(file) if file.is_file() else ():
        if line.strip():
            value, colon, name = line.partition(":")
            if not colon or not value.strip().isdecimal() or not name.strip():
                raise InputError(f"expected value:structure, found {line!r}", file=file, row=row)
            names[name.strip().lower()] = int(value)
    return names


def _mask_png(file: Path, values: tuple[int, ...]) -> bytes | None:
    wanted = np.isin(_labels(file), values)
    if not wanted.any():
        return None
    buffer = io.BytesIO()
    Image.fromarray(wanted).save(buffer, "PNG")
    return buffer.getvalue()


def _labels(file: Path) -> Any:
    note(file)
    try:
        with Image.open(file) as picture:
            labels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"the mask is not readable ({error})", file=file) from error
    return labels if labels.ndim == 2 else labels[..., 0]
