"""Fits of the law by a robust loss on log residuals, from many starts, many fits side by side.

In: losses float[K, N] of K data sets measured at the same factors float[N, F]. Out: parameters float[K, P].

    values, costs = fit_many(FORMS["data"], np.log(losses)[None], np.log(sizes)[:, None], delta=0.02)

Residuals are log L - log of the prediction, so that a percent is a percent at any loss; beyond `delta` they count by
their size and not its square (Huber 1964). Levenberg-Marquardt steps on reweighted residuals, kept within the bounds;
all fits take their steps together, as one product of arrays.
"""

from __future__ import annotations

import itertools

import numpy as np

from radvqa.scaling.law import Form

EXPONENTS = (0.05, 0.2, 0.5, 1.0)
FLOORS = (0.0, 0.5, 0.8, 0.95)
"""Starts of E, as a share of the lowest loss."""
MAX_STEPS = 200
TOLERANCE = 1e-10
HUBER = 1.345
"""delta in standard deviations: 95 % as efficient as least squares where the noise is normal (Huber 1964)."""


def huber(residuals: np.ndarray, delta: float) -> np.ndarray:
    """r^2 / 2 up to delta, delta (|r| - delta / 2) beyond."""
    size = np.abs(residuals)
    return np.where(size <= delta, size**2 / 2, delta * (size - delta / 2))


def starts(form: Form, targets: np.ndarray, logs: np.ndarray, *, few: bool = False) -> np.ndarray:
    """float[S, P]: a grid over exponents and floor; each coefficient such that the mean log loss is met."""
    lowest = float(np.exp(targets.min()))
    places = [*itertools.product(itertools.product(EXPONENTS, repeat=len(form.factors)), FLOORS)]
    if few:
        places = [((0.5,) * len(form.factors), floor) for floor in (0.0, 0.8)]
    rows = []
    for exponent, floor in places:
        row = np.zeros(len(form.parameters))
        row[form.is_exponent], row[-1] = exponent, floor * lowest
        reached = np.log(np.maximum(np.exp(targets) - row[-1], 1e-3 * lowest)).mean()
        fall = np.array(exponent) @ logs.mean(axis=0) / len(form.terms)
        row[form.is_coefficient] = reached - np.log(len(form.terms)) + fall
        rows.append(row)
    return np.array(rows)


def descend(
    form: Form, values: np.ndarray, targets: np.ndarray, logs: np.ndarray, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """From values float[K, P] down to the nearest minimum for log losses float[K, N]: parameters and costs float[K]."""
    values = form.clip(values)
    residuals, slopes, costs = _state(form, values, targets, logs, delta)
    damping = np.full(len(values), 1e-2)
    active = np.ones(len(values), dtype=bool)
    for _ in range(MAX_STEPS):
        at = np.flatnonzero(active)
        if not len(at):
            break
        tried = form.clip(values[at] + _step(form, values[at], residuals[at], slopes[at], damping[at], delta))
        r, s, c = _state(form, tried, targets[at], logs, delta)
        better = c < costs[at]
        active[at] = np.where(better, costs[at] - c > TOLERANCE * costs[at] + 1e-16, damping[at] < 1e8)
        damping[at] = np.where(better, np.maximum(damping[at] / 5, 1e-9), damping[at] * 4)
        won = at[better]
        values[won], residuals[won], slopes[won], costs[won] = tried[better], r[better], s[better], c[better]
    return values, costs


def _state(
    form: Form, values: np.ndarray, targets: np.ndarray, logs: np.ndarray, delta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals float[K, N], slopes of the log prediction float[K, N, P], costs float[K]."""
    predicted, slopes = form.predict(values, logs)
    predicted = np.maximum(predicted, 1e-300)
    residuals = targets - np.log(predicted)
    return residuals, slopes / predicted[:, :, None], huber(residuals, delta).sum(axis=1)


def _step(
    form: Form, values: np.ndarray, residuals: np.ndarray, slopes: np.ndarray, damping: np.ndarray, delta: float
) -> np.ndarray:
    """A damped Gauss-Newton step; a parameter at its bound that would leave it stays."""
    weights = np.minimum(1.0, delta / np.maximum(np.abs(residuals), 1e-300))
    gradient = np.einsum("kn,knp->kp", weights * residuals, slopes)
    stuck = (form.clip(values + 1e-9 * np.sign(gradient)) == values) & (gradient != 0)
    slopes = np.where(stuck[:, None, :], 0.0, slopes)
    curvature = np.einsum("kn,knp,knq->kpq", weights, slopes, slopes, optimize=True)
    diagonal = np.einsum("kpp->kp", curvature).copy()
    place = np.arange(values.shape[1])
    curvature[:, place, place] += damping[:, None] * diagonal + np.where(diagonal > 0, 1e-14, 1.0)
    return np.linalg.solve(curvature, np.where(stuck, 0.0, gradient)[:, :, None])[:, :, 0]


def fit_many(
    form: Form,
    targets: np.ndarray,
    logs: np.ndarray,
    delta: float,
    *,
    near: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The best fit of each row of log losses float[K, N], from every start: parameters float[K, P], costs float[K].

    near: float[S, P], starts to add to a short list instead of the whole grid, as for draws of a bootstrap.
    """
    shift = logs.mean(axis=0)
    centred = logs - shift
    grid = starts(form, targets.mean(axis=0), centred, few=near is not None)
    if near is not None:
        grid = np.concatenate([form.moved(near, -shift), grid])
    values = np.repeat(grid[None], len(targets), axis=0).reshape(-1, grid.shape[1])
    found, costs = descend(form, values, np.repeat(targets, len(grid), axis=0), centred, delta)
    costs = costs.reshape(len(targets), len(grid))
    best = costs.argmin(axis=1)
    chosen = found.reshape(len(targets), len(grid), -1)[np.arange(len(targets)), best]
    return form.moved(chosen, shift), costs.min(axis=1)


def fit_one(form: Form, targets: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, float]:
    """The best fit of log losses float[N], and the delta that the noise found in them calls for.

    delta is HUBER times the robust spread of the residuals (1.4826 median |r|, by n / (n - P) degrees of freedom),
    found anew after each of three fits, beginning with plain least squares.
    """
    free = max(len(targets) - len(form.parameters), 1)
    delta, near = np.inf, None
    for _ in range(3):
        near, _ = fit_many(form, targets[None], logs, delta, near=near)
        residuals = targets - np.log(form.predict(near, logs)[0][0])
        spread = 1.4826 * np.median(np.abs(residuals)) * np.sqrt(len(targets) / free)
        delta = max(HUBER * float(spread), 1e-6)
    values, _ = fit_many(form, targets[None], logs, delta)
    return values[0], delta
