"""VQA-RAD: 2,248 questions by clinicians about 315 MedPix images of head, chest and abdomen. CC0 1.0; osf.io/89kps.

Official folder: `VQA_RAD Dataset Public.json` and `VQA_RAD Image Folder/synpicNNNNN.jpg`. Two other forms circulate and
are told apart by their content: MEVF's `trainset.json` / `testset.json` (3,064 rows, 1,267 of them rephrased "frame"
questions, left out unless asked for) and the Hugging Face export's `train.json` / `test.json` (lower case, no topic;
its makers left out four doubled training rows, so 1,793 / 451). One official record:

    {"qid": 1, "phrase_type": "freeform", "image_name": "synpic29265.jpg", "image_organ": "CHEST", "answer": "No",
     "question": "Are the lungs normal appearing?", "question_type": "ABN", "answer_type": "CLOSED", ...}

The test split is the official one (phrase_type test_*, 451 rows); 202 of its 203 images are also training images,
which `exclude_test_images` takes out of train.

    radvqa import vqa_rad VQA_RAD/ --out corpora/vqa_rad
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.json_array import json_records
from radvqa.datasets.reading import Record, picture_in, text_of
from radvqa.datasets.source import Card, Drop, Holdout, Row, held_out, sample_at, tidy
from radvqa.errors import InputError

CARD = Card(
    name="vqa_rad",
    title="VQA-RAD",
    licence="CC0 1.0",
    commercial=True,
    citation="Lau, Gayen, Ben Abacha, Demner-Fushman. A dataset of clinically generated visual questions and answers "
    "about radiology images. Scientific Data 5, 180251 (2018).",
    homepage="https://osf.io/89kps/",
)
OFFICIAL, IMAGES = "VQA_RAD Dataset Public.json", "VQA_RAD Image Folder"
FILES: dict[str, dict[str, str | None]] = {
    "official": {OFFICIAL: None},
    "mevf": {"trainset.json": "train", "testset.json": "test"},
    "huggingface": {"train.json": "train", "test.json": "test"},
}
TOPICS = {"PRES": "presence", "PRSE": "presence", "POS": "position", "ABN": "abnormality"}
TOPICS |= {"ATTRIB": "attribute", "ATRIB": "attribute", "YESNO": "", "CHOICE": ""}
# What the paper says of its pictures: single-slice head CT or MR, chest X-rays, axial abdominal CT.
REGIONS: dict[str, dict[str, str]] = {
    "HEAD": {"region": "head", "plane": "axial"},
    "CHEST": {"region": "chest", "plane": "frontal", "modality": "X-ray"},
    "ABD": {"region": "abdomen", "plane": "axial", "modality": "CT"},
}
NOTHING = ("NULL", "NA", "")
KEPT = ("phrase_type", "qid_linked_id", "question_rephrase", "question_relation", "question_frame", "evaluation")

Numbered = tuple[Path, int, Record]


def rows(
    path: Path | None,
    *,
    form: Literal["auto", "official", "mevf", "huggingface"] = "auto",
    frames: bool = False,
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    exclude_test_images: bool = False,
    drop: Drop,
) -> Iterator[Row]:
    """The questions in the order of the official file.

    `form`: which of the three forms to expect. `frames`: keep MEVF's rephrased questions. `validation_share` of the
    training cases (of the images, where the form names no case) go to `holdout`, chosen by `seed`.
    `exclude_test_images` leaves out training rows whose image is also a test image.
    """
    if path is None:
        raise InputError("vqa_rad needs the folder of its files", key="path")
    folder = path if path.is_dir() else path.parent
    which = _form_of(folder) if form == "auto" else form
    if which == "huggingface" and (validation_share or exclude_test_images):
        raise InputError("the Hugging Face form does not say which rows share an image", key="form", file=folder)
    records = _records(folder, which, frames, drop)
    subject_of = _subjects(records)
    test_images = {r["image_name"] for *_, r in records if r["split"] == "test"} if exclude_test_images else set()
    train_images = {r["image_name"] for *_, r in records if r["split"] == "train"} - test_images
    in_train = {subject_of[image] for image in train_images}
    moved = held_out(in_train, validation_share, seed, holdout) if validation_share else {}
    images = _image_folder(folder, which)
    for file, row, record in records:
        if record["split"] == "train":
            if record["image_name"] in test_images:
                drop("a training row whose image is also a test image")
                continue
            record["split"] = moved.get(subject_of[record["image_name"]], "train")
        subject = None if which == "huggingface" else subject_of[record["image_name"]]
        yield _row(file, row, record, subject, images)


def _form_of(folder: Path) -> str:
    """By content: the files of a form, and for the two that look alike the key its records have."""
    for form, files in FILES.items():
        if all((folder / name).is_file() for name in files):
            return form
    nested = [name for name in ("mevf_format", "hf_export") if (folder / name).is_dir()]
    hint = f"give {nested[0]} itself" if nested else "expected " + " or ".join(" + ".join(f) for f in FILES.values())
    raise InputError("no VQA-RAD files here", file=folder, fix=hint)


def _records(folder: Path, form: str, frames: bool, drop: Drop) -> list[Numbered]:
    """Every record with the keys of the official form, a `split` and an `id` that all forms but one share."""
    found: list[Numbered] = []
    for name, split in FILES[form].items():
        for row, record in json_records(folder / name):
            if form == "huggingface":
                image = text_of(record, "image_path", folder / name, row)
                record |= {"image_name": image, "id": f"vqa_rad-hf-{split}-{row - 1}"}
            record["image_name"] = text_of(record, "image_name", folder / name, row)
            phrase = text_of(record, "phrase_type", folder / name, row, default="")
            record["split"] = split or ("test" if phrase.startswith("test") else "train")
            if phrase == "frame" and not frames:
                drop("a rephrased (frame) question of the MEVF form")
                continue
            found.append((folder / name, row, record))
    if form == "mevf":
        found = _in_official_order(found)
    if form == "official":
        for *_, record in found:
            record["id"] = f"vqa_rad-{record.get('qid')}"
    return found


def _in_official_order(found: list[Numbered]) -> list[Numbered]:
    """MEVF numbered train and test together: sorted by it, the rows that are no frames are the official ones."""
    for file, row, record in found:
        if not isinstance(record.get("qid"), int):
            raise InputError(f"expected a number, found {record.get('qid')!r}", file=file, row=row, key="qid")
    found.sort(key=lambda item: item[2]["qid"])
    place = 0
    for *_, record in found:
        frame = record.get("phrase_type") == "frame"
        record["id"] = f"vqa_rad-frame-{record['qid']}" if frame else f"vqa_rad-{place}"
        place += not frame
    return found


def _subjects(records: list[Numbered]) -> dict[str, str]:
    """The case of every image. Five images carry several case addresses that count up in their last digits (a
    spreadsheet's fill handle); the first is the case's, so an image has one case and cases cannot share an image."""
    cases: dict[str, str] = {}
    for *_, record in records:
        url = record.get("image_case_url")
        case = url.rpartition("=")[2] if isinstance(url, str) and "=" in url else Path(record["image_name"]).stem
        cases.setdefault(record["image_name"], case)
    return cases


def _image_folder(folder: Path, form: str) -> Path:
    """Where the pictures are: the official image folder here or one level up, else the folder itself."""
    candidates = [folder / IMAGES, folder.parent / IMAGES, folder / "images"] if form != "huggingface" else []
    return next((candidate for candidate in candidates if candidate.is_dir()), folder)


def _row(file: Path, row: int, record: Record, subject: str | None, images: Path) -> Row:
    raw_topic = text_of(record, "question_type", file, row, default="")
    topic = raw_topic.split(",")[0].strip().upper()
    answer = tidy(text_of(record, "answer", file, row))
    extra: dict[str, Any] = {"question_type": raw_topic, "image_name": record["image_name"]}
    extra |= {key: value for key in KEPT if (value := record.get(key)) is not None and value not in NOTHING}
    closed = text_of(record, "answer_type", file, row).strip().upper() == "CLOSED"
    sample = sample_at(
        file,
        row,
        id=record["id"],
        question=text_of(record, "question", file, row).strip(),
        answers=(answer,),
        kind="closed" if closed else "open",
        topic=TOPICS.get(topic, topic.lower()) or None,
        split=record["split"],
        source=CARD.name,
        subject=subject,
        extra=extra,
        **REGIONS.get(text_of(record, "image_organ", file, row, default="").strip().upper(), {}),
    )
    return Row(sample, picture_in(images, record["image_name"], file, row))
