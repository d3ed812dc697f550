"""How much a question gives away: a classifier that reads the question and nothing else, against the commonest answer.

In: samples. Out: for each topic and kind the accuracy of both, in points.

    print(guessing(list(corpus.samples())))

Bag of words and word pairs, logistic regression, cross-validated in folds by subject, so that nothing of a test case is in
its training folds; the commonest answer is that of the training folds too. A choice question is read with its options.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from radvqa.sample import Sample

NUM_FOLDS = 5
MIN_QUESTIONS = 50


def guessing(samples: Sequence[Sample], *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of topic, kind, n, majority, classifier (accuracies in %) and advantage (points), and one over all, in which
    the commonest answer is that of each topic and kind. Groups of fewer than 50 questions are left out."""
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.topic or "", sample.kind].append(sample)
    rows, right = [], np.zeros(2)
    for (topic, kind), some in sorted(groups.items()):
        if len(some) < MIN_QUESTIONS or len({s.answers[0] for s in some}) < 2:
            continue
        hits = _hits(some, seed)
        right += hits
        rows.append(_row(topic, kind, len(some), hits))
    total = sum(row["n"] for row in rows)
    return [*rows, _row("all", "all", total, right)] if rows else []


def _row(topic: str, kind: str, n: int, hits: np.ndarray) -> dict[str, Any]:
    majority, classifier = 100 * hits / n
    return {"topic": topic, "kind": kind, "n": n, "majority": round(float(majority), 2),
            "classifier": round(float(classifier), 2), "advantage": round(float(classifier - majority), 2)}  # fmt: skip


def _hits(some: Sequence[Sample], seed: int) -> np.ndarray:
    """float[2]: right answers of the commonest answer and of the classifier, over all folds."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    texts = np.array([" | ".join([s.question, *sorted(s.choices)]) for s in some], object)
    answers = np.array([s.answers[0] for s in some], object)
    subjects = [s.subject or s.image or s.id for s in some]
    folds = GroupKFold(min(NUM_FOLDS, len(set(subjects))), shuffle=True, random_state=seed)
    hits = np.zeros(2)
    for train, test in folds.split(texts, groups=subjects):
        commonest = Counter(answers[train]).most_common(1)[0][0]
        hits[0] += (answers[test] == commonest).sum()
        words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+")
        model = LogisticRegression(max_iter=300).fit(words.fit_transform(texts[train]), answers[train])
        hits[1] += (model.predict(words.transform(texts[test])) == answers[test]).sum()
    return hits
