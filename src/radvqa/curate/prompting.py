"""What a language model is told: the prompt files of this folder, versioned, and the messages made from them.

In: the name of a prompt (open, closed, choice, literature, conversation) and what is known of a picture. Out: messages for
a chat endpoint and the JSON schema of the reply.

    messages_for(prompt("open"), "Axial CT of the chest ...", number=5)

The prompts are data: `open-1.yaml` is never changed once it has been used; a better wording is `open-2.yaml`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from radvqa.calls import system, user
from radvqa.errors import InputError
from radvqa.tree import one_of

FOLDER = files("radvqa.curate") / "prompts"
NAMES = ("open", "closed", "choice", "literature", "conversation")


@dataclass(frozen=True)
class Prompt:
    """One prompt file."""

    name: str
    """With its version: open-1."""
    kind: str
    """The kind of question it makes."""
    system: str
    rules: tuple[str, ...]
    ask: str
    examples: tuple[dict[str, Any], ...]

    @property
    def about_picture(self) -> bool:
        """Whether its questions are about the picture; the literature's are not."""
        return not self.name.startswith("literature")


@lru_cache
def prompt(name: str) -> Prompt:
    """The prompt of a name, its newest version, or the one named (open-1)."""
    versions = sorted(
        (file.name.removesuffix(".yaml") for file in FOLDER.iterdir() if re.fullmatch(r"[a-z]+-\d+\.yaml", file.name)),
        key=lambda version: int(version.rpartition("-")[2]),
    )
    found = [version for version in versions if name in (version, version.rpartition("-")[0])]
    if not found or found[-1].rpartition("-")[0] not in NAMES:
        raise InputError(f"there is no prompt {name!r}", key="prompts", fix=one_of(name, list(NAMES)))
    read = yaml.safe_load((FOLDER / f"{found[-1]}.yaml").read_text(encoding="utf-8"))
    return Prompt(found[-1], read["kind"], read["system"], tuple(read["rules"]), read["ask"], tuple(read["examples"]))


def messages_for(prompt: Prompt, context: str, number: int, picture: bytes | None = None) -> list[dict[str, Any]]:
    """Chat messages: the role with its rules, each example as a turn, then the picture's own text.

    `picture`: its file, sent along for endpoints that take pictures.
    """
    rules = "\n".join(f"- {rule}" for rule in prompt.rules)
    reply = 'Reply with JSON alone: {"pairs": [{"question": "...", "answer": "..."' + (
        ', "choices": ["...", "...", "...", "..."]}]}' if prompt.kind == "choice" else "}]}"
    )
    messages: list[dict[str, Any]] = [system(f"{prompt.system}\n{rules}\n{reply}")]
    for example in prompt.examples:
        messages.append(user(_request(prompt, example["context"], len(example["pairs"]))))
        messages.append({"role": "assistant", "content": json.dumps({"pairs": example["pairs"]})})
    png = picture is None or picture.startswith(b"\x89PNG")
    return [*messages, user(_request(prompt, context, number), picture, "image/png" if png else "image/jpeg")]


def _request(prompt: Prompt, context: str, number: int) -> str:
    return f"{prompt.ask.format(number=number)}\n\nWhat is known:\n{context}"


def schema_for(prompt: Prompt) -> dict[str, Any]:
    """JSON schema of the reply, for servers that enforce one."""
    text: dict[str, Any] = {"type": "string"}
    fields: dict[str, Any] = {"question": text, "answer": text}
    if prompt.kind == "closed":
        fields["answer"] = {"type": "string", "enum": ["yes", "no"]}
    if prompt.kind == "choice":
        fields["choices"] = {"type": "array", "items": text, "minItems": 4, "maxItems": 4}
    pair = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    pairs = {"type": "array", "items": pair}
    return {"type": "object", "properties": {"pairs": pairs}, "required": ["pairs"], "additionalProperties": False}


def caption_instructions(detailed: bool) -> tuple[str, ...]:
    """Wordings of the request to describe a picture."""
    read = yaml.safe_load((FOLDER / "captions-1.yaml").read_text(encoding="utf-8"))
    return tuple(read["detailed" if detailed else "brief"])
