"""The question-only majority: what someone would answer who learnt the train answers and sees no image.

In: the train questions with their answers, and the test questions. Out: an answer for each test question and the rule
that gave it; and the letter that is right most often, for those who always answer B.

    majority_answers(train, test)["answer"]

It is the strongest simple opponent of a model that is said to look: a score that is not above it shows no seeing.
"""

from __future__ import annotations

import string
from collections import Counter
from typing import Any

import numpy as np
import polars as pl

from radvqa.score.choice import right_choices
from radvqa.score.intervals import cluster_interval
from radvqa.score.text import normalise

ANSWER_RULE = (
    "the most frequent train answer to the same question (normalised text), else of the same kind and topic, "
    "else of the same kind, else of all; for a choice question only its own choices count, else its first"
)
NUM_RULES = 5


def majority_answers(train: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """A row for each row of `test`: answer (null where train has none) and rule (its place in ANSWER_RULE, from 0).

    Both frames have question, kind, topic; train has answers (the first one is taught), test has choices.
    Equally frequent answers: the first in the alphabet, so that the order of rows does not matter.
    """
    counts: dict[tuple[int, str, str], Counter[str]] = {}
    columns = ("question", "kind", "topic", "answers")
    for question, kind, topic, answers in train.select(columns).iter_rows():
        for key in _keys(question, kind, topic):
            counts.setdefault(key, Counter())[normalise(answers[0]) or answers[0]] += 1
    ranked = {key: sorted(found, key=lambda text: (-found[text], text)) for key, found in counts.items()}
    answered: dict[tuple[str, str, str, tuple[str, ...]], tuple[str | None, int | None]] = {}
    rows = []
    for question, kind, topic, choices in test.select("question", "kind", "topic", "choices").iter_rows():
        asked = (question, kind, topic, tuple(choices or ()))
        if asked not in answered:
            answered[asked] = _answer(ranked, *asked)
        rows.append(answered[asked])
    return pl.DataFrame(rows, schema={"answer": pl.String, "rule": pl.Int64}, orient="row")


def _keys(question: str, kind: str, topic: str | None) -> list[tuple[int, str, str]]:
    return [(0, kind, normalise(question)), (1, kind, topic or ""), (2, kind, ""), (3, "", "")]


def _answer(
    ranked: dict[tuple[int, str, str], list[str]], question: str, kind: str, topic: str | None, choices: tuple[str, ...]
) -> tuple[str | None, int | None]:
    for key in _keys(question, kind, topic):
        for answer in ranked.get(key, []):
            if not choices or normalise(answer) in map(normalise, choices):
                return answer, key[0]
    return (choices[0], NUM_RULES - 1) if choices else (None, None)


def best_letter(questions: pl.DataFrame, num_draws: int = 2000, seed: int = 0) -> dict[str, Any] | None:
    """The letter that, always answered, gets most choice questions right; None where there is no choice question.

    questions: kind, answers, choices, cluster. Returns letter, n, value, low, high, num_unscored (no choice is a
    reference) and the share of every letter: PMC-VQA's test_2.csv has A right in 13 %, B or C in 74 % of its rows.
    """
    rows = questions.filter(pl.col("kind") == "choice")
    right = [right_choices(*row) for row in rows.select("answers", "choices").iter_rows()]
    if not any(right):
        return None
    asked = np.array([bool(places) for places in right])
    num_letters = max(max(places) for places in right if places) + 1
    hits = np.array([[place in places for place in range(num_letters)] for places in right], dtype=float)[asked]
    shares = hits.mean(axis=0)
    letter = int(shares.argmax())
    clusters = rows["cluster"].to_numpy()[asked]
    found = cluster_interval(hits[:, letter], clusters, num_draws=num_draws, seed=seed)
    named = dict(zip(string.ascii_uppercase, shares.tolist()))
    return {"letter": string.ascii_uppercase[letter], "n": found.n, "num_unscored": len(right) - found.n} | {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "shares": named,
    }
