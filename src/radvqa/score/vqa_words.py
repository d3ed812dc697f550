"""The reading of an answer that the VQA challenge's script made common, with the habits that came with it.

In: an answer as written. Out: its words as LLaVA-Med's and MultiMedEval's scripts see them.

    vqa_words("The left lung.") == ("left", "lung")

Antol et al. 2015 (arXiv:1505.00468). Habits kept because published numbers rest on them: a punctuation mark is deleted
if it touches a blank anywhere in the text and becomes a blank otherwise; only the first 32 full stops go (the script
passes a regex flag where the count belongs); "none" is "0", "two" is "2"; apostrophes stay.
"""

from __future__ import annotations

import re
from functools import lru_cache

from radvqa.score.text import CACHE

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_NUM_STOPS = 32
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
_ARTICLES = frozenset(("a", "an", "the"))
_CONTRACTED = """ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't
    not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
    there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
    when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
    wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"""
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, letter in enumerate(word)
    if letter == "'"
}
"""A contraction that lost one of its apostrophes -> the whole one."""


@lru_cache(maxsize=CACHE)
def vqa_words(text: str) -> tuple[str, ...]:
    """The words of a text: lower case, without marks, articles and full stops, number words as digits."""
    read = kept = text.lower()
    anywhere = _DIGIT_COMMA.search(read) is not None
    for mark in _MARKS:
        if mark in read:
            deleted = anywhere or f"{mark} " in read or f" {mark}" in read
            kept = kept.replace(mark, "" if deleted else " ")
    words = (_NUMBERS.get(word, word) for word in _FULL_STOP.sub("", kept, count=_NUM_STOPS).split())
    return tuple(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
