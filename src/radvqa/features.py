"""Features of a frozen tower, computed once a picture and kept on disk while a stage trains.

In: a model whose vision tower and projector are not trained, and where its pictures come from. Out: float[I, N, D], what
the tower and projector make of them.

    store = FeatureStore(model, PixelStore([corpus], model.form), folder / "features")
    store.batch([key, ...])

From the second look at a picture on, the tower is not run: at 256 image tokens a picture takes 1 MB for a 3 B model in
bfloat16. Pictures that are augmented are new every time, so a stage that augments does without.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from radvqa.layouts import Pictures
from radvqa.model import VQAModel
from radvqa.recipe_sections import Adapt, Stage

AT_ONCE = 16
"""Pictures that go through the tower together."""


def is_frozen(model: VQAModel, settings: Adapt, stage: Stage) -> bool:
    """Whether a picture's features stay the same through a stage."""
    learns = settings.method == "full" or settings.projector or bool(settings.vision)
    return not learns and stage.augment == "none" and not model.family.vision.attention_dropout


class FeatureStore:
    """Stands where a PixelStore would, and gives features instead of pixels."""

    def __init__(self, model: VQAModel, pictures: Pictures, folder: Path) -> None:
        self.model, self.pictures, self.folder = model, pictures, folder
        folder.mkdir(parents=True, exist_ok=True)

    def batch(self, keys: Sequence[str]) -> torch.Tensor:
        """float[I, N, D]."""
        missing = [key for key in keys if not self._file(key).is_file()]
        for i in range(0, len(missing), AT_ONCE):
            self._make(missing[i : i + AT_ONCE])
        return torch.stack([load_file(self._file(key))["features"] for key in keys])

    def ahead(self, keys: Sequence[str]) -> None:
        """Those whose features are not there yet."""
        self.pictures.ahead([key for key in keys if not self._file(key).is_file()])

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    @torch.no_grad()
    def _make(self, keys: Sequence[str]) -> None:
        pixels = self.pictures.batch(keys).to(self.model.device, self.model.dtype)
        features = self.model.family.encode(self.model.network, pixels).cpu()
        for key, one in zip(keys, features):
            partial = self.folder / f"{key}.{os.getpid()}.partial"
            save_file({"features": one.contiguous()}, partial)
            partial.rename(self._file(key))
