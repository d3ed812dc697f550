"""Does a model say the same when it is asked again? Labels over k runs, the founding paper's rule, and paraphrases.

In: repeats.parquet (a row a question and run). Out: consistency.parquet (a row a question) and tables with intervals.

    scores, tables = score_repeats(pl.read_parquet("repeats.parquet"))

What is compared are answers, not scores: two different wrong answers are no agreement. The label of an answer is the
choice it names (by its letter as it was shown, or its words), yes or no where it says just one of them, else its
normalised text.

The founding paper: "if the model generates different labels in at least three of five runs, dock a point". Read here
as: a question has its point if the label most runs give is right, and fewer than three of five runs (3/5 of k, rounded
up) give another one. For five runs that is: the right label at least three times. Two other readings stand beside it:
`paper_distinct` (at least three different labels cost the point) and `paper_first` (the first run is the answer, and
at least three later ones that differ from it cost the point).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.errors import InputError
from radvqa.score.choice import letter
from radvqa.score.closed import closed_accuracy, yes_or_no
from radvqa.score.exact import exact_match
from radvqa.score.intervals import cluster_interval
from radvqa.score.text import normalise
from radvqa.tables import read_table

MEASURES = {
    "run_accuracy": "accuracy of a run",
    "paper_rule": "accuracy by the founding paper's rule",
    "paper_distinct": "the same, at least 3/5 k different labels",
    "paper_first": "the same, runs that differ from the first",
    "agreement": "pairs of runs that agree",
    "all_agree": "questions all runs agree on",
    "entropy_bits": "entropy of the answers, bits",
}
REQUIRED = ("id", "image", "subject", "kind", "question", "answers", "arm", "run", "shown", "answer", "extra")


def label(answer: str, kind: str, shown: Sequence[str]) -> str:
    """What an answer amounts to, so that two wordings of it are one.

    >>> label("(B)", "choice", ["CT", "MRI"]), label("No, it is not.", "closed", []), label("The Left lung", "open", [])
    ('mri', 'no', 'left lung')
    """
    if kind == "choice":
        said = normalise(answer)
        if said in map(normalise, shown):
            return said
        place = letter(answer, len(shown))
        return said if place is None else normalise(shown[place])
    return yes_or_no(answer) or normalise(answer) if kind == "closed" else normalise(answer)


def is_right(said: str, kind: str, references: Sequence[str]) -> float | None:
    """Whether a label is right: closed accuracy, for open questions exact match."""
    return exact_match(said, references) if kind == "open" else closed_accuracy(said, references)


def question_measures(labels: Sequence[str], rights: Sequence[float]) -> dict[str, float]:
    """Every measure of one question from the label and outcome of each of its k runs, in the order of the runs."""
    k, most = len(labels), Counter(labels).most_common()
    dock = math.ceil(3 * k / 5)
    right = dict(zip(labels, rights))
    top, number = min(most, key=lambda item: (-item[1], item[0]))
    tied = sum(count == number for _, count in most) > 1
    value = 0.0 if tied else right[top]
    shares = np.array([count for _, count in most]) / k
    same = sum(first == second for first, second in combinations(labels, 2))
    return {
        "run_accuracy": float(np.mean(rights)),
        "paper_rule": value * (k - number < dock),
        "paper_distinct": value * (len(most) < dock),
        "paper_first": rights[0] * (sum(one != labels[0] for one in labels[1:]) < dock),
        "agreement": same / math.comb(k, 2),
        "all_agree": float(len(most) == 1),
        "entropy_bits": float(-(shares * np.log2(shares)).sum()) + 0.0,
    }


def score_repeats(
    repeats: pl.DataFrame, *, cluster: str = "image", num_draws: int = 2000, seed: int = 0
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Measures of every question, and their means with 95 % intervals over all questions and by kind.

    A question with a missing answer or an unreadable reference is unscored. Raises InputError for a missing column,
    and for questions asked a different number of times.
    """
    missing = [name for name in REQUIRED if name not in repeats.columns]
    if missing:
        raise InputError("this column is missing", key=missing[0], fix="make the file with `radvqa consistency`")
    sizes = repeats.group_by("arm", "id").len()["len"].unique().to_list()
    if len(sizes) != 1 or sizes[0] < 2:
        raise InputError(f"questions are asked {sorted(sizes)} times", key="run", fix="each as often as the others")
    rows = [
        _question(part) for _, part in repeats.sort("arm", "id", "run").group_by(["arm", "id"], maintain_order=True)
    ]
    schema: dict[str, Any] = {name: pl.Float64 for name in MEASURES} | {"extra": pl.String, "most": pl.String}
    scores = pl.DataFrame(rows, schema_overrides=schema)
    clusters = pl.coalesce(*dict.fromkeys((cluster, "image", "subject", "id"))).alias("cluster")
    scores = scores.with_columns(clusters)
    means, pairs = [], []
    for (arm,), part in scores.group_by(["arm"], maintain_order=True):
        slices: list[dict[str, str]] = [{}, *({"kind": kind} for kind in sorted(set(part["kind"])))]
        for where in slices:
            some = part.filter(pl.col("kind") == where["kind"]) if where else part
            means += [{"arm": arm, "slice": where} | row for row in _means(some, num_draws, seed)]
        pairs.append({"arm": arm} | _paraphrases(part, num_draws, seed))
    runs = [
        {"arm": arm, **_spread(repeats.filter(pl.col("arm") == arm))}
        for arm in scores["arm"].unique(maintain_order=True)
    ]
    tables = {"num_runs": sizes[0], "means": means, "runs": runs, "paraphrases": pairs, "about": MEASURES}
    return scores.drop("extra", "cluster"), tables


