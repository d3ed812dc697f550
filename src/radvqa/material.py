"""What a recipe's stages learn and its arms are asked: its sources, as Samples of the run's corpora.

In: a Task. Out: pairs of a corpus and its samples, in the order in which they are learned or asked; for a stage also
mix.parquet, which sample at which place.

    sources = evaluated(task)

A source without questions is an error that says what there is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radvqa.errors import InputError
from radvqa.recipe_sections import Source, Stage, TrainSource
from radvqa.task import Task

if TYPE_CHECKING:
    from radvqa.sample import Corpus, Sample


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
    """The stage; where the order holds the whole of it, one epoch."""


def learned(task: Task) -> Learned:
    """A stage's mixture, and mix.parquet beside it: which sample at which place.

    With `anneal` that is the whole stage, in the order in which it is learned; a curriculum is one pass in its order; a
    mixed stage has what one pass holds, which training puts in a new order every epoch.
    """
    import polars as pl

    stage, key = task.stage, f"stages.{task.stage.name}.data"
    found = [_unleaked(task, source, f"{key}.{i}") for i, source in enumerate(stage.data)]
    pools = [_pool(source, found[i][1], task.recipe.seed, f"{key}.{i}") for i, source in enumerate(stage.data)]
    index = _index_map(stage, [len(pool) for pool in pools], task.recipe.seed)
    for i, pool in enumerate(pools):
        index[index[:, 0] == i, 1] = pool[index[index[:, 0] == i, 1]]
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
        # one epoch and not so many steps: questions that are too long shorten it, and it must not begin again at the end
        stage = stage.model_copy(update={"epochs": 1.0, "steps": None})
    return Learned(found, (before[index[:, 0]] + index[:, 1]).tolist(), stage)


def _pool(source: TrainSource, samples: Sequence[Sample], seed: int, key: str) -> np.ndarray:
    """int64[N]: places of a source's samples, those that are enriched several times."""
    if source.enrich is None:
        return np.arange(len(samples))
    from radvqa.curate.pathology import enrich, value_counts

    counts = value_counts(samples, source.enrich.by)
    if unknown := set(source.enrich.times) - set(counts):
        fix = "it has " + ", ".join(f"{value} ({n})" for value, n in counts.most_common(15))
        raise InputError(f"no picture has {', '.join(sorted(unknown))}", key=f"{key}.enrich.times", fix=fix)
    return enrich(samples, source.enrich.times, source.enrich.by, seed=seed)


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
