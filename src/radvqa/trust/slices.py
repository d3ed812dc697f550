"""Groups that fail more than the rest: over tags and pairs of tags, with the chance of a single false alarm held at 5 %.

In: tags of N answers, wrong bool[N], their clusters. Out: the groups, worst first, each with its error, its difference
to what it is held against, and an adjusted p-value.

    groups = failing_slices(tags, wrong, risk, clusters)

A single tag (region: chest) is held against all other answers. A pair (region: chest, kind: open) is held against the
rest of either of its tags and must be worse than both, so that a group is named by the tag that makes it fail. All
contrasts are tested together: the largest of all statistics, the residuals' signs flipped image by image (wild
bootstrap, Cameron et al. 2008; max-T, Westfall and Young 1993), says how large chance alone gets.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from radvqa.score.intervals import cluster_codes, cluster_interval
from radvqa.score.table import SLICES

MIN_ANSWERS, MIN_CLUSTERS = 20, 10
"""Smaller groups, and groups with a smaller rest, are not tested."""
LEVEL = 0.05
NUM_FLIPS = 5000
Where = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Group:
    """One group and what it is held against, each bool[N]."""

    where: Where
    inside: np.ndarray
    against: tuple[np.ndarray, ...]


def failing_slices(
    tags: pl.DataFrame, wrong: np.ndarray, risk: np.ndarray, clusters: np.ndarray, *, seed: int = 0
) -> dict[str, Any]:
    """The groups that fail more than what they are held against, and how many were tested.

    tags: columns of SLICES. Each found group has where, n, num_clusters, error with its interval, risk (the mean that
    was foreseen), elsewhere (error of all other answers), p (adjusted).
    """
    codes = cluster_codes(clusters)
    groups = candidates(tags, codes)
    if not groups:
        return {"num_tested": 0, "groups": []}
    owner = [place for place, group in enumerate(groups) for _ in group.against]
    contrasts = [contrast(group.inside, rest, wrong, codes) for group in groups for rest in group.against]
    seen = np.array([value for value, _ in contrasts])
    adjusted = max_t(seen, np.stack([scores for _, scores in contrasts], axis=1), seed)
    worst = np.zeros(len(groups))
    np.maximum.at(worst, owner, adjusted)
    found = [_row(group, wrong, risk, clusters, float(p)) for group, p in zip(groups, worst) if p <= LEVEL]
    return {"num_tested": len(groups), "groups": sorted(found, key=lambda row: -row["error"]["value"])}


def candidates(tags: pl.DataFrame, codes: np.ndarray) -> list[Group]:
    """Single tags, then pairs of tags of different columns; of groups with the same answers the first."""
    singles: list[Group] = []
    seen: set[bytes] = set()
    for name in SLICES:
        for value, inside in _values(tags, name):
            if _large(inside, codes) and _large(~inside, codes) and inside.tobytes() not in seen:
                seen.add(inside.tobytes())
                singles.append(Group(((name, value),), inside, (~inside,)))
    pairs: list[Group] = []
    for a, b in itertools.combinations(singles, 2):
        inside = a.inside & b.inside
        rests = a.inside & ~inside, b.inside & ~inside
        if a.where[0][0] == b.where[0][0] or inside.tobytes() in seen:
            continue
        if _large(inside, codes) and all(_large(rest, codes) for rest in rests):
            seen.add(inside.tobytes())
            pairs.append(Group(a.where + b.where, inside, rests))
    return singles + pairs


def _values(tags: pl.DataFrame, name: str) -> list[tuple[str, np.ndarray]]:
    if name not in tags.columns:
        return []
    column = tags[name].to_list()
    held = [set(v) if isinstance(v, list) else {v} for v in column]
    values = sorted({str(v) for some in held for v in some if v})
    return [(value, np.array([value in some for some in held])) for value in values]


def _large(inside: np.ndarray, codes: np.ndarray) -> bool:
    return int(inside.sum()) >= MIN_ANSWERS and len(np.unique(codes[inside])) >= MIN_CLUSTERS


def contrast(inside: np.ndarray, rest: np.ndarray, wrong: np.ndarray, codes: np.ndarray) -> tuple[float, np.ndarray]:
    """The difference of two error rates over its clustered standard error, and its parts float[C] by cluster.

    The error is that under no difference (residuals from the common rate), so that a group that is all wrong has one.
    """
    both = inside | rest
    residual = (wrong - wrong[both].mean()) * (inside / inside.sum() - rest / rest.sum())
    parts = np.bincount(codes, weights=residual)
    used = len(np.unique(codes[both]))
    error = np.sqrt((parts**2).sum() * used / (used - 1))
    difference = wrong[inside].mean() - wrong[rest].mean()
    return (float(difference / error), parts / error) if error > 0 else (0.0, np.zeros(len(parts)))


def max_t(seen: np.ndarray, parts: np.ndarray, seed: int, num_flips: int = NUM_FLIPS) -> np.ndarray:
    """Adjusted one-sided p-values float[K] of statistics float[K] with parts float[C, K] by cluster."""
    rng = np.random.default_rng(seed)
    signs = rng.choice((-1.0, 1.0), size=(num_flips, len(parts)))
    largest = np.sort((signs @ parts).max(axis=1))
    reached = num_flips - np.searchsorted(largest, seen - 1e-12)
    return (1 + reached) / (1 + num_flips)


def _row(group: Group, wrong: np.ndarray, risk: np.ndarray, clusters: np.ndarray, p: float) -> dict[str, Any]:
    inside = group.inside
    found = cluster_interval(wrong[inside].astype(float), clusters[inside], num_draws=1000)
    return {
        "where": dict(group.where),
        "n": found.n,
        "num_clusters": found.num_clusters,
        "error": {"value": found.value, "low": found.low, "high": found.high},
        "elsewhere": float(wrong[~inside].mean()),
        "risk": float(risk[inside].mean()),
        "p": p,
    }
