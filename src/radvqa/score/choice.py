"""Multiple choice from what was written: by its letter, or by the option it resembles most.

In: an answer, the references, the choices (without letters). Out: 1.0, 0.0, or None where no choice is a reference.

    choice_letter("(B) MRI", ["MRI"], ["CT", "MRI", "X-ray"]) == 1.0

An answer that names no letter, or two, is wrong: it did not choose. See `option_accuracy` for the choice by
likelihood, which needs no parsing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from difflib import SequenceMatcher

from radvqa.score.registry import metric
from radvqa.score.text import normalise

_ALONE = re.compile(r"^\W*([A-Za-z])\W*$")
_FIRST = re.compile(r"^\s*[(\[]?([A-Za-z])[)\].:,]")
_NAMED = re.compile(r"\b(?:answer|option|choice)\b(?:\s+is)?\s*:?\s*[(\[]?([A-Z])\b|[(\[]([A-Z])[)\]]")


def letter(answer: str, num_choices: int) -> int | None:
    """The place of the choice an answer names by letter; None where it names none or several.

    >>> letter("B", 4), letter("The answer is (C).", 4), letter("A or B", 4), letter("a mass", 4)
    (1, 2, None, None)
    """
    for pattern in (_ALONE, _FIRST):
        if found := pattern.match(answer):
            return _place(found[1], num_choices)
    named = {_place(first or second, num_choices) for first, second in _NAMED.findall(answer)} - {None}
    return named.pop() if len(named) == 1 else None


def _place(name: str, num_choices: int) -> int | None:
    place = string.ascii_uppercase.index(name.upper())
    return place if place < num_choices else None


def right_choices(references: Sequence[str], choices: Sequence[str]) -> set[int]:
    """The places of the choices that are references; doubled choices are all right."""
    wanted = {normalise(reference) for reference in references} - {""}
    return {place for place, choice in enumerate(choices) if normalise(choice) in wanted}


@metric("choice_letter", "choice by letter", kinds=("choice",), uses="choices", binary=True)
def choice_letter(answer: str, references: Sequence[str], choices: Sequence[str]) -> float | None:
    """1 where the letter the answer names, or its exact words, are those of a right choice."""
    right = right_choices(references, choices)
    if not right:
        return None
    said = normalise(answer)
    written = {place for place, choice in enumerate(choices) if normalise(choice) == said and said}
    named = letter(answer, len(choices))
    return float(bool(written & right) if written else named in right)


@metric("choice_best_match", "choice by best match", kinds=("choice",), uses="choices", binary=True)
def choice_best_match(answer: str, references: Sequence[str], choices: Sequence[str]) -> float | None:
    """1 where the choice most like the answer (difflib ratio of normalised texts) is right; a tie is wrong."""
    right = right_choices(references, choices)
    if not right:
        return None
    said = normalise(answer)
    likeness = [SequenceMatcher(None, normalise(choice), said, autojunk=False).ratio() for choice in choices]
    top = {place for place, value in enumerate(likeness) if value == max(likeness)}
    return float(max(likeness) > 0 and top <= right)
