"""What is kept of a DICOM header: a short allow-list, and pseudonyms instead of who it is.

In: a pydicom data set and a salt. Out: a dict of plain values. Free text (descriptions, comments, names of devices and
people), dates, UIDs and private elements are never looked at; codes are taken only where they are words of a known
vocabulary.

    allowed_tags(pydicom.dcmread("IM0001"), salt=b"...")["subject"]  # "9f0c4a1be2d35f67"
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import numpy as np
import pydicom

MODALITIES = {
    "CT": "CT",
    "MR": "MR",
    "CR": "X-ray",
    "DX": "X-ray",
    "RG": "X-ray",
    "MG": "mammography",
    "US": "ultrasound",
    "IVUS": "ultrasound",
    "NM": "nuclear medicine",
    "PT": "PET",
    "XA": "angiography",
    "RF": "fluoroscopy",
    "ES": "endoscopy",
    "SM": "microscopy",
}
"""DICOM's code (PS3.3 C.7.3.1.1.1) and the word that Samples use."""
PEOPLE = {"subject": "PatientID", "study": "StudyInstanceUID", "series": "SeriesInstanceUID", "image": "SOPInstanceUID"}
_BODY_PARTS = """
    abdomen abdomenpelvis adrenal anal ankle anterior aorta arm artery axilla back biliary bladder bone brachial brain
    breast bronchus buttock calcaneus calf carotid cerebellum cervix cheek chest chestabdomen chestabdpelvis choroid
    clavicle coccyx colon cornea coronary cspine ctspine duodenum ear elbow esophagus extremity eye eyelid face femur
    finger foot forearm gallbladder gland hand head headneck heart hip humerus iac ileum ilium internal intestine iris
    jaw jejunum kidney knee larynx leg limb liver lowerlimb lspine lsspine lung lymphnode mandible maxilla mediastinum
    mouth muscle nasal nasopharynx neck neckchest neckchestabdomen neckchestabdpelv nerve nose orbit ovary pancreas
    parathyroid parotid patella pelvis penis pharynx placenta prostate radius rectum retina rib ribs sacrum salivary
    scalp scapula sclera scrotum sella shoulder sijoint sinus skin skull spinal spine spleen sspine sternum stomach
    subclavian teeth testis thigh thorax throat thumb thymus thyroid tibia tlspine tmj toe tongue tonsil tooth trachea
    tspine ulna upperlimb ureter urethra uterus vagina vein vulva wholebody wrist zygoma"""
BODY_PARTS = frozenset(_BODY_PARTS.split())
"""Code strings of body parts (PS3.16 annex L) without blanks, and words that scanners write instead of them."""
_VIEWS = "ap pa ll rl lld rld llo rlo lateral cc mlo ml lm lmo xccl xccm fb sio iso cv at mag"
VIEWS = frozenset(_VIEWS.split())
"""View positions (PS3.3 C.8.1.1) and those of mammography (PS3.16 CID 4014)."""
LATERALITIES = {"L": "left", "R": "right", "B": "both"}


def allowed_tags(data: pydicom.Dataset, salt: bytes | None = None) -> dict[str, Any]:
    """The tags that are there: modality, body_part, view, laterality, plane, pixel_spacing_mm, slice_thickness_mm,
    num_frames, burned_in, and with a salt the pseudonyms subject, study, series and image."""
    tags = {
        "modality": MODALITIES.get(str(data.get("Modality", "")).strip().upper()),
        "body_part": code(data.get("BodyPartExamined"), BODY_PARTS),
        "view": code(data.get("ViewPosition"), VIEWS),
        "laterality": LATERALITIES.get(str(data.get("ImageLaterality") or data.get("Laterality") or "").strip()),
        "plane": plane(data),
        "pixel_spacing_mm": spacing(data),
        "slice_thickness_mm": number(data.get("SliceThickness")),
        "num_frames": frames if (frames := number(data.get("NumberOfFrames")) or 1) > 1 else None,
        "burned_in": burned_in(data),
    }
    if salt is not None:
        tags |= {name: pseudonym(data.get(tag), salt) for name, tag in PEOPLE.items()}
        tags["subject"] = tags["subject"] or tags["study"]
    return {name: value for name, value in tags.items() if value is not None}


def pseudonym(value: Any, salt: bytes) -> str | None:
    """64 bits of SHA-256 of salt and value, hexadecimal; None for an empty value."""
    text = str(value).strip() if value is not None else ""
    return hashlib.sha256(salt + b"\0" + text.encode()).hexdigest()[:16] if text else None


def code(value: Any, vocabulary: frozenset[str]) -> str | None:
    """The code string in small letters if it is one of the vocabulary, else None: people type anything into a field."""
    words = re.split(r"[ _-]+", str(value or "").strip().lower())
    return " ".join(words) if "".join(words) in vocabulary or vocabulary.issuperset(words) else None


def number(value: Any) -> float | None:
    """The value, or the first of several, as a finite number; None where it is none."""
    if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def burned_in(data: pydicom.Dataset) -> bool | None:
    """Whether the file says that names may be written into its pixels; None where it does not say."""
    return {"YES": True, "NO": False}.get(str(data.get("BurnedInAnnotation", "")).strip().upper())


def grouped(data: pydicom.Dataset, place: int, sequence: str) -> pydicom.Dataset | None:
    """The item of a functional group of an enhanced multi-frame file: the frame's own, else the shared one."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", place), ("SharedFunctionalGroupsSequence", 0)):
        items = data.get(groups)
        if items and index < len(items) and items[index].get(sequence):
            return items[index].get(sequence)[0]
    return None


def spacing(data: pydicom.Dataset) -> list[float] | None:
    """Distance of rows and of columns, mm."""
    source = grouped(data, 0, "PixelMeasuresSequence") or data
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = source.get(name)
        if values is not None and not isinstance(values, (str, bytes)) and len(values) == 2:
            pair = [number(value) for value in values]
            if all(value is not None and value > 0 for value in pair):
                return [round(value, 4) for value in pair if value is not None]
    return None


def plane(data: pydicom.Dataset) -> str | None:
    """axial, coronal or sagittal from the image's orientation, oblique beyond 25 degrees; the view of a radiograph."""
    source = grouped(data, 0, "PlaneOrientationSequence") or data
    cosines = source.get("ImageOrientationPatient")
    if cosines is not None and not isinstance(cosines, (str, bytes)) and len(cosines) == 6:
        values = [number(value) for value in cosines]
        if None not in values:
            rows, columns = np.array(values[:3], float), np.array(values[3:], float)
            normal = np.cross(rows, columns)
            length = float(np.linalg.norm(normal))
            if length > 1e-6:
                along = np.abs(normal) / length
                most = int(along.argmax())
                steep = float(along[most]) >= math.cos(math.radians(25))
                return ("sagittal", "coronal", "axial")[most] if steep else "oblique"
    view = code(data.get("ViewPosition"), VIEWS)
    return {"ap": "frontal", "pa": "frontal", "ll": "lateral", "rl": "lateral", "lateral": "lateral"}.get(view or "")
