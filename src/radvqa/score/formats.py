"""A value as text: with its interval, or as the founding paper prints it.

In: a row of scores.json. Out: a short string.

    mean_sd({"value": 0.3341, "sd": 0.2104, ...}) == "0.334 ± 0.210"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNSCORED = "-"


def mean_sd(row: Mapping[str, Any], digits: int = 3) -> str:
    """Mean ± one standard deviation over the questions, as the founding paper's tables have it.

    The spread of single answers, not the uncertainty of the mean: for that see `with_interval`.
    """
    if row["value"] is None:
        return UNSCORED
    return f"{row['value']:.{digits}f}" + (f" ± {row['sd']:.{digits}f}" if row.get("sd") is not None else "")


def with_interval(row: Mapping[str, Any], digits: int = 3) -> str:
    """Mean, 95 % interval and n: "0.680 [0.583, 0.764], n = 100"; unscored questions are said where there are some."""
    if row["value"] is None:
        return UNSCORED
    text = f"{row['value']:.{digits}f}"
    if row.get("low") is not None:
        text += f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    unscored = row.get("num_unscored") or 0
    return f"{text}, n = {row['n']}" + (f" ({unscored} unscored)" if unscored else "")
