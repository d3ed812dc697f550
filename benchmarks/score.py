"""The score room: how fast it is, and whether its 95 % means 95 %.

    python benchmarks/score.py speed                     # a million answers; 10,000 draws over 100,000 rows
    python benchmarks/score.py honesty --out benchmarks/score-honesty.json     # coverage and false positives

Speed: answers of 1-12 words from a vocabulary of 5,000, 40 % of them yes or no, the rest all different, against
references of 1-8 words; every metric that needs no extra package, MedVInT's with 500 train labels, in one call.
Honesty: outcomes that are more alike within an image than between images (logit-normal chances), for several numbers
of images, questions per image and accuracies. With 2,000 simulations a rate of 5 % is known to +-1 point.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from radvqa.score import METRICS
from radvqa.score.intervals import bootstrap_means, bounded, cluster_interval, clustered_error, limits
from radvqa.score.paired import mcnemar_p, sign_flip_p
from radvqa.score.per_question import score_rows

# ---------------------------------------------------------------- speed


def answers(number: int, seed: int = 0) -> pl.DataFrame:
    """Predictions to score, most of them different from each other."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(3, 11))) for _ in range(5000)]
    rows: list[tuple[str, list[str], str]] = []
    for _ in range(number):
        if rng.random() < 0.4:
            rows.append(("closed", [rng.choice(("yes", "no"))], rng.choice(("yes", "no", "Yes.", "No, it is not."))))
        else:
            reference = rng.choices(words, k=rng.randint(1, 8))
            said = (reference + rng.choices(words, k=rng.randint(1, 6)))[: rng.randint(1, 12)]
            rows.append(("open", [" ".join(reference)], " ".join(said)))
    frame = pl.DataFrame(rows, schema=["kind", "answers", "answer"], orient="row")
    return frame.with_columns(choices=pl.lit([], pl.List(pl.String)))


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock, and processor seconds of this process and its workers (what the clock would show on an
    idle machine is between these and these divided by the number of cores)."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return {"wall_s": round(time.perf_counter() - start, 2), "cpu_s": round(sum(os.times()[:4]) - before, 2)}


def speed(number: int) -> dict[str, Any]:
    """Seconds for `number` answers through all lexical metrics, and for the bootstrap."""
    frame = answers(number)
    labels = frame.filter(pl.col("kind") == "open")["answers"].list.first().head(500).to_list()
    lexical = [
        metric for metric in METRICS.values() if metric.uses not in ("likelihood", "labels") and not metric.extra
    ]
    found: dict[str, Any] = {"num_answers": number, "num_metrics": len(lexical)}
    found["lexical"] = timed(lambda: score_rows(frame, lexical))
    few = frame.head(number // 100)
    found["medvint_500_labels"] = {"num_answers": len(few)} | timed(
        lambda: score_rows(few, [METRICS["medvint"]], labels)
    )
    for num_clusters in (20_000, 100_000):
        rng = np.random.default_rng(0)
        values, clusters = rng.random(100_000), np.arange(100_000) % num_clusters
        name = f"bootstrap_100000_rows_{num_clusters}_clusters"
        found[name] = timed(partial(cluster_interval, values, clusters, num_draws=10_000))
    return found


# ---------------------------------------------------------------- honesty


def simulate(
    rng: np.random.Generator, images: int, per_image: int, share: float, spread: float, times: int
) -> np.ndarray:
    """bool[images, per_image, times]: right or wrong, alike within an image by `spread` (of logits)."""
    logits = np.log(share / (1 - share)) + spread * rng.standard_normal((images, 1, times))
    return rng.random((images, per_image, times)) < 1 / (1 + np.exp(-logits))


def coverage(images: int, per_image: int, share: float, spread: float, times: int = 2000) -> dict[str, float]:
    """How often 95 % intervals hold the truth: bootstrap by image, analytic, and a bootstrap that knows no images."""
    rng = np.random.default_rng([images, per_image])
    truth = simulate(rng, 1_000_000, 1, share, spread, 1).mean()
    right = simulate(rng, images, per_image, share, spread, times)
    sums, counts = right.sum(axis=1).astype(float), np.full((images, times), float(per_image))
    value = sums.sum(axis=0) / counts.sum(axis=0)
    number = np.full(times, images)
    held = {"bootstrap": np.zeros(times, dtype=bool), "questions": np.zeros(times, dtype=bool)}
    for start in range(0, times, 100):
        part = slice(start, start + 100)
        draws = bootstrap_means(sums[:, part], counts[:, part], 1000, seed=start)
        low, high = bounded(value[part], *limits(draws, number[part]), number[part])
        held["bootstrap"][part] = (low <= truth) & (truth <= high)
    error = clustered_error(sums, counts)
    held["analytic"] = np.abs(value - truth) <= 1.96 * error
    naive = np.sqrt(value * (1 - value) / (images * per_image))
    held["questions"] = np.abs(value - truth) <= 1.96 * naive
    return {"images": images, "per_image": per_image, "share": share, "truth": float(truth)} | {
        name: float(column.mean()) for name, column in held.items()
    }


def false_positives(images: int, per_image: int, spread: float, times: int = 4000) -> dict[str, float]:
    """How often two equally good runs, alike within an image, are told apart at 5 %."""
    rng = np.random.default_rng([images, per_image, 1])
    # each run has its own liking for each image, so their difference is alike within an image
    first, second = (simulate(rng, images, per_image, 0.6, spread, times).astype(float) for _ in range(2))
    sums = (first - second).sum(axis=1)
    p = np.concatenate([sign_flip_p(sums[:, k : k + 200], 2000, seed=k) for k in range(0, times, 200)])
    won = ((first == 1) & (second == 0)).sum(axis=(0, 1))
    lost = ((first == 0) & (second == 1)).sum(axis=(0, 1))
    by_question = np.array([mcnemar_p(int(w), int(x)) for w, x in zip(won, lost)])
    return {
        "images": images,
        "per_image": per_image,
        "permutation_by_image": float((p <= 0.05).mean()),
        "mcnemar_by_question": float((by_question <= 0.05).mean()),
    }


def honesty() -> dict[str, Any]:
    """All coverages and false-positive rates."""
    settings = [(30, 4, 0.6), (60, 5, 0.6), (200, 5, 0.6), (200, 5, 0.9), (200, 1, 0.8), (96, 11, 0.8)]
    return {
        "coverage": [coverage(images, per_image, share, 1.5) for images, per_image, share in settings],
        "false_positives": [false_positives(*one, 1.5) for one in ((30, 4), (60, 5), (200, 5), (200, 1), (96, 11))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "honesty"))
    parser.add_argument("--answers", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    found = speed(options.answers) if options.what == "speed" else honesty()
    machine = {"platform": platform.platform(), "num_cpus": os.cpu_count(), "python": platform.python_version()}
    load = os.getloadavg()[0]
    record = {"when": datetime.now(UTC).date().isoformat(), **machine, "load": round(load, 1), **found}
    record["wall_s"] = round(time.perf_counter() - start, 1)
    text = json.dumps(record, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
