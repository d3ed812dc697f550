"""LLaVA's conversations: a JSON array whose records hold an image and the turns of human and model about it.

    {"id": "7", "image": "3fa1.jpg", "conversations": [
        {"from": "human", "value": "<image>\\nIs there a fracture?"}, {"from": "gpt", "value": "no"}]}

Every human turn with the answer after it is one question; of several, the ids are `7-1`, `7-2` ... A folder holds a file a
split (train.json, val.json ...). Records that `radvqa export` wrote carry the whole Sample and come back equal.

    radvqa import llava llava_med/train.json --out corpora/llava_med images=llava_med/images licence="CC BY-NC 4.0"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.columns import SPLIT_WORDS, Columns
from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import Record, text_of
from radvqa.datasets.source import Card, Drop, Row, tidy, told_card
from radvqa.errors import InputError
from radvqa.export.llava import asked
from radvqa.sample import SPLITS

CARD = Card(
    name="llava",
    title="LLaVA conversations",
    licence="not stated",
    commercial=False,
    citation="not stated",
    homepage="https://github.com/haotian-liu/LLaVA",
)
IMAGE_TOKEN = "<image>"


def rows(
    path: Path | None,
    *,
    images: Path | None = None,
    split: Literal["train", "validation", "test"] = "train",
    without_image: Literal["refuse", "keep", "drop"] = "refuse",
    name: str | None = None,
    licence: str = CARD.licence,
    commercial: bool = False,
    citation: str = CARD.citation,
    drop: Drop,
) -> Iterator[Row]:
    """The questions, record by record.

    `images`: the folder that image names are relative to, by default the one the file lies in. `split` is that of files
    whose name says none. The rest is as for `table`.
    """
    if path is None:
        raise InputError("llava needs a JSON file, or the folder of its files", key="path")
    ids: set[str] = set()
    for file, named in _files(path, split):
        folder = images or file.parent
        if not folder.is_dir():
            raise InputError("no such image folder", file=folder, key="images")
        columns = Columns(file, {}, images=folder, split=named, separator="", name=name or path.stem)
        told = ((row, one) for row, record in json_records(file) for one in _questions(record, file, row))
        yield from columns.rows(told, {}, drop_empty_answers=False, without_image=without_image, ids=ids, drop=drop)


def describe(options: Mapping[str, Any]) -> Card:
    """The card with what the user, or the card.json of an export, says of the data."""
    return told_card(CARD, options)


def _files(path: Path, split: str) -> list[tuple[Path, str]]:
    """The files and their splits, train first."""
    if path.is_file():
        return [(path, _split_of(path) or split)]
    found = [(file, named) for file in sorted(path.glob("*.json")) if (named := _split_of(file))]
    if not found:
        raise InputError("no train.json, val.json or test.json here", file=path, fix="give the JSON file itself")
    return sorted(found, key=lambda item: SPLITS.index(item[1]))


def _split_of(file: Path) -> str | None:
    word = SPLIT_WORDS.get(file.stem.lower(), file.stem.lower())
    return word if word in SPLITS else None


def _questions(record: Record, file: Path, row: int) -> Iterator[Record]:
    """One record a question, under the names of a Sample's fields."""
    turns = _turns(record, file, row)
    image = record.get("image")
    if "sample" in record:
        yield _exported(record, turns, file, row) | {"image": image}
        return
    number = text_of(record, "id", file, row, default="")
    for place, (question, answer) in enumerate(turns, 1):
        own = f"{number}-{place}" if number and len(turns) > 1 else number
        text = question.replace(IMAGE_TOKEN, "").strip()
        yield {"id": own, "image": image, "question": text, "answers": [tidy(answer)]}


def _turns(record: Record, file: Path, row: int) -> list[tuple[str, str]]:
    """Questions with their answers."""
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns or len(turns) % 2 or not all(isinstance(turn, dict) for turn in turns):
        found = "expected turns of human and gpt, one after the other"
        raise InputError(found, file=file, row=row, key="conversations")
    for turn, speaker in zip(turns, ("human", "gpt") * len(turns)):
        if turn.get("from") != speaker:
            found = f"expected a turn from {speaker}, found one from {turn.get('from')!r}"
            raise InputError(found, file=file, row=row, key="conversations")
    texts = [text_of(turn, "value", file, row) for turn in turns]
    return list(zip(texts[::2], texts[1::2]))


def _exported(record: Record, turns: list[tuple[str, str]], file: Path, row: int) -> Record:
    """The Sample that an export put beside the conversation, unless the conversation was edited since."""
    sample = record["sample"]
    try:
        same = turns == [
            (asked(sample["question"], sample["choices"], bool(record.get("image"))), sample["answers"][0])
        ]
    except (TypeError, KeyError, IndexError):
        same = False
    if not same:
        fix = "edit both, or take `sample` out of the record"
        raise InputError(
            "the conversation says something else than `sample`", file=file, row=row, key="sample", fix=fix
        )
    return dict(sample)
