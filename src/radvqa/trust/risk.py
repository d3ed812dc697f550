"""The failure risk: the probability that an answer is wrong, from its indicators, on answers it was not fitted to.

In: indicators float[N, K], wrong bool[N], clusters. Out: a risk for every answer from a model that saw no answer of the
same subject or image; and the model fitted to all of them, as plain numbers.

    risks = cross_fitted(x, wrong, clusters, logistic)

Logistic regression is the risk of record: calibrated where its form fits, a handful of numbers to store. Gradient
boosting (Friedman 2001) stands beside it, its scores made probabilities by Platt's method on inner folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from radvqa.score.intervals import cluster_codes

NUM_FOLDS = 5
STRENGTH = 1.0
"""Inverse of the ridge penalty on scaled indicators (scikit-learn's C)."""
Predict = Callable[[np.ndarray], np.ndarray]
"""Indicators float[M, K] -> risk float[M]."""
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], Predict]
"""Indicators float[N, K], wrong bool[N], clusters [N] -> Predict."""


@dataclass(frozen=True)
class Logistic:
    """P(wrong) = 1 / (1 + exp(-(intercept + weights . z))), z = arcsinh((x - centre) / scale), 0 where x is missing.

    A log-probability has a tail as long as the answer; arcsinh is straight about the centre and logarithmic beyond.
    """

    names: tuple[str, ...]
    centres: np.ndarray
    """Medians."""
    scales: np.ndarray
    """Distances between the quartiles."""
    weights: np.ndarray
    intercept: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return expit(_standard(x, self.centres, self.scales) @ self.weights + self.intercept)

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        columns = {"centre": self.centres, "scale": self.scales, "weight": self.weights}
        rows = [
            {"name": name, **{key: float(values[place]) for key, values in columns.items()}}
            for place, name in enumerate(self.names)
        ]
        return {"kind": "logistic", "intercept": self.intercept, "indicators": rows}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Logistic:
        """What `record` wrote, to judge new answers with."""
        rows = record["indicators"]
        names = tuple(row["name"] for row in rows)
        centres, scales, weights = (np.array([row[key] for row in rows]) for key in ("centre", "scale", "weight"))
        return cls(names, centres, scales, weights, float(record["intercept"]))


def logistic(x: np.ndarray, wrong: np.ndarray, clusters: np.ndarray, names: tuple[str, ...] = ()) -> Logistic:
    """Ridge logistic regression on scaled indicators; with one outcome only, its smoothed rate (k + 1) / (n + 2)."""
    centres, scales = _centres(x)
    if wrong.min() == wrong.max():
        rate = (wrong.sum() + 1) / (len(wrong) + 2)
        return Logistic(names, centres, scales, np.zeros(x.shape[1]), float(logit(rate)))
    fitted = LogisticRegression(C=STRENGTH, max_iter=1000).fit(_standard(x, centres, scales), wrong)
    return Logistic(names, centres, scales, fitted.coef_[0], float(fitted.intercept_[0]))


def boosting(x: np.ndarray, wrong: np.ndarray, clusters: np.ndarray) -> Predict:
    """Gradient-boosted trees, Platt-scaled (Platt 1999) on scores of inner folds."""
    if min(wrong.sum(), (~wrong).sum()) < 2 * NUM_FOLDS:
        return logistic(x, wrong, clusters)  # too few of one outcome for folds within folds
    inner = cross_fitted(x, wrong, clusters, _trees, seed=1)
    scale = LogisticRegression(C=STRENGTH).fit(inner[:, None], wrong)
    trees = _trees(x, wrong, clusters)
    return lambda more: scale.predict_proba(trees(more)[:, None])[:, 1]


def _trees(x: np.ndarray, wrong: np.ndarray, clusters: np.ndarray) -> Predict:
    """The trees' log-odds."""
    settings = {"max_iter": 60, "learning_rate": 0.05, "max_leaf_nodes": 6, "min_samples_leaf": 20}
    trees = HistGradientBoostingClassifier(l2_regularization=1.0, early_stopping=False, random_state=0, **settings)
    return trees.fit(x, wrong).decision_function


def cross_fitted(
    x: np.ndarray, wrong: np.ndarray, clusters: np.ndarray, fit: Fit, *, num_folds: int = NUM_FOLDS, seed: int = 0
) -> np.ndarray:
    """float[N]: each answer's risk by a model fitted to the folds that hold no answer of its cluster."""
    fold = folds(clusters, num_folds, seed)
    risks = np.empty(len(x))
    for number in np.unique(fold):
        held = fold == number
        risks[held] = fit(x[~held], wrong[~held], clusters[~held])(x[held])
    return risks


def folds(clusters: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """int[N]: clusters shuffled by the seed and dealt to folds, the fold with the fewest answers first."""
    codes = cluster_codes(clusters)
    sizes = np.bincount(codes)
    load, owner = np.zeros(num_folds), np.empty(len(sizes), dtype=np.int64)
    for cluster in np.random.default_rng(seed).permutation(len(sizes)):
        owner[cluster] = load.argmin()
        load[owner[cluster]] += sizes[cluster]
    return owner[codes]


def _centres(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and distance between the quartiles of each column; where half the values are equal, their spread."""
    centres, scales = np.zeros(x.shape[1]), np.ones(x.shape[1])
    for place, column in enumerate(x.T):
        known = column[~np.isnan(column)]
        if len(known):
            low, centres[place], high = np.quantile(known, (0.25, 0.5, 0.75))
            scales[place] = high - low if high > low else known.std() or 1.0
    return centres, scales


def _standard(x: np.ndarray, centres: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.arcsinh((x - centres) / scales), nan=0.0)
