"""Pictures and files that tests of the data sets make."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Layout = tuple[str, Path, dict[str, Any]]
"""A data set's name, where it lies, and the options it is read with."""


def picture(seed: int, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """Noise, another for every seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "PNG")
    return buffer.getvalue()


def save(file: Path, seed: int) -> None:
    """A picture in the format of the file's ending."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(file)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def table(file: Path, rows: list[dict[str, Any]], zipped: bool = False) -> None:
    """A CSV file with the keys of the first row as header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    file.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
