"""Croissant 1.0: what a data set is, where its files are and what their columns mean, as JSON-LD.

In: a corpus card and the Parquet files written from it. Out: a dict to be stored as croissant.json.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_PLAIN = "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath "
_PLAIN += "key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField "
_PLAIN += "transform"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{name: f"cr:{name}" for name in _PLAIN.split()},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}
MEANINGS = {
    "id": "Unique within the data set.",
    "image": "The picture, PNG or JPEG.",
    "question": "What is asked.",
    "answers": "The answers that are right; the first is the one to be taught.",
    "kind": "open, closed or choice.",
    "choices": "The options of a choice question.",
    "topic": "What is asked about: modality, plane, organ, finding ...",
    "split": "train, validation or test.",
    "source": "The data set the question comes from.",
    "subject": "Patient or case; splits are by it.",
    "language": "ISO 639-1 code.",
    "origin": "human, template, or the name of the language model that wrote it.",
    "evidence": "The caption or report the question was made from.",
    "modality": "CT, MR, X-ray ...",
    "plane": "axial, coronal, sagittal, frontal ...",
    "region": "The part of the body.",
    "findings": "What is to be seen.",
    "boxes": "Labelled rectangles in pixels: label, x, y (top left), width, height.",
    "mask": "What the answer rests on: a PNG of the size of the picture, 1 bit a pixel.",
    "extra": "Everything particular to one source, as JSON.",
}


def describe(card: dict[str, Any], folder: Path, files: dict[str, list[Path]], schema: pa.Schema) -> dict[str, Any]:
    """The description of the Parquet files of every split (`files`), which lie below `folder`. A record set a file: the
    split's name, with a number where a split has several files."""
    objects, record_sets = [], []
    for split, paths in files.items():
        for place, path in enumerate(paths):
            name = split if len(paths) == 1 else f"{split}_{place:05d}"
            objects.append(_file_object(path, split, folder))
            record_sets.append(_record_set(name, split, objects[-1]["@id"], schema))
    title, counts = card.get("title") or card.get("name"), (card.get("num_questions", 0), card.get("num_images", 0))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": str(card.get("name") or folder.name),
        "description": f"{title}: {counts[0]} radiological questions about {counts[1]} images.",
        "license": str(card.get("licence") or "not stated"),
        "url": str(card.get("homepage") or ""),
        "citeAs": str(card.get("citation") or ""),
        "version": "1.0.0",
        "isLiveDataset": False,
        "distribution": objects,
        "recordSet": record_sets,
    }


def _file_object(path: Path, split: str, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": path.name,
        "description": f"Questions of the {split} split.",
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": _sha256(path),
    }


def _record_set(name: str, split: str, source: str, schema: pa.Schema) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"The {split} split, a question a record.",
        "key": {"@id": f"{name}/id"},
        "field": [_field(field, name, source) for field in schema],
    }


def _field(field: pa.Field, record_set: str, source: str) -> dict[str, Any]:
    found = {"@type": "cr:Field", "@id": f"{record_set}/{field.name}", "name": field.name}
    found |= {"description": MEANINGS[field.name]}
    if pa.types.is_list(field.type):
        found["repeated"] = True
        if pa.types.is_struct(field.type.value_type):
            return found | {
                "subField": [_sub_field(part, found["@id"], field.name, source) for part in field.type.value_type]
            }
    image = field.name == "image"
    return found | {
        "dataType": "sc:ImageObject" if pa.types.is_binary(field.type) or image else "sc:Text",
        "source": _extracted(source, field.name, "bytes" if image else None),
    }


def _sub_field(part: pa.Field, parent: str, column: str, source: str) -> dict[str, Any]:
    """One member of the records that a column holds lists of."""
    return {
        "@type": "cr:Field",
        "@id": f"{parent}/{part.name}",
        "name": part.name,
        "dataType": "sc:Float" if pa.types.is_floating(part.type) else "sc:Text",
        "source": _extracted(source, column, part.name),
    }


def _extracted(source: str, column: str, json_path: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"fileObject": {"@id": source}, "extract": {"column": column}}
    return found | ({"transform": {"jsonPath": json_path}} if json_path else {})


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
