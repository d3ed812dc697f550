"""The loop: LoRA by tower or every weight, the loss on the answer only, resumable to the bit.

In: Samples of one stage and the recipe's settings. Out: folder/adapter (or a whole checkpoint there for full
fine-tuning), folder/log.jsonl, and while it runs folder/checkpoints.

    train_stage(model_name="radvqa-tiny", start_adapter=None, adapt=adapt, stage=stage, sources=[(corpus, samples)],
                validation=[], seed=0, folder=out)

Data order, augmentation and dropout are functions of (seed, step) alone, so a run that was killed and goes on from its
last checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from radvqa.batch import IGNORED, Batch, Encoded, collate, collate_image_first, encode
from radvqa.errors import InputError
from radvqa.model import VQAModel, adapt, load, num_trainable, resume_adapter, save_adapter
from radvqa.pixels import PixelStore, augment
from radvqa.prompt import sample_prompt, sample_target
from radvqa.recipe_sections import Adapt, Stage
from radvqa.sample import Corpus, Sample

Sources = Sequence[tuple[Corpus, list[Sample]]]
Progress = Callable[[dict[str, Any]], None]


class AnswerLoss(nn.Module):
    """Batch -> summed cross-entropy (nats) of its supervised tokens: each image encoded once, logits only where needed."""

    def __init__(self, model: VQAModel) -> None:
        super().__init__()
        self.network, self.family = model.network, model.family

    def forward(self, batch: Batch) -> torch.Tensor:
        hidden = self.family.hidden(self.network, batch, self.family.encode(self.network, batch.pixels))
        target = batch.labels[:, 1:]
        here = target != IGNORED
        logits = self.family.logits(self.network, hidden[:, :-1][here])
        return cross_entropy(logits, target[here], reduction="sum")


@dataclass(frozen=True, slots=True)
class Item:
    """One question ready to be put into a batch."""

    id: str
    image: str
    encoded: Encoded


def encode_samples(model: VQAModel, samples: Sequence[Sample]) -> list[Item]:
    """Samples as token ids. Raises InputError for one without a picture or with an image token in its text."""
    items = []
    for sample in samples:
        if sample.image is None:
            raise InputError("a question without a picture", row=sample.id, key="image")
        encoded = encode(
            model.tokenizer, model.family.num_image_tokens, sample_prompt(sample, model.style), sample_target(sample)
        )
        if encoded.ids.count(model.family.image_token_id) != model.family.num_image_tokens:
            raise InputError("the text holds the image token", row=sample.id, key="question")
        items.append(Item(sample.id, sample.image, encoded))
    return items


def micro_batches(items: Sequence[Item], seed: int, epoch: int, batch_size: int, per_image: int) -> list[list[Item]]:
    """One epoch in micro-batches of `batch_size` questions, at most `per_image` of one image side by side.

    A function of its arguments alone. Every item is there once; the last micro-batch may be shorter.
    """
    rng = np.random.default_rng([seed, epoch])
    of_image: dict[str, list[Item]] = {}
    for i in rng.permutation(len(items)):
        of_image.setdefault(items[i].image, []).append(items[i])
    groups = [some[i : i + per_image] for some in of_image.values() for i in range(0, len(some), per_image)]
    order = [item for i in rng.permutation(len(groups)) for item in groups[i]]
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def learning_rate(stage: Stage, step: int, num_steps: int) -> float:
    """Of step 0, 1 ... num_steps - 1: linear warm-up, then constant, or half a cosine down to zero."""
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.lr
    done = (step - stage.warmup_steps) / max(1, num_steps - stage.warmup_steps)
    return stage.lr * 0.5 * (1 + math.cos(math.pi * done))


class Stepper:
    """Everything that one optimizer step needs; `step(i)` is a function of the weights, the seed and i."""

    def __init__(
        self,
        model: VQAModel,
        items: Sequence[Item],
        store: PixelStore,
        stage: Stage,
        seed: int,
        build: Callable[[VQAModel, PixelStore, Sequence[Item]], Batch] | None = None,
    ) -> None:
        self.model, self.items, self.store, self.stage, self.seed = model, items, store, stage, seed
        self.build = build or make_batch
        self.accelerator = Accelerator()
        parameters = [p for p in model.network.parameters() if p.requires_grad]
        fused = model.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(parameters, lr=stage.lr, weight_decay=stage.weight_decay, fused=fused)
        self.loss = self.accelerator.prepare(AnswerLoss(model))
        self.per_epoch = math.ceil(math.ceil(len(items) / stage.batch_size) / stage.accumulation)
        self.num_steps = stage.steps or math.ceil((stage.epochs or 1) * self.per_epoch)
        self._epoch: tuple[int, list[list[Item]]] = (-1, [])

    def batches(self, step: int) -> list[list[Item]]:
        """The micro-batches of one step."""
        epoch, place = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            stage = self.stage
            self._epoch = (
                epoch,
                micro_batches(self.items, self.seed, epoch, stage.batch_size, stage.questions_per_image),
            )
        return self._epoch[1][place * self.stage.accumulation : (place + 1) * self.stage.accumulation]

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step. The loss is weighted by supervised tokens over all its micro-batches.

        Raises InputError, naming the questions, when the loss is not finite; the weights are then those before the step.
        """
        torch.manual_seed(int(np.random.default_rng([self.seed, step, 1]).integers(2**62)))
        self.model.network.train()
        start = time.perf_counter()
        micro = self.batches(step)
        batches = [self.build(self.model, self.store, items) for items in micro]
        wait_s = time.perf_counter() - start
        tokens = sum(batch.num_supervised for batch in batches)
        total = 0.0
        for i, (items, batch) in enumerate(zip(micro, batches)):
            if self.stage.augment != "none":
                generator = torch.Generator().manual_seed(
                    int(np.random.default_rng([self.seed, step, 2, i]).integers(2**62))
                )
                batch = augment(batch, generator)
            loss = self.loss(batch.to(self.model.device, self.model.dtype)) / tokens
            if not torch.isfinite(loss):
                self.optimizer.zero_grad()
                raise InputError(
                    f"the loss is {loss.item()} at step {step}",
                    row=", ".join(x.id for x in items[:5]),
                    fix="lower lr, or look at these questions",
                )
            self.accelerator.backward(loss)
            total += float(loss.detach())
        rate = learning_rate(self.stage, step, self.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parameters = self.optimizer.param_groups[0]["params"]
        norm = nn.utils.clip_grad_norm_(parameters, self.stage.clip if self.stage.clip else math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        questions, images = sum(map(len, micro)), sum(len(batch.pixels) for batch in batches)
        return {
            "step": step + 1,
            "epoch": round((step + 1) / self.per_epoch, 4),
            "loss": total,
            "lr": rate,
            "gradient_norm": float(norm),
            "supervised_tokens": tokens,
            "questions": questions,
            "questions_per_s": questions / seconds,
            "image_tokens_per_s": images * self.model.family.num_image_tokens / seconds,
            "text_tokens_per_s": sum(len(x.encoded.ids) - self.model.family.num_image_tokens for m in micro for x in m)
            / seconds,
            "wait_share": wait_s / seconds,
            "seconds": seconds,
        }

    @torch.no_grad()
    def mean_loss(self, items: Sequence[Item]) -> float:
        """Nats per supervised token over a slice of questions, without augmentation or dropout."""
        self.model.network.eval()
        total, tokens = 0.0, 0
        for i in range(0, len(items), self.stage.batch_size):
            batch = self.build(self.model, self.store, items[i : i + self.stage.batch_size])
            total += float(self.loss(batch.to(self.model.device, self.model.dtype)))
            tokens += batch.num_supervised
        return total / tokens


def make_batch(model: VQAModel, store: PixelStore, items: Sequence[Item]) -> Batch:
    """Questions to one Batch, each distinct picture in it once."""
    keys = list(dict.fromkeys(item.image for item in items))
    place = {key: i for i, key in enumerate(keys)}
    rows, images = [item.encoded for item in items], [place[item.image] for item in items]
    return collate(rows, images, store.batch(keys), model.tokenizer.pad_token_id)


def make_image_first(model: VQAModel, store: PixelStore, items: Sequence[Item]) -> Batch:
    """Questions to one row a picture (see ImageFirstBatch)."""
    groups: dict[str, list[Encoded]] = {}
    for item in items:
        groups.setdefault(item.image, []).append(item.encoded)
    pixels, num = store.batch(list(groups)), model.family.num_image_tokens
    return collate_image_first(list(groups.values()), num, pixels, model.tokenizer.pad_token_id)


# ---------------------------------------------------------------- one stage


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
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train one stage in `folder`, going on from the checkpoint of a cut run if there is one. Returns a summary.

    `start_adapter` is an earlier stage's adapter folder (or whole checkpoint); None starts from the base.
    """
    torch.manual_seed(seed)  # LoRA-A starts random
    model = trainable_model(model_name, start_adapter, adapt, style)
    train_items = encode_samples(model, [s for _, some in sources for s in some])
    if not train_items:
        raise InputError("no questions to train on", key=f"stages.{stage.name}.data")
    validation_items = encode_samples(model, [s for _, some in validation for s in some])
    store = PixelStore([corpus for corpus, _ in [*sources, *validation]], model.form)
    stepper = Stepper(model, train_items, store, stage, seed)
    slices = {
        "train": _slice(train_items, stage.eval_samples, seed),
        "validation": _slice(validation_items, stage.eval_samples, seed),
    }
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(_run(stepper, slices, folder, progress))
    save_adapter(model, folder / "adapter")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return {
        "steps": stepper.num_steps,
        "epochs": stepper.num_steps / stepper.per_epoch,
        "questions": len(train_items),
        "trainable": num_trainable(model),
        "final": {k: v for row in rows for k, v in row.items() if k.endswith("loss")},
    }


def trainable_model(model_name: str, start_adapter: Path | None, settings: Adapt, style: str) -> VQAModel:
    """The base with a fresh LoRA, an earlier stage's LoRA, or every weight free."""
    if start_adapter is None or settings.method == "full":
        return adapt(load(model_name, start_adapter, style=style), settings)
    return resume_adapter(load(model_name, style=style), start_adapter)


def _slice(items: Sequence[Item], number: int, seed: int) -> list[Item]:
    """A seeded choice of questions, sorted by image so that few pictures are read."""
    chosen = np.random.default_rng([seed, 3]).permutation(len(items))[:number]
    return sorted((items[i] for i in chosen), key=lambda item: (item.image, item.id))


def _run(
    stepper: Stepper, slices: dict[str, list[Item]], folder: Path, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    """The whole training: resume, then step, log, evaluate and keep checkpoints until the last step."""
    stage, log = stepper.stage, folder / "log.jsonl"
    first = load_checkpoint(stepper, folder / "checkpoints")
    earlier = (
        [r for r in map(json.loads, log.read_text().splitlines()) if r["step"] <= first]
        if first and log.is_file()
        else []
    )
    log.write_text("".join(json.dumps(row) + "\n" for row in earlier))
    yield from earlier
    saved_at = time.monotonic()
    with log.open("a") as file:
        for step in range(first, stepper.num_steps):
            rows: list[dict[str, Any]] = []
            if step == 0:
                rows.append({"step": 0, **_evaluate(stepper, slices)})
            rows.append(stepper.step(step))
            last = step + 1 == stepper.num_steps
            if last or (stage.eval_every and (step + 1) % stage.eval_every == 0):
                rows.append({"step": step + 1, **_evaluate(stepper, slices)})
            for row in rows:
                file.write(json.dumps(row) + "\n")
                if progress:
                    progress({**row, "num_steps": stepper.num_steps})
            file.flush()
            yield from rows
            if not last and time.monotonic() - saved_at >= stage.checkpoint_every_s:
                save_checkpoint(stepper, folder / "checkpoints", step + 1)
                saved_at = time.monotonic()


def _evaluate(stepper: Stepper, slices: dict[str, list[Item]]) -> dict[str, float]:
    return {f"{name}_slice_loss": stepper.mean_loss(items) for name, items in slices.items() if items}


# ---------------------------------------------------------------- checkpoints


def save_checkpoint(stepper: Stepper, folder: Path, step: int) -> None:
    """Trainable weights and optimizer state after `step` steps, as safetensors; the one before leaves last."""
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    named = {n: p for n, p in stepper.model.network.named_parameters() if p.requires_grad}
    save_file({name: p.detach().contiguous() for name, p in named.items()}, partial / "weights.safetensors")
    state = stepper.optimizer.state
    moments = {
        f"{name}/{k}": v.contiguous()
        for name, p in named.items()
        for k, v in state[p].items()
        if isinstance(v, torch.Tensor)
    }
    save_file(moments, partial / "optimizer.safetensors")
    (partial / "step.json").write_text(json.dumps({"step": step, "seed": stepper.seed}))
    partial.rename(folder / f"step-{step:08d}")
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def load_checkpoint(stepper: Stepper, folder: Path) -> int:
    """Put the newest checkpoint's weights and optimizer state in place. Returns its step, 0 where there is none."""
    found = sorted(folder.glob("step-*"))
    if not found:
        return 0
    where = found[-1]
    named = {n: p for n, p in stepper.model.network.named_parameters() if p.requires_grad}
    weights, moments = load_file(where / "weights.safetensors"), load_file(where / "optimizer.safetensors")
    if set(weights) != set(named):
        raise InputError("this checkpoint is of another adapter", file=where, fix="remove it to start the stage again")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(weights[name])
            keys = [key for key in moments if key.rpartition("/")[0] == name]
            stepper.optimizer.state[parameter] = {k.rpartition("/")[2]: _like(k, moments[k], parameter) for k in keys}
    return int(json.loads((where / "step.json").read_text())["step"])


def _like(key: str, value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    return value if key.endswith("/step") else value.to(parameter.device)
