"""VQA-Med 2019: 15,292 questions on modality, plane, organ and abnormality of 4,200 MedPix images. CC BY 4.0; Zenodo
10499039.

Official folders, beside each other: `ImageClef-2019-VQA-Med-Training/{All_QA_Pairs_train.txt, QAPairsByCategory/,
Train_images/}` (12,792 questions), `ImageClef-2019-VQA-Med-Validation/{All_QA_Pairs_val.txt, ..., Val_images/}` (2,000)
and `VQAMed2019Test/{VQAMed2019_Test_Questions_w_Ref_Answers.txt, VQAMed2019_Test_Images/}` (500). Train and validation
are also read in MEVF's form, `train.json` and `val.json`. One line of train, and one of test:

    synpic41148|what kind of image is this?|cta - ct angiography
    synpic54143|abnormality|what is the primary abnormality in this image?|anaplastic oligodendroglioma#neoplasm

`#` parts answers of which any is right; a part in brackets may be left out: such an answer gives the published form, the
one without the part, and the one without the brackets.

    radvqa import vqa_med VQA-Med-2019/ --out corpora/vqa_med
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import lines, picture_in, text_of
from radvqa.datasets.source import Card, Drop, Row, kind_of, sample_at, tidy
from radvqa.datasets.terms import modality_of, only_modality_in, plane_of, region_of
from radvqa.errors import InputError

CARD = Card(
    name="vqa_med",
    title="VQA-Med 2019",
    licence="CC BY 4.0",
    commercial=True,
    citation="Ben Abacha, Hasan, Datla, Liu, Demner-Fushman, Müller. VQA-Med: Overview of the Medical Visual Question "
    "Answering Task at ImageCLEF 2019. CLEF Working Notes, CEUR 2380 (2019).",
    homepage="https://zenodo.org/records/10499039",
)
TEXTS = {
    "train": "All_QA_Pairs_train.txt",
    "validation": "All_QA_Pairs_val.txt",
    "test": "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
}
MEVF = {"train": "train.json", "validation": "val.json"}
IMAGES = {"train": "Train_images", "validation": "Val_images", "test": "VQAMed2019_Test_Images"}
CATEGORIES = {"modality": "modality", "plane": "plane", "organ": "organ", "abnormality": "abnormality"}
CATEGORIES |= {"MODALITY": "modality", "PLANE": "plane", "ORGAN": "organ", "ABN": "abnormality"}


class Asked(NamedTuple):
    """One line of any of the forms."""

    file: Path
    row: int
    image: str
    category: str | None
    question: str
    answer: str


def rows(
    path: Path | None,
    *,
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the files, split by split."""
    if path is None:
        raise InputError("vqa_med needs the folder of its files", key="path")
    for split in dict.fromkeys(splits):
        file = _find(path, split)
        asked = list(_from_json(file) if file.suffix == ".json" else _from_text(file, split))
        known = _known(asked)
        images = _images(path, file, split)
        for place, item in enumerate(asked):
            if not item.answer.strip():
                drop("an empty answer")
                continue
            yield _row(item, place, split, known.get(item.image, {}), images)


def _find(folder: Path, split: str) -> Path:
    """The file of a split, in the folder or below it, the official form before MEVF's."""
    names = (TEXTS[split], MEVF.get(split))
    for name in filter(None, names):
        found = sorted(folder.rglob(name), key=lambda file: (len(file.parts), str(file)))
        if found:
            return found[0]
    raise InputError(f"no {' or '.join(filter(None, names))} here", file=folder, fix=f"leave {split} out of splits")


def _images(folder: Path, file: Path, split: str) -> Path:
    beside = file.parent / IMAGES[split]
    found = [beside] if beside.is_dir() else sorted(folder.rglob(IMAGES[split]))
    return next((place for place in found if place.is_dir()), beside)


def _from_text(file: Path, split: str) -> Iterator[Asked]:
    category_of = _by_category(file.parent / "QAPairsByCategory")
    wanted = 4 if split == "test" else 3
    for row, line in lines(file):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != wanted:
            raise InputError(f"{len(parts)} parts between | where {wanted} belong", file=file, row=row)
        image, question, answer = parts[0], parts[-2], parts[-1]
        category = parts[1] if split == "test" else category_of.get((image, question))
        if split == "test" and category not in CATEGORIES:
            raise InputError(f"unknown category {category!r}", file=file, row=row)
        yield Asked(file, row, image + ".jpg", category, question, answer)


def _by_category(folder: Path) -> dict[tuple[str, str], str]:
    """{(image, question): category} from C1_Modality_train.txt and its three siblings, where they are."""
    found: dict[tuple[str, str], str] = {}
    for file in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        category = next(
            (word for word in ("modality", "plane", "organ", "abnormality") if word in file.stem.lower()), None
        )
        for row, line in lines(file) if category else ():
            parts = [part.strip() for part in line.split("|")]
            if line.strip() and len(parts) != 3:
                raise InputError(f"{len(parts)} parts between | where 3 belong", file=file, row=row)
            if line.strip() and category:
                found[parts[0], parts[1]] = category
    return found


def _from_json(file: Path) -> Iterator[Asked]:
    for row, record in json_records(file):
        image, question, answer = (text_of(record, key, file, row) for key in ("image_name", "question", "answer"))
        category = CATEGORIES.get(text_of(record, "question_type", file, row, default="").strip())
        yield Asked(file, row, image.strip(), category, question.strip(), answer)


def _known(asked: list[Asked]) -> dict[str, dict[str, str]]:
    """What an image's own questions and answers say of it: {image: {modality, plane, region}}."""
    readers = {"modality": ("modality", modality_of), "plane": ("plane", plane_of), "organ": ("region", region_of)}
    known: dict[str, dict[str, str]] = {}
    for item in asked:
        if item.category in readers:
            field, reader = readers[item.category]
            if value := reader(item.answer.split("#")[0]):
                known.setdefault(item.image, {}).setdefault(field, value)
    for item in asked:  # "what is most alarming about this mri?" says the modality too; "is this an mri?" does not
        if item.category != "modality" and (value := only_modality_in(item.question)):
            known.setdefault(item.image, {}).setdefault("modality", value)
    return known


def _row(item: Asked, place: int, split: str, known: dict[str, str], images: Path) -> Row:
    answers = tuple(dict.fromkeys(form for part in item.answer.split("#") for form in _forms(tidy(part))))
    sample = sample_at(
        item.file,
        item.row,
        id=f"vqa_med-{split}-{place}",
        question=item.question,
        answers=answers,
        kind=kind_of(answers),
        topic=CATEGORIES.get(item.category or ""),
        split=split,
        source=CARD.name,
        subject=Path(item.image).stem,
        extra={"image_name": item.image, "answer": item.answer},
        **known,
    )
    return Row(sample, picture_in(images, item.image, item.file, item.row))


def _forms(answer: str) -> Iterator[str]:
    """The answer as published, without what stands in brackets, and without the brackets themselves."""
    if not answer:
        return
    yield answer
    for form in (re.sub(r"\([^()]*\)", " ", answer), re.sub(r"[()]", " ", answer)):
        form = re.sub(r"\s+", " ", form).replace(" ,", ",").strip()
        if form:
            yield form
