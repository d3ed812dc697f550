"""Training of one stage: from Samples to an adapter, seen while it runs, exact after a kill.

In: Samples of one stage and the recipe's settings. Out: folder/adapter (or a whole checkpoint there for full
fine-tuning), the other of best and last beside it, folder/log.jsonl, and while it runs folder/checkpoints.

    train_stage(model_name="radvqa-tiny", start_adapter=None, adapt=adapt, stage=stage, sources=[(corpus, samples)],
                validation=[], seed=0, folder=out)

Under torchrun or `accelerate launch` every process calls it with the same arguments; the first one writes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radvqa.ahead import AheadStore, num_workers
from radvqa.checkpoint import load_checkpoint, save_checkpoint
from radvqa.errors import InputError
from radvqa.features import FeatureStore, is_frozen
from radvqa.layouts import Pictures, make_batch, make_image_first
from radvqa.model import VQAModel, adapt, dtype_of, load, num_trainable, resume_adapter, save_adapter
from radvqa.order import Item, encode_samples, too_long
from radvqa.pixels import PixelStore
from radvqa.recipe_sections import Adapt, Stage
from radvqa.sample import Corpus, Sample
from radvqa.sharding import held_bytes, whole_weights
from radvqa.stepper import Stepper
from radvqa.together import agreed, join, num_processes
from radvqa.trackers import Trackers
from radvqa.trackers import check as check_trackers

Sources = Sequence[tuple[Corpus, list[Sample]]]
Progress = Callable[[dict[str, Any]], None]


def train_stage(
    *,
    model_name: str,
    start_adapter: Path | None,
    adapt: Adapt,
    stage: Stage,
    sources: Sources,
    validation: Sources,
    seed: int,
    folder: Path,
    style: str = "paligemma",
    dtype: str = "auto",
    progress: Progress | None = None,
    order: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Train one stage in `folder`, going on from the checkpoint of a cut run if there is one. Returns a summary.

    `start_adapter` is an earlier stage's adapter folder (or whole checkpoint); None starts from the base. `order` int[T]
    says which sample is learned when, by its place in the sources one after the other; None: seeded permutations.
    `progress` is called with every row of the log, and with {"note": ...} for what should be said before the first.
    Raises InputError for an empty mixture, for questions that are all too long, and for an adapter that does not fit.
    """
    join()
    torch.manual_seed(seed)  # LoRA-A starts random
    stage = stage.model_copy(update={"adapt": adapt})
    check_trackers(stage.trackers)
    model = trainable_model(model_name, start_adapter, adapt, style, dtype, stage.shard and num_processes() > 1)
    key = f"stages.{stage.name}.data"
    items, places, num_too_long = _fitting(model, [s for _, some in sources for s in some], stage, order)
    if not items:
        raise InputError("no questions to train on", key=key)
    watched = encode_samples(model, [s for _, some in validation for s in some])
    watched = [item for item in watched if len(item.encoded.ids) <= limit_of(model, stage)]
    if not watched and (stage.patience is not None or stage.keep == "best"):
        raise InputError("no validation questions to choose by", key=key, fix="use keep: last and no patience")
    store = pixel_store([corpus for corpus, _ in [*sources, *validation]], model, stage, folder / "pixels")
    features = folder / "features"
    pictures: Pictures = FeatureStore(model, store, features) if is_frozen(model, adapt, stage) else store
    stepper = Stepper(model, items, pictures, stage, seed, places=places)
    slices = {
        name: _slice(some, stage.eval_samples, seed) for name, some in (("train", items), ("validation", watched))
    }
    folder.mkdir(parents=True, exist_ok=True)
    if num_too_long and progress:
        progress({"note": f"{num_too_long} questions are longer than {limit_of(model, stage)} tokens: left out"})
    if stage.shard and progress:
        held = f"{held_bytes(model.network) / 1e9:.2f} GB of weights in each of {num_processes()} processes"
        progress({"note": held if stepper.sharded else "one process: there is nothing to share its weights out over"})
    rows = Run(stepper, slices, folder, progress).to_the_end()
    store.close()
    for leftover in (features, folder / "checkpoints.finished"):
        shutil.rmtree(leftover, ignore_errors=True)
    return {
        "steps": max(row["step"] for row in rows),
        "planned_steps": stepper.num_steps,
        "epochs": max(row["step"] for row in rows) / stepper.per_epoch,
        "questions": len(items),
        "too_long": num_too_long,
        "layout": model.layout,
        "trainable": num_trainable(model),
        "held_weight_bytes": held_bytes(model.network),
        "final": {k: v for row in rows for k, v in row.items() if k.endswith("loss")},
    }


