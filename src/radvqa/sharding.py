"""Weights shared out over the processes of a run (FSDP2): each keeps its part, and a layer is whole only while it computes.

In: the module whose forward is the loss of a micro-batch, in every process the same. Out: the same function of the same
weights, most of them DTensors; in full fine-tuning their gradients and moments too.

    shard(stepper.loss, model)                   # under torchrun
    release(stepper.loss)                        # after a forward pass without a backward pass
    gather(dict(network.named_parameters()), keep=is_main)

A transformer layer is a unit of its own. What remains is one unit that is whole from the start of a forward pass to the
end of its backward pass: it hangs on the loss itself, since the families call the network's parts and never its own
forward. Every process must go through these passes equally often.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from radvqa.model import VQAModel


def shard(loss: nn.Module, model: VQAModel, tower: bool = True) -> None:
    """Leave each process its part of the weights in `loss`, on its own device. In place.

    tower: whether the vision tower's too; not where something else than `loss` calls it. What stays whole: `kept_whole`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    whole = kept_whole(model, tower)
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    exact = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for unit in [*_layers(model, whole), loss]:
        fully_shard(unit, mesh=mesh, mp_policy=exact, ignored_params=whole)
        assert isinstance(unit, FSDPModule)
        unit.set_gradient_divide_factor(1.0)  # a process's loss is its part of a sum, not a mean of its own
        unit.set_force_sum_reduction_for_comms(True)


def planned(model: VQAModel, tower: bool, num: int) -> tuple[float, float]:
    """Weights, by number, that each of `num` processes holds always, and those that lie there besides during a micro-batch.

    These are the unit that is no layer, and at most two layers, each twice, since what arrives is copied into place.
    """
    whole = kept_whole(model, tower)
    shared = sum(p.numel() for p in model.network.parameters() if p not in whole)
    layers = [sum(p.numel() for p in x.parameters() if p not in whole) for x in _layers(model, whole)]
    return sum(p.numel() for p in whole) + shared / num, shared - sum(layers) + 4 * max(layers, default=0)


def _layers(model: VQAModel, whole: set[nn.Parameter]) -> list[nn.Module]:
    """Transformer layers of which something is shared out."""
    layers = [module for module in model.network.modules() if isinstance(module, GradientCheckpointingLayer)]
    return [layer for layer in layers if not whole.issuperset(layer.parameters())]


def kept_whole(model: VQAModel, tower: bool) -> set[nn.Parameter]:
    """What every process keeps: none in full fine-tuning; else adapters, which are small, and the frozen embedding and head.

    Embedding and head are needed through the whole of every micro-batch, so that a part of them beside the gathered whole
    would save no memory when it counts, and sending them costs more than any layer.
    """
    kept = {parameter for parameter in model.network.parameters() if parameter.requires_grad}
    if len(kept) == len(list(model.network.parameters())):
        return set()
    core = model.family.core(model.network)
    apart = [] if tower else [core.model.vision_tower, core.model.multi_modal_projector]
    for module in (core.get_input_embeddings(), core.get_output_embeddings(), *apart):
        kept.update(module.parameters())
    return kept


def release(loss: nn.Module) -> None:
    """Give back what a forward pass that no backward pass follows has left whole."""
    if isinstance(loss, FSDPModule):
        loss.reshard()


def is_sharded(network: nn.Module) -> bool:
    """Whether any weight that is trained lies in parts."""
    return any(isinstance(parameter, DTensor) for parameter in network.parameters() if parameter.requires_grad)


def held_bytes(network: nn.Module) -> int:
    """Bytes of the weights that lie in this process."""
    here = [p.to_local() if isinstance(p, DTensor) else p for p in network.parameters()]
    return sum(part.numel() * part.element_size() for part in here)


def full(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whole. Every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """All of them whole in this process's main memory where `keep`, one at a time. Every process must ask for the same.

    Names of one tensor share one, as they did.
    """
    found: dict[str, torch.Tensor] = {}
    seen: dict[int, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in seen:
            whole = full(tensor.detach())
            seen[id(tensor)] = whole.cpu().contiguous() if keep else whole.new_empty(0)
        found[name] = seen[id(tensor)]
    return found if keep else {}


def whole_weights(network: nn.Module, keep: bool) -> dict[str, torch.Tensor] | None:
    """All weights of a network of which each process holds a part (see gather); None where they are whole already."""
    return gather(network.state_dict(keep_vars=True), keep) if is_sharded(network) else None


def spread(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, the same in every process, where and in the parts that `like` lies in; nothing is sent."""
    moved = whole.to(like.device)
    if not isinstance(like, DTensor):
        return moved
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
