"""Questions put to scores.json: which value has this metric for this arm under this control in this slice?

In: the object that the score room wrote. Out: its rows, found by what they are about, never by their place.

    scores = Scores(run.scores); scores.find("closed_accuracy", "stage2")["value"]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from radvqa.report.words import is_number

Entry = Mapping[str, Any]
CONTROLS = ("none", "blank", "shuffled")
MAJORITY = "majority"
"""The arm that always gives the most frequent training answer."""
LEVEL = 0.05
ORDER = ("exact_match", "token_f1", "token_recall", "rouge1", "rouge2", "rougeL", "bleu", "bleu_corpus")
"""The metrics shown after the headline's; the others follow in the order of the file."""
HEADLINES = ("closed_accuracy", "accuracy", "choice_accuracy", "exact_match")
"""The first of these that was scored is the number the page opens with."""


class Scores:
    """The rows of scores.json. `stages` are the names of the recipe's stages, in which order arms are shown."""

    def __init__(self, found: Mapping[str, Any] | None, stages: Sequence[str] = ()) -> None:
        found, self.stages = found or {}, list(stages)
        self.entries: Sequence[Entry] = found.get("metrics") or []
        self.paired: Sequence[Entry] = found.get("paired") or []
        self.constant_letter: Entry | None = found.get("constant_letter")
        """What always answering the letter that is most often right scores."""
        self._warnings: Sequence[str] = found.get("warnings") or []
        self.majority = [
            {"metric": self.headline, "arm": MAJORITY, "control": "none"} | m for m in found.get("majority") or []
        ]
        self._found = {
            _key(e["metric"], e["arm"], e["control"], e.get("slice")): e for e in [*self.entries, *self.majority]
        }

    @cached_property
    def arms(self) -> list[str]:
        """base, the stages in the order of the recipe, then any others by name; without the majority."""
        found = {e["arm"] for e in self.entries} - {MAJORITY}
        return sorted(found, key=lambda arm: (_place(arm, ["base", *self.stages]), arm_order(arm)))

    @cached_property
    def warnings(self) -> list[str]:
        """What the score room warns of: first what does not concern an earlier arm than the last, which the run is about."""
        earlier = tuple(f"{arm}{sign}" for arm in self.arms[:-1] for sign in (":", " "))
        return sorted(self._warnings, key=lambda text: text.startswith(earlier))

    @cached_property
    def controls(self) -> list[str]:
        """none, blank, shuffled, then any others by name."""
        found = {e["control"] for e in self.entries if e["arm"] != MAJORITY}
        return sorted(found, key=lambda control: (_place(control, CONTROLS), control))

    @cached_property
    def metrics(self) -> list[str]:
        """The headline's metric, those of ORDER, then the others as the file has them."""
        names = list(dict.fromkeys(e["metric"] for e in self.entries))
        order = [self.headline, *ORDER]
        return sorted(names, key=lambda name: _place(name, order))

    @cached_property
    def headline(self) -> str | None:
        """The metric the page opens with: closed accuracy where it was scored."""
        names = list(dict.fromkeys(e["metric"] for e in self.entries if is_number(e.get("value"))))
        return next((name for name in HEADLINES if name in names), names[0] if names else None)

    def find(
        self, metric: str, arm: str, control: str = "none", where: Mapping[str, str] | None = None
    ) -> Entry | None:
        """The row of this slice ({}: all questions), or None."""
        return self._found.get(_key(metric, arm, control, where))

    def slices(self, metric: str) -> dict[str, list[str]]:
        """Dimension -> its values, for the slices of one dimension that this metric was computed in."""
        found: dict[str, dict[str, int]] = {}
        for entry in self.entries:
            where = entry.get("slice") or {}
            if entry["metric"] == metric and len(where) == 1:
                ((dimension, value),) = where.items()
                n = found.setdefault(dimension, {})
                n[str(value)] = max(n.get(str(value), 0), entry.get("n") or 0)
        return {d: sorted(values, key=lambda v: (-values[v], v)) for d, values in found.items()}

    def majority_for(self, metric: str, where: Mapping[str, str] | None = None) -> Entry | None:
        """What always giving the most frequent training answer scores, or None."""
        return self.find(metric, MAJORITY, "none", where)

    def test(self, metric: str, a: tuple[str, str], b: tuple[str, str]) -> Entry | None:
        """The paired test of (arm, control) a against b over all questions; turned round where the file has b - a.

        Of several tests of one pair, the permutation test, which knows that questions share images.
        """
        found = [t for t in self.paired if t["metric"] == metric and not t.get("slice")]
        found = sorted(found, key=lambda t: t.get("test") != "permutation")
        for entry in found:
            ends = side(entry["a"]), side(entry["b"])
            if ends == (a, b):
                return entry
            if ends == (b, a):
                return {**entry, "a": entry["b"], "b": entry["a"]} | _negated(entry)
        return None


def arm_order(arm: str) -> tuple[int, int, str]:
    """base first, then stages by number, then the rest by name."""
    stage = re.fullmatch(r"stage(\d+)", arm)
    return (0, 0, "") if arm == "base" else (1, int(stage[1]), "") if stage else (2, 0, arm)


def _key(metric: str, arm: str, control: str, where: Mapping[str, Any] | None) -> tuple[Any, ...]:
    return metric, arm, control, tuple(sorted((k, str(v)) for k, v in (where or {}).items()))


def _place(name: str, order: Sequence[str | None]) -> int:
    return order.index(name) if name in order else len(order)


def turn(test: Entry) -> int:
    """Whether a paired test finds a above b (1), below (-1) or neither (0).

    Both must agree: the interval of the difference lies on one side of 0, and p, corrected where the file has it, is at
    most 0.05.
    """
    low, high, p = test.get("low"), test.get("high"), test.get("p_holm", test.get("p"))
    if not (is_number(low) and is_number(high)) or (is_number(p) and p > LEVEL):
        return 0
    return (low > 0) - (high < 0)


def side(run: Mapping[str, str]) -> tuple[str, str]:
    """(arm, control) of one side of a paired test."""
    return run["arm"], run.get("control", "none")


def _negated(entry: Entry) -> dict[str, Any]:
    def turned(name: str) -> Any:
        return -entry[name] if is_number(entry.get(name)) else None

    return {"difference": turned("difference"), "low": turned("high"), "high": turned("low")}
