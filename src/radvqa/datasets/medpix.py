"""MedPix 2.0: 2,050 CT and MR images of 671 teaching cases, captioned. No licence file is published with it.

Official folder: `splitted_dataset/{descriptions,data}_{train,dev,test}.jsonl` (by case: 535 / 67 / 69 cases, 1,653 /
197 / 200 images) and `images/MPXnnnn_synpicNNNNN.png`. One description:

    {"Type": "CT", "U_id": "MPX1009", "image": "MPX1009_synpic46283", "Location": "Genitourinary",
     "Location Category": "Reproductive and Urinary System", "Description": {"Modality": "CT - noncontrast",
     "Plane": "Coronal", "Caption": "The prostate is enlarged ...", "Age": "73", "Sex": "male", ...}}

Images have no questions of their own. `questions="template"` asks each for its modality (CT, MR), plane (axial, coronal,
sagittal) and body region (five), as choice questions; "descriptions" asks what it shows and takes the caption as
answer; "founding" takes the pairs that llama3.1 8B wrote from the captions, from the file `founding_file`.

    radvqa import medpix MedPix-2-0/ --out corpora/medpix splits=[train] validation_share=0.1
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.founding import Pair, founding_pairs
from radvqa.datasets.reading import Record, jsonl_records, picture_in, text_of
from radvqa.datasets.source import Card, Drop, Holdout, Row, check_splits, held_out, kind_of, sample_at, tidy
from radvqa.datasets.terms import modality_of, plane_of
from radvqa.errors import InputError

CARD = Card(
    name="medpix",
    title="MedPix 2.0",
    licence="none declared",
    commercial=False,
    citation="Siragusa, Contino, La Ciura, Alicata, Pirrone. MedPix 2.0: A Comprehensive Multimodal Biomedical Data set "
    "for Advanced AI Applications. Data Science and Engineering (2025). doi:10.1007/s41019-025-00297-8",
    homepage="https://github.com/CHILab1/MedPix-2.0",
)
SPLITS = {"train": "train", "validation": "dev", "test": "test"}
MODALITIES, PLANES = ("CT", "MR"), ("axial", "coronal", "sagittal")
REGIONS = {
    "head": "head",
    "spine and muscles": "spine and muscles",
    "thorax": "chest",
    "abdomen": "abdomen",
    "reproductive and urinary system": "pelvis",
}
"""Location Category in small letters, which is the answer, and the region a Sample carries."""
QUESTIONS = {
    "modality": "Which modality is this image, CT or MR?",
    "plane": "In which plane was this image taken?",
    "region": "Which body region is shown?",
}
PLACEHOLDER = "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS."
CASE_KEPT = {"History": "history", "Findings": "case_findings", "Case Diagnosis": "diagnosis", "Exam": "exam"}


def rows(
    path: Path | None,
    *,
    questions: Literal["template", "descriptions", "founding"] = "template",
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    founding_file: Path | None = None,
    drop: Drop,
) -> Iterator[Row]:
    """The questions, image by image, in the order of the official files.

    `splits`: which official splits to read (dev is validation). `validation_share` of the training cases go to
    `holdout`, chosen by `seed`; for when the official dev and test images are not at hand.
    """
    if path is None:
        raise InputError("medpix needs the folder of its files", key="path")
    if not splits:
        raise InputError("no split is asked for", key="splits", fix="give some of " + ", ".join(SPLITS))
    check_splits(path, {s: path / "splitted_dataset" / f"descriptions_{SPLITS[s]}.jsonl" for s in splits})
    founding = questions == "founding"
    written = _written(founding_file, drop) if founding else {}
    for split in dict.fromkeys(splits):
        cases = _cases(path / "splitted_dataset" / f"data_{SPLITS[split]}.jsonl")
        moved = held_out(cases, validation_share, seed, holdout) if split == "train" and validation_share else {}
        file = path / "splitted_dataset" / f"descriptions_{SPLITS[split]}.jsonl"
        for row, record in jsonl_records(file):
            case = text_of(record, "U_id", file, row)
            if case not in cases:
                raise InputError(f"case {case!r} is not in data_{SPLITS[split]}.jsonl", file=file, row=row, key="U_id")
            image = text_of(record, "image", file, row)
            shared = _shared(file, row, record, cases[case]) | {"split": moved.get(case, split), "subject": case}
            made = _founding(written.pop(image, [])) if founding else _asked(questions, record, file, row, drop)
            for label, fields in made:
                sample = sample_at(file, row, id=f"medpix-{image}-{label}", **(shared | fields))
                yield Row(sample, picture_in(path / "images", image + ".png", file, row))
    if set(splits) == set(SPLITS):
        _count(drop, "a founding question about an image that is not here", sum(map(len, written.values())))


def _cases(file: Path) -> dict[str, Record]:
    return {text_of(record, "U_id", file, row): record for row, record in jsonl_records(file)}


def _shared(file: Path, row: int, record: Record, case: Record) -> dict[str, Any]:
    """What every question about one image has in common."""
    about = _description(record, file, row)
    category = text_of(record, "Location Category", file, row, default="").strip().lower()
    history, topic = (case[key] if isinstance(case.get(key), dict) else {} for key in ("Case", "Topic"))
    title = str(topic.get("Title") or history.get("Title") or "").strip()
    extra = {key.lower().replace(" ", "_"): about.get(key) for key in ("Age", "Sex", "ACR Codes", "Modality", "Plane")}
    extra |= {name: history.get(key) for key, name in CASE_KEPT.items()}
    extra |= {"location": record.get("Location"), "image_name": record["image"], "category": topic.get("Category")}
    extra["discussion"] = topic.get("Disease Discussion")
    return {
        "source": CARD.name,
        "evidence": _caption(record, file, row),
        "modality": _modality(record, file, row),
        "plane": _plane(record, file, row),
        "region": REGIONS.get(category),
        "findings": (title,) if title else (),
        "extra": {key: value for key, value in extra.items() if value not in (None, "", "N/A")},
    }


def _written(file: Path | None, drop: Drop) -> dict[str, list[Pair]]:
    if file is None:
        raise InputError("the founding questions need their file", key="founding_file")
    found, dropped = founding_pairs(file)
    for reason, number in dropped.items():
        _count(drop, reason, number)
    return found


def _count(drop: Drop, reason: str, number: int) -> None:
    for _ in range(number):
        drop(reason)


def _founding(pairs: list[Pair]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pairs an LLM wrote: (end of the id, fields)."""
    for place, pair in enumerate(pairs):
        kind = kind_of([pair.answer])
        answer = tidy(pair.answer.rstrip(".") if kind == "closed" else pair.answer)
        fields = {"question": pair.question, "answers": (answer,), "kind": kind, "origin": pair.origin}
        yield f"founding-{place}", fields


