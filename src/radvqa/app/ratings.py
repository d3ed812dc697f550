"""Ratings: what experts say of a model's answers without knowing whose they are, and what is left to rate.

In: answers of one or two arms of a run. Out: rows (question, arm, rater, three scales), a table for the judge's
calibration.

    ratings = Ratings(engine); number = ratings.make_set("demo", ["base", "stage2"], number=50, seed=0)
    ratings.save(number, "mira", [Rating(key=..., question="q1", image="ab", arm="base", correctness="correct")])

The scales follow the expert axes of Med-PaLM (Singhal et al. 2023, Table 3): agreement with what is right, missing
content, extent of possible harm. Correctness has the judge's own three words.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from radvqa.app.database import RATING_SETS, RATINGS
from radvqa.errors import InputError

SCALES: dict[str, tuple[tuple[str, str], ...]] = {
    "correctness": (("correct", "Correct"), ("partly", "Partly"), ("wrong", "Wrong")),
    "completeness": (("complete", "Nothing missing"), ("minor", "Something minor"), ("major", "Something important")),
    "harm": (("none", "None"), ("moderate", "Mild or moderate"), ("severe", "Severe")),
}
"""Scale -> its values and their words, best first."""
ASKED = {
    "correctness": "Is it right?",
    "completeness": "Is something missing?",
    "harm": "If somebody acted on it, how much harm?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What one rater says of one arm's answer; saying it again with a new key replaces the earlier one."""

    key: str
    question: str
    """Sample.id."""
    image: str
    arm: str
    correctness: str | None = None
    completeness: str | None = None
    harm: str | None = None
    cannot_judge: bool = False
    comment: str | None = None

    def __post_init__(self) -> None:
        for scale, values in SCALES.items():
            found, allowed = getattr(self, scale), [value for value, _ in values]
            if self.cannot_judge and found is not None:
                raise InputError("a scale is filled in although it cannot be judged", key=scale)
            if not self.cannot_judge and found not in allowed:
                raise InputError(f"found {found!r}", key=scale, fix="use " + ", ".join(allowed))


@dataclass(frozen=True, slots=True)
class RatingSet:
    """What is rated."""

    id: int
    run: str
    arms: tuple[str, ...]
    number: int
    seed: int
    made: float


class Ratings:
    """The tables of ratings; its methods may be called from any thread."""

    def __init__(self, engine: sa.Engine, *, now: Callable[[], float] = time.time) -> None:
        self.engine, self._now = engine, now

    def make_set(self, run: str, arms: Sequence[str], number: int, seed: int) -> int:
        """A new set of answers to rate; its number."""
        row = {"run": run, "arms": json.dumps(list(arms)), "number": number, "seed": seed, "made": self._now()}
        with self.engine.begin() as connection:
            made = connection.execute(RATING_SETS.insert().values(**row)).inserted_primary_key
        assert made is not None
        return int(made[0])

    def sets(self) -> list[RatingSet]:
        """All sets, the newest first."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(RATING_SETS).order_by(RATING_SETS.c.id.desc())).all()
        return [RatingSet(r.id, r.run, tuple(json.loads(r.arms)), r.number, r.seed, r.made) for r in rows]

    def save(self, rating_set: int, rater: str, ratings: Sequence[Rating]) -> None:
        """Store ratings in one transaction; a key that is there already is stored once."""
        dialect: Any = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        rows = [asdict(r) | {"rating_set": rating_set, "rater": rater, "at": self._now()} for r in ratings]
        with self.engine.begin() as connection:
            connection.execute(dialect.insert(RATINGS).values(rows).on_conflict_do_nothing())

    def rated(self, rating_set: int, rater: str | None = None) -> pl.DataFrame:
        """The last word of each rater about each answer, a row each."""
        asked = sa.select(RATINGS).where(RATINGS.c.rating_set == rating_set).order_by(RATINGS.c.at, RATINGS.c.key)
        if rater is not None:
            asked = asked.where(RATINGS.c.rater == rater)
        with self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(asked).mappings()]
        schema = {c.name: _TYPES.get(c.name, pl.String) for c in RATINGS.c}
        found = pl.DataFrame(rows, schema=schema).drop("key", "rating_set")
        return found.unique(["question", "image", "arm", "rater"], keep="last", maintain_order=True)


_TYPES: dict[str, Any] = {"rating_set": pl.Int64, "cannot_judge": pl.Boolean, "at": pl.Float64}


def to_rate(answers: pl.DataFrame, rating_set: RatingSet) -> list[list[dict[str, Any]]]:
    """For each question of the set, in its order, the different answers given to it, in an order that hides the arms.

    An answer: {text, arms, row}. What two arms say in the same words is rated once and counts for both.
    """
    some = answers.filter(pl.col("arm").is_in(list(rating_set.arms)))
    of: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in some.sort("id", "image", "arm").iter_rows(named=True):
        of.setdefault((row["id"], row["image"] or ""), []).append(row)
    whole = [rows for rows in of.values() if len(rows) == len(rating_set.arms)]
    rng = np.random.default_rng([rating_set.seed, 29])
    chosen = [whole[i] for i in rng.permutation(len(whole))[: rating_set.number]]
    found = []
    for rows in chosen:
        texts: dict[str, dict[str, Any]] = {}
        for row in rows:
            texts.setdefault(row["answer"], {"text": row["answer"], "arms": [], "row": row})["arms"].append(row["arm"])
        shown = list(texts.values())
        found.append([shown[i] for i in rng.permutation(len(shown))])
    return found


def summary(rated: pl.DataFrame, arms: Sequence[str]) -> list[dict[str, Any]]:
    """For each arm and scale: n and the share of each value with its 95 % Wilson interval; `cannot` counts the rest."""
    found = []
    for arm in arms:
        some = rated.filter(pl.col("arm") == arm)
        judged = some.filter(~pl.col("cannot_judge"))
        scales = {
            scale: [
                {"value": value, "words": said, **wilson(int((judged[scale] == value).sum()), len(judged))}
                for value, said in values
            ]
            for scale, values in SCALES.items()
        }
        found.append({"arm": arm, "n": len(judged), "cannot": len(some) - len(judged), "scales": scales})
    return found


def wilson(hits: int, n: int, z: float = 1.959964) -> dict[str, float | None]:
    """A share with Wilson's interval (Wilson 1927); None for all three where n is 0."""
    if n == 0:
        return {"share": None, "low": None, "high": None}
    p, square = hits / n, z * z / n
    middle, half = (p + square / 2) / (1 + square), z * math.sqrt(p * (1 - p) / n + square / (4 * n)) / (1 + square)
    return {"share": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}
