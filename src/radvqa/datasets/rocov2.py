"""ROCOv2: 79,789 radiology figures of PubMed Central articles with captions and UMLS concepts. CC BY-NC-SA 4.0 as a set;
each image CC BY or CC BY-NC.

Official folder: `{train,valid,test}_captions.csv` (ID,Caption), `_concepts.csv` and `_concepts_manual.csv` (ID,CUIs
parted by ";", the manual ones may be empty), `cui_mapping.csv` (CUI,Canonical name), `license_information.csv` and
`{train,valid,test}_images/{split}/ID.jpg`. One caption:

    ROCOv2_2023_train_009501,MRI (coronal view) of the pelvis showing large pelvic mass (red arrow)

Images have no questions of their own: `questions="captions"` asks what is shown, the caption being the answer;
"template" asks for the modality where the manual concepts name exactly one.

    radvqa import rocov2 ROCOv2/ --out corpora/rocov2
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.reading import csv_records, picture_in, text_of
from radvqa.datasets.source import Card, Drop, Row, check_splits, sample_at
from radvqa.errors import InputError

CARD = Card(
    name="rocov2",
    title="ROCOv2",
    licence="CC BY-NC-SA 4.0; each image CC BY or CC BY-NC",
    commercial=False,
    citation="Rückert, Bloch, Brüngel, et al. ROCOv2: Radiology Objects in COntext Version 2, an Updated Multimodal Image "
    "Dataset. Scientific Data 11, 688 (2024).",
    homepage="https://zenodo.org/records/10821435",
)
SPLITS = {"train": "train", "validation": "valid", "test": "test"}
MODALITIES = {
    "C0040405": "CT",
    "C0024485": "MR",
    "C1306645": "X-ray",
    "C0041618": "ultrasound",
    "C0002978": "angiography",
    "C0032743": "PET",
    "C1699633": "PET/CT",
}
"""The concepts that the manual files use for a modality (UMLS)."""
REGIONS = {"C0817096": "chest", "C0000726": "abdomen", "C0030797": "pelvis", "C0037303": "head", "C0037949": "spine"}
QUESTION = "What does the image show?"
MODALITY_QUESTION = "Which imaging modality is this?"


def rows(
    path: Path | None,
    *,
    questions: Literal["captions", "template", "both"] = "captions",
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    drop: Drop,
) -> Iterator[Row]:
    """One question an image (two with `both`), in the order of the caption files."""
    if path is None:
        raise InputError("rocov2 needs the folder of its files", key="path")
    names = _column(path / "cui_mapping.csv", "CUI", "Canonical name", optional=True)
    licences = _licences(path / "license_information.csv")
    files: dict[str, Path] = {split: path / f"{SPLITS[split]}_captions.csv" for split in splits}
    check_splits(path, files)
    for split, file in files.items():
        word = SPLITS[split]
        concepts = _column(path / f"{word}_concepts.csv", "ID", "CUIs", optional=True)
        manual = _column(path / f"{word}_concepts_manual.csv", "ID", "CUIs", optional=True)
        images = _images(path, word)
        for row, record in csv_records(file, required=("ID", "Caption")):
            image, caption = record["ID"].strip(), record["Caption"].strip()
            if not caption:
                drop("an empty caption")
                continue
            cuis, by_hand = _cuis(concepts.get(image)), _cuis(manual.get(image))
            shared = _shared(image, caption, cuis, by_hand, names) | {"split": split}
            shared["extra"] |= licences.get(image, {})
            picture = picture_in(images, image + ".jpg", file, row)
            for fields in _asked(questions, caption, shared["modality"], drop):
                yield Row(sample_at(file, row, id=f"rocov2-{image}-{fields['topic']}", **(shared | fields)), picture)


def _shared(
    image: str, caption: str, cuis: tuple[str, ...], by_hand: tuple[str, ...], names: dict[str, str]
) -> dict[str, Any]:
    modalities = {MODALITIES[cui] for cui in by_hand if cui in MODALITIES}
    regions = {REGIONS[cui] for cui in by_hand if cui in REGIONS}
    known = set(MODALITIES) | set(REGIONS)
    return {
        "source": CARD.name,
        "evidence": caption,
        "modality": modalities.pop() if len(modalities) == 1 else None,
        "region": regions.pop() if len(regions) == 1 else None,
        "findings": tuple(names.get(cui, cui) for cui in cuis if cui not in known),
        "extra": {"image_name": image, "cuis": list(cuis), "cuis_manual": list(by_hand)},
    }


def _asked(questions: str, caption: str, modality: str | None, drop: Drop) -> Iterator[dict[str, Any]]:
    if questions in ("captions", "both"):
        yield {"question": QUESTION, "answers": (caption,), "kind": "open", "topic": "description"}
    if questions in ("template", "both"):
        if modality is None:
            drop("no modality question: the manual concepts name none or several")
            return
        options = tuple(dict.fromkeys(name.lower() for name in MODALITIES.values()))
        asked = {"question": MODALITY_QUESTION, "answers": (modality.lower(),), "kind": "choice"}
        yield asked | {"choices": options, "topic": "modality", "origin": "template"}


def _cuis(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cui.strip() for cui in (text or "").split(";") if cui.strip()))


def _column(file: Path, key: str, value: str, *, optional: bool = False) -> dict[str, str]:
    """{key: value} of two columns; an optional file that is not there gives nothing."""
    if optional and not file.is_file():
        return {}
    return {record[key].strip(): record[value].strip() for _, record in csv_records(file, required=(key, value))}


def _licences(file: Path) -> dict[str, dict[str, str]]:
    """{ID: {pmcid, attribution, link}}, whichever of these columns the file has."""
    if not file.is_file():
        return {}
    kept = ("PMCID", "Attribution", "Link")
    return {
        text_of(record, "ID", file, row).strip(): {k.lower(): record[k].strip() for k in kept if record.get(k)}
        for row, record in csv_records(file, required=("ID",))
    }


def _images(folder: Path, word: str) -> Path:
    """`train_images/train` as the archives unpack, or `train_images`, or `train`."""
    candidates = (folder / f"{word}_images" / word, folder / f"{word}_images", folder / word)
    return next((place for place in candidates if place.is_dir()), candidates[0])
