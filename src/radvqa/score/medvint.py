"""MedVInT's accuracy: the answer counts as the label it resembles most - with labels from the train split only.

In: an answer, the references, the labels. Out: 1.0, 0.0, or None where no reference has a word.

    medvint("left lungs", ["left lung"], ["left lung", "right lung"]) == 1.0

Zhang et al. 2023 (arXiv:2305.10415) match an answer by difflib's ratio to a list of labels. Their list was made of
the test answers, which tells the matcher what may be right; here it is made of train answers, so an answer the train
split never gave can only be right word for word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np

from radvqa.score.registry import metric
from radvqa.score.rouge import bits_of, common_with
from radvqa.score.text import CACHE, normalise


@metric("medvint", "MedVInT difflib, train labels", uses="labels", binary=True, family="MedVInT")
def medvint(answer: str, references: Sequence[str], labels: Sequence[str]) -> float | None:
    """1 where the label nearest to the answer, or the answer itself, is a reference (all normalised)."""
    wanted = {normalise(reference) for reference in references} - {""}
    if not wanted:
        return None
    said = normalise(answer)
    return float(said in wanted or nearest_label(said, tuple(labels)) in wanted)


@lru_cache(maxsize=CACHE)
def nearest_label(said: str, labels: tuple[str, ...]) -> str | None:
    """The normalised label with the highest difflib ratio to a normalised answer, the first in the alphabet of several;
    None where nothing is alike.

    The ratio is 2 x matched / all letters, and what difflib matches is a common subsequence, which is no longer than
    the longest one nor than the letters in common. The two bounds leave few labels to compare.
    """
    names, letters, counts = _label_letters(labels)
    if said in names or not said:
        return said or None
    own = np.array([said.count(letter) for letter in letters])
    sizes = counts.sum(axis=1) + len(said)
    bound = 2.0 * np.minimum(counts, own).sum(axis=1) / sizes
    matcher = SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(said)
    places = bits_of(said)
    highest, nearest = 0.0, None
    for place in np.lexsort((np.arange(len(names)), -bound)):
        name = names[place]
        if bound[place] < highest or bound[place] == 0:
            break
        if 2.0 * common_with(name, places, len(said)) / sizes[place] < highest:
            continue
        matcher.set_seq1(name)
        ratio = matcher.ratio()
        if ratio > highest or (ratio == highest and nearest is not None and name < nearest):
            highest, nearest = ratio, name
    return nearest


@lru_cache(maxsize=8)
def _label_letters(labels: tuple[str, ...]) -> tuple[list[str], list[str], np.ndarray]:
    names = sorted({normalise(label) for label in labels} - {""})
    letters = sorted(set("".join(names)))
    found = [Counter(name) for name in names]
    return names, letters, np.array([[count[letter] for letter in letters] for count in found], dtype=np.int64)
