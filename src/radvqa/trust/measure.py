"""The table of indicators: a row for each answer, a column for each indicator.

In: an arm's answers with their samples, its model, and the pictures it learned from. Out: a frame with id, image,
cluster and the indicators.

    table = measure(model, store, answers, learned=keys, settings=Trust(), seed=0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from radvqa.model import VQAModel
from radvqa.pixels import PixelStore
from radvqa.predict import Question
from radvqa.prompt import sample_prompt
from radvqa.recipe_sections import Trust
from radvqa.repeats import sample_batch, uniforms
from radvqa.sample import Sample
from radvqa.score.text import normalise
from radvqa.trust.distance import image_features, neighbour_distances
from radvqa.trust.forward import Given, Reading, answer_logprobs, read_answers


@dataclass(frozen=True)
class Answered:
    """One answer that can be scored."""

    sample: Sample
    answer: str
    wrong: bool


@dataclass(frozen=True)
class Measured:
    """What the model says of one answer, in the order of the answers."""

    reading: Reading
    blank: float
    """Log-probability of the answer under the blank picture."""
    runs: list[str]


def measure(
    model: VQAModel,
    store: PixelStore,
    answers: Sequence[Answered],
    *,
    learned: Sequence[str],
    settings: Trust,
    seed: int,
    max_new_tokens: int = 32,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """A row for each answer, in their order: id, cluster, wrong, and the indicators (null: not measured).

    learned: keys of the training pictures; none: no distance.
    """
    found: dict[int, Measured] = {}
    for places in _batches(answers, batch_size):
        part = [answers[i] for i in places]
        for place, one in zip(places, _measure_batch(model, store, part, settings, seed, max_new_tokens)):
            found[place] = one
        if progress:
            progress(len(found), len(answers))
    measured = [found[i] for i in range(len(answers))]
    columns: dict[str, list] = {
        "logprob": [one.reading.logprob for one in measured],
        "entropy": [one.reading.entropy for one in measured],
        "disagreement": [disagreement(a.answer, one.runs) if one.runs else None for a, one in zip(answers, measured)],
        "image_gap": [one.reading.logprob - one.blank for one in measured],
        "image_attention": [one.reading.image_attention for one in measured],
        "map_entropy": [one.reading.map_entropy for one in measured],
        "distance": _distances(model, store, answers, learned, batch_size),
        "agreement": [one.reading.agreement for one in measured],
    }
    samples = [a.sample for a in answers]
    about = {
        "id": [s.id for s in samples],
        "image": [s.image for s in samples],
        "cluster": [s.subject or s.image for s in samples],
        "answer": [a.answer for a in answers],
        "wrong": [a.wrong for a in answers],
        "runs": pl.Series([one.runs for one in measured], dtype=pl.List(pl.String)),
    }
    series = {name: pl.Series(values, dtype=pl.Float64).fill_nan(None) for name, values in columns.items()}
    return pl.DataFrame(about | series)


def _measure_batch(
    model: VQAModel, store: PixelStore, part: Sequence[Answered], settings: Trust, seed: int, max_new_tokens: int
) -> list[Measured]:
    keys = list(dict.fromkeys(a.sample.image or "" for a in part))
    pixels = store.batch(keys)
    prompts = [sample_prompt(a.sample, model.style) for a in part]
    places = [keys.index(a.sample.image or "") for a in part]
    given = [Given(place, text, a.answer) for place, text, a in zip(places, prompts, part)]
    readings = read_answers(model, pixels, given, agreement=settings.agreement)
    unseen = model.form.normalise(model.form.blank()[None])
    blank = answer_logprobs(model, unseen, [Given(0, one.prompt, one.answer) for one in given])
    runs: list[list[str]] = [[] for _ in part]
    if settings.num_runs:
        draws = [uniforms(a.sample, range(settings.num_runs), max_new_tokens, seed) for a in part]
        questions = [Question(place, text) for place, text in zip(places, prompts)]
        said = sample_batch(model, pixels, questions, draws, settings.temperature)
        runs = [[one.answer or "" for one in some] for some in said]
    return [Measured(*one) for one in zip(readings, blank, runs)]


def disagreement(answer: str, runs: Sequence[str]) -> float:
    """Share of sampled runs whose words are not the answer's.

    >>> disagreement("the left lung", ["Left lung.", "right lung"])
    0.5
    """
    return float(np.mean([normalise(run) != normalise(answer) for run in runs]))


def _distances(
    model: VQAModel, store: PixelStore, answers: Sequence[Answered], learned: Sequence[str], batch_size: int
) -> list[float | None]:
    if not learned:
        return [None] * len(answers)
    asked = list(dict.fromkeys(a.sample.image or "" for a in answers))
    seen, taught = (image_features(model, store, keys, batch_size=batch_size) for keys in (asked, learned))
    far = dict(zip(asked, neighbour_distances(seen, taught).tolist()))
    return [far[a.sample.image or ""] for a in answers]


def _batches(answers: Sequence[Answered], size: int) -> Iterator[list[int]]:
    """Places of answers that go through the model together: questions about one picture side by side."""
    order = sorted(range(len(answers)), key=lambda i: (answers[i].sample.image or "", len(answers[i].sample.question)))
    return (order[i : i + size] for i in range(0, len(order), size))
