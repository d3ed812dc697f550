"""Explain a run: maps for a chosen set of its answers, how faithful they are, and which method to trust.

In: predictions.parquet of one arm, its model and its corpora. Out, in a folder:
  <nnn>-<method> .npz .json .png, <nnn>-mask.png, index.json     the answers that are shown, right and wrong ones
  maps.parquet                                                   the map of every answer that was measured, by method
  faithfulness.parquet, sanity.parquet, agreement.parquet        what was measured of each map
  ranking.json                                                   the methods in order, with paired intervals

    explain_run(model_name="radvqa-tiny", adapter=Path("runs/demo/stage2/adapter"), corpora={"demo": folder},
                predictions=Path("runs/demo/predictions/stage2-none/predictions.parquet"), settings=Explain(), seed=0,
                folder=out)

A cut run goes on where it was: each finished answer is a line of PROGRESS until all are done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from radvqa.errors import InputError
from radvqa.model import VQAModel, load
from radvqa.recipe_sections import Explain
from radvqa.saliency.map import Explanation
from radvqa.saliency.ranking import AGAINST
from radvqa.saliency.study import SCHEMAS, Measured, examine, explain_all, frame, mirrored, summarise
from radvqa.saliency.truth import mass_in, truth_of
from radvqa.saliency.turn import Turn, prepare
from radvqa.sample import Corpus, Sample
from radvqa.score.closed import closed_accuracy
from radvqa.score.exact import exact_match
from radvqa.stage import fingerprint
from radvqa.tables import read_table

SCALE = (
    "Every map has its own colours, from its smallest value to its largest; both numbers stand at the ends of the bar. "
    "Inferno: brighter is more. Orange and purple: for and against the answer."
)
PROGRESS = "progress.jsonl"
NUM_SWAPPED, NUM_RANDOMISED = 16, 8
"""Sampled answers whose question is swapped, and under which the weights are randomised."""


def explain_run(
    *,
    model_name: str,
    adapter: Path | None,
    corpora: Mapping[str, Path],
    predictions: Path,
    settings: Explain,
    seed: int,
    folder: Path,
    style: str = "paligemma",
    model: VQAModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Show `num_right` right and `num_wrong` wrong answers, and measure these and `sample` right ones.

    corpora: name -> corpus folder. The answers are chosen by `seed` and `settings.seed` alone, those with a known truth
    first. `model` spares the loading when the caller has it. Returns the path of index.json.
    """
    opened = {name: Corpus(path) for name, path in corpora.items()}
    rows, found = candidates(read_table(predictions), opened, settings)
    chosen = choose(rows, found, settings, np.random.default_rng([seed, settings.seed]))
    asked = questions_by_picture(read_table(predictions), opened)
    study = _Study(model or load(model_name, adapter, style=style), opened, found, asked, settings, folder)
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / PROGRESS
    lines = _begun(journal, fingerprint(model_name, str(adapter), str(predictions), settings, seed, len(chosen)))
    with journal.open("a") as file:
        for number in range(len(lines), len(chosen)):
            line = study.one(number, chosen[number])
            lines.append(line)
            file.write(json.dumps(line) + "\n")
            file.flush()
            if progress:
                progress(number + 1, len(chosen))
    measured = Measured()
    for line in lines:
        measured.extend(line["measured"])
    for name in SCHEMAS:
        _replace(folder / f"{name}.parquet", frame(name, getattr(measured, name)).write_parquet)
    ranking = summarise(measured, seed=seed)
    counts = {"right": sum(r["right"] for r in rows), "wrong": sum(not r["right"] for r in rows)}
    items = [line["item"] for line in lines if line["item"]]
    index = {"methods": list(settings.methods), "items": items, "scale": SCALE, "candidates": counts}
    for name, record in (("ranking", ranking), ("index", index)):
        _replace(folder / f"{name}.json", partial(_write_json, record))
    journal.unlink()
    return folder / "index.json"


def _begun(journal: Path, mark: str) -> list[dict[str, Any]]:
    """The lines of an earlier attempt at the same, without one that was cut; a journal of something else is emptied."""
    lines = journal.read_text().split("\n")[:-1] if journal.is_file() else []
    lines = lines if lines[:1] == [json.dumps(mark)] else [json.dumps(mark)]
    journal.write_text("".join(line + "\n" for line in lines))
    return [json.loads(line) for line in lines[1:]]


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    unfinished = path.with_name(path.name + ".partial")
    write(unfinished)
    unfinished.replace(path)


def _write_json(record: Any, path: Path) -> None:
    path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


# ---------------------------------------------------------------- which answers


Found = dict[tuple[str, str], tuple[str, Sample]]
"""(question id, image key) -> corpus name, sample."""


def candidates(
    predictions: pl.DataFrame, corpora: Mapping[str, Corpus], settings: Explain
) -> tuple[list[dict[str, Any]], Found]:
    """The answers under no control that can be scored and that `settings.where` admits, each with `right`."""
    rows = [row for row in predictions.iter_rows(named=True) if row["control"] == "none"]
    wanted = {(row["id"], row["image"]) for row in rows}
    found: Found = {}
    for name, corpus in corpora.items():
        for sample in corpus.samples(**settings.where):
            if (sample.id, sample.image) in wanted:
                found[sample.id, sample.image or ""] = (name, sample)
    kept = []
    for row in rows:
        right = is_right(row)
        if (row["id"], row["image"]) in found and right is not None:
            kept.append({**row, "right": right})
    if not kept:
        raise InputError("no answers to explain", key="explain.where", fix="admit questions that were asked")
    return kept, found


