"""The steps of a recipe, in the order in which they are done, each with all that its result depends on.

In: a Recipe. Out: Steps; nothing is done and nothing is read but the recipe.

    [step.name for step in plan(load("recipes/demo.yaml"))]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radvqa import steps as rooms
from radvqa.recipe import Recipe
from radvqa.recipe_sections import Source

VERBS = ("import", "leakage", "train", "predict", "score", "consistency", "explain", "trust", "judge", "report")
UNSEEN = ("checkpoint_every_s", "gradient_checkpointing", "compile", "shard", "workers", "trackers")
"""What of a stage its weights do not depend on."""


@dataclass(frozen=True)
class Step:
    """One step of a run, before it is known whether it must be done."""

    name: str
    """Its folder within the run."""
    verb: str
    item: tuple[str, ...]
    config: dict[str, Any]
    """All of the recipe that its result depends on."""
    reads: tuple[str, ...] = ()
    """Names of the steps before it that it reads."""
    foreign: Mapping[str, Path] = field(default_factory=dict)
    """Single files and folders that it reads, most of them outside the run, by recipe key."""


def plan(recipe: Recipe) -> list[Step]:
    """The steps of a recipe, in the order in which they are done."""
    predictions = [_predict(recipe, arm, control) for arm, control in rooms.answered(recipe)]
    steps = [_import(recipe, name) for name in recipe.data]
    steps += [_leakage(recipe)] if recipe.stages else []
    steps += [_train(recipe, place) for place in range(len(recipe.stages))]
    steps += predictions
    settings = {"seed": recipe.seed, **_dump(recipe.evaluate, "bootstrap_draws", "min_slice_n")}
    reads = (*(step.name for step in predictions), *(f"corpora/{name}" for name in rooms.used(recipe)))
    steps.append(Step("scores", "score", (), settings, reads))
    if recipe.consistency is not None:
        steps.append(_consistency(recipe))
    if recipe.explain is not None:
        arm = recipe.explain.arm or recipe.arms[-1]
        settings = _who(recipe)
        settings["explain"] = recipe.explain.model_dump(mode="json")
        reads = (f"predictions/{arm}-none", *_arm_reads(arm), *_corpora(recipe.evaluate.data))
        steps.append(Step("saliency", "explain", (arm,), settings, reads, model_folder(recipe)))
    if recipe.trust is not None:
        steps.append(_trust(recipe))
    if recipe.judge is not None:
        steps.append(_judge(recipe))
    page = {"recipe": recipe.model_dump(mode="json", exclude={"out"})}  # the page shows all of it
    steps.append(Step("report", "report", (), page, tuple(step.name for step in steps)))
    return steps


def _import(recipe: Recipe, name: str) -> Step:
    data = recipe.data[name]
    foreign = {} if data.path is None else {f"data.{name}.path": data.path}
    for key, value in data.options.items():
        if isinstance(value, str) and value and Path(value).exists():
            foreign[f"data.{name}.options.{key}"] = Path(value)
    for i, file in enumerate(data.curate.blind if data.curate else ()):
        foreign[f"data.{name}.curate.blind.{i}"] = file
    if data.curate and data.curate.nli:
        foreign[f"data.{name}.curate.nli"] = data.curate.nli
    return Step(f"corpora/{name}", "import", (name,), data.model_dump(mode="json"), (), foreign)


def _leakage(recipe: Recipe) -> Step:
    config = {"policy": recipe.leakage, "seed": recipe.seed, **_dump(recipe.evaluate, "data")}
    learned = [s.model_dump(mode="json", include={"corpus", "split", "where"}) for o in recipe.stages for s in o.data]
    config["train"] = sorted({json.dumps(source, sort_keys=True) for source in learned})
    return Step("leakage", "leakage", (), config, tuple(f"corpora/{name}" for name in rooms.used(recipe)))


def _train(recipe: Recipe, place: int) -> Step:
    stage = recipe.stages[place]
    settings = stage.model_dump(mode="json", exclude={"name", *UNSEEN})
    config = {**_who(recipe), "stage": settings}
    # of the leakage step only what it leaves out: asking other questions need not mean training again
    foreign = model_folder(recipe) | {"leakage": recipe.out / "leakage" / "dropped.parquet"}
    return Step(stage.name, "train", (stage.name,), config, (*_arm_reads(stage.start), *_corpora(stage.data)), foreign)


def _predict(recipe: Recipe, arm: str, control: str) -> Step:
    config = {**_who(recipe), "arm": arm, "control": control}
    config |= _dump(recipe.evaluate, "data", "max_new_tokens")
    reads = (*_arm_reads(arm), *_corpora(recipe.evaluate.data))
    return Step(f"predictions/{arm}-{control}", "predict", (arm, control), config, reads, model_folder(recipe))


def _trust(recipe: Recipe) -> Step:
    settings, arm = recipe.trust, rooms.trusted(recipe)
    assert settings is not None
    config = {**_who(recipe), "arm": arm}
    config |= {"trust": settings.model_dump(mode="json"), **_dump(recipe.evaluate, "data", "max_new_tokens")}
    reads = (
        f"predictions/{arm}-none",
        *rooms.lineage(recipe, arm),
        *(f"corpora/{name}" for name in rooms.used(recipe)),
    )
    return Step("trust", "trust", (arm,), config, reads, model_folder(recipe))


def _who(recipe: Recipe) -> dict[str, Any]:
    """What every answer depends on."""
    dtype = {} if recipe.model.dtype == "auto" else {"dtype": recipe.model.dtype}
    return {"model": recipe.model.name, "prompt": recipe.prompt, "seed": recipe.seed, **dtype}


def _consistency(recipe: Recipe) -> Step:
    assert recipe.consistency is not None
    arm = recipe.consistency.arm or recipe.arms[-1]
    config = {**_who(recipe), "arm": arm}
    config |= {"consistency": recipe.consistency.model_dump(mode="json", exclude={"arm"})}
    config |= _dump(recipe.evaluate, "data", "max_new_tokens", "bootstrap_draws")
    return Step(
        "consistency",
        "consistency",
        (arm,),
        config,
        (*_arm_reads(arm), *_corpora(recipe.evaluate.data)),
        model_folder(recipe),
    )


def _judge(recipe: Recipe) -> Step:
    from radvqa.score.judge import TEMPLATE, template_hash

    settings = recipe.judge
    assert settings is not None
    config = {"judges": [model.name for model in settings.models], "kinds": list(settings.kinds), "seed": recipe.seed}
    config |= {"template": TEMPLATE, "template_sha256": template_hash(), **_dump(recipe.evaluate, "bootstrap_draws")}
    foreign = {} if settings.ratings is None else {"judge.ratings": settings.ratings}
    return Step("judge", "judge", (), config, tuple(f"predictions/{arm}-none" for arm in rooms.judged(recipe)), foreign)


def _dump(part: Any, *names: str) -> dict[str, Any]:
    return part.model_dump(mode="json", include=set(names))


def _arm_reads(arm: str) -> tuple[str, ...]:
    return () if arm == "base" else (arm,)


def _corpora(sources: Sequence[Source]) -> tuple[str, ...]:
    return tuple(f"corpora/{name}" for name in sorted({source.corpus for source in sources}))


def model_folder(recipe: Recipe) -> dict[str, Path]:
    """The base model's folder, where it is one; what a hub id stands for is taken as fixed."""
    from importlib.resources import files

    inside = Path(str(files("radvqa"))) / "assets" / recipe.model.name
    folder = inside if inside.is_dir() else Path(recipe.model.name)
    return {"model.name": folder} if folder.is_dir() else {}
