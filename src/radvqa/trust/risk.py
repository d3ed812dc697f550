"""The failure risk: the probability that an answer is wrong, from its indicators, on answers it was not fitted to.

In: indicators float[N, K], wrong bool[N], clusters. Out: a risk for every answer from a model that saw no answer of the
same subject or image; and the model fitted to all of them, as plain numbers.

    risks = cross_fitted(x, wrong, clusters, logistic)

Logistic regression whose weights keep the direction that each indicator was given beforehand is the risk of record:
calibrated where its form fits, a handful of numbers to store, and an indicator that points the wrong way by chance gets
nothing instead of a negative weight (sign constraints regularise: Meinshausen 2013). Gradient boosting (Friedman 2001)
stands beside it, its scores made probabilities by Platt's method on inner folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, minimize
from scipy.special import expit, logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from radvqa.score.intervals import cluster_codes

NUM_FOLDS = 5
NUM_FOLDINGS = 5
"""Ways of dealing clusters to folds; an answer's risk is the mean over them, so that no single deal decides."""
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
    """Ridge logistic regression on scaled indicators, no weight below 0; with one outcome only, its smoothed rate
    (k + 1) / (n + 2). x is turned so that larger should mean riskier (`indicators.directed`)."""
    centres, scales = _centres(x)
    if wrong.min() == wrong.max():
        rate = (wrong.sum() + 1) / (len(wrong) + 2)
        return Logistic(names, centres, scales, np.zeros(x.shape[1]), float(logit(rate)))
    weights, intercept = _signed(_standard(x, centres, scales), wrong)
    return Logistic(names, centres, scales, weights, intercept)


def _signed(z: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights float[K] >= 0 and intercept of the least penalised log-loss: sum of log-losses + |w|^2 / (2 STRENGTH)."""
    width = z.shape[1]

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        weights, score = at[:width], z @ at[:width] + at[width]
        gap = expit(score) - wrong
        value = np.logaddexp(0, score).sum() - score[wrong].sum() + weights @ weights / (2 * STRENGTH)
        return value, np.append(z.T @ gap + weights / STRENGTH, gap.sum())

    bounds = Bounds(np.append(np.zeros(width), -np.inf), np.inf)
    found = minimize(loss, np.append(np.zeros(width), logit(wrong.mean())), jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:width], float(found.x[width])


def boosting(x: np.ndarray, wrong: np.ndarray, clusters: np.ndarray) -> Predict:
    """Gradient-boosted trees, Platt-scaled (Platt 1999) on scores of inner folds."""
    if min(wrong.sum(), (~wrong).sum()) < 2 * NUM_FOLDS:
        return logistic(x, wrong, clusters)  # too few of one outcome for folds within folds
    inner = cross_fitted(x, wrong, clusters, _trees, num_foldings=1, seed=1)
    scale = LogisticRegression(C=STRENGTH).fit(inner[:, None], wrong)
    trees = _trees(x, wrong, clusters)
    return lambda more: scale.predict_proba(trees(more)[:, None])[:, 1]


def _trees(x: np.ndarray, wrong: np.ndarray, clusters: np.ndarray) -> Predict:
    """The trees' log-odds."""
    settings = {"max_iter": 60, "learning_rate": 0.05, "max_leaf_nodes": 6, "min_samples_leaf": 20}
    trees = HistGradientBoostingClassifier(l2_regularization=1.0, early_stopping=False, random_state=0, **settings)
    return trees.fit(x, wrong).decision_function


def cross_fitted(
    x: np.ndarray,
    wrong: np.ndarray,
    clusters: np.ndarray,
    fit: Fit,
    *,
    num_foldings: int = NUM_FOLDINGS,
    seed: int = 0,
) -> np.ndarray:
    """float[N]: each answer's mean risk by the models, one a folding, fitted to folds with no answer of its cluster."""
    risks = np.zeros((num_foldings, len(x)))
    for number, row in enumerate(risks):
        fold = folds(clusters, NUM_FOLDS, seed * num_foldings + number)
        for held in (fold == one for one in np.unique(fold)):
            row[held] = fit(x[~held], wrong[~held], clusters[~held])(x[held])
    return risks.mean(axis=0)


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
