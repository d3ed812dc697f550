"""Two runs, question by question: where they differ, and whether by more than chance.

In: two Rows that answered the same questions. Out: a Comparison, written as differences.csv, compare.json and
compare.html with the pictures.

    found = compare_rows(*read_rows(["runs/demo:stage1", "runs/demo:stage2"])); found.counts["only b"]

Which score says right or wrong depends on the question's kind: SCORE_OF. An open answer counts as better where its score
is higher.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.ablation.formats import html_table, page
from radvqa.ablation.rows import Row
from radvqa.ablation.table import BY, Table, make_table, title
from radvqa.errors import InputError
from radvqa.sample import Corpus
from radvqa.score.paired import holm, permutation_test
from radvqa.stage import path_hash, writing
from radvqa.tree import one_of

SCORE_OF = {"closed": "closed_accuracy", "choice": "closed_accuracy", "open": "token_f1"}
SHOWN = 60
"""Questions on the page; all are in differences.csv."""
MIN_SLICE = 10
EQUAL = 1e-9
OUTCOMES = ("same score", "b better", "a better", "unscored")


@dataclass(frozen=True)
class Comparison:
    """What two runs did with each question."""

    a: Row
    b: Row
    questions: pl.DataFrame
    """A row a question: id, what was asked, answer_a, answer_b, score_a, score_b, metric, outcome, difference."""
    table: Table
    """Both runs in every usual metric, tested against a."""
    slices: list[dict[str, Any]]
    """Where they differ most: slices by one column, b minus a, p after Holm over all slices of at least MIN_SLICE."""
    num_left_out: int
    """Questions that only one of the two answered."""

    @property
    def counts(self) -> dict[str, int]:
        """How many questions came out which way, and how many answers are worded differently."""
        found = {name: int((self.questions["outcome"] == name).sum()) for name in OUTCOMES}
        other = self.questions["answer_a"].fill_null("") != self.questions["answer_b"].fill_null("")
        return found | {"other words": int(other.sum()), "n": len(self.questions)}


def compare_rows(a: Row, b: Row, *, metric: str | None = None, draws: int = 2000, seed: int = 0) -> Comparison:
    """Compare two runs on the questions that both answered.

    metric: one score for all kinds. Raises InputError where they have no question in common, ask different questions
    under one id, or did not compute the metric.
    """
    questions, left_out = _together(a, b)
    names = [metric or SCORE_OF[kind] for kind in questions["kind"]]
    for row in (a, b):
        for name in sorted({*names} - {*row.metrics}):
            raise InputError(f"{row.name} has no {name}", key="--metric", fix=one_of(name, row.metrics))
    scores = {side: _scores(row, names, questions) for side, row in (("a", a), ("b", b))}
    difference = scores["b"] - scores["a"]
    sides = [np.isnan(difference), difference > EQUAL, difference < -EQUAL]
    outcome = np.select(sides, ["unscored", "b better", "a better"], "same score")
    questions = questions.with_columns(
        metric=pl.Series(names),
        score_a=pl.Series(scores["a"], nan_to_null=True),
        score_b=pl.Series(scores["b"], nan_to_null=True),
        difference=pl.Series(difference, nan_to_null=True),
        outcome=pl.Series(outcome),
    )
    table = make_table([a, b], metrics=[metric] if metric else (), reference=a.name, draws=draws, seed=seed)
    return Comparison(a, b, questions, table, _slices(questions, difference, seed), left_out)


def _together(a: Row, b: Row) -> tuple[pl.DataFrame, int]:
    for row in (a, b):
        if row.answers.is_empty():
            raise InputError("its answers are not here", file=row.folder, fix="give a run folder, with predictions/")
    left, right = a.answers.select("id", "answer", "question"), b.answers.select("id", "answer", "question")
    both = a.questions.join(left.select("id", pl.col("answer").alias("answer_a")), on="id")
    both = both.join(right.rename({"answer": "answer_b", "question": "other"}), on="id")
    if both.is_empty():
        raise InputError(f"{a.name} and {b.name} have no question in common", fix="compare runs over the same corpus")
    wrong = both.filter(pl.col("question") != pl.col("other"))
    if len(wrong):
        raise InputError("the two runs ask different questions under this id", row=wrong["id"][0])
    return both.drop("other").sort("id"), len(left) + len(right) - 2 * len(both)


def _scores(row: Row, names: Sequence[str], questions: pl.DataFrame) -> np.ndarray:
    ids = questions["id"].to_list()
    found = {name: row.values(name, "none", ids) for name in set(names)}
    return np.array([found[name][place] for place, name in enumerate(names)])


def _slices(questions: pl.DataFrame, difference: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Rows sorted by p; every column with more than one value."""
    clusters = questions["cluster"].to_numpy()
    rows: list[dict[str, Any]] = []
    for column in BY:
        if column not in questions.columns or questions[column].n_unique() < 2:
            continue
        values = questions[column].fill_null("unknown")
        for value in sorted(values.unique()):
            mask = (values == value).to_numpy()
            test = permutation_test(difference[mask], clusters[mask], seed=seed)
            if test.n >= MIN_SLICE:
                rows.append({"slice": {column: value}, "n": test.n, "difference": test.difference, "p": test.p})
    for row, p in zip(rows, holm([float(row["p"]) for row in rows])):
        row["p_holm"] = p
    return sorted(rows, key=lambda row: (row["p"], -abs(row["difference"])))


# ---------------------------------------------------------------- on disk


