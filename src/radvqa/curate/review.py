"""Which questions people look at, what follows from their verdicts, and how the unreviewed rest stands.

In: a corpus's table, verdicts from the store. Out: a draw, the samples with the verdicts carried out, a share with its
interval.

    store.enqueue(key, draw(corpus.table, 200, how="stratified", by="modality"))
    print(remaining_bad(corpus.table, store.drawn(key), store.verdicts(key)))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from radvqa.curate.agreement import Share, bad_share, stratified_bad_share
from radvqa.errors import InputError
from radvqa.review import VERDICTS, Drawn, Verdict
from radvqa.sample import Sample


def draw(
    questions: pl.DataFrame,
    number: int,
    *,
    how: str = "random",
    seed: int = 0,
    by: str | None = None,
    uncertainty: Mapping[str, float] | None = None,
) -> list[Drawn]:
    """Which questions to review, in random order (by uncertainty: the most uncertain first).

    questions: a corpus's table. random: each equally likely. stratified: the values of column `by` in equal numbers, as
    far as they reach. uncertain: those of the highest `uncertainty` (sample id -> number). Raises InputError for a
    column that is not there or a draw without its numbers.
    """
    rng, ids = np.random.default_rng([seed, 17]), questions["id"].to_list()
    if how == "random":
        return [Drawn(sample=ids[i], how=how) for i in rng.permutation(len(ids))[:number]]
    if how == "uncertain":
        known = [name for name in ids if name in (uncertainty or {})]
        if not uncertainty or not known:
            raise InputError("no question has a known uncertainty", key="uncertainty")
        return [Drawn(sample=s, how=how) for s in sorted(known, key=lambda s: (-uncertainty[s], s))[:number]]
    if how != "stratified":
        raise InputError(f"found {how!r}", key="how", fix="use random, stratified or uncertain")
    if by not in questions.columns:
        raise InputError(f"questions have no column {by!r}", key="by", fix="use one of " + ", ".join(questions.columns))
    groups: dict[str, list[str]] = {}
    for place in rng.permutation(len(ids)):
        groups.setdefault(str(questions[by][int(place)]), []).append(ids[place])
    dealt = [  # one of every group in turn
        Drawn(sample=some[turn], how=how, stratum=f"{by}={name}")
        for turn in range(max(map(len, groups.values()), default=0))
        for name, some in sorted(groups.items())
        if turn < len(some)
    ]
    return [dealt[:number][i] for i in rng.permutation(min(number, len(dealt)))]


def settled(verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
    """One verdict a question: what most reviewers said; where as many said otherwise, the stricter, then the later."""
    of: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        of.setdefault(verdict.sample, []).append(verdict)
    found = {}
    for sample, said in of.items():
        kinds = [verdict.verdict for verdict in said]
        kind = max(VERDICTS, key=lambda kind: (kinds.count(kind), VERDICTS.index(kind)))
        found[sample] = next(verdict for verdict in reversed(said) if verdict.verdict == kind)
    return found


def applied(
    samples: Iterable[Sample], verdicts: Sequence[Verdict], *, only_reviewed: bool = False
) -> Iterator[tuple[Sample, str | None]]:
    """Each sample as the verdicts leave it, and the reason why it goes (None: it stays).

    Edited ones carry the new words; `only_reviewed` lets those go that nobody looked at.
    """
    said = settled(verdicts)
    for sample in samples:
        verdict = said.get(sample.id)
        if verdict is None:
            yield sample, "not reviewed" if only_reviewed else None
        elif verdict.verdict == "reject":
            yield sample, f"rejected: {verdict.reason}"
        elif verdict.verdict == "edit":
            answer = (verdict.answer or "").strip()
            answers = (answer,) if answer else sample.answers
            question = (verdict.question or "").strip() or sample.question
            yield replace(sample, question=question, answers=answers), None
        else:
            yield sample, None


def remaining_bad(
    questions: pl.DataFrame, drawn: Sequence[Drawn], verdicts: Sequence[Verdict], *, edits_are_bad: bool = True
) -> Share:
    """The share of bad pairs among the questions nobody reviewed, from those drawn at random; else from the strata.

    Bad: rejected, or (`edits_are_bad`) in need of an edit. Questions drawn by uncertainty or chosen say nothing about
    the rest and are left out of it. Raises InputError where there is no random or stratified draw.
    """
    bad = {s: v.verdict == "reject" or (edits_are_bad and v.verdict == "edit") for s, v in settled(verdicts).items()}
    of = {how: [each for each in drawn if each.how == how and each.sample in bad] for how in ("random", "stratified")}
    if of["random"]:
        seen = [bad[each.sample] for each in of["random"]]
        return bad_share(sum(seen), len(seen), len(questions))
    if not of["stratified"]:
        raise InputError("no question drawn at random was reviewed", key="how", fix="draw some with how=random")
    by = of["stratified"][0].stratum.partition("=")[0]
    sizes = Counter(f"{by}={value}" for value in questions[by].to_list())
    reviewed = Counter(each.stratum for each in of["stratified"])
    found = Counter(each.stratum for each in of["stratified"] if bad[each.sample])
    return stratified_bad_share({name: (found[name], reviewed[name], size) for name, size in sizes.items()})
