"""Judged answers on disk: verdicts of one or several judges, their k/n table, agreement, and people beside them.

In: predictions of any number of runs, judges, and ratings by people where there are some. Out: judge.parquet (a row an
answer and judge) and judge.json (the founding paper's k/n table with intervals, agreement, corrected accuracy).

    judge_predictions(["predictions/stage2-none"], "judge", [calls], ratings="ratings.csv")

With several judges the verdict of more than half of them is the `consensus`; where there is none the answer is disputed
and unscored. `value` counts what is correct; `lenient` counts partly as half.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.calls import Calls
from radvqa.curate.agreement import agreement, cohen_kappa
from radvqa.errors import InputError
from radvqa.score.calibration import FEW, corrected
from radvqa.score.frame import read_frame
from radvqa.score.intervals import Interval, cluster_interval
from radvqa.score.judge import TEMPLATE, VERDICTS, Item, judge_answers, template_hash
from radvqa.score.ratings import read_ratings
from radvqa.score.scores import prediction_files
from radvqa.score.table import ARMS
from radvqa.stage import path_hash, writing
from radvqa.tables import read_table

CONSENSUS = "consensus"
SLICES = ("kind", "source")
ROWS = ("id", "arm", "control", "cluster", *SLICES, "judge", "verdict", "reason", "call")


def judge_predictions(
    predictions: Sequence[str | Path],
    out: str | Path,
    judges: Sequence[Calls],
    *,
    ratings: str | Path | None = None,
    kinds: Sequence[str] = (),
    controls: Sequence[str] = ("none",),
    cluster: str = "image",
    hide: Sequence[str] = (),
    version: int = TEMPLATE,
    num_draws: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Judge the answers of predictions and write the folder `out`; returns the content of judge.json.

    kinds, controls: which questions and runs; all kinds unless said. ratings: a file of people's verdicts (ratings.py).
    hide: names, beside the arms', that the judges must not see in an answer.
    Raises InputError for what cannot be read, ServerGone where a judge stops answering: its replies are kept.
    """
    names = [calls.model for calls in judges]
    if not judges or len(set(names)) < len(names):
        raise InputError(f"judges {names}", key="judge", fix="name at least one, each once")
    files = prediction_files(predictions)
    frame = read_frame(pl.concat([read_table(file) for file in files], how="diagonal_relaxed"), cluster)
    frame = frame.filter(pl.col("control").is_in(list(controls)), pl.col("kind").is_in(list(kinds)) | (not kinds))
    if frame.is_empty():
        raise InputError("no answer to judge", key="kind", fix="leave out --kind, or name the controls there are")
    people = None if ratings is None else read_ratings(ratings)
    inputs = {str(file): path_hash(Path(file)) for file in (*files, *([ratings] if ratings else []))}
    settings = {"judges": names, "template": version, "kinds": list(kinds), "controls": list(controls)}
    settings |= {"cluster": cluster, "num_draws": num_draws, "seed": seed}
    with writing(Path(out), settings, inputs) as partial:
        rows = pl.concat([_judged(frame, calls, hide, version, seed, progress) for calls in judges])
        rows = rows if len(judges) == 1 else pl.concat([rows, _consensus(rows, len(judges))])
        found = _tables(rows, people, num_draws, seed) | {"settings": settings}
        found["template"] = {"version": version, "sha256": template_hash(version)}
        found["calls"] = {calls.model: calls.account() for calls in judges}
        rows.drop("cluster").write_parquet(partial / "judge.parquet")
        (partial / "judge.json").write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return found


def sentence(found: Mapping[str, Any]) -> str:
    """The tables in a few words, and whatever a reader must be told."""
    last = found["table"][-1]["judge"] if found["table"] else ""
    rows = [row for row in found["table"] if row["slice"] == {} and row["judge"] == last]
    counts = ", ".join(f"{row['arm']} {row['k']}/{row['n']}" for row in rows)
    warnings = "".join(f"\n  warning: {warning}" for warning in found["warnings"])
    return f"correct by {last}: {counts}{warnings}"


