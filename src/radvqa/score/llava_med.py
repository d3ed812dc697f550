"""LLaVA-Med's open and closed scores, twice: as its script prints them, and mended.

In: an answer and its references. Out: a number in [0, 1] (the script prints percent), or None without a reference.

    llava_med_recall("left left lung", ["left upper lobe"]) == 1 / 3

Li et al. 2023 (arXiv:2306.00890), `llava/eval/run_eval.py`. `llava_med_official_*` gives the published numbers of
published answer files; `llava_med_*` is the same idea without these habits of the script:
- it adds the *answer's* count of a shared word to the hits, so that repeating a word raises recall;
- yes and no are looked for as substrings: "no" is in "normal" and "known", and "yes ... no" is right for either;
- a closed question whose answer is another word can only be right if "yes" or "no" is in the answer as well;
- its "exact match" is a precision, and the numbers of open and closed questions are printed the other way round;
- later versions of the file leave a closed answer out that names yes or no and is wrong; the published 28.68 % counts
  it as wrong, and so does this.
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.score.closed import YES_NO
from radvqa.score.registry import best, metric
from radvqa.score.tokens import overlap
from radvqa.score.vqa_words import vqa_words

OPEN, CLOSED = ("open",), ("closed",)


def _readable(references: Sequence[str]) -> list[str]:
    return [reference for reference in references if reference.strip()]


# ---------------------------------------------------------------- as the script prints them


def _official(answer: str, reference: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the script: shared words count as often as the answer says them."""
    said, wanted = vqa_words(answer), vqa_words(reference)
    hits = sum(word in wanted for word in said)
    if not hits:
        return 0.0, 0.0, 0.0
    missed = sum(word not in said for word in wanted)
    precision, recall = hits / len(said), hits / (hits + missed)
    return precision, recall, 2 * precision * recall / (precision + recall)


@metric("llava_med_official_recall", "LLaVA-Med open recall, official", kinds=OPEN, family="LLaVA-Med")
def llava_med_official_recall(answer: str, references: Sequence[str]) -> float | None:
    """The script's "recall", what LLaVA-Med's tables call open."""
    return best([_official(answer, reference)[1] for reference in _readable(references)])


@metric("llava_med_official_precision", "LLaVA-Med open precision, official", kinds=OPEN, family="LLaVA-Med")
def llava_med_official_precision(answer: str, references: Sequence[str]) -> float | None:
    """The script's "precision"."""
    return best([_official(answer, reference)[0] for reference in _readable(references)])


@metric("llava_med_official_f1", "LLaVA-Med open F1, official", kinds=OPEN, family="LLaVA-Med")
def llava_med_official_f1(answer: str, references: Sequence[str]) -> float | None:
    """The script's "f1 score"."""
    return best([_official(answer, reference)[2] for reference in _readable(references)])


@metric("llava_med_official_exact", "LLaVA-Med exact match, official", kinds=OPEN, family="LLaVA-Med")
def llava_med_official_exact(answer: str, references: Sequence[str]) -> float | None:
    """The script's "exact match score": distinct words of the reference that were said / words said."""
    said = vqa_words(answer)
    wanted = [set(vqa_words(reference)) for reference in _readable(references)]
    return best([len(words.intersection(said)) / max(len(said), 1) for words in wanted])


@metric("llava_med_official_yes_no", "LLaVA-Med yes/no, official", kinds=CLOSED, binary=True, family="LLaVA-Med")
def llava_med_official_yes_no(answer: str, references: Sequence[str]) -> float | None:
    """1 where "yes" or "no" is a substring of the answer, and the reference is one too."""
    said = " ".join(vqa_words(answer))
    polar = "yes" in said or "no" in said
    return best([float(polar and " ".join(vqa_words(reference)) in said) for reference in _readable(references)])


# ---------------------------------------------------------------- mended


@metric("llava_med_recall", "LLaVA-Med open recall, mended", kinds=OPEN, family="LLaVA-Med")
def llava_med_recall(answer: str, references: Sequence[str]) -> float | None:
    """The share of the reference's words that are in the answer, each as often as it stands in both."""
    said = vqa_words(answer)
    return best([overlap(said, wanted) / len(wanted) for wanted in map(vqa_words, references) if wanted])


@metric("llava_med_yes_no", "LLaVA-Med yes/no, mended", kinds=CLOSED, binary=True, family="LLaVA-Med")
def llava_med_yes_no(answer: str, references: Sequence[str]) -> float | None:
    """Yes or no among the words of the answer, not both; any other reference as consecutive words of the answer."""
    said = vqa_words(answer)
    return best([float(_says(said, wanted)) for wanted in map(vqa_words, references) if wanted])


def _says(said: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if len(wanted) == 1 and wanted[0] in YES_NO:
        return YES_NO.intersection(said) == set(wanted)
    return any(said[start : start + len(wanted)] == wanted for start in range(len(said) - len(wanted) + 1))
