"""JSON lines: one object a question with every field of the Sample, pictures as files beside it.

    {"id": "vqa_rad-0", "image": "images/3fa1....jpg", "question": "...", "answers": ["no"], "kind": "closed", ...}

`radvqa import table out/questions.jsonl --out corpora/again` reads it back equal; `mask` is a PNG in base64.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path

from radvqa.export.pictures import PictureFiles
from radvqa.sample import Corpus, to_row


def write(corpus: Corpus, folder: Path) -> Counter[str]:
    """questions.jsonl and images/; leaves nothing out."""
    pictures = PictureFiles(corpus, folder / "images")
    with (folder / "questions.jsonl").open("w", encoding="utf-8") as file:
        for sample in corpus.samples():
            row = to_row(sample)
            row["image"] = pictures.name(sample.image) if sample.image is not None else None
            row["mask"] = base64.b64encode(sample.mask).decode("ascii") if sample.mask is not None else None
            row["extra"] = dict(sample.extra)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Counter()
