"""JSON lines: one object a question with every field of the Sample, pictures as files beside it.

    {"id": "vqa_rad-0", "image": "images/3fa1....jpg", "question": "...", "answers": ["no"], "kind": "closed", ...}

`radvqa import table out/questions.jsonl --out corpora/again` reads it back equal; `mask` is a PNG in base64.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

from radvqa.export.pictures import PictureFiles
from radvqa.sample import Corpus, Sample, to_row


def write(corpus: Corpus, folder: Path) -> Counter[str]:
    """questions.jsonl and images/; leaves nothing out."""
    pictures = PictureFiles(corpus, folder / "images")
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for sample in corpus.samples():
            image = pictures.name(sample.image) if sample.image is not None else None
            row = as_json(sample)
            file.write(json.dumps({"id": row.pop("id"), "image": image} | row, ensure_ascii=False) + "\n")
    return Counter()


def as_json(sample: Sample) -> dict[str, Any]:
    """Every field but the picture, as JSON holds it."""
    row = to_row(sample)
    del row["image"]
    mask = base64.b64encode(sample.mask).decode("ascii") if sample.mask is not None else None
    return row | {"mask": mask, "extra": dict(sample.extra)}
