"""Sanity: does a map change when the network's weights are destroyed, and when another question is asked?

In: a turn and a method. Out: rank correlations with the map as it was. A faithful map loses its likeness.

    cascade(turn, method_named("lrp"))            # [("language 2", 0.91), ..., ("vision 0", 0.03)]

Adebayo et al. 2018 ("Sanity checks for saliency maps"): a map that stays the same under random weights shows the
picture, not the model. Layers are randomised from the answer down and stay so (cascading).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import rankdata
from torch import nn

from radvqa.saliency.capture import attention_modules
from radvqa.saliency.map import Explanation
from radvqa.saliency.turn import Turn
from radvqa.score.intervals import cluster_interval

Method = Callable[[Turn], Explanation]
PASSES_BELOW = {"random weights": 0.5, "other question": 0.95, "other side": 0.95}
"""Check -> a method passes if the mean likeness is below this.

random weights: the strength (without its sign) of what is left once every layer is random. Two questions about one
picture may well have the same evidence, so there it is only asked that the map changes at all.
"""


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two maps over their patches; 0 if either is the same everywhere."""
    a, b = rankdata(first.ravel()), rankdata(second.ravel())
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def cascade(
    turn: Turn, method: Method, *, seed: int = 0, whole: np.ndarray | None = None, every: bool = True
) -> list[tuple[str, float]]:
    """(what is random by now, likeness to the true map), a row a layer; the answer explained stays the same.

    whole: the true map, where it is known. every False: the last row only, when all layers are random.
    """
    whole = method(turn).overall if whole is None else whole
    found = []
    with preserved(turn.model.network):
        generator, parts = torch.Generator().manual_seed(seed), parts_from_the_top(turn.model.network)
        for number, (name, part) in enumerate(parts):
            shuffle_weights(part, generator)
            if every or number == len(parts) - 1:
                found.append((name, likeness(whole, method(turn).overall)))
    return found


def parts_from_the_top(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Language layers from the top, the projector, vision layers from the top."""
    modules = dict(network.named_modules())
    names = {module: name for name, module in modules.items()}

    def layers(tower: str) -> list[tuple[str, nn.Module]]:
        parents = [names[module].rsplit(".", 1)[0] for module in attention_modules(network, tower)]
        return [(f"{tower} {i}", modules[name]) for i, name in enumerate(parents)][::-1]

    projector = [(n.rsplit(".", 1)[-1], m) for n, m in modules.items() if n.endswith("multi_modal_projector")]
    return [*layers("language"), *projector, *layers("vision")]


@torch.no_grad()
def shuffle_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Shuffle each parameter's numbers in place: what was learned goes, their distribution stays."""
    for parameter in module.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


@contextmanager
def preserved(network: nn.Module) -> Iterator[None]:
    """Every parameter is put back when the block ends, bit by bit."""
    before = [(parameter, parameter.detach().clone()) for parameter in network.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in before:
                parameter.copy_(values)


def swapped_question(turn: Turn, other: Turn, method: Method) -> float:
    """Likeness of the maps of two questions about one picture. 1 means that the question does not matter."""
    assert torch.equal(turn.batch.pixels, other.batch.pixels), "the two turns must be about one picture"
    return likeness(method(turn).overall, method(other).overall)


def agreement(maps: Mapping[str, Explanation]) -> tuple[Sequence[str], np.ndarray]:
    """(names, float64[M, M]): the likeness of every pair of maps of one turn."""
    names = list(maps)
    grids = [maps[name].overall for name in names]
    return names, np.array([[1.0 if a is b else likeness(a, b) for b in grids] for a in grids])


def sanity_summary(table: pl.DataFrame, *, seed: int = 0) -> list[dict[str, Any]]:
    """For each method and check: mean likeness with n and interval by image, and whether it passes.

    table: id, image, method, check, part, likeness; of the cascade the last part counts, where all is random.
    """
    last = table.group_by("id", "method", "check", maintain_order=True).last()
    found = []
    for (method, check), part in last.group_by("method", "check", maintain_order=True):
        values = part["likeness"].to_numpy()
        values = np.abs(values) if check == "random weights" else values
        mean = cluster_interval(values, part["image"].to_numpy(), seed=seed, unit=False)
        passes = mean.value is not None and mean.value < PASSES_BELOW[str(check)]
        one = {"method": method, "check": check, "n": mean.n, "value": mean.value, "low": mean.low, "high": mean.high}
        found.append({**one, "passes": passes})
    return found
