"""A folder of DICOM files: your own questions about them, or template questions their headers answer. No names leave it.

Any folder or study tree; a file is DICOM by its content, not by its name. Of the header a short allow-list is kept
(radvqa.dicom_tags); patient, study, series and image become salted hashes. The salt is the content of `salt_file`, which
links imports of the same patients; without one it is made from the UIDs of all files, so that importing the same folder
again gives the same ids, and nobody without the folder can try patient numbers. Paths are not kept: they hold names.

`table` is a CSV with the columns `image` (path inside the folder, or SOPInstanceUID), `question` and `answer`, and any
other field of `radvqa import table`; columns that are no field are not kept. Without it, each picture is asked for its modality, body region and plane or view
where its header says them, and files that say none of these are left out and counted.

    radvqa import dicom PACS_EXPORT/ --out corpora/mine window=lung table=questions.csv validation_share=0.1
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from radvqa.datasets.columns import Columns
from radvqa.datasets.reading import csv_records, picture_in
from radvqa.datasets.source import Card, Drop, Holdout, Row, held_out, sample_at
from radvqa.datasets.terms import region_of
from radvqa.dicom import Frame, Window, open_dicom, read_dicom
from radvqa.dicom_tags import pseudonym
from radvqa.errors import InputError

CARD = Card(
    name="dicom",
    title="A folder of DICOM files",
    licence="not stated",
    commercial=False,
    citation="not stated",
    homepage="",
)
DERIVED = ("SEG", "RTDOSE")
"""Modalities whose pixels are a drawing upon other pictures."""
MODALITIES = ("ct", "mr", "x-ray", "ultrasound", "mammography", "nuclear medicine", "pet", "angiography", "fluoroscopy")
REGIONS = ("head", "neck", "chest", "abdomen", "pelvis", "spine")
PLANES, VIEWS = ("axial", "coronal", "sagittal"), ("frontal", "lateral")
HEADER = ["SOPInstanceUID", "PatientID", "StudyInstanceUID", "Modality"]


def rows(
    path: Path | None,
    *,
    table: Path | None = None,
    columns: dict[str, str] | None = None,
    window: Window | None = None,
    frame: Frame = "middle",
    salt_file: Path | None = None,
    burned_in: Literal["warn", "drop"] = "warn",
    split: Literal["train", "validation", "test"] = "train",
    validation_share: float = 0.0,
    holdout: Holdout = "validation",
    seed: int = 0,
    name: str = CARD.name,
    licence: str = CARD.licence,
    commercial: bool = False,
    citation: str = CARD.citation,
    drop: Drop,
) -> Iterator[Row]:
    """The questions, in the order of the table or of the paths.

    `window`: a named one (CT only; other modalities keep their own) or centre and width. `frame` of multi-frame files:
    a number, "middle" or "montage". `burned_in`: what becomes of pictures into which, their header says, annotation
    was burned: they are kept with a warning, or dropped. `validation_share` of the patients go to `holdout`.
    Files that cannot be read are dropped with their reason, unless the table asks for them, which stops the import.
    """
    if path is None or not path.is_dir():
        raise InputError("dicom needs a folder", file=path)
    headers = {file: header for file in _files(path, drop) if (header := _header(file, drop)) is not None}
    salt = _salt(salt_file, headers)
    reader = _Reader(window, frame, salt, burned_in)
    moved: dict[str, str] = {}
    if validation_share:
        subjects = {_subject(header, salt) for header in headers.values()}
        moved = held_out({subject for subject in subjects if subject}, validation_share, seed, holdout)
    asked = _from_table(path, table, columns or {}, headers, reader, split, name, drop) if table else None
    for row in asked or _from_templates(headers, reader, split, name, drop):
        if row.sample.split == "train":
            row.sample = replace(row.sample, split=moved.get(row.sample.subject or "", "train"))
        yield row
    if reader.burned:
        fate = "left out" if burned_in == "drop" else "look through them before you share the corpus"
        warnings.warn(f"{len(reader.burned)} pictures may have names burned into them: {fate}", stacklevel=2)


def describe(options: Mapping[str, Any]) -> Card:
    """The card with what the user says of the folder."""
    told = {key: options[key] for key in ("name", "licence", "commercial", "citation") if options.get(key)}
    return replace(CARD, **told)


# ---------------------------------------------------------------- the folder


def _files(folder: Path, drop: Drop) -> Iterator[Path]:
    """Every file of the tree in the order of its path; links that leave it are dropped."""
    base = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(place) / name
            if file.is_symlink() and not file.resolve().is_relative_to(base):
                drop("a link that leaves the folder")
            elif file.is_file():
                yield file


def _header(file: Path, drop: Drop) -> dict[str, str] | None:
    """The few elements that are needed to name and count, or None for what is no DICOM."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = open_dicom(file, tags=HEADER)
            return {tag: str(data.get(tag) or "").strip() for tag in HEADER}
        except InputError as error:
            drop(error.found)
        except Exception as error:  # pydicom raises many kinds for broken files
            drop(f"the DICOM file is damaged ({type(error).__name__})")
    return None


