"""The guard of a run: what its stages are to learn is compared with what its arms are asked, before anything is trained.

In: the training and the test questions of a run. Out, in the step's folder:

    pairs.parquet    what they share, as radvqa.curate.leakage says it
    dropped.parquet  corpus, id, reason: the training questions that are left out (leakage: drop)
    leakage.json     the policy and how many pairs and questions there are, by reason
    pairs.png ...    the pairs of pictures, side by side

    print(guard([(corpus, train)], [(corpus, test)], "drop", Path("runs/x/leakage")))
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import polars as pl

from radvqa.curate.leakage import LEAKS, Policy, Side, enforce, summary
from radvqa.curate.sheet import draw_pairs
from radvqa.sample import Corpus, Sample
from radvqa.tables import read_table

DROPPED = "dropped.parquet"


def guard(train: Side, test: Side, policy: Policy, folder: Path) -> str:
    """Compare, apply the policy, write what was found; in words what it was.

    Raises InputError where the policy is refuse and a picture, an image id or a subject is on both sides.
    """
    pairs, dropped = enforce(train, test, policy)
    pairs.write_parquet(folder / "pairs.parquet")
    dropped.write_parquet(folder / DROPPED)
    leaks = pairs.filter(pl.col("reason").is_in(LEAKS))
    draw_pairs(leaks, [corpus for corpus, _ in train], [corpus for corpus, _ in test], folder / "pairs.png")
    found = {
        "policy": policy,
        "train_questions": sum(len(samples) for _, samples in train),
        "test_questions": sum(len(samples) for _, samples in test),
        "pairs": dict(Counter(pairs["reason"].to_list())),
        "dropped": dict(Counter(dropped["reason"].to_list())),
    }
    (folder / "leakage.json").write_text(json.dumps(found, indent=2) + "\n")
    left_out = f", {len(dropped):,} training questions left out" if len(dropped) else ""
    return f"train and test share {summary(pairs)}{left_out}"


def without_leaks(corpus: Corpus, samples: list[Sample], step: Path) -> list[Sample]:
    """The samples without those that the guard's step left out; all of them where there was no such step."""
    if not (step / DROPPED).is_file():
        return samples
    gone = set(read_table(step / DROPPED).filter(corpus=corpus.folder.name)["id"])
    return [sample for sample in samples if sample.id not in gone]
