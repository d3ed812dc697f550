"""Question-answer pairs that llama3.1 8B wrote about MedPix images, as the founding project kept them.

In: one of its three files. Out: the pairs of every image. The text of a record comes in many shapes, all of which
curate/parse.py reads.

    by_image, dropped = founding_pairs(Path("qa_pairs_generated_all.json"))
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from radvqa.curate.parse import read_reply
from radvqa.datasets.reading import Record, csv_records, open_input, record_of, text_of
from radvqa.errors import InputError

NO_ANSWER = re.compile(r"^(not available|n/?a|none given|unknown|not (specified|mentioned|provided))\b", re.IGNORECASE)


class Pair(NamedTuple):
    """A question and its answer; origin is the model that wrote it, or template."""

    question: str
    answer: str
    origin: str = "llama3.1-8b"


def pairs_of(text: str) -> tuple[list[Pair], Counter[str]]:
    """The pairs in one reply, and what was left out, counted by reason; talk around them is not counted."""
    read = read_reply(text)
    dropped = Counter(reason for reason, _ in read.left_out if not reason.startswith("talk"))
    pairs = [Pair(pair.question, pair.answer) for pair in read.pairs if not NO_ANSWER.match(pair.answer)]
    if len(pairs) < len(read.pairs):
        dropped["an answer that says there is none"] += len(read.pairs) - len(pairs)
    return pairs, dropped


def founding_pairs(file: Path) -> tuple[dict[str, list[Pair]], Counter[str]]:
    """{image name without its ending: pairs}, and what was left out, by reason."""
    if file.suffix == ".csv":
        return _from_csv(file)
    found: dict[str, list[Pair]] = {}
    dropped: Counter[str] = Counter()
    for row, record in enumerate(_objects(file), 1):
        key = "qa_pairs_raw" if "qa_pairs_raw" in record else "qa_pairs"
        pairs, left = pairs_of(text_of(record, key, file, row))
        dropped += left
        if not pairs and not left:
            dropped["a reply without any pair"] += 1
        _extend(found, text_of(record, "image_id", file, row), pairs, dropped)
    return found, dropped


def _from_csv(file: Path) -> tuple[dict[str, list[Pair]], Counter[str]]:
    found: dict[str, list[Pair]] = {}
    dropped: Counter[str] = Counter()
    for _, record in csv_records(file, required=("image_id", "question", "answer", "mode")):
        origin = "template" if record["mode"] == "pre_training" else "llama3.1-8b"
        pair = Pair(record["question"].strip(), record["answer"].strip(), origin)
        if not pair.question or not pair.answer:
            dropped["half a pair"] += 1
            continue
        _extend(found, Path(record["image_id"]).stem, [pair], dropped)
    return found, dropped


def _extend(found: dict[str, list[Pair]], image: str, pairs: list[Pair], dropped: Counter[str]) -> None:
    held = found.setdefault(image, [])
    for pair in pairs:
        if pair in held:
            dropped["a pair that is there twice"] += 1
        else:
            held.append(pair)


def _objects(file: Path) -> list[Record]:
    """The records of a JSON array, or of JSON objects that merely follow each other."""
    with open_input(file) as stream:
        try:
            text = stream.read().decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise InputError("the file is not UTF-8", file=file) from error
    decoder, at, values = json.JSONDecoder(), 0, []
    try:
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            values += value if isinstance(value, list) else [value]
            at += len(text[at:]) - len(text[at:].lstrip(" \r\n\t,"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON ({error})", file=file, row=len(values) + 1) from error
    return [record_of(value, file, row) for row, value in enumerate(values, 1)]
