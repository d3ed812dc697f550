"""Attention-aware layer-wise relevance propagation (AttnLRP, Achtibat et al. 2024), as a modified gradient x input.

In: a turn and a target. Out: for each answer token the relevance of every image token, signed; relevance is handed
down layer by layer so that it neither appears nor vanishes, up to what biases take.

    explain(prepare(model, picture, "Is there a mass?"))

Linear layers and residuals: gradient x input is the epsilon rule. Norms: the divisor is a constant. Activations:
y / x is a constant. Products of two activations, gate x up, attention x values and queries x keys: each takes half.
Softmax: its own gradient (the paper's section 3 derives each rule). Its authors state that LRP is patented and free for
personal and scientific use only: ask before you use this method in a product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from radvqa.saliency.capture import LOCK, attention_modules, implementation_of, switched
from radvqa.saliency.integrated import per_patch
from radvqa.saliency.map import Explanation, explanation
from radvqa.saliency.trace import frozen, scored_tokens, spread, token_gradients
from radvqa.saliency.turn import WHOLE, Target, Turn

NAME = "radvqa_lrp"


def explain(turn: Turn, target: Target = WHOLE, *, tower: bool = False) -> Explanation:
    """AttnLRP down to the image tokens, or with `tower` through the vision tower to the pixels of each patch."""
    family, network = turn.model.family, turn.model.network
    with frozen(network), torch.enable_grad(), relevance_rules(network):
        pixels = turn.batch.pixels.detach().clone().requires_grad_()
        features = family.encode(network, pixels)
        lowest = pixels if tower else features
        scores = turn.score(turn.logits(family.hidden(network, turn.batch, features)), target)[0]
        tokens = scored_tokens(turn, target)
        (gradients,) = token_gradients(scores, tokens, [lowest])
    relevance = (gradients[:, 0] * lowest.detach()[0]).float()
    values = per_patch(turn, relevance) if tower else relevance.sum(-1)
    return explanation(
        turn,
        target,
        "lrp",
        spread(turn, tokens, values).cpu().numpy(),
        scale=f"relevance for the {target.quantity}, " + ("at the pixels" if tower else "at the image tokens"),
        signed=True,
    )


@contextmanager
def relevance_rules(network: nn.Module) -> Iterator[None]:
    """Inside the block a gradient is a relevance: norms, activations, gates and attention follow the rules above."""
    attention = [*attention_modules(network, "language"), *attention_modules(network, "vision")]
    patched: list[nn.Module] = []
    with LOCK:
        try:
            _INNER.update({module: implementation_of(module) for module in attention})
            for module in network.modules():
                rule = _rule_of(module)
                if rule is not None:
                    assert "forward" not in vars(module), "this module's forward is replaced already"
                    module.forward = rule  # type: ignore[method-assign]
                    patched.append(module)
            with switched(attention, NAME):
                yield
        finally:
            for module in patched:
                del module.forward
            _INNER.clear()


def _rule_of(module: nn.Module) -> Callable[..., torch.Tensor] | None:
    """The forward that a kind of module gets; None: it keeps its own."""
    if isinstance(module, nn.LayerNorm):
        return lambda x: _layer_norm(module, x)
    if type(module).__name__.endswith("RMSNorm"):
        return lambda x: _rms_norm(module, x)
    if hasattr(module, "gate_proj") and hasattr(module, "act_fn"):
        return lambda x: _gated(module, x)
    if hasattr(module, "fc1") and hasattr(module, "activation_fn"):
        return lambda x: _plain(module, x)
    return None


def _layer_norm(module: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    divisor = (centred.float().pow(2).mean(-1, keepdim=True) + module.eps).sqrt().detach().to(x.dtype)
    return centred / divisor * module.weight + module.bias


def _rms_norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    divisor = (x.float().pow(2).mean(-1, keepdim=True) + module.eps).sqrt().detach()
    return (x.float() / divisor * (1.0 + module.weight.float())).type_as(x)


def _gated(module: Any, x: torch.Tensor) -> torch.Tensor:
    product = _as_factor(module.act_fn, module.gate_proj(x)) * module.up_proj(x)
    return module.down_proj(halved(product))


def _plain(module: Any, x: torch.Tensor) -> torch.Tensor:
    return module.fc2(_as_factor(module.activation_fn, module.fc1(x)))


def _as_factor(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """function(x) as x times a constant; where x is 0 the constant is 0, as the relevance then is."""
    with torch.no_grad():
        factor = torch.where(x == 0, torch.zeros_like(x), function(x) / x)
    return x * factor


def halved(x: torch.Tensor, share: float = 0.5) -> torch.Tensor:
    """x itself, of whose gradient only a share passes."""
    return share * x + (1.0 - share) * x.detach()


def _attend(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention in which values get half of the relevance, and queries and keys half of the other half each."""
    inner = _INNER.get(module, sdpa_attention_forward)  # a stranger to this block shares the configuration object
    return inner(module, halved(query, 0.25), halved(key, 0.25), halved(value), mask, **kwargs)


_INNER: dict[nn.Module, Callable[..., tuple[torch.Tensor, torch.Tensor | None]]] = {}
"""What each attention module ran before the rules."""


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
