"""How far a picture is from everything the model was taught on, in the model's own eyes.

In: a model, the pictures it learned from and the pictures it is asked about. Out: a distance for each of the latter.

    far = neighbour_distances(image_features(model, store, asked), image_features(model, store, learned))

Sun et al. 2022 ("Out-of-distribution detection with deep nearest neighbors"): features of unit length, distance to the
k-th nearest training feature. The feature is the mean of a picture's projected patches, from which the mean of the
training pictures is taken away: what all radiographs share says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch

from radvqa.model import VQAModel
from radvqa.pixels import PixelStore
from radvqa.sample import Corpus
from radvqa.tables import read_table

NEIGHBOUR = 5
"""Which nearest training picture counts; of fewer pictures the farthest."""


def pictures_learned(run: Path, stages: Sequence[str]) -> list[str]:
    """Keys of the pictures that these stages of a run learned from, by the mix.parquet that each of them left."""
    mixed = [read_table(run / name / "mix.parquet", columns=["corpus", "id"]) for name in stages]
    keys: set[str] = set()
    for (name,), part in pl.concat(mixed).group_by("corpus") if mixed else ():
        table = Corpus(run / "corpora" / str(name)).table.select("id", "image")
        keys |= set(table.join(part.select("id"), on="id", how="semi")["image"].drop_nulls())
    return sorted(keys)


@torch.inference_mode()
def image_features(
    model: VQAModel,
    store: PixelStore,
    keys: Sequence[str],
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """float32[I, D]: for each picture the mean over its patches, behind tower and projector."""
    found = []
    for start in range(0, len(keys), batch_size):
        pixels = store.batch(keys[start : start + batch_size]).to(model.device, model.dtype)
        found.append(model.family.encode(model.network, pixels).float().mean(1).cpu().numpy())
        if progress:
            progress(min(start + batch_size, len(keys)))
    return np.concatenate(found) if found else np.empty((0, 0), dtype=np.float32)


def neighbour_distances(asked: np.ndarray, learned: np.ndarray, neighbour: int = NEIGHBOUR) -> np.ndarray:
    """float64[I] of features float[I, D] and float[J, D]: 1 - cosine to the k-th nearest of the J pictures, 0 to 2."""
    centre = learned.astype(np.float64).mean(0)
    a, b = (_unit(x.astype(np.float64) - centre) for x in (asked, learned))
    place = min(neighbour, len(learned)) - 1
    return np.partition(1.0 - a @ b.T, place, axis=1)[:, place]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
