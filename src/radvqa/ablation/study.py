"""A study: one recipe and its arms, each arm a run of its own that shares every step it has in common with another.

In: a recipe with `arms`, a name and a list of changes each. Out: the study's folder,
  recipe.yaml · <arm>/ (a run folder) for each · table/ (the arms side by side)

    run_study(load_study("recipes/ablation.yaml"))

A step counts as common when its part of the recipe and what it reads are equal, whatever it is called in either arm:
it is done once and its files are linked into the other arms' folders. An arm of a study is a whole recipe; what answers
within one, base or a stage, is named by `evaluate.arms`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radvqa import pipeline, recipe, stage, tree
from radvqa.ablation.formats import on_screen
from radvqa.ablation.table import write_table
from radvqa.agenda import plan
from radvqa.errors import InputError
from radvqa.recipe import Recipe
from radvqa.screen import Screen
from radvqa.task import Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
RESERVED = ("table", "scaling")
"""Names in a study's folder that no arm may take."""


@dataclass(frozen=True)
class Study:
    """What the arms have in common, and the arms."""

    common: Recipe
    arms: Mapping[str, Recipe]
    text: str
    """The recipe as YAML, arms included: what was typed, with the command line's changes."""

    @property
    def out(self) -> Path:
        """The study's folder."""
        return self.common.out


def load_study(file: str | Path, overrides: Sequence[str] = ()) -> Study | None:
    """The study that a recipe file describes; None where it has no arms.

    Raises InputError for a name that cannot be an arm's, for a change that does not apply, and for whatever is wrong
    with the recipe of an arm, which is then named.
    """
    file = Path(file)
    whole = tree.read(file, overrides)
    arms = whole.get("arms")
    if arms is None:
        return None
    common = recipe.load(file, overrides)
    if not isinstance(arms, dict) or not arms:
        raise InputError(f"found {arms!r}", file=file, key="arms", fix="give a mapping: arm -> list of key.sub=value")
    shown = {"out": str(common.out), **whole}
    found = {name: arm_of(whole, common, name, changes, file) for name, changes in arms.items()}
    return Study(common, found, tree.dump(shown))


def arm_of(whole: dict[str, Any], common: Recipe, name: str, changes: Any, file: Path) -> Recipe:
    """The recipe of one arm: what is common, changed, in a folder of its own."""
    key = f"arms.{name}"
    if name in RESERVED or not NAME.fullmatch(str(name)):
        raise InputError(f"no arm can be called {name!r}", file=file, key="arms", fix="use letters, digits, _ . -")
    if not isinstance(changes, list) or not all(isinstance(change, str) for change in changes):
        raise InputError(f"found {changes!r}", file=file, key=key, fix="give a list of key.sub=value, [] for no change")
    try:
        changed = tree.changed(whole, changes, file)
        for touched in ("name", "out"):
            if changed.get(touched) != whole.get(touched):
                raise InputError("every arm has its own", file=file, key=touched, fix="leave it out of the arm")
        told = changed.get("report") or {}
        title = (told.get("title") or common.name) if isinstance(told, dict) else common.name
        changed |= {"name": f"{common.name}-{name}", "out": str(common.out / name)}
        changed["report"] = {**told, "title": f"{title}: {name}"} if isinstance(told, dict) else told
        return recipe.of_tree(changed, file)
    except InputError as error:
        inner = f"{key}, {error.key}" if error.key else key
        raise InputError(error.found, file=file, row=error.row, key=inner, fix=error.fix) from error


# ---------------------------------------------------------------- the walk


def run_study(
    study: Study,
    *,
    steps: Mapping[str, Callable[[Task], str]] | None = None,
    screen: Screen | None = None,
    until: str = "report",
    redo: Sequence[str] = (),
) -> Path:
    """Walk every arm, one after another, and put their scores side by side. Arguments and errors as `pipeline.run`."""
    screen = screen or Screen()
    check(study.arms, redo)
    study.out.mkdir(parents=True, exist_ok=True)
    with pipeline.locked(study.out):
        (study.out / "recipe.yaml").write_text(study.text)
        walk(study.arms, steps=steps, screen=screen, until=until, redo=redo)
        if until == "report":
            table = write_table([study.out], study.out / "table", draws=study.common.evaluate.bootstrap_draws)
            screen.console.print(on_screen(table))
            screen.say(f"the table: {study.out / 'table' / 'table.html'}")
    return study.out


def check(arms: Mapping[str, Recipe], redo: Sequence[str] = ()) -> None:
    """What can be known to be wrong with any arm, before the first hour is spent and not after."""
    names = {name: [step.name for step in plan(arm)] for name, arm in arms.items()}
    for step in redo:
        every = list(dict.fromkeys(one for some in names.values() for one in some))
        if step not in every:
            raise InputError(f"there is no step {step!r} in any arm", key="redo", fix=tree.one_of(step, every))
    for name, arm in arms.items():
        with named(f"arms.{name}"):
            pipeline.check(arm, plan(arm))


def walk(
    arms: Mapping[str, Recipe],
    *,
    steps: Mapping[str, Callable[[Task], str]] | None,
    screen: Screen,
    until: str,
    redo: Sequence[str] = (),
    section: str = "arms",
) -> None:
    """Walk the recipes of several arms; a step that another arm has finished is taken from there.

    section: the recipe's key that an InputError names before the arm.
    """
    twins = Finished()
    for arm in arms.values():
        twins.add(arm)
    for name, arm in arms.items():
        again = [step.name for step in plan(arm) if step.name in redo]
        with named(f"{section}.{name}"):
            pipeline.run(arm, steps=steps, screen=screen, until=until, redo=again, twins=twins)
        twins.add(arm)


@contextmanager
def named(key: str) -> Iterator[None]:
    """While an arm is at work: an InputError says which."""
    try:
        yield
    except InputError as error:
        inner = f"{key}, {error.key}" if error.key else key
        raise InputError(error.found, file=error.file, row=error.row, key=inner, fix=error.fix) from error


class Finished:
    """Finished steps of the arms, by what they did and what they did it to."""

    def __init__(self) -> None:
        self.folders: dict[tuple[str, str], Path] = {}

    def add(self, arm: Recipe) -> None:
        """Look through what an arm has finished."""
        for step in plan(arm):
            found = stage.record(arm.out / step.name)
            if found is not None:
                self.folders[step.verb, found["fingerprint"]] = arm.out / step.name

    def __call__(self, verb: str, fingerprint: str) -> Path | None:
        """A folder in which this very step was finished and is still whole."""
        folder = self.folders.get((verb, fingerprint))
        return folder if folder is not None and stage.is_done(folder, fingerprint) else None
