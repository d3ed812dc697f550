"""The judge section: what language models say of the answers, how far they agree, and people beside them.

In: the content of judge.json. Out: a chart, table rows and sentences for the template.

    judge_section(run.judge).lines[0].share
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from radvqa.report.charts import Mark, Row, forest
from radvqa.report.words import arm_in_text, arm_name, bounds, count, interval, is_number, joined, number, percent
from radvqa.score.judged import agreement_lines


@dataclass(frozen=True)
class JudgeLine:
    """One arm and judge, over all questions or those of one kind."""

    arm: str
    judge: str
    over: str
    share: str
    """k/n, as the founding paper prints it."""
    value: str
    partly: str
    lenient: str
    num_unscored: str


@dataclass(frozen=True)
class JudgeSection:
    """What the template shows."""

    intro: str
    forest: Markup
    lines: tuple[JudgeLine, ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


def judge_section(found: Mapping[str, Any] | None) -> JudgeSection | None:
    """The section, or None where no judge was asked."""
    if found is None:
        return None
    judges = found["settings"]["judges"]
    names = f"{judges[0]} says" if len(judges) == 1 else f"{joined(judges)} say"
    return JudgeSection(
        intro=f"{names} of each answer whether it is correct, partly correct or wrong, without knowing whose it is "
        f"(template {found['template']['version']}). Correct counts; a reply without a verdict is unscored, not wrong.",
        forest=Markup(_forest(found)),
        lines=tuple(_line(row) for row in found["table"] if row["slice"] == {} or "kind" in row["slice"]),
        sentences=(*agreement_lines(found), *_people(found)),
        warnings=tuple(found["warnings"]),
    )


def _forest(found: Mapping[str, Any]) -> str:
    whole = [row for row in found["table"] if row["slice"] == {}]
    arms = list(dict.fromkeys(row["arm"] for row in whole))
    rows = [
        Row(arm_name(arm), [_mark(row, tone) for row in whole if row["arm"] == arm]) for tone, arm in enumerate(arms)
    ]
    return forest(rows, label="Share of answers judged correct, with 95 % intervals")


def _mark(row: Mapping[str, Any], tone: int) -> Mark:
    return Mark(row["judge"], row["value"], row["low"], row["high"], tone=tone, note=f"{row['k']}/{row['n']}")


def _line(row: Mapping[str, Any]) -> JudgeLine:
    return JudgeLine(
        arm=arm_name(row["arm"]),
        judge=row["judge"],
        over=row["slice"].get("kind", "all"),
        share=f"{row['k']}/{row['n']}",
        value=interval(row["value"], row["low"], row["high"], percent),
        partly=count(row["partly"]),
        lenient=percent(row["lenient"]),
        num_unscored=count(row["num_unscored"]),
    )


def _people(found: Mapping[str, Any]) -> list[str]:
    """The accuracy people would have found, where enough answers have been rated."""
    return [
        f"{arm_name(row['arm'])}: people would find {percent(row['corrected'])} "
        f"{bounds(row['corrected_low'], row['corrected_high'], percent)}".rstrip()
        + f" correct, by {count(row['num_rated'], 'rated answer')}; {row['judge']} agrees with them on "
        f"{percent(row['agreement'])} (kappa {number(row['kappa'])})."
        for row in found["calibration"]
        if is_number(row["corrected"])
    ] + [
        f"{arm_name(row['arm'])}: too few answers of {arm_in_text(row['arm'])} have been rated to correct {row['judge']}."
        for row in found["calibration"]
        if not is_number(row["corrected"])
    ]
