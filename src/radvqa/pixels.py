"""Pictures as the network takes them: resized once, kept as uint8, normalised when a batch is built.

In: a corpus and image keys, or pictures. Out: float[I, 3, H, W], equal to the Hugging Face image processor's.

    store = PixelStore(corpora, model.image_size); pixels = store.batch([key, ...])
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from radvqa.sample import Corpus


@dataclass(frozen=True)
class PixelFormat:
    """What a checkpoint's image processor does: make it a square, scale to 0..1, subtract mean, divide by std."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: int
    crop: bool = False
    """CLIP's way to a square: the shorter edge to size, and the middle of the longer one. False: squeezed."""

    @classmethod
    def of(cls, image_processor: object, size_px: int) -> PixelFormat:
        """Read from an image processor; `size_px` is the tower's own."""
        mean, std = image_processor.image_mean, image_processor.image_std  # type: ignore[attr-defined]
        crop = bool(getattr(image_processor, "do_center_crop", False))
        return cls(size_px, tuple(mean), tuple(std), int(image_processor.resample), crop)  # type: ignore[attr-defined]

    def resize(self, picture: Image.Image) -> np.ndarray:
        """uint8[H, W, 3], the picture as a square."""
        size, (width, height) = self.size_px, picture.size
        wide, high = size, size
        if self.crop:
            wide = size if width <= height else int(size * width / height)
            high = size if height <= width else int(size * height / width)
        small = picture.convert("RGB").resize((wide, high), Image.Resampling(self.resample))
        left, top = (wide - size) // 2, (high - size) // 2
        return np.array(small.crop((left, top, left + size, top + size)) if self.crop else small)

    def normalise(self, resized: np.ndarray) -> torch.Tensor:
        """float[I, 3, H, W] from uint8[I, H, W, 3]."""
        scaled = torch.from_numpy(resized).float() / 255.0
        return ((scaled - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(0, 3, 1, 2).contiguous()

    def blank(self) -> np.ndarray:
        """uint8[H, W, 3] of the blank control: the grey that normalises to zero."""
        grey = np.rint(255.0 * np.asarray(self.mean)).astype(np.uint8)
        return np.broadcast_to(grey, (self.size_px, self.size_px, 3)).copy()


class PixelStore:
    """Resized pictures of several corpora by key, decoded at first use; the oldest leave beyond `max_bytes`."""

    def __init__(self, corpora: Sequence[Corpus], form: PixelFormat, max_bytes: int = 2 << 30) -> None:
        self.form, self.max_bytes = form, max_bytes
        self._corpus_of = {key: corpus for corpus in corpora for key in corpus.image_keys()}
        self._resized: OrderedDict[str, np.ndarray] = OrderedDict()

    def resized(self, key: str) -> np.ndarray:
        """uint8[H, W, 3] of one picture."""
        if key in self._resized:
            self._resized.move_to_end(key)
            return self._resized[key]
        picture = self.make(key)
        self._resized[key] = picture
        if len(self._resized) * picture.nbytes > self.max_bytes:
            self._resized.popitem(last=False)
        return picture

    def make(self, key: str) -> np.ndarray:
        """uint8[H, W, 3] of a picture that is not in memory."""
        return self.form.resize(self._corpus_of[key].image(key))

    def ahead(self, keys: Sequence[str]) -> None:
        """These pictures come next. Nothing is done about it here."""

    def close(self) -> None:
        """Nothing is open."""

    def batch(self, keys: Sequence[str]) -> torch.Tensor:
        """float[I, 3, H, W], normalised."""
        return self.form.normalise(np.stack([self.resized(key) for key in keys]))


def augment(pixels: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """Small random shifts (8 %), turns (8 degrees), zooms (10 %), brightness and contrast of float[I, 3, H, W].

    Each picture's change is a function of its seed alone. Never mirrored: left and right are part of the answers.
    """
    drawn = np.stack([np.random.default_rng(seed).uniform(-1, 1, 6) for seed in seeds])
    u = torch.from_numpy(drawn).to(pixels)
    angle, zoom = u[:, 0] * math.radians(8), 1 + 0.10 * u[:, 1]
    turn = torch.stack([angle.cos() * zoom, -angle.sin() * zoom, angle.sin() * zoom, angle.cos() * zoom], 1)
    theta = torch.cat([turn.view(-1, 2, 2), 0.16 * u[:, 2:4, None]], 2)  # grid units: the picture is 2 wide
    grid = torch.nn.functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    gain, shift = 1 + 0.2 * u[:, 4], 0.1 * u[:, 5]
    return (moved * gain[:, None, None, None] + shift[:, None, None, None]).clamp(-1, 1)
