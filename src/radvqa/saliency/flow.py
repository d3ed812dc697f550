"""Attention flow (Abnar and Zuidema 2020, section 3): the true maximum flow from an answer token to an image token.

In: a turn. Out: for each chosen answer token and each image token the largest flow between them in the graph whose
nodes are (layer, position) and whose capacities are A_l = 0.5 (W_l + I), as in rollout.

    explain(prepare(model, picture, "Is there a mass?"), Target(tokens=(0,)))

Cost: one maximum flow (Dinic) for each pair of answer and image token: seconds for hundreds of image tokens and a
few layers, minutes for 1,024; choose tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from radvqa.saliency.capture import Attention
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.raw import attention_pass, refuse_contrast
from radvqa.saliency.sinks import find_sinks
from radvqa.saliency.trace import spread
from radvqa.saliency.turn import WHOLE, Target, Turn

UNIT = 2**26
"""Capacities are whole numbers of 1 / UNIT, because scipy's maximum flow takes 32-bit integers."""


@torch.no_grad()
def explain(
    turn: Turn,
    target: Target = WHOLE,
    *,
    residual: float = 0.5,
    seen: dict[str, list[Attention]] | None = None,
) -> Explanation:
    """Attention flow of the chosen tokens; seen: what `raw.attention_pass` gave, to spare it.

    Raises InputError for a contrast: attention has none.
    """
    refuse_contrast(target, "attention flow")
    seen = seen or attention_pass(turn)
    layers = seen["language"]
    tokens = turn.chosen(target)
    image = turn.image.cpu().numpy()
    values = np.stack([flows(layers, int(turn.rows[token]), image, residual) for token in tokens])
    return explanation(
        turn,
        target,
        "flow",
        spread(turn, tokens, torch.from_numpy(values)).numpy(),
        scale="maximum flow from the answer's token, its supply being 1",
        details={"sinks": find_sinks(turn, seen)},
    )


def flows(layers: Sequence[Attention], row: int, sinks: np.ndarray, residual: float = 0.5) -> np.ndarray:
    """float64[S]: the maximum flow from `row` above the top layer to each position in `sinks` below the lowest.

    Node (l, i) is number l * L + i, l = 0 below the lowest layer. The graph holds only what the row can reach.
    """
    length = layers[0].key.shape[2]
    reached = np.array([row])
    starts, ends, sizes = [], [], []
    for level in range(len(layers), 0, -1):
        rows = torch.from_numpy(reached).to(layers[0].key.device)
        mean = layers[level - 1].weights(rows)[0].mean(0).cpu().numpy().astype(np.float64)
        matrix = (1.0 - residual) * mean
        matrix[np.arange(len(reached)), reached] += residual
        capacity = np.floor(matrix * UNIT + 0.5).astype(np.int32)
        here, there = np.nonzero(capacity)
        starts.append(level * length + reached[here])
        ends.append((level - 1) * length + there)
        sizes.append(capacity[here, there])
        reached = np.unique(there)
    num_nodes = (len(layers) + 1) * length
    edges = (np.concatenate(starts), np.concatenate(ends))
    graph = csr_array((np.concatenate(sizes), edges), shape=(num_nodes, num_nodes))
    source = len(layers) * length + row
    found = [maximum_flow(graph, source, int(sink)).flow_value if sink in reached else 0 for sink in sinks]
    return np.array(found, dtype=np.float64) / UNIT
