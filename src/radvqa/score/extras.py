"""METEOR and BERTScore: metrics that need a package, a word list or a model of their own.

In: an answer and its references. Out: a number, or None without a readable reference.

    score_predictions(predictions, metrics=["meteor"])

They are computed only when asked for by name, and say in one sentence what is missing. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from radvqa.errors import InputError
from radvqa.score.registry import best, metric
from radvqa.score.text import words


@metric("meteor", "METEOR", family="nltk", extra=True)
def meteor(answer: str, references: Sequence[str]) -> float | None:
    """NLTK's METEOR (Banerjee and Lavie 2005) on normalised words: exact, stem and WordNet matches.

    Raises InputError where NLTK's WordNet is not on this machine.
    """
    wanted = [list(read) for read in map(words, references) if read]
    return best([_meteor()([reference], list(words(answer))) for reference in wanted])


@cache
def _meteor() -> Any:
    try:
        from nltk.corpus import wordnet
        from nltk.translate.meteor_score import meteor_score

        wordnet.ensure_loaded()
    except (ImportError, LookupError) as error:
        raise InputError(
            "METEOR needs NLTK with its WordNet", key="meteor", fix="run `python -m nltk.downloader wordnet`"
        ) from error
    return meteor_score


@metric("bertscore", "BERTScore F1", family="bert-score", extra=True)
def bertscore(answer: str, references: Sequence[str]) -> float | None:
    """F1 of BERTScore (Zhang et al. 2020, arXiv:1904.09675), the package's default English model, rescaled or not as
    it ships; the best over the references.

    Raises InputError where the package or its model is not on this machine.
    """
    wanted = [reference for reference in references if words(reference)]
    if not wanted:
        return None
    return float(_bertscore().score([answer], [wanted])[2][0]) if words(answer) else 0.0


@cache
def _bertscore() -> Any:
    try:
        from bert_score import BERTScorer
    except ImportError as error:
        raise InputError(
            "BERTScore needs the package bert-score", key="bertscore", fix="run `pip install bert-score`"
        ) from error
    try:
        return BERTScorer(lang="en")
    except OSError as error:
        raise InputError(f"BERTScore's model cannot be loaded ({error})", key="bertscore") from error
