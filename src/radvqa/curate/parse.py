"""Replies of language models to question-answer pairs, whatever shape they come in.

In: the text of one reply. Out: its pairs, clean of preamble, labels, numbers, bold and edge blanks, and what was left out.

    parse_reply("Here are two:\\n\\n**Q1:** Is it CT?\\n**A1:** Yes\\n\\nQ2: Which side? A2: Left.")

Read in this order: JSON (bare, in a code fence, cut short), lines marked Q/A, User/Assistant or Question/Answer (bold,
numbered, on one line, with lettered options), and, where there is no mark at all, lines that end in a question mark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

REFUSAL = re.compile(
    r"\b(i(?:'m| am) sorry|i (?:can(?:no|')t|am (?:not able|unable)) (?:to |help|assist|generate|provide|create|see|view)"
    r"|as an ai\b|i (?:don't|do not) (?:see|have access)|please (?:provide|share|upload)|i'?d be happy to help)",
    re.IGNORECASE,
)
_BULLET = r"(?:(?:\d{1,2}[.)]|[-*•#>]+)\s*)?"
_MARK = re.compile(
    rf"^{_BULLET}(?P<who>Q(?:uestion)?|A(?:ns(?:wer)?)?|Correct answer|User|Human|Assistant|GPT)"
    r"\s*(?:\#?\s*\d{1,3})?\s*(?:[:.)]|-(?=\s)|$)\s*",
    re.IGNORECASE,
)
_ASKING = ("q", "question", "user", "human")
_INLINE = re.compile(r"(?<=[?.)\s])\s*\b(?:A|Ans|Answer)\s*\d{0,3}:\s+", re.IGNORECASE)
_OPTION = re.compile(r"^[-*•]?\s*\(?(?P<letter>[A-F])[).:]\s+(?P<text>\S.*)$")
_LETTER = re.compile(r"^\(?([A-F])\)?(?:[).:]\s*|\s*$)(.*)$")
_ITEM = re.compile(r"^(?:\d{1,2}[.)]|[-*•])\s+")
_KEYS = {"question": ("question", "q", "query", "prompt"), "answer": ("answer", "a", "response", "correct_answer")}
_WHO = {"user": 0, "human": 0, "assistant": 1, "gpt": 1}


class Pair(NamedTuple):
    """A question, its answer and, for multiple choice, the options without their letters."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()


class Reply(NamedTuple):
    """What one reply holds."""

    pairs: list[Pair]
    left_out: list[tuple[str, str]]
    """(reason, text) of everything that is no pair: preamble, note, half a pair, refusal."""


def parse_reply(text: str, *, cut: bool = False) -> list[Pair]:
    """The pairs of a reply; `cut`: it ended because it was too long, so its last pair is not whole and is left out."""
    return read_reply(text, cut=cut).pairs


def read_reply(text: str, *, cut: bool = False) -> Reply:
    """As `parse_reply`, with what was left out and why."""
    text = _plain(text)
    if not text:
        return Reply([], [("empty reply", "")])
    found = _of_json(text)
    left: list[tuple[str, str]] = []
    if found is None:
        lines = [line.strip() for line in _without_bold(text).splitlines()]
        found, left = _marked(lines) if any(_MARK.match(line) for line in lines) else _unmarked(lines)
    pairs = []
    for pair in found:
        pair = _chosen(Pair(_clean(pair.question), _clean(pair.answer), tuple(map(_clean, pair.choices))))
        if pair.question and pair.answer:
            pairs.append(pair)
        else:
            left.append(("half a pair", pair.question or pair.answer))
    if cut and pairs:
        left.append(("cut off", pairs.pop().question))
    if not pairs and REFUSAL.search(text):
        left = [("refusal", text)]
    if not pairs and all(reason.startswith("talk") for reason, _ in left):
        left = [("no pair in it", text)]
    return Reply(pairs, left)


# ---------------------------------------------------------------- text


def _plain(text: str) -> str:
    """Without what thinking models say to themselves, invisible characters and Windows line ends."""
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.DOTALL)
    return re.sub(r"[\ufeff\u200b-\u200d\u2060]", "", text).replace("\r\n", "\n").replace("\xa0", " ").strip()


def _without_bold(text: str) -> str:
    text = re.sub(r"\*\*|(?<!\w)__(?=\w)|(?<=\w)__(?!\w)|^#{1,6}\s+|^```\w*$", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<![\w*])\*(\S(?:[^*\n]*\S)?)\*(?![\w*])", r"\1", text)


def _clean(text: str) -> str:
    """One line without blanks or quotes around it."""
    text = re.sub(r"\s+", " ", _without_bold(str(text))).strip().strip("*_").strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] + text[-1] in ('""', "“”") and text.count('"') < 3 else text


def _chosen(pair: Pair) -> Pair:
    """The answer of a multiple-choice pair as the words of its option: `B) left` or `B` becomes `left`."""
    letter = _LETTER.match(pair.answer) if pair.choices else None
    if not letter:
        return pair
    place = ord(letter[1]) - ord("A")
    return pair._replace(answer=pair.choices[place] if place < len(pair.choices) else "")


# ---------------------------------------------------------------- marked and unmarked lines


