"""Grad-CAM (Selvaraju et al. 2017, eq. 1-2) on a layer of the vision tower.

In: a turn and a target. Out: for each answer token (sum over channels of mean gradient x activation)+, a patch a value.

    explain(prepare(model, picture, "Is there a mass?"), layer=-1)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from radvqa.errors import InputError
from radvqa.saliency.capture import TOWERS
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.trace import frozen, scored_tokens, spread, token_gradients
from radvqa.saliency.turn import WHOLE, Target, Turn


def explain(turn: Turn, target: Target = WHOLE, *, layer: int = -1) -> Explanation:
    """Grad-CAM at the output of one tower layer (-1: the last). Raises InputError for a layer that is not there."""
    family, network = turn.model.family, turn.model.network
    blocks = tower_layers(network)
    if not -len(blocks) <= layer < len(blocks):
        raise InputError(f"no layer {layer}", key="layer", fix=f"the tower has {len(blocks)}")
    with frozen(network), torch.enable_grad(), output_of(blocks[layer]) as kept:
        pixels = turn.batch.pixels.detach().clone().requires_grad_()
        hidden = family.hidden(network, turn.batch, family.encode(network, pixels))
        scores = turn.score(turn.logits(hidden), target)[0]
        tokens = scored_tokens(turn, target)
        (gradients,) = token_gradients(scores, tokens, [kept["output"]])
    activation = kept["output"][0].detach().float()  # [N, D]
    channels = gradients[:, 0].float().mean(1)  # [T', D], eq. 1
    cam = torch.einsum("td,nd->tn", channels, activation).clamp(min=0.0)  # eq. 2
    return explanation(
        turn,
        target,
        "gradcam",
        spread(turn, tokens, cam).cpu().numpy(),
        scale=f"Grad-CAM of the {target.quantity} at vision layer {layer % len(blocks) + 1} of {len(blocks)}",
    )


def tower_layers(network: nn.Module) -> list[nn.Module]:
    """The encoder layers of the vision tower, lowest first."""
    matches = ((TOWERS["vision"].search(name + ".self_attn"), module) for name, module in network.named_modules())
    return [module for match, module in matches if match and hasattr(module, "self_attn")]


@contextmanager
def output_of(module: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Keep the output of a module's next forward, in the autograd graph; the hook goes when the block ends."""
    kept: dict[str, torch.Tensor] = {}

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        kept["output"] = output[0] if isinstance(output, tuple) else output

    handle = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()
