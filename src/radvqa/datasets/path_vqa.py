"""PathVQA: 32,632 questions about pathology figures. Copyright of the pictures stays with the textbooks' publishers.

Three forms: the authors' `qas/{train,val,test}/{split}_qa.pkl` with `images/{split}/`, pickled lists of
{"image": "train_0422", "question": ..., "answer": ...}; the Hugging Face export `data/{train,validation,test}-*.parquet`
(19,654 / 6,259 / 6,719), pictures inside; and an export as `train.json` and `test.json` whose `image_path` has backward
slashes and whose test is validation and test together.

The pickle is read by an unpickler that builds lists, dictionaries, texts and numbers, and refuses everything else.

    radvqa import path_vqa pvqa/ --out corpora/path_vqa
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.columnar import parquet_records
from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import Record, open_input, picture_in, record_of, text_of
from radvqa.datasets.source import Card, Drop, Picture, Row, kind_of, sample_at, tidy
from radvqa.errors import InputError

CARD = Card(
    name="path_vqa",
    title="PathVQA",
    licence="pictures: copyright of the textbooks' publishers; questions: MIT",
    commercial=False,
    citation="He, Zhang, Mou, Xing, Xie. PathVQA: 30000+ Questions for Medical Visual Question Answering. "
    "arXiv:2003.10286 (2020).",
    homepage="https://github.com/UCSD-AI4H/PathVQA",
)
PICKLES = {"train": "train", "validation": "val", "test": "test"}
Numbered = tuple[Path, int, Record]


def rows(
    path: Path | None,
    *,
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the files."""
    if path is None:
        raise InputError("path_vqa needs the folder of its files", key="path")
    for split in dict.fromkeys(splits):
        records, images = _records(path, split)
        for place, (file, row, record) in enumerate(records):
            answer = text_of(record, "answer", file, row, default="").strip()
            if not answer:
                drop("an empty answer")
                continue
            picture, name = _picture(record, images, file, row)
            answers = (tidy(answer),)
            sample = sample_at(
                file,
                row,
                id=f"path_vqa-{split}-{place}",
                question=text_of(record, "question", file, row).strip(),
                answers=answers,
                kind=kind_of(answers),
                split=split,
                source=CARD.name,
                modality="microscopy",
                extra={"image_name": name} if name else {},
            )
            yield Row(sample, picture)


def _records(folder: Path, split: str) -> tuple[Iterator[Numbered], Path]:
    """The records of a split, and where its pictures are."""
    word = PICKLES[split]
    pickled = folder / "qas" / word / f"{word}_qa.pkl"
    if pickled.is_file():
        return _from_pickle(pickled), folder / "images" / word
    parquet = sorted([*folder.glob(f"{split}-*.parquet"), *folder.glob(f"data/{split}-*.parquet")])
    if parquet:
        return ((file, row, record) for file in parquet for row, record in parquet_records(file)), folder
    exported = folder / f"{split}.json"
    if exported.is_file():
        return ((exported, row, record) for row, record in json_records(exported)), folder
    fix = f"expected {pickled.relative_to(folder)}, data/{split}-*.parquet or {split}.json, or leave it out of splits"
    raise InputError(f"no PathVQA files of the {split} split here", file=folder, fix=fix)


def _from_pickle(file: Path) -> Iterator[Numbered]:
    value = load_plain(file)
    if not isinstance(value, list):
        raise InputError(f"expected a list of records, found {type(value).__name__}", file=file)
    for row, record in enumerate(value, 1):
        yield file, row, record_of(record, file, row)


class _PlainUnpickler(pickle.Unpickler):
    """Builds Python's own containers, texts and numbers: those need no class; every class is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants to load {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def load_plain(file: Path) -> Any:
    """The value of a pickle that holds only lists, dictionaries, texts and numbers; InputError for any other file."""
    with open_input(file) as stream:
        try:
            return _PlainUnpickler(stream).load()
        except Exception as error:  # a broken pickle may fail in any way; each is the file's fault
            found = f"not a pickle of plain values ({type(error).__name__}: {error})"
            raise InputError(
                found, file=file, fix="such a file can run programs; only the authors' own is read"
            ) from error


def _picture(record: Record, images: Path, file: Path, row: int) -> tuple[Picture, str]:
    """The picture inside the record, or its file: `image` without an ending, or `image_path`."""
    value = record.get("image", record.get("image_path"))
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value, ""
    if not isinstance(value, str):
        raise InputError(f"expected an image, found {type(value).__name__}", file=file, row=row, key="image")
    name = value.strip().replace("\\", "/")
    return picture_in(images, name if Path(name).suffix else name + ".jpg", file, row), name