def _asked(questions: str, record: Record, file: Path, row: int, drop: Drop) -> Iterator[tuple[str, dict[str, Any]]]:
    """The questions made from one image's record: (end of the id, the fields in which they differ)."""
    if questions == "descriptions":
        caption = _caption(record, file, row)
        if caption is None:
            drop("no caption, or the form's placeholder")
        else:
            asked = "What does the image show?"
            yield "description", {"question": asked, "answers": (caption,), "kind": "open", "topic": "description"}
        return
    about = _description(record, file, row)
    category = text_of(record, "Location Category", file, row, default="").strip()
    modality = _modality(record, file, row)
    known = category.lower() if category.lower() in REGIONS else None
    for topic, answer, options, raw in (
        ("modality", modality and modality.lower(), tuple(m.lower() for m in MODALITIES), about.get("Modality")),
        ("plane", _plane(record, file, row), PLANES, about.get("Plane")),
        ("region", known, tuple(REGIONS), category),
    ):
        if answer not in options:
            drop(f"no {topic} question: it is given as {raw!r}")
            continue
        fields = {"question": QUESTIONS[topic], "answers": (answer,), "kind": "choice", "choices": options}
        yield topic, fields | {"topic": topic, "origin": "template"}


def _description(record: Record, file: Path, row: int) -> Record:
    about = record.get("Description")
    if not isinstance(about, dict):
        raise InputError(f"expected a record, found {type(about).__name__}", file=file, row=row, key="Description")
    return about


def _caption(record: Record, file: Path, row: int) -> str | None:
    caption = text_of(_description(record, file, row), "Caption", file, row, default="").strip()
    return None if caption in ("", PLACEHOLDER) else caption


def _modality(record: Record, file: Path, row: int) -> str | None:
    """CT or MR where the free modality agrees with the type of scan; a drawing has neither."""
    modality = modality_of(text_of(_description(record, file, row), "Modality", file, row, default=""))
    return modality if modality == text_of(record, "Type", file, row).strip().upper() else None


def _plane(record: Record, file: Path, row: int) -> str | None:
    plane = plane_of(text_of(_description(record, file, row), "Plane", file, row, default=""))
    return plane if plane in PLANES else None
