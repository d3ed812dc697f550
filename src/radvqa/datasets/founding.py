"""Question-answer pairs that llama3.1 8B wrote about MedPix images, as the founding project kept them.

In: one of its three files. Out: the pairs of every image. The text of a record comes in many shapes: a preamble in almost
all, `Q:` / `A:`, the same in bold, numbered, spelled out, both on one line, or no marker at all and blank lines between.

    by_image, dropped = founding_pairs(Path("qa_pairs_generated_all.json"))
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from radvqa.datasets.reading import Record, csv_records, open_input, record_of, text_of
from radvqa.errors import InputError

_MARK = re.compile(r"^(?:\d+[.)]\s*)?(Q|A|Question|Answer)\s*\d*\s*(?:[:.)]|$)\s*", re.IGNORECASE)
_INLINE = re.compile(r"\s+A\s*\d*:\s+")
NO_ANSWER = re.compile(r"^(not available|n/?a|none given|unknown|not (specified|mentioned|provided))\b", re.IGNORECASE)


class Pair(NamedTuple):
    """A question and its answer; origin is the model that wrote it, or template."""

    question: str
    answer: str
    origin: str = "llama3.1-8b"


def pairs_of(text: str) -> tuple[list[Pair], Counter[str]]:
    """The pairs in one reply, and what was left out, counted by reason."""
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    for question, answer in _marked(text) or _unmarked(text):
        if not question or not answer:
            dropped["half a pair"] += 1
        elif NO_ANSWER.match(answer):
            dropped["an answer that says there is none"] += 1
        else:
            pairs.append(Pair(question, answer))
    return pairs, dropped


def _marked(text: str) -> list[tuple[str, str]]:
    """Pairs whose parts carry a Q and an A. A blank line ends an answer; one before it has begun does not."""
    pairs: list[list[str]] = []
    part: int | None = None
    for line in text.replace("**", "").replace("__", "").splitlines():
        line = line.strip()
        mark = _MARK.match(line)
        if mark:
            asked = mark[1][0].upper() == "Q"
            if asked:
                pairs.append(["", ""])
            part = (0 if asked else 1) if pairs else None
            line = line[mark.end() :].strip()
        elif not line:
            part = None if part == 1 and pairs[-1][1] else part
        if part is not None and line:
            pairs[-1][part] = f"{pairs[-1][part]} {line}".strip()
    split = [_inline(question, answer) for question, answer in pairs]
    return [(question.strip(), answer.strip()) for question, answer in split]


def _inline(question: str, answer: str) -> tuple[str, str]:
    """A question that holds its own answer: `Is it large? A: yes`."""
    if not answer and (mark := _INLINE.search(question)):
        return question[: mark.start()], question[mark.end() :]
    return question, answer


def _unmarked(text: str) -> list[tuple[str, str]]:
    """Lines that end in a question mark are questions; what follows, up to a blank line, is the answer."""
    pairs: list[list[str]] = []
    open_ = False
    for line in (line.strip() for line in text.splitlines()):
        if line.endswith("?"):
            pairs.append([line, ""])
            open_ = True
        elif line and open_:
            pairs[-1][1] = f"{pairs[-1][1]} {line}".strip()
        elif pairs and pairs[-1][1]:
            open_ = False
    return [(question, answer) for question, answer in pairs]


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
