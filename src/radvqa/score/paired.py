"""Paired tests between two runs that answered the same questions.

In: the two scores of each question and its cluster. Out: the difference, its p-value.

    permutation_test(stage2 - stage1, images).p

The permutation test flips the sign of all differences of one image together: under the null the two runs could have
been swapped image by image. McNemar's test looks at right against wrong only and takes questions for independent,
which questions about one image are not; it is printed beside because others print it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from radvqa.score.intervals import BLOCK, cluster_codes

EXACT = 12
"""Up to this many clusters, all 2^C patterns of signs are gone through instead of drawn."""


@dataclass(frozen=True)
class Test:
    """A paired comparison: mean difference over n questions and the two-sided p-value (None: nothing to compare)."""

    difference: float | None
    p: float | None
    n: int


def permutation_test(differences: np.ndarray, clusters: np.ndarray, *, num_draws: int = 10_000, seed: int = 0) -> Test:
    """Two-sided sign-flip test by cluster of differences float[N] (nan: not scored in both runs)."""
    scored = ~np.isnan(differences)
    differences, codes = differences[scored], cluster_codes(np.asarray(clusters)[scored])
    if not len(differences):
        return Test(None, None, 0)
    sums = np.bincount(codes, weights=differences)
    p = sign_flip_p(sums[:, None], num_draws, seed)[0]
    return Test(float(sums.sum() / len(differences)), float(p), len(differences))


def sign_flip_p(sums: np.ndarray, num_draws: int = 10_000, seed: int | list[int] = 0) -> np.ndarray:
    """p-values float[K] of differences summed by cluster, float[C, K]; each draw flips the same clusters in all columns.

    Sums of right and wrong take few values, and counting every tie in full would find a true level of 3 % where 5 % is
    meant: ties count half (mid-p; Lancaster 1961, Fagerland et al. 2013). Where at most EXACT clusters differ they
    count in full, so that a handful of images is never called a difference by the choice of convention.
    All patterns of signs for at most EXACT clusters, else draws, the observed pattern among them.
    """
    seen = np.abs(sums.sum(axis=0))
    tie = np.where((np.abs(sums) > 1e-12).sum(axis=0) <= EXACT, 1.0, 0.5)
    if len(sums) <= EXACT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(sums)))).reshape(2 ** len(sums), len(sums))
        return _as_far(signs @ sums, seen, tie) / len(signs)
    further = np.zeros(sums.shape[1])
    for signs in _signs(len(sums), num_draws, seed):
        further += _as_far(signs @ sums, seen, tie)
    return (1 + further) / (1 + num_draws)


def _as_far(flipped: np.ndarray, seen: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """How many of flipped float[B, K] are further from 0 than seen float[K], a tie counting `tie`."""
    away = np.abs(flipped) - seen
    return (away > 1e-9).sum(axis=0) + tie * (np.abs(away) <= 1e-9).sum(axis=0)  # sums differ in their last digits


def _signs(num_clusters: int, num_draws: int, seed: int | list[int]) -> Iterator[np.ndarray]:
    """Blocks float[b, C] of fair random signs."""
    rng = np.random.default_rng(seed)
    size = max(1, min(num_draws, BLOCK // num_clusters))
    for start in range(0, num_draws, size):
        number = min(size, num_draws - start)
        bits = np.unpackbits(rng.integers(0, 256, (number, -(-num_clusters // 8)), np.uint8), axis=1)
        yield 2.0 * bits[:, :num_clusters] - 1.0


def mcnemar(first: np.ndarray, second: np.ndarray) -> Test:
    """McNemar's exact test (McNemar 1947) of two columns of 0 and 1, float[N] (nan: unscored)."""
    scored = ~(np.isnan(first) | np.isnan(second))
    won, lost = mcnemar_counts(first[scored], second[scored])
    return Test(
        float((first[scored] - second[scored]).mean()) if scored.any() else None,
        mcnemar_p(won, lost) if scored.any() else None,
        int(scored.sum()),
    )


def mcnemar_counts(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Questions only the first run has right, and only the second."""
    return int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())


def mcnemar_p(won: int, lost: int) -> float:
    """Two-sided exact binomial p-value of the two kinds of disagreement; 1 where there is none."""
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted
