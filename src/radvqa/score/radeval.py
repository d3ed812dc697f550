"""Clinical metrics of the RadEval package: RadGraph-F1 and GREEN, which need models of their own.

In: an answer and its references. Out: a number, or None without a readable reference.

    score_predictions(predictions, metrics=["radgraph_f1"])

They are made for sentences of reports, not for answers of one word. Computed only when asked for by name; the package
loads its models from where they lie, and what is missing is said. The interface is that of radeval 2 (2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from radvqa.errors import InputError
from radvqa.score.registry import best, metric
from radvqa.score.text import words


@metric("radgraph_f1", "RadGraph-F1 (partial)", family="RadEval", extra=True)
def radgraph_f1(answer: str, references: Sequence[str]) -> float | None:
    """RadGraph-F1 (Jain et al. 2021; Yu et al. 2023) of entities and whether they have relations, best reference."""
    return _best("radgraph", "radgraph_partial", answer, references)


@metric("green", "GREEN", family="RadEval", extra=True)
def green(answer: str, references: Sequence[str]) -> float | None:
    """GREEN (Ostmeier et al. 2024, arXiv:2405.03595), best reference."""
    return _best("green", "green", answer, references)


def _best(name: str, key: str, answer: str, references: Sequence[str]) -> float | None:
    readable = [reference for reference in references if words(reference)]
    if not readable or not words(answer):
        return 0.0 if readable else None
    found = _evaluator(name)(refs=readable, hyps=[answer] * len(readable))
    if key not in found:
        raise InputError(f"RadEval gives {', '.join(found)}, not {key}", key=key, fix="use radeval>=2")
    return best([float(value) for value in found[key]])


@cache
def _evaluator(name: str) -> Any:
    try:
        from radeval import RadEval
    except ImportError as error:
        raise InputError("this metric needs the package RadEval", key="metrics", fix="pip install radeval") from error
    try:
        return RadEval(metrics=[name], per_sample=True, show_progress=False)
    except (ImportError, OSError) as error:
        raise InputError(f"RadEval cannot load {name} ({str(error).splitlines()[0]})", key="metrics") from error
