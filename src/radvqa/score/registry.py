"""The metrics by name: each is a pure function in a file of its own and registers itself here.

In: nothing. Out: METRICS, name -> Metric.

    METRICS["token_f1"].function("left lung", ["the left lung"]) == 1.0

A metric's outcome is a number in [0, 1] (right and wrong are 1 and 0) or None: unscored. None is counted beside the
value and never becomes a zero. A reference a metric cannot read (nothing but punctuation, say) gives None; an empty
*answer* gives 0, for saying nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from radvqa.sample import KINDS

Function = Callable[..., float | None]

USES = ("answer", "choices", "likelihood", "labels")
"""What a metric is called with: (answer, references); (answer, references, choices); (options, option_logprobs,
references); (answer, references, labels learnt from the train split)."""


@dataclass(frozen=True)
class Metric:
    """One metric: its function and what a table needs to know of it."""

    name: str
    function: Function
    title: str
    """As a table's heading says it."""
    kinds: tuple[str, ...]
    """Questions it applies to; on others it is neither scored nor unscored, it does not exist."""
    uses: str
    binary: bool
    """Only 0 and 1 come out, so that McNemar's test applies."""
    family: str
    """Whose definition it is: radvqa, rouge-score, sacrebleu, nltk, LLaVA-Med, MultiMedEval, MedVInT ..."""
    extra: bool
    """Needs a package of its own and is computed only when it is asked for by name."""

    @property
    def compared(self) -> bool:
        """Whether it is tested between runs and printed for every slice; the definitions of other evaluations are
        printed over all questions and by kind, to stand beside what those evaluations published."""
        return self.family in OWN


OWN = ("radvqa", "rouge-score", "sacrebleu", "nltk")
METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    title: str,
    *,
    kinds: Sequence[str] = KINDS,
    uses: str = "answer",
    binary: bool = False,
    family: str = "radvqa",
    extra: bool = False,
) -> Callable[[Function], Function]:
    """Register the function below under a name."""

    def register(function: Function) -> Function:
        assert name not in METRICS, f"two metrics are called {name}"
        assert uses in USES and all(kind in KINDS for kind in kinds)
        METRICS[name] = Metric(name, function, title, tuple(kinds), uses, binary, family, extra)
        return function

    return register


def best(values: Sequence[Any]) -> float | None:
    """The best over the references that could be read; None where none could."""
    read = [value for value in values if value is not None]
    return float(max(read)) if read else None
