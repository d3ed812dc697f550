"""The arms of the training benchmark: the founding recipe as anyone would write it, and our two layouts.

In: sizes and how many steps. Out: for each arm a function that does a step and gives its loss and seconds.

    bench = Bench(Sizes(questions=8), steps=4)
    print(bench.arm("trainer")(0), bench.arm("image-first")(0))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PrinterCallback,
    SiglipImageProcessorPil,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from radvqa.batch import encode
from radvqa.bench_model import Sizes, config_of, rows_of, tokenizer_of
from radvqa.families import PaliGemma
from radvqa.model import VQAModel, adapt
from radvqa.order import Item
from radvqa.pixels import PixelFormat
from radvqa.recipe_sections import Adapt, Stage, TrainSource
from radvqa.stepper import Stepper


@dataclass(frozen=True)
class Done:
    """One step of an arm."""

    loss: float
    seconds: float
    mfu: float | None = None
    """Share of what large matrix products reach, see Stepper; of our arms."""


Step = Callable[[int], Done]
"""Of a step's number."""
OURS = ("prefix", "image-first")
ARMS = ("trainer", *(("trl",) if find_spec("trl") else ()), *OURS)
"""TRL is among them where it is installed (`pip install radvqa[bench]`)."""


class Bench:
    """One model, made anew for each arm from the same seed, and the questions of some steps."""

    def __init__(self, sizes: Sizes, steps: int) -> None:
        self.sizes, self.steps = sizes, steps
        self.scratch = TemporaryDirectory(
            prefix="radvqa-bench-"
        )  # the Trainer wants a folder; it goes with this object
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = tokenizer_of(sizes.vocabulary)
        self.pictures_processor = SiglipImageProcessorPil(
            size={"height": sizes.image_px, "width": sizes.image_px}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )
        self.pictures_processor.image_seq_length = sizes.image_tokens  # type: ignore[attr-defined]
        self.form = PixelFormat.of(self.pictures_processor, sizes.image_px)
        rng = np.random.default_rng(0)
        images = steps * sizes.per_step // sizes.questions
        self.pictures = [Image.fromarray(rng.integers(0, 255, (300, 300, 3), np.uint8)) for _ in range(images)]
        self.rows = rows_of(sizes, images)
        self._ready: dict[Any, Any] = {}
        """What is made once, where a GPU works."""

    def model(self, layout: str) -> VQAModel:
        """The model with its LoRA, the same weights every time."""
        torch.manual_seed(0)
        config = config_of(self.sizes)
        dtype = torch.bfloat16 if self.sizes.full_size else torch.float32
        with self.device:
            network: Any = PaliGemmaForConditionalGeneration(config)
        family = PaliGemma(config)
        model = VQAModel("bench", network.to(dtype), family, self.tokenizer, self.pictures_processor, self.form)
        return adapt(model, Adapt(rank=self.sizes.rank, layout=layout))  # type: ignore[arg-type]

    def batch(self, keys: Sequence[str]) -> torch.Tensor:
        """Pictures by number: on a CPU decoding and resizing are paid at every step, as by the baseline."""
        return self.once(tuple(keys), self._batch)

    def _batch(self, keys: Sequence[str]) -> torch.Tensor:
        return self.form.normalise(np.stack([self.form.resize(self.pictures[int(key)]) for key in keys]))

    def once(self, of: tuple[Any, ...], make: Callable[[Any], Any]) -> Any:
        """make(of), kept where a GPU works."""
        if self.device.type == "cpu":
            return make(of)
        if of not in self._ready:
            self._ready[of] = make(of)
        return self._ready[of]

    def ahead(self, keys: Sequence[str]) -> None:
        """Nothing is made before it is needed, as by the baseline."""

    def clock(self) -> float:
        """Processor seconds of this process, or the clock's where a GPU works."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def ours(self, layout: str) -> Step:
        """A function that does step i and gives its loss and seconds."""
        model, sizes = self.model(layout), self.sizes
        items = [
            Item(str(n), str(i), encode(self.tokenizer, model.family.num_image_tokens, p, a))
            for n, (i, p, a) in enumerate(self.rows)
        ]
        parts = sizes.accumulation(sizes.prefix_rows or sizes.rows_at_once) if layout == "prefix" else 1
        stage = Stage(
            name="bench", data=(TrainSource(corpus="c"),), steps=self.steps, batch_size=sizes.per_step // parts,
            accumulation=parts, questions_per_image=sizes.questions, lr=1e-4,
        )  # fmt: skip
        stepper = Stepper(model, items, self, stage, 0, places=range(len(items)))

        if self.device.type == "cuda":  # makes the pictures ready
            [stepper.build(model, self, part) for number in range(self.steps) for part in stepper.micro_batches(number)]

        def step(number: int) -> Done:
            start = self.clock()
            row = stepper.step(number)
            return Done(row["loss"], self.clock() - start, row["mfu"])

        return step

    def collate(self, rows: Sequence[dict[str, int]]) -> Any:
        """The processor as collator: a row a question, each with its picture."""
        return dict(self.once(tuple(row["row"] for row in rows), self._collate))

    def _collate(self, numbers: Sequence[int]) -> Any:
        processor = PaliGemmaProcessor(image_processor=self.pictures_processor, tokenizer=self.tokenizer)
        asked = [self.rows[number] for number in numbers]
        return processor(
            images=[self.pictures[i] for i, _, _ in asked], text=["<image>" + prompt for _, prompt, _ in asked],
            suffix=[answer for _, _, answer in asked], return_tensors="pt", padding=True,
        )  # fmt: skip

    def theirs(self, make: Callable[..., Any]) -> Step:
        """A Trainer, called for one step at a time; what `train()` does before its loop is not counted."""
        watch, sizes = Watch(self.clock), self.sizes
        parts = sizes.accumulation(sizes.rows_at_once)
        arguments = {
            "output_dir": self.scratch.name, "max_steps": 1, "learning_rate": 1e-4, "lr_scheduler_type": "constant",
            "per_device_train_batch_size": sizes.per_step // parts, "weight_decay": 0.0,
            "gradient_accumulation_steps": parts, "max_grad_norm": 1.0, "logging_steps": 1, "report_to": [],
            "save_strategy": "no", "remove_unused_columns": False, "use_cpu": self.device.type == "cpu",
            "disable_tqdm": True, "dataloader_pin_memory": False, "train_sampling_strategy": "sequential",
            "bf16": sizes.full_size, "gradient_checkpointing": False,
        }  # fmt: skip
        trainer = make(self.model("prefix").network, arguments, data_collator=self.collate, callbacks=[watch])
        trainer.remove_callback(PrinterCallback)

        def step(number: int) -> Done:
            rows = [{"row": number * sizes.per_step + i} for i in range(sizes.per_step)]
            if self.device.type == "cuda":
                size = sizes.per_step // parts
                [self.collate(rows[at : at + size]) for at in range(0, len(rows), size)]
            trainer.train_dataset = rows
            trainer.train()
            return Done(watch.losses[-1], watch.times[-1] - watch.times[-2])

        return step

    def trl(self, network: Any, arguments: dict[str, Any], **more: Any) -> Any:
        from datasets import Dataset
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer

        told = SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}, max_length=None)
        rows = Dataset.from_dict({"row": [0]})
        return SFTTrainer(network, told, train_dataset=rows, processing_class=self.tokenizer, **more)

    def arm(self, name: str) -> Step:
        if name in OURS:
            return self.ours(name)
        plain: Callable[..., Any] = lambda network, told, **more: Trainer(network, TrainingArguments(**told), **more)  # noqa: E731
        return self.theirs(self.trl if name == "trl" else plain)


class Watch(TrainerCallback):
    """When a Trainer's loop begins and ends, and the losses it logs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.losses: list[float] = []
        self.times: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.times.append(self.clock())

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.times.append(self.clock())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
        self.losses.extend([logs["loss"]] if logs and "loss" in logs else [])
