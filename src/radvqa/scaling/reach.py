"""What a law says about what was not measured: the data a target needs, and how well it foretells the largest runs.

In: a Fit. Out: numbers with intervals.

    reach(fit, 1.9).data;  held_out(points, FORMS["data"]).error
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from radvqa.errors import InputError
from radvqa.scaling.estimate import Fit
from radvqa.scaling.fit import fit_one
from radvqa.scaling.law import Form
from radvqa.scaling.points import Points


@dataclass(frozen=True)
class Reach:
    """The data a target loss needs; low and high may be infinite."""

    target: float
    data: float
    low: float
    high: float
    never: float
    """Share of draws whose floor the target is not above."""
    beyond: float
    """data as a multiple of the most that was measured: above 1, it is an extrapolation."""


def reach(fit: Fit, target: float, *, model: float | None = None) -> Reach:
    """D at which the loss comes down to the target: (A / (X^alpha (L - E)))^(1 / beta).

    model: X, for laws that have it. Raises InputError for a target that no amount of data reaches, with the reason.
    """
    if "D" not in fit.form.factors:
        raise InputError(f"{fit.form.text} has no D: it cannot say how much data is needed", key="form")
    if "X" in fit.form.factors and (model is None or not model > 0):
        raise InputError(f"{fit.form.text} needs X above 0 to say how much data is needed", key="model")
    if not target > 0:
        raise InputError(f"found {target:g}", key="target", fix="give a loss above 0")
    data = float(_needed(fit, fit.values[None], target, model)[0])
    if math.isinf(data):
        raise InputError(f"{target:g} is never reached: {_reason(fit, model)}", key="target")
    drawn = _needed(fit, fit.draws, target, model)
    low, high = fit.spread(drawn)
    most = float(fit.points.factors["D"].max())
    return Reach(target, data, low, high, float(np.isinf(drawn).mean()), data / most)


def floor(fit: Fit, model: float | None = None) -> tuple[float, float, float]:
    """The loss with endless data, with its interval: E, and in the additive form what a model of size X adds to it."""
    found = _floors(fit, np.concatenate([fit.values[None], fit.draws]), model)
    return float(found[0]), *fit.spread(found[1:])


def _floors(fit: Fit, values: np.ndarray, model: float | None) -> np.ndarray:
    if fit.form.name != "additive":
        return values[:, -1]
    assert model is not None
    return values[:, -1] + np.exp(values[:, 0] - values[:, 1] * math.log(model))


def _reason(fit: Fit, model: float | None) -> str:
    beta = fit.value("beta")
    if beta == 0:
        return "the loss does not fall with more data (beta = 0)"
    value, low, high = floor(fit, model)
    return f"the floor is {value:.4g} ({100 * fit.level:.0f} % interval {low:.4g} to {high:.4g})"


def _needed(fit: Fit, values: np.ndarray, target: float, model: float | None) -> np.ndarray:
    """float[K]: D for each row of parameters, infinite where the target is never reached."""
    names = fit.form.parameters
    beta = values[:, names.index("beta")]
    coefficient = values[:, names.index("B" if fit.form.name == "additive" else "A")]
    if fit.form.name == "joint":
        assert model is not None
        coefficient = coefficient - values[:, names.index("alpha")] * math.log(model)
    above = target - _floors(fit, values, model)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        data = np.exp((coefficient - np.log(above)) / beta)
    return np.where((above > 0) & (beta > 0), data, np.inf)


# ---------------------------------------------------------------- extrapolation


@dataclass(frozen=True)
class HeldOut:
    """A law fitted without the largest D, against what was measured there."""

    at: float
    """The D that was left out."""
    n: int
    measured: float
    """Mean loss there."""
    predicted: float
    error: float
    """Mean |predicted - measured| / measured over the points left out."""
    carried: float
    """The same error when the mean loss at the largest D that was kept is carried forward: what the law must beat."""

    def summary(self) -> dict[str, Any]:
        """As fit.json has it."""
        return dict(self.__dict__)


def held_out(points: Points, form: Form) -> HeldOut | None:
    """Leave out the largest D, fit the rest, foretell it. None where too few points would be left.

    Points of the same X at the largest kept D are what is carried forward.
    """
    if "D" not in form.factors:
        return None
    data = points.factors["D"]
    largest = data.max()
    kept, left = points.chosen(data < largest), points.chosen(data == largest)
    if len(kept) < len(form.parameters) + 1:
        return None
    values, _ = fit_one(form, np.log(kept.loss), kept.logs(form))
    predicted = form.predict(values[None], left.logs(form))[0][0]
    last = kept.chosen(kept.factors["D"] == kept.factors["D"].max())
    models = last.factors.get("X", np.zeros(len(last)))
    carried = []
    for model in left.factors.get("X", np.zeros(len(left))):
        same = last.loss[models == model] if "X" in form.factors and (models == model).any() else last.loss
        carried.append(same.mean())
    return HeldOut(
        at=float(largest),
        n=len(left),
        measured=float(left.loss.mean()),
        predicted=float(predicted.mean()),
        error=float((np.abs(predicted - left.loss) / left.loss).mean()),
        carried=float((np.abs(np.array(carried) - left.loss) / left.loss).mean()),
    )
