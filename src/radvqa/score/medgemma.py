"""Set-token F1 and recall, the scores of the MedGemma report: every word counts once, however often it stands there.

In: an answer and its references. Out: a number in [0, 1], or None where no reference has a word in it.

    set_f1("left left lung", ["left lung"]) == 1.0

Sellergren et al. 2025 (arXiv:2507.05201) do not print their tokenizer; words are those of `text.words`. Their VQA-RAD
numbers are of a split of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.score.registry import best, metric
from radvqa.score.text import words


@metric("set_f1", "set-token F1", family="MedGemma")
def set_f1(answer: str, references: Sequence[str]) -> float | None:
    """2 x distinct words in common / (distinct words of the answer + of the reference)."""
    said = frozenset(words(answer))
    return best([2 * len(said & w) / (len(said) + len(w)) for w in map(frozenset, map(words, references)) if w])


@metric("set_recall", "set-token recall", family="MedGemma")
def set_recall(answer: str, references: Sequence[str]) -> float | None:
    """Distinct words in common / distinct words of the reference."""
    said = frozenset(words(answer))
    return best([len(said & w) / len(w) for w in map(frozenset, map(words, references)) if w])