def questions_by_picture(predictions: pl.DataFrame, corpora: Mapping[str, Corpus]) -> dict[str, list[Sample]]:
    """Image key -> every question that was asked about it, whether `settings.where` admits it or not."""
    wanted, asked = set(predictions["id"]), dict[str, list[Sample]]()
    for sample in (s for corpus in corpora.values() for s in corpus.samples() if s.id in wanted and s.image):
        asked.setdefault(sample.image or "", []).append(sample)
    return asked


def is_right(row: Mapping[str, Any]) -> bool | None:
    """Closed and choice questions by closed accuracy, open ones by exact match; None: cannot be scored."""
    metric = exact_match if row["kind"] == "open" else closed_accuracy
    score = metric(row["answer"], row["answers"])
    return None if score is None else score == 1.0


def choose(
    rows: Sequence[dict[str, Any]], found: Found, settings: Explain, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Right answers, then wrong ones: those with a known truth first, different pictures before equal ones.

    Each has `shown` (among num_right or num_wrong) and `sampled` (among `sample`, right ones only).
    """
    chosen = []
    for right, shown, sampled in ((True, settings.num_right, settings.sample), (False, settings.num_wrong, 0)):
        some = [row for row in rows if row["right"] == right]
        some = [some[i] for i in rng.permutation(len(some))]
        seen: dict[str, int] = {}
        ranked: list[tuple[bool, int, int, dict[str, Any]]] = []
        for row in some:
            _, sample = found[row["id"], row["image"]]
            seen[row["image"]] = seen.get(row["image"], 0) + 1
            known = sample.mask is not None or bool(sample.boxes)
            ranked.append((not known, seen[row["image"]], len(ranked), row))
        kept = [row for *_, row in sorted(ranked, key=lambda item: item[:3])[: max(shown, sampled)]]
        chosen += [{**row, "shown": i < shown, "sampled": i < sampled} for i, row in enumerate(kept)]
    return chosen


# ---------------------------------------------------------------- one answer


@dataclass(frozen=True)
class _Study:
    """What the work on every answer shares."""

    model: VQAModel
    corpora: Mapping[str, Corpus]
    found: Found
    asked: Mapping[str, list[Sample]]
    settings: Explain
    folder: Path

    def one(self, number: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """Maps, files and measurements of one answer, as JSON can say them."""
        corpus, sample = self.found[row["id"], row["image"]]
        turn = self._turn(self.corpora[corpus].image(sample.image or ""), sample, row["answer"])
        truth = truth_of(sample, turn.picture.size)
        names = list(dict.fromkeys([*self.settings.methods, *AGAINST]))
        maps, seconds = explain_all(turn, names)
        others = self._others(turn, sample) if row["sampled"] and number < NUM_SWAPPED else {}
        randomise = row["sampled"] and number < NUM_RANDOMISED
        measured = examine(turn, truth, maps, seconds, self.settings.fills, others=others, randomise=randomise)
        about = {name: row[name] for name in ("id", "image", "right", "kind", "topic", "answer")}
        item = None
        if row["shown"]:
            item = self._item(number, row, corpus, sample, truth, {name: maps[name] for name in self.settings.methods})
            item["faithfulness"] = [r for r in measured.faithfulness if r["method"] in self.settings.methods]
        return {"measured": measured.about(**about).plain(), "item": item}

    def _turn(self, picture: Image.Image, sample: Sample, answer: str | None) -> Turn:
        return prepare(self.model, picture, sample.question, answer, _choices(sample), sample.language)

    def _others(self, turn: Turn, sample: Sample) -> dict[str, Turn]:
        """The same picture asked about the other side, and asked another of its questions, with the model's answers."""
        others = {}
        if (other_side := mirrored(turn, _choices(sample), sample.language)) is not None:
            others["other side"] = other_side
        asked = [s for s in self.asked.get(sample.image or "", ()) if s.question != sample.question]
        if asked:
            other = min(asked, key=lambda s: s.topic == sample.topic)  # about something else where there is such a one
            others["other question"] = self._turn(turn.picture, other, None)
        return others

    def _item(
        self,
        number: int,
        row: Mapping[str, Any],
        corpus: str,
        sample: Sample,
        truth: np.ndarray | None,
        maps: Mapping[str, Explanation],
    ) -> dict[str, Any]:
        """Write the files of a shown answer and return its entry of the index."""
        files = {}
        for name, found in maps.items():
            explained = replace(found, truth=truth)
            base = self.folder / f"{number:03d}-{name}"
            explained.save(base, explained.overlay())
            files[name] = {"npz": base.name + ".npz", "png": base.name + ".png"}
        mask_png = None
        if truth is not None:
            mask_png = f"{number:03d}-mask.png"
            Image.fromarray(truth.astype(np.uint8) * 255).convert("1").save(self.folder / mask_png, "PNG")
        return {
            "id": sample.id,
            "arm": row["arm"],
            "question": sample.question,
            "answer": row["answer"],
            "references": list(sample.answers),
            "right": row["right"],
            "probability": row["probability"],
            "image": sample.image,
            "corpus": corpus,
            "mask_png": mask_png,
            "mask_share": None if truth is None else float(truth.mean()),
            "maps": files,
            "mass_in_mask": {
                name: None if truth is None else mass_in(one.overall, truth) for name, one in maps.items()
            },
        }


def _choices(sample: Sample) -> tuple[str, ...]:
    return sample.choices if sample.kind == "choice" else ()
