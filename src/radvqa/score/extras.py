"""METEOR and BERTScore: metrics that need a package, a word list or a model of their own.

In: an answer and its references. Out: a number, or None without a readable reference.

    score_predictions(predictions, metrics=["meteor"])

They are computed only when asked for by name, and say in one sentence what is missing. METEOR reads the WordNet that NLTK
finds (NLTK_DATA names the folder); BERTScore's default model is roberta-large from the hub or its cache, and where there
is no network the folder of a model that RADVQA_BERTSCORE names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
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
    return partial(meteor_score, wordnet=wordnet)


@metric("bertscore", "BERTScore F1", family="bert-score", extra=True)
def bertscore(answer: str, references: Sequence[str]) -> float | None:
    """F1 of BERTScore (Zhang et al. 2020, arXiv:1904.09675) by the package's default English model, not rescaled; the best
    over the references, within [0, 1].

    Raises InputError where the package or its model is not on this machine.
    """
    wanted = [reference for reference in references if words(reference)]
    if not wanted:
        return None
    if not words(answer):
        return 0.0
    return float(_bertscore(os.environ.get(LOCAL, "")).score([answer], [wanted])[2][0].clamp(0, 1))


LOCAL = "RADVQA_BERTSCORE"


@cache
def _bertscore(folder: str) -> Any:
    """The scorer, with the model in a folder where one is named: at the layer the package knows for a model of the folder's
    name, else its last."""
    try:
        from bert_score import BERTScorer
        from bert_score.utils import model2layers
    except ImportError as error:
        raise InputError(
            "BERTScore needs the package bert-score", key="bertscore", fix="run `pip install bert-score`"
        ) from error
    try:
        if not folder:
            return BERTScorer(lang="en")
        last = json.loads((Path(folder) / "config.json").read_text())["num_hidden_layers"]
        return BERTScorer(model_type=folder, num_layers=model2layers.get(Path(folder).name, last))
    except (OSError, KeyError, ValueError) as error:
        found = f"BERTScore's model {folder or 'roberta-large'} cannot be loaded ({str(error).splitlines()[0]})"
        fix = f"set {LOCAL} to the folder of a model, e.g. a copy of roberta-large"
        raise InputError(found, key="bertscore", fix=fix) from error
