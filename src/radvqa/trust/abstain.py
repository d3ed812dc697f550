"""Abstention with a guarantee: below which risk to answer, so that few of the answers given are wrong.

In: risks float[N] and wrong bool[N] of held-out answers, their clusters, and alpha. Out: a threshold and what it
promises.

    found = safe_threshold(risks, wrong, clusters, alpha=0.2, confidence=0.9, num_future=300)

The error among the answers given does not fall steadily as the threshold does, so conformal risk control, whose losses
must (Angelopoulos et al. 2024, theorem 1), cannot bound it. Two rules are offered:

- `safe_threshold`: with probability `confidence`, at most a share alpha of the answers *given* to the next questions is
  wrong. Learn then test (Angelopoulos et al. 2021): thresholds are tested in a fixed sequence. The p-value is that of
  the prediction limit of a binomial (Thatcher 1964), so that the promise is about the next `num_future` questions
  themselves and not about their expectation; with infinitely many it is Clopper and Pearson's.
- `expected_threshold`: conformal risk control proper, for a loss that is monotone: the expected share of *all*
  questions that are answered wrongly is at most alpha.

Questions about one image are wrong together: numbers are divided by the design effect (Kish 1965) for the former, and
again by what few images cost (Korn and Graubard 1998); the latter counts images. The first is thereby approximate, and
`resplits` measures how well it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from radvqa.score.intervals import cluster_codes
from radvqa.score.power import intra_class_correlation
from radvqa.trust.risk import Fit, cross_fitted

NUM_LEVELS = 40
"""Coverages that are tested."""


@dataclass(frozen=True)
class Rule:
    """Answer where the risk is at most `threshold`; -inf: never."""

    alpha: float
    threshold: float
    coverage: float
    """Share of the calibration questions that are answered."""
    error: float | None
    """Share of those answers that were wrong; None: nothing is answered."""
    effect: float
    """Design effect by which numbers were divided."""

    def record(self) -> dict[str, Any]:
        """As JSON holds it: null where nothing is answered."""
        return asdict(self) | {"threshold": self.threshold if math.isfinite(self.threshold) else None}


def p_value(num_wrong: float, num_answered: float, alpha: float, num_future: float = math.inf) -> float:
    """Probability bound of seeing so few wrong if more than alpha of the next answers were wrong.

    The future number of wrong answers given k of n is beta-binomial with Beta(k + 1, n - k) (Thatcher 1964, the upper
    exact limit); numbers need not be whole.
    """
    if num_answered <= num_wrong:
        return 1.0
    posterior = num_wrong + 1.0, num_answered - num_wrong
    if not math.isfinite(num_future):
        return float(stats.beta.sf(alpha, *posterior))
    return beta_binomial_tail(
        math.floor(alpha * max(1, round(num_future)) + 1e-9), max(1, round(num_future)), *posterior
    )


def beta_binomial_tail(most: int, num: int, a: float, b: float) -> float:
    """P(K > most) for K of num with a success rate that is Beta(a, b); scipy's own takes a hundred times as long."""
    k = np.arange(most + 1)
    chosen = -special.betaln(num - k + 1, k + 1) - math.log(num + 1)
    return float(max(0.0, 1.0 - np.exp(chosen + special.betaln(k + a, num - k + b) - special.betaln(a, b)).sum()))


def design_effect(clusters: np.ndarray, correlation: float, confidence: float) -> float:
    """[1 + (m - 1) x correlation] x (t / z)^2: m the mean number of answers beside an answer about the same image,
    itself included; t and z the quantiles at `confidence` of Student's distribution, with images - 1 degrees of freedom,
    and of the normal one (Korn and Graubard 1998, for exact limits of a clustered share)."""
    sizes = np.bincount(cluster_codes(clusters)) if len(clusters) else np.ones(1)
    together = 1.0 + max(0.0, correlation) * (float((sizes**2).sum() / sizes.sum()) - 1.0)
    return together * float(stats.t.ppf(confidence, max(1, len(sizes) - 1)) / stats.norm.ppf(confidence)) ** 2


