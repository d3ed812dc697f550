"""The top of the page: what was adapted to what, and one sentence that says what came of it.

In: the run and its scores. Out: plain values for the template; every number is one of scores.json or a count of rows.

    headline(run, Scores(run.scores)).sentence
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from radvqa.report.lookup import MAJORITY, Entry, Scores, turn
from radvqa.report.read import Run
from radvqa.report.words import arm_in_text, arm_name, bounds, count, is_number, joined, metric_name, number, percent

WRITTEN = Markup('<span class="whole"><strong>{}</strong> <span class="bounds">{}</span></span>')


@dataclass(frozen=True)
class Tile:
    """One arm: its name, what it was made of, its value."""

    arm: str
    name: str
    about: str
    entry: Entry | None


@dataclass(frozen=True)
class Headline:
    """What the page opens with; `sentence` is None where nothing was scored."""

    metric: str | None
    sentence: Markup | None
    over: str
    """What was adapted to what, and what it was asked."""
    rule: str
    """How the majority answer is found."""
    tiles: tuple[Tile, ...]
    floor: tuple[tuple[str, Entry], ...]
    """What can be reached without seeing: blank, shuffled, majority, each with its row of scores.json."""


def headline(run: Run, scores: Scores) -> Headline:
    """The first screen of the page."""
    stages = {stage["name"]: stage for stage in stages_of(run.recipe)}
    arms = list(scores.arms or (["base", *stages] if run.recipe else []))
    metric = scores.headline
    tiles = []
    for arm in arms:
        about = model_name(run.recipe) if arm == "base" else learned(stages.get(arm, {}))
        tiles.append(Tile(arm, arm_name(arm), about, scores.find(metric, arm) if metric else None))
    return Headline(
        metric=metric_name(metric) if metric else None,
        sentence=_sentence(scores, metric) if metric else None,
        over=_over(run),
        rule=str((scores.majority_for(metric) or {}).get("answer_rule", "")) if metric else "",
        tiles=tuple(tiles),
        floor=_floor(scores, metric),
    )


def model_name(recipe: Mapping[str, Any]) -> str:
    """The model that was adapted, as the recipe names it; empty when it does not say."""
    model = recipe.get("model", "")
    return str(model.get("name", "")) if isinstance(model, Mapping) else str(model)


def stages_of(recipe: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stages of a resolved recipe, each with its name."""
    stages = recipe.get("stages") or []
    return [stage for stage in stages if isinstance(stage, Mapping) and "name" in stage]


def learned(stage: Mapping[str, Any]) -> str:
    """What a stage learned from and for how long: `phantom: modality, plane; 4 epochs`."""
    parts, anneal = [], stage.get("anneal") or {}
    for source in stage.get("data") or []:
        where = source.get("where") or {}
        values = [str(v) for value in where.values() for v in (value if isinstance(value, (list, tuple)) else [value])]
        share = f"{percent(source['share'])} of the mixture" if is_number(source.get("share")) else ""
        if source.get("corpus") == anneal.get("corpus") and is_number(anneal.get("share")):
            rising = f"rising to {percent(anneal['share'])} over the last {percent(1 - anneal.get('start', 0))}"
            share = f"{share}, {rising}" if share else rising
        share = f" ({share})" if share else ""
        parts.append(str(source.get("corpus", "")) + (f": {', '.join(values)}" if values else "") + share)
    length = [(stage[unit], unit) for unit in ("epochs", "steps") if is_number(stage.get(unit))]
    return "; ".join([*parts, *(f"{value:g} {unit if value != 1 else unit[:-1]}" for value, unit in length)])


def _over(run: Run) -> str:
    """`radvqa-tiny adapted to VQA-RAD · asked 451 questions about 203 images`."""
    sources = [source.get("corpus") for stage in stages_of(run.recipe) for source in stage.get("data") or []]
    titles = [str(run.corpora[s].card.get("title", s)) if s in run.corpora else str(s) for s in dict.fromkeys(sources)]
    parts = [model_name(run.recipe) + (f" adapted to {joined(titles)}" if titles else "")]
    if run.predictions is not None:
        seen = run.predictions.filter(pl.col("control") == "none")
        questions, images = seen["id"].n_unique(), seen["image"].drop_nulls().n_unique()
        parts.append(f"asked {count(questions, 'question')} about {count(images, 'image')}")
    return " · ".join(part for part in parts if part)


