"""A corpus as its reviewers leave it: edits carried out, rejected pairs gone and listed, who said what kept with each.

In: a corpus and verdicts. Out: a new corpus folder beside it, with dropped.parquet.

    out, counts = write_reviewed(corpus, store.verdicts(corpus_key(corpus)))

A sample's `extra.review` says what was decided, by whom and when; the card's `review` from what, and how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from radvqa.curate.review import applied, settled
from radvqa.errors import InputError
from radvqa.review import Verdict, corpus_key
from radvqa.sample import Corpus, CorpusWriter, Sample

GONE: dict[str, Any] = {
    "id": pl.String,
    "question": pl.String,
    "answers": pl.List(pl.String),
    "reason": pl.String,
    "reviewers": pl.List(pl.String),
    "comments": pl.List(pl.String),
}
"""Columns of dropped.parquet."""


def write_reviewed(
    corpus: Corpus, verdicts: Sequence[Verdict], only_reviewed: bool = False, out: Path | None = None
) -> tuple[Path, dict[str, int]]:
    """Write the reviewed corpus (out: `<folder>-reviewed-<time>` unless given); its path, and how many of each fate.

    only_reviewed: leave out what nobody looked at. Raises InputError where there is no verdict.
    """
    if not verdicts:
        raise InputError("nothing was reviewed yet", key="verdicts", fix="review some first")
    now = datetime.now(UTC)
    out = out or corpus.folder.with_name(f"{corpus.folder.resolve().name}-reviewed-{now:%Y%m%d-%H%M%S}")
    said, last = _by_sample(verdicts), settled(verdicts)
    counts: Counter[str] = Counter()
    gone = []
    card = {key: value for key, value in corpus.card.items() if key not in ("counts", "dropped")}
    card["review"] = {
        "from": corpus_key(corpus),
        "at": now.isoformat(timespec="seconds"),
        "num_verdicts": len(verdicts),
        "reviewers": sorted({v.reviewer for v in verdicts}),
        "only_reviewed": only_reviewed,
    }
    with CorpusWriter(out, card) as writer:
        for sample, reason in applied(corpus.samples(), verdicts, only_reviewed=only_reviewed):
            counts["dropped" if reason else last[sample.id].verdict if sample.id in last else "unreviewed"] += 1
            if reason:
                writer.drop(reason)
                gone.append(_gone(sample, reason, said.get(sample.id, [])))
            else:
                picture = corpus.image_bytes(sample.image) if sample.image else None
                writer.add(_marked(sample, last.get(sample.id), said.get(sample.id, [])), picture)
        pl.DataFrame(gone, schema=GONE).write_parquet(writer.partial / "dropped.parquet")
    return out, dict(counts)


def _by_sample(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.sample, []).append(verdict)
    return found


def _marked(sample: Sample, last: Verdict | None, said: Sequence[Verdict]) -> Sample:
    if last is None:
        return sample
    review = {"verdict": last.verdict, "reviewers": [v.reviewer for v in said], "at": last.at}
    return replace(sample, extra={**sample.extra, "review": review})


def _gone(sample: Sample, reason: str, said: Sequence[Verdict]) -> dict[str, object]:
    return {
        "id": sample.id,
        "question": sample.question,
        "answers": list(sample.answers),
        "reason": reason,
        "reviewers": [v.reviewer for v in said],
        "comments": [v.comment for v in said if v.comment],
    }
