"""The forms of the scaling law: what they predict, and how each parameter moves it.

In: parameters float[K, P] of K laws and the logarithms of the factors float[N, F]. Out: losses float[K, N].

    FORMS["joint"].parameters == ("A", "alpha", "beta", "E")

joint is Equation 1 of Zhang et al. 2024 (arXiv:2402.17193), the founding paper's law: L = A / (X^alpha D^beta) + E, with D
the fine-tuning data and X another factor: size of the model, rank of the adapters. data and model hold the other factor
fixed; additive, L = A / X^alpha + B / D^beta + E, is what Zhang et al. compare it with (after Hoffmann et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_EXPONENT = 5.0
"""No loss that was ever measured falls faster; it keeps a fit of two points from running away."""


@dataclass(frozen=True)
class Form:
    """A sum of terms coefficient / (factor^exponent ...), and a floor."""

    name: str
    terms: tuple[tuple[str, ...], ...]
    """The factors of each term."""
    text: str
    """The formula, as it is printed."""

    @property
    def factors(self) -> tuple[str, ...]:
        """X, D: the columns of `logs`, in this order."""
        return tuple(factor for term in self.terms for factor in term)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Coefficient and exponents of each term, then the floor."""
        names: list[str] = []
        for coefficient, term in zip("AB", self.terms):
            names += [coefficient, *(EXPONENT[factor] for factor in term)]
        return (*names, "E")

    @property
    def is_exponent(self) -> np.ndarray:
        """bool[P]"""
        return np.isin(self.parameters, list(EXPONENT.values()))

    @property
    def is_coefficient(self) -> np.ndarray:
        """bool[P]"""
        return np.isin(self.parameters, ("A", "B"))

    def predict(self, values: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses float[K, N] and their derivatives float[K, N, P].

        values: float[K, P], coefficients as their logarithms. logs: float[N, F], the logarithms of the factors.
        """
        slopes = np.empty((len(values), len(logs), len(self.parameters)))
        total = np.repeat(values[:, -1:], len(logs), axis=1)
        place = factor = 0
        for term in self.terms:
            exponents = values[:, place + 1 : place + 1 + len(term)]
            columns = logs[:, factor : factor + len(term)]
            part = np.exp(np.clip(values[:, place, None] - exponents @ columns.T, -700, 700))
            slopes[:, :, place] = part
            slopes[:, :, place + 1 : place + 1 + len(term)] = -part[:, :, None] * columns
            total += part
            place, factor = place + 1 + len(term), factor + len(term)
        slopes[:, :, -1] = 1.0
        return total, slopes

    def clip(self, values: np.ndarray) -> np.ndarray:
        """Parameters float[K, P] brought into what is allowed: exponents in [0, MOST_EXPONENT], E at least 0."""
        low = np.where(self.is_coefficient, -700.0, 0.0)
        high = np.where(self.is_coefficient, 700.0, np.where(self.is_exponent, MOST_EXPONENT, np.inf))
        return np.clip(values, low, high)

    def moved(self, values: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The same laws for factors whose logarithms are larger by shift float[F]."""
        values, factor = values.copy(), 0
        for place, term in zip(np.flatnonzero(self.is_coefficient), self.terms):
            exponents = values[:, place + 1 : place + 1 + len(term)]
            values[:, place] += exponents @ shift[factor : factor + len(term)]
            factor += len(term)
        return values


EXPONENT = {"X": "alpha", "D": "beta"}
FORMS = {
    form.name: form
    for form in (
        Form("data", (("D",),), "L(D) = A / D^beta + E"),
        Form("model", (("X",),), "L(X) = A / X^alpha + E"),
        Form("joint", (("X", "D"),), "L(X, D) = A / (X^alpha D^beta) + E"),
        Form("additive", (("X",), ("D",)), "L(X, D) = A / X^alpha + B / D^beta + E"),
    )
}
