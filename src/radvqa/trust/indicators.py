"""The indicators by name: what may tell, without the reference, that an answer is wrong.

In: nothing. Out: INDICATORS, name -> Indicator.

    INDICATORS["disagreement"].sign == 1

Each is a column of indicators.parquet. `sign` says before any answer is looked at which way it should point, so that an
indicator that points the other way scores below 0.5 and is not turned round after the fact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Indicator:
    """One number about one answer."""

    name: str
    title: str
    """As a table says it."""
    sign: int
    """1: larger should mean riskier; -1: smaller should."""
    unit: str
    source: str


INDICATORS = {
    found.name: found
    for found in (
        Indicator("logprob", "answer log-probability", -1, "nats", "Hendrycks and Gimpel 2017, for a whole answer"),
        Indicator("entropy", "token entropy, mean", 1, "nats", "Malinin and Gales 2021, eq. 5, one model"),
        Indicator("disagreement", "disagreement over sampled runs", 1, "share", "Manakul et al. 2023, by exact words"),
        Indicator("image_gap", "gap to the blank image", -1, "nats", "log p with the image minus without"),
        Indicator(
            "image_attention", "attention mass on the image", -1, "share", "mean of layers, heads, answer tokens"
        ),
        Indicator("map_entropy", "map entropy", 1, "share of the largest", "entropy of the raw attention map / log N"),
        Indicator("distance", "distance to the training images", 1, "1 - cosine", "Sun et al. 2022, k-th neighbour"),
        Indicator("agreement", "agreement of two saliency methods", -1, "rank correlation", "Krishna et al. 2022"),
    )
}


def directed(table: pl.DataFrame, names: list[str]) -> np.ndarray:
    """float[N, K]: the indicators turned so that larger should mean riskier; nan where one was not measured."""
    columns = [INDICATORS[name].sign * table[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(table), 0))


def measured(table: pl.DataFrame) -> list[str]:
    """The indicators that this table holds and that differ between its answers."""
    return [name for name in INDICATORS if name in table.columns and table[name].drop_nulls().n_unique() > 1]
