"""How well a risk tells wrong answers from right ones, and whether its probabilities are true.

In: a risk float[N], wrong bool[N], clusters. Out: AUROC, risk-coverage curve and its area, calibration error, each with
an interval from the same draws of clusters; paired differences to a single indicator.

    compare({"risk": risks, "logprob": x[:, 0]}, wrong, clusters)["risk"]["auroc"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from radvqa.score.intervals import cluster_codes, limits

NUM_BINS = 10
FLOOR_DRAWS = 400

Measure = Callable[[np.ndarray, np.ndarray], float]


def auroc(risk: np.ndarray, wrong: np.ndarray) -> float:
    """Probability that a wrong answer has a higher risk than a right one, ties half; nan with one outcome only."""
    num_wrong = int(wrong.sum())
    num_right = len(wrong) - num_wrong
    if not num_wrong or not num_right:
        return float("nan")
    ranks = rankdata(risk)
    return float((ranks[wrong].sum() - num_wrong * (num_wrong + 1) / 2) / (num_wrong * num_right))


def risk_coverage(risk: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float[N] coverages i / N and float[N] error among the i answers of least risk (El-Yaniv and Wiener 2010).

    Answers of equal risk are answered in no order: each carries the mean error of its tie.
    """
    order = np.argsort(risk, kind="stable")
    _, start, number = np.unique(risk[order], return_index=True, return_counts=True)
    shared = np.repeat(np.add.reduceat(wrong[order].astype(float), start) / number, number)
    place = np.arange(1, len(risk) + 1)
    return place / len(risk), shared.cumsum() / place


def aurc(risk: np.ndarray, wrong: np.ndarray) -> float:
    """Area under the risk-coverage curve: the mean of its N errors (Geifman et al. 2019, eq. 3); smaller is better."""
    return float(risk_coverage(risk, wrong)[1].mean())


def best_aurc(wrong: np.ndarray) -> float:
    """The area of a risk that puts every wrong answer last."""
    return aurc(wrong.astype(float), wrong)


def bins(risk: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """int[N]: bins of equal number by rank of risk, answers of equal risk together."""
    return np.minimum((rankdata(risk, method="min") - 1) * num_bins // len(risk), num_bins - 1).astype(int)


def calibration_error(risk: np.ndarray, wrong: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Mean |mean risk - share wrong| over bins of equal number, weighted by number (Naeini et al. 2015; Nguyen and
    O'Connor 2015 for equal numbers)."""
    place = bins(risk, num_bins)
    gap = np.bincount(place, weights=risk - wrong, minlength=num_bins)
    return float(np.abs(gap).sum() / len(risk))


def calibration_floor(risk: np.ndarray, num_bins: int = NUM_BINS, seed: int = 0) -> float:
    """The calibration error that perfectly calibrated risks of this size would show: outcomes drawn from the risks."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((FLOOR_DRAWS, len(risk))) < risk
    return float(np.mean([calibration_error(risk, wrong, num_bins) for wrong in drawn]))


def reliability(risk: np.ndarray, wrong: np.ndarray, clusters: np.ndarray, num_bins: int = NUM_BINS) -> list[dict]:
    """The points of the reliability diagram: for each bin n, mean risk, share wrong with its clustered interval."""
    from radvqa.score.intervals import cluster_interval

    place, points = bins(risk, num_bins), []
    for number in np.unique(place):
        inside = place == number
        found = cluster_interval(wrong[inside].astype(float), clusters[inside], num_draws=1000)
        points.append(
            {
                "n": int(inside.sum()),
                "risk": float(risk[inside].mean()),
                "wrong": found.value,
                "low": found.low,
                "high": found.high,
            }
        )
    return points


# ---------------------------------------------------------------- with intervals

MEASURES: dict[str, Measure] = {"auroc": auroc, "aurc": aurc}


def compare(
    scores: Mapping[str, np.ndarray],
    wrong: np.ndarray,
    clusters: np.ndarray,
    *,
    reference: str,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """For each score AUROC and AURC with 95 % intervals, and the difference of `reference` to it, by paired draws.

    A score may hold nan (not measured): such answers take the mean of the others.
    """
    names = list(scores)
    filled = [np.where(np.isnan(s), np.nanmean(s), s) for s in scores.values()]
    draws = _drawn_rows(clusters, num_draws, seed)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    num_clusters = np.full(len(names), len(np.unique(clusters)))
    for measure, function in MEASURES.items():
        values = np.array([function(score, wrong) for score in filled])
        table = np.array([[function(score[rows], wrong[rows]) for score in filled] for rows in draws])
        place = names.index(reference)
        low, high = limits(table, num_clusters)
        above, below = limits(table[:, [place]] - table, num_clusters)
        for i, name in enumerate(names):
            found[name][measure] = {"value": values[i], "low": low[i], "high": high[i]}
            if i != place:
                difference = {"value": values[place] - values[i], "low": above[i], "high": below[i]}
                found[name][f"{measure}_difference"] = difference
    return found


def interval_of(
    function: Measure,
    risk: np.ndarray,
    wrong: np.ndarray,
    clusters: np.ndarray,
    *,
    num_draws: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """A measure of one risk with its 95 % interval over drawn clusters."""
    draws = np.array([[function(risk[rows], wrong[rows])] for rows in _drawn_rows(clusters, num_draws, seed)])
    low, high = limits(draws, np.array([len(np.unique(clusters))]))
    return {"value": function(risk, wrong), "low": float(low[0]), "high": float(high[0])}


def _drawn_rows(clusters: np.ndarray, num_draws: int, seed: int) -> list[np.ndarray]:
    """For each draw the rows of as many clusters as there are, drawn with replacement."""
    codes = cluster_codes(clusters)
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    rng = np.random.default_rng(seed)
    return [np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))]) for _ in range(num_draws)]
