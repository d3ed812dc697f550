"""Question-answer pairs written by a language model from what is known of each picture.

In: a corpus with captions or reports, an OpenAI-compatible endpoint (ollama, vLLM, llama.cpp, transformers serve ...).
Out: a corpus of the pairs; every reply is in OUT.calls.sqlite beside it (see calls.py).

    with Calls(ledger_of(out), "http://localhost:11434/v1", "llama3.1") as calls:
        generate(Corpus("corpora/rocov2"), out, calls, Wanted(prompts=("open", "closed")))

The pairs are as the model wrote them, only parsed (parse.py); `radvqa filter` comes next. A run that was killed goes on
from the replies it has: calls are a function of corpus, prompts and settings, so the corpus is the same as uninterrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from radvqa.calls import Call, Calls, Reply
from radvqa.curate.parse import Pair, read_reply
from radvqa.curate.prompting import Prompt, caption_instructions, messages_for, prompt, schema_for
from radvqa.errors import InputError
from radvqa.sample import Corpus, CorpusWriter, Sample

TEXTS = ("case_findings", "diagnosis")
"""Fields of `extra` that tell of the case; the history is not among them, since no picture shows it."""
DISEASE = "discussion"
"""The field of `extra` that tells of the disease: what literature questions are written from."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    prompts: tuple[str, ...] = ("open", "closed")
    number: int = 5
    """Pairs a picture and prompt."""
    pictures: bool = False
    """Send the picture along."""
    schema: bool = True
    """Ask for structured output; a server that refuses it is asked without."""
    parameters: dict[str, Any] = field(default_factory=lambda: {"temperature": 0.7, "max_tokens": 1024})
    seed: int = 0
    max_images: int | None = None
    """Only the first so many pictures."""


@dataclass(frozen=True)
class Request:
    """One call: for whom, and under which prompt."""

    sample: Sample
    prompt: Prompt
    call: Call


def generate(
    corpus: Corpus, out: Path, calls: Calls, wanted: Wanted | None = None, progress: Callable[[int], None] | None = None
) -> Corpus:
    """Ask, and write the corpus `out`. A call that fails is counted in its card and asked again by the next run.

    Raises InputError where no picture has a text or the server refuses for good, ServerGone where it dies; what it
    answered is kept.
    """
    wanted = wanted or Wanted()
    card = {**corpus.card, "written_by": calls.model, "dropped": {}}
    card["prompts"] = [prompt(name).name for name in wanted.prompts]
    with CorpusWriter(out, card) as writer:
        found = written(corpus, one_an_image(corpus.samples()), calls, wanted, writer.drop, progress)
        for image, some in groupby(found, key=lambda made: made.image):  # a picture is read and decoded once
            picture = corpus.image_bytes(image) if image else None
            for made in some:
                writer.add(made, picture)
    return Corpus(out)


def written(
    corpus: Corpus,
    samples: Iterable[Sample],
    calls: Calls,
    wanted: Wanted,
    drop: Callable[[str], None],
    progress: Callable[[int], None] | None = None,
) -> Iterator[Sample]:
    """The pairs that a model writes about `samples`, one a picture; what is no pair goes to `drop` with its reason."""
    requests = requests_for(corpus, samples, wanted)
    first = next(requests, None)
    if first is None:
        raise InputError("no picture here has a caption or report", file=corpus.folder, key="evidence")
    asked: deque[Request] = deque()

    def each() -> Iterator[Call]:
        for request in chain([first], requests):
            asked.append(request)
            yield request.call

    for reply in calls.run(each(), progress):
        yield from samples_from(asked.popleft(), calls.model, reply, drop)


def ledger_of(out: Path) -> Path:
    """Where the replies behind a corpus are kept."""
    return out.with_name(out.name + ".calls.sqlite")


def requests_for(corpus: Corpus, samples: Iterable[Sample], wanted: Wanted) -> Iterator[Request]:
    """A call for every sample and prompt; literature questions are asked for once a disease that is told of."""
    prompts = [prompt(name) for name in wanted.prompts]
    diseases: set[str] = set()
    for sample in islice(samples, wanted.max_images):
        for how in prompts:
            context = context_of(sample, literature=not how.about_picture)
            assert context is not None
            if not how.about_picture and sample.extra.get(DISEASE):
                if context in diseases:
                    continue
                diseases.add(context)
            parameters: dict[str, Any] = dict(wanted.parameters)
            if wanted.schema:
                named = {"name": "pairs", "schema": schema_for(how), "strict": True}
                parameters["response_format"] = {"type": "json_schema", "json_schema": named}
            picture = None
            if wanted.pictures and sample.image and how.about_picture:
                picture = corpus.image_bytes(sample.image)
            messages = messages_for(how, context, wanted.number, picture)
            yield Request(sample, how, Call(messages, parameters, wanted.seed))


