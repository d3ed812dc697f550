"""Whether the evidence supports an answer, as a language model judges it: wrong relations between right words.

In: pairs with their evidence, and calls of any OpenAI-compatible server. Out: for each yes, no, or None where the reply is
no verdict or there was none.

    with Calls(store, url, "llama3.1") as calls:
        list(LanguageModel(calls).verdicts([Pair("Which side?", "left", evidence="...")]))

The pair is handed over as JSON, so that nothing in it can pass for a part of the request. Every reply is kept, and asked
for once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import yaml

from radvqa.calls import Call, Calls, system, user
from radvqa.curate.checks import Pair
from radvqa.curate.prompting import FOLDER
from radvqa.curate.support import UNSUPPORTED

PROMPT = "support-1"
PARAMETERS = {"temperature": 0.0, "max_tokens": 512}
"""Room for a model that thinks aloud; the last verdict counts."""
SCHEMA = {
    "type": "object",
    "properties": {"supported": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["supported"],
    "additionalProperties": False,
}
_VERDICT = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)


class LanguageModel:
    """A language model on a server."""

    name, reason = "llm", UNSUPPORTED

    def __init__(self, calls: Calls) -> None:
        self.calls, self.model = calls, calls.model

    def verdicts(self, pairs: Sequence[Pair]) -> Iterator[bool | None]:
        """One a pair. Raises InputError where the server refuses for good, ServerGone where it dies."""
        asked = {"response_format": {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA}}}
        each: Iterator[Call] = (Call(messages_for(pair), PARAMETERS | asked) for pair in pairs)
        return (None if reply.text is None else verdict_of(reply.text) for reply in self.calls.run(each))


def verdict_of(text: str) -> bool | None:
    """The last verdict in a reply, None without one."""
    said = _VERDICT.findall(re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.DOTALL))
    return said[-1].lower() in ("yes", "true") if said else None


def messages_for(pair: Pair) -> list[dict[str, Any]]:
    """Chat messages: the rules, each example as a turn, then the pair."""
    read = _prompt()
    rules = "\n".join(f"- {rule}" for rule in read["rules"])
    messages = [
        system(f'{read["system"]}\n{rules}\nReply with JSON alone: {{"supported": "yes"}} or {{"supported": "no"}}')
    ]
    for example in read["examples"]:
        messages.append(user(_case(example["evidence"], example["question"], example["answer"])))
        messages.append({"role": "assistant", "content": json.dumps({"supported": example["supported"]})})
    return [*messages, user(_case(pair.evidence, pair.question, pair.answer))]


def _case(evidence: str, question: str, answer: str) -> str:
    return json.dumps({"evidence": evidence, "question": question, "answer": answer}, ensure_ascii=False)


@lru_cache
def _prompt() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / f"{PROMPT}.yaml").read_text(encoding="utf-8"))
    return read
