"""How many questions would show a difference, and how small a difference n questions can show.

In: the error of a paired difference that was measured, or what one expects of it. Out: a number of questions.

    num_questions(0.02, error=0.015, n=451)      # from a run: 2 points, where 451 questions gave an error of 1.5
    planned_questions(0.02, disagreement=0.2, per_image=5, correlation=0.1)          # before any run

Miller 2024 (arXiv:2411.00640), section 5, for paired differences; questions about one image count for less than their
number by the design effect 1 + (questions per image - 1) x correlation (Kish 1965).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from radvqa.errors import InputError
from radvqa.score.intervals import cluster_codes, cluster_sums

POWER, LEVEL = 0.8, 0.05


def detectable(error: float, *, power: float = POWER, level: float = LEVEL) -> float:
    """The difference found with this power by a two-sided test at this level: 2.80 x error for 80 % at 5 %."""
    return float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)) * error


def num_questions(difference: float, *, error: float, n: int, power: float = POWER, level: float = LEVEL) -> int:
    """Questions that show `difference`, given that n of them had this (clustered) error of a paired difference.

    The error falls with the square root of the number of images, at the same number of questions per image.
    Raises InputError for a difference of 0, which no number of questions shows.
    """
    if difference == 0:
        raise InputError("no number of questions shows a difference of 0", key="difference")
    return math.ceil(n * (detectable(error, power=power, level=level) / abs(difference)) ** 2)


def planned_questions(
    difference: float,
    *,
    disagreement: float,
    per_image: float = 1.0,
    correlation: float = 0.0,
    power: float = POWER,
    level: float = LEVEL,
) -> int:
    """Questions that show a difference in accuracy between two runs that have not been made yet.

    disagreement: share of questions only one of the two gets right, at least the difference itself. per_image:
    questions about one image. correlation: of the differences of two questions about one image.
    """
    if not abs(difference) <= disagreement <= 1:
        raise InputError(
            f"disagreement {disagreement} with a difference of {difference}",
            key="disagreement",
            fix="it is the share of questions only one run gets right: between the difference and 1",
        )
    effect = 1 + (per_image - 1) * correlation
    error = math.sqrt((disagreement - difference**2) * effect)
    return num_questions(difference, error=error, n=1, power=power, level=level)


def intra_class_correlation(values: np.ndarray, clusters: np.ndarray) -> float:
    """Correlation of the values float[N] of two questions about one image: one-way analysis of variance (Donner 1986).

    nan where every image has one question or all values are equal.
    """
    scored = ~np.isnan(values)
    values, codes = values[scored], cluster_codes(np.asarray(clusters)[scored])
    sums, counts = (column[:, 0] for column in cluster_sums(values[:, None], codes))
    n, num_clusters = counts.sum(), len(counts)
    if num_clusters < 2 or n <= num_clusters:
        return math.nan
    means = sums / counts
    between = (counts * (means - values.mean()) ** 2).sum() / (num_clusters - 1)
    within = ((values - means[codes]) ** 2).sum() / (n - num_clusters)
    size = (n - (counts**2).sum() / n) / (num_clusters - 1)
    spread = between + (size - 1) * within
    return float((between - within) / spread) if spread > 0 else math.nan