def one_an_image(samples: Iterable[Sample]) -> Iterator[Sample]:
    """The first sample of each picture that has a text."""
    seen: set[str] = set()
    for sample in samples:
        name = sample.image or sample.id
        if sample.evidence and name not in seen:
            seen.add(name)
            yield sample


def num_calls(samples: Iterable[Sample], wanted: Wanted, corpus: Corpus) -> int:
    """How many calls that is, one sample a picture."""
    return sum(1 for _ in requests_for(corpus, one_an_image(samples), replace(wanted, pictures=False)))


def context_of(sample: Sample, *, literature: bool = False) -> str | None:
    """What a model is told of a picture: its tags, its caption or report, and texts of the case.

    literature: of its disease instead, where the case tells of that.
    """
    if literature and (text := sample.extra.get(DISEASE)):
        return f"Disease: {', '.join(sample.findings)}\n{text}" if sample.findings else text
    if not sample.evidence:
        return None
    known = [
        ("Modality", sample.modality),
        ("Plane", sample.plane),
        ("Region", sample.region),
        ("Text", sample.evidence),
    ]
    known += [(name.replace("_", " ").capitalize(), sample.extra.get(name)) for name in TEXTS]
    return "\n".join(f"{name}: {value}" for name, value in known if value)


def samples_from(request: Request, model: str, reply: Reply, drop: Callable[[str], None]) -> Iterator[Sample]:
    """The pairs of one reply as samples; what is no pair is counted."""
    if reply.text is None:
        drop("a call without a reply")
        return
    read = read_reply(reply.text, cut=reply.finish == "length")
    for reason, _ in read.left_out:
        if not reason.startswith("talk"):
            drop(f"reply: {reason}")
    sample, how = request.sample, request.prompt
    for place, pair in enumerate(read.pairs):
        kind = _kind(pair, how)
        answer = pair.answer.rstrip(".").lower() if kind == "closed" else pair.answer
        turn = _turn(read.pairs, place) if how.name.startswith("conversation") else {}
        yield replace(
            sample, id=f"{sample.id}-{how.name}-{place}", question=pair.question, answers=(answer,), kind=kind,
            choices=pair.choices if kind == "choice" else (), topic=how.name.rpartition("-")[0], origin=model,
            boxes=(), mask=None, extra={**sample.extra, "prompt": how.name, **turn},
        )  # fmt: skip


def _turn(pairs: Sequence[Pair], place: int) -> dict[str, Any]:
    """What is kept of a conversation's turn: its place, and the turns before it, which a prompt puts before the question."""
    before = " ".join(f"{pair.question} {pair.answer}" for pair in pairs[:place])
    return {"turn": place, **({"before": before} if before else {})}


def _kind(pair: Pair, how: Prompt) -> str:
    if how.kind == "choice" and len(pair.choices) > 1 and pair.answer in pair.choices:
        return "choice"
    return "closed" if pair.answer.rstrip(".").lower() in ("yes", "no") else "open"


def caption_samples(samples: Iterable[Sample], *, brief_words: int = 30, seed: int = 0) -> Iterator[Sample]:
    """The captions as answers to instructions to describe, one a picture, without asking any model.

    Captions of at most `brief_words` words get one of the brief instructions, longer ones one of the detailed.
    """
    import numpy as np

    rng = np.random.default_rng([seed, 9])
    for sample in one_an_image(samples):
        assert sample.evidence is not None
        words = caption_instructions(len(sample.evidence.split()) > brief_words)
        question = words[int(rng.integers(len(words)))]
        name = sample.image[:16] if sample.image else sample.id
        yield replace(
            sample, id=f"{sample.source}-{name}-caption", question=question, answers=(sample.evidence,), kind="open",
            choices=(), topic="description", origin="template", boxes=(), mask=None,
        )  # fmt: skip
