"""Faithfulness: whether the patches that a map calls important are the ones that the answer needs.

In: a turn and its maps. Out: for every map and fill-in the areas under the deletion and the insertion curve, and,
where the truth is known, the pointing game and the share of the mass inside it.

    measure(turn, {"lrp": method_named("lrp")(turn), "random": method_named("random")(turn)})

Deletion (Samek et al. 2017; Petsiuk et al. 2018): take the most important patches out first; the sooner the answer's
probability falls, the smaller the area. Insertion: put them into an empty picture first; larger is better. What stands
in for a patch decides much, so several fill-ins are used and reported apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from radvqa.saliency.map import Explanation
from radvqa.saliency.truth import mass_in, on_grid, points_at
from radvqa.saliency.turn import WHOLE, Target, Turn

FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Shares of the patches taken out or put in; closer together where good maps differ."""


@dataclass(frozen=True)
class Curves:
    """The answer's probability (all chosen tokens together) as patches go or come, most important first."""

    fractions: tuple[float, ...]
    deletion: np.ndarray
    """float64[F]: fractions[f] of the patches are taken out of the picture."""
    insertion: np.ndarray
    """float64[F]: fractions[f] of the patches are put into the fill-in."""

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve over 0..1, by trapezia; smaller is better."""
        return float(np.trapezoid(self.deletion, self.fractions))

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve over 0..1, by trapezia; larger is better."""
        return float(np.trapezoid(self.insertion, self.fractions))


def curves(
    turn: Turn,
    grids: Mapping[str, np.ndarray],
    fill: str = "blur",
    *,
    fractions: Sequence[float] = FRACTIONS,
    target: Target = WHOLE,
) -> dict[str, Curves]:
    """Deletion and insertion curves of several maps [gh, gw] of one turn, in one go: the ends are shared.

    Equal values are ordered by a shuffle that is the same for all maps, never by place in the picture.
    """
    counts = [round(share * turn.grid[0] * turn.grid[1]) for share in fractions]
    masks: list[np.ndarray] = []
    for grid in grids.values():
        order = ranked(grid)
        for number in counts:
            kept = np.ones(order.size, dtype=np.float32)
            kept[order[:number]] = 0.0
            masks += [kept, 1.0 - kept]
    distinct, back = np.unique(np.stack(masks), axis=0, return_inverse=True)
    scores = probabilities(turn, distinct.reshape(-1, *turn.grid), fill, target)[back.reshape(-1)]
    table = scores.reshape(len(grids), len(counts), 2)
    return {name: Curves(tuple(fractions), table[place, :, 0], table[place, :, 1]) for place, name in enumerate(grids)}


def ranked(grid: np.ndarray) -> np.ndarray:
    """int[N]: patches, the largest value first; ties in one fixed random order."""
    shuffled = np.random.default_rng(0).permutation(grid.size)
    return shuffled[np.argsort(-grid.ravel()[shuffled], kind="stable")]


def probabilities(turn: Turn, kept: np.ndarray, fill: str, target: Target = WHOLE) -> np.ndarray:
    """float64[V]: probability of the chosen answer tokens with float[V, gh, gw] of the picture kept.

    For a contrast: of the answer's token when only it and the other answer's may be said.
    """
    logprobs = turn.masked_logprobs(torch.from_numpy(kept), fill, target).double()
    if target.against is not None:
        return logprobs[:, turn.contrast(target.against)[0]].sigmoid()[:, 0].cpu().numpy()
    return logprobs[:, list(turn.chosen(target))].sum(1).exp().cpu().numpy()


def measure(
    turn: Turn,
    maps: Mapping[str, Explanation],
    fills: Sequence[str] = ("blur", "grey"),
    truth: np.ndarray | None = None,
    target: Target = WHOLE,
) -> list[dict[str, Any]]:
    """A row for each map and fill-in: method, fill, deletion, insertion, and with a truth: pointing, mass and their
    chance levels (null without one). `target` is what the maps explain."""
    grids = {name: explained.overall for name, explained in maps.items()}
    known = {name: _against(grid, truth) for name, grid in grids.items()}
    rows = []
    for fill in fills:
        for name, found in curves(turn, grids, fill, target=target).items():
            areas = {"deletion": found.deletion_area, "insertion": found.insertion_area}
            rows.append({"method": name, "fill": fill, **areas, **known[name]})
    return rows


def _against(grid: np.ndarray, truth: np.ndarray | None) -> dict[str, float | None]:
    if truth is None:
        return dict.fromkeys(("pointing", "mass", "pointing_by_chance", "mass_by_chance"))
    inside = on_grid(truth, grid.shape)
    return {
        "pointing": points_at(grid, truth),
        "mass": mass_in(grid, truth),
        "pointing_by_chance": float((inside > 0).mean()),
        "mass_by_chance": float(inside.mean()),
    }
