"""Models that are asked whether the evidence supports an answer, beside the checks of words.

In: the pairs of a block that nothing spoke against so far. Out: those that are to go, and a count of the verdicts that did
not come: a pair without one stays.

    asked = Asked(Entailment(Path("models/nli"), ledger))  # or LanguageModel(calls)
    gone = asked.unsupported({17: Pair("Which side?", "left", evidence="A mass on the right")}); asked.account()

A judge is one class with `verdicts`: support_llm.py (any OpenAI-compatible server), support_nli.py (an entailment model).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from radvqa.curate.checks import Pair

UNSUPPORTED = "a language model finds no support for the answer"
CONTRADICTED = "an entailment model finds the answer contradicted"


class Judge(Protocol):
    """A model that reads evidence."""

    name: str
    """Under which it is counted."""
    reason: str
    """What stands in dropped.parquet."""
    model: str
    """Which model it is."""

    def verdicts(self, pairs: Sequence[Pair]) -> Iterator[bool | None]:
        """For each pair whether it is supported, None: no verdict. Each is kept, and found again by the next run."""


class Asked:
    """A judge, and how often it was asked."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.num, self.silent = judge, 0, 0

    def unsupported(self, pairs: Mapping[int, Pair], progress: Callable[[int], None] | None = None) -> list[int]:
        """The places of pairs that are to go. Without evidence, or with a caption as the answer, there is nothing to ask.

        progress: called with each place when it is judged.
        """
        some = {place: pair for place, pair in pairs.items() if pair.evidence and not pair.caption}
        gone = []
        for place, verdict in zip(some, self.judge.verdicts(list(some.values()))):
            self.num += 1
            self.silent += verdict is None
            if verdict is False:
                gone.append(place)
            if progress is not None:
                progress(place)
        return gone

    def account(self) -> dict[str, Any]:
        """Who was asked, of how many pairs, and how many verdicts did not come."""
        return {"model": self.judge.model, "asked": self.num, "without_verdict": self.silent}
