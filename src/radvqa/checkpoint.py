"""Checkpoints: where a cut run goes on from, written whole or not at all, no pickle.

In: a Stepper after some steps. Out: folder/step-00000123 with weights, optimizer moments and averages (safetensors) and
what the loop remembers (state.json).

    save_checkpoint(stepper, folder, step=123, memory={"best": 0.41})
    step, memory = load_checkpoint(stepper, folder)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from radvqa.errors import InputError
from radvqa.sharding import gather, spread
from radvqa.stepper import Stepper


def save_checkpoint(stepper: Stepper, folder: Path, step: int, memory: dict[str, Any] | None = None) -> None:
    """Trainable weights, optimizer state and averages after `step` steps; the checkpoint before leaves last.

    The first process writes. Where weights are sharded every process must call this, and what is written is whole, so
    that another number of processes can go on from it.
    """
    parts = _parts(stepper)
    if not stepper.accelerator.is_main_process:
        return
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, tensors in parts.items():
        save_file(tensors, partial / f"{name}.safetensors")
    kept = {"step": step, "seed": stepper.seed, "micro_batch": stepper.size, "memory": memory or {}}
    (partial / "state.json").write_text(json.dumps(kept))
    for path in partial.iterdir():
        _flush(path)
    partial.rename(folder / f"step-{step:08d}")
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def load_checkpoint(stepper: Stepper, folder: Path) -> tuple[int, dict[str, Any]]:
    """Put the newest checkpoint's state in place. Returns its step and memory, (0, {}) where there is none."""
    found = sorted(folder.glob("step-*"))
    if not found:
        return 0, {}
    where, named = found[-1], _trainable(stepper)
    weights, moments = load_file(where / "weights.safetensors"), load_file(where / "optimizer.safetensors")
    if set(weights) != set(named):
        raise InputError("this checkpoint is of another adapter", file=where, fix="remove it to start the stage again")
    state: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        name, _, what = key.rpartition("/")
        to = named[name]
        state.setdefault(name, {})[what] = value.to(to.device) if what == "step" else spread(value, to)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(spread(weights[name], parameter))
            if name in state:  # a weight that no loss has reached yet has none
                stepper.optimizer.state[parameter] = state[name]
        if stepper.average is not None:
            for name, average in load_file(where / "average.safetensors").items():
                kept_average = stepper.average.weights[name]
                kept_average.copy_(spread(average, kept_average))
    kept = json.loads((where / "state.json").read_text())
    stepper.size = kept["micro_batch"]
    return kept["step"], kept["memory"]


def _parts(stepper: Stepper) -> dict[str, dict[str, torch.Tensor]]:
    """What a checkpoint holds, by file; empty in another process than the first."""
    named = _trainable(stepper)
    state = stepper.optimizer.state
    moments = {
        f"{name}/{key}": value
        for name, parameter in named.items()
        for key, value in state[parameter].items()
        if isinstance(value, torch.Tensor)
    }
    parts: dict[str, Mapping[str, torch.Tensor]] = {"weights": named, "optimizer": moments}
    if stepper.average is not None:
        parts["average"] = stepper.average.weights
    return {name: gather(tensors, stepper.accelerator.is_main_process) for name, tensors in parts.items()}


def _trainable(stepper: Stepper) -> dict[str, nn.Parameter]:
    return {n: p for n, p in stepper.model.network.named_parameters() if p.requires_grad}


def _flush(path: Path) -> None:
    """Onto the disk, so that a machine that stops right after the rename holds a readable file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
