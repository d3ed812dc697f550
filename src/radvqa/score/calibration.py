"""A judge against people: how far they agree, and the accuracy that people would have found, with its interval.

In: a judge's outcomes for all answers and people's for some of them. Out: agreement and a corrected accuracy.

    corrected(judge, human, images).value        # judge float[N], human float[N] with nan where nobody rated

The judge's mean is moved by what people say of the answers both have seen: mean(human) + slope x (mean of the judge
over all - mean of the judge over the rated), the regression estimator of two-phase sampling (Cochran 1977, section
12.8), which is prediction-powered inference with its tuned weight (Angelopoulos et al. 2023, arXiv:2311.01453). It
holds whatever the judge's faults are, if the rated answers are a random sample of all; the better the judge, the
narrower the interval. The interval is bootstrapped by image.
"""

from __future__ import annotations

import numpy as np

from radvqa.score.intervals import Interval, bootstrap_totals, bounded, cluster_codes, cluster_sums, divide, limits

FEW = 10
"""Below so many rated answers nothing is corrected."""


def corrected(
    judge: np.ndarray, human: np.ndarray, clusters: np.ndarray, *, num_draws: int = 2000, seed: int = 0
) -> Interval:
    """The accuracy people would have found, 0-1, over all N answers; `n` is the number of rated ones.

    judge float[N] in [0, 1], nan where unscored (left out); human float[N] in [0, 1], nan where nobody rated. value is
    None with fewer than FEW rated answers, the limits with fewer than two rated clusters.
    """
    scored = ~np.isnan(judge)
    judge, human, codes = judge[scored], human[scored], cluster_codes(np.asarray(clusters)[scored])
    rated = ~np.isnan(human)
    if rated.sum() < FEW:
        return Interval(None, None, None, None, int(rated.sum()), len(np.unique(codes[rated])))
    h, j = np.where(rated, human, 0.0), np.where(rated, judge, 0.0)
    columns = np.stack([np.ones_like(judge), judge, rated.astype(float), h, j, j * j, h * j], axis=1)
    sums = cluster_sums(columns, codes)[0]
    draws = _estimate(bootstrap_totals(sums, num_draws, seed))
    value = _estimate(sums.sum(axis=0, keepdims=True))
    number = np.array([len(np.unique(codes[rated]))])
    low, high = limits(draws[:, None], number)
    low, high = bounded(value, np.clip(low, 0, 1), np.clip(high, 0, 1), number)
    if number[0] < 2:
        return Interval(float(value[0]), None, None, None, int(rated.sum()), 1)
    error = float(np.nanstd(draws, ddof=1))
    return Interval(float(value[0]), float(low[0]), float(high[0]), error, int(rated.sum()), int(number[0]))


def _estimate(totals: np.ndarray) -> np.ndarray:
    """float[B] from totals float[B, 7]: N, sum J, and over the rated n, sum H, sum J, sum JJ, sum HJ."""
    number, judged, rated, h, j, jj, hj = totals.T
    mean_h, mean_j = divide(h, rated), divide(j, rated)
    variance = divide(jj, rated) - mean_j**2
    slope = divide(divide(hj, rated) - mean_h * mean_j, np.where(variance > 1e-12, variance, 0.0))
    slope = np.clip(np.nan_to_num(slope), 0.0, 1.0)
    return np.clip(mean_h + slope * (divide(judged, number) - mean_j), 0.0, 1.0)
