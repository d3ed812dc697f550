"""Option-likelihood accuracy: is the option the model holds most likely the right one?

In: the options, the log-probability of each, the references. Out: 1.0, 0.0, or None where nothing was measured.

    option_accuracy(["CT", "MR"], [-0.2, -1.7], ["CT"]) == 1.0

It needs no parsing, so it separates what a model knows from how it words it. Options that read the same count as one;
two different options at the same top likelihood are no decision, and wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from radvqa.errors import InputError
from radvqa.score.registry import metric
from radvqa.score.text import normalise


@metric("option_accuracy", "option-likelihood accuracy", kinds=("closed", "choice"), uses="likelihood", binary=True)
def option_accuracy(
    options: Sequence[str], option_logprobs: Sequence[float | None], references: Sequence[str]
) -> float | None:
    """1 where the likeliest option is a reference, 0 where another is or two tie.

    None where no options were scored, a likelihood is missing or not a number, or no option is a reference.
    Raises InputError where there is not one likelihood for each option.
    """
    if len(options) != len(option_logprobs):
        raise InputError(f"{len(options)} options have {len(option_logprobs)} likelihoods", key="option_logprobs")
    if any(value is None or math.isnan(value) for value in option_logprobs):
        return None
    names = [normalise(option) or option for option in options]
    right = {normalise(reference) or reference for reference in references}
    if not right.intersection(names):
        return None
    highest = max(value for value in option_logprobs if value is not None)
    top = {name for name, value in zip(names, option_logprobs) if value == highest}
    return float(len(top) == 1 and top <= right)