def _salt(file: Path | None, headers: Mapping[Path, Mapping[str, str]]) -> bytes:
    if file is not None:
        try:
            salt = file.read_bytes().strip()
        except OSError as error:
            raise InputError(f"it cannot be read ({error.strerror})", file=file, key="salt_file") from error
        if len(salt) < 16:
            raise InputError("the salt is shorter than 16 bytes", file=file, key="salt_file")
        return salt
    uids = sorted(header["SOPInstanceUID"] + header["StudyInstanceUID"] for header in headers.values())
    return hashlib.sha256("\n".join(uids).encode()).digest()


def _subject(header: Mapping[str, str], salt: bytes) -> str | None:
    return pseudonym(header["PatientID"], salt) or pseudonym(header["StudyInstanceUID"], salt)


class _Reader:
    """Reads pictures with the options of one import, and counts those with burned-in annotation."""

    def __init__(self, window: Window | None, frame: Frame, salt: bytes, burned_in: str) -> None:
        self.window, self.frame, self.salt, self.burned_in = window, frame, salt, burned_in
        self.burned: set[Path] = set()
        self._read = lru_cache(maxsize=8)(read_dicom)

    def picture(self, file: Path, header: Mapping[str, str], drop: Drop) -> tuple[Image.Image, dict[str, Any]] | None:
        """The picture and its tags, or None, counted, where it is not to be used."""
        if header["Modality"].upper() in DERIVED:
            drop(f"a drawing upon other pictures ({header['Modality'].upper()})")
            return None
        window = None if isinstance(self.window, str) and header["Modality"].upper() != "CT" else self.window
        picture, tags = self._read(file, window=window, frame=self.frame, salt=self.salt)
        if tags.get("burned_in"):
            self.burned.add(file)
            if self.burned_in == "drop":
                drop("annotation is burned in")
                return None
        return picture, tags


# ---------------------------------------------------------------- questions


def _fields(tags: Mapping[str, Any]) -> dict[str, Any]:
    """What every question about one picture has in common."""
    kept: tuple[str, ...] = (
        "body_part",
        "view",
        "laterality",
        "pixel_spacing_mm",
        "slice_thickness_mm",
        "num_frames",
        "frame",
    )
    kept += ("frames", "window", "burned_in", "study", "series")
    return {
        "subject": tags.get("subject"),
        "modality": tags.get("modality"),
        "plane": tags.get("plane"),
        "region": region_of(tags.get("body_part")),
        "extra": {name: tags[name] for name in kept if name in tags},
    }


def _from_templates(
    headers: Mapping[Path, Mapping[str, str]], reader: _Reader, split: str, name: str, drop: Drop
) -> Iterator[Row]:
    for number, (file, header) in enumerate(headers.items(), start=1):
        try:
            found = reader.picture(file, header, drop)
        except InputError as error:
            drop(error.found + (f"; {error.fix}" if error.fix else ""))
            continue
        if found is None:
            continue
        picture, tags = found
        shared = _fields(tags) | {"split": split, "source": name, "origin": "template"}
        identity = f"{tags.get('image', number)}-{number}"
        questions = list(_templates(shared))
        for topic, question, answer, choices in questions:
            fields = {"question": question, "answers": (answer,), "choices": choices, "topic": topic, "kind": "choice"}
            yield Row(sample_at(Path(CARD.name), number, id=f"{name}-{identity}-{topic}", **shared, **fields), picture)
        if not questions:
            drop("its header says neither modality nor body region nor plane")


def _templates(shared: Mapping[str, Any]) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Topic, question, answer and options of what the header answers."""
    modality, plane = (shared["modality"] or "").lower(), shared["plane"]
    for topic, question, answer, choices in (
        ("modality", "Which modality is this image?", modality, MODALITIES),
        ("region", "Which body region is shown?", shared["region"], REGIONS),
        ("plane", "In which plane was this image taken?", plane, PLANES),
        ("view", "Is this a frontal or a lateral view?", plane, VIEWS),
    ):
        if answer in choices:
            yield topic, question, answer, choices


def _from_table(
    folder: Path,
    table: Path,
    columns: dict[str, str],
    headers: Mapping[Path, Mapping[str, str]],
    reader: _Reader,
    split: str,
    name: str,
    drop: Drop,
) -> Iterator[Row]:
    of_uid = {header["SOPInstanceUID"]: file for file, header in headers.items()}
    found = Columns(table, columns, images=folder, split=split, separator="|", name=name)
    for place, (row, record) in enumerate(csv_records(table)):
        if place == 0:
            found.resolve(record.keys())
        told = found.text(row, record, "image")
        if told is None:
            raise InputError("no file and no SOPInstanceUID", file=table, row=row, key=found.column["image"])
        file = of_uid.get(told) or picture_in(folder, told, table, row)
        if file not in headers:
            raise InputError("there is no such DICOM file", file=table, row=row, key=found.column["image"])
        try:
            seen = reader.picture(file, headers[file], drop)
        except InputError as error:
            raise InputError(error.found, file=table, row=row, key="image", fix=error.fix) from error
        if seen is None:
            continue
        picture, tags = seen
        sample, known = found.sample(row, record, {}), _fields(tags)
        own = {field: getattr(sample, field) or known[field] for field in ("modality", "plane", "region")}
        yield Row(replace(sample, **own, subject=known["subject"], extra=known["extra"]), picture)
