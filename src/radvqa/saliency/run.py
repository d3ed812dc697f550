"""Explain a run: maps for a chosen set of its answers, right ones and wrong ones, the truth beside them.

In: predictions.parquet of one arm, its model and its corpora. Out: a folder with `<nnn>-<method>` .npz, .json and .png,
`<nnn>-mask.png` where the truth is known, and index.json.

    explain_run(model_name="radvqa-tiny", adapter=Path("runs/demo/stage2/adapter"), corpora={"demo": folder},
                predictions=Path("runs/demo/predictions/stage2-none/predictions.parquet"), settings=Explain(), seed=0,
                folder=out)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from radvqa.errors import InputError
from radvqa.model import VQAModel, load
from radvqa.recipe_sections import Explain
from radvqa.saliency import method_named
from radvqa.saliency.map import Explanation
from radvqa.saliency.truth import mass_in, truth_of
from radvqa.saliency.turn import prepare
from radvqa.sample import Corpus, Sample
from radvqa.score.closed import closed_accuracy
from radvqa.score.exact import exact_match

SCALE = (
    "Every map has its own colours, from its smallest value to its largest; both numbers stand at the ends of the bar. "
    "Inferno: brighter is more. Orange and purple: for and against the answer."
)


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
    """Write the maps of `settings.num_right` right and `num_wrong` wrong answers, those with a known truth first.

    corpora: name -> corpus folder. The answers are chosen by `seed` and `settings.seed` alone. `model` spares the
    loading when the caller has it. Returns the path of index.json.
    """
    for name in settings.methods:
        method_named(name)
    opened = {name: Corpus(path) for name, path in corpora.items()}
    rows, found = candidates(pl.read_parquet(predictions), opened, settings)
    chosen = choose(rows, found, settings, np.random.default_rng([seed, settings.seed]))
    model = model or load(model_name, adapter, style=style)
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number, row in enumerate(chosen):
        corpus, sample = found[row["id"], row["image"]]
        items.append(_explain_one(model, opened[corpus], corpus, sample, row, settings.methods, folder, number))
        if progress:
            progress(number + 1, len(chosen))
    counts = {"right": sum(r["right"] for r in rows), "wrong": sum(not r["right"] for r in rows)}
    index = {"methods": list(settings.methods), "items": items, "scale": SCALE, "candidates": counts}
    path = folder / "index.json"
    path.with_suffix(".partial").write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    path.with_suffix(".partial").replace(path)
    return path


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


def is_right(row: Mapping[str, Any]) -> bool | None:
    """Closed and choice questions by closed accuracy, open ones by exact match; None: cannot be scored."""
    metric = exact_match if row["kind"] == "open" else closed_accuracy
    score = metric(row["answer"], row["answers"])
    return None if score is None else score == 1.0


def choose(
    rows: Sequence[dict[str, Any]], found: Found, settings: Explain, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Right answers, then wrong ones: those with a known truth first, different pictures before equal ones."""
    chosen = []
    for right, number in ((True, settings.num_right), (False, settings.num_wrong)):
        some = [row for row in rows if row["right"] == right]
        some = [some[i] for i in rng.permutation(len(some))]
        seen: dict[str, int] = {}
        ranked: list[tuple[bool, int, int, dict[str, Any]]] = []
        for row in some:
            _, sample = found[row["id"], row["image"]]
            seen[row["image"]] = seen.get(row["image"], 0) + 1
            known = sample.mask is not None or bool(sample.boxes)
            ranked.append((not known, seen[row["image"]], len(ranked), row))
        chosen += [row for *_, row in sorted(ranked, key=lambda item: item[:3])[:number]]
    return chosen


def _explain_one(
    model: VQAModel,
    corpus: Corpus,
    corpus_name: str,
    sample: Sample,
    row: Mapping[str, Any],
    methods: Sequence[str],
    folder: Path,
    number: int,
) -> dict[str, Any]:
    picture = corpus.image(sample.image or "")
    truth = truth_of(sample, picture.size)
    choices = sample.choices if sample.kind == "choice" else ()
    turn = prepare(model, picture, sample.question, row["answer"], choices, sample.language)
    maps, mass = {}, {}
    for name in methods:
        explained: Explanation = replace(method_named(name)(turn), truth=truth)
        base = folder / f"{number:03d}-{name}"
        explained.save(base, explained.overlay())
        maps[name] = {"npz": base.name + ".npz", "png": base.name + ".png"}
        mass[name] = None if truth is None else mass_in(explained.overall, truth)
    mask_png = None
    if truth is not None:
        mask_png = f"{number:03d}-mask.png"
        Image.fromarray(truth.astype(np.uint8) * 255).convert("1").save(folder / mask_png, "PNG")
    return {
        "id": sample.id,
        "arm": row["arm"],
        "question": sample.question,
        "answer": row["answer"],
        "references": list(sample.answers),
        "right": row["right"],
        "probability": row["probability"],
        "image": sample.image,
        "corpus": corpus_name,
        "mask_png": mask_png,
        "mask_share": None if truth is None else float(truth.mean()),
        "maps": maps,
        "mass_in_mask": mass,
    }
