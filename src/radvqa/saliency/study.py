"""A study of methods: maps of many answers of one arm, measured for faithfulness and ranked.

In: predictions.parquet of one arm, its model and corpora. Out: a folder with faithfulness.parquet (a row for each
answer, method and fill-in), sanity.parquet (likeness under random weights and under another question) and ranking.json.

    study_run(model_name="radvqa-tiny", adapter=None, corpora={"demo": folder}, predictions=file,
              methods=["rollout", "lrp"], num_answers=200, seed=0, folder=out)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.model import VQAModel, load
from radvqa.recipe_sections import Explain
from radvqa.saliency import METHODS, method_named
from radvqa.saliency.faithfulness import measure
from radvqa.saliency.ranking import rank
from radvqa.saliency.run import Found, candidates, choose
from radvqa.saliency.sanity import cascade, swapped_question
from radvqa.saliency.truth import truth_of
from radvqa.saliency.turn import Turn, prepare
from radvqa.sample import Corpus, Sample

SLOW = ("flow",)
"""Left out unless named: a maximum flow for each image token."""
NUM_SANITY = 12
"""Answers under which weights are randomised and questions swapped."""


def study_run(
    *,
    model_name: str,
    adapter: Path | None,
    corpora: Mapping[str, Path],
    predictions: Path,
    methods: Sequence[str] | None = None,
    fills: Sequence[str] = ("blur", "grey"),
    num_answers: int = 200,
    right_only: bool = True,
    where: Mapping[str, Any] | None = None,
    seed: int = 0,
    folder: Path,
    style: str = "paligemma",
    model: VQAModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Measure methods (None: all but the slow ones) on right answers, those with a known truth first.

    right_only False: as many wrong ones too. The random and centre controls are always measured. Returns the path of
    ranking.json.
    """
    names = list(dict.fromkeys([*(methods or [m for m in METHODS if m not in SLOW]), "random", "centre"]))
    functions = {name: method_named(name) for name in names}
    opened = {name: Corpus(path) for name, path in corpora.items()}
    settings = Explain(num_right=num_answers, num_wrong=0 if right_only else num_answers, where=dict(where or {}))
    rows, found = candidates(pl.read_parquet(predictions), opened, settings)
    chosen = choose(rows, found, settings, np.random.default_rng(seed))
    model = model or load(model_name, adapter, style=style)
    measured: list[dict[str, Any]] = []
    checked: list[dict[str, Any]] = []
    for number, row in enumerate(chosen):
        turn, truth = _turn(model, opened, found, row)
        about = {
            "id": row["id"],
            "image": row["image"],
            "right": row["right"],
            "kind": row["kind"],
            "topic": row["topic"],
        }
        maps, seconds = {}, {}
        for name, function in functions.items():
            start = time.perf_counter()
            maps[name] = function(turn)
            seconds[name] = time.perf_counter() - start
        for one in measure(turn, maps, fills, truth):
            measured.append({**about, **one, "seconds": seconds[one["method"]]})
        if number < NUM_SANITY:
            other = _other_question(model, turn, found, row)
            checked += [{**about, "method": name, **found_} for name in names for found_ in _sanity(turn, other, name)]
        if progress:
            progress(number + 1, len(chosen))
    return _write(folder, measured, checked, seed)


def _turn(
    model: VQAModel, corpora: Mapping[str, Corpus], found: Found, row: Mapping[str, Any]
) -> tuple[Turn, np.ndarray | None]:
    corpus, sample = found[row["id"], row["image"]]
    picture = corpora[corpus].image(sample.image or "")
    return prepare(model, picture, sample.question, row["answer"], _choices(sample), sample.language), truth_of(
        sample, picture.size
    )


def _choices(sample: Sample) -> tuple[str, ...]:
    return sample.choices if sample.kind == "choice" else ()


def _other_question(model: VQAModel, turn: Turn, found: Found, row: Mapping[str, Any]) -> Turn | None:
    """Another question about the same picture, with the model's own answer; None if there is none."""
    others = (s for (_, image), (_, s) in found.items() if image == row["image"] and s.question != turn.question)
    other = next(others, None)
    return (
        None if other is None else prepare(model, turn.picture, other.question, None, _choices(other), other.language)
    )


def _sanity(turn: Turn, other: Turn | None, name: str) -> list[dict[str, Any]]:
    function = method_named(name)
    rows = [{"check": "random weights", "part": part, "likeness": value} for part, value in cascade(turn, function)]
    if other is not None:
        rows.append({"check": "other question", "part": "", "likeness": swapped_question(turn, other, function)})
    return rows


def _write(folder: Path, measured: list[dict[str, Any]], checked: list[dict[str, Any]], seed: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.DataFrame(measured, infer_schema_length=None)
    sanity = pl.DataFrame(checked, infer_schema_length=None)
    ranking = {
        "methods": rank(table, seed=seed),
        "sanity": sanity_summary(sanity),
        "num_answers": table["id"].n_unique(),
    }
    for name, frame in (("faithfulness", table), ("sanity", sanity)):
        frame.write_parquet(folder / f"{name}.parquet.partial")
        (folder / f"{name}.parquet.partial").replace(folder / f"{name}.parquet")
    path = folder / "ranking.json"
    path.with_suffix(".partial").write_text(json.dumps(ranking, indent=2, ensure_ascii=False) + "\n")
    path.with_suffix(".partial").replace(path)
    return path


def sanity_summary(sanity: pl.DataFrame) -> list[dict[str, Any]]:
    """For each method: the mean likeness when every layer is random, and under another question; and whether it passes."""
    from radvqa.saliency.sanity import PASSES_BELOW

    last = sanity.filter(pl.col("check") == "random weights").group_by("id", "method", maintain_order=True).last()
    random = dict(last.group_by("method").agg(pl.col("likeness").mean()).iter_rows())
    asked = sanity.filter(pl.col("check") == "other question").group_by("method").agg(pl.col("likeness").mean())
    swapped = dict(asked.iter_rows())
    return [
        {
            "method": name,
            "random_weights": random[name],
            "other_question": swapped.get(name),
            "passes": abs(random[name]) < PASSES_BELOW,
        }
        for name in sanity["method"].unique(maintain_order=True)
    ]
