"""What reviews say beyond themselves: how far reviewers agree, and how many bad pairs are left among the unreviewed.

In: verdicts as labels a reviewer and question. Out: kappas and alpha, and a share with its 95 % interval.

    print(agreement([("q1", "ada", "accept"), ("q1", "bo", "reject"), ("q2", "ada", "accept"), ("q2", "bo", "accept")]))
    print(bad_share(num_bad=3, num_reviewed=200, num_all=10_000))
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from radvqa.errors import InputError

CONFIDENCE = 0.95


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa of two reviewers' labels of the same questions (Cohen 1960): (p_o - p_e) / (1 - p_e).

    NaN without questions, and where both always say the same one label: there is nothing to agree beyond chance.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} labels beside {len(second)}", key="labels")
    if not first:
        return math.nan
    agreed = sum(a == b for a, b in zip(first, second)) / len(first)
    counts = Counter(first), Counter(second)
    chance = sum(counts[0][label] * counts[1][label] for label in counts[0]) / len(first) ** 2
    return math.nan if chance == 1 else (agreed - chance) / (1 - chance)


def fleiss_kappa(counts: NDArray[np.int64]) -> float:
    """Fleiss' kappa (Fleiss 1971) of int[N questions, K labels]: how many reviewers gave each label.

    Every question has the same number of reviewers, two at least; NaN where all gave one label.
    """
    raters = counts.sum(axis=1)
    if not len(counts) or raters.min() != raters.max() or raters[0] < 2:
        raise InputError("Fleiss' kappa needs the same number of reviewers, two or more, for every question")
    n = int(raters[0])
    agreed = ((counts * (counts - 1)).sum(axis=1) / (n * (n - 1))).mean()
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return math.nan if chance == 1 else float((agreed - chance) / (1 - chance))


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float:
    """Krippendorff's alpha for names (Krippendorff 2011): 1 - D_o / D_e over the labels each question was given.

    Questions with fewer than two labels count for nothing. NaN where all labels are the same, or none can be paired.
    """
    paired = [Counter(labels) for labels in units if len(labels) > 1]
    total: Counter[str] = sum(paired, Counter())
    n = sum(total.values())
    if len(total) < 2:
        return math.nan
    observed = sum(
        sum(c * (m - c) for c in counts.values()) / (m - 1) for counts in paired if (m := sum(counts.values()))
    )
    expected = sum(c * (n - c) for c in total.values()) / (n - 1)
    return 1 - observed / expected


def agreement(labels: Sequence[tuple[str, str, str]]) -> dict[str, object]:
    """All three of (question, reviewer, label): Cohen's for each pair of reviewers with the number of questions they
    share, Fleiss' over the questions with the commonest number of reviewers, Krippendorff's over all."""
    of: dict[str, dict[str, str]] = defaultdict(dict)
    for question, reviewer, label in labels:
        of[question][reviewer] = label
    reviewers, names = sorted({r for said in of.values() for r in said}), sorted({label for *_, label in labels})
    pairs = []
    for a, b in combinations(reviewers, 2):
        both = [(said[a], said[b]) for said in of.values() if a in said and b in said]
        if both:
            agreed = sum(x == y for x, y in both) / len(both)
            kappa = cohen_kappa([x for x, _ in both], [y for _, y in both])
            pairs.append({"reviewers": [a, b], "n": len(both), "agreed": agreed, "kappa": kappa})
    several = [said for said in of.values() if len(said) > 1]
    found: dict[str, object] = {"reviewers": reviewers, "questions": len(of), "shared": len(several), "cohen": pairs}
    if several:
        usual = Counter(map(len, several)).most_common(1)[0][0]
        rows = [[list(said.values()).count(name) for name in names] for said in several if len(said) == usual]
        found["fleiss"] = {"raters": usual, "n": len(rows), "kappa": fleiss_kappa(np.array(rows))}
        found["krippendorff"] = krippendorff_alpha([list(said.values()) for said in several])
    return found


# ---------------------------------------------------------------- the unreviewed rest


@dataclass(frozen=True)
class Share:
    """A share of bad pairs among the unreviewed, 0-1, with its 95 % interval."""

    value: float
    low: float
    high: float
    num_reviewed: int
    num_rest: int


def bad_share(num_bad: int, num_reviewed: int, num_all: int) -> Share:
    """From a random sample without replacement: the share of bad pairs among those not reviewed.

    The interval is exact: every number B of bad pairs in the whole that the hypergeometric distribution does not
    refuse at 2.5 % on either side, less the bad ones found (Buonaccorsi 1987). With none found in n of very many, its
    upper end is about 3.7 / n.
    """
    if not 0 <= num_bad <= num_reviewed <= num_all:
        raise InputError(f"{num_bad} bad of {num_reviewed} reviewed of {num_all}", key="num_bad")
    rest = num_all - num_reviewed
    if not num_reviewed or not rest:
        return Share(math.nan if not num_reviewed else 0.0, 0.0, 1.0 if rest else 0.0, num_reviewed, rest)
    tail = (1 - CONFIDENCE) / 2
    low = _first(
        num_bad, num_all - (num_reviewed - num_bad), lambda b: _at_least(num_bad, b, num_reviewed, num_all) > tail
    )
    high = _first(
        low, num_all - (num_reviewed - num_bad) + 1, lambda b: _at_most(num_bad, b, num_reviewed, num_all) <= tail
    )
    return Share(num_bad / num_reviewed, (low - num_bad) / rest, max(high - 1 - num_bad, 0) / rest, num_reviewed, rest)


def _at_least(found: int, bad: int, drawn: int, whole: int) -> float:
    return float(stats.hypergeom.sf(found - 1, whole, bad, drawn))


def _at_most(found: int, bad: int, drawn: int, whole: int) -> float:
    return float(stats.hypergeom.cdf(found, whole, bad, drawn))


def _first(low: int, high: int, holds: object) -> int:
    """The first number from `low` to `high` for which something holds that then goes on holding."""
    assert callable(holds)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def stratified_bad_share(strata: Mapping[str, tuple[int, int, int]]) -> Share:
    """From a random sample within each stratum: {name: (bad, reviewed, all)} -> the share among all those not reviewed.

    Weighted by the size of each stratum's rest; the interval is that of Clopper and Pearson at the effective sample size
    (Korn & Graubard 1998). Raises InputError where a stratum has a rest but no review.
    """
    blind = [name for name, (_, reviewed, whole) in strata.items() if whole > reviewed == 0]
    if blind:
        raise InputError(f"nothing was reviewed of {', '.join(blind[:5])}", key="strata", fix="review some of each")
    reviewed, rest = sum(r for _, r, _ in strata.values()), sum(w - r for _, r, w in strata.values())
    if not rest:
        return Share(0.0, 0.0, 0.0, reviewed, 0)
    value = variance = 0.0
    for bad, seen, whole in strata.values():
        weight, p = (whole - seen) / rest, bad / seen if seen else 0.0
        value += weight * p
        variance += weight**2 * p * (1 - p) / max(seen - 1, 1)
    effective = min(reviewed, value * (1 - value) / variance) if variance else float(reviewed)
    tail, hits = (1 - CONFIDENCE) / 2, value * effective
    low = float(stats.beta.ppf(tail, hits, effective - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, effective - hits)) if hits < effective else 1.0
    return Share(value, low, high, reviewed, rest)