def write_consistency(folder: Path, repeats: Path, num_draws: int, seed: int) -> dict[str, Any]:
    """`score_repeats` of repeats.parquet into a folder: consistency.parquet and consistency.json, which is returned."""
    scores, found = score_repeats(read_table(repeats), num_draws=num_draws, seed=seed)
    scores.write_parquet(folder / "consistency.parquet")
    (folder / "consistency.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def sentence(found: Mapping[str, Any]) -> str:
    """The tables in one sentence."""
    values = {row["measure"]: row["value"] for row in found["means"] if row["slice"] == {}}
    if values["agreement"] is None:
        return "nothing to compare"
    return (
        f"{found['num_runs']} runs: pairs of runs agree in {100 * values['agreement']:.0f} %; accuracy of a run "
        f"{100 * values['run_accuracy']:.0f} %, by the founding paper's rule {100 * values['paper_rule']:.0f} %"
    )


def _question(part: pl.DataFrame) -> dict[str, Any]:
    first = part.row(0, named=True)
    about = {name: first[name] for name in ("arm", "id", "image", "subject", "kind", "question", "answers", "extra")}
    answers = part["answer"].to_list()
    if None in answers:
        return about | {"labels": [], "most": None} | dict.fromkeys(MEASURES)
    labels = [label(answer, first["kind"], shown or ()) for answer, shown in part.select("answer", "shown").iter_rows()]
    rights = [is_right(one, first["kind"], first["answers"]) for one in labels]
    most = min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0]
    known = [right for right in rights if right is not None]
    found = question_measures(labels, known) if len(known) == len(rights) else dict.fromkeys(MEASURES)
    return about | {"labels": labels, "most": most} | found


def _means(part: pl.DataFrame, num_draws: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for name in MEASURES:
        values = part[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        unit = name != "entropy_bits"
        found = cluster_interval(values, part["cluster"].to_numpy(), num_draws=num_draws, seed=seed, unit=unit)
        row = {"measure": name, "value": found.value, "low": found.low, "high": found.high, "n": found.n}
        rows.append(row | {"num_unscored": len(values) - found.n})
    return rows


def _spread(part: pl.DataFrame) -> dict[str, Any]:
    """Mean and standard deviation, over the runs, of a run's accuracy: what a table of five runs prints."""
    values = []
    for _, run in part.group_by(["run"], maintain_order=True):
        columns = run.select("answer", "kind", "shown", "answers").iter_rows()
        rights = [is_right(label(a, k, s or ()), k, r) for a, k, s, r in columns if a is not None]
        known = [right for right in rights if right is not None]
        values.append(float(np.mean(known)) if known else math.nan)
    scored = [value for value in values if not math.isnan(value)]
    sd = float(np.std(scored, ddof=1)) if len(scored) > 1 else None
    return {"mean": float(np.mean(scored)) if scored else None, "sd": sd, "num_runs": len(values)}


# ---------------------------------------------------------------- paraphrases


def _paraphrases(part: pl.DataFrame, num_draws: int, seed: int) -> dict[str, Any]:
    """Two wordings of one question about one image: how often their commonest labels are the same."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in part.iter_rows(named=True):
        if (name := _linked(json.loads(row["extra"] or "{}"))) and row["most"] is not None:
            groups.setdefault((row["image"] or "", name), []).append(row)
    pairs = [
        pair for rows in groups.values() for pair in combinations(rows, 2) if pair[0]["question"] != pair[1]["question"]
    ]
    same_answer = [pair for pair in pairs if _wanted(pair[0]) == _wanted(pair[1])]
    agreed = np.array([float(a["most"] == b["most"]) for a, b in same_answer])
    clusters = np.array([a["cluster"] for a, _ in same_answer])
    found = cluster_interval(agreed, clusters, num_draws=num_draws, seed=seed)
    rights = [sum(is_right(one["most"], one["kind"], one["answers"]) or 0.0 for one in pair) for pair in same_answer]
    return {
        "num_pairs": len(pairs),
        "num_other_answer": len(pairs) - len(same_answer),
        "agreement": {"value": found.value, "low": found.low, "high": found.high, "n": found.n},
        "both_right": rights.count(2.0),
        "one_right": rights.count(1.0),
        "both_wrong": rights.count(0.0),
    }


def _linked(extra: Mapping[str, Any]) -> str | None:
    """The group of questions that are wordings of one another. VQA-RAD links all about one finding; only those it calls
    strictly the same are paraphrases."""
    if "paraphrase_group" in extra:
        return str(extra["paraphrase_group"])
    strict = str(extra.get("question_relation", "")).strip().lower() == "strict agreement"
    return str(extra["qid_linked_id"]) if strict and "qid_linked_id" in extra else None


def _wanted(row: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    return row["kind"], frozenset(normalise(one) for one in row["answers"])
