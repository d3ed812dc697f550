"""MultiMedEval's accuracy: three quarters of the reference's distinct words for an open question.

In: an answer and its references. Out: 1.0, 0.0, or None where no reference has a word.

    multimedeval("upper left lobe of the lung", ["left upper lung lobe"]) == 1.0

Royer et al. 2024 (arXiv:2402.09262), `task_families.py`. Two differences of definition to know: a question is closed
if its reference is yes or no, whatever the data set says; and for "no" the word "not" is as good, while an answer that
says yes and no is right for either (`closed_accuracy` and `llava_med_yes_no` call it wrong).
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.score.registry import best, metric
from radvqa.score.vqa_words import vqa_words

OPEN_RECALL, CLOSED_RECALL = 0.75, 0.4
_ACCEPTED = {frozenset(("no",)): frozenset(("no", "not"))}


@metric("multimedeval", "MultiMedEval accuracy", binary=True, family="MultiMedEval")
def multimedeval(answer: str, references: Sequence[str]) -> float | None:
    """1 where the recall of distinct words reaches 0.75; for a yes/no reference 0.4, of {no, not} for no."""
    said = frozenset(vqa_words(answer))
    wanted = [frozenset(words) for words in map(vqa_words, references) if words]
    return best([float(_right(said, words)) for words in wanted])


def _right(said: frozenset[str], wanted: frozenset[str]) -> bool:
    closed = wanted in (frozenset(("yes",)), frozenset(("no",)))
    accepted = _ACCEPTED.get(wanted, wanted)
    return len(said & accepted) / len(accepted) >= (CLOSED_RECALL if closed else OPEN_RECALL)
