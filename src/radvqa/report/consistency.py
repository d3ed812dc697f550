"""The consistency section: whether the model says the same when it is asked again.

In: consistency.json and consistency.parquet. Out: table rows and sentences for the template.

    consistency_section(run.consistency, run.unsettled).lines[0].cells
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from radvqa.report.words import arm_in_text, bounds, count, interval, is_number, number, percent

SHOWN = 6
"""Questions whose answers change most that are shown."""


@dataclass(frozen=True)
class MeasureLine:
    """One measure over all questions and by kind."""

    name: str
    cells: tuple[tuple[str, str], ...]
    """Value and interval."""


@dataclass(frozen=True)
class Unsettled:
    """A question whose answer changes from run to run."""

    question: str
    said: str
    references: str


@dataclass(frozen=True)
class ConsistencySection:
    """What the template shows."""

    intro: str
    columns: tuple[str, ...]
    lines: tuple[MeasureLine, ...]
    sentences: tuple[str, ...]
    unsettled: tuple[Unsettled, ...]


def consistency_section(found: Mapping[str, Any] | None, questions: pl.DataFrame | None) -> ConsistencySection | None:
    """The section, or None where no question was asked again."""
    if found is None:
        return None
    kinds = list(dict.fromkeys(row["slice"].get("kind", "") for row in found["means"]))
    rows = {(row["measure"], row["slice"].get("kind", "")): row for row in found["means"]}
    numbers = {kind: max(row["n"] for (_, of), row in rows.items() if of == kind) for kind in kinds}
    arm = found["means"][0]["arm"]
    return ConsistencySection(
        intro=f"Every question was asked {found['num_runs']} times of {arm_in_text(arm)}, its tokens drawn by chance. "
        "Answers are compared, not scores: two different wrong answers are no agreement.",
        columns=tuple(f"{kind or 'all'}, n {count(numbers[kind])}" for kind in kinds),
        lines=tuple(
            MeasureLine(title[:1].upper() + title[1:], tuple(_cell(rows[measure, kind]) for kind in kinds))
            for measure, title in found["about"].items()
        ),
        sentences=tuple(_sentences(found)),
        unsettled=() if questions is None else tuple(_unsettled(questions)),
    )


def _cell(row: Mapping[str, Any]) -> tuple[str, str]:
    return number(row["value"]), bounds(row["low"], row["high"])


def _sentences(found: Mapping[str, Any]) -> list[str]:
    said = []
    for run in found["runs"]:
        if is_number(run["sd"]):
            spread = f"{number(run['mean'], 3)} ± {number(run['sd'], 3)}"
            said.append(f"Accuracy over the {run['num_runs']} runs: {spread} (mean ± SD of the runs).")
    for row in found["paraphrases"]:
        same = row["agreement"]
        if is_number(same["value"]):
            alike = interval(same["value"], same["low"], same["high"], percent)
            said.append(
                f"{count(same['n'], 'pair')} of wordings of one question: answered alike {alike}; both right "
                f"{row['both_right']}, one {row['one_right']}, neither {row['both_wrong']}."
            )
    return said


def _unsettled(questions: pl.DataFrame) -> list[Unsettled]:
    """The questions with the highest entropy of answers, as far as there are any that change."""
    some = questions.filter(pl.col("entropy_bits") > 0).sort("entropy_bits", "id", descending=[True, False])
    return [
        Unsettled(
            question=row["question"],
            said=", ".join(
                f"{label or 'nothing'} ({number})" for label, number in Counter(row["labels"]).most_common()
            ),
            references=" / ".join(row["answers"]),
        )
        for row in some.head(SHOWN).iter_rows(named=True)
    ]
