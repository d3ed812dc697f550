"""Closed accuracy: yes or no read on word boundaries, anything else by exact match.

In: an answer and its references. Out: 1.0, 0.0, or None where no reference has a word in it.

    closed_accuracy("No, it is normal.", ["no"]) == 1.0

Unlike scripts that look for "yes" or "no" as a substring, "normal" is not "no"; and an answer with both words, or
with neither, says nothing and is wrong. Whether a question is closed is the data set's word (its `kind`), not a guess
from the answer: closed answers other than yes and no exist and are matched whole.
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.score.exact import exact_match
from radvqa.score.registry import best, metric
from radvqa.score.text import words

YES_NO = frozenset(("yes", "no"))


def yes_or_no(text: str) -> str | None:
    """ "yes" or "no" where exactly one of them is among the words of the text, else None.

    >>> yes_or_no("Yes, the heart is enlarged"), yes_or_no("normal"), yes_or_no("yes and no")
    ('yes', None, None)
    """
    found = YES_NO.intersection(words(text))
    return next(iter(found)) if len(found) == 1 else None


@metric("closed_accuracy", "closed accuracy", kinds=("closed", "choice"), binary=True)
def closed_accuracy(answer: str, references: Sequence[str]) -> float | None:
    """1 where the answer is right: same yes or no; same words where the reference is neither (see `exact_match`)."""
    wanted = [reference for reference in references if words(reference)]
    if not wanted:
        return None
    polar = [reference for reference in wanted if len(words(reference)) == 1 and words(reference)[0] in YES_NO]
    said = yes_or_no(answer) if polar else None
    plain = [reference for reference in wanted if reference not in polar]
    return best([float(said == words(reference)[0]) for reference in polar] + [exact_match(answer, plain)])
