"""Where the page's numbers come from: the recipe, the steps with their time and memory, versions, hashes.

In: the run. Out: rows of text for the template.

    provenance(run).total
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from radvqa.report.read import Run
from radvqa.report.words import NONE, is_number, seconds, size

FILES_SHOWN = 40


@dataclass(frozen=True)
class StepRow:
    """One finished step."""

    name: str
    wall: str
    memory: str
    gpu_memory: str
    seed: str
    finished: str
    fingerprint: str
    output_hash: str


@dataclass(frozen=True)
class Hash:
    """A thing that was read or written, and its SHA-256 or fingerprint."""

    step: str
    name: str
    value: str


@dataclass(frozen=True)
class Provenance:
    """All of it."""

    steps: tuple[StepRow, ...]
    total: str
    peak: str
    has_gpu: bool
    versions: tuple[tuple[str, str], ...]
    platforms: tuple[str, ...]
    hashes: tuple[Hash, ...]
    num_hashes_left_out: int
    recipe: str
    finished: str


def provenance(run: Run) -> Provenance:
    """Everything stage.json and recipe.yaml say; several versions of one package are all named."""
    records = [step.record for step in run.steps]
    walls = [r["wall_s"] for r in records if is_number(r.get("wall_s"))]
    peaks = [r["peak_rss_bytes"] for r in records if is_number(r.get("peak_rss_bytes"))]
    hashes = [found for step in run.steps for found in _hashes(step.name, step.record)]
    versions: dict[str, list[str]] = {}
    for record in records:
        for name, version in (record.get("versions") or {}).items():
            known = versions.setdefault(name, [])
            known += [str(version)] if version and str(version) not in known else []
    return Provenance(
        steps=tuple(_row(step.name, step.record) for step in run.steps),
        total=seconds(sum(walls)) if walls else NONE,
        peak=size(max(peaks)) if peaks else NONE,
        has_gpu=any(is_number(r.get("peak_gpu_bytes")) for r in records),
        versions=tuple((name, " and ".join(found)) for name, found in versions.items() if found),
        platforms=tuple(dict.fromkeys(_platform(r) for r in records if r.get("platform"))),
        hashes=tuple(hashes[:FILES_SHOWN]),
        num_hashes_left_out=max(0, len(hashes) - FILES_SHOWN),
        recipe=run.recipe_text,
        finished=max((str(r.get("finished", "")) for r in records), default=""),
    )


def _row(name: str, record: Mapping[str, Any]) -> StepRow:
    return StepRow(
        name=name,
        wall=seconds(record.get("wall_s")) + (" (resumed)" if record.get("resumed") else ""),
        memory=size(record.get("peak_rss_bytes")),
        gpu_memory=size(record.get("peak_gpu_bytes")),
        seed=NONE if record.get("seed") is None else str(record["seed"]),
        finished=utc(str(record.get("finished", ""))),
        fingerprint=str(record.get("fingerprint", "")),
        output_hash=str(record.get("output_hash", "")),
    )


def utc(stamp: str) -> str:
    """2026-03-01T10:20:30+00:00 -> 2026-03-01 10:20:30 UTC."""
    return stamp.replace("T", " ").replace("+00:00", " UTC")


def _platform(record: Mapping[str, Any]) -> str:
    cpus = record.get("num_cpus")
    return str(record["platform"]) + (f", {cpus} CPUs" if is_number(cpus) else "")


def _hashes(step: str, record: Mapping[str, Any]) -> list[Hash]:
    found = [Hash(step, f"reads {name}", str(value)) for name, value in (record.get("inputs") or {}).items()]
    outputs = record.get("outputs") or {}
    return found + [Hash(step, f"wrote {name}", str(file.get("sha256", ""))) for name, file in outputs.items()]
