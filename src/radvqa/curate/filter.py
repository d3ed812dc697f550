"""The good pairs of a corpus and, with a reason each, the others.

In: a corpus folder. Out: another one with the pairs that stay, and dropped.parquet beside its questions: the same columns
with reason and detail. Nothing disappears: kept and dropped are all there were.

    filter_corpus(Corpus("corpora/medpix"), Path("corpora/medpix-good"), limits=Limits(), blind=[])

The pairs are judged one by one (checks.py), then, where predictions of a model that did not see the pictures are given, by
whether it was right all the same, then against each other (repeats.py). The questions are read twice and never held; what
has to be known of them in between lies in a scratch folder beside the output. Memory grows by 5 bytes a pair.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from radvqa.calls import Calls
from radvqa.curate.checks import CHECKS, Limits, Pair
from radvqa.curate.repeats import Repeats, Stored
from radvqa.curate.sketches import Sketches, sketch
from radvqa.errors import InputError
from radvqa.sample import SCHEMA, Corpus, CorpusWriter
from radvqa.stage import link

REPEAT = "repeats an earlier pair"
EASY = "answered without the picture"
IRRELEVANT = "the picture makes no difference"
UNSUPPORTED = "a language model finds no support for the answer"
NO_EVIDENCE = ("prompt", "before", "history", "exam", "age", "sex", "indication", "clinical_history")
"""Texts of `extra` that a model wrote, or that tell of the patient what no picture shows."""
REASONS: list[str | None] = [None, *(check.reason for check in CHECKS), EASY, IRRELEVANT, UNSUPPORTED, REPEAT]
STAYS = 0
"""The place of None in REASONS."""
JUDGED_BY = [name for name in SCHEMA.names if name not in ("split", "source", "subject", "language", "boxes", "mask")]
DROPPED = pa.schema([*SCHEMA, ("reason", pa.string()), ("detail", pa.string())])
BLOCK = 1024
Progress = Callable[[int], None]


def pair_of(row: dict[str, Any]) -> Pair:
    """A row of questions.parquet as the checks see it: the evidence is the caption with tags and texts of the case."""
    answer, evidence = row["answers"][0], row["evidence"] or ""
    caption = bool(evidence) and answer == evidence
    known = [evidence, *(row[name] or "" for name in ("modality", "plane", "region")), *(row["findings"] or ())]
    extra = json.loads(row["extra"] or "{}")
    known += [value for name, value in extra.items() if isinstance(value, str) and name not in NO_EVIDENCE]
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
    right = easy(blind)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with TemporaryDirectory(prefix="scratch-", dir=partial) as scratch, Kept(Path(scratch)) as kept:
            for block, judged in _judged(corpus, limits, workers):
                kept.add(*_with_models(block, judged, right, support))
            card = _write(corpus, partial, kept)
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
    return kept.counts


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


# ---------------------------------------------------------------- first reading: judge


@dataclass(frozen=True)
class Judged:
    """What a worker says of a block."""

    reasons: NDArray[np.uint8]
    """uint8[N]: the place of the reason in REASONS."""
    sketches: Sketches


def _judged(corpus: Corpus, limits: Limits, workers: int) -> Iterator[tuple[pa.RecordBatch, Judged]]:
    """Blocks in order, each judged; a few of them are under way at a time."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else nullcontext() as pool:
        waiting: deque[tuple[pa.RecordBatch, Future[Judged]]] = deque()
        for block in corpus.batches(BLOCK, JUDGED_BY):
            if pool is None:
                yield block, judge_block(block.serialize(), block.schema, limits)
                continue
            waiting.append((block, pool.submit(judge_block, block.serialize(), block.schema, limits)))
            if len(waiting) > 2 * workers:
                first, judged = waiting.popleft()
                yield first, judged.result()
        for first, judged in waiting:
            yield first, judged.result()


