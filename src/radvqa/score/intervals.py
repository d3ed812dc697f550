"""Intervals for means over questions that share images: cluster bootstrap and the analytic clustered error.

In: a value per question (nan: unscored) and the cluster (image or subject) of each. Out: value, low, high, error.

    cluster_interval(np.array([1.0, 0.0, 1.0, 1.0]), np.array(["a", "a", "b", "c"])).low

Questions about one image are right or wrong together, so whole clusters are drawn, with replacement (Davison and
Hinkley 1997, section 3.8; Cameron et al. 2008). All sums are kept by cluster, so that a draw is one row of multinomial
weights and thousands of draws of many columns are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

BLOCK = 4_000_000
"""Weights held at once (8 bytes each)."""
CACHED = 50_000
"""Weights counted at once: what fits into a processor's cache."""


@dataclass(frozen=True)
class Interval:
    """A mean with its uncertainty; low, high and error are None where fewer than two clusters were scored."""

    value: float | None
    low: float | None
    high: float | None
    error: float | None
    """Analytic clustered standard error."""
    n: int
    num_clusters: int


def cluster_codes(clusters: np.ndarray) -> np.ndarray:
    """int[N], 0 .. C-1 in the sorted order of the clusters' names, whatever the order of the rows."""
    return np.unique(clusters, return_inverse=True)[1].reshape(-1)


def cluster_sums(values: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """values float[N, K] with nan where unscored, codes int[N] -> sums float[C, K] and counts float[C, K]."""
    num_clusters = int(codes.max()) + 1 if len(codes) else 0
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(num_clusters))
    scored = ~np.isnan(values)
    filled = np.where(scored, values, 0.0)[order]
    return np.add.reduceat(filled, starts, axis=0), np.add.reduceat(scored[order].astype(np.float64), starts, axis=0)


def _weights(num_clusters: int, num_draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks float[b, C] of how often each cluster is drawn; every row sums to C."""
    size = max(1, min(num_draws, BLOCK // num_clusters))
    for start in range(0, num_draws, size):
        weights = np.empty((min(size, num_draws - start), num_clusters))
        # a few clusters: many draws counted in one pass; many: a draw at a time, which stays within the cache
        together = max(1, CACHED // num_clusters)
        for row in range(0, len(weights), together):
            part = weights[row : row + together]
            drawn = rng.integers(0, num_clusters, size=part.shape)
            if len(part) > 1:
                drawn += np.arange(len(part))[:, None] * num_clusters
            part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
        yield weights


def bootstrap_totals(sums: np.ndarray, num_draws: int, seed: int | list[int]) -> np.ndarray:
    """sums float[C, K] by cluster -> float[num_draws, K]: each row the totals of C clusters drawn with replacement."""
    rng = np.random.default_rng(seed)
    return np.concatenate([weights @ sums for weights in _weights(len(sums), num_draws, rng)])


def bootstrap_means(sums: np.ndarray, counts: np.ndarray, num_draws: int, seed: int | list[int]) -> np.ndarray:
    """float[num_draws, K]: the mean of each column in each draw, nan where a draw holds no scored question."""
    totals = bootstrap_totals(np.concatenate([sums, counts], axis=1), num_draws, seed)
    return divide(totals[:, : sums.shape[1]], totals[:, sums.shape[1] :])


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, nan where below is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def limits(draws: np.ndarray, num_clusters: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Expanded percentile limits of draws float[B, K], num_clusters int[K] -> low, high float[K].

    Percentiles of a bootstrap are too narrow by sqrt((C-1)/C) and know no t distribution; the levels are moved outward
    to make up for both (Hesterberg 2015, "What teachers should know about the bootstrap", section 4.5).
    nan where fewer than two clusters were scored.
    """
    low, high = np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    for number in np.unique(num_clusters[num_clusters >= 2]):
        columns = np.flatnonzero(num_clusters == number)
        reach = math.sqrt(number / (number - 1)) * stats.t.ppf((1 - level) / 2, number - 1)
        tail = float(stats.norm.cdf(reach))
        part = np.ascontiguousarray(draws[:, columns].T)
        holes = np.isnan(part).any(axis=1)  # nanquantile is slow, and seldom needed
        for quantile, rows in ((np.quantile, ~holes), (np.nanquantile, holes)):
            if rows.any():
                low[columns[rows]], high[columns[rows]] = quantile(part[rows], [tail, 1 - tail], axis=1)
    return low, high


def bounded(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, num_clusters: np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Open the interval of a mean in [0, 1] that stands at an end of it, where every draw is the same.

    All right or all wrong in C clusters: the other limit is the exact binomial one of C questions (Clopper and
    Pearson 1934), 1 - (tail)^(1/C) away: a single question per image could have said no more.
    """
    away = 1 - ((1 - level) / 2) ** (1 / np.maximum(num_clusters, 1))
    low = np.where((value >= 1) & (num_clusters >= 2), np.minimum(low, 1 - away), low)
    return low, np.where((value <= 0) & (num_clusters >= 2), np.maximum(high, away), high)


def clustered_error(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Analytic standard error of each column's mean, float[K], from cluster sums and counts float[C, K].

    sqrt(C / (C - 1) x sum over clusters of (sum - count x mean)^2) / N: the linearised ratio estimator (Liang and
    Zeger 1986; Miller 2024, arXiv:2411.00640, equation 4, with the small-sample factor).
    """
    n, used = counts.sum(axis=0), (counts > 0).sum(axis=0)
    residuals = sums - counts * divide(sums.sum(axis=0), n)
    factor = divide(used.astype(np.float64), used - 1.0)
    return divide(np.sqrt(factor * np.nansum(residuals**2, axis=0)), n)


def cluster_interval(
    values: np.ndarray,
    clusters: np.ndarray,
    *,
    num_draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    unit: bool = True,
) -> Interval:
    """The mean of values float[N] with its cluster-bootstrap interval and analytic error.

    clusters: a name or number for each row. unit: the values live in [0, 1] (see `bounded`).
    """
    scored = ~np.isnan(values)
    values, codes = values[scored], cluster_codes(np.asarray(clusters)[scored])
    if not len(values):
        return Interval(None, None, None, None, 0, 0)
    sums, counts = cluster_sums(values[:, None], codes)
    number = np.array([len(sums)])
    value = sums.sum(axis=0) / counts.sum(axis=0)
    if len(sums) < 2:
        return Interval(float(value[0]), None, None, None, len(values), 1)
    low, high = limits(bootstrap_means(sums, counts, num_draws, seed), number, level)
    if unit:
        low, high = bounded(value, low, high, number, level)
    error = clustered_error(sums, counts)
    return Interval(float(value[0]), float(low[0]), float(high[0]), float(error[0]), len(values), len(sums))
