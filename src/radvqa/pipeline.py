"""A run: every room of a recipe in its order, what is finished and unchanged skipped, what was cut resumed.

In: a Recipe. Out: the run folder,
  recipe.yaml (resolved) · corpora/<name>/ · leakage/ · <stage>/ · predictions/<arm>-<control>/ ·
  scores/ · consistency/ · saliency/ · trust/ · judge/ · report.html

    run(load("recipes/demo.yaml"))

A step is done again when its part of the recipe, what it reads, or radvqa's version has changed, and only then. What
it reads counts by content: a corpus that is imported again and comes out the same leaves everything after it as it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from radvqa import stage as stages
from radvqa import steps as rooms
from radvqa.agenda import VERBS, Step, model_folder, plan
from radvqa.errors import InputError
from radvqa.material import corpus_of, nothing
from radvqa.recipe import Recipe
from radvqa.recipe_sections import Source
from radvqa.screen import Screen
from radvqa.task import Task
from radvqa.tree import one_of

RESUMED = ("train", "explain")
"""Those that go on where they were cut; the others start again."""
ASIDE = Path("earlier") / "steps"
"""Where steps lie that an earlier recipe of this run named and this one does not."""


# ---------------------------------------------------------------- the walk


Twins = Callable[[str, str], Path | None]
"""(verb, fingerprint) -> a folder in which that very step was finished for another run, or None."""


def no_twins(verb: str, fingerprint: str) -> Path | None:
    """Nothing is taken from other runs."""
    return None


def run(
    recipe: Recipe,
    *,
    steps: Mapping[str, Callable[[Task], str]] | None = None,
    screen: Screen | None = None,
    until: str = "report",
    redo: Sequence[str] = (),
    twins: Twins = no_twins,
) -> Path:
    """Do what is not yet done of a recipe and return the run folder.

    steps: verb -> function, radvqa's own unless given. until: the last verb that is done. redo: names of steps done
    again although nothing changed. twins: finished steps of other runs, whose files then serve here too. Raises
    InputError for what is wrong with the recipe's data, or when another run is at work in the folder.
    """
    steps, screen, folder = steps or rooms.STEPS, screen or Screen(), recipe.out
    planned = [step for step in plan(recipe) if VERBS.index(step.verb) <= VERBS.index(until)]
    check(recipe, planned, redo)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        _replace(folder / "recipe.yaml", recipe.dump())
        _set_aside(folder, plan(recipe), screen)
        screen.begin(recipe.name, folder, len(planned))
        surveyed = False
        for step in planned:
            if not surveyed and step.verb != "import":
                survey(recipe)
                surveyed = True
            _do(recipe, step, steps[step.verb], screen, step.name in redo, twins)
            _write_record(folder, planned)
        if until == "report":
            _publish(folder)
            screen.end(folder)
    return folder


def add_steps(recipe: Recipe, names: Sequence[str], *, screen: Screen | None = None, redo: Sequence[str] = ()) -> None:
    """Do only the named steps in a run folder that has what they read; the folder's recipe becomes this one.

    Raises InputError for a run that has not got so far, or that another process is at work in.
    """
    folder, screen, planned = recipe.out, screen or Screen(), plan(recipe)
    chosen = [step for step in planned if step.name in names]
    for step in chosen:
        for name in step.reads:
            if name not in names and stages.record(folder / name) is None:
                found = f"{step.name} needs {name}, which is not finished"
                raise InputError(found, file=folder, fix="finish the run with `radvqa run`")
    with locked(folder):
        _replace(folder / "recipe.yaml", recipe.dump())
        screen.begin(recipe.name, folder, len(chosen))
        for step in chosen:
            _do(recipe, step, rooms.STEPS[step.verb], screen, step.name in redo)
        _write_record(folder, planned)
        _publish(folder)


def _do(
    recipe: Recipe,
    step: Step,
    work: Callable[[Task], str],
    screen: Screen,
    redo: bool,
    twins: Twins = no_twins,
) -> None:
    folder = recipe.out / step.name
    inputs = {name: stages.output_hash(recipe.out / name) for name in step.reads}
    inputs |= {key: stages.path_hash(path, content=key == "model.name") for key, path in step.foreign.items()}
    mark = stages.fingerprint(step.config, inputs)
    if not redo and stages.is_done(folder, mark):
        screen.skipped(step.name, stages.record(folder) or {})
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not redo and (twin := twins(step.verb, mark)) is not None:
        stages.adopt(twin, folder)
        screen.shared(step.name, twin)
        return
    with screen.doing(step.name) as tell:
        with stages.writing(folder, step.config, inputs, resume=step.verb in RESUMED) as partial:
            said = work(Task(recipe, recipe.out, step.name, step.item, partial, tell, screen.say))
        screen.done(step.name, said, stages.record(folder) or {})


def check(recipe: Recipe, planned: Sequence[Step], redo: Sequence[str] = ()) -> None:
    """What can be known to be wrong before anything is done: data sets, options, paths, names of steps."""
    from radvqa import datasets

    for name in redo:
        if name not in [step.name for step in planned]:
            raise InputError(f"there is no step {name!r}", key="redo", fix=one_of(name, [s.name for s in planned]))
    for name, data in recipe.data.items():
        key = f"data.{name}"
        if data.dataset != "corpus" and data.dataset not in datasets.NAMES:
            names = ["corpus", *datasets.NAMES]
            raise InputError(f"found {data.dataset!r}", key=f"{key}.dataset", fix=one_of(data.dataset, names))
        if data.path is not None and not data.path.exists():
            raise InputError("no such file or folder", file=data.path, key=f"{key}.path")
        for file in data.curate.blind if data.curate else ():
            if not file.is_file():
                raise InputError("no such file", file=file, key=f"{key}.curate.blind", fix="give a predictions.parquet")
        if data.curate and data.curate.nli and not data.curate.nli.is_dir():
            raise InputError(
                "no such folder", file=data.curate.nli, key=f"{key}.curate.nli", fix="give a model's folder"
            )
        if data.dataset == "corpus" and data.path is None:
            raise InputError("a corpus needs its path", key=f"{key}.path")
        try:
            if data.dataset != "corpus":
                datasets.checked_options(data.dataset, data.options)
        except InputError as error:
            raise InputError(error.found, key=f"{key}.options.{error.key}", fix=error.fix) from error
    if recipe.judge is not None and recipe.judge.ratings is not None and not recipe.judge.ratings.is_file():
        raise InputError("no such file of ratings", file=recipe.judge.ratings, key="judge.ratings")
    model = recipe.model.name
    if not model_folder(recipe) and (Path(model).is_absolute() or model.count("/") != 1 or model.startswith(".")):
        raise InputError(f"no such model {model!r}", key="model.name", fix="give radvqa-tiny, a hub id or a folder")
    for folder in model_folder(recipe).values():
        if not (folder / "config.json").is_file():
            fix = "give radvqa-tiny, a hub id, or a folder that save_pretrained wrote"
            raise InputError("not a model folder (no config.json)", file=folder, key="model.name", fix=fix)


def survey(recipe: Recipe) -> None:
    """That every source of every stage and of the evaluation has questions, before hours are spent on the first."""
    sources: list[tuple[str, Source]] = [(f"evaluate.data.{i}", s) for i, s in enumerate(recipe.evaluate.data)]
    sources += [(f"trust.more.{i}", s) for i, s in enumerate(recipe.trust.more)] if recipe.trust else []
    for stage in recipe.stages:
        sources += [(f"stages.{stage.name}.data.{i}", source) for i, source in enumerate(stage.data)]
    for key, source in sources:
        corpus = corpus_of(recipe.out, source.corpus)
        if next(corpus.samples(**{**source.where, "split": source.split}), None) is None:
            raise nothing(corpus, source, key)


# ---------------------------------------------------------------- the run folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process. The lock of a process that died is free; that of a living one is not."""
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InputError(
                f"another run is at work in this folder (process {owner})", file=folder, fix="wait for it, or give out="
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _set_aside(folder: Path, planned: Sequence[Step], screen: Screen) -> None:
    """Move steps that the recipe no longer names out of the way, and bring back those that it names again."""
    names = {step.name for step in planned}
    for name in names:
        if not (folder / name).exists() and (folder / ASIDE / name / stages.RECORD).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / ASIDE / name).rename(folder / name)
    found = [path.parent for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{stages.RECORD}")]
    for path in found:
        name = path.relative_to(folder).as_posix()
        if name in names or path.suffix in (".partial", ".old"):
            continue
        target = folder / ASIDE / name
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        screen.say(f"{name} is not part of this recipe any more: kept in {ASIDE / name}")


def _write_record(folder: Path, planned: Sequence[Step]) -> None:
    """run.json: seconds and peak memory of every finished step and of all of them together."""
    records = {step.name: stages.record(folder / step.name) for step in planned}
    keys = ("wall_s", "peak_rss_bytes", "peak_gpu_bytes", "resumed", "finished", "fingerprint")
    steps = {name: {k: r[k] for k in keys if k in r} for name, r in records.items() if r is not None}
    whole = {
        "wall_s": round(sum(step["wall_s"] for step in steps.values()), 3),
        "peak_rss_bytes": max(step["peak_rss_bytes"] for step in steps.values()),
        "peak_gpu_bytes": max((step.get("peak_gpu_bytes", 0) for step in steps.values()), default=0) or None,
        "versions": stages.versions(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "steps": steps,
    }
    _replace(folder / "run.json", json.dumps(whole, indent=2) + "\n")


def _publish(folder: Path) -> None:
    """The page at the top of the run folder: the same file, or a copy where files cannot have two names."""
    page, final = folder / "report" / "report.html", folder / "report.html"
    partial = final.with_name(final.name + ".partial")
    partial.unlink(missing_ok=True)
    if not page.is_file() or (final.exists() and final.samefile(page)):
        return
    try:
        partial.hardlink_to(page)
    except OSError:
        shutil.copyfile(page, partial)
    partial.replace(final)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