def judge_block(data: pa.Buffer, schema: pa.Schema, limits: Limits) -> Judged:
    """Reasons and sketches of a serialized block (a slice would be sent with all that it is a slice of)."""
    rows = pa.ipc.read_record_batch(data, schema).to_pylist()
    reasons = np.array([REASONS.index(judge(pair_of(row), limits)) for row in rows], np.uint8)
    sketches = sketch(
        # with options it is another question
        (row["image"], " ".join([row["question"], *(row["choices"] or ())]), row["answers"][0])
        if stays
        else (None, "", "")
        for row, stays in zip(rows, reasons == STAYS)
    )
    return Judged(reasons, sketches)


def _with_models(
    block: pa.RecordBatch, judged: Judged, right: dict[str, str], support: Support | None
) -> tuple[list[str], Judged]:
    """The ids of a block, and the verdicts with those of models on what the checks leave."""
    ids, reasons = block.column("id").to_pylist(), judged.reasons
    for place in np.flatnonzero(reasons == STAYS) if right else ():
        reasons[place] = REASONS.index(right.get(ids[place]))
    if support is not None:
        before = [REASONS[reason] for reason in reasons]
        reasons[:] = [REASONS.index(reason) for reason in support.reasons(block.to_pylist(), before)]
    judged.sketches.forget(reasons != STAYS)
    return ids, judged


class Kept:
    """What the first reading leaves for the second, in a folder; in memory a byte a pair and what the repeats need."""

    def __init__(self, folder: Path) -> None:
        self.reasons, self._ids, self._repeats = bytearray(), Stored(folder / "ids", np.uint8), Repeats(folder)
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._ids.close()
        self._repeats.close()

    def add(self, ids: list[str], judged: Judged) -> None:
        self.reasons += judged.reasons.tobytes()
        names = [name.encode() for name in ids]
        self._ids.add(np.frombuffer(b"".join(names), np.uint8), np.array([len(name) for name in names], np.int64))
        self._repeats.add(judged.sketches)

    def find(self) -> tuple[NDArray[np.uint8], NDArray[np.int32], int]:
        """uint8[N] reasons, int32[N] the earlier pair that a repeat repeats or -1, and the number of pictures left."""
        reasons, earlier = np.frombuffer(self.reasons, np.uint8), self._repeats.find()
        reasons[earlier >= 0] = REASONS.index(REPEAT)
        numbers = np.bincount(reasons, minlength=len(REASONS)).tolist()
        self.counts.update({name: n for name, n in zip(REASONS, numbers) if name and n})
        return reasons, earlier, self._repeats.num_images(reasons == STAYS)

    def id(self, place: int) -> str:
        return self._ids[place].tobytes().decode()


# ---------------------------------------------------------------- second reading: write


def _write(corpus: Corpus, folder: Path, kept: Kept) -> dict[str, Any]:
    """questions.parquet and dropped.parquet, batch by batch; returns the card."""
    names = ("split", "kind", "topic", "modality", "plane", "region", "language", "origin")
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    reasons, earlier, num_images = kept.find()
    place = 0
    with (
        pq.ParquetWriter(folder / "questions.parquet", SCHEMA, compression="zstd") as good_ones,
        pq.ParquetWriter(folder / "dropped.parquet", DROPPED, compression="zstd") as dropped,
    ):
        for batch in corpus.batches(CorpusWriter.ROWS):
            here = slice(place, place + len(batch))
            stays = pa.array(reasons[here] == STAYS)
            table = pa.Table.from_batches([batch]).cast(SCHEMA)
            good = table.filter(stays)
            details = [f"of {kept.id(before)}" if before >= 0 else None for before in earlier[here].tolist()]
            bad = table.append_column("reason", pa.array([REASONS[reason] for reason in reasons[here]], pa.string()))
            bad = bad.append_column("detail", pa.array(details, pa.string()))
            good_ones.write_table(good)
            dropped.write_table(bad.filter(pc.invert(stays)))
            for name in names:
                counts[name].update(value or "unknown" for value in good.column(name).to_pylist())
            place += len(batch)
    return {
        **corpus.card,
        "num_questions": place - kept.counts.total(),
        "num_images": num_images,
        "counts": {name: dict(counter.most_common()) for name, counter in counts.items()},
        "dropped": {**corpus.card.get("dropped", {}), **dict(kept.counts.most_common())},
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
