"""What each step of a run calls: one thin function a room, so that a room's arguments stand in one place.

In: a Task (the recipe, which step, the folder to write into). Out: the room's files in that folder, and a sentence on
what was done. The pipeline calls them through STEPS; tests put others in their place.

    radvqa.pipeline.run(recipe, steps={**STEPS, "train": my_train})
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radvqa.material import Learned, corpus_of, evaluated, held_out, learned, samples_of, watched
from radvqa.recipe import Recipe
from radvqa.recipe_sections import Curate, Source
from radvqa.stage import link, output_hash
from radvqa.task import Task

if TYPE_CHECKING:
    from radvqa.sample import Corpus, Sample

SHOWN_WARNINGS = 5


def import_step(task: Task) -> str:
    """A data set to a corpus folder; a corpus that exists already is linked in, or copied where it cannot be."""
    from radvqa import datasets
    from radvqa.sample import Corpus

    name = task.item[0]
    data = task.recipe.data[name]
    if data.dataset == "corpus":
        assert data.path is not None
        for file in sorted(p for p in Corpus(data.path).folder.iterdir() if p.suffix in (".parquet", ".json")):
            link(file, task.folder / file.name)
        corpus = Corpus(task.folder)
    else:
        made = datasets.import_corpus(data.dataset, data.path, task.folder / "corpus", options=data.options).folder
        for file in made.iterdir():
            file.rename(task.folder / file.name)
        made.rmdir()
        corpus = Corpus(task.folder)
    if data.curate is not None:
        return _curated(corpus, task, data.curate)
    dropped = sum(corpus.card.get("dropped", {}).values())
    left_out = f", {dropped:,} rows left out" if dropped else ""
    return f"{corpus.card['num_questions']:,} questions on {corpus.card['num_images']:,} images{left_out}"


def _curated(corpus: Corpus, task: Task, settings: Curate) -> str:
    """The corpus in the step's folder gives way to what curation makes of it."""
    from radvqa.curate.steps import curate

    made, ledger = task.folder / "curated", task.run / "corpora" / f"{task.item[0]}.calls.sqlite"
    said = curate(corpus, made, settings, seed=task.recipe.seed, ledger=ledger, tell=task.tell)
    for file in [file for file in task.folder.iterdir() if file.is_file() and file.suffix in (".parquet", ".json")]:
        file.unlink()
    for file in made.iterdir():
        file.rename(task.folder / file.name)
    made.rmdir()
    return said


def leakage_step(task: Task) -> str:
    """What the stages are to learn against what the arms are asked."""
    from radvqa.curate.guard import guard

    asked = evaluated(task)
    sources = [(stage.name, i, source) for stage in task.recipe.stages for i, source in enumerate(stage.data)]
    samples: dict[str, dict[str, Sample]] = {}
    for name, i, source in sources:
        found = samples_of(task.run, source, f"stages.{name}.data.{i}")[1]
        samples.setdefault(source.corpus, {}).update((sample.id, sample) for sample in found)
    taught = [(corpus_of(task.run, name), list(some.values())) for name, some in samples.items()]
    return guard(taught, asked, task.recipe.leakage, task.folder)


def train_step(task: Task) -> str:
    """One stage of training, from the base or from an earlier stage's adapter."""
    from radvqa.licences import read_terms, terms_of, write_terms
    from radvqa.together import trained_by_all
    from radvqa.train import train_stage

    loaded.cache_clear()
    mixed, validation = learned(task), watched(task)
    if mixed.order is not None:
        from radvqa.curate.steps import draw_mix

        draw_mix(task.folder / "mix.parquet", task.folder / "mix.png")

    def progress(row: dict[str, Any]) -> None:
        if "note" in row:
            task.say(f"  {task.name}: {row['note']}")
        if "loss" in row:
            task.tell(row["step"], row["num_steps"], speed(row))

    with trained_by_all(task):
        summary = train_stage(**_training(task, mixed, validation), folder=task.folder, progress=progress)
    (task.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    inherited = read_terms(adapter_of(task.run, mixed.stage.start) or task.run)
    terms = terms_of([corpus.card for corpus, samples in mixed.sources if samples], inherited)
    write_terms(task.folder, terms)
    write_terms(task.folder / "adapter", terms)
    final = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in summary["final"].items())
    unwatched = "" if validation else "; no validation questions to watch"
    long = f"; {summary['too_long']:,} too long, left out" if summary["too_long"] else ""
    return f"{summary['steps']:,} steps over {summary['questions']:,} questions, {final}{long}{unwatched}"


def train_along(task: Task, folder: Path) -> None:
    """The same stage in another process than the first, which writes into `folder`; this one's own is for scratch."""
    from radvqa.train import train_stage

    train_stage(**_training(task, learned(task), watched(task)), folder=folder)


def _training(task: Task, mixed: Learned, validation: list[tuple[Corpus, list[Sample]]]) -> dict[str, Any]:
    recipe = task.recipe
    return {
        "model_name": recipe.model.name,
        "start_adapter": adapter_of(task.run, mixed.stage.start),
        "adapt": mixed.stage.adapt,
        "stage": mixed.stage,
        "sources": mixed.sources,
        "order": mixed.order,
        "validation": validation,
        "seed": recipe.seed,
        "style": recipe.prompt,
        "dtype": recipe.model.dtype,
    }


