"""A language model as judge of answers: one answer a call, who gave it unsaid, and what it says taken as data.

In: a question, its references, an answer, and a server (calls.py). Out: correct, partly or wrong with a reason; or no
verdict, which is unscored.

    with Calls("calls.sqlite", "http://localhost:11434/v1", "llama3.1:8b") as calls:
        verdicts = judge_answers(calls, [Item("Where is the mass?", ("left lung",), "the left lung")])

Answers are judged one by one, so they have no position that could be preferred. The template is a file with a number
(assets/judge/); a change of its words is a new number, and every table says which it is from.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from radvqa.calls import Call, Calls, Message, Reply, system, user
from radvqa.errors import InputError

VERDICTS = {"correct": 1.0, "partly": 0.5, "wrong": 0.0}
"""What each verdict counts; in the strict accuracy, partly is wrong."""
SAME = {"incorrect": "wrong", "partially correct": "partly", "partly correct": "partly", "partial": "partly"}
"""What judges say instead."""
TEMPLATE = 1
LONGEST_REPLY_TOKENS = 300
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": list(VERDICTS)}},
            "required": ["reason", "verdict"],
            "additionalProperties": False,
        },
    },
}
_SPOKEN = re.compile(r"verdict[\"'*_\s]*(?:[:=]|\bis\b)[\"'*_\s]*([a-z]+(?: correct)?)", re.IGNORECASE)
_NEUTRAL = str.maketrans({"<": "\u2039", ">": "\u203a", "{": "(", "}": ")", "`": "'"})
_VERDICT = re.compile(r"(verdict)(\s*[\"'*_]*\s*)[:=]", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """What is judged."""

    question: str
    references: tuple[str, ...]
    answer: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a judge said; verdict None: nothing that could be read, and why in `reason`."""

    verdict: str | None
    reason: str
    key: str | None = None
    """Of the call in the store; None: no judge was asked."""


# ---------------------------------------------------------------- what is asked


@cache
def template(version: int = TEMPLATE) -> tuple[str, str]:
    """The judge's task and the form of an item, of one version."""
    file = files("radvqa") / "assets" / "judge" / f"{version}.txt"
    if not file.is_file():
        raise InputError(f"there is no judge template {version}", key="template", fix=f"use {TEMPLATE}")
    task, _, form = file.read_text(encoding="utf-8").partition("\n=====\n")
    return task, form.rstrip("\n")


def template_hash(version: int = TEMPLATE) -> str:
    """SHA-256 of a version's text, which stands beside its number in every result."""
    return hashlib.sha256("\n=====\n".join(template(version)).encode()).hexdigest()


def messages(item: Item, hide: Sequence[str] = (), version: int = TEMPLATE) -> list[Message]:
    """The two messages about an item. hide: names, of the models, that must not be seen in an answer."""
    task, form = template(version)
    fields = {
        "question": neutral(item.question),
        "choices": "".join(f"<choice>{neutral(choice)}</choice>\n" for choice in item.choices),
        "references": "\n".join(f"<reference>{neutral(one)}</reference>" for one in item.references),
        "answer": neutral(_hidden(item.answer, hide)),
    }
    return [system(task), user(re.sub(r"\{(\w+)\}", lambda found: fields[found[1]], form))]


def neutral(text: str) -> str:
    """Data that cannot leave its tags, nor be read as a verdict when a judge repeats it."""
    return _VERDICT.sub(r"\1\2", " ".join(text.split()).translate(_NEUTRAL))


def _hidden(text: str, names: Sequence[str]) -> str:
    for name in names:
        if len(name) > 2:
            text = re.sub(rf"\b{re.escape(name)}\b", "the model", text, flags=re.IGNORECASE)
    return text


# ---------------------------------------------------------------- what comes back


def parse_verdict(reply: str) -> tuple[str, str] | None:
    """(verdict, reason) of a reply, None where there is none: the last verdict counts, and nothing is guessed.

    A verdict is a JSON object's or, outside of one, a word after "verdict:". What stands within the strings of an
    object, its reason for one, is no verdict.

    >>> parse_verdict('At first: {"verdict": "wrong"} but then {"reason": "same side", "verdict": "correct"}')
    ('correct', 'same side')
    """
    found: list[tuple[str, str]] = []
    rest = 0
    for start, end, value in _objects(reply):
        found += [(word, "") for word in _SPOKEN.findall(reply[rest:start])]
        if "verdict" in value:
            found.append((str(value["verdict"]), str(value.get("reason") or "")))
        rest = end
    found += [(word, "") for word in _SPOKEN.findall(reply[rest:])]
    if not found:
        return None
    said, reason = found[-1]
    verdict = SAME.get(said.strip().lower(), said.strip().lower())
    return (verdict, " ".join(reason.split())) if verdict in VERDICTS else None


def _objects(text: str) -> Iterator[tuple[int, int, dict]]:
    """Every outermost JSON object in a text, with its place."""
    decoder, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except ValueError:
            end = start + 1
        else:
            if isinstance(value, dict):
                yield start, end, value
        start = text.find("{", end)


# ---------------------------------------------------------------- many answers


def judge_answers(
    calls: Calls,
    items: Sequence[Item],
    *,
    hide: Sequence[str] = (),
    version: int = TEMPLATE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Verdict]:
    """A verdict for each item, in order. An empty answer is wrong, and no judge is asked."""
    parameters = {"temperature": 0.0, "max_tokens": LONGEST_REPLY_TOKENS, "response_format": SCHEMA}
    asked = [item for item in items if item.answer.strip()]
    replies = calls.run(
        (Call(messages(item, hide, version), parameters, seed) for item in asked),
        (lambda done: progress(done, len(asked))) if progress else None,
    )
    return [_read(next(replies)) if item.answer.strip() else Verdict("wrong", "empty answer") for item in items]


def _read(reply: Reply) -> Verdict:
    if reply.text is None:
        return Verdict(None, f"no reply ({reply.error})", reply.key)
    found = parse_verdict(reply.text)
    if found is None:
        return Verdict(
            None, "no verdict in the reply" + (", which was cut" if reply.finish == "length" else ""), reply.key
        )
    return Verdict(*found, reply.key)
