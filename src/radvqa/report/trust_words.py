"""What the trust room found, in sentences: the same ones on a terminal and on the page.

In: the content of trust.json. Out: plain sentences, every number one of trust.json.

    for line in summary(Path("runs/demo/trust")): print(line)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radvqa.report.words import bounds, count, dimension_name, number, p_value, percent

Found = Mapping[str, Any]


def read(folder: Path) -> dict[str, Any]:
    """The content of trust.json."""
    return json.loads((folder / "trust.json").read_text())


def summary(folder: Path) -> list[str]:
    """All of it, a line each."""
    found = read(folder)
    lines = [foresight(found), calibration(found), *(promise(rule, found) for rule in found["abstention"])]
    groups = found["slices"]["groups"]
    lines += [avoid(group) for group in groups]
    return lines + ([] if groups else [nothing_to_avoid(found)])


def foresight(found: Found) -> str:
    """How well failures are foreseen, against the best single indicator."""
    best = next(one for one in found["indicators"] if one["name"] == found["single"])
    risk, difference = found["risk"]["auroc"], best["auroc_difference"]
    said = "above" if difference["low"] > 0 else "below" if difference["high"] < 0 else "not clearly different from"
    return (
        f"Of {count(found['n'], 'held-out answer')}, {count(found['num_wrong'])} were wrong. A wrong answer has the higher "
        f"risk with probability {_with(risk)} (failure AUROC), {said} the best single indicator, {best['title']}: "
        f"{_with(best['auroc'])}."
    )


def calibration(found: Found) -> str:
    """Whether the risks are true probabilities."""
    risk = found["risk"]
    return (
        f"The risk is off by {number(risk['calibration_error'], 3)} on average (calibration error in ten bins); "
        f"a perfectly calibrated one would show {number(risk['calibration_floor'], 3)} on as few answers."
    )


def promise(rule: Found, found: Found) -> str:
    """What abstaining reaches at one alpha."""
    safe, held = rule["safe"], rule["resplits"]
    most = percent(rule["alpha"])
    tried = f"held in {percent(held['held'])} of {count(held['num_resplits'])} resplits"
    if safe["threshold"] is None:
        return f"At most {most} wrong: cannot be promised for any share of the questions."
    return (
        f"At most {most} wrong (with {percent(found['confidence'])} probability): answer where the risk is at most "
        f"{number(safe['threshold'])}, which is {percent(safe['coverage'])} of the questions; {tried}."
    )


def avoid(group: Found) -> str:
    """One group that fails more."""
    error = group["error"]
    return (
        f"Keep away from {group_name(group['where'])}: {percent(error['value'])} wrong "
        f"{bounds(error['low'], error['high'], percent)} of {count(group['n'], 'answer')}, against "
        f"{percent(group['elsewhere'])} elsewhere ({p_value(group['p'])})."
    )


def nothing_to_avoid(found: Found) -> str:
    """That no group stands out."""
    return f"None of {count(found['slices']['num_tested'], 'group')} fails more than the rest beyond chance."


def group_name(where: Mapping[str, str]) -> str:
    """`region chest, question kind open`."""
    return ", ".join(f"{dimension_name(name).lower()} {value}" for name, value in where.items())


def _with(estimate: Found) -> str:
    return f"{number(estimate['value'])} {bounds(estimate['low'], estimate['high'])}"
