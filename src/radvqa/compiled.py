"""The layers of both towers compiled, for training on a GPU: what lies between their matrix products becomes few kernels.

In: an adapted model. Out: the same model; its first step takes a minute or two longer, the others less.

    compile_layers(model)

Each layer by itself, so that all of a kind share one program; the last decoder layer, which is given other positions each
time (families/last_layer.py), stays as it is. On a GPU the language model's mask becomes blocks (families/blocks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from radvqa.families.blocks import BLOCKS, tune
from radvqa.model import VQAModel
from radvqa.recipe_sections import Stage

MOST = 64
"""Programs of a kind of layer: for each tower, with and without gradients, of one length and of any."""


def wants_compiling(stage: Stage, device: torch.device, sharded: bool = False) -> bool:
    """What a stage asks for; null: on a GPU, but for DoRA and 4-bit weights, whose layers are made of many small steps, and
    for sharded weights, with which it was tried on CPUs only.
    """
    if stage.compile is not None:
        return stage.compile
    return device.type == "cuda" and stage.adapt.method not in ("dora", "qlora") and not sharded


def compile_layers(model: VQAModel, backend: str | Callable = "inductor") -> None:
    """Compile in place: nothing is computed before the first step."""
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, MOST)
    for layer in _layers(model):
        layer.compile(backend=backend)
    language = model.family.core(model.network).model.language_model
    if model.device.type == "cuda" and language.config._attn_implementation == "sdpa":
        language.set_attn_implementation(BLOCKS)
        tune(model.family.head_dim)


def undo(model: VQAModel) -> None:
    """The layers as they were."""
    for layer in _layers(model):
        layer._compiled_call_impl = None
    language = model.family.core(model.network).model.language_model
    if language.config._attn_implementation == BLOCKS:
        language.set_attn_implementation("sdpa")


def _layers(model: VQAModel) -> list[nn.Module]:
    core: Any = model.family.core(model.network)
    tower = getattr(core.model.vision_tower, "vision_model", core.model.vision_tower)
    return [*tower.encoder.layers[: model.family.num_vision_layers], *core.model.language_model.layers[:-1]]
