"""Token precision, recall and F1 between an answer and its references, repeats counted on both sides.

In: an answer and its references. Out: a number in [0, 1], or None where no reference has a word in it.

    token_recall("left lung lung lung", ["left upper lung"]) == 2 / 3

Overlap is that of multisets, sum over words of min(count in answer, count in reference), as in SQuAD (Rajpurkar et al.
2016, arXiv:1606.05250): saying a word again raises nothing. With several references each of the three is that of the
reference it is highest for.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from radvqa.score.registry import best, metric
from radvqa.score.text import words


def overlap(said: Sequence[Hashable], wanted: Sequence[Hashable]) -> int:
    """Words in common, each as often as it stands in both."""
    left: dict[Hashable, int] = {}
    for word in wanted:
        left[word] = left.get(word, 0) + 1
    common = 0
    for word in said:
        if left.get(word, 0) > 0:
            left[word] -= 1
            common += 1
    return common


@metric("token_precision", "token precision")
def token_precision(answer: str, references: Sequence[str]) -> float | None:
    """The share of the answer's words that are in the reference; 0 for an empty answer."""
    said = words(answer)
    return best([overlap(said, wanted) / max(len(said), 1) for wanted in map(words, references) if wanted])


@metric("token_recall", "token recall")
def token_recall(answer: str, references: Sequence[str]) -> float | None:
    """The share of the reference's words that are in the answer."""
    said = words(answer)
    return best([overlap(said, wanted) / len(wanted) for wanted in map(words, references) if wanted])


@metric("token_f1", "token F1")
def token_f1(answer: str, references: Sequence[str]) -> float | None:
    """2 x overlap / (words of the answer + words of the reference): the harmonic mean of precision and recall."""
    said = words(answer)
    return best([2 * overlap(said, w) / (len(said) + len(w)) for w in map(words, references) if w])
