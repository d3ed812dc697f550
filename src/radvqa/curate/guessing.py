"""How much a question gives away: a classifier that reads the question and nothing else, against the commonest answer.

In: samples. Out: for each topic and kind the accuracy of both, in points.

    print(template_guessing(list(corpus.samples())))

Bag of words and word pairs, logistic regression; the commonest answer is that of the topic and kind in training, or a coin
where answers are yes and no and the coin does better: in a balanced set the commonest in training may be the rarer one in the
test. A choice question is read with its options. Nothing of a test case is trained on: folds are by subject, and template questions are
made and balanced within training and within test apart. Cut out of one balanced set, folds would mirror each other: where
the test has more yes to a question, training has more no, and a classifier would look worse than chance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from radvqa.curate.templates import TOPICS, template_questions
from radvqa.sample import Sample

NUM_FOLDS = 5
MIN_QUESTIONS = 50
Group = tuple[str, str]
Halves = tuple[Sequence[Sample], Sequence[Sample]]


def guessing(samples: Sequence[Sample], *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of topic, kind, n, majority, classifier (accuracies in %) and advantage (points), and one over all; of
    questions as they are, in folds by subject. Groups of fewer than 50 questions are left out."""
    from sklearn.model_selection import GroupKFold

    subjects = [s.subject or s.image or s.id for s in samples]
    folds = GroupKFold(min(NUM_FOLDS, len(set(subjects))), shuffle=True, random_state=seed)
    parts = ((train, test) for train, test in folds.split(subjects, groups=subjects))
    return _rows(([samples[i] for i in train], [samples[i] for i in test]) for train, test in parts)


def template_guessing(
    samples: Sequence[Sample], *, topics: Sequence[str] = TOPICS, seed: int = 0
) -> list[dict[str, Any]]:
    """As `guessing`, of the template questions of captioned samples: made anew for each fold, the test apart."""
    subjects = [s.subject or s.image or s.id for s in samples]
    names = sorted(set(subjects))
    fold = dict(zip(names, np.random.default_rng([seed, 11]).permutation(len(names)) % NUM_FOLDS))

    def halves() -> Iterator[Halves]:
        for k in range(NUM_FOLDS):
            split = ["test" if fold[subject] == k else "train" for subject in subjects]
            made = list(template_questions(map(_in_split, samples, split), topics=topics, seed=seed))
            yield [q for q in made if q.split == "train"], [q for q in made if q.split == "test"]

    return _rows(halves())


def between(train: Sequence[Sample], test: Sequence[Sample]) -> list[dict[str, Any]]:
    """As `guessing`, trained on the one and asked the other."""
    return _rows([(train, test)])


def _in_split(sample: Sample, split: str) -> Sample:
    return replace(sample, split=split)


def _rows(parts: Iterable[Halves]) -> list[dict[str, Any]]:
    right: dict[Group, np.ndarray] = defaultdict(lambda: np.zeros(2))
    asked: Counter[Group] = Counter()
    for train, test in parts:
        taught, put = _groups(train), _groups(test)
        for group in put:
            if len({s.answers[0] for s in taught.get(group, ())}) > 1:
                right[group] += _right(taught[group], put[group])
                asked[group] += len(put[group])
    kept = sorted(group for group, number in asked.items() if number >= MIN_QUESTIONS)
    rows = [_row(*group, asked[group], right[group]) for group in kept]
    whole = sum((right[group] for group in kept), np.zeros(2))
    return [*rows, _row("all", "all", sum(row["n"] for row in rows), whole)] if rows else []


def _groups(samples: Sequence[Sample]) -> dict[Group, list[Sample]]:
    groups: dict[Group, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.topic or "", sample.kind].append(sample)
    return groups


def _row(topic: str, kind: str, n: int, hits: np.ndarray) -> dict[str, Any]:
    majority, classifier = 100 * hits / n
    return {"topic": topic, "kind": kind, "n": n, "majority": round(float(majority), 2),
            "classifier": round(float(classifier), 2), "advantage": round(float(classifier - majority), 2)}  # fmt: skip


def _right(train: Sequence[Sample], test: Sequence[Sample]) -> np.ndarray:
    """float[2]: right answers of the commonest answer, or a coin, and of the classifier."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    taught, truth = ([s.answers[0] for s in some] for some in (train, test))
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+")
    model = LogisticRegression(max_iter=300).fit(words.fit_transform(map(_read, train)), taught)
    said = model.predict(words.transform(map(_read, test)))
    guessed: float = truth.count(Counter(taught).most_common(1)[0][0])
    if set(taught) == {"yes", "no"}:
        guessed = max(guessed, len(truth) / 2)
    return np.array([guessed, int((said == np.array(truth, object)).sum())], float)


def _read(sample: Sample) -> str:
    return " | ".join([sample.question, *sorted(sample.choices)])
