"""The recipe: everything one run depends on, typed, from a YAML file and `key.sub=value` overrides.

In: recipes/demo.yaml and what the command line changes in it. Out: a frozen Recipe whose every value is checked.
A key that does not exist, a value that is not allowed and a name that refers to nothing raise InputError with the
file, the key, what was found and what is allowed.

    recipe = load("recipes/demo.yaml", ["adapt.rank=8", "stages.stage2.lr=1e-4"])
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, ValidationError, model_validator

from radvqa import tree as trees
from radvqa.errors import InputError
from radvqa.recipe_sections import (
    Adapt,
    Consistency,
    Data,
    Evaluate,
    Explain,
    Judge,
    Model,
    Name,
    Part,
    Report,
    Scaling,
    Source,
    Stage,
    Trust,
)
from radvqa.tree import one_of

RESERVED = (
    *("base", "corpora", "leakage", "predictions", "scores", "consistency", "saliency", "trust", "judge", "report"),
)
"""Names in a run folder that no stage may take."""
STUDY = ("arms",)
"""Keys of a recipe that make it a study of several runs; see ablation/study.py."""


class Recipe(Part):
    name: Name
    """What the run is called."""
    out: Path
    """The run's folder; runs/<name> unless said."""
    seed: int = 0
    """Everything random follows from it."""
    model: Model = Model()
    """The model that is adapted."""
    prompt: Literal["paligemma", "plain"] = "paligemma"
    """How a question is worded: paligemma: `answer en {question}`, as the mix checkpoints expect; plain: as it is."""
    data: Annotated[dict[Name, Data], Field(min_length=1)]
    """The corpora, by name."""
    leakage: Literal["refuse", "drop", "report"] = "refuse"
    """When a picture, an image id or a subject is both learned and asked about: refuse: stop before anything is trained;
    drop: leave those training questions out; report: train on them and say so."""
    adapt: Adapt = Adapt()
    """What is adapted, in every stage that does not say otherwise."""
    stages: tuple[Stage, ...] = ()
    """Trained one after another; none: the base model is only evaluated."""
    evaluate: Evaluate
    """What is asked of every arm."""
    explain: Explain | None = Explain()
    """Which answers get saliency maps; null: none."""
    trust: Trust | None = None
    """Which answers will be wrong, and where to keep the model away from; null: not asked."""
    consistency: Consistency | None = None
    """How often the same answer comes when a question is asked again; null: not asked."""
    judge: Judge | None = None
    """What language models say of the answers; null: not asked."""
    report: Report = Report()
    """The page."""
    scaling: Scaling | None = None
    """The grid of runs that `radvqa scaling run` makes of this recipe; null: none."""

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Recipe:
        _check_stages(self)
        _check_sources(self)
        _check_grid(self)
        return self

    @property
    def arms(self) -> tuple[str, ...]:
        """base and the stages, or those of them that `evaluate` names."""
        every = ("base", *(stage.name for stage in self.stages))
        return tuple(arm for arm in every if not self.evaluate.arms or arm in self.evaluate.arms)

    def dump(self) -> str:
        """The resolved recipe as YAML, every default written out; `load` reads it back to an equal Recipe."""
        return trees.dump(self.model_dump(mode="json"))


