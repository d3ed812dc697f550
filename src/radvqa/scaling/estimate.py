"""The law of one group of points: parameters with bootstrap intervals, and what the points cannot tell.

In: Points and a form. Out: a Fit.

    fit = estimate(points, FORMS["joint"], num_draws=1000, seed=0); fit.interval("E")

Each draw puts new noise onto the fitted curve at the same factors: residuals drawn with replacement, divided by
sqrt(1 - leverage) since a fit leaves too little of them (Davison and Hinkley 1997, section 6.3.3), each with a random
sign. Percentiles of the draws are moved outward from the normal to the t distribution of N - P degrees of freedom.
Points count as independent: those of one run are not, and a Fit warns of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from radvqa.errors import InputError
from radvqa.scaling.fit import fit_many, fit_one
from radvqa.scaling.law import FORMS, MOST_EXPONENT, Form
from radvqa.scaling.points import Points
from radvqa.tree import one_of

LEVEL = 0.9
MOST_LEVERAGE = 0.9


@dataclass(frozen=True)
class Fit:
    """A law and how sure it is."""

    form: Form
    group: str
    values: np.ndarray
    """float[P], coefficients as their logarithms."""
    draws: np.ndarray
    """float[B, P]"""
    points: Points
    delta: float
    """Log residuals beyond it count by their size only."""
    warnings: tuple[str, ...] = ()
    level: float = LEVEL

    @property
    def free(self) -> int:
        """Degrees of freedom, at least 1."""
        return max(len(self.points) - len(self.values), 1)

    def value(self, name: str) -> float:
        """A parameter, coefficients as themselves."""
        return float(self._plain(self.values[None], name)[0])

    def interval(self, name: str) -> tuple[float, float]:
        """Low and high of a parameter."""
        return self.spread(self._plain(self.draws, name))

    def spread(self, drawn: np.ndarray) -> tuple[float, float]:
        """The interval of any number that was computed from each draw, float[B]; infinite values may be among them."""
        tail = tail_of(self.level, self.free)
        low, high = np.quantile(drawn, [tail, 1 - tail], method="higher" if np.isinf(drawn).any() else "linear")
        return float(low), float(high)

    def _plain(self, values: np.ndarray, name: str) -> np.ndarray:
        place = self.form.parameters.index(name)
        return np.exp(values[:, place]) if self.form.is_coefficient[place] else values[:, place]

    def predict(self, factors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Losses float[N] at factors X, D float[N]."""
        return self.form.predict(self.values[None], _logs(self.form, factors))[0][0]

    def band(self, factors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Low and high float[N] of the curve itself (not of a new point)."""
        tail = tail_of(self.level, self.free)
        low, high = np.quantile(self.form.predict(self.draws, _logs(self.form, factors))[0], [tail, 1 - tail], axis=0)
        return low, high

    def summary(self) -> dict[str, Any]:
        """As fit.json has it: what `from_summary` reads back, and the intervals for people."""
        names = self.form.parameters
        spread = float(np.sqrt((self.residuals() ** 2).sum() / self.free))
        return {
            "group": self.group,
            "form": self.form.name,
            "formula": self.form.text,
            "n": len(self.points),
            "parameters": {n: dict(zip(("value", "low", "high"), (self.value(n), *self.interval(n)))) for n in names},
            "level": self.level,
            "residual_sd": spread,
            "delta": self.delta,
            "warnings": list(self.warnings),
            "points": {"loss": self.points.loss.tolist(), "runs": list(self.points.runs)}
            | {name: column.tolist() for name, column in self.points.factors.items()},
            "draws": {name: self.draws[:, place].tolist() for place, name in enumerate(names)},
        }

    def residuals(self) -> np.ndarray:
        """float[N], log loss minus log prediction."""
        return np.log(self.points.loss) - np.log(self.predict(self.points.factors))


def from_summary(found: Mapping[str, Any]) -> Fit:
    """The Fit that a summary was made of."""
    form, told = FORMS[found["form"]], found["points"]
    factors = {name: np.array(told[name]) for name in ("D", "X") if name in told}
    points = Points(found["group"], np.array(told["loss"]), factors, tuple(told["runs"]))
    values = np.array([found["parameters"][name]["value"] for name in form.parameters])
    values = np.where(form.is_coefficient, np.log(np.where(form.is_coefficient, values, 1.0)), values)
    draws = np.stack([found["draws"][name] for name in form.parameters], axis=1)
    return Fit(form, found["group"], values, draws, points, found["delta"], tuple(found["warnings"]), found["level"])


def tail_of(level: float, free: int) -> float:
    """The percentile at which an interval ends: outward of (1 - level) / 2, since the noise's size was estimated too."""
    return float(stats.norm.cdf(stats.t.ppf((1 - level) / 2, free)))


def _logs(form: Form, factors: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.log(np.stack([np.asarray(factors[factor], dtype=float) for factor in form.factors], axis=1))


# ---------------------------------------------------------------- from points to a Fit


def form_for(points: Points, name: str | None = None) -> Form:
    """The form of this name; None: the law of every factor that takes more than one value.

    Raises InputError for a name that is no form, and where nothing varies.
    """
    if name is not None and name not in FORMS:
        raise InputError(f"found {name!r}", key="form", fix=one_of(name, list(FORMS)))
    varying = [factor for factor, column in points.factors.items() if len(np.unique(column)) > 1]
    if not varying:
        raise InputError(f"all points of {points.group} have the same data and model", key="data", fix="vary one")
    return FORMS[name or {1: {"D": "data", "X": "model"}[varying[0]], 2: "joint"}[len(varying)]]


def estimate(points: Points, form: Form, *, num_draws: int = 1000, seed: int = 0, level: float = LEVEL) -> Fit:
    """Fit a form and draw its uncertainty. Raises InputError for fewer points than parameters."""
    needed = len(form.parameters)
    if len(points) < needed:
        found = f"{points.group} has {len(points)} points, {form.text} has {needed} parameters"
        raise InputError(found, fix="measure more runs, or fit a form with fewer parameters")
    logs, targets = points.logs(form), np.log(points.loss)
    values, delta = fit_one(form, targets, logs)
    predicted, slopes = form.predict(values[None], logs)
    centre = np.log(predicted[0])
    scaled = _freed(targets - centre, slopes[0] / predicted[0][:, None])
    rng = np.random.default_rng(seed)
    shape = (num_draws, len(points))
    noise = rng.choice(scaled, shape) * rng.choice([-1.0, 1.0], shape)
    draws, _ = fit_many(form, centre + noise, logs, delta, near=values[None])
    fit = Fit(form, points.group, values, draws, points, delta, level=level)
    return Fit(**{**fit.__dict__, "warnings": tuple(unclear(fit))})


def _freed(residuals: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Residuals float[N] divided by sqrt(1 - leverage), the leverage of the fit with slopes float[N, P]."""
    kept = slopes[:, np.linalg.norm(slopes, axis=0) > 0]
    left, sizes, _ = np.linalg.svd(kept / np.linalg.norm(kept, axis=0), full_matrices=False)
    leverage = (left[:, sizes > 1e-10] ** 2).sum(axis=1)
    return residuals / np.sqrt(1 - np.minimum(leverage, MOST_LEVERAGE))


# ---------------------------------------------------------------- what the points cannot tell


def unclear(fit: Fit) -> list[str]:
    """Sentences on what these points do not identify, the gravest first."""
    found = []
    if len(fit.points) < len(fit.values) + 2:
        found.append(f"{len(fit.points)} points for {len(fit.values)} parameters: the intervals mean little")
    for factor, exponent in zip(fit.form.factors, np.array(fit.form.parameters)[fit.form.is_exponent]):
        found += _about_exponent(fit, factor, str(exponent))
    factors = fit.points.logs(fit.form)
    if len(fit.form.factors) == 2 and factors.std(axis=0).min() > 0:
        together = abs(float(np.corrcoef(factors.T)[0, 1]))
        if together > 0.95:
            found.append(f"X and D grow together (r = {together:.2f}): their exponents cannot be told apart")
    if fit.value("E") == 0:
        found.append("no floor shows (E = 0): the points do not bend away from a power law")
    elif (fit.draws[:, -1] == 0).mean() > (1 - fit.level) / 2:
        found.append(f"the floor may be 0: it is in {100 * (fit.draws[:, -1] == 0).mean():.0f} % of the draws")
    if len(set(fit.points.runs)) < len(fit.points.runs):
        found.append("several points come from one run: they are not independent, and the intervals are too narrow")
    return found


def _about_exponent(fit: Fit, factor: str, exponent: str) -> list[str]:
    column = fit.points.factors[factor]
    distinct, reach = len(np.unique(column)), column.max() / column.min()
    found = []
    if distinct < 4:
        found.append(f"{factor} takes {distinct} values: {exponent} and E need at least 4 to be told apart")
    if reach < 10:
        found.append(f"{factor} spans a factor of {reach:.3g}: under 10, {exponent} and E trade off against each other")
    low, high = fit.interval(exponent)
    if fit.value(exponent) >= MOST_EXPONENT:
        found.append(
            f"{exponent} ran to its bound of {MOST_EXPONENT:g}: the loss hardly depends on the larger {factor}"
        )
    elif fit.value(exponent) == 0:
        found.append(f"the loss does not fall with {factor} ({exponent} = 0)")
    elif low == 0 or high > 3 * low:
        found.append(f"{exponent} is not identified: its {100 * fit.level:.0f} % interval is {low:.3g} to {high:.3g}")
    return found
