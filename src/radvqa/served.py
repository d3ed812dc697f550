"""Answers of a served model: any OpenAI-compatible server is asked every question with its picture.

In: Samples and a server (ollama, vLLM, llama.cpp, transformers serve, a commercial one). Out: predictions.parquet as
the in-process engine writes it, without what a server does not tell.

    with Calls("calls.sqlite", "http://localhost:11434/v1", "llava-med") as calls:
        predict_served(calls, sources=[(corpus, samples)], arm="llava-med", control="none", folder=out)

Every reply is kept: the same command after a kill or a dead server asks only what is missing.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from radvqa.asked import Repeats, forms_of, write_repeats
from radvqa.calls import Call, Calls, Message, Reply, user
from radvqa.predictions import Said, asked_of, pictures_shown, write_predictions
from radvqa.prompt import BRIEFLY, served_prompt
from radvqa.sample import Corpus, Sample

BLANK_PX = 448
MEDIA = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png"}
"""First bytes of the two forms in which a corpus keeps pictures."""


def predict_served(
    calls: Calls,
    *,
    sources: Sequence[tuple[Corpus, list[Sample]]],
    arm: str,
    control: str,
    folder: Path,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    logprobs: bool = False,
    instruction: str = BRIEFLY,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[str]]:
    """Ask the server every question under one control; returns the path of predictions.parquet and what failed.

    A call that keeps failing leaves its answer null, which is unscored, and a sentence here. logprobs: ask for the
    log-probability of every token; not every server tells. Raises ServerGone, after which the same call goes on.
    """
    samples = asked_of(sources)
    parameters: dict[str, Any] = {"temperature": temperature, "max_tokens": max_new_tokens}
    if logprobs:
        parameters["logprobs"] = True
    asked = questions(sources, samples, control, seed, instruction)
    replies = calls.run(
        (Call([message], parameters, seed) for message in asked),
        (lambda done: progress(done, len(samples))) if progress else None,
    )
    said, failed = [], []
    for sample, reply in zip(samples, replies, strict=True):
        said.append(_said(reply))
        if reply.error is not None:
            failed.append(f"{sample.id}: {reply.error}")
    return write_predictions(folder, samples, arm, control, said), failed


def repeat_served(
    calls: Calls,
    *,
    sources: Sequence[tuple[Corpus, list[Sample]]],
    arm: str,
    folder: Path,
    settings: Repeats,
    max_new_tokens: int = 64,
    instruction: str = BRIEFLY,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Ask the server every question several times, each run under its own seed; writes folder/repeats.parquet."""
    samples = asked_of(sources)
    forms = [forms_of(sample, settings) for sample in samples]
    asked = [form for runs in forms for form in runs]
    parameters = {"temperature": settings.temperature, "max_tokens": max_new_tokens}
    seeds = itertools.cycle(settings.seed + run for run in range(settings.num_runs))
    shown = questions(sources, asked, "none", settings.seed, instruction)
    replies = calls.run(
        (Call([message], parameters, seed) for message, seed in zip(shown, seeds)),
        (lambda done: progress(done, len(asked))) if progress else None,
    )
    said = [[_said(next(replies)) for _ in runs] for runs in forms]
    return write_repeats(folder, samples, forms, arm, said)


def questions(
    sources: Sequence[tuple[Corpus, list[Sample]]], samples: Sequence[Sample], control: str, seed: int, instruction: str
) -> Iterator[Message]:
    """The message of each sample, made when it is asked for, so that no more pictures than are under way are held."""
    keeper_of = {sample.image: corpus for corpus, some in sources for sample in some}
    for sample, key in zip(samples, pictures_shown(samples, control, seed)):
        picture = blank() if key is None else keeper_of[key].image_bytes(key)
        media = next(media for start, media in MEDIA.items() if picture.startswith(start))
        yield user(served_prompt(sample, instruction), picture, media)


@lru_cache(maxsize=1)
def blank() -> bytes:
    """The file of the blank control's picture: plain grey."""
    file = io.BytesIO()
    Image.new("RGB", (BLANK_PX, BLANK_PX), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


def _said(reply: Reply) -> Said:
    if reply.text is None:
        return Said(None)
    tokens = _token_logprobs(reply.raw)
    total = None if tokens is None else math.fsum(tokens)
    return Said(
        answer=reply.text.strip(),
        logprob=total,
        probability=None if total is None else math.exp(total),
        token_logprobs=tokens,
        finished=None if reply.finish is None else reply.finish != "length",
    )


def _token_logprobs(raw: Mapping[str, Any]) -> list[float] | None:
    found = (raw["choices"][0].get("logprobs") or {}).get("content")
    return [float(token["logprob"]) for token in found] if found else None
