"""What a reader must be told before the numbers: the warnings of scores.json, in plain sentences.

In: the predictions and the finished tables. Out: lists of sentences, the gravest first.

    [*blind_runs(means, pairs), *find_warnings(frame, 0)]
"""

from __future__ import annotations

from typing import Any

import polars as pl

HEADLINES: tuple[tuple[str, dict[str, str], str], ...] = (
    ("closed_accuracy", {}, "closed accuracy"),
    ("token_f1", {"kind": "open"}, "token F1 of open questions"),
)
"""The scores that must be above the blind ones: metric, slice, words."""
AGAINST = {"blank": "blank-image score", "shuffled": "shuffled-image score"}
LEVEL = 0.05
FEW = 20
"""Below so many images an interval is a rough guide."""


def find_warnings(frame: pl.DataFrame, num_left_out: int) -> list[str]:
    """Sentences about controls that are missing, answers that are empty or unscored, and few images."""
    return [
        *_missing_controls(frame),
        *_uneven(frame),
        *_empty(frame),
        *_few(frame),
        *([f"{num_left_out} slices of too few questions are not in the tables"] if num_left_out else []),
    ]


def blind_runs(means: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> list[str]:
    """A sentence for each run and headline score that a paired test does not find above its score without seeing."""
    values = {(row["arm"], row["control"], row["metric"], *row["slice"].values()): row["value"] for row in means}
    found = []
    for metric, where, words in HEADLINES:
        for pair in reversed(pairs):  # the last arm, which the run is about, first
            a, b = pair["a"], pair["b"]
            other = "majority answer" if b["arm"] == "majority" else AGAINST.get(b["control"])
            if (pair["metric"], pair["slice"], pair["test"]) != (metric, where, "permutation") or other is None:
                continue
            if pair["difference"] <= 0 or pair["p_holm"] > LEVEL:
                full, blind = (values[side["arm"], side["control"], metric, *where.values()] for side in (a, b))
                found.append(
                    f"{a['arm']}: the full score is not above the {other} "
                    f"({words} {full:.3f} against {blind:.3f}{_below(pair)}, p = {pair['p_holm']:.2g} after Holm, "
                    f"n = {pair['n']})"
                )
    return found


def _below(pair: dict[str, Any]) -> str:
    return ", below it" if pair["difference"] < 0 and pair["p_holm"] <= LEVEL else ""


def _missing_controls(frame: pl.DataFrame) -> list[str]:
    runs = set(frame.select("arm", "control").unique().iter_rows())
    full = sorted(arm for arm, control in runs if control == "none")
    return [
        f"{arm}: there is no {control}-image run, so nothing shows that the image is used"
        for arm in full
        for control in AGAINST
        if (arm, control) not in runs
    ]


def _uneven(frame: pl.DataFrame) -> list[str]:
    sizes = frame.group_by("arm", "control").len()
    total = frame["id"].n_unique()
    short = sizes.filter(pl.col("len") < total).sort("arm", "control")
    return [
        f"{arm} / {control} answers {number} of {total} questions; comparisons use those both runs answer"
        for arm, control, number in short.iter_rows()
    ]


def _empty(frame: pl.DataFrame) -> list[str]:
    text = pl.col("answer").str.strip_chars()
    counts = frame.group_by("arm", "control").agg(
        empty=(text == "").sum(), missing=pl.col("answer").is_null().sum(), total=pl.len()
    )
    found = []
    for arm, control, empty, missing, total in counts.sort("arm", "control").iter_rows():
        if empty:
            found.append(f"{arm} / {control}: {empty} of {total} answers are empty and count as wrong")
        if missing:
            found.append(f"{arm} / {control}: {missing} of {total} answers are missing and are unscored")
    return found


def _few(frame: pl.DataFrame) -> list[str]:
    number = frame["cluster"].n_unique()
    return [f"the questions are about {number} images only: intervals are rough"] if number < FEW else []
