"""Pictures: any image file in, upright RGB and the bytes it is stored as out, with its key and perceptual hash.

rgb, data = read_picture(Path("chest.png")); print(picture_key(rgb), perceptual_hash(rgb))
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from radvqa.errors import InputError

MAX_PIXELS = 100_000_000
"""A picture of more pixels is refused before it is decoded (decompression bombs)."""
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")
"""What is read. Pillow knows more, some of them through programs of their own (EPS); those stay shut."""


def read_picture(source: Path | bytes | Image.Image) -> tuple[Image.Image, bytes]:
    """Decode a picture to RGB, upright, and give the bytes it is stored as.

    JPEG and PNG files of 8 bits keep their own bytes; anything else is stored as PNG. Integer pictures of more than
    8 bits are scaled from their own minimum and maximum; what is transparent lies on black; of several frames the
    first is taken.
    Raises InputError for a file that is missing, unreadable, truncated or larger than MAX_PIXELS.
    """
    if isinstance(source, Image.Image):
        return _as_png(_to_rgb(source))
    name = source if isinstance(source, Path) else None
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        found = f"the image cannot be read ({error.strerror or error})"
        raise InputError(found, file=name, key="image") from error
    try:
        return _decode(data, name)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large("too large to decode", name) from error
    except Exception as error:  # Pillow raises many kinds for broken files; each is the file's fault
        raise InputError(
            _unreadable(error) if data else "the image is an empty file",
            file=name,
            key="image",
            fix="give a whole JPEG, PNG, TIFF, BMP or WebP file",
        ) from error


def _unreadable(error: Exception) -> str:
    """What Pillow said, without the address of the buffer it was given."""
    said = re.sub(r"\s*<_io\.\S+ object at \w+>", "", str(error)) or type(error).__name__
    return f"the image is not readable ({said})"


def _decode(data: bytes, name: Path | None) -> tuple[Image.Image, bytes]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise _too_large(f"{picture.width} x {picture.height} px", name)
        upright = picture.getexif().get(0x0112, 1) == 1
        plain = picture.format in ("JPEG", "PNG") and picture.mode in ("L", "RGB") and upright
        rgb = _to_rgb(picture)
    return (rgb, data) if plain else _as_png(rgb)


def _too_large(size: str, name: Path | None) -> InputError:
    return InputError(f"the image is {size}", file=name, key="image", fix=f"at most {MAX_PIXELS} pixels are read")


def _to_rgb(picture: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, dtype=np.float64)
        known = np.isfinite(values)
        low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
        scaled = (np.where(known, values, low) - low) * (255.0 / max(high - low, 1e-12))
        picture = Image.fromarray(scaled.round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        backdrop = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(backdrop, picture)
    return picture.convert("RGB")


def _as_png(rgb: Image.Image) -> tuple[Image.Image, bytes]:
    red, green, blue = rgb.split()
    grey = red.tobytes() == green.tobytes() == blue.tobytes()
    buffer = io.BytesIO()
    (red if grey else rgb).save(buffer, "PNG", compress_level=4)
    return rgb, buffer.getvalue()


def picture_key(rgb: Image.Image) -> str:
    """SHA-256 of width, height and the RGB pixels, hexadecimal: a grey file and its RGB copy have one key."""
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()


def perceptual_hash(rgb: Image.Image) -> int:
    """A 64-bit DCT hash (Zauner 2010): pictures that look alike differ in few bits."""
    from scipy.fft import dctn

    small = np.asarray(rgb.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=np.float64)
    low = dctn(small, norm="ortho")[:8, :8].ravel()
    return int.from_bytes(np.packbits(low > np.median(low[1:])).tobytes(), "big")