def write_comparison(found: Comparison, out: str | Path) -> None:
    """differences.csv (a line a question, those that differ first), compare.json and compare.html in the folder `out`."""
    rows = (found.a, found.b)
    inputs = {f"{row.folder}:{row.stage}": path_hash(row.scored / "scores.parquet") for row in rows}
    with writing(Path(out), {"a": found.a.name, "b": found.b.name}, inputs) as partial:
        ordered(found).with_columns(pl.col("answers").list.join(" | ")).write_csv(partial / "differences.csv")
        (partial / "compare.json").write_text(json.dumps(as_json(found), indent=1, ensure_ascii=False) + "\n")
        (partial / "compare.html").write_text(as_page(found), encoding="utf-8")


def ordered(found: Comparison) -> pl.DataFrame:
    """The questions, those whose scores differ most first."""
    size = pl.col("difference").abs().fill_null(-1.0)
    return found.questions.sort(size, "id", descending=[True, False]).drop("cluster")


def as_json(found: Comparison) -> dict[str, Any]:
    """What compare.json holds."""
    from radvqa.ablation.table import asdict_of

    names = {side: {"name": row.name, "folder": str(row.folder), "stage": row.stage} for side, row in _sides(found)}
    return {**names, "counts": found.counts, "num_left_out": found.num_left_out, "slices": found.slices} | {
        "table": asdict_of(found.table)
    }


def _sides(found: Comparison) -> list[tuple[str, Row]]:
    return [("a", found.a), ("b", found.b)]


def said(found: Comparison) -> list[str]:
    """The comparison in a few lines."""
    counts, a, b = found.counts, found.a.name, found.b.name
    lines = [f"{counts['n']:,} questions answered by both"]
    lines += [f"{found.num_left_out:,} answered by one of them only are left out"] if found.num_left_out else []
    lines.append(
        f"better by {b}: {counts['b better']:,}; better by {a}: {counts['a better']:,}; same score: {counts['same score']:,}"
    )
    lines += [f"unscored in one of them: {counts['unscored']:,}"] if counts["unscored"] else []
    lines.append(f"worded differently: {counts['other words']:,}")
    for cell in found.table.tests:
        one = cell.difference
        assert one is not None
        p_holm = f"p {'< 0.001' if one.p_holm < 0.001 else f'= {one.p_holm:.3f}'} after Holm"
        lines.append(f"{title(cell.metric)}: {b} minus {a} {one.value:+.3f}, {p_holm}")
    return lines


# ---------------------------------------------------------------- the page


def as_page(found: Comparison) -> str:
    """The page: how many, in which slices, and the questions with their pictures."""
    a, b = found.a.name, found.b.name
    body = [f"<p>{escape(line)}</p>" for line in said(found)]
    body.append("<h2>Where</h2>")
    rows = [
        [_where(row["slice"]), f"{row['n']:,}", f"{row['difference']:+.3f}", f"{row['p']:.3f}", f"{row['p_holm']:.3f}"]
        for row in found.slices
    ]
    body.append(html_table(["slice", "n", f"{b} minus {a}", "p", "p (Holm)"], rows))
    differing = ordered(found).filter(pl.col("outcome").is_in(["b better", "a better"]))
    shown = _mixed(differing)
    body.append(f"<h2>Questions</h2><p class='note'>{len(shown)} of {len(differing):,} whose scores differ</p>")
    pictures = Pictures([found.a.folder, found.b.folder])
    body += [_question(row, a, b, pictures) for row in shown.iter_rows(named=True)]
    return page(f"{b} against {a}", body)


def _where(part: dict[str, str]) -> str:
    return " ".join(f"{column}: {value}" for column, value in part.items())


def _mixed(differing: pl.DataFrame) -> pl.DataFrame:
    """Up to SHOWN questions, half of them better in either run as far as there are so many."""
    better = [differing.filter(pl.col("outcome") == name) for name in ("b better", "a better")]
    half = max(SHOWN // 2, SHOWN - min(len(frame) for frame in better))
    return pl.concat([frame.head(min(half, SHOWN)) for frame in better]).head(SHOWN)


def _question(row: dict[str, Any], a: str, b: str, pictures: Pictures) -> str:
    def answer(name: str, side: str) -> str:
        text, score = row[f"answer_{side}"], row[f"score_{side}"]
        return f"<dt>{escape(name)} ({score:.2f})</dt><dd>{escape(text if text is not None else '(none)')}</dd>"

    image = pictures.uri(row.get("image"))
    picture = f'<img src="{image}" alt="" loading="lazy">' if image else ""
    tags = ", ".join(str(row[name]) for name in ("kind", *BY[1:]) if row.get(name))
    return (
        f'<section class="question">{picture}<div><b>{escape(row["question"])}</b>'
        f"<dl><dt>reference</dt><dd>{escape(' | '.join(row['answers'] or ()))}</dd>{answer(a, 'a')}{answer(b, 'b')}</dl>"
        f'<p class="note">{escape(row["id"])}: {escape(tags)}</p></div></section>'
    )


class Pictures:
    """Thumbnails out of the corpora of run folders; none where a run keeps no corpora."""

    def __init__(self, folders: Sequence[Path]) -> None:
        cards = [card for folder in folders for card in sorted(folder.glob("corpora/*/card.json"))]
        self.corpora = [Corpus(card.parent) for card in cards]
        self.keys = {corpus.folder: set(corpus.image_keys()) for corpus in self.corpora}

    def uri(self, image: str | None) -> str | None:
        """A picture as a data URI."""
        from radvqa.report.pictures import thumbnail

        for corpus in self.corpora if image else ():
            if image in self.keys[corpus.folder]:
                return thumbnail(corpus.image(str(image)), most_px=160).uri
        return None
