"""What is wrong with each pair by itself, a block of a corpus at a time.

In: rows of questions.parquet. Out: for each the place of its reason in REASONS, and the sketch by which repeats are found.

    for block, judged in judged_blocks(Corpus("corpora/medpix"), Limits(), workers=2): print((judged.reasons == STAYS).mean())

The checks see one pair with its evidence (checks.py). What compares pairs is in repeats.py, what asks models in support.py.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from radvqa.curate.checks import CHECKS, Limits, Pair
from radvqa.curate.sketches import Sketches, sketch
from radvqa.curate.support import CONTRADICTED, UNSUPPORTED
from radvqa.errors import InputError
from radvqa.sample import SCHEMA, Corpus

EASY = "answered without the picture"
IRRELEVANT = "the picture makes no difference"
REPEAT = "repeats an earlier pair"
REASONS: list[str | None] = [
    None, *(check.reason for check in CHECKS), EASY, IRRELEVANT, CONTRADICTED, UNSUPPORTED, REPEAT,
]  # fmt: skip
STAYS = 0
"""The place of None in REASONS."""
NO_EVIDENCE = ("prompt", "before", "history", "exam", "age", "sex", "indication", "clinical_history")
"""Texts of `extra` that a model wrote, or that tell of the patient what no picture shows."""
COLUMNS = [name for name in SCHEMA.names if name not in ("split", "source", "subject", "language", "boxes", "mask")]
BLOCK = 1024


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
        try:
            frame = pl.read_parquet(file, columns=["id", "answers", "answer", "control"])
        except pl.exceptions.PolarsError as error:
            found = f"no predictions ({str(error).splitlines()[0]})"
            raise InputError(found, file=file, key="blind", fix="give a predictions.parquet") from error
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


@dataclass(frozen=True)
class Judged:
    """What a worker says of a block."""

    reasons: NDArray[np.uint8]
    """uint8[N]: the place of the reason in REASONS."""
    sketches: Sketches


def judged_blocks(corpus: Corpus, limits: Limits, workers: int = 1) -> Iterator[tuple[pa.RecordBatch, Judged]]:
    """Blocks in order, each judged; a few of them are under way at a time."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else nullcontext() as pool:
        waiting: deque[tuple[pa.RecordBatch, Future[Judged]]] = deque()
        for block in corpus.batches(BLOCK, COLUMNS):
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
