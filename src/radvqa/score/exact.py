"""Exact match: the answer is one of the references, word for word.

In: an answer and its references. Out: 1.0, 0.0, or None where no reference has a word in it.

    exact_match("The left lung.", ["left lung"]) == 1.0
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.score.registry import best, metric
from radvqa.score.text import words


@metric("exact_match", "exact match", binary=True)
def exact_match(answer: str, references: Sequence[str]) -> float | None:
    """1 where the normalised answer equals a normalised reference (`text.normalise`: case, punctuation, articles)."""
    said = words(answer)
    return best([float(said == wanted) for wanted in map(words, references) if wanted])


@metric("verbatim_match", "verbatim match", binary=True)
def verbatim_match(answer: str, references: Sequence[str]) -> float | None:
    """1 where the answer equals a reference in every character, blanks at the ends apart."""
    said = answer.strip()
    return best([float(said == wanted) for wanted in (reference.strip() for reference in references) if wanted])
