"""Questions from what is known of a picture, without any model: modality, plane, region, findings, side.

In: samples with those fields (one a picture is enough). Out: questions in several wordings each, open, closed and choice.

    questions = list(template_questions(corpus.samples(), seed=0))

The question alone tells nothing: an open question is worded without regard to its answer; a choice question offers every
value there is; of every closed question, word for word, exactly as many are answered yes as no within a split, because
questions whose counterpart is missing are left out. A finding counts as absent where the text denies it or does not name
it; where it is doubted nothing is asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from radvqa.curate.pathology import UNCERTAIN, findings_of, side_of
from radvqa.sample import Sample

TOPICS = ("modality", "plane", "region", "finding", "side")
MAX_CHOICES = 6
"""Values up to which a topic is asked as a choice question; all of them are offered."""
MIN_IMAGES = 4
"""Pictures that must have a value before it is asked for."""
MODALITIES = {"MR": "mri", "X-ray": "x-ray"}
"""Values that are said otherwise than they are stored."""

OPEN = {
    "modality": (
        "Which imaging modality is this?", "What modality was used to make this image?", "How was this image acquired?",
        "What kind of scan is shown?", "By which technique was this picture made?", "Name the imaging modality.",
    ),
    "plane": (
        "In which plane is this image?", "What is the plane of this section?", "Which imaging plane is shown?",
        "How is this slice oriented?", "Name the plane of the image.",
    ),
    "region": (
        "Which region of the body is shown?", "What part of the body does this image show?", "Name the body region.",
        "Which body region was imaged?", "Where in the body was this image taken?",
    ),
    "finding": (
        "What is abnormal in this image?", "Which abnormality is shown?", "What is the main finding?",
        "Name an abnormal finding in this picture.", "What does this image show that is not normal?",
    ),
    "side": (
        "On which side is the abnormality?", "Which side is affected?", "Is the finding on the left or the right?",
        "Name the side of the lesion.",
    ),
}  # fmt: skip
CLOSED = {
    "modality": (
        "Was this image made by {value}?",
        "Is {value} the modality shown?",
        "Does this picture come from {value}?",
    ),
    "plane": ("Is this a section in the {value} plane?", "Is the plane {value}?", "Is this image {value}?"),
    "region": (
        "Does this image show the {value}?",
        "Is the {value} what was imaged?",
        "Is this a picture of the {value}?",
    ),
    "finding": (
        "Does this image show {value}?",
        "Is there {value}?",
        "Can {value} be seen here?",
        "Is {value} present?",
    ),
    "side": ("Is the abnormality on the {value}?", "Does the {value} side show the abnormality?"),
}


@dataclass(frozen=True)
class Known:
    """What one picture is known to have for one topic."""

    sample: Sample
    topic: str
    true: tuple[str, ...]
    """Values it has; the first is the answer to an open question."""
    unknown: frozenset[str] = frozenset()
    """Values that may or may not be there."""


def template_questions(
    samples: Iterable[Sample], *, topics: Sequence[str] = TOPICS, kinds: Sequence[str] = ("open", "closed", "choice"),
    seed: int = 0,
) -> Iterator[Sample]:  # fmt: skip
    """The questions, by split, topic and kind; ids are source, picture, topic and kind. The same for the same seed."""
    groups: dict[tuple[str, str], list[Known]] = defaultdict(list)
    for sample in _one_an_image(samples):
        for topic in topics:
            if (known := known_of(sample, topic)) is not None:
                groups[sample.split, topic].append(known)
    for (split, topic), some in groups.items():
        rng = np.random.default_rng([seed, TOPICS.index(topic), ("train", "validation", "test").index(split)])
        counts = Counter(value for known in some for value in known.true)
        values = tuple(sorted(value for value, number in counts.items() if number >= MIN_IMAGES))
        if len(values) < 2:
            continue
        if "open" in kinds:
            yield from _open(some, topic, values, rng)
        if "choice" in kinds and len(values) <= MAX_CHOICES and topic != "finding":
            yield from _choice(some, topic, values, rng)
        if "closed" in kinds:
            yield from _closed(some, topic, values, rng)


def _one_an_image(samples: Iterable[Sample]) -> Iterator[Sample]:
    seen: set[str] = set()
    for sample in samples:
        name = sample.image or sample.id
        if name not in seen:
            seen.add(name)
            yield sample


def known_of(sample: Sample, topic: str) -> Known | None:
    """What a sample says of a topic; None: nothing. A side is asked for only where a finding is present on one side."""
    if topic in ("modality", "plane", "region"):
        value = getattr(sample, topic)
        return Known(sample, topic, (MODALITIES.get(value, value).lower(),)) if value else None
    status = findings_of(sample)
    present = tuple(name for name, how in status.items() if how == "present")
    if topic == "side":
        side = side_of(sample.evidence or "")
        return Known(sample, topic, (side,)) if side and present else None
    if not sample.evidence and not present:
        return None
    return Known(sample, topic, present, frozenset(name for name, how in status.items() if how == UNCERTAIN))


def _open(some: Sequence[Known], topic: str, values: tuple[str, ...], rng: np.random.Generator) -> Iterator[Sample]:
    for known in some:
        right = tuple(value for value in known.true if value in values)
        if right:
            yield _made(known, "open", _one(OPEN[topic], rng), right)


def _choice(some: Sequence[Known], topic: str, values: tuple[str, ...], rng: np.random.Generator) -> Iterator[Sample]:
    for known in some:
        if known.true[0] in values:
            options = tuple(values[i] for i in rng.permutation(len(values)))
            yield _made(known, "choice", _one(OPEN[topic], rng), known.true[:1], options)


def _closed(some: Sequence[Known], topic: str, values: tuple[str, ...], rng: np.random.Generator) -> Iterator[Sample]:
    """One closed question a picture at most: it answers an open yes with no where it can, else asks for what it has.

    `owed` counts yes less no for each question, word for word; at the end the yes without their no are left out.
    """
    owed: dict[tuple[str, str], list[Known]] = defaultdict(list)
    pairs: list[tuple[Known, str, str]] = []
    for place in rng.permutation(len(some)):
        known = some[int(place)]
        here = set(known.true) | known.unknown
        open_ = [key for key, waiting in owed.items() if waiting and key[1] not in here]
        asked = [value for value in known.true if value in values]
        if open_ and (not asked or rng.random() < 0.5):
            most = max(len(owed[key]) for key in open_)
            question, value = _one([key for key in open_ if len(owed[key]) == most], rng)
            pairs += [(known, question.format(value=value), "no")]
            pairs += [(owed[question, value].pop(), question.format(value=value), "yes")]
        elif asked:
            owed[_one(CLOSED[topic], rng), _one(asked, rng)].append(known)
    for known, question, answer in pairs:
        yield _made(known, "closed", question, (answer,))


def _one(items: Sequence, rng: np.random.Generator):  # type: ignore[type-arg,no-untyped-def]
    return items[int(rng.integers(len(items)))]


def _made(known: Known, kind: str, question: str, answers: tuple[str, ...], choices: tuple[str, ...] = ()) -> Sample:
    sample = known.sample
    name = sample.image[:16] if sample.image else sample.id
    return replace(
        sample, id=f"{sample.source}-{name}-{known.topic}-{kind}", question=question, answers=answers, kind=kind,
        choices=choices, topic=known.topic, origin="template", boxes=(), mask=None,
    )  # fmt: skip