def trainable_model(
    model_name: str,
    start_adapter: Path | None,
    settings: Adapt,
    style: str,
    dtype: str = "auto",
    sharded: bool = False,
) -> VQAModel:
    """The base with a fresh LoRA, an earlier stage's LoRA, or every weight free.

    One that will be sharded stays in main memory: no device need hold it whole.
    """
    told: dict[str, Any] = {"style": style, "dtype": dtype, "quantized": settings.method == "qlora"}
    if sharded:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        told |= {"device": "cpu", "dtype": dtype_of(dtype, device)}
    if start_adapter is None or settings.method == "full":
        return adapt(load(model_name, start_adapter, **told), settings)
    return resume_adapter(load(model_name, **told), start_adapter, settings)


def pixel_store(corpora: list[Corpus], model: VQAModel, stage: Stage, folder: Path) -> PixelStore:
    """Where a stage's pictures come from: workers, or this process."""
    workers = num_workers(stage.workers, "cuda" if torch.cuda.is_available() else "cpu")
    return AheadStore(corpora, model.form, folder, workers) if workers else PixelStore(corpora, model.form)


def limit_of(model: VQAModel, stage: Stage) -> int:
    """The longest sequence, in tokens, that the model and the stage take."""
    return min(model.family.max_tokens, stage.max_tokens or model.family.max_tokens)


def _fitting(
    model: VQAModel, samples: Sequence[Sample], stage: Stage, order: Sequence[int] | None
) -> tuple[list[Item], list[int] | None, int]:
    """The items that are not too long, the order renumbered to them, and how many samples were left out."""
    items = encode_samples(model, samples)
    long = {id(item) for item in too_long(items, limit_of(model, stage))}
    kept = [i for i, item in enumerate(items) if id(item) not in long]
    if items and not kept:
        raise InputError(
            f"all {len(items)} questions are longer than {limit_of(model, stage)} tokens",
            key=f"stages.{stage.name}.max_tokens",
            fix=f"the shortest has {min(len(item.encoded.ids) for item in items)}",
        )
    place = {old: new for new, old in enumerate(kept)}
    outside = [i for i in order or () if not 0 <= i < len(items)]
    if outside:
        raise InputError(f"the order names sample {outside[0]}", key="order", fix=f"there are {len(items)}, from 0")
    places = None if order is None else [place[i] for i in order if i in place]
    return [items[i] for i in kept], places, len(long)


def _slice(items: Sequence[Item], number: int, seed: int) -> list[Item]:
    """A seeded choice of questions, sorted by image so that few pictures are read."""
    chosen = np.random.default_rng([seed, 3]).permutation(len(items))[:number]
    return sorted((items[i] for i in chosen), key=lambda item: (item.image, item.id))


# ---------------------------------------------------------------- the run


