"""The trust section: how well failures are foreseen, when to abstain, which groups to keep the model away from.

In: the content of trust.json. Out: sentences, charts and table rows for the template; every number is one of the file.

    trust_section(run.trust).groups[0].name
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from radvqa.report.charts import Line, Mark, Row, forest, lines, reliability
from radvqa.report.trust_words import calibration, foresight, group_name
from radvqa.report.words import NONE, count, interval, number, p_value, percent

RISK, SINGLE, OTHER = 2, 1, 0
"""Tones of the risk, of the best single indicator, and of the others."""


@dataclass(frozen=True)
class GroupLine:
    """One group that fails more than the rest."""

    name: str
    n: str
    cases: str
    error: str
    elsewhere: str
    risk: str
    p: str


@dataclass(frozen=True)
class RuleLine:
    """What is promised at one share of wrong answers."""

    alpha: str
    threshold: str
    coverage: str
    error: str
    held: str
    there: str
    wrong_there: str


@dataclass(frozen=True)
class TrustSection:
    """What the template shows."""

    said: tuple[tuple[int, str], ...]
    """(1 good, -1 bad, 0 neither; sentence)."""
    groups: tuple[GroupLine, ...]
    tested: str
    forest: Markup
    reliability: Markup
    calibration: tuple[tuple[str, str], ...]
    coverage: Markup
    areas: tuple[tuple[str, str], ...]
    rules: tuple[RuleLine, ...]
    promise: str


def trust_section(found: Mapping[str, Any] | None) -> TrustSection | None:
    """The section, or None where the run has no trust room."""
    if found is None:
        return None
    risk = found["risk"]
    single = next(one for one in found["indicators"] if one["name"] == found["single"])
    skilled = 1 if risk["auroc"]["low"] > 0.5 else 0
    return TrustSection(
        said=((skilled, foresight(found)), (0, calibration(found))),
        groups=tuple(_group(group) for group in found["slices"]["groups"]),
        tested=count(found["slices"]["num_tested"], "group"),
        forest=Markup(_forest(found)),
        reliability=Markup(_reliability(risk)),
        calibration=(
            ("Calibration error", number(risk["calibration_error"], 3)),
            ("A perfect one's, on as few answers", number(risk["calibration_floor"], 3)),
        ),
        coverage=Markup(_coverage(found, single)),
        areas=(
            ("Area under the risk's curve", _estimate(risk["aurc"])),
            (f"Under that of {single['title']}", _estimate(single["aurc"])),
            ("Of a risk that knows all", number(found["best_aurc"])),
        ),
        rules=tuple(_rule(rule) for rule in found["abstention"]),
        promise=_promise(found),
    )


def _forest(found: Mapping[str, Any]) -> str:
    ranked = sorted(found["indicators"], key=lambda one: -one["auroc"]["value"])
    combined = [
        _mark("logistic", found["risk"]["auroc"], RISK),
        _mark("boosted trees", found["boosting"]["auroc"], RISK, "ring"),
    ]
    alone = [
        _mark(_short(one["title"]), one["auroc"], SINGLE if one["name"] == found["single"] else OTHER) for one in ranked
    ]
    rows = [Row("Risk from all", combined), Row("Each alone", alone)]
    return forest(
        rows, label="Failure AUROC of the risk and of each indicator", reference=("chance", 0.5), domain=(0.3, 1.0)
    )


def _mark(name: str, estimate: Mapping[str, Any], tone: int, shape: str = "disc") -> Mark:
    return Mark(name, estimate["value"], estimate["low"], estimate["high"], tone=tone, shape=shape)


def _short(title: str) -> str:
    """A title that fits beside the marks."""
    for long, brief in (
        ("answer log-probability", "log-probability"),
        ("token entropy, mean", "token entropy"),
        ("disagreement over sampled runs", "disagreement"),
        ("gap to the blank image", "gap to blank"),
        ("attention mass on the image", "attention mass"),
        ("distance to the training images", "distance to train"),
        ("agreement of two saliency methods", "map agreement"),
    ):
        title = brief if title == long else title
    return title


def _reliability(risk: Mapping[str, Any]) -> str:
    points = risk["reliability"]
    marks = [Mark("", p["wrong"], p["low"], p["high"], tone=RISK, note=count(p["n"], "answer")) for p in points]
    return reliability(marks, [p["risk"] for p in points], label="Reliability diagram of the failure risk")


def _coverage(found: Mapping[str, Any], single: Mapping[str, Any]) -> str:
    risk, alone = found["curves"]["risk"], found["curves"][found["single"]]
    series = [
        Line("risk", risk["coverage"], risk["error"], RISK),
        Line(_short(single["title"]), alone["coverage"], alone["error"], SINGLE, dashed=True),
    ]
    return lines(series, label="Risk-coverage curve", x_label="share answered", y_label="share wrong", height=330)


def _estimate(estimate: Mapping[str, Any]) -> str:
    return interval(estimate["value"], estimate["low"], estimate["high"])


def _group(group: Mapping[str, Any]) -> GroupLine:
    error = group["error"]
    return GroupLine(
        name=group_name(group["where"]),
        n=count(group["n"]),
        cases=count(group["num_clusters"]),
        error=interval(error["value"], error["low"], error["high"], percent),
        elsewhere=percent(group["elsewhere"]),
        risk=percent(group["risk"]),
        p=p_value(group["p"]).removeprefix("p = ").removeprefix("p "),
    )


def _rule(rule: Mapping[str, Any]) -> RuleLine:
    safe, tried = rule["safe"], rule["resplits"]
    silent = safe["threshold"] is None
    return RuleLine(
        alpha=percent(rule["alpha"]),
        threshold="never" if silent else number(safe["threshold"]),
        coverage=percent(safe["coverage"]),
        error=NONE if silent else percent(safe["error"]),
        held=percent(tried["held"]),
        there=percent(tried["mean_coverage"]),
        wrong_there=percent(tried["mean_error"]),
    )


def _promise(found: Mapping[str, Any]) -> str:
    tried = found["abstention"][0]["resplits"]["num_resplits"]
    return (
        f"The promise is about the next {count(found['n'], 'question')} like these, with "
        f"{percent(found['confidence'])} probability, by learn-then-test with a binomial prediction limit; questions "
        "about one case count for less than their number. Resplits: "
        f"{count(tried)} times the cases were split in two, all was fitted on one half, and the other half was asked; "
        "a half in which nothing is answered counts as held."
    )
