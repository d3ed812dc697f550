"""IU X-ray (Open-i): 3,955 chest X-ray reports with 7,470 images. CC BY-NC-ND 4.0; openi.nlm.nih.gov.

Official archives: `NLMCXR_reports` (`ecgen-radiology/N.xml`) and `NLMCXR_png` (`CXR1_1_IM-0001-3001.png`), unpacked below
one folder. The collection's CSV form is read as well: `indiana_reports.csv` (uid, MeSH, Problems, image, indication,
comparison, findings, impression), `indiana_projections.csv` (uid, filename, projection) and `images_normalized/`. In a
report:

    <AbstractText Label="FINDINGS">The heart is normal in size. ...</AbstractText> ... <major>normal</major>
    <parentImage id="CXR1_1_IM-0001-3001"> ...

Every image is asked for the findings, the impression and whether it is normal (by the indexers' MeSH terms). Names and
numbers were replaced by XXXX before publication; the texts keep them. There is no official split.

    radvqa import iu_xray iu_xray/ --out corpora/iu validation_share=0.2 holdout=both
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from radvqa.datasets.reading import csv_records, open_input, picture_in
from radvqa.datasets.source import Card, Drop, Holdout, Row, held_out, sample_at
from radvqa.datasets.terms import plane_of
from radvqa.errors import InputError

CARD = Card(
    name="iu_xray",
    title="Indiana University chest X-rays (Open-i)",
    licence="CC BY-NC-ND 4.0",
    commercial=False,
    citation="Demner-Fushman, Kohli, Rosenman, et al. Preparing a collection of radiology examinations for distribution "
    "and retrieval. JAMIA 23(2), 304-310 (2016).",
    homepage="https://openi.nlm.nih.gov/faq#collection",
)
QUESTIONS = {
    "findings": "What are the findings?",
    "impression": "What is the impression?",
    "normal": "Is this chest X-ray normal?",
}


@dataclass
class Report:
    """One report of either form; `images` are (file name, projection)."""

    file: Path
    row: int
    uid: str
    texts: dict[str, str]
    terms: tuple[str, ...]
    images: list[tuple[str, str]]


def rows(
    path: Path | None,
    *,
    questions: tuple[Literal["findings", "impression", "normal"], ...] = ("findings", "impression", "normal"),
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    drop: Drop,
) -> Iterator[Row]:
    """The questions image by image, reports in the order of their numbers.

    `validation_share` of the reports go to `holdout`, chosen by `seed`; the rest is train.
    """
    if path is None:
        raise InputError("iu_xray needs the folder of its files", key="path")
    reports = _from_csv(path) if (path / "indiana_reports.csv").is_file() else _from_xml(path)
    images = _image_folder(path)
    moved = held_out([r.uid for r in reports], validation_share, seed, holdout) if validation_share else {}
    for report in reports:
        if not report.images:
            drop("a report without images")
        for name, projection in report.images:
            for fields in _asked(report, questions, drop):
                sample = sample_at(
                    report.file,
                    report.row,
                    id=f"iu_xray-{Path(name).stem}-{fields['topic']}",
                    split=moved.get(report.uid, "train"),
                    source=CARD.name,
                    subject=f"iu-{report.uid}",
                    modality="X-ray",
                    region="chest",
                    plane=plane_of(projection),
                    findings=tuple(term.lower() for term in report.terms),
                    extra={"image_name": name, "report": report.uid},
                    **fields,
                )
                yield Row(sample, picture_in(images, name, report.file, report.row))


def _asked(report: Report, questions: tuple[str, ...], drop: Drop) -> Iterator[dict[str, Any]]:
    for topic in dict.fromkeys(questions):
        if topic == "normal":
            if not report.terms:
                drop("no question on normality: the report is not indexed")
                continue
            answer = "yes" if [term.lower() for term in report.terms] == ["normal"] else "no"
            fields: dict[str, Any] = {"answers": (answer,), "kind": "closed", "origin": "template"}
        elif not report.texts.get(topic):
            drop(f"a report without {topic}")
            continue
        else:
            fields = {"answers": (report.texts[topic],), "kind": "open", "evidence": report.texts[topic]}
        yield fields | {"question": QUESTIONS[topic], "topic": topic}


def _image_folder(folder: Path) -> Path:
    names = ("NLMCXR_png", "images_normalized", "images/images_normalized", "images")
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def _from_xml(folder: Path) -> list[Report]:
    files = sorted(folder.rglob("*.xml"), key=lambda f: (int(f.stem) if f.stem.isdigit() else 10**9, f.name))
    if not files:
        raise InputError("no reports (ecgen-radiology/*.xml or indiana_reports.csv) here", file=folder)
    return [_report(file) for file in files]


def _report(file: Path) -> Report:
    with open_input(file) as stream:
        raw = stream.read()
    if b"<!ENTITY" in raw:
        raise InputError("the file defines entities", file=file, fix="Open-i reports have none")
    try:
        root = ElementTree.fromstring(raw)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise InputError(f"not valid XML ({error})", file=file) from error
    texts = {(node.get("Label") or "").lower(): _flat("".join(node.itertext())) for node in root.iter("AbstractText")}
    terms = tuple(filter(None, (_flat(node.text or "") for node in root.iter("major"))))
    images = [(node.get("id", "").strip(), _flat(node.findtext("caption") or "")) for node in root.iter("parentImage")]
    return Report(file, 1, file.stem, texts, terms, [(f"{name}.png", view) for name, view in images if name])


def _from_csv(folder: Path) -> list[Report]:
    projections: dict[str, list[tuple[str, str]]] = {}
    for _, record in csv_records(folder / "indiana_projections.csv", required=("uid", "filename", "projection")):
        place = projections.setdefault(record["uid"].strip(), [])
        place.append((record["filename"].strip(), record["projection"].strip()))
    file, found = folder / "indiana_reports.csv", []
    for row, record in csv_records(file, required=("uid", "MeSH", "findings", "impression")):
        texts = {name: _flat(record[name]) for name in ("findings", "impression")}
        terms = tuple(filter(None, (term.strip() for term in re.split(";", record["MeSH"]))))
        uid = record["uid"].strip()
        found.append(Report(file, row, uid, texts, terms, projections.get(uid, [])))
    return found


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
