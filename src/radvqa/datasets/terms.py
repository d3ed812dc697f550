"""The field's many words for a modality, a plane and a body region, and the one that Samples use.

modality_of("CTA - CT Angiography"), plane_of("Transverse"), region_of("Chest_lung")  # "CT", "axial", "chest"
"""

from __future__ import annotations

import re

_MODALITIES = (
    ("CT", r"^(cta?|tac)\b|\bct\b|computed tomograph|^virtual colonoscopy|^tomography$"),
    ("MR", r"^(mri?|mra|mrs|fmri|flair|dwi|t1|t2)\b|\bmri\b|magnetic resonance"),
    ("mammography", r"mammo"),
    ("ultrasound", r"^us(-d)?\b|ultraso|sonogra|doppler|echocardiogra"),
    ("PET", r"\bpet\b|positron"),
    ("nuclear medicine", r"^nm\b|nuclear medicine|scintigra|\bspect\b"),
    ("fluoroscopy", r"fluoroscop|^(bas|ugi|be|sbft|gi)\b|barium|upper gi\b"),
    ("angiography", r"^an\b|angiogra|venogra|arteriogra"),
    ("X-ray", r"x-? ?ray|^(xr|cr|dx|cxr)\b|radiogra|plain film"),
    ("microscopy", r"histo|microscop|patholog"),
    ("endoscopy", r"endoscop|colonoscop"),
)
_IN_TEXT = (
    ("CT", r"\b(ct|cta|hrct|cbct|computed tomogra\w+)\b"),
    ("MR", r"\b(mri?|mris|mra|mrcp|t[12]-weighted|magnetic resonance)\b"),
    ("ultrasound", r"\b(ultraso\w+|sonogra\w+|echocardiogra\w+|doppler)\b"),
    ("X-ray", r"\b(x-?rays?|radiographs?|radiography|plain films?|mammogra\w+)\b"),
    ("angiography", r"\b(angiogra\w+|venogra\w+|arteriogra\w+)\b"),
    ("PET", r"\b(pet|positron emission)\b"),
    ("fluoroscopy", r"\b(fluorosco\w+|barium)\b"),
)
_PLANES = (
    ("axial", r"^(axial|transverse|transaxial)\b|^横断面"),
    ("coronal", r"^coronal\b|^冠状面"),
    ("sagittal", r"^sagittal\b|^矢状面"),
    ("lateral", r"^(lateral|ll|left lateral|right lateral)\b"),
    ("frontal", r"^(frontal|ap|pa|antero-?posterior|postero-?anterior)\b"),
    ("oblique", r"^oblique\b"),
)
_REGIONS = (
    ("chest", r"chest|thora|lung|heart|mediastin|pleura|cardi|pulmon"),
    ("neck", r"^neck"),
    ("head", r"head|brain|skull|face|neuro|cranial"),
    ("spine", r"^spine( and contents)?$"),
    ("abdomen", r"abd|gastro|liver|kidney"),
    ("pelvis", r"pelvi"),
)


def _first(table: tuple[tuple[str, str], ...], text: str | None) -> str | None:
    text = (text or "").strip().lower()
    return next((name for name, pattern in table if re.search(pattern, text)), None)


def modality_of(text: str | None) -> str | None:
    """The modality the words name, in one spelling, or None."""
    return _first(_MODALITIES, text)


def only_modality_in(text: str) -> str | None:
    """The modality a running text speaks of, None if it is none or more than one."""
    text = text.lower()
    found = [name for name, pattern in _IN_TEXT if re.search(pattern, text)]
    return found[0] if len(found) == 1 else None


def plane_of(text: str | None) -> str | None:
    """axial, coronal, sagittal, frontal, lateral or oblique; None for montages, drawings and the unspecified."""
    return _first(_PLANES, text)


def region_of(text: str | None) -> str | None:
    """head, neck, chest, abdomen, pelvis or spine, or None."""
    return _first(_REGIONS, text)
