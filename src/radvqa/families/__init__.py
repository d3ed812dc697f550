"""Model families behind one small interface: what differs between architectures, and nothing else."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from radvqa.errors import InputError
from radvqa.families.paligemma import PaliGemma

FAMILIES = {"paligemma": PaliGemma}


def family_of(config: PretrainedConfig, name: str | Path) -> PaliGemma:
    """The family that a checkpoint's configuration belongs to. Raises InputError for one that is not supported."""
    if config.model_type not in FAMILIES:
        raise InputError(
            f"the model type {config.model_type!r} is not supported",
            file=str(name),
            fix="use one of: " + ", ".join(FAMILIES),
        )
    return FAMILIES[config.model_type](config)


__all__ = ["FAMILIES", "AutoConfig", "PaliGemma", "family_of"]
