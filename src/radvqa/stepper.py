"""One optimizer step: its questions in micro-batches, the loss on the answers only, gradients of all devices summed.

In: a trainable model, Items, a store of pictures, a Stage. Out: changed weights and a row of figures for the log.

    stepper = Stepper(model, items, PixelStore([corpus], model.form), stage, seed=0)
    for i in range(stepper.num_steps): print(stepper.step(i)["loss"])

Data order, augmentation and dropout of step i follow from the seed and i, so a run that was killed ends as one that was
not. The loss is weighted by supervised tokens over the whole step, so neither the cut into micro-batches nor the number
of devices changes it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from radvqa.answer_loss import AnswerLoss
from radvqa.batch import Batch
from radvqa.compiled import compile_layers, undo, wants_compiling
from radvqa.cost import matmul_ceiling, step_flops
from radvqa.errors import InputError
from radvqa.features import FeatureStore
from radvqa.layouts import BUILDERS, COSTS, Build, Pictures
from radvqa.lora import fuse
from radvqa.model import VQAModel
from radvqa.order import Item, Order, by_image, cut, share
from radvqa.pixels import augment
from radvqa.recipe_sections import Stage
from radvqa.schedule import Average, learning_rate, optimizer_of
from radvqa.sharding import full, is_sharded, release, shard

LOOK_AHEAD = 4
"""Steps whose pictures are asked for before they are needed."""


class Stepper:
    """Everything that one optimizer step needs; `step(i)` is a function of the weights, the seed and i."""

    def __init__(
        self,
        model: VQAModel,
        items: Sequence[Item],
        store: Pictures,
        stage: Stage,
        seed: int,
        build: Build | None = None,
        places: Sequence[int] | None = None,
    ) -> None:
        self.model, self.store, self.stage, self.seed = model, store, stage, seed
        self.build, self.cost = build or BUILDERS[model.layout], COSTS[model.layout]
        self.order = Order(items, seed, stage.batch_size * stage.accumulation, stage.questions_per_image, places)
        self.per_epoch = self.order.steps_per_epoch
        self.num_steps = stage.steps or math.ceil((stage.epochs or 1) * self.per_epoch)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.loss = AnswerLoss(model)
        self.sharded = stage.shard and self.accelerator.num_processes > 1
        if self.sharded:
            shard(self.loss, model, tower=not isinstance(store, FeatureStore))
        self.optimizer = optimizer_of(model.network, stage)
        self.parameters: list[nn.Parameter] = self.optimizer.param_groups[0]["params"]
        self.average = Average(model.network, stage.ema) if stage.ema is not None else None
        fuse(model.network, keep=not self.sharded)
        if stage.gradient_checkpointing:
            model.family.recompute(model.network)
        self.compiled = wants_compiling(stage, model.device, self.sharded)
        if self.compiled:
            compile_layers(model)
        self.size = stage.batch_size
        """Questions in a micro-batch; halved when the GPU's memory does not hold them."""
        self._next: tuple[tuple[int, Sequence[Item]], Batch] | None = None
        """The batch that was made while a GPU worked, and its step and questions."""
        self.notes: list[str] = []
        """What had to be changed for a step to be computed, to be said once."""

    @property
    def items(self) -> Sequence[Item]:
        return self.order.items

    def micro_batches(self, step: int, rank: int | None = None) -> list[list[Item]]:
        """What this process, or another, computes of one step."""
        mine = self._mine(step, rank)
        return cut(mine, self.size, self.stage.max_tokens, self.cost) if mine else []

    def _mine(self, step: int, rank: int | None = None) -> list[Item]:
        rank = self.accelerator.process_index if rank is None else rank
        return share(self.order.step(step), rank, self.accelerator.num_processes)

    def step(self, step: int) -> dict[str, Any]:
        """One optimizer step.

        Repeated with micro-batches of half the size when the only GPU's memory is too small, and without compiling when that
        fails; `notes` says so. Raises InputError, naming the questions, when the loss is not finite; the weights are then
        those before the step.
        """
        return self._until_it_works(
            lambda: self._step(step), lambda: max(map(len, self.micro_batches(step)), default=1)
        )

    def _until_it_works(self, work: Callable[[], Any], largest_of: Callable[[], int]) -> Any:
        """The result of `work`; largest_of: questions in its largest micro-batch."""
        while True:
            try:
                return work()
            except torch.OutOfMemoryError as error:
                largest = largest_of()
                if self.accelerator.num_processes > 1:  # the others are in the midst of the step
                    raise InputError(
                        f"memory is too small for {largest} questions at once",
                        key=f"stages.{self.stage.name}.batch_size",
                        fix="halve it and double accumulation, or use gradient_checkpointing or shard",
                    ) from error
                if largest == 1:
                    raise
                self.notes.append(f"memory is too small for {largest} questions at once: {largest // 2} from here on")
                self.size = largest // 2
                self.optimizer.zero_grad(set_to_none=True)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            except TorchDynamoException as error:
                if not self.compiled:
                    raise
                why = " ".join(str(error).split()[:20])
                if self.sharded:  # a unit is in the midst of its pass
                    key = f"stages.{self.stage.name}.compile"
                    raise InputError(
                        f"the layers cannot be compiled here ({why})", key=key, fix="leave it out"
                    ) from error
                self.notes.append(f"the layers cannot be compiled here ({why}): they stay as they are")
                self.compiled = False
                undo(self.model)
                self.optimizer.zero_grad(set_to_none=True)

    def _step(self, step: int) -> dict[str, Any]:
        start = time.perf_counter()
        torch.manual_seed(_number(self.seed, step, 1, self.accelerator.process_index))
        self.model.network.train()
        self.store.ahead(self._coming(step))
        wait_s, micro = 0.0, self.micro_batches(step)
        losses: list[torch.Tensor] = []
        tokens = sum(item.encoded.num_supervised for item in self.order.step(step))
        images, flops = 0, 0.0
        for number, items in enumerate(micro):
            began = time.perf_counter()
            batch = self._take(items, step)
            wait_s += time.perf_counter() - began
            images += len(batch.pixels)
            flops += self._flops(batch)
            loss = self.loss(batch) / tokens
            loss.backward()
            losses.append(loss.detach())
            self._make_next(step, micro[number + 1 :])
        idle = self._keep_pace(step, micro)
        total = self._sum_over_processes(sum(losses, torch.zeros((), device=self.model.device)))
        self._check(total, losses, step, micro)
        rate = learning_rate(self.stage, step, self.num_steps)
        norm = self._move(rate, step)
        return {
            "step": step + 1,
            "epoch": round((step + 1) / self.per_epoch, 4),
            "loss": float(total),
            "lr": rate,
            "gradient_norm": norm,
            "supervised_tokens": tokens,
            **({"idle_passes": idle} if self.sharded else {}),
            **self._speed(self.order.step(step), micro, images, flops, wait_s, time.perf_counter() - start),
        }

    def _keep_pace(self, step: int, micro: Sequence[Sequence[Item]]) -> int:
        """Passes of weight zero, so that all processes call for sharded layers equally often; their number in all of them."""
        if not self.sharded:
            return 0
        counts = [len(self.micro_batches(step, rank)) for rank in range(self.accelerator.num_processes)]
        for _ in range(max(counts) - len(micro)):
            shortest = min(micro[-1] if micro else self.order.step(step), key=lambda item: len(item.encoded.ids))
            (0 * self.loss(self._batch([shortest], step))).backward()
        return sum(max(counts) - count for count in counts)

    def _coming(self, step: int) -> list[str]:
        """The pictures of this step and the next ones of its epoch."""
        end = min((step // self.per_epoch + 1) * self.per_epoch, self.num_steps, step + LOOK_AHEAD)
        return [item.image for i in range(step, end) for item in self._mine(i)]

    def _take(self, items: Sequence[Item], step: int) -> Batch:
        """The batch of these questions, made before or now."""
        made, self._next = self._next, None
        return made[1] if made is not None and made[0] == (step, items) else self._batch(items, step)

    def _make_next(self, step: int, rest: Sequence[Sequence[Item]]) -> None:
        """Make the batch that comes next while a GPU still computes; where the CPU computes nothing is gained by it."""
        if self.model.device.type != "cuda":
            return
        if not rest and step + 1 < self.num_steps:
            step, rest = step + 1, self.micro_batches(step + 1)
        if rest:
            self._next = (step, rest[0]), self._batch(rest[0], step).pinned()

    def _batch(self, items: Sequence[Item], step: int) -> Batch:
        batch = self.build(self.model, self.store, items)
        if self.stage.augment == "none":
            return batch
        seeds = [_number(self.seed, step, 2, *key.encode()) for key in by_image(items)]
        return replace(batch, pixels=augment(batch.pixels, seeds))

    def _flops(self, batch: Batch) -> float:
        """Operations of a micro-batch, padding included; activations that are computed again are not counted twice."""
        towered = 0 if batch.pixels.ndim == 3 else len(batch.pixels)
        rows, length = batch.ids.shape
        return step_flops(self.model.family, self.stage.adapt, towered, rows, length, batch.num_supervised)

    def _check(
        self, total: torch.Tensor, losses: Sequence[torch.Tensor], step: int, micro: Sequence[Sequence[Item]]
    ) -> None:
        """Of all processes together, so that all of them stop: one that waited for another would wait for ever."""
        if torch.isfinite(total):
            return
        self.optimizer.zero_grad(set_to_none=True)
        bad = [some for loss, some in zip(losses, micro) if not torch.isfinite(loss)][:1]
        ids = gather_object([item.id for some in bad for item in some[:5]])
        raise InputError(
            f"the loss is {float(total)} at step {step}",
            row=", ".join(ids),
            fix="lower lr, or look at these questions",
        )

    def _sum_over_processes(self, total: torch.Tensor) -> torch.Tensor:
        """The step's loss, the first moment that a GPU is waited for. Gradients of all processes are added in place, one
        message for all of them.

        Those of sharded weights are sums already.
        """
        if self.accelerator.num_processes == 1:
            return total.cpu()
        whole = [] if is_sharded(self.model.network) else self.parameters
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in whole]
        flat = torch.cat([total.view(1), *(grad.flatten().float() for grad in grads)])
        torch.distributed.all_reduce(flat)
        parts = flat[1:].split([grad.numel() for grad in grads])
        for parameter, part in zip(whole, parts):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)
        return flat[0].cpu()

    def _move(self, rate: float, step: int) -> float:
        """Clip, step, average; the gradient norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.parameters, self.stage.clip if self.stage.clip else math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(step + 1)
        return float(full(norm))

    def _speed(
        self,
        items: Sequence[Item],
        micro: Sequence[Sequence[Item]],
        images: int,
        flops: float,
        wait_s: float,
        seconds: float,
    ) -> dict[str, Any]:
        """Of all processes together, taking them to be as fast as this one.

        mfu: model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B), of what large matrix products reach here.
        """
        text = sum(len(item.encoded.ids) - item.encoded.num_image for item in items)
        images *= self.accelerator.num_processes
        return {
            "questions": len(items),
            "micro_batches": len(micro),
            "questions_per_s": len(items) / seconds,
            "image_tokens_per_s": images * self.model.family.num_image_tokens / seconds,
            "text_tokens_per_s": text / seconds,
            "wait_share": wait_s / seconds,
            "mfu": flops / seconds / matmul_ceiling(self.model.device.type, self.model.dtype),
            "seconds": seconds,
        }

    def mean_loss(self, items: Sequence[Item]) -> float:
        """Nats per supervised token over a slice of questions, without augmentation or dropout."""
        return self._until_it_works(lambda: self._mean_loss(items), lambda: min(self.size, len(items)))

    @torch.no_grad()
    def _mean_loss(self, items: Sequence[Item]) -> float:
        self.model.network.eval()
        rank, num = self.accelerator.process_index, self.accelerator.num_processes
        total = torch.zeros(1, dtype=torch.float64)
        parts = cut(items, self.size, self.stage.max_tokens, self.cost)
        for i in range(rank, math.ceil(len(parts) / num) * num if self.sharded else len(parts), num):
            batch = self.build(self.model, self.store, parts[i % len(parts)])
            loss = float(self.loss(batch))
            total += loss if i < len(parts) else 0  # of weight zero: see _keep_pace
        release(self.loss)
        if num > 1:
            total = self.accelerator.reduce(total.to(self.model.device), "sum")
        return float(total) / sum(item.encoded.num_supervised for item in items)


def _number(*parts: int) -> int:
    """A seed that is a function of its parts."""
    return int(np.random.default_rng(parts).integers(2**62))
