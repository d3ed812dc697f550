"""What each step of a run calls: one thin function a room, so that a room's arguments stand in one place.

In: a Task (the recipe, which step, the folder to write into). Out: the room's files in that folder, and a sentence on
what was done. The pipeline calls them through STEPS; tests put others in their place.

    radvqa.pipeline.run(recipe, steps={**STEPS, "train": my_train})
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radvqa.errors import InputError
from radvqa.recipe import Recipe
from radvqa.recipe_sections import Curate, Source, Stage
from radvqa.stage import link, output_hash

if TYPE_CHECKING:
    from radvqa.sample import Corpus, Sample

Tell = Callable[[int, int, str], None]
"""(done, total, note): how far a step is."""
SHOWN_WARNINGS = 5


@dataclass(frozen=True)
class Task:
    """One step to be done."""

    recipe: Recipe
    run: Path
    """The run's folder, where the steps before this one lie finished."""
    name: str
    """The step's folder within the run: corpora/phantom, stage1, predictions/base-none, scores ..."""
    item: tuple[str, ...]
    """What it is about: the corpus, the stage, or arm and control."""
    folder: Path
    """Where to write; it takes its final name afterwards."""
    tell: Tell

    @property
    def stage(self) -> Stage:
        """The stage that `item` names."""
        return next(stage for stage in self.recipe.stages if stage.name == self.item[0])


# ---------------------------------------------------------------- samples of a recipe's sources


def corpus_of(run: Path, name: str) -> Corpus:
    """A corpus of the run."""
    from radvqa.sample import Corpus

    return Corpus(run / "corpora" / name)


def samples_of(run: Path, source: Source, key: str) -> tuple[Corpus, list[Sample]]:
    """The samples a source names, uncapped. Raises InputError, with what there is, when there are none."""
    corpus = corpus_of(run, source.corpus)
    samples = list(corpus.samples(**{**source.where, "split": source.split}))
    if not samples:
        raise nothing(corpus, source, key)
    return corpus, samples


def nothing(corpus: Corpus, source: Source, key: str) -> InputError:
    """The error for a source without questions: it says what was asked for and what there is."""
    asked = ", ".join([f"split {source.split}"] + [f"{name} {value!r}" for name, value in source.where.items()])
    columns = ["split", *(name for name in source.where if name not in ("split", "extra", "boxes", "mask"))]
    found = [f"{name}: {_values(corpus.table[name].to_list())}" for name in columns]
    return InputError(
        f"corpus {source.corpus} has no questions with {asked}", key=key, fix="it has " + "; ".join(found)
    )


def _values(column: Sequence[Any]) -> str:
    common = Counter(str(value) for value in column).most_common(12)
    return ", ".join(f"{value} ({number})" for value, number in common)


def evaluated(task: Task) -> list[tuple[Corpus, list[Sample]]]:
    """What every arm is asked."""
    from radvqa.mix import capped

    found = []
    for i, source in enumerate(task.recipe.evaluate.data):
        corpus, samples = samples_of(task.run, source, f"evaluate.data.{i}")
        rows = capped(len(samples), source.max_samples, task.recipe.seed)
        found.append((corpus, [samples[row] for row in rows]))
    twice = [name for name, n in Counter(s.id for _, samples in found for s in samples).items() if n > 1]
    if twice:
        fix = "let the sources not overlap; two corpora must not share ids"
        raise InputError(f"{len(twice)} questions would be asked twice", row=twice[0], key="evaluate.data", fix=fix)
    return found


@dataclass(frozen=True)
class Learned:
    """What a stage learns, and when."""

    sources: list[tuple[Corpus, list[Sample]]]
    order: list[int] | None
    """Places in the sources' samples, one source after the other; None: a new permutation every epoch."""
    stage: Stage
    """The stage with `steps` for `epochs` where the order holds the whole of it."""


