"""PMC-VQA: 227,000 four-choice questions about 149,000 figures of PubMed Central articles. CC BY-SA.

Two versions, told apart by their files. Version 1: `train.csv`, `test.csv` (50,000 rows), `test_clean.csv` (2,000 rows,
checked by hand), `images/`; the columns are Figure_path, Question, Answer, Choice A .. D, Answer_label. Version 2 (no
compound figures): `train_2.csv` (152,603), `test_2.csv` (33,430), `figures/`; an index column, Figure_path, Caption,
Question, Choice A .. D, Answer (the letter), split. One row of version 2:

    0,PMC8253867_Fig2_41.jpg,CT of ...,What is shown?, A: A tumour , B:A cyst, C: vitamin A: low , D: none ,B,test

Choices carry their own letter, in many spellings; it is taken off once, and only where it is the column's own.

    radvqa import pmc_vqa PMC-VQA/ --out corpora/pmc_vqa version=v2
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from radvqa.datasets.reading import Record, csv_records, picture_in
from radvqa.datasets.source import Card, Drop, Holdout, Row, check_splits, held_out, sample_at
from radvqa.datasets.terms import only_modality_in
from radvqa.errors import InputError

CARD = Card(
    name="pmc_vqa",
    title="PMC-VQA",
    licence="CC BY-SA",
    commercial=True,
    citation="Zhang, Wu, Zhao, Lin, Zhang, Wang, Xie. PMC-VQA: Visual Instruction Tuning for Medical Visual Question "
    "Answering. arXiv:2305.10415 (2023).",
    homepage="https://huggingface.co/datasets/xmcmic/PMC-VQA",
)
LETTERS = "ABCD"
FILES = {
    ("v1", "train"): "train.csv",
    ("v1", "test"): "test.csv",
    ("v1", "test_clean"): "test_clean.csv",
    ("v2", "train"): "train_2.csv",
    ("v2", "test"): "test_2.csv",
}
IMAGES = {"v1": ("images",), "v2": ("figures", "images_2", "images")}
REQUIRED = ("Figure_path", "Question", *(f"Choice {letter}" for letter in LETTERS))


def rows(
    path: Path | None,
    *,
    version: Literal["auto", "v1", "v2"] = "auto",
    splits: tuple[Literal["train", "test"], ...] = ("train", "test"),
    test: Literal["clean", "full"] = "clean",
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the files.

    `test`: version 1's test set checked by hand, or the whole of it. `validation_share` of the training articles go to
    `holdout`, chosen by `seed`; there is no official validation split.
    """
    if path is None:
        raise InputError("pmc_vqa needs the folder of its files", key="path")
    which = _version(path) if version == "auto" else version
    images = next((path / name for name in IMAGES[which] if (path / name).is_dir()), path / IMAGES[which][0])
    names = {s: "test_clean" if (which, s, test) == ("v1", "test", "clean") else s for s in splits}
    check_splits(path, {split: path / FILES[which, name] for split, name in names.items()})
    for split, name in names.items():
        file = path / FILES[which, name]
        moved: dict[str, str] = {}
        if split == "train" and validation_share:
            articles = {_article(record["Figure_path"]) for _, record in csv_records(file, required=REQUIRED)}
            moved = held_out(articles, validation_share, seed, holdout)
        for place, (row, record) in enumerate(csv_records(file, required=REQUIRED)):
            if not record["Question"].strip():
                drop("an empty question")
                continue
            choices = choices_of(record)
            if not all(choices):
                drop("an empty choice")
                continue
            yield _row(file, row, record, f"pmc_vqa-{which}-{name}-{place}", choices, split, moved, images)


def _version(folder: Path) -> str:
    for version in ("v2", "v1"):
        if any((folder / name).is_file() for (which, _), name in FILES.items() if which == version):
            return version
    fix = "expected " + ", ".join(FILES.values())
    raise InputError("no PMC-VQA files here", file=folder, fix=fix)


def choices_of(record: Record) -> tuple[str, ...]:
    """The four options without their letters.

    A letter is a prefix if it is the column's own and at least two options of the row carry theirs: an option such as
    "vitamin A: low", or one that alone happens to begin with its letter, stays as it is.
    """
    raw = [record[f"Choice {letter}"].strip() for letter in LETTERS]
    found = [re.match(rf"{letter}\s*:\s*", text) for letter, text in zip(LETTERS, raw)]
    if sum(match is not None for match in found) < 2:
        return tuple(raw)
    return tuple(text[match.end() :] if match else text for match, text in zip(found, raw))


def _answer(file: Path, row: int, record: Record, choices: tuple[str, ...]) -> str:
    """The option that is right: by Answer_label, by Answer if it is a letter, else by the words of Answer."""
    given = str(record.get("Answer") or record.get("Anwser") or "").strip()
    letter = (record.get("Answer_label") or given).strip().upper()
    if len(letter) == 1 and letter in LETTERS:
        return choices[LETTERS.index(letter)]
    words = re.sub(r"^[A-D]\s*:\s*", "", given)
    same = [choice for choice in choices if choice.lower() in (words.lower(), given.lower())]
    if not same:
        raise InputError(f"the answer {given!r} is none of the choices", file=file, row=row, key="Answer")
    return same[0]


def _article(figure: str) -> str:
    return figure.strip().split("_")[0]


def _row(
    file: Path,
    row: int,
    record: Record,
    id: str,
    choices: tuple[str, ...],
    split: str,
    moved: dict[str, str],
    images: Path,
) -> Row:
    figure, caption = record["Figure_path"].strip(), (record.get("Caption") or "").strip()
    answer, question = _answer(file, row, record, choices), record["Question"].strip()
    sample = sample_at(
        file,
        row,
        id=id,
        question=question,
        answers=(answer,),
        kind="choice",
        choices=choices,
        split=moved.get(_article(figure), split),
        source=CARD.name,
        subject=_article(figure),
        origin="ChatGPT",
        evidence=caption or None,
        modality=only_modality_in(caption or question),
        extra={"image_name": figure, "answer_label": LETTERS[choices.index(answer)]},
    )
    return Row(sample, picture_in(images, figure, file, row))
