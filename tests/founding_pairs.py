"""The founding project's replies as pairs with their evidence, by the ids of benchmarks/curation-labels.json."""

import json
from pathlib import Path
from typing import Any

from radvqa.curate.checks import Pair
from radvqa.curate.parse import read_reply

NOT_SHOWN = ("History", "Exam", "Age", "Sex")
"""What of a case is no evidence: what was asked and felt, which no picture shows."""


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(_flat(part) for name, part in value.items() if name not in NOT_SHOWN)
    return str(value or "")


def _pair(question: str, answer: str, evidence: str) -> Pair:
    kind = "closed" if answer.lower().strip(" .") in ("yes", "no") else "open"
    return Pair(question, answer, kind, evidence, answer == evidence)


def labelled(data: Path) -> dict[str, Pair]:
    """{file/image/place: pair}; of an image that is there twice the first record counts."""
    medm, medpix = data / "medm", data / "MedPix-2-0"
    cases = {case["U_id"]: case for case in json.loads((medpix / "Case_topic.json").read_text())}
    about = {record["image"]: record for record in json.loads((medpix / "Descriptions.json").read_text())}
    found: dict[str, Pair] = {}
    text, at, decoder = (medm / "qa_pairs_generated_all.json").read_text().strip(), 0, json.JSONDecoder()
    while at < len(text):
        record, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        evidence = _flat(about[record["image_id"]]) + " " + _flat(cases[record["U_id"]])
        for place, pair in enumerate(read_reply(record["qa_pairs_raw"]).pairs):
            name = f"generated_all/{record['image_id']}/{place}"
            found.setdefault(name, _pair(pair.question, pair.answer, evidence))
    for record in json.loads((medm / "qa_pairs_output.json").read_text()):
        evidence = f"{_flat(about.get(record['image_id']))} {record['caption']} {record['subject']}"
        for place, pair in enumerate(read_reply(record["qa_pairs"]).pairs):
            found[f"output/{record['image_id']}/{place}"] = _pair(pair.question, pair.answer, evidence)
    for record in json.loads((medm / "roco_valid_captions_qa_pairs_output.json").read_text()):
        caption = record["original caption"]
        found[f"roco/{record['image_id']}/0"] = _pair(record["qa_pair"], caption, caption)
    return found