def learned(task: Task) -> Learned:
    """A stage's mixture, and mix.parquet beside it: which sample at which place of one pass, or of the whole stage."""
    import numpy as np
    import polars as pl

    stage, key = task.stage, f"stages.{task.stage.name}.data"
    found = [_unleaked(task, source, f"{key}.{i}") for i, source in enumerate(stage.data)]
    index = _index_map(stage, [len(samples) for _, samples in found], task.recipe.seed)
    if not len(index):
        raise InputError("the mixture is empty", key=key, fix="raise the shares or add a source")
    rows = [(stage.data[source].corpus, int(source), found[source][1][row].id) for source, row in index]
    frame = pl.DataFrame(rows, schema={"corpus": pl.String, "source": pl.Int64, "id": pl.String}, orient="row")
    frame.with_row_index("place").write_parquet(task.folder / "mix.parquet")
    if stage.order == "mixed" and stage.anneal is None:
        drawn: list[list[Sample]] = [[] for _ in found]
        for source, row in index:
            drawn[source].append(found[source][1][row])
        return Learned([(corpus, samples) for (corpus, _), samples in zip(found, drawn)], None, stage)
    before = np.cumsum([0, *(len(samples) for _, samples in found)])
    if stage.anneal is not None:
        num_steps = -(-len(index) // (stage.batch_size * stage.accumulation))
        stage = stage.model_copy(update={"epochs": None, "steps": num_steps})
    return Learned(found, (before[index[:, 0]] + index[:, 1]).tolist(), stage)


def _index_map(stage: Stage, sizes: Sequence[int], seed: int) -> Any:
    """int64[T, 2] (source, sample): one pass over the mixture, or with `anneal` all that the stage learns."""
    from radvqa import mix

    shares: list[float | None] = [source.share for source in stage.data]
    if stage.temperature is not None:
        capped = [min(size, source.max_samples or size) for size, source in zip(sizes, stage.data)]
        shares = [*mix.tempered(capped, stage.temperature)]
    parts = [mix.Part(size, share, s.max_samples, s.times) for size, share, s in zip(sizes, shares, stage.data)]
    if stage.anneal is None:
        return (mix.mixture if stage.order == "mixed" else mix.curriculum)(parts, seed)
    one_pass, per_step = sum(mix.counts(parts)), stage.batch_size * stage.accumulation
    total = stage.steps * per_step if stage.steps else round((stage.epochs or 1) * one_pass)
    place = [source.corpus for source in stage.data].index(stage.anneal.corpus)
    return mix.annealed(parts, seed, total=total, source=place, start=stage.anneal.start, share=stage.anneal.share)


def _unleaked(task: Task, source: Source, key: str) -> tuple[Corpus, list[Sample]]:
    """A source's samples without those that the leakage step left out."""
    from radvqa.curate.guard import without_leaks

    corpus, samples = samples_of(task.run, source, key)
    kept = without_leaks(corpus, samples, task.run / "leakage")
    if not kept:
        found = f"all {len(samples):,} questions share something with what is asked (leakage: drop)"
        raise InputError(found, key=key, fix="learn from other questions, or ask others")
    return corpus, kept


def watched(task: Task) -> list[tuple[Corpus, list[Sample]]]:
    """The validation questions beside what is learned: the same filters in split `validation`, never what is learned."""
    sources = [source for source in task.stage.data]
    taught = {source.corpus for source in sources if source.split == "validation"}
    asked = {(s.corpus, json.dumps(s.where, sort_keys=True)): s for s in sources if s.corpus not in taught}
    found, seen = [], set()
    for source in asked.values():
        corpus = corpus_of(task.run, source.corpus)
        some = [
            s for s in corpus.samples(**{**source.where, "split": "validation"}) if (source.corpus, s.id) not in seen
        ]
        seen |= {(source.corpus, s.id) for s in some}
        if some:
            found.append((corpus, some))
    return found


# ---------------------------------------------------------------- the steps


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

    made = task.folder / "curated"
    said = curate(corpus, made, settings, seed=task.recipe.seed)
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
    from radvqa.train import train_stage

    loaded.cache_clear()
    recipe, mixed, validation = task.recipe, learned(task), watched(task)
    if mixed.order is not None:
        from radvqa.curate.steps import draw_mix

        draw_mix(task.folder / "mix.parquet", task.folder / "mix.png")

    def progress(row: dict[str, Any]) -> None:
        if "note" in row:
            task.tell(0, 1, row["note"])
        if "loss" in row:
            speed = f"{row['questions_per_s']:.0f} questions/s"
            task.tell(row["step"], row["num_steps"], f"loss {row['loss']:.3f}, {speed}")

    summary = train_stage(
        model_name=recipe.model.name,
        start_adapter=adapter_of(task.run, mixed.stage.start),
        adapt=mixed.stage.adapt,
        stage=mixed.stage,
        sources=mixed.sources,
        order=mixed.order,
        validation=validation,
        seed=recipe.seed,
        folder=task.folder,
        style=recipe.prompt,
        progress=progress,
    )
    (task.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    inherited = read_terms(adapter_of(task.run, mixed.stage.start) or task.run)
    terms = terms_of([corpus.card for corpus, samples in mixed.sources if samples], inherited)
    write_terms(task.folder, terms)
    write_terms(task.folder / "adapter", terms)
    final = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in summary["final"].items())
    unwatched = "" if validation else "; no validation questions to watch"
    long = f"; {summary['too_long']:,} too long, left out" if summary["too_long"] else ""
    return f"{summary['steps']:,} steps over {summary['questions']:,} questions, {final}{long}{unwatched}"


def adapter_of(run: Path, arm: str) -> Path | None:
    """Where an arm's adapter, or fully tuned model, lies; None for the base."""
    return None if arm == "base" else run / arm / "adapter"


@lru_cache(maxsize=1)
def loaded(name: str, adapter: Path | None, style: str, content: str) -> Any:
    """The arm's model, kept while its controls are asked; `content` is the hash of the adapter."""
    from radvqa.model import load

    return load(name, adapter, style=style)


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
        model=loaded(recipe.model.name, adapter, recipe.prompt, output_hash(task.run / arm) if adapter else ""),
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
        progress=lambda done, total: task.tell(done, total, "answers"),
    )
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


def held_out(task: Task) -> list[tuple[Corpus, list[Sample]]]:
    """The questions of `trust.more` that the evaluation does not ask already."""
    from radvqa.mix import capped

    assert task.recipe.trust is not None
    asked = {sample.id for _, samples in evaluated(task) for sample in samples}
    found = []
    for i, source in enumerate(task.recipe.trust.more):
        corpus, samples = samples_of(task.run, source, f"trust.more.{i}")
        rows = capped(len(samples), source.max_samples, task.recipe.seed)
        found.append((corpus, [samples[row] for row in rows if samples[row].id not in asked]))
        asked |= {sample.id for sample in found[-1][1]}
    return [(corpus, samples) for corpus, samples in found if samples]


def trust_step(task: Task) -> str:
    """Indicators of failure, a calibrated risk, abstention and the groups that fail, for the answers of one arm."""
    from radvqa.predict import predict_arm
    from radvqa.trust import trust_run
    from radvqa.trust.distance import pictures_learned

    recipe, settings, (arm,) = task.recipe, task.recipe.trust, task.item
    assert settings is not None
    adapter = adapter_of(task.run, arm)
    model = loaded(recipe.model.name, adapter, recipe.prompt, output_hash(task.run / arm) if adapter else "")
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
    "explain": explain_step,
    "trust": trust_step,
    "report": report_step,
}
