"""BLEU three ways: sacrebleu's sentence BLEU, its corpus BLEU, and the unsmoothed sentence BLEU of the founding paper.

In: an answer and its references. Out: a number in [0, 1] (sacrebleu prints percent), or None without a readable
reference.

    bleu("a left pleural effusion", ["left pleural effusion"])

Papineni et al. 2002. All references count at once, as in the paper: an n-gram may be used as often as it stands in
the reference that has it most, and the length that counts is the one closest to the answer's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from radvqa.score.registry import metric
from radvqa.score.text import CACHE

ORDER = 4
NUM_STATISTICS = 2 + 2 * ORDER
"""Length of the answer and of the reference, then matched and all n-grams of the answer for n = 1 .. 4."""

Words = tuple[str, ...]
_tokenise_13a = Tokenizer13a()


@lru_cache(maxsize=CACHE)
def _words_13a(text: str) -> tuple[str, ...]:
    return tuple(_tokenise_13a(text.lower().rstrip()).split())


def _allowed(references: tuple[Words, ...], order: int) -> dict[Words, int]:
    """How often each n-gram of one order may be used: as often as the reference has it that has it most."""
    most: dict[Words, int] = {}
    for words in references:
        counts: dict[Words, int] = {}
        for start in range(len(words) - order + 1):
            gram = words[start : start + order]
            counts[gram] = counts.get(gram, 0) + 1
        most |= {gram: count for gram, count in counts.items() if count > most.get(gram, 0)}
    return most


def _count(said: Words, references: tuple[Words, ...]) -> tuple[int, ...]:
    length = len(said)
    closest = min((abs(len(words) - length), len(words)) for words in references)[1]
    matched = [0] * ORDER
    for order in range(1, min(ORDER, length) + 1):
        left = _allowed(references, order)
        for start in range(length - order + 1):
            gram = said[start : start + order]
            if left.get(gram, 0) > 0:
                left[gram] -= 1
                matched[order - 1] += 1
        if not matched[order - 1]:
            break  # what shares no n-gram shares no longer one
    return length, closest, *matched, *(max(length - n, 0) for n in range(ORDER))


@lru_cache(maxsize=1024)
def _statistics(answer: str, references: tuple[str, ...]) -> tuple[int, ...] | None:
    wanted = tuple(words for words in map(_words_13a, references) if words)
    return _count(_words_13a(answer), wanted) if wanted else None


def bleu_statistics(answer: str, references: Sequence[str]) -> tuple[int, ...] | None:
    """int[10], what corpus BLEU is made of (see NUM_STATISTICS): summed over answers it gives the corpus value."""
    return _statistics(answer, tuple(references))


@metric("bleu", "BLEU (sentence)", family="sacrebleu")
def bleu(answer: str, references: Sequence[str]) -> float | None:
    """sacrebleu `sentence_bleu` / 100, signature case:lc|eff:yes|tok:13a|smooth:exp.

    Orders longer than the answer are left out (effective order); a missed order counts 1/2, 1/4 ... of one match.
    """
    statistics = bleu_statistics(answer, references)
    return None if statistics is None else _smoothed(statistics, effective=True)


def _smoothed(statistics: Sequence[float], effective: bool) -> float:
    length, closest = statistics[:2]
    matched, total = statistics[2 : 2 + ORDER], statistics[2 + ORDER :]
    if not any(matched):
        return 0.0
    halvings, logarithm, used = 1.0, 0.0, 0
    for right, all_of_them in zip(matched, total):
        if all_of_them == 0:
            break
        used += 1
        if right == 0:
            halvings *= 2
        logarithm += math.log((right or 1 / halvings) / all_of_them)
    if used < ORDER and not effective:
        return 0.0
    brevity = 1.0 if length >= closest else math.exp(1 - closest / length)
    return brevity * math.exp(logarithm / used)


def corpus_bleu(statistics: np.ndarray) -> np.ndarray:
    """sacrebleu `corpus_bleu` / 100, signature case:lc|eff:no|tok:13a|smooth:exp, from summed statistics.

    statistics float[..., 10] -> float[...]; nan where no answer is four words long, for which it is not defined
    (sacrebleu prints 0).
    """
    flat = statistics.reshape(-1, NUM_STATISTICS)
    values = [_smoothed(row, effective=False) if row[-1] > 0 else math.nan for row in flat.tolist()]
    return np.array(values).reshape(statistics.shape[:-1])


@metric("bleu_nltk", "BLEU (NLTK, unsmoothed)", family="nltk")
def bleu_nltk(answer: str, references: Sequence[str]) -> float | None:
    """NLTK `sentence_bleu` without smoothing on words between blanks, case kept: what the founding paper prints.

    An order without a match counts as the smallest float, so that an answer under four words scores about 1e-77 or
    less even when it is right. Kept because it was published; read `bleu` instead.
    """
    wanted = tuple(tuple(reference.split()) for reference in references if reference.strip())
    if not wanted:
        return None
    length, closest, *counts = _count(tuple(answer.split()), wanted)
    matched, total = counts[:ORDER], counts[ORDER:]
    if matched[0] == 0:
        return 0.0
    shares = [right / all_of_them if right else sys.float_info.min for right, all_of_them in zip(matched, total)]
    brevity = 1.0 if length > closest else math.exp(1 - closest / length)
    return brevity * math.exp(math.fsum(math.log(share) / ORDER for share in shares))
