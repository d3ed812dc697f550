"""Trust of a run: indicators of every held-out answer of one arm, and all that is concluded from them.

In: predictions.parquet of one arm, its model, its corpora and the pictures it learned from. Out: a folder with
indicators.parquet (a row for each answer: indicators, risk, wrong) and trust.json (what the page shows, and the risk
model as plain numbers).

    trust_run(model_name="radvqa-tiny", adapter=Path("runs/x/stage1/adapter"), corpora={"vqa_rad": folder},
              predictions=[file], learned=keys, settings=Trust(), seed=0, folder=out)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.model import VQAModel, load
from radvqa.pixels import PixelStore
from radvqa.recipe_sections import Trust
from radvqa.saliency.run import is_right
from radvqa.sample import Corpus, Sample
from radvqa.score.table import SLICES
from radvqa.tables import read_table
from radvqa.trust.abstain import expected_threshold, resplits, safe_threshold
from radvqa.trust.indicators import INDICATORS, directed, measured
from radvqa.trust.measure import Answered, measure
from radvqa.trust.quality import (
    best_aurc,
    calibration_error,
    calibration_floor,
    compare,
    reliability,
    risk_coverage,
)
from radvqa.trust.risk import boosting, cross_fitted, logistic
from radvqa.trust.slices import failing_slices

MIN_ANSWERS, MIN_OF_EACH = 50, 10
"""Fewer answers, or fewer right or wrong ones, allow no conclusion."""
MAX_LEARNED = 5000
"""Training pictures that distances are measured to; of more, a seeded draw."""
POINTS, FEWEST = 100, 20
"""Points of a risk-coverage curve on the page, and answers at its first: the error of fewer says nothing."""


def trust_run(
    *,
    model_name: str,
    adapter: Path | None,
    corpora: Mapping[str, Path],
    predictions: Sequence[Path],
    learned: Sequence[str],
    settings: Trust,
    seed: int,
    folder: Path,
    style: str = "paligemma",
    max_new_tokens: int = 32,
    batch_size: int = 16,
    model: VQAModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write indicators.parquet and trust.json into the folder and return the content of trust.json.

    learned: keys of the pictures the arm was trained on. `model` spares the loading when the caller has it. Raises
    InputError where there are too few answers, or too few right or wrong ones, to conclude anything.
    """
    opened = {name: Corpus(path) for name, path in corpora.items()}
    answers, unscored = answered(pl.concat([read_table(p) for p in predictions]), opened)
    check(answers)
    model = model or load(model_name, adapter, style=style)
    draw = np.random.default_rng(seed).permutation(len(learned))[:MAX_LEARNED]
    table = measure(
        model,
        PixelStore(list(opened.values()), model.form),
        answers,
        learned=[sorted(learned)[i] for i in draw],
        settings=settings,
        seed=seed,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        progress=progress,
    )
    tags = pl.DataFrame([{name: _tag(a.sample, name) for name in SLICES} for a in answers], infer_schema_length=None)
    risks, found = conclude(table, tags, settings, seed)
    found |= {"num_unscored": unscored, "splits": _counts(a.sample.split for a in answers)}
    _write(folder, table.with_columns(pl.Series("risk", risks)), found)
    return found


def answered(predictions: pl.DataFrame, corpora: Mapping[str, Corpus]) -> tuple[list[Answered], int]:
    """The answers under the true image that can be scored, with their samples, and how many cannot be scored."""
    rows = predictions.filter(pl.col("control") == "none").unique("id", keep="first", maintain_order=True)
    wanted = set(rows["id"])
    samples = {s.id: s for corpus in corpora.values() for s in corpus.samples() if s.id in wanted and s.image}
    found, unscored = [], 0
    for row in rows.iter_rows(named=True):
        right = is_right(row)
        if right is None or row["id"] not in samples:
            unscored += 1
        else:
            found.append(Answered(samples[row["id"]], row["answer"], not right))
    return found, unscored


def check(answers: Sequence[Answered]) -> None:
    """Raises InputError where nothing can be concluded from these answers."""
    num_wrong = sum(a.wrong for a in answers)
    fewest = min(num_wrong, len(answers) - num_wrong)
    if len(answers) < MIN_ANSWERS or fewest < MIN_OF_EACH:
        found = f"{len(answers)} answers that can be scored, {num_wrong} of them wrong"
        fix = f"ask at least {MIN_ANSWERS} questions, {MIN_OF_EACH} of them answered wrongly and as many rightly"
        raise InputError(found, key="trust", fix=fix)


