"""How the project's own metrics read a text: words on Unicode boundaries, articles left out.

In: an answer or a reference as written. Out: its words, or one normalised string of them.

    normalise("The left lung.") == "left lung"

Metrics that follow another program (ROUGE, BLEU, LLaVA-Med ...) use that program's own reading, in their own files.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CACHE = 1 << 17
"""Texts remembered at once: VQA answers repeat, and a reference is read again by every metric."""

_CJK = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"\d+(?:[.,]\d+)+|[{_CJK}]|[^\W_{_CJK}]+")
_APOSTROPHES = str.maketrans("", "", "'\u2019`")
_ARTICLES = frozenset(("a", "an", "the"))


@lru_cache(maxsize=CACHE)
def words(text: str) -> tuple[str, ...]:
    """The words of a text: NFKC, case folded, split at all that is no letter or digit, without articles.

    A decimal number is one word, a Chinese character is one word, "Crohn's" is "crohns". An article is left out only
    before another word, so that "A" and "vitamin A" keep theirs.

    >>> words("The T2-weighted image of 3.5 cm, vitamin A!")
    ('t2', 'weighted', 'image', 'of', '3.5', 'cm', 'vitamin', 'a')
    """
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES))
    last = len(found) - 1
    return tuple(word for place, word in enumerate(found) if place == last or word not in _ARTICLES)


def normalise(text: str) -> str:
    """The words of a text with one blank between them; two answers that read the same are equal."""
    return " ".join(words(text))