def agreement_lines(found: Mapping[str, Any]) -> list[str]:
    """How far several judges agree, in sentences; none for one judge."""
    agreed = found["agreement"]
    if agreed is None:
        return []
    pairs = [f"{' and '.join(pair['reviewers'])} {_two(pair['kappa'])} (n {pair['n']})" for pair in agreed["cohen"]]
    said = [f"Cohen's kappa of {', '.join(pairs)}."] if pairs else []
    fleiss, alpha = agreed.get("fleiss", {}).get("kappa"), agreed.get("krippendorff")
    if fleiss is not None or alpha is not None:
        said.append(f"All judges: Fleiss' kappa {_two(fleiss)}, Krippendorff's alpha {_two(alpha)}.")
    return said


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _judged(
    frame: pl.DataFrame,
    calls: Calls,
    hide: Sequence[str],
    version: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> pl.DataFrame:
    """A row an answer with one judge's verdict; an answer that is missing has none."""
    given = frame.filter(pl.col("answer").is_not_null())
    columns = ("question", "answers", "answer", "choices")
    items = [
        Item(question, tuple(references or ()), answer, tuple(choices or ()))
        for question, references, answer, choices in given.select(columns).iter_rows()
    ]
    hide = sorted({*hide, *given["arm"]} - {*ARMS})  # "the base of the lung" names no model
    verdicts = judge_answers(calls, items, hide=hide, version=version, seed=seed, progress=progress)
    said = given.select("id", "arm", "control").with_columns(
        judge=pl.lit(calls.model),
        verdict=pl.Series([one.verdict for one in verdicts], dtype=pl.String),
        reason=pl.Series([one.reason for one in verdicts], dtype=pl.String),
        call=pl.Series([one.key for one in verdicts], dtype=pl.String),
    )
    rows = frame.join(said, on=["id", "arm", "control"], how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("judge").fill_null(calls.model), pl.col("reason").fill_null("no answer"))
    return rows.select(ROWS)


def _consensus(rows: pl.DataFrame, num_judges: int) -> pl.DataFrame:
    """What more than half of the judges say of each answer."""
    keys = ["id", "arm", "control"]
    found = rows.group_by(keys, maintain_order=True).agg(pl.col("verdict"), pl.col("cluster", *SLICES).first())
    verdicts = [_most(verdicts, num_judges) for verdicts in found["verdict"]]
    reasons = ["" if verdict else "no majority among the judges" for verdict in verdicts]
    columns = {"verdict": pl.Series(verdicts, dtype=pl.String), "reason": pl.Series(reasons, dtype=pl.String)}
    both = found.with_columns(**columns, judge=pl.lit(CONSENSUS), call=pl.lit(None, pl.String))
    return both.select(ROWS)


def _most(verdicts: Sequence[str | None], num_judges: int) -> str | None:
    verdict, number = (
        Counter(verdict for verdict in verdicts if verdict).most_common(1)[0] if any(verdicts) else ("", 0)
    )
    return verdict if 2 * number > num_judges else None


# ---------------------------------------------------------------- tables


def _tables(rows: pl.DataFrame, people: pl.DataFrame | None, num_draws: int, seed: int) -> dict[str, Any]:
    table, calibration, warnings = [], [], []
    for (arm, control, judge), part in rows.group_by(["arm", "control", "judge"], maintain_order=True):
        heading = {"arm": arm, "control": control, "judge": judge}
        for where, some in _slices(part):
            table.append(heading | {"slice": where} | _row(some, num_draws, seed))
        unscored = part["verdict"].null_count()
        if unscored:
            reasons = Counter(part.filter(pl.col("verdict").is_null())["reason"]).most_common(3)
            said = ", ".join(f"{number} {reason}" for reason, number in reasons)
            warnings.append(f"{arm} / {control}: {judge} leaves {unscored} of {len(part)} answers unscored ({said})")
        if people is not None:
            calibration.append(heading | _against_people(part, people, num_draws, seed))
    judges = rows.filter(pl.col("judge") != CONSENSUS, pl.col("verdict").is_not_null())
    labels = [
        (f"{one}|{arm}|{control}", judge, verdict)
        for one, arm, control, judge, verdict in judges.select("id", "arm", "control", "judge", "verdict").iter_rows()
    ]
    agreed = _plain(agreement(labels)) if judges["judge"].n_unique() > 1 else None
    warnings += [
        f"{row['arm']} / {row['control']}: only {row['num_rated']} answers have been rated by people, "
        f"too few to correct {row['judge']}"
        for row in calibration
        if row["num_rated"] < FEW
    ]
    return {"table": table, "agreement": agreed, "calibration": calibration, "warnings": warnings}


def _slices(part: pl.DataFrame) -> list[tuple[dict[str, str], pl.DataFrame]]:
    found: list[tuple[dict[str, str], pl.DataFrame]] = [({}, part)]
    for name in SLICES:
        values = sorted(set(part[name].drop_nulls()))
        found += [({name: value}, part.filter(pl.col(name) == value)) for value in values]
    return found


def _row(part: pl.DataFrame, num_draws: int, seed: int) -> dict[str, Any]:
    """k of n correct, with the interval; partly counted half beside it."""
    clusters = part["cluster"].to_numpy()
    strict = cluster_interval(_values(part, strict=True), clusters, num_draws=num_draws, seed=seed)
    lenient = cluster_interval(_values(part, strict=False), clusters, num_draws=num_draws, seed=seed)
    counts = Counter(part["verdict"].drop_nulls())
    row: dict[str, Any] = {verdict: counts.get(verdict, 0) for verdict in VERDICTS}
    row |= {"k": row["correct"], "n": strict.n, "num_unscored": len(part) - strict.n, **_bounds(strict)}
    return row | {f"lenient_{key}" if key != "value" else "lenient": value for key, value in _bounds(lenient).items()}


def _bounds(found: Interval) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _values(part: pl.DataFrame, strict: bool) -> np.ndarray:
    """float[N], nan where there is no verdict."""
    counted = {name: float(value == 1.0) if strict else value for name, value in VERDICTS.items()}
    return np.array([counted.get(verdict, np.nan) for verdict in part["verdict"]], dtype=float)


def _against_people(part: pl.DataFrame, people: pl.DataFrame, num_draws: int, seed: int) -> dict[str, Any]:
    """Agreement with people on the answers they rated, and the accuracy they would have found."""
    keys = ["id"] + [name for name in ("arm", "control") if name in people.columns]
    joined = part.join(people, on=keys, how="left", maintain_order="left")
    judge, human = _values(part, strict=True), joined["rating"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    both = ~np.isnan(judge) & ~np.isnan(human)
    found = corrected(judge, human, part["cluster"].to_numpy(), num_draws=num_draws, seed=seed)
    right = human[both] > 0.5
    return {
        "num_rated": int(both.sum()),
        "kappa": _plain(cohen_kappa(*([str(one > 0.5) for one in said[both]] for said in (judge, human)))),
        "agreement": float((right == (judge[both] > 0.5)).mean()) if both.any() else None,
        "sensitivity": float(judge[both][right].mean()) if right.any() else None,
        "specificity": float(1 - judge[both][~right].mean()) if (~right).any() else None,
        "corrected": found.value,
        "corrected_low": found.low,
        "corrected_high": found.high,
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value
