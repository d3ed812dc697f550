"""ROUGE-1, -2 and -L as F1 with Porter stemming, equal to the rouge-score package with use_stemmer=True.

In: an answer and its references. Out: a number in [0, 1], or None where the package's tokenizer sees no word in any
reference.

    rouge_l("the left lung", ["left lung"]) == 0.8

Lin 2004, "ROUGE: a package for automatic evaluation of summaries"; the founding paper prints these three. Tokenizer
and stemmer are rouge-score's; the counting is ours, because the package builds an L x L table in Python for every
pair. Two habits of the package stay and are worth knowing: it knows ASCII only (a Chinese reference is unscored here,
a silent 0 there), and ROUGE-2 of a one-word reference is 0 even for the right answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from radvqa.score.registry import best, metric
from radvqa.score.text import CACHE
from radvqa.score.tokens import overlap


@cache
def _tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # brings nltk, which takes seconds to import

    return DefaultTokenizer(use_stemmer=True)


@lru_cache(maxsize=CACHE)
def _stems(word: str) -> tuple[str, ...]:
    return tuple(_tokenizer().tokenize(word))


@lru_cache(maxsize=CACHE)
def rouge_words(text: str) -> tuple[str, ...]:
    """The package's tokens of a text, found blank by blank so that the stem of a word is looked up only once."""
    return tuple(stem for word in text.split() for stem in _stems(word))


def _f1(common: int, num_said: int, num_wanted: int) -> float:
    return 2 * common / (num_said + num_wanted) if num_said and num_wanted else 0.0


@metric("rouge1", "ROUGE-1", family="rouge-score")
def rouge_1(answer: str, references: Sequence[str]) -> float | None:
    """F1 of the words in common."""
    said = rouge_words(answer)
    return best([_f1(overlap(said, w), len(said), len(w)) for w in map(rouge_words, references) if w])


@metric("rouge2", "ROUGE-2", family="rouge-score")
def rouge_2(answer: str, references: Sequence[str]) -> float | None:
    """F1 of the neighbouring pairs of words in common."""
    said = _pairs(rouge_words(answer))
    wanted = [_pairs(w) for w in map(rouge_words, references) if w]
    return best([_f1(overlap(said, w), len(said), len(w)) for w in wanted])


def _pairs(tokens: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(pairwise(tokens))


@metric("rougeL", "ROUGE-L", family="rouge-score")
def rouge_l(answer: str, references: Sequence[str]) -> float | None:
    """F1 of the longest common subsequence of words (Lin 2004, equations 2-4 with beta = 1)."""
    said = rouge_words(answer)
    return best([_f1(longest_common(said, w), len(said), len(w)) for w in map(rouge_words, references) if w])


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    return common_with(first, bits_of(second), len(second))


def bits_of(items: Sequence[str]) -> dict[str, int]:
    """Where each item stands, as the bits of an integer."""
    places: dict[str, int] = {}
    for place, item in enumerate(items):
        places[item] = places.get(item, 0) | (1 << place)
    return places


def common_with(items: Sequence[str], places: Mapping[str, int], length: int) -> int:
    """Longest common subsequence of `items` with a sequence of this length and these `bits_of`.

    A row of the table at a time in the bits of one integer; Crochemore et al. 2001, "A fast and practical bit-vector
    algorithm for the longest common subsequence problem".
    """
    row = full = (1 << length) - 1
    for item in items:
        matched = row & places.get(item, 0)
        if matched:
            row = ((row + matched) | (row - matched)) & full
    return length - row.bit_count()
