"""Model families behind one small interface: what differs between architectures, and nothing else."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from radvqa.errors import InputError
from radvqa.families.gemma3 import Gemma3
from radvqa.families.llava import Llava
from radvqa.families.paligemma import PaliGemma

FAMILIES: dict[str, type[PaliGemma]] = {family.name: family for family in (PaliGemma, Gemma3, Llava)}


def family_of(config: PretrainedConfig, name: str | Path) -> PaliGemma:
    """The family that a checkpoint's configuration belongs to. Raises InputError for one that is not supported."""
    if config.model_type not in FAMILIES:
        raise InputError(
            f"the model type {config.model_type!r} is not supported",
            file=str(name),
            fix="use one of: " + ", ".join(FAMILIES),
        )
    return FAMILIES[config.model_type](config)


__all__ = ["FAMILIES", "AutoConfig", "Gemma3", "Llava", "PaliGemma", "family_of"]
