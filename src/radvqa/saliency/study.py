"""A study of methods: what is measured of one answer's maps, and the tables and the ranking that follow from many.

In: a turn with its truth and its maps. Out: rows of faithfulness, sanity, agreement and maps; from those of many answers
the ranking of the methods for this model.

    maps, seconds = explain_all(turn, ["rollout", "lrp", "random", "centre"])
    rows = examine(turn, truth, maps, seconds, ("blur", "grey"), others={}, randomise=False)
    summarise(rows.about(id="1", image="a", right=True, kind="open", topic=None, answer="yes"))["methods"][0]["verdict"]
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from radvqa.saliency import COSTLY, method_named
from radvqa.saliency.faithfulness import measure
from radvqa.saliency.map import Explanation
from radvqa.saliency.ranking import rank
from radvqa.saliency.sanity import agreement, cascade, likeness, sanity_summary
from radvqa.saliency.turn import Turn, prepare

Rows = list[dict[str, Any]]
SIDES = {"left": "right", "right": "left"}


@dataclass
class Measured:
    """Rows about one answer, or about many."""

    faithfulness: Rows = field(default_factory=list)
    """For each method and fill-in: deletion, insertion, and with a truth pointing and mass."""
    sanity: Rows = field(default_factory=list)
    """For each method and check: likeness to the map as it was."""
    agreement: Rows = field(default_factory=list)
    """For each pair of methods: likeness of their maps."""
    maps: Rows = field(default_factory=list)
    """For each method the map of the whole answer, patches row by row."""

    def about(self, **columns: Any) -> Measured:
        """The same rows with columns in front that say which answer they are about."""
        return Measured(**{name: [{**columns, **row} for row in rows] for name, rows in vars(self).items()})

    def extend(self, rows: Mapping[str, Rows]) -> None:
        """Add the rows of another, given as `asdict` has them."""
        for name, more in rows.items():
            getattr(self, name).extend(more)

    def plain(self) -> dict[str, Rows]:
        """As JSON can say it."""
        return asdict(self)


def explain_all(turn: Turn, methods: Sequence[str]) -> tuple[dict[str, Explanation], dict[str, float]]:
    """The map of each method, and the seconds each took."""
    maps, seconds = {}, {}
    for name in methods:
        start = time.perf_counter()
        maps[name] = method_named(name)(turn)
        seconds[name] = time.perf_counter() - start
    return maps, seconds


def examine(
    turn: Turn,
    truth: np.ndarray | None,
    maps: Mapping[str, Explanation],
    seconds: Mapping[str, float],
    fills: Sequence[str],
    *,
    others: Mapping[str, Turn],
    randomise: bool,
) -> Measured:
    """All that is measured of one answer's maps.

    others: check -> another turn about the same picture, whose maps should differ. randomise: the cascade too.
    """
    found = Measured()
    for row in measure(turn, maps, fills, truth):
        found.faithfulness.append({**row, "seconds": seconds[row["method"]]})
    for check, other in others.items():
        again, _ = explain_all(other, list(maps))
        for name in maps:
            value = likeness(maps[name].overall, again[name].overall)
            found.sanity.append({"method": name, "check": check, "part": "", "likeness": value})
    for name in maps if randomise else ():
        for part, value in cascade(turn, method_named(name), whole=maps[name].overall, every=name not in COSTLY):
            found.sanity.append({"method": name, "check": "random weights", "part": part, "likeness": value})
    names, table = agreement(maps)
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    found.agreement = [{"first": names[j], "second": names[i], "likeness": float(table[i, j])} for i, j in pairs]
    for name, one in maps.items():
        rows, columns = one.grid
        values = one.overall.astype(float).ravel().tolist()
        found.maps.append(
            {"method": name, "signed": one.signed, "num_rows": rows, "num_columns": columns, "values": values}
        )
    return found


def mirrored(turn: Turn, choices: Sequence[str] = (), language: str = "en") -> Turn | None:
    """The same picture asked about the other side, with the model's own answer; None where no side is named."""
    question = re.sub(r"\b(left|right)\b", lambda found: SIDES[found[0]], turn.question)
    return None if question == turn.question else prepare(turn.model, turn.picture, question, None, choices, language)


# ---------------------------------------------------------------- tables and ranking

SCHEMAS: dict[str, dict[str, Any]] = {
    "faithfulness": {
        "method": pl.String, "fill": pl.String, "deletion": pl.Float64, "insertion": pl.Float64, "pointing": pl.Float64,
        "mass": pl.Float64, "pointing_by_chance": pl.Float64, "mass_by_chance": pl.Float64, "seconds": pl.Float64,
    },
    "sanity": {"method": pl.String, "check": pl.String, "part": pl.String, "likeness": pl.Float64},
    "agreement": {"first": pl.String, "second": pl.String, "likeness": pl.Float64},
    "maps": {
        "method": pl.String, "signed": pl.Boolean, "num_rows": pl.Int32, "num_columns": pl.Int32,
        "values": pl.List(pl.Float32),
    },
}  # fmt: skip
ABOUT: dict[str, Any] = {
    "id": pl.String, "image": pl.String, "right": pl.Boolean, "kind": pl.String, "topic": pl.String, "answer": pl.String,
}  # fmt: skip


def frame(name: str, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """One of SCHEMAS as a table, each row with the answer it is about."""
    return pl.DataFrame(list(rows), schema={**ABOUT, **SCHEMAS[name]})


def summarise(measured: Measured, *, seed: int = 0) -> dict[str, Any]:
    """ranking.json: the methods in order, their sanity, their agreement, over right answers only."""
    tables = {name: frame(name, getattr(measured, name)).filter(pl.col("right")) for name in SCHEMAS}
    faithfulness = tables["faithfulness"]
    return {
        "methods": rank(faithfulness, seed=seed) if len(faithfulness) else [],
        "sanity": sanity_summary(tables["sanity"], seed=seed),
        "agreement": _mean_agreement(tables["agreement"]),
        "num_answers": faithfulness["id"].n_unique(),
        "num_with_truth": faithfulness.filter(pl.col("pointing").is_not_null())["id"].n_unique(),
    }


def _mean_agreement(table: pl.DataFrame) -> Rows:
    grouped = table.group_by("first", "second", maintain_order=True)
    return grouped.agg(pl.col("likeness").mean(), n=pl.len()).to_dicts()
