"""Truth: what an answer rests on, where a data set says it, and how much of a map lies there.

In: a Sample with a mask or boxes. Out: a mask of the picture, the share of a map's mass in it, the pointing game.

    truth = truth_of(sample, picture.size); mass_in(explanation.overall, truth)
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from radvqa.errors import InputError
from radvqa.sample import Sample


def truth_of(sample: Sample, size: tuple[int, int]) -> np.ndarray | None:
    """bool[height, width] at a picture's (width, height): the mask, else the boxes, else None.

    Raises InputError for a mask of another size.
    """
    width, height = size
    if sample.mask is not None:
        with Image.open(io.BytesIO(sample.mask)) as file:
            mask = np.asarray(file.convert("L")) > 0
        if mask.shape != (height, width):
            found = f"a mask of {mask.shape[1]} x {mask.shape[0]} px on a picture of {width} x {height} px"
            raise InputError(found, row=sample.id, key="mask")
        return mask if mask.any() else None
    if sample.boxes:
        rows, columns = np.mgrid[:height, :width] + 0.5
        inside = [
            (columns >= b.x) & (columns < b.x + b.width) & (rows >= b.y) & (rows < b.y + b.height) for b in sample.boxes
        ]
        mask = np.logical_or.reduce(inside)
        return mask if mask.any() else None
    return None


def on_grid(truth: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """float64[gh, gw]: the share of each patch that lies in a mask bool[height, width]."""
    picture = Image.fromarray(truth.astype(np.float32))
    return np.asarray(picture.resize((grid[1], grid[0]), Image.Resampling.BOX), dtype=np.float64)


def mass_in(grid: np.ndarray, truth: np.ndarray) -> float | None:
    """Share of the positive mass of a map [gh, gw] that lies in the mask (Wang et al. 2020, energy pointing game).

    None for a map without positive mass. By chance: the share of the picture that the mask covers.
    """
    positive = np.clip(grid.astype(np.float64), 0.0, None)
    return float((positive * on_grid(truth, grid.shape)).sum() / positive.sum()) if positive.sum() > 0 else None


def points_at(grid: np.ndarray, truth: np.ndarray) -> float:
    """Pointing game (Zhang et al. 2018): 1 if the largest patch touches the mask; equal largest ones share the point.

    A patch touches the mask if any of it lies inside. By chance: the share of patches that do.
    """
    touched = on_grid(truth, grid.shape) > 0
    return float(touched[grid == grid.max()].mean())
