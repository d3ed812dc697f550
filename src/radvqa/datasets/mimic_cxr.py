"""MIMIC-CXR-JPG 2.0.0 and 2.1.0: 377,110 chest X-rays of 65,379 patients with labels and reports. PhysioNet credentialed.

Official folder: `files/p10/p10000032/s50414267/<dicom_id>.jpg`, `mimic-cxr-2.0.0-{split,metadata,chexpert,negbio}.csv`
(plain or .gz), and, from MIMIC-CXR, the reports `files/p10/p10000032/s50414267.txt`. 368,960 / 2,991 / 5,159 images. The
split file's rows are `dicom_id,study_id,subject_id,split`; labels are 1.0 present, 0.0 absent, -1.0 uncertain, blank not
mentioned.

`questions="findings"` asks of every image for every labelled finding whether it is there; "reports" asks for findings and
impression as the report words them.

    radvqa import mimic_cxr mimic-cxr-jpg/ --out corpora/mimic splits=[validation,test]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from radvqa.datasets.reading import csv_records, picture_in
from radvqa.datasets.sections import sections
from radvqa.datasets.source import Card, Drop, Row, sample_at
from radvqa.datasets.terms import plane_of
from radvqa.errors import InputError

CARD = Card(
    name="mimic_cxr",
    title="MIMIC-CXR-JPG",
    licence="PhysioNet Credentialed Health Data License 1.5.0",
    commercial=False,
    citation="Johnson, Pollard, Greenbaum, et al. MIMIC-CXR-JPG, a large publicly available database of labeled chest "
    "radiographs. arXiv:1901.07042 (2019).",
    homepage="https://physionet.org/content/mimic-cxr-jpg/",
)
SPLITS = {"train": "train", "validate": "validation", "test": "test"}
FINDINGS = {
    "Atelectasis": "Is there atelectasis?",
    "Cardiomegaly": "Is there cardiomegaly?",
    "Consolidation": "Is there consolidation?",
    "Edema": "Is there pulmonary edema?",
    "Enlarged Cardiomediastinum": "Is the cardiomediastinum enlarged?",
    "Fracture": "Is there a fracture?",
    "Lung Lesion": "Is there a lung lesion?",
    "Lung Opacity": "Is there a lung opacity?",
    "No Finding": "Is this image free of findings?",
    "Pleural Effusion": "Is there a pleural effusion?",
    "Pleural Other": "Is there another pleural abnormality?",
    "Pneumonia": "Is there pneumonia?",
    "Pneumothorax": "Is there a pneumothorax?",
    "Support Devices": "Are there support devices?",
}
REPORT_QUESTIONS = {"findings": "What are the findings?", "impression": "What is the impression?"}


def rows(
    path: Path | None,
    *,
    questions: Literal["findings", "reports", "both"] = "findings",
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test"),
    labels: Literal["chexpert", "negbio"] = "chexpert",
    reports: Path | None = None,
    drop: Drop,
) -> Iterator[Row]:
    """The questions image by image, in the order of the split file.

    `labels`: which labeller's file; `reports`: the folder whose `files/` holds the reports, if it is another one.
    """
    if path is None:
        raise InputError("mimic_cxr needs the folder of its files", key="path")
    known = _labels(_table(path, labels)) if questions != "reports" else {}
    views = _views(_table(path, "metadata"))
    file = _table(path, "split")
    report_of = lru_cache(maxsize=64)(_report)  # a study's images come one after the other and share its report
    for row, record in csv_records(file, required=("dicom_id", "study_id", "subject_id", "split")):
        dicom, study, subject = (record[name].strip() for name in ("dicom_id", "study_id", "subject_id"))
        split = SPLITS.get(record["split"].strip())
        if split is None:
            raise InputError(f"unknown split {record['split']!r}", file=file, row=row, key="split")
        if split not in splits:
            continue
        if not (dicom and study.isdigit() and subject.isdigit()):
            raise InputError("an image, study or patient number is missing", file=file, row=row)
        folder = f"files/p{subject[:2]}/p{subject}/s{study}"
        shared = _shared(dicom, study, subject, split, views.get(dicom, ""), known.get(study, {}))
        picture = picture_in(path, f"{folder}/{dicom}.jpg", file, row)
        for fields in _asked(
            questions, known.get(study), partial(report_of, (reports or path) / f"{folder}.txt"), drop
        ):
            yield Row(sample_at(file, row, id=f"mimic_cxr-{dicom}-{fields['topic']}", **(shared | fields)), picture)


def _shared(dicom: str, study: str, subject: str, split: str, view: str, known: dict[str, float]) -> dict[str, Any]:
    return {
        "split": split,
        "source": CARD.name,
        "subject": f"mimic-p{subject}",
        "modality": "X-ray",
        "plane": plane_of(view),
        "region": "chest",
        "findings": tuple(name.lower() for name, value in known.items() if value == 1 and name != "No Finding"),
        "extra": {"dicom_id": dicom, "study_id": study, "view": view},
    }


def _asked(
    questions: str, known: dict[str, float] | None, report: Callable[[], dict[str, str]], drop: Drop
) -> Iterator[dict[str, Any]]:
    if questions != "reports":
        if known is None:
            drop("a study without labels")
        for name, value in (known or {}).items():
            if value == -1:
                drop("an uncertain label")
                continue
            answer = "yes" if value == 1 else "no"
            asked = {"question": FINDINGS[name], "answers": (answer,), "kind": "closed", "topic": name.lower()}
            yield asked | {"origin": "template"}
    if questions != "findings":
        parts = report()
        for topic, question in REPORT_QUESTIONS.items():
            if topic not in parts:
                drop(f"a report without {topic}")
                continue
            asked = {"question": question, "answers": (parts[topic],), "kind": "open", "topic": f"report {topic}"}
            yield asked | {"evidence": parts[topic]}


def _table(folder: Path, name: str) -> Path:
    """The table of a version, zipped or not; the newest where there are several."""
    found = sorted([*folder.glob(f"mimic-cxr-2.*-{name}.csv"), *folder.glob(f"mimic-cxr-2.*-{name}.csv.gz")])
    if not found:
        raise InputError(
            f"no mimic-cxr-2.0.0-{name}.csv(.gz) here", file=folder, fix="give the folder of MIMIC-CXR-JPG"
        )
    return found[-1]


def _labels(file: Path) -> dict[str, dict[str, float]]:
    """{study: {finding: 1, 0 or -1}}; what is not mentioned is left out."""
    known: dict[str, dict[str, float]] = {}
    for row, record in csv_records(file, required=("study_id", *FINDINGS)):
        values = {name: record[name].strip() for name in FINDINGS}
        try:
            numbers = {name: float(value) for name, value in values.items() if value}
        except ValueError as error:
            raise InputError(f"a label is not a number ({error})", file=file, row=row) from error
        wrong = [name for name, value in numbers.items() if value not in (1, 0, -1)]
        if wrong:
            raise InputError(
                f"{wrong[0]} is {values[wrong[0]]}", file=file, row=row, fix="labels are 1, 0, -1 or blank"
            )
        known[record["study_id"].strip()] = numbers
    return known


def _views(file: Path) -> dict[str, str]:
    required = ("dicom_id", "ViewPosition")
    return {r["dicom_id"].strip(): r["ViewPosition"].strip() for _, r in csv_records(file, required=required)}


def _report(file: Path) -> dict[str, str]:
    try:
        return sections(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the report cannot be read ({error})", file=file, fix="say where they are: reports=..."
        ) from error