def _check_stages(recipe: Recipe) -> None:
    known = {"base": None} | {stage.name: stage for stage in recipe.stages}
    earlier = ["base"]
    for stage in recipe.stages:
        key = f"stages.{stage.name}"
        if stage.name in RESERVED:
            raise InputError(f"{stage.name!r} means something else in a run folder", key=f"{key}.name", fix="rename it")
        if stage.name in earlier:
            raise InputError("two stages have this name", key=f"{key}.name", fix="rename one")
        if stage.start not in earlier:
            raise InputError(f"found {stage.start!r}", key=f"{key}.start", fix=one_of(stage.start, earlier))
        if (stage.epochs is None) == (stage.steps is None):
            found = "neither epochs nor steps is given" if stage.epochs is None else "both epochs and steps are given"
            raise InputError(found, key=f"{key}.epochs", fix="give exactly one of them")
        if stage.shard and stage.adapt.method == "qlora":
            raise InputError("4-bit weights cannot be shared out", key=f"{key}.shard", fix="use lora, or shard: false")
        before = known[stage.start]
        if before is not None and before.adapt.method != "full" and before.adapt != stage.adapt:
            raise InputError(
                f"`adapt` differs from that of {before.name}, whose adapter this stage goes on from",
                key=f"{key}.adapt",
                fix="use the same, or start: base",
            )
        earlier.append(stage.name)
    wanted = [("evaluate.arms", arm) for arm in recipe.evaluate.arms]
    wanted += [("explain.arm", recipe.explain.arm)] if recipe.explain and recipe.explain.arm else []
    wanted += [("trust.arm", recipe.trust.arm)] if recipe.trust and recipe.trust.arm else []
    wanted += [("consistency.arm", recipe.consistency.arm)] if recipe.consistency and recipe.consistency.arm else []
    wanted += [("judge.arms", arm) for arm in recipe.judge.arms] if recipe.judge else []
    for key, arm in wanted:
        if arm not in earlier:
            raise InputError(f"found {arm!r}", key=key, fix=one_of(arm, earlier))
        if arm not in recipe.arms:
            raise InputError(f"{arm!r} is not evaluated", key=key, fix="add it to evaluate.arms")


def _check_sources(recipe: Recipe) -> None:
    from radvqa.sample import SCHEMA

    sources: list[tuple[str, Source]] = [(f"evaluate.data.{i}", s) for i, s in enumerate(recipe.evaluate.data)]
    sources += [(f"trust.more.{i}", s) for i, s in enumerate(recipe.trust.more)] if recipe.trust else []
    for stage in recipe.stages:
        sources += [(f"stages.{stage.name}.data.{i}", s) for i, s in enumerate(stage.data)]
        _check_order(stage)
        shares = [source.share for source in stage.data if source.share is not None]
        whole = len(shares) == len(stage.data)
        if (whole and abs(sum(shares) - 1) > 1e-6) or (not whole and sum(shares) >= 1):
            raise InputError(
                f"the shares sum to {sum(shares):g}",
                key=f"stages.{stage.name}.data",
                fix="they must sum to 1" if whole else "leave room for the sources without a share",
            )
    wheres = [(f"{key}.where", source.where) for key, source in sources]
    wheres += [("explain.where", recipe.explain.where)] if recipe.explain else []
    for key, source in sources:
        if source.corpus not in recipe.data:
            raise InputError(
                f"found {source.corpus!r}", key=f"{key}.corpus", fix=one_of(source.corpus, list(recipe.data))
            )
    for key, where in wheres:
        for name in where:
            if name == "split" and key != "explain.where":
                raise InputError("the split has a key of its own", key=key, fix="use split: beside where:")
            if name not in SCHEMA.names:
                raise InputError(f"questions have no field {name!r}", key=key, fix=one_of(name, SCHEMA.names))


def _check_grid(recipe: Recipe) -> None:
    if recipe.scaling is None:
        return
    names = [stage.name for stage in recipe.stages]
    if not names:
        raise InputError("there is no stage whose data could vary", key="scaling", fix="give the recipe stages")
    if recipe.scaling.stage is not None and recipe.scaling.stage not in names:
        raise InputError(
            f"found {recipe.scaling.stage!r}", key="scaling.stage", fix=one_of(recipe.scaling.stage, names)
        )


def _check_order(stage: Stage) -> None:
    key, corpora = f"stages.{stage.name}", [source.corpus for source in stage.data]
    if stage.temperature is not None and any(source.share is not None for source in stage.data):
        raise InputError("both a temperature and shares are given", key=f"{key}.temperature", fix="give one of them")
    if stage.anneal is None:
        return
    if stage.order != "mixed":
        raise InputError("a curriculum cannot be annealed", key=f"{key}.anneal", fix="use order: mixed")
    if corpora.count(stage.anneal.corpus) != 1:
        fix = one_of(stage.anneal.corpus, corpora)
        raise InputError(f"found {stage.anneal.corpus!r}", key=f"{key}.anneal.corpus", fix=fix)
    if len(corpora) < 2:
        raise InputError("there is nothing to anneal it into", key=f"{key}.anneal", fix="add another source")