def _floor(scores: Scores, metric: str | None) -> tuple[tuple[str, Entry], ...]:
    if metric is None:
        return ()
    last = scores.arms[-1]
    found = [
        (f"{arm_name(last)}, blank image", scores.find(metric, last, "blank")),
        (f"{arm_name(last)}, shuffled images", scores.find(metric, last, "shuffled")),
        ("Majority answer of the train split", scores.majority_for(metric)),
    ]
    return tuple((name, entry) for name, entry in found if entry is not None)


# ---------------------------------------------------------------- the sentence


def _sentence(scores: Scores, metric: str) -> Markup | None:
    """What happened to the headline's metric, and whether the picture had a part in it."""
    arms = [(arm, entry) for arm in scores.arms if (entry := scores.find(metric, arm)) and is_number(entry["value"])]
    if not arms:
        return None
    text = Markup("{} ").format(metric_name(metric))
    if len(arms) == 1:
        text += Markup("of {} is {}").format(arm_in_text(arms[0][0]), _value(arms[0][1]))
    else:
        verb = _verb(change(scores, metric, (arms[-1][0], "none"), (arms[0][0], "none")))
        steps = [Markup("{} ({})").format(_value(entry), arm_in_text(arm).removeprefix("the ")) for arm, entry in arms]
        later = Markup(", ").join(steps[1:-1]) + Markup(" and ") + steps[-1] if steps[2:] else steps[-1]
        text += Markup("{} from {} to {}").format(verb, steps[0], later)
    return text + _controls(scores, metric, arms[-1][0]) + "."


def _controls(scores: Scores, metric: str, arm: str) -> Markup:
    """What not seeing reaches, and whether the arm clearly does better than it."""
    names = {"blank": "under a blank image", "shuffled": "under shuffled images"}
    found = {control: entry for control in names if (entry := scores.find(metric, arm, control))}
    text = Markup("")
    if found:
        ways = [change(scores, metric, (arm, "none"), (arm, control)) for control in found]
        lead = "; without the picture: "
        if None not in ways:
            lead = FALLS[min(way for way in ways if way is not None)]
        parts = [Markup("{} {}").format(_value(entry), names[control]) for control, entry in found.items()]
        text += Markup("{}{}").format(lead, Markup(" and ").join(parts))
    majority = scores.majority_for(metric)
    if majority is not None:
        way = change(scores, metric, (arm, "none"), (MAJORITY, "none"))
        text += Markup("; {} {}").format(MAJORITY_SAID[way].format(arm_in_text(arm)), _value(majority))
    return text


FALLS = {
    1: ", and falls without the picture: to ",
    0: ", but does not clearly fall without the picture: ",
    -1: ", but is higher without the picture: ",
}
MAJORITY_SAID = {
    1: "the majority answer reaches",
    0: "{} is not clearly above the majority answer,",
    -1: "{} is below the majority answer,",
    None: "the majority answer reaches",
}


def change(scores: Scores, metric: str, a: tuple[str, str], b: tuple[str, str]) -> int | None:
    """Whether a scores clearly above (1) or below (-1) b, or neither (0); None when it cannot be said.

    The paired test decides; where there is none, two intervals that do not touch.
    """
    test = scores.test(metric, a, b)
    if test is not None and bounds(test.get("low"), test.get("high")):
        return turn(test)
    first, second = scores.find(metric, *a), scores.find(metric, *b)
    if not all(entry and bounds(entry.get("low"), entry.get("high")) for entry in (first, second)):
        return None
    assert first is not None and second is not None
    return 1 if first["low"] > second["high"] else -1 if first["high"] < second["low"] else 0


def _verb(way: int | None) -> str:
    return {1: "rose", -1: "fell", 0: "did not clearly change,", None: "went"}[way]


def _value(entry: Entry) -> Markup:
    return WRITTEN.format(number(entry["value"]), bounds(entry.get("low"), entry.get("high")))
