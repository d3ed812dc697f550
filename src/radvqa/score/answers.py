"""Answers of any model, matched to their questions: what the score room reads in place of predictions.

In: a file of answers, and the corpus whose questions they answer (or references beside the answers). Out: predictions
in the schema of predictions.parquet, and the ids that found no partner.

    answers = read_answers("answers.jsonl", corpora=["corpora/vqa_rad"])
    score_answers([answers], "scores/")

LLaVA-Med's answer files are read as they are: their `question_id` is the 0-based row of the public VQA-RAD file, which
is the number in the ids of the `vqa_rad` corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from radvqa.errors import InputError
from radvqa.predictions import ABOUT
from radvqa.sample import Corpus
from radvqa.score.answer_files import Record, read_records
from radvqa.score.scores import prediction_files, train_answers, write_tables
from radvqa.score.text import normalise
from radvqa.stage import path_hash
from radvqa.tables import read_table

LISTED = 1000
"""Ids without a partner are listed up to so many; all are counted."""


@dataclass(frozen=True)
class Answers:
    """Answers with their questions."""

    predictions: pl.DataFrame
    """A row a question; a question nobody answered has a null answer and will be unscored."""
    unmatched: list[str]
    """Ids in the file that are no question of the corpus."""
    unanswered: list[str]
    """Questions of the corpus that the file does not answer."""
    file: Path


def read_answers(
    path: str | Path,
    corpora: Sequence[str | Path] = (),
    *,
    name: str = "model",
    control: str = "none",
    split: str = "test",
) -> Answers:
    """Read a file of answers and match it to the questions of one split of corpora.

    Ids match whole, or else by the part after the last "-" of the corpus's ids where that is unambiguous (10 is
    vqa_rad-10). Where the file repeats the question, it must hold the corpus's question: a file numbered in another
    order is refused instead of scored. Without corpora every row needs a reference. name, control: the arm and control
    these answers are scored as.
    """
    file = Path(path)
    records = read_records(file)
    unmatched: list[str] = []
    unanswered: list[str] = []
    if corpora:
        questions = pl.concat([_questions(folder, split) for folder in corpora])
        frame, unmatched, unanswered = _matched(records, questions, file)
    else:
        frame = _side_by_side(records, file)
    run = {"arm": pl.lit(name), "control": pl.lit(control)}
    return Answers(frame.with_columns(**run), unmatched, unanswered, file)


def _questions(corpus: str | Path, split: str) -> pl.DataFrame:
    questions = Corpus(corpus).table.filter(pl.col("split") == split).select(ABOUT)
    if questions.is_empty():
        raise InputError(f"the corpus has no split {split!r}", file=corpus, key="split")
    return questions


def score_answers(
    answers: Sequence[Answers],
    out: str | Path,
    *,
    predictions: Sequence[str | Path] = (),
    corpora: Sequence[str | Path] = (),
    metrics: Sequence[str] | None = None,
    cluster: str = "image",
    num_draws: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """Score one or several files of answers together and write the folder `out`, like `write_scores`.

    scores.json also says under "answers", for each file, how many ids matched and which did not. predictions: radvqa's
    own, scored and compared with them. corpora: folders whose train split teaches the majority answer. Returns the
    content of scores.json.
    """
    own = prediction_files(predictions)
    frames = [*map(read_table, own), *(one.predictions for one in answers)]
    frame = pl.concat(frames, how="diagonal_relaxed")
    inputs = {str(file): path_hash(file) for file in (*own, *(one.file for one in answers))}
    inputs |= {str(folder): path_hash(Path(folder) / "questions.parquet") for folder in corpora}
    return write_tables(
        frame,
        train_answers(corpora),
        out,
        inputs,
        metrics=metrics,
        cluster=cluster,
        num_draws=num_draws,
        seed=seed,
        more={"answers": [_account(one) for one in answers]},
        warnings=[line for one in answers for line in _warnings(one)],
    )


def _account(answers: Answers) -> dict[str, Any]:
    runs = answers.predictions.row(0, named=True)
    return {
        "file": str(answers.file),
        "arm": runs["arm"],
        "control": runs["control"],
        "num_matched": len(answers.predictions) - len(answers.unanswered),
        "num_unmatched": len(answers.unmatched),
        "num_unanswered": len(answers.unanswered),
        "unmatched": answers.unmatched[:LISTED],
        "unanswered": answers.unanswered[:LISTED],
    }


def _warnings(answers: Answers) -> list[str]:
    found = []
    for ids, words in (
        (answers.unmatched, "answers match no question of the corpus"),
        (answers.unanswered, "questions of the corpus have no answer and are unscored"),
    ):
        if ids:
            some = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
            found.append(f"{answers.file.name}: {len(ids)} {words} ({some})")
    return found


# ---------------------------------------------------------------- with a corpus


def _matched(
    records: Sequence[Record], questions: pl.DataFrame, file: Path
) -> tuple[pl.DataFrame, list[str], list[str]]:
    asked = dict(zip(questions["id"], questions["question"]))
    short: dict[str, list[str]] = {}
    for name in asked:
        short.setdefault(name.rpartition("-")[2], []).append(name)
    given: dict[str, str | None] = {}
    unmatched = []
    for record in records:
        names = [record.id] if record.id in asked else short.get(record.id, [])
        if len(names) != 1:
            unmatched.append(record.id)
            continue
        _check_question(record, names[0], asked[names[0]], file)
        if names[0] in given:
            raise InputError(f"a second answer to {names[0]}", file=file, row=record.row, key="id")
        given[names[0]] = record.answer
    if not given:
        fix = f"its ids look like {records[0].id!r}, the corpus's like {questions['id'][0]!r}"
        raise InputError("no answer matches a question of the corpus", file=file, key="id", fix=fix)
    column = pl.Series("answer", [given.get(name) for name in questions["id"]], dtype=pl.String)
    return questions.with_columns(column), unmatched, [name for name in asked if name not in given]


def _check_question(record: Record, name: str, question: str, file: Path) -> None:
    """A prompt may say more than the question, but the question must be in it."""
    if record.question is not None and normalise(question) not in normalise(record.question):
        found = f"this row asks {record.question!r}, but {name} asks {question!r}"
        raise InputError(found, file=file, row=record.row, key="id", fix="number the answers as the corpus does")


# ---------------------------------------------------------------- without one


def _side_by_side(records: Sequence[Record], file: Path) -> pl.DataFrame:
    rows = []
    for record in records:
        if not record.references:
            fix = "name the corpus these answers belong to, or put a reference beside each prediction"
            raise InputError("no reference in this row", file=file, row=record.row, fix=fix)
        rows.append(
            {
                "id": record.id,
                "image": record.image,
                "kind": record.kind,
                "question": record.question or "",
                "answers": list(record.references),
                "choices": list(record.choices),
                "answer": record.answer,
            }
        )
    texts = {name: pl.String for name in ("id", "image", "kind", "question", "answer")}
    return pl.DataFrame(rows, schema_overrides=texts | {name: pl.List(pl.String) for name in ("answers", "choices")})
