"""Med-MoE's and MedVLMBench's closed accuracy: the reference stands somewhere in the answer.

In: an answer and its references. Out: 1.0, 0.0, or None without a reference.

    med_moe_closed("The lungs are normal.", ["no"]) == 1.0

Jiang et al. 2024 (arXiv:2404.10237). Kept to stand beside what was published so: letters are compared, not words, so
"no" is found in "normal" and an answer with yes and no is right for either. `closed_accuracy` is the mended form.
"""

from __future__ import annotations

from collections.abc import Sequence

from radvqa.score.registry import best, metric


@metric("med_moe_closed", "reference within the answer", kinds=("closed",), binary=True, family="Med-MoE")
def med_moe_closed(answer: str, references: Sequence[str]) -> float | None:
    """1 where a reference, lower case, is a substring of the answer, lower case."""
    said = answer.lower()
    return best([float(wanted in said) for wanted in (one.strip().lower() for one in references) if wanted])
