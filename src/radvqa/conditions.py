"""Which conditions a question's picture has, in one vocabulary for all data sets.

In: a Sample. Out: names of conditions.

    conditions_of(sample)  # ("mass", "pleural effusion")

Findings count under the lexicon's name where it has one, else as they are written; so does what a caption or report
affirms, a concept that the lexicon knows, an open question's answer, and what a question asks that is answered with yes.
Concepts without a name of their own, and those of captions that are no conditions (sides, organs), do not count.
"""

from __future__ import annotations

from radvqa.curate.pathology import ABSENT, PRESENT, findings_in, present
from radvqa.sample import Sample


def conditions_of(sample: Sample) -> tuple[str, ...]:
    """The conditions, each once."""
    found = dict.fromkeys(present(sample))
    if "cuis" not in sample.extra:
        for finding in sample.findings:
            known = [name for name, status in findings_in(finding).items() if status != ABSENT]
            found |= dict.fromkeys(known or [finding.strip().lower()])
    if sample.kind == "open" and sample.answers[0] != sample.evidence:
        found |= dict.fromkeys(_affirmed(sample.answers[0]))
    elif sample.kind == "closed" and sample.answers[0].strip().lower() == "yes":
        found |= dict.fromkeys(_affirmed(sample.question.rstrip(" ?")))
    return tuple(found)


def _affirmed(text: str) -> list[str]:
    return [name for name, status in findings_in(text).items() if status == PRESENT]
