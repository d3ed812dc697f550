"""What the tests of training share: twelve pictures with three questions each, a stage of four steps, a stepper on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from radvqa import train
from radvqa.model import adapt, load
from radvqa.pixels import PixelStore
from radvqa.recipe_sections import Adapt, Stage, TrainSource
from radvqa.sample import Corpus, CorpusWriter, Sample

LORA, FULL = Adapt(rank=4, alpha=8), Adapt(method="full")
Sources = list[tuple[Corpus, list[Sample]]]


def sides(out: Path) -> Sources:
    """Twelve pictures, bright on the left or on the right; three questions on each."""
    rng = np.random.default_rng(0)
    with CorpusWriter(out, {"name": "sides"}) as writer:
        for i in range(12):
            values = rng.integers(0, 60, (40, 40))
            values[:, :20] += 190 * (i % 2)
            values[:, 20:] += 190 * (1 - i % 2)
            picture = Image.fromarray(values.clip(0, 255).astype(np.uint8))
            asked = [
                ("is there a mass in the left lung?", ["no", "yes"][i % 2]),
                ("what modality?", "mr"),
                ("what organ?", ["liver", "left lung"][i % 2]),
            ]
            for j, (question, answer) in enumerate(asked):
                kind = "closed" if j == 0 else "open"
                about: Any = {"kind": kind, "split": "train", "source": "x", "subject": str(i)}
                writer.add(Sample(id=f"{i}-{j}", question=question, answers=(answer,), **about), picture)
    corpus = Corpus(out)
    return [(corpus, list(corpus.samples()))]


def stage(**changes: Any) -> Stage:
    defaults = {"name": "s", "data": (TrainSource(corpus="c"),), "steps": 4, "batch_size": 9, "lr": 1e-2}
    return Stage(**{**defaults, **({"steps": None} if "epochs" in changes else {}), **changes})


def run(base: Path, sources: Sources, folder: Path, settings: Adapt = LORA, **changes: Any) -> dict[str, Any]:
    """train_stage; `start`, `validation`, `order` and `progress` are its own, the rest changes the stage."""
    own = {name: changes.pop(name) for name in ("validation", "order", "progress") if name in changes}
    return train.train_stage(
        model_name=str(base), start_adapter=changes.pop("start", None), adapt=settings, stage=stage(**changes),
        sources=sources, seed=0, folder=folder, **{"validation": [], **own},
    )  # fmt: skip


def stepper_of(base: Path, sources: Sources, settings: Adapt = LORA, **changes: Any) -> train.Stepper:
    torch.manual_seed(0)
    model = adapt(load(base), settings)
    items = train.encode_samples(model, sources[0][1])
    return train.Stepper(model, items, PixelStore([sources[0][0]], model.form), stage(**changes), 0)


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a stage's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
