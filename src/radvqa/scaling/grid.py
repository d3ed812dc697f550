"""A grid of runs, data shares x ranks x seeds, and the law of their losses.

In: a recipe with `scaling`. Out: its folder,
  recipe.yaml · runs/<run>/ (imported and trained) · losses/<run>/ · points.csv · law/ (fit.json, fit.png)

    run_grid(load("recipes/scaling.yaml"))

D is the number of different questions that the stage learned from, X the rank of the adapters, the loss that of the
reference answers to `evaluate.data`, in nats a token. Runs share what they have in common, as the arms of a study do, and
a grid that was cut goes on where it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from radvqa import pipeline, stage
from radvqa.ablation.study import walk
from radvqa.errors import InputError
from radvqa.material import evaluated, samples_of
from radvqa.recipe import Recipe
from radvqa.scaling.estimate import Fit
from radvqa.scaling.points import ALL, read_points
from radvqa.scaling.reach import HeldOut
from radvqa.scaling.study import write_fits
from radvqa.screen import Screen
from radvqa.steps import adapter_of
from radvqa.tables import read_table
from radvqa.task import Task

LEAST = 2
"""Questions below which a share is no data."""


def run_grid(
    recipe: Recipe,
    *,
    steps: Mapping[str, Callable[[Task], str]] | None = None,
    losses: Callable[[Task, Path | None], pl.DataFrame] | None = None,
    screen: Screen | None = None,
) -> tuple[list[Fit], list[HeldOut | None]]:
    """Make the runs, measure their losses and fit the law to them.

    losses: (task, adapter) -> a row a question, as `question_losses`, which it is unless given. Raises InputError for a
    recipe without `scaling`, and for a share so small that it holds no questions.
    """
    if recipe.scaling is None:
        fix = "say what varies, e.g. scaling: {shares: [0.1, 0.3, 1.0], ranks: [2, 12]}"
        raise InputError("this recipe makes no grid", key="scaling", fix=fix)
    screen, measure = screen or Screen(), losses or measured
    recipe.out.mkdir(parents=True, exist_ok=True)
    with pipeline.locked(recipe.out):
        (recipe.out / "recipe.yaml").write_text(recipe.dump())
        runs = cells(recipe, sizes(recipe, steps, screen))
        walk(runs, steps=steps, screen=screen, until="train", section="scaling")
        rows = [row for name, run in runs.items() for row in _points(recipe, name, run, measure, screen)]
        points = recipe.out / "points.csv"
        partial = points.with_suffix(".partial")
        pl.DataFrame(rows).write_csv(partial)
        partial.replace(points)
        groups = read_points(points, model="model", by="group")
        return write_fits(
            groups,
            recipe.out / "law",
            inputs={"points": stage.path_hash(points)},
            form=recipe.scaling.form,
            num_draws=recipe.scaling.num_draws,
            seed=recipe.seed,
            x_label="questions learned from, D",
        )


# ---------------------------------------------------------------- the runs


def sizes(recipe: Recipe, steps: Mapping[str, Callable[[Task], str]] | None, screen: Screen) -> list[int]:
    """How many questions each source of the varied stage has, once the corpora are imported."""
    whole = _placed(recipe, recipe, next(iter(_names(recipe))))
    pipeline.run(whole, steps=steps, screen=screen, until="import")
    name = varied(recipe)
    found = next(one for one in recipe.stages if one.name == name)
    numbers = []
    for place, source in enumerate(found.data):
        some = len(samples_of(whole.out, source, f"stages.{name}.data.{place}")[1])
        numbers.append(some if source.max_samples is None else min(some, source.max_samples))
    return numbers


def varied(recipe: Recipe) -> str:
    """The stage whose data varies."""
    assert recipe.scaling is not None
    return recipe.scaling.stage or recipe.stages[-1].name


def cells(recipe: Recipe, sizes: list[int]) -> dict[str, Recipe]:
    """The runs of the grid by name, the largest share of each rank and seed last."""
    return {
        name: _placed(recipe, _cell(recipe, sizes, share, rank, seed), name)
        for name, (seed, rank, share) in _names(recipe).items()
    }


def _names(recipe: Recipe) -> dict[str, tuple[int, int, float]]:
    """Seed, rank and share of every run of the grid."""
    told = recipe.scaling
    assert told is not None
    ranks = told.ranks or (recipe.adapt.rank,)
    every = itertools.product(told.seeds or (recipe.seed,), ranks, sorted(told.shares))
    return {f"rank{rank}-share{share:g}-seed{seed}": (seed, rank, share) for seed, rank, share in every}


def _placed(recipe: Recipe, cell: Recipe, name: str) -> Recipe:
    """A run of the grid in its folder, without the grid."""
    return cell.model_copy(update={"out": recipe.out / "runs" / name, "name": f"{recipe.name}-{name}", "scaling": None})


def _cell(recipe: Recipe, sizes: list[int], share: float, rank: int, seed: int) -> Recipe:
    """The recipe with a share of the data of one stage, and another rank and seed; alpha / rank stays."""
    stages = []
    for one in recipe.stages:
        adapt = one.adapt
        if adapt.method == "lora":
            adapt = adapt.model_copy(update={"rank": rank, "alpha": adapt.alpha * rank / adapt.rank})
        data = one.data
        if one.name == varied(recipe):
            numbers = [round(share * size) for size in sizes]
            if min(numbers) < LEAST:
                found = f"{share:g} of {min(sizes)} questions is {min(numbers)}"
                raise InputError(found, key="scaling.shares", fix="give a larger share, or more data")
            data = tuple(source.model_copy(update={"max_samples": n}) for source, n in zip(data, numbers))
        stages.append(one.model_copy(update={"adapt": adapt, "data": data}))
    return recipe.model_copy(update={"stages": tuple(stages), "seed": seed})


# ---------------------------------------------------------------- their losses


def _points(
    recipe: Recipe, name: str, run: Recipe, measure: Callable[[Task, Path | None], pl.DataFrame], screen: Screen
) -> list[dict[str, object]]:
    """The points of one run: all questions, and each group of them."""
    trained = run.out / varied(recipe)
    folder = recipe.out / "losses" / name
    config = {"model": run.model.name, "prompt": run.prompt, "evaluate": run.evaluate.model_dump(mode="json")["data"]}
    config |= {"seed": recipe.seed}
    inputs = {trained.name: stage.output_hash(trained)}
    inputs |= {f"corpora/{s.corpus}": stage.output_hash(run.out / "corpora" / s.corpus) for s in run.evaluate.data}
    if not stage.is_done(folder, stage.fingerprint(config, inputs)):
        folder.parent.mkdir(parents=True, exist_ok=True)
        asked = run.model_copy(update={"seed": recipe.seed})  # every run answers the same questions, whatever its seed
        with screen.doing(f"losses/{name}") as tell, stage.writing(folder, config, inputs) as partial:
            task = Task(asked, run.out, f"losses/{name}", (trained.name,), partial, tell)
            measure(task, adapter_of(run.out, trained.name)).write_parquet(partial / "losses.parquet")
    frame = read_table(folder / "losses.parquet")
    learned = read_table(trained / "mix.parquet").select("corpus", "id").n_unique()
    rank = next(one for one in run.stages if one.name == trained.name).adapt.rank
    assert recipe.scaling is not None
    groups = [(ALL, frame)]
    if recipe.scaling.by is not None:
        named = frame.with_columns(pl.col(recipe.scaling.by).fill_null("unknown"))
        groups += [(str(key[0]), part) for key, part in sorted(named.group_by(recipe.scaling.by), key=lambda x: x[0])]
    common = {"run": name, "data": learned, "model": rank, "seed": run.seed}
    return [
        {"group": group, "loss": float(part["nats"].sum()) / int(part["num_tokens"].sum()), **common, "n": len(part)}
        for group, part in groups
    ]


def measured(task: Task, adapter: Path | None) -> pl.DataFrame:
    """The losses of the reference answers to what the recipe evaluates."""
    from radvqa.model import load
    from radvqa.scaling.losses import question_losses

    recipe = task.recipe
    model = load(recipe.model.name, adapter, style=recipe.prompt)
    return question_losses(
        model,
        evaluated(task),
        batch_size=recipe.evaluate.batch_size,
        progress=lambda done, total: task.tell(done, total, "questions"),
    )
