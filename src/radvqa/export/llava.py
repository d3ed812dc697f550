"""LLaVA's conversations: a JSON array a split, one question and one answer a record.

    {"id": "vqa_rad-0", "image": "images/3fa1....jpg", "conversations": [
        {"from": "human", "value": "<image>\\nIs there a fracture?"}, {"from": "gpt", "value": "no"}], "sample": {...}}

The options of a choice question follow it, a letter each. A question without a picture has no `<image>`. `sample` holds
every field as in JSON lines; LLaVA's own loaders pass it over, and `radvqa import llava` gives the same Samples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from string import ascii_uppercase
from typing import IO, Any

from radvqa.export.jsonl import as_json
from radvqa.export.pictures import PictureFiles
from radvqa.sample import Corpus, Sample


def write(corpus: Corpus, folder: Path) -> Counter[str]:
    """<split>.json of every split there is, and images/; leaves nothing out."""
    pictures = PictureFiles(corpus, folder / "images")
    open_files: dict[str, IO[str]] = {}
    with ExitStack() as stack:
        for sample in corpus.samples():
            first = sample.split not in open_files
            if first:
                opened = (folder / f"{sample.split}.json").open("w", encoding="utf-8")
                open_files[sample.split] = stack.enter_context(opened)
            open_files[sample.split].write("[\n" if first else ",\n")
            record = _record(sample, pictures)
            open_files[sample.split].write(json.dumps(record, ensure_ascii=False))
        for file in open_files.values():
            file.write("\n]\n")
    return Counter()


def asked(question: str, choices: Sequence[str], image: bool) -> str:
    """What the human says: the place of the image, the question, the options (after Z without a letter)."""
    letters = [f"{letter}. " for letter in ascii_uppercase] + [""] * len(choices)
    lines = [question, *(letter + text for letter, text in zip(letters, choices))]
    return "\n".join(["<image>", *lines] if image else lines)


def _record(sample: Sample, pictures: PictureFiles) -> dict[str, Any]:
    image = {"image": pictures.name(sample.image)} if sample.image is not None else {}
    question = asked(sample.question, sample.choices, sample.image is not None)
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": sample.answers[0]}]
    return {"id": sample.id, **image, "conversations": turns, "sample": as_json(sample)}
