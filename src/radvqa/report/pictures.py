"""Pictures for the page: small, inline, with the true mask drawn as an outline.

In: a PIL image, or the bytes of one. Out: a `Picture`, a WebP in a data URI with its size.

    picture = thumbnail(corpus.image(key)); f'<img src="{picture.uri}" width="{picture.width_px}">'
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from radvqa.errors import InputError

OUTLINE = (92, 225, 230)
"""Cyan: away from the warm and the dark ends of the colour scales that maps are drawn with."""


@dataclass(frozen=True)
class Picture:
    """An image as the page holds it."""

    uri: str
    width_px: int
    height_px: int


def thumbnail(image: Image.Image, *, most_px: int = 320, quality: int = 80) -> Picture:
    """Shrink to at most `most_px` on the longer side (never enlarge) and pack as WebP."""
    return _pack(_shrunk(image, most_px), quality)


def outlined(image: Image.Image, mask: bytes, *, most_px: int = 320, quality: int = 80) -> Picture:
    """The thumbnail with the outline of the true mask: a PNG of the picture's size in which what is not 0 is true."""
    small = _grown(_shrunk(image, most_px), most_px)
    with Image.open(io.BytesIO(mask)) as drawn:
        soft = np.asarray(drawn.convert("L").resize(small.size, Image.Resampling.BILINEAR))
    truth = soft >= min(128, int(soft.max(initial=0)) or 1)  # a speck that shrinks to a grey dot still has an outline
    line = binary_dilation(truth) & ~binary_erosion(truth)
    halo = binary_dilation(line) & ~line
    pixels = np.asarray(small).copy()
    pixels[halo] = pixels[halo] // 3
    pixels[line] = OUTLINE
    return _pack(Image.fromarray(pixels), quality)


def open_picture(path: Path) -> Image.Image:
    """A picture that the run wrote, RGB. Raises InputError for a file that is missing or no picture."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise InputError("the picture cannot be read", file=path, fix="run the step that writes it again") from error


def _shrunk(image: Image.Image, most_px: int) -> Image.Image:
    image = image.convert("RGB")
    scale = most_px / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _grown(image: Image.Image, most_px: int) -> Image.Image:
    """Enlarged by a whole number, so that an outline of one pixel stays thin on a small picture."""
    factor = most_px // max(image.size)
    if factor < 2:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)


def _pack(image: Image.Image, quality: int) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    text = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{text}", image.width, image.height)
