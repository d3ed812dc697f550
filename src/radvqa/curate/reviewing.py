"""The terminal reviewer: one pair after the other, a key a verdict; and what the verdicts say together.

In: a corpus, the store, who is reviewing. Out: verdicts in the store; a summary in words.

    review(corpus, store, corpus_key(corpus), "ada", ask=input, say=print)
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import polars as pl

from radvqa.curate.agreement import agreement
from radvqa.curate.review import remaining_bad
from radvqa.errors import InputError
from radvqa.review import REASONS, ReviewStore, Verdict
from radvqa.sample import Corpus, Sample
from radvqa.tables import read_table

Ask = Callable[..., str]
Say = Callable[[str], object]
KEYS = "a accept, e edit, r reject, v view the picture, q stop"


def review(corpus: Corpus, store: ReviewStore, key: str, reviewer: str, *, ask: Ask, say: Say) -> int:
    """Go through what is left for a reviewer until they stop; the number of verdicts given. Each is stored at once."""
    given = 0
    samples = {sample.id: sample for sample in corpus.samples(id=[each.sample for each in store.drawn(key)])}
    while (name := store.next(key, reviewer)) is not None:
        verdict = _judged(corpus, samples[name], key, reviewer, ask, say)
        if verdict is None:
            say(f"{given} verdicts stored; the same command goes on from here")
            return given
        store.save(verdict)
        given += 1
    say("nothing is left for you to review")
    return given


def _judged(corpus: Corpus, sample: Sample, key: str, reviewer: str, ask: Ask, say: Say) -> Verdict | None:
    """One verdict; None: stop."""
    start = time.monotonic()
    say("\n" + described(sample))
    while True:
        typed = ask(KEYS, default="a").strip().lower()
        base = {"id": str(uuid4()), "corpus": key, "sample": sample.id, "reviewer": reviewer}
        seconds = round(time.monotonic() - start, 1)
        if typed == "q":
            return None
        if typed == "v":
            if sample.image is None:
                say("this question has no picture")
            else:
                corpus.image(sample.image).show()
        elif typed == "a":
            return Verdict(**base, verdict="accept", seconds=seconds)
        elif typed == "e":
            question, answer = ask("question", default=sample.question), ask("answer", default=sample.answers[0])
            if (question, answer) == (sample.question, sample.answers[0]):
                say("nothing was changed")
                continue
            return Verdict(**base, verdict="edit", question=question, answer=answer, seconds=seconds)
        elif typed == "r":
            say("\n".join(f"  {number} {reason}" for number, reason in enumerate(REASONS, 1)))
            number = ask("reason", default="1")
            if number.isdigit() and 1 <= int(number) <= len(REASONS):
                return Verdict(**base, verdict="reject", reason=REASONS[int(number) - 1], seconds=seconds)
            say("one of the numbers")


def described(sample: Sample) -> str:
    """The pair with what it rests on."""
    tags = ", ".join(
        value for value in (sample.modality, sample.plane, sample.region, sample.kind, sample.origin) if value
    )
    lines = [f"[{sample.id}] {tags}", f"  Q  {sample.question}"]
    lines += [f"     {letter}) {choice}" for letter, choice in zip("ABCDEFGH", sample.choices)]
    lines.append(f"  A  {' / '.join(sample.answers)}")
    return "\n".join([*lines, f"  from: {sample.evidence}"] if sample.evidence else lines)


def uncertainty(predictions: Path) -> dict[str, float]:
    """{id: 1 - probability of the answer given} from a predictions.parquet; answers without a probability are left out."""
    frame = read_table(predictions)
    for name in ("probability", "logprob"):
        known = frame.filter(pl.col(name).is_not_null()) if name in frame.columns else frame.clear()
        if len(known):
            chance = known[name] if name == "probability" else known[name].exp()
            return dict(zip(known["id"].to_list(), (1 - chance).to_list()))
    fix = "give answers of the in-process engine, or of a server asked with --logprobs"
    raise InputError("no probabilities of the answers are in it", file=predictions, key="--predictions", fix=fix)


def summary(corpus: Corpus, store: ReviewStore, key: str) -> str:
    """Verdicts, agreement and the share of bad pairs among the unreviewed, in words."""
    verdicts, progress = store.verdicts(key), store.progress(key)
    counts = Counter(verdict.verdict for verdict in verdicts)
    lines = [f"{progress['given']} reviews of {progress['wanted']} wanted, of {progress['questions']} questions"]
    lines.append("  " + ", ".join(f"{counts[name]} {name}" for name in ("accept", "edit", "reject")))
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.verdict == "reject")
    lines += [f"    {count} {reason}" for reason, count in reasons.most_common()]
    found = agreement([(v.sample, v.reviewer, v.verdict) for v in verdicts])
    for pair in found["cohen"]:  # type: ignore[attr-defined]
        names = " and ".join(pair["reviewers"])
        lines.append(f"  {names}: agree on {pair['agreed']:.0%} of {pair['n']}, Cohen's kappa {_number(pair['kappa'])}")
    if "fleiss" in found:
        fleiss = found["fleiss"]["kappa"]  # type: ignore[index]
        alpha = found["krippendorff"]
        lines.append(f"  Fleiss' kappa {_number(fleiss)}, Krippendorff's alpha {_number(alpha)}")  # type: ignore[arg-type]
    try:
        rest = remaining_bad(corpus.table, store.drawn(key), verdicts)
    except InputError as error:
        return "\n".join([*lines, f"  nothing can be said of the rest: {error}"])
    if rest.num_rest and not math.isnan(rest.value):
        share = f"{rest.value:.1%} (95 % interval {rest.low:.1%} to {rest.high:.1%})"
        lines.append(f"  of the {rest.num_rest:,} pairs nobody has seen, {share} are bad or in need of an edit")
    return "\n".join(lines)


def _number(value: float) -> str:
    return "undefined (only one label)" if math.isnan(value) else f"{value:.2f}"