def speed(row: dict[str, Any]) -> str:
    """A row of the training log for the bar: how it learns, how fast, and what it waits for."""
    tokens = f"{row['image_tokens_per_s']:,.0f} image and {row['text_tokens_per_s']:,.0f} text tokens/s"
    share = f"MFU {row['mfu']:.0%}, {row['wait_share']:.0%} waiting for data"
    return f"loss {row['loss']:.3f}, {row['questions_per_s']:.0f} questions/s, {tokens}, {share}"


def adapter_of(run: Path, arm: str) -> Path | None:
    """Where an arm's adapter, or fully tuned model, lies; None for the base."""
    return None if arm == "base" else run / arm / "adapter"


@lru_cache(maxsize=1)
def loaded(name: str, dtype: str, adapter: Path | None, style: str, content: str) -> Any:
    """The arm's model, kept while its controls are asked; `content` is the hash of the adapter."""
    from radvqa.model import load

    return load(name, adapter, dtype=dtype, style=style)


def answering(task: Task, arm: str) -> Any:
    """The model of one arm as the recipe wants it."""
    recipe, adapter = task.recipe, adapter_of(task.run, arm)
    content = output_hash(task.run / arm) if adapter else ""
    return loaded(recipe.model.name, recipe.model.dtype, adapter, recipe.prompt, content)


def predict_step(task: Task) -> str:
    """The answers of one arm under one control."""
    from radvqa.predict import predict_arm

    recipe, (arm, control) = task.recipe, task.item
    adapter = adapter_of(task.run, arm)
    sources = evaluated(task)
    predict_arm(
        model_name=recipe.model.name,
        adapter=adapter,
        sources=sources,
        arm=arm,
        control=control,
        folder=task.folder,
        batch_size=recipe.evaluate.batch_size,
        max_new_tokens=recipe.evaluate.max_new_tokens,
        seed=recipe.seed,
        style=recipe.prompt,
        model=answering(task, arm),
        progress=lambda done, total: task.tell(done, total, "questions"),
    )
    return f"{sum(len(samples) for _, samples in sources):,} answers"


def predictions_of(run: Path, arm: str, control: str) -> Path:
    """The predictions of one arm under one control."""
    return run / "predictions" / f"{arm}-{control}" / "predictions.parquet"


def score_step(task: Task) -> str:
    """Every metric of every arm and control. What the majority answer may know: the train split of all corpora used."""
    from radvqa.score import write_scores

    recipe = task.recipe
    files = [predictions_of(task.run, arm, control) for arm, control in answered(recipe)]
    found = write_scores(
        files,
        task.folder,
        corpora=[task.run / "corpora" / name for name in used(recipe)],
        num_draws=recipe.evaluate.bootstrap_draws,
        seed=recipe.seed,
        min_slice_n=recipe.evaluate.min_slice_n,
    )
    warnings = [f"\n  warning: {warning}" for warning in found["warnings"][:SHOWN_WARNINGS]]
    more = len(found["warnings"]) - len(warnings)
    warnings += [f"\n  and {more} more warnings, in the report"] if more else []
    return f"{len(files)} prediction files" + "".join(warnings)


def answered(recipe: Recipe) -> list[tuple[str, str]]:
    """(arm, control) of every prediction file, in the order in which they are made."""
    return [(arm, control) for arm in recipe.arms for control in ("none", *recipe.evaluate.controls)]


def used(recipe: Recipe) -> list[str]:
    """The corpora that a stage learns from or the evaluation or the trust room asks of."""
    sources: list[Source] = [source for stage in recipe.stages for source in stage.data]
    sources += recipe.trust.more if recipe.trust else ()
    return sorted({source.corpus for source in [*sources, *recipe.evaluate.data]})


def explain_step(task: Task) -> str:
    """Saliency maps of some right and some wrong answers, and how faithful each method is."""
    from radvqa.saliency import explain_run

    loaded.cache_clear()
    recipe, settings = task.recipe, task.recipe.explain
    assert settings is not None
    arm = settings.arm or recipe.arms[-1]
    explain_run(
        model_name=recipe.model.name,
        adapter=adapter_of(task.run, arm),
        corpora={source.corpus: task.run / "corpora" / source.corpus for source in recipe.evaluate.data},
        predictions=predictions_of(task.run, arm, "none"),
        settings=settings,
        seed=recipe.seed,
        folder=task.folder,
        style=recipe.prompt,
        model=answering(task, arm),
        progress=lambda done, total: task.tell(done, total, "answers"),
    )
    loaded.cache_clear()  # its weights were drawn anew on the way
    ranking = json.loads((task.folder / "ranking.json").read_text())
    faithful = [row["method"] for row in ranking["methods"] if row["verdict"] == "faithful"]
    measured = f"{', '.join(faithful) or 'none'} faithful on {ranking['num_answers']} right answers"
    return f"answers of {arm}, {len(settings.methods)} methods, {measured}"