# ---------------------------------------------------------------- from a file


def load(file: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, change it by overrides such as `stages.stage2.lr=1e-4`, and check it.

    An override's value is YAML; a list item is named by its number, its `name` or its `corpus`.
    Raises InputError with the file, the key, what was found and what is allowed.
    """
    return of_tree(trees.read(Path(file), overrides), Path(file))


def of_tree(tree: dict[str, Any], file: Path) -> Recipe:
    """The Recipe of what stands in a file. A study's keys are no part of it: they say how its arms differ from it."""
    alone = {key: value for key, value in tree.items() if key not in STUDY}
    return validate(trees.expand(alone, ("out", "model.name", "data", "judge"), file), file)


def validate(tree: dict[str, Any], file: Path | None = None) -> Recipe:
    """The Recipe of a plain tree of dictionaries and lists; InputError as `load`."""
    try:  # through JSON, because there strict means: no number from text, but lists may become tuples
        return Recipe.model_validate_json(json.dumps(_filled(tree)), strict=True)
    except ValidationError as error:
        raise _explained(error, tree, file) from None


def _filled(tree: dict[str, Any]) -> dict[str, Any]:
    """The run folder from the name; each stage's `adapt` from the recipe's."""
    common, stages = tree.get("adapt", {}), tree.get("stages", [])
    if isinstance(common, dict) and isinstance(stages, list):
        stages = [
            {**stage, "adapt": {**common, **stage.get("adapt", {})}}
            if isinstance(stage, dict) and isinstance(stage.get("adapt", {}), dict)
            else stage
            for stage in stages
        ]
    return {"out": f"runs/{tree.get('name')}", **tree, "stages": stages}


# ---------------------------------------------------------------- what went wrong, in words


def _explained(error: ValidationError, tree: dict[str, Any], file: Path | None) -> InputError:
    """The first mistake as an InputError."""
    first = error.errors()[0]
    key = ".".join(_place(first["loc"], tree))
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return InputError(cause.found, file=file, key=".".join(filter(None, (key, cause.key))), fix=cause.fix)
    if first["type"] == "extra_forbidden":
        found, fix = "there is no such key", one_of(str(first["loc"][-1]), _keys_at(first["loc"][:-1]))
    elif first["type"] == "missing":
        key, found, fix = ".".join(filter(None, (key, str(first["loc"][-1])))), "this key is missing", "give it a value"
    elif first["type"] == "too_short":
        found, fix = "this list is empty", "give it at least one item"
    else:
        found, fix = f"found {first['input']!r}", re.sub(r"^(Input|String) should", "it should", first["msg"])
        fix = fix.replace("a valid array", "a list").replace("an object", "a mapping of keys")
    return InputError(found, file=file, key=key or None, fix=fix)


def _place(loc: Sequence[int | str], tree: Any) -> list[str]:
    """`stages`, `stage2`, `lr` rather than 1 for stage2; what the checker adds below a value (`int`, `str`) is cut."""
    parts: list[str] = []
    for part in loc:
        inside: Any = tree if isinstance(tree, dict) else dict(enumerate(tree)) if isinstance(tree, list) else {}
        if part not in inside:
            break
        tree = inside[part]
        named = tree.get("name") if isinstance(part, int) and isinstance(tree, dict) else None
        parts.append(str(named if named is not None else part))
    return parts


def _keys_at(loc: Sequence[int | str]) -> list[str]:
    """The keys of the section at a place in the recipe."""
    kind: Any = Recipe
    for part in loc:
        if isinstance(kind, type) and issubclass(kind, Part):  # a section: the next part is one of its fields
            kind = kind.model_fields[str(part)].annotation
            nested = get_origin(kind) in (tuple, dict)
        else:  # a list or mapping of sections: the next part picks one
            nested = False
        if not nested:
            kind = next(k for k in _flat(kind) if isinstance(k, type) and issubclass(k, Part))
    return list(kind.model_fields)


def _flat(kind: Any) -> list[Any]:
    return [kind, *(inner for argument in get_args(kind) for inner in _flat(argument))]
