"""Exact match, F1, BLEU-1 and ROUGE-L as a public VQA-RAD study (GR5293, Columbia, 2026) computes them.

In: an answer and its references. Out: a number in [0, 1], or None without a reference.

    gr5293_bleu1("left lung", ["left"]) == 0.5

Kept to compare with such studies, and as a test of ours: punctuation is deleted without a blank ("x-ray" is "xray"),
articles stay, ROUGE-L is unstemmed, BLEU-1 has a brevity penalty. The study calls a question closed if its reference
is exactly yes or no (251 of VQA-RAD's 451 test questions; the data set says 272), and its intervals take questions
about one image for independent.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from functools import lru_cache

from radvqa.score.registry import best, metric
from radvqa.score.rouge import longest_common
from radvqa.score.text import CACHE
from radvqa.score.tokens import overlap

_DELETED = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=CACHE)
def _words(text: str) -> tuple[str, ...]:
    return tuple(text.lower().translate(_DELETED).split())


def _pairs(answer: str, references: Sequence[str]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(_words(answer), wanted) for wanted in map(_words, references) if wanted]


@metric("gr5293_exact", "exact match (GR5293)", binary=True, family="GR5293")
def gr5293_exact(answer: str, references: Sequence[str]) -> float | None:
    """1 where the words are the same, articles included."""
    return best([float(said == wanted) for said, wanted in _pairs(answer, references)])


@metric("gr5293_f1", "token F1 (GR5293)", family="GR5293")
def gr5293_f1(answer: str, references: Sequence[str]) -> float | None:
    """Token F1, articles included."""
    return best([2 * overlap(said, w) / (len(said) + len(w)) for said, w in _pairs(answer, references)])


@metric("gr5293_bleu1", "BLEU-1 (GR5293)", family="GR5293")
def gr5293_bleu1(answer: str, references: Sequence[str]) -> float | None:
    """Precision of words times the brevity penalty."""
    return best([_bleu1(said, wanted) for said, wanted in _pairs(answer, references)])


def _bleu1(said: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    if not said:
        return 0.0
    return overlap(said, wanted) / len(said) * math.exp(min(0.0, 1 - len(wanted) / len(said)))


@metric("gr5293_rougeL", "ROUGE-L (GR5293)", family="GR5293")
def gr5293_rouge_l(answer: str, references: Sequence[str]) -> float | None:
    """ROUGE-L F1 without stemming."""
    return best([2 * longest_common(said, w) / (len(said) + len(w)) for said, w in _pairs(answer, references)])