def _tag(sample: Sample, name: str) -> Any:
    value = getattr(sample, name)
    return list(value) if isinstance(value, tuple) else value


def _counts(values: Any) -> dict[str, int]:
    return dict(pl.Series(list(values)).value_counts(sort=True).iter_rows())


# ---------------------------------------------------------------- what follows from the table


def conclude(table: pl.DataFrame, tags: pl.DataFrame, settings: Trust, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Cross-fitted risks float[N], and all that trust.json says; no model is needed any more."""
    names = measured(table)
    x, wrong, clusters = directed(table, names), table["wrong"].to_numpy(), table["cluster"].to_numpy()
    risks = cross_fitted(x, wrong, clusters, logistic, seed=seed)
    trees = cross_fitted(x, wrong, clusters, boosting, seed=seed)
    scores = {"risk": risks, "boosting": trees, **{name: x[:, i] for i, name in enumerate(names)}}
    compared = compare(scores, wrong, clusters, reference="risk", seed=seed)
    single = max(names, key=lambda name: compared[name]["auroc"]["value"])
    model = logistic(x, wrong, clusters, tuple(names))
    held = resplits(
        x, wrong, clusters, settings.alphas, logistic,
        confidence=settings.confidence, num_resplits=settings.num_resplits, seed=seed,
    )  # fmt: skip
    rules = [_abstention(risks, wrong, clusters, settings, alpha) for alpha in settings.alphas]
    found = {
        "n": len(table),
        "num_wrong": int(wrong.sum()),
        "num_clusters": len(np.unique(clusters)),
        "confidence": settings.confidence,
        "risk": compared["risk"] | _calibration(risks, wrong, clusters) | {"model": model.record()},
        "boosting": compared["boosting"] | _calibration(trees, wrong, clusters),
        "indicators": [_indicator(name, table, compared[name], model.weights[i]) for i, name in enumerate(names)],
        "single": single,
        "best_aurc": best_aurc(wrong),
        "curves": {name: _curve(scores[name], wrong) for name in ("risk", single)},
        "abstention": [rule | {"resplits": found} for rule, found in zip(rules, held)],
        "slices": failing_slices(tags, wrong, risks, clusters, seed=seed),
    }
    return risks, found


def _calibration(risks: np.ndarray, wrong: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    return {
        "calibration_error": calibration_error(risks, wrong),
        "calibration_floor": calibration_floor(risks),
        "reliability": reliability(risks, wrong, clusters),
    }


def _indicator(name: str, table: pl.DataFrame, compared: Mapping[str, Any], weight: float) -> dict[str, Any]:
    about = INDICATORS[name]
    return {
        "name": name,
        "title": about.title,
        "sign": about.sign,
        "unit": about.unit,
        "num_missing": table[name].null_count(),
        "weight": float(weight),
        **compared,
    }


def _curve(score: np.ndarray, wrong: np.ndarray) -> dict[str, list[float]]:
    coverage, error = risk_coverage(np.where(np.isnan(score), np.nanmean(score), score), wrong)
    kept = np.unique(np.linspace(min(FEWEST, len(coverage)) - 1, len(coverage) - 1, POINTS).astype(int))
    return {"coverage": coverage[kept].tolist(), "error": error[kept].tolist()}


def _abstention(
    risks: np.ndarray, wrong: np.ndarray, clusters: np.ndarray, settings: Trust, alpha: float
) -> dict[str, Any]:
    safe = safe_threshold(risks, wrong, clusters, alpha, confidence=settings.confidence, num_future=len(risks))
    return {
        "alpha": alpha,
        "safe": safe.record(),
        "expected": expected_threshold(risks, wrong, clusters, alpha).record(),
    }


def _write(folder: Path, table: pl.DataFrame, found: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / "indicators.parquet.partial")
    (folder / "indicators.parquet.partial").replace(folder / "indicators.parquet")
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "trust.json.partial").write_text(text + "\n")
    (folder / "trust.json.partial").replace(folder / "trust.json")
