"""Leakage: what the questions of one side share with those of the other, so that no answer is learned by heart.

In: two corpora, or the training and the test questions of a run. Out: a table of pairs, a row each,

    reason          pixels   the same pixels
                    picture  the same picture at another scale, crop, contrast or JPEG quality
                    id       the same image id (synpicNNNNN in VQA-RAD, VQA-Med and MedPix is one archive)
                    subject  the same patient or case of one data set
                    caption  near-equal evidence: captions or reports of at least 8 words
                    text     near-equal question and answer of at least 8 words
    score           1.0, or how near
    left_image, left_sample, left_questions     key of the picture, id of its first question, how many questions
    right_image, right_sample, right_questions
    detail          the id or the subject, how much of either picture the other shows, or the two texts

    print(summary(leakage(Corpus("corpora/vqa_rad"), Corpus("corpora/medpix"), use_ids=False)))
    pairs, dropped = enforce([(corpus, train)], [(corpus, test)], "drop")
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import polars as pl

from radvqa.curate.duplicates import Album, same_pictures
from radvqa.curate.texts import near_texts
from radvqa.errors import InputError
from radvqa.sample import Corpus, Sample

Side = Sequence[tuple[Corpus, Sequence[Sample]]]
Policy = Literal["drop", "report", "refuse"]
REASONS = ("pixels", "picture", "id", "subject", "caption", "text")
LEAKS = ("pixels", "picture", "id", "subject")
"""Reasons for which a training question is dropped, or a run refused; near texts are only reported."""
SCHEMA = {
    "reason": pl.String,
    "score": pl.Float64,
    "left_image": pl.String,
    "left_sample": pl.String,
    "left_questions": pl.Int64,
    "right_image": pl.String,
    "right_sample": pl.String,
    "right_questions": pl.Int64,
    "detail": pl.String,
}
ARCHIVES = {"medpix": re.compile(r"synpic0*(\d+)", re.IGNORECASE)}
"""Image ids that are the same across data sets."""
NAME_KEYS = ("image_name", "img_name", "image_path", "dicom_id")


def leakage(
    a: Corpus,
    b: Corpus,
    *,
    where: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {}),
    use_ids: bool = True,
    pictures: bool = True,
    texts: bool = True,
) -> pl.DataFrame:
    """What the questions of `a` share with those of `b`.

    `where` keeps on either side the questions whose fields have these values, e.g. ({"split": "test"}, {}).
    `use_ids=False` leaves out image ids and subjects, `pictures=False` the comparison of pixels that are not equal,
    `texts=False` captions and texts. Within one corpus give two values that exclude each other; for doubles inside a
    split, see `radvqa.curate.duplicates`.
    """
    left, right = ([(corpus, list(corpus.samples(**some)))] for corpus, some in ((a, where[0]), (b, where[1])))
    for side, some in ((left, where[0]), (right, where[1])):
        if not side[0][1]:
            raise InputError(f"no questions with {dict(some)}", file=side[0][0].folder, key="where")
    if a.folder.resolve() == b.folder.resolve() and {s.id for s in left[0][1]} & {s.id for s in right[0][1]}:
        fix = "give two different splits of it, or two corpora"
        raise InputError("questions compared with themselves", file=a.folder, key="where", fix=fix)
    return table(shared(left, right, use_ids=use_ids, pictures=pictures, texts=texts))


@dataclass(frozen=True)
class Pair:
    """Questions of the left and of the right side that share something, and what."""

    reason: str
    score: float
    left: Sequence[Sample]
    right: Sequence[Sample]
    detail: str = ""

    def row(self) -> tuple[Any, ...]:
        """As a row of SCHEMA."""
        a, b = self.left[0], self.right[0]
        sides = (a.image, a.id, len(self.left), b.image, b.id, len(self.right))
        return self.reason, round(self.score, 4), *sides, self.detail


def shared(left: Side, right: Side, *, use_ids: bool = True, pictures: bool = True, texts: bool = True) -> list[Pair]:
    """What two sides share; a side is questions, corpus by corpus."""
    pairs = _by_pixels(left, right)
    if pictures:
        pairs += _by_picture(left, right)
    if use_ids:
        pairs += _by_name(left, right, "id", _image_ids) + _by_name(left, right, "subject", _subjects)
    if texts:
        pairs += _by_text(left, right, "caption", lambda sample: sample.evidence or "")
        pairs += _by_text(left, right, "text", lambda sample: " ".join((sample.question, *sample.answers)))
    return pairs


def table(pairs: Sequence[Pair]) -> pl.DataFrame:
    """The pairs as a table, reason by reason, the nearest first."""
    frame = pl.DataFrame([pair.row() for pair in pairs], schema=SCHEMA, orient="row")
    return frame.sort(pl.col("reason").cast(pl.Enum(REASONS)), -pl.col("score"), "left_sample", "right_sample")


def enforce(train: Side, test: Side, policy: Policy) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs that training and test questions share, and the training questions (corpus, id, reason) a run drops.

    "drop" drops every training question that shares something for one of LEAKS with a test question, "report" none,
    "refuse" raises InputError if there is any.
    """
    pairs = shared(train, test)
    leaks = [pair for pair in pairs if pair.reason in LEAKS]
    if policy == "refuse" and leaks:
        fix = "leave them out of training (leakage: drop), or train on them knowingly (leakage: report); to see them: "
        fix += "radvqa leakage CORPUS CORPUS --where-a split=train --where-b split=test"
        raise InputError(f"training and test questions share {summary(table(leaks))}", key="leakage", fix=fix)
    leaking: dict[int, str] = {}
    for pair in leaks if policy == "drop" else ():
        for sample in pair.left:
            leaking.setdefault(id(sample), pair.reason)
    rows = [
        (corpus.folder.name, s.id, leaking[id(s)]) for corpus, samples in train for s in samples if id(s) in leaking
    ]
    schema = {"corpus": pl.String, "id": pl.String, "reason": pl.String}
    return table(pairs), pl.DataFrame(rows, schema=schema, orient="row")