def trusted(recipe: Recipe) -> str:
    """The arm whose answers the trust room judges."""
    return (recipe.trust.arm if recipe.trust else None) or recipe.arms[-1]


def lineage(recipe: Recipe, arm: str) -> list[str]:
    """The stages that made an arm, the last first: the arm itself, what it started from, and so on."""
    starts = {stage.name: stage.start for stage in recipe.stages}
    found = []
    while arm in starts:
        found.append(arm)
        arm = starts[arm]
    return found


def trust_step(task: Task) -> str:
    """Indicators of failure, a calibrated risk, abstention and the groups that fail, for the answers of one arm."""
    from radvqa.predict import predict_arm
    from radvqa.trust import trust_run
    from radvqa.trust.distance import pictures_learned

    recipe, settings, (arm,) = task.recipe, task.recipe.trust, task.item
    assert settings is not None
    adapter = adapter_of(task.run, arm)
    model = answering(task, arm)
    files, more = [predictions_of(task.run, arm, "none")], held_out(task)
    asking = {"model_name": recipe.model.name, "adapter": adapter, "model": model, "style": recipe.prompt}
    asking |= {"seed": recipe.seed, "max_new_tokens": recipe.evaluate.max_new_tokens}
    asking |= {"batch_size": recipe.evaluate.batch_size}
    if more:
        folder = task.folder / "more"
        files.append(predict_arm(sources=more, arm=arm, control="none", folder=folder, **asking))
    found = trust_run(
        corpora={name: task.run / "corpora" / name for name in used(recipe)},
        predictions=files,
        learned=pictures_learned(task.run, lineage(recipe, arm)),
        settings=settings,
        folder=task.folder,
        progress=lambda done, total: task.tell(done, total, "answers"),
        **asking,
    )
    risk, single = found["risk"]["auroc"]["value"], found["single"]
    best = next(one for one in found["indicators"] if one["name"] == single)["auroc"]["value"]
    return f"{found['n']:,} answers of {arm}, failure AUROC {risk:.2f} (best single indicator, {single}: {best:.2f})"


def consistency_step(task: Task) -> str:
    """The same questions several times at a temperature, for one arm."""
    from radvqa.asked import FILE, Repeats
    from radvqa.mix import capped
    from radvqa.repeats import repeat_arm
    from radvqa.score.consistency import sentence, write_consistency

    recipe, settings, (arm,) = task.recipe, task.recipe.consistency, task.item
    assert settings is not None
    sources = [
        (corpus, [samples[row] for row in capped(len(samples), settings.max_samples, recipe.seed)])
        for corpus, samples in evaluated(task)
    ]
    repeat_arm(
        answering(task, arm),
        sources=sources,
        arm=arm,
        folder=task.folder,
        settings=Repeats(settings.num_runs, settings.temperature, settings.shuffle, recipe.seed),
        batch_size=recipe.evaluate.batch_size,
        max_new_tokens=recipe.evaluate.max_new_tokens,
        progress=lambda done, total: task.tell(done, total, "questions"),
    )
    found = write_consistency(task.folder, task.folder / FILE, recipe.evaluate.bootstrap_draws, recipe.seed)
    return f"answers of {arm}, {sentence(found)}"


def judged(recipe: Recipe) -> tuple[str, ...]:
    """The arms whose answers are judged."""
    return tuple(arm for arm in recipe.arms if not (recipe.judge and recipe.judge.arms) or arm in recipe.judge.arms)


def judge_step(task: Task) -> str:
    """What language models say of the answers; every reply is kept in the run's calls.sqlite."""
    from contextlib import ExitStack

    from radvqa.calls import Calls
    from radvqa.score.judged import judge_predictions, sentence

    recipe, settings = task.recipe, task.recipe.judge
    assert settings is not None
    with ExitStack() as stack:
        store, at_once = task.run / "calls.sqlite", settings.concurrency
        judges = [
            stack.enter_context(Calls(store, model.base_url, model.name, concurrency=at_once))
            for model in settings.models
        ]
        found = judge_predictions(
            [predictions_of(task.run, arm, "none") for arm in judged(recipe)],
            task.folder,
            judges,
            ratings=settings.ratings,
            kinds=settings.kinds,
            hide=(recipe.model.name.rpartition("/")[2],),
            num_draws=recipe.evaluate.bootstrap_draws,
            seed=recipe.seed,
            progress=lambda done, total: task.tell(done, total, "answers"),
        )
    return sentence(found)


def report_step(task: Task) -> str:
    """The page over all that the run holds; the pipeline then gives it its place at the top of the run folder."""
    from radvqa.report import write_report

    page = task.folder / "report.html"
    write_report(task.run, page)
    return f"{page.stat().st_size / 1e6:.1f} MB"


STEPS: dict[str, Callable[[Task], str]] = {
    "import": import_step,
    "leakage": leakage_step,
    "train": train_step,
    "predict": predict_step,
    "score": score_step,
    "consistency": consistency_step,
    "explain": explain_step,
    "trust": trust_step,
    "judge": judge_step,
    "report": report_step,
}