def safe_threshold(
    risk: np.ndarray,
    wrong: np.ndarray,
    clusters: np.ndarray,
    alpha: float,
    *,
    confidence: float = 0.9,
    num_future: float = math.inf,
) -> Rule:
    """The loosest threshold that passes the sequence of tests; never answering where the first one fails.

    The sequence begins where the risks themselves, taken at their word, promise the smallest p-value, and goes on to
    looser thresholds: it is fixed before a single outcome of these answers is looked at.
    """
    correlation = intra_class_correlation(wrong.astype(float), clusters)
    correlation = 0.0 if math.isnan(correlation) else correlation
    levels = np.unique(np.sort(risk)[np.linspace(0, len(risk) - 1, NUM_LEVELS + 1).astype(int)[1:]])

    def tested(outcome: np.ndarray, threshold: float) -> float:
        inside = risk <= threshold
        effect = design_effect(clusters[inside], correlation, confidence)
        future = num_future * inside.mean() / effect
        return p_value(outcome[inside].sum() / effect, inside.sum() / effect, alpha, future)

    promised = [tested(risk, level) for level in levels]
    start = int(np.argmin(promised))
    chosen = -math.inf
    for level in levels[start:]:
        if tested(wrong.astype(float), level) > 1 - confidence:
            break
        chosen = float(level)
    inside = risk <= chosen
    effect = design_effect(clusters[inside], correlation, confidence)
    return Rule(alpha, chosen, float(inside.mean()), float(wrong[inside].mean()) if inside.any() else None, effect)


def expected_threshold(risk: np.ndarray, wrong: np.ndarray, clusters: np.ndarray, alpha: float) -> Rule:
    """Conformal risk control (Angelopoulos et al. 2024, eq. 4), images exchangeable, loss at most 1.

    The loss of an image is the share of its questions that are answered and wrong; the threshold is the largest with
    (C x mean loss + 1) / (C + 1) <= alpha over C images.
    """
    codes = cluster_codes(clusters)
    sizes = np.bincount(codes)
    order = np.argsort(risk, kind="stable")
    total = np.cumsum((wrong / sizes[codes])[order])
    last = np.append(risk[order][1:] != risk[order][:-1], True)  # equal risks are answered together
    allowed = last & ((total + 1) / (len(sizes) + 1) <= alpha + 1e-12)
    chosen = float(risk[order][np.flatnonzero(allowed)[-1]]) if allowed.any() else -math.inf
    inside = risk <= chosen
    return Rule(alpha, chosen, float(inside.mean()), float(wrong[inside].mean()) if inside.any() else None, 1.0)


# ---------------------------------------------------------------- does it hold?


def resplits(
    x: np.ndarray,
    wrong: np.ndarray,
    clusters: np.ndarray,
    alphas: tuple[float, ...],
    fit: Fit,
    *,
    confidence: float = 0.9,
    num_resplits: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """For each alpha, how often both promises held on held-out halves.

    Each time the images are split in two. On one half risks are cross-fitted, thresholds set and the risk model fitted;
    the other half, of which nothing was known, is asked. Nothing answered counts as held, and is counted apart.
    """
    rng, codes = np.random.default_rng(seed), cluster_codes(clusters)
    num_clusters = int(codes.max()) + 1
    kept: dict[float, list[tuple[float, float, float, float]]] = {alpha: [] for alpha in alphas}
    for number in range(num_resplits):
        here = np.isin(codes, rng.permutation(num_clusters)[: num_clusters // 2])
        own = cross_fitted(x[here], wrong[here], clusters[here], fit, seed=number)
        risk, outcome = fit(x[here], wrong[here], clusters[here])(x[~here]), wrong[~here]
        for alpha in alphas:
            about = own, wrong[here], clusters[here], alpha
            given = risk <= safe_threshold(*about, confidence=confidence, num_future=len(risk)).threshold
            loose = risk <= expected_threshold(*about).threshold
            error = outcome[given].mean() if given.any() else 0.0
            kept[alpha].append(
                (float(given.mean()), float(error), float(loose.mean()), float((outcome & loose).mean()))
            )
        if progress:
            progress(number + 1, num_resplits)
    return [_held(alpha, np.array(found)) for alpha, found in kept.items()]


def _held(alpha: float, found: np.ndarray) -> dict[str, Any]:
    coverage, error, loose, missed = found.T
    return {
        "alpha": alpha,
        "num_resplits": len(found),
        "held": float((error <= alpha + 1e-9).mean()),
        "mean_coverage": float(coverage.mean()),
        "mean_error": float(error[coverage > 0].mean()) if (coverage > 0).any() else None,
        "silent": float((coverage == 0).mean()),
        "expected_coverage": float(loose.mean()),
        "expected_loss": float(missed.mean()),
    }