def _marked(lines: list[str]) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Pairs whose parts carry a mark. A blank line ends an answer, but not a list that it announces."""
    pairs: list[tuple[list[str], list[str], list[str]]] = []
    left: list[tuple[str, str]] = []
    part: int | None = None
    for place, line in enumerate(lines):
        options = _options_start(lines, place) if part == 0 else False
        mark = None if options else _MARK.match(line)
        option = _OPTION.match(line) if part in (0, 2) else None
        if option and (options or (part == 2 and ord(option["letter"]) - ord("A") == len(pairs[-1][2]))):
            part = 2
            pairs[-1][2].append(option["text"])
            continue
        if mark:
            asked = mark["who"].lower() in _ASKING
            if asked:
                pairs.append(([], [], []))
            part = (0 if asked else 1) if pairs else None
            line = line[mark.end() :].strip()
        elif not line:
            ended = part == 1 and pairs[-1][1] and not pairs[-1][1][-1].endswith(":")
            part = None if ended else part
        if not line:
            continue
        if part in (0, 1):
            pairs[-1][part].append(line)
        elif part is None and _continues(pairs, line):
            pairs[-1][1].append(line)
        else:
            left.append(("talk before the pairs" if not pairs else "talk after a pair", line))
    return [_joined(*parts) for parts in pairs], left


def _continues(pairs: list[tuple[list[str], list[str], list[str]]], line: str) -> bool:
    """Whether a line after a blank one is the next item of a list that the answer already holds."""
    return bool(pairs and pairs[-1][1] and _ITEM.match(line) and _ITEM.match(pairs[-1][1][-1]))


def _options_start(lines: list[str], place: int) -> bool:
    """Whether option A stands here: the next line that is not blank is option B."""
    here, after = _OPTION.match(lines[place]), next((line for line in lines[place + 1 :] if line), "")
    follows = _OPTION.match(after)
    return bool(here and here["letter"] == "A" and follows and follows["letter"] == "B")


def _joined(asked: list[str], answered: list[str], options: list[str]) -> Pair:
    question, answer = " ".join(asked), " ".join(answered)
    if not answer and (mark := _INLINE.search(question)):  # "Is it large? A: yes"
        question, answer = question[: mark.start()], question[mark.end() :]
    return Pair(question, answer, tuple(options))


def _unmarked(lines: list[str]) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Lines that end in a question mark are questions; what follows, up to a blank line, is the answer."""
    pairs: list[list[str]] = []
    left: list[tuple[str, str]] = []
    open_ = False
    for line in lines:
        bare = _ITEM.sub("", line)
        asked, mark, answer = bare.partition("? ")
        if bare.endswith("?"):
            pairs.append([bare, ""])
            open_ = True
        elif mark and answer and not open_ and _ITEM.match(line):  # "1. Is it large? - Yes"
            pairs.append([asked + "?", answer.lstrip("-–— ")])
        elif line and open_:
            pairs[-1][1] = f"{pairs[-1][1]} {bare}".strip()
        elif line:
            left.append(("talk after a pair" if pairs else "talk before the pairs", line))
        elif pairs and pairs[-1][1]:
            open_ = False
    return [Pair(question, answer) for question, answer in pairs], left


# ---------------------------------------------------------------- JSON


def _of_json(text: str) -> list[Pair] | None:
    """The pairs of the JSON in a text, objects of a cut array one by one; None where there is none with pairs in it."""
    found: list[Pair] = []
    turns: list[tuple[int, str]] = []
    for value in _values(text):
        found += _pairs_in(value, turns)
    found += _in_turn(turns)
    return found or None


def _values(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(strict=False), 0
    while (start := re.compile(r"[\[{]").search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, start.start())
            yield value
        except (ValueError, RecursionError):
            at = start.start() + 1  # the opening of something cut or broken: look inside


def _pairs_in(value: Any, turns: list[tuple[int, str]]) -> Iterator[Pair]:
    """The pairs anywhere in a JSON value; turns of a conversation are collected for `_in_turn`."""
    if isinstance(value, list):
        for each in value:
            yield from _pairs_in(each, turns)
    if not isinstance(value, dict):
        return
    low = {str(key).lower().strip(): each for key, each in value.items()}
    who = _WHO.get(str(low.get("role", low.get("from"))).lower())
    said = low.get("content", low.get("value"))
    if who is not None and isinstance(said, str):
        turns.append((who, said.replace("<image>", "")))
        return
    question, answer = (next((low[k] for k in keys if k in low), None) for keys in _KEYS.values())
    if isinstance(question, (str, int, float)):
        yield Pair(str(question), _as_text(answer), _options(low.get("choices", low.get("options"))))
        return
    numbered = sorted(
        (key for key in low if re.fullmatch(r"q(uestion)?\s*_?\d+", key)), key=lambda key: int(re.sub(r"\D", "", key))
    )
    for key in numbered:
        number = re.sub(r"\D", "", key)
        answers = (low[k] for k in (f"a{number}", f"answer{number}", f"answer_{number}", f"a_{number}") if k in low)
        yield Pair(_as_text(low[key]), _as_text(next(answers, None)))
    for each in value.values():
        yield from _pairs_in(each, turns)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None or isinstance(value, dict) else str(value)


def _options(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple(map(str, value.values()))
    texts = [str(each) for each in value] if isinstance(value, list) else []
    letters = [_OPTION.match(text) for text in texts]
    return tuple(mark["text"] for mark in letters if mark) if texts and all(letters) else tuple(texts)


def _in_turn(turns: Iterable[tuple[int, str]]) -> list[Pair]:
    found: list[list[str]] = []
    for who, said in turns:
        if who == 0:
            found.append([said, ""])
        elif found and not found[-1][1]:
            found[-1][1] = said
    return [Pair(question, answer) for question, answer in found]
