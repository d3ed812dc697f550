"""The good pairs of a corpus and, with a reason each, the others.

In: a corpus folder. Out: another one with the pairs that stay, and dropped.parquet beside its questions: the same columns
with reason and detail. Nothing disappears: kept and dropped are all there were.

    filter_corpus(Corpus("corpora/medpix"), Path("corpora/medpix-good"), limits=Limits(), blind=[])

The pairs are judged one by one (checks.py), then against each other (repeats.py), then, where predictions of a model that
did not see the pictures are given, by whether it was right all the same. Memory: 0.9 KB a pair; the questions are read
twice and never held.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from radvqa.calls import Calls
from radvqa.curate.checks import CHECKS, Limits, Pair
from radvqa.curate.repeats import Repeats
from radvqa.errors import InputError
from radvqa.sample import SCHEMA, Corpus
from radvqa.stage import link

REPEAT = "repeats an earlier pair"
EASY = "answered without the picture"
IRRELEVANT = "the picture makes no difference"
UNSUPPORTED = "a language model finds no support for the answer"
NOT_KNOWN = ("prompt", "before")
"""Texts of `extra` that a model wrote: no evidence."""
DROPPED = pa.schema([*SCHEMA, ("reason", pa.string()), ("detail", pa.string())])
BLOCK = 4096
Progress = Callable[[int], None]


def pair_of(row: dict[str, Any]) -> Pair:
    """A row of questions.parquet as the checks see it: the evidence is the caption with tags and texts of the case."""
    answer, evidence = row["answers"][0], row["evidence"] or ""
    caption = bool(evidence) and answer == evidence
    known = [evidence, *(row[name] or "" for name in ("modality", "plane", "region")), *(row["findings"] or ())]
    extra = json.loads(row["extra"] or "{}")
    known += [value for name, value in extra.items() if isinstance(value, str) and name not in NOT_KNOWN]
    if not evidence or row["origin"] == "template":
        known = []
    instruction = row["origin"] == "template" and row["topic"] == "description"
    return Pair(row["question"], answer, row["kind"], " ".join(known), caption, instruction)


def judge(pair: Pair, limits: Limits) -> str | None:
    """The first reason why a pair is to go, None if it may stay."""
    return next((c.reason for c in CHECKS if c.name not in limits.off and c.bad(pair, limits)), None)


def easy(predictions: Sequence[Path]) -> dict[str, str]:
    """{id: reason} of questions that a model answered rightly without its picture, or rightly with another one as well.

    predictions: predictions.parquet files of control blank or shuffled. Raises InputError for a file of neither.
    """
    right: dict[str, set[str]] = {}
    for file in predictions:
        frame = pl.read_parquet(file, columns=["id", "answers", "answer", "control"])
        controls = set(frame["control"].to_list())
        if not controls <= {"blank", "shuffled"}:
            raise InputError(
                f"the answers are of control {', '.join(sorted(controls))}",
                file=file,
                fix="give those of blank or shuffled",
            )
        for row in frame.iter_rows(named=True):
            if _plain(row["answer"]) in {_plain(answer) for answer in row["answers"]}:
                right.setdefault(row["id"], set()).add(row["control"])
    return {name: IRRELEVANT if {"blank", "shuffled"} <= how else EASY for name, how in right.items()}


def _plain(text: str) -> str:
    return " ".join(text.lower().strip(" .").split())


def filter_corpus(
    corpus: Corpus,
    out: Path,
    *,
    limits: Limits | None = None,
    blind: Sequence[Path] = (),
    workers: int = 1,
    calls: Calls | None = None,
    progress: Progress | None = None,
) -> Counter[str]:
    """Write the corpus `out` (replaced if it is one) and return how many pairs went for which reason.

    `workers`: processes that judge. `calls`: a language model that is asked whether the evidence supports what the other
    checks leave; a pair on which it gives no verdict stays, and is counted in the card. `progress`: called with the number
    of its replies so far. Raises InputError for a check that does not exist.
    """
    limits = limits or Limits()
    unknown = set(limits.off) - {check.name for check in CHECKS}
    if unknown:
        fix = "use " + ", ".join(check.name for check in CHECKS)
        raise InputError(f"there is no check {', '.join(sorted(unknown))}", key="off", fix=fix)
    support = Support(calls, progress) if calls is not None else None
    reasons, details = _reasons(corpus, limits, easy(blind), workers, support)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        card = _write(corpus, partial, reasons, details)
        if support is not None:
            card["support"] = support.account()
        for shard in sorted(corpus.folder.glob("images-*.parquet")):
            link(shard, partial / shard.name)
        (partial / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if out.exists():
            Corpus(out)  # raises where it is something else
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Counter(reason for reason in reasons if reason)


class Support:
    """A language model beside the checks."""

    def __init__(self, calls: Calls, progress: Progress | None = None) -> None:
        self.calls, self.progress, self.asked, self.silent = calls, progress or (lambda _: None), 0, 0

    def reasons(self, block: list[dict[str, Any]], before: list[str | None]) -> list[str | None]:
        """The reasons of a block with those of the model where there was none and there is evidence."""
        from radvqa.curate.support import supported

        pairs = {place: pair_of(row) for place, row in enumerate(block) if before[place] is None}
        pairs = {place: pair for place, pair in pairs.items() if pair.evidence and not pair.caption}
        verdicts = dict(zip(pairs, supported(list(pairs.values()), self.calls, self._more)))
        self.asked += len(verdicts)
        self.silent += sum(verdict is None for verdict in verdicts.values())
        return [UNSUPPORTED if verdicts.get(place) is False else reason for place, reason in enumerate(before)]

    def _more(self, number: int) -> None:
        self.progress(self.asked + number)

    def account(self) -> dict[str, Any]:
        """Who was asked, of how many pairs, and how many verdicts did not come."""
        return {"model": self.calls.model, "asked": self.asked, "without_verdict": self.silent}


def _reasons(
    corpus: Corpus, limits: Limits, blind: dict[str, str], workers: int, support: Support | None
) -> tuple[list[str | None], dict[int, str]]:
    """For every question in order the reason why it goes, and details of some."""
    reasons: list[str | None] = []
    repeats, ids, stay = Repeats(), [], []
    for block, judged in _judged(corpus, limits, workers):
        found = [reason or blind.get(row["id"]) for row, reason in zip(block, judged)]
        if support is not None:
            found = support.reasons(block, found)
        for row, reason in zip(block, found):
            if reason is None:
                asked = " ".join([row["question"], *(row["choices"] or ())])  # with options it is another question
                repeats.add(row["image"], asked, row["answers"][0])
                ids.append(row["id"])
                stay.append(len(reasons))
            reasons.append(reason)
    details = {}
    for place, earlier in repeats.find().items():
        reasons[stay[place]] = REPEAT
        details[stay[place]] = f"of {ids[earlier]}"
    return reasons, details


def _judged(corpus: Corpus, limits: Limits, workers: int) -> Iterator[tuple[list[dict[str, Any]], list[str | None]]]:
    blocks = _blocks(
        corpus,
        [
            "id",
            "image",
            "question",
            "answers",
            "choices",
            "kind",
            "topic",
            "origin",
            "evidence",
            "modality",
            "plane",
            "region",
            "findings",
            "extra",
        ],
    )
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else nullcontext() as pool:
        while some := list(islice(blocks, 4 * workers)):
            pairs = [([pair_of(row) for row in block], limits) for block in some]
            judged: Iterable[list[str | None]] = pool.map(_judge_all, pairs) if pool else map(_judge_all, pairs)
            yield from zip(some, judged)


def _judge_all(given: tuple[list[Pair], Limits]) -> list[str | None]:
    pairs, limits = given
    return [judge(pair, limits) for pair in pairs]


def _blocks(corpus: Corpus, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    with pq.ParquetFile(corpus.folder / "questions.parquet") as file:
        for batch in file.iter_batches(batch_size=BLOCK, columns=columns):
            yield batch.to_pylist()


def _write(corpus: Corpus, folder: Path, reasons: list[str | None], details: dict[int, str]) -> dict[str, Any]:
    """questions.parquet and dropped.parquet, batch by batch; returns the card."""
    names = ("split", "kind", "topic", "modality", "plane", "region", "language", "origin")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    images: set[str] = set()
    place = 0
    with (
        pq.ParquetFile(corpus.folder / "questions.parquet") as file,
        pq.ParquetWriter(folder / "questions.parquet", SCHEMA, compression="zstd") as kept,
        pq.ParquetWriter(folder / "dropped.parquet", DROPPED, compression="zstd") as dropped,
    ):
        for batch in file.iter_batches(batch_size=BLOCK):
            some = reasons[place : place + len(batch)]
            table = pa.Table.from_batches([batch]).cast(SCHEMA)
            good = table.filter(pa.array([reason is None for reason in some]))
            bad = table.append_column("reason", pa.array(some, pa.string()))
            bad = bad.append_column("detail", pa.array([details.get(place + k) for k in range(len(some))], pa.string()))
            kept.write_table(good)
            dropped.write_table(bad.filter(pa.array([reason is not None for reason in some])))
            for name in names:
                counts[name].update(value or "unknown" for value in good.column(name).to_pylist())
            images.update(key for key in good.column("image").to_pylist() if key)
            place += len(batch)
    total = Counter(reason for reason in reasons if reason)
    return {
        **corpus.card,
        "num_questions": place - sum(total.values()),
        "num_images": len(images),
        "counts": {name: dict(counter.most_common()) for name, counter in counts.items()},
        "dropped": {**corpus.card.get("dropped", {}), **dict(total.most_common())},
    }


def examples(folder: Path, number: int = 10) -> list[tuple[str, int, pl.DataFrame]]:
    """(reason, how many, up to `number` of them drawn by a fixed seed) of a filtered corpus, the commonest first."""
    file = folder / "dropped.parquet"
    if not file.is_file():
        raise InputError("nothing was filtered here", file=file, fix="make it with `radvqa filter CORPUS --out OUT`")
    frame = pl.read_parquet(file, columns=["id", "question", "answers", "reason", "detail"])
    groups = [(str(name[0]), some) for name, some in frame.group_by("reason")]
    groups.sort(key=lambda group: (-len(group[1]), group[0]))
    return [(reason, len(some), some.sort("id").sample(min(number, len(some)), seed=0)) for reason, some in groups]
