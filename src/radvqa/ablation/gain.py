"""What annealing gains: annealed minus plain, over one or several pairs of arms, or between the floors of two laws.

In: pairs of Rows (plain, annealed) that answered the same questions; or two Fits. Out: gains with intervals.

    gains([(plain, annealed)], metrics=("closed_accuracy",))[0].value

Within a pair the interval is drawn over questions, by image: it holds for these two runs. Over pairs that differ in their
seed (or their amount of data) it is a t interval over the pairs' gains, which holds for other runs too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from radvqa.ablation.rows import Row
from radvqa.ablation.table import make_table
from radvqa.errors import InputError
from radvqa.scaling import Fit
from radvqa.score.paired import holm

FEW = 2
"""Pairs from which an interval over pairs can be had."""


@dataclass(frozen=True)
class Gain:
    """Annealed minus plain in one metric."""

    metric: str
    pair: str
    """The two rows, or `mean of N pairs`."""
    value: float
    low: float | None
    high: float | None
    p: float
    p_holm: float
    n: int
    """Questions; for a mean, pairs."""


def gains(
    pairs: Sequence[tuple[Row, Row]], *, metrics: Sequence[str] = (), draws: int = 2000, seed: int = 0
) -> list[Gain]:
    """The gain of each pair in each metric, then, from two pairs on, their mean. Holm is over all tests of one kind.

    Raises InputError where a pair has no metric in common.
    """
    found: list[Gain] = []
    for plain, annealed in pairs:
        table = make_table([plain, annealed], metrics=metrics, reference=plain.name, draws=draws, seed=seed)
        if not table.tests:
            raise InputError(f"{plain.name} and {annealed.name} have no scored question in common")
        for cell in table.tests:
            one = cell.difference
            assert one is not None
            name = f"{annealed.name} minus {plain.name}"
            found.append(Gain(cell.metric, name, one.value, one.low, one.high, one.p, one.p, one.n))
    means = [
        _mean([gain for gain in found if gain.metric == metric]) for metric in dict.fromkeys(g.metric for g in found)
    ]
    return _adjusted(found) + _adjusted([mean for mean in means if mean is not None])


def _mean(some: Sequence[Gain]) -> Gain | None:
    """Mean over pairs with its 95 % t interval and the p-value of its t test."""
    values = np.array([gain.value for gain in some])
    if len(values) < FEW:
        return None
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * error
    value = float(values.mean())
    p = float(2 * stats.t.sf(abs(value) / error, len(values) - 1)) if error > 0 else float(value == 0)
    return Gain(some[0].metric, f"mean of {len(values)} pairs", value, value - reach, value + reach, p, p, len(values))


def _adjusted(some: list[Gain]) -> list[Gain]:
    adjusted = holm([gain.p for gain in some])
    return [Gain(**{**gain.__dict__, "p_holm": p}) for gain, p in zip(some, adjusted)]


def floor_gain(plain: Fit, annealed: Fit) -> tuple[float, float, float]:
    """How much lower the annealed law's floor E is, with its interval at the laws' level.

    The draws of the two laws are independent: every draw of one is set against a draw of the other.
    """
    num = min(len(plain.draws), len(annealed.draws))
    other = np.random.default_rng(0).permutation(num)
    drawn = plain.draws[:num, -1] - annealed.draws[other, -1]
    low, high = min((plain, annealed), key=lambda fit: fit.free).spread(drawn)
    return plain.value("E") - annealed.value("E"), low, high