@dataclass
class Run:
    """All steps of a stage: resume, step, log, evaluate, keep the best, stop early, keep checkpoints."""

    stepper: Stepper
    slices: dict[str, list[Item]]
    folder: Path
    progress: Progress | None
    memory: dict[str, Any] = field(default_factory=lambda: {"best": None, "since": 0})
    """The lowest loss on the validation slice, and how many looks at it ago that was."""
    trackers: Trackers | None = None

    def to_the_end(self) -> list[dict[str, Any]]:
        """Train until the last step, or until `patience` says stop. Returns the log."""
        stage, stepper = self.stepper.stage, self.stepper
        if self._finished.is_dir():  # cut while it tidied up
            return self._read_log()
        first, memory = load_checkpoint(stepper, self.folder / "checkpoints")
        self.memory |= memory
        rows = self._begin_log(first)
        saved_at = time.monotonic()
        for step in range(first, stepper.num_steps):
            if self._ran_out():
                break
            if step == 0:
                rows += self._log({"step": 0, **self._evaluate()})
            rows += self._log(stepper.step(step))
            self._say_notes()
            last = step + 1 == stepper.num_steps
            if last or (stage.eval_every and (step + 1) % stage.eval_every == 0):
                rows += self._log({"step": step + 1, **self._evaluate()})
                self._judge(rows[-1])
            if not last and self._is_due(saved_at):
                save_checkpoint(stepper, self.folder / "checkpoints", step + 1, self.memory)
                saved_at = time.monotonic()
        self._finish()
        return rows

    def _say_notes(self) -> None:
        """What the steps had to change."""
        while self.stepper.notes:
            note = self.stepper.notes.pop(0)
            if self.progress:
                self.progress({"note": note})

    @property
    def _is_main(self) -> bool:
        return self.stepper.accelerator.is_main_process

    def _averaged(self) -> Any:
        return self.stepper.average.in_place() if self.stepper.average is not None else nullcontext()

    def _evaluate(self) -> dict[str, float]:
        with self._averaged():
            return {f"{name}_slice_loss": self.stepper.mean_loss(some) for name, some in self.slices.items() if some}

    def _judge(self, row: dict[str, Any]) -> None:
        """Remember whether this look at the validation slice was the best so far, and keep that adapter."""
        loss, best = row.get("validation_slice_loss"), self.memory["best"]
        if loss is None:
            return
        if best is not None and loss >= best:
            self.memory["since"] += 1
            return
        self.memory.update(best=loss, since=0, best_step=row["step"])
        self._save("best")

    def _ran_out(self) -> bool:
        patience = self.stepper.stage.patience
        return patience is not None and self.memory["since"] >= patience

    def _is_due(self, saved_at: float) -> bool:
        """Whether it is time for a checkpoint: by the first process's clock, where all must take part in one."""
        due = time.monotonic() - saved_at >= self.stepper.stage.checkpoint_every_s
        return agreed(due) if self.stepper.sharded else due

    def _save(self, name: str) -> None:
        """Write the adapter as it is now, whole or not at all."""
        partial, final = self.folder / f"{name}.partial", self.folder / name
        with self._averaged():
            whole = whole_weights(self.stepper.model.network, self._is_main)
            if not self._is_main:
                return
            shutil.rmtree(partial, ignore_errors=True)
            save_adapter(self.stepper.model, partial, whole)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)

    def _finish(self) -> None:
        """`adapter` is what the stage is known by: the last, or the best; the other stays beside it."""
        keep, best = self.stepper.stage.keep, self.folder / "best"
        self._save("last" if keep == "best" else "adapter")
        if self._is_main:
            if keep == "best":
                shutil.rmtree(self.folder / "adapter", ignore_errors=True)
                shutil.copytree(best, self.folder / "adapter")
                shutil.rmtree(best)
            (self.folder / "checkpoints").mkdir(exist_ok=True)
            (self.folder / "checkpoints").rename(self._finished)  # at once: half a checkpoint could not be read
            assert self.trackers is not None
            self.trackers.close()
        self.stepper.accelerator.wait_for_everyone()

    @property
    def _finished(self) -> Path:
        """What the checkpoints are called when all is written."""
        return self.folder / "checkpoints.finished"

    # ------------------------------------------------------------ the log

    def _read_log(self) -> list[dict[str, Any]]:
        """Its rows; a line cut by a kill is none."""
        lines = (self.folder / "log.jsonl").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _begin_log(self, first: int) -> list[dict[str, Any]]:
        """The rows up to the step that the run goes on from; a line cut by a kill is of a later one."""
        log, rows = self.folder / "log.jsonl", []
        if first and log.is_file():
            rows = [row for row in self._read_log() if row["step"] <= first]
        if self._is_main:
            partial = log.with_suffix(".partial")
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
            partial.replace(log)
            self.trackers = Trackers(self.stepper.stage.trackers, self.folder, self.stepper.stage.name, rows)
        return rows

    def _log(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        if self._is_main:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            assert self.trackers is not None
            self.trackers.log(row)
            if self.progress:
                self.progress({**row, "num_steps": self.stepper.num_steps})
        return [row]


__all__ = ["Item", "Stepper", "encode_samples", "make_batch", "make_image_first", "train_stage"]