def summary(pairs: pl.DataFrame) -> str:
    """How many pairs there are, in one line."""
    counts = Counter(pairs["reason"].to_list())
    return ", ".join(f"{counts[reason]:,} by {reason}" for reason in REASONS if counts[reason]) or "nothing"


# ---------------------------------------------------------------- the reasons


def _by_image(side: Side) -> dict[str, list[Sample]]:
    return _grouped(side, lambda sample: [sample.image] if sample.image is not None else [])


def _by_pixels(left: Side, right: Side) -> list[Pair]:
    own, other = _by_image(left), _by_image(right)
    return [Pair("pixels", 1.0, own[key], other[key]) for key in own if key in other]


def _by_picture(left: Side, right: Side) -> list[Pair]:
    left, right = _photographed(left), _photographed(right)
    own, other = _by_image(left), _by_image(right)
    found = []
    for pair in same_pictures(_album(left), _album(right)):
        a, b = pair.match.cover
        detail = f"{a:.0%} of the left picture and {b:.0%} of the right one"
        found.append(Pair("picture", pair.match.score, own[pair.left], other[pair.right], detail))
    return found


def _photographed(side: Side) -> Side:
    """Without phantoms: bodies that are drawn alike are no copies of each other, and pixels tell which are."""
    return [(corpus, [s for s in samples if s.source != "phantom"]) for corpus, samples in side]


def _album(side: Side) -> Album:
    return Album([(corpus, [s.image for s in samples if s.image is not None]) for corpus, samples in side])


def _image_ids(sample: Sample) -> set[str]:
    """The picture's names: in the archive it comes from, and in its data set."""
    names = [str(sample.extra[key]) for key in NAME_KEYS if sample.extra.get(key)]
    found = {f"{sample.source}:{PurePosixPath(name).with_suffix('')}" for name in names if name.strip("./")}
    for archive, pattern in ARCHIVES.items():
        found |= {f"{archive}:{number}" for name in names for number in pattern.findall(name)}
    return found


def _subjects(sample: Sample) -> set[str]:
    return {f"{sample.source}:{sample.subject}"} if sample.subject else set()


def _by_name(left: Side, right: Side, reason: str, names: Callable[[Sample], Iterable[str]]) -> list[Pair]:
    """One pair a name; where a picture has the same two names on both sides, it is told once, by its archive's."""
    own, other = _grouped(left, names), _grouped(right, names)
    told: set[tuple[str, str]] = set()
    found = []
    for name in sorted(own.keys() & other.keys(), key=lambda name: (not name.startswith(tuple(ARCHIVES)), name)):
        first = own[name][0].id, other[name][0].id
        if first not in told:
            told.add(first)
            found.append(Pair(reason, 1.0, own[name], other[name], name))
    return found


def _by_text(left: Side, right: Side, reason: str, text_of: Callable[[Sample], str]) -> list[Pair]:
    own, other = (_grouped(side, lambda sample: [" ".join(text_of(sample).split())]) for side in (left, right))
    one, two = list(own), list(other)
    found = []
    for i, j, similarity in near_texts(one, two):
        detail = one[i] if one[i] == two[j] else f"{one[i]} | {two[j]}"
        found.append(Pair(reason, similarity, own[one[i]], other[two[j]], detail))
    return found


def _grouped(side: Side, names: Callable[[Sample], Iterable[str]]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for _, samples in side:
        for sample in samples:
            for name in names(sample):
                found[name].append(sample)
    return found
