"""How much faster the loop is than the founding recipe as anyone would write it, on the same model, data and order.

In: sizes. Out: questions a second of transformers `Trainer` + peft + the processor as collator (one row a question) and
of our two layouts, alternating in one process; peak memory of each in a process of its own; losses step by step.

    print(compare(Sizes(questions=8, image_px=224), steps=4))

The model is a PaliGemma with random weights; a question has 24 text tokens, 4 of them supervised. Seconds are processor
seconds of the process where only the CPU works (what else runs on the machine then matters little), by the clock on a GPU.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from radvqa.batch import encode
from radvqa.families import PaliGemma
from radvqa.model import VQAModel, adapt
from radvqa.order import Item
from radvqa.pixels import PixelFormat
from radvqa.recipe_sections import Adapt, Stage, TrainSource
from radvqa.stepper import Stepper

Step = Callable[[int], tuple[float, float]]
"""Step number -> loss, seconds."""
ARMS = ("trainer", "prefix", "image-first")
PROMPT_WORDS, ANSWER_WORDS = 18, 3
"""With bos and newline, and with eos: 24 text tokens, 4 of them supervised."""


@dataclass(frozen=True)
class Sizes:
    """What is trained on what."""

    questions: int = 8
    """Of one image."""
    image_px: int = 224
    vocabulary: int = 32_000
    """Rows of the embedding; PaliGemma's own is 257,216."""
    batch_size: int = 8
    """Questions in a step, at least; whole images."""
    rank: int = 12
    full_size: bool = False
    """PaliGemma-3B's widths and depths in bfloat16 instead of 16 million parameters."""

    @property
    def per_step(self) -> int:
        return self.questions * max(1, self.batch_size // self.questions)


class Bench:
    """One model, made anew for each arm from the same seed, and the questions of some steps."""

    def __init__(self, sizes: Sizes, steps: int) -> None:
        self.sizes, self.steps = sizes, steps
        self.scratch = TemporaryDirectory(
            prefix="radvqa-bench-"
        )  # the Trainer wants a folder; it goes with this object
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = _tokenizer(sizes.vocabulary)
        self.pictures_processor = SiglipImageProcessor(
            size={"height": sizes.image_px, "width": sizes.image_px}, image_mean=[0.5] * 3, image_std=[0.5] * 3
        )
        self.pictures_processor.image_seq_length = (sizes.image_px // 14) ** 2  # type: ignore[attr-defined]
        self.form = PixelFormat.of(self.pictures_processor, sizes.image_px)
        rng = np.random.default_rng(0)
        images = steps * sizes.per_step // sizes.questions
        self.pictures = [Image.fromarray(rng.integers(0, 255, (300, 300, 3), np.uint8)) for _ in range(images)]
        self.rows = [
            (i, _words(rng, PROMPT_WORDS), _words(rng, ANSWER_WORDS))
            for i in range(images)
            for _ in range(sizes.questions)
        ]

    def model(self, layout: str) -> VQAModel:
        """The model with its LoRA, the same weights every time."""
        torch.manual_seed(0)
        config = _config(self.sizes)
        dtype = torch.bfloat16 if self.sizes.full_size else torch.float32
        with self.device:
            network: Any = PaliGemmaForConditionalGeneration(config)
        family = PaliGemma(config)
        model = VQAModel("bench", network.to(dtype), family, self.tokenizer, self.pictures_processor, self.form)
        return adapt(model, Adapt(rank=self.sizes.rank, layout=layout))  # type: ignore[arg-type]

    def batch(self, keys: Sequence[str]) -> torch.Tensor:
        """Pictures by number: decoding and resizing are paid at every step, as by the baseline."""
        return self.form.normalise(np.stack([self.form.resize(self.pictures[int(key)]) for key in keys]))

    def clock(self) -> float:
        """Processor seconds of this process, or the clock's where a GPU works."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    def ours(self, layout: str) -> Step:
        """A function that does step i and gives its loss and seconds."""
        model, sizes = self.model(layout), self.sizes
        num = model.family.num_image_tokens
        items = [Item(str(n), str(i), encode(self.tokenizer, num, p, a)) for n, (i, p, a) in enumerate(self.rows)]
        stage = Stage(
            name="bench", data=(TrainSource(corpus="c"),), steps=self.steps, batch_size=sizes.per_step,
            questions_per_image=sizes.questions, lr=1e-4,
        )  # fmt: skip
        stepper = Stepper(model, items, self, stage, 0, places=range(len(items)))

        def step(number: int) -> tuple[float, float]:
            start = self.clock()
            return stepper.step(number)["loss"], self.clock() - start

        return step

    def trainer(self) -> Step:
        """The baseline, called for one step at a time; what `train()` does before its loop is not counted."""
        processor = PaliGemmaProcessor(image_processor=self.pictures_processor, tokenizer=self.tokenizer)

        def collate(rows: list[tuple[int, str, str]]) -> Any:
            return processor(
                images=[self.pictures[i] for i, _, _ in rows], text=["<image>" + p for _, p, _ in rows],
                suffix=[a for _, _, a in rows], return_tensors="pt", padding=True,
            )  # fmt: skip

        losses: list[float] = []
        times: list[float] = []
        clock = self.clock

        class Watch(TrainerCallback):
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                times.append(clock())

            def on_train_end(self, *_: Any, **__: Any) -> None:
                times.append(clock())

            def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_: Any) -> None:
                losses.extend([logs["loss"]] if logs and "loss" in logs else [])

        arguments = TrainingArguments(
            output_dir=self.scratch.name, max_steps=1, per_device_train_batch_size=self.sizes.per_step, learning_rate=1e-4,
            lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, logging_steps=1, report_to=[],
            save_strategy="no", remove_unused_columns=False, use_cpu=self.device.type == "cpu", disable_tqdm=True,
            dataloader_pin_memory=False, train_sampling_strategy="sequential", bf16=self.sizes.full_size,
        )  # fmt: skip
        model = self.model("prefix").network
        trainer = Trainer(model, arguments, data_collator=collate, train_dataset=self.rows, callbacks=[Watch()])  # type: ignore[arg-type]

        def step(number: int) -> tuple[float, float]:
            size = self.sizes.per_step
            trainer.train_dataset = self.rows[number * size : (number + 1) * size]  # type: ignore[assignment]
            trainer.train()
            return losses[-1], times[-1] - times[-2]

        return step

    def arm(self, name: str) -> Step:
        return self.trainer() if name == "trainer" else self.ours(name)


def _words(rng: np.random.Generator, number: int) -> str:
    return " ".join(f"w{k}" for k in rng.integers(0, 1000, number))


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Words w0 to w999, PaliGemma's special tokens, and `<image>` as the last row of the embedding."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", *(f"w{k}" for k in range(1000))]
    names += [f"<unused{k}>" for k in range(vocabulary - 1 - len(names))]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip


def _config(sizes: Sizes) -> PaliGemmaConfig:
    vision = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 3}
    text = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "head_dim": 64,
    }
    if sizes.full_size:
        vision = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
        text = {
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "head_dim": 256,
        }
    width = text["hidden_size"]
    more: dict[str, Any] = {"model_type": "siglip_vision_model", "image_size": sizes.image_px, "patch_size": 14}
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    whole: dict[str, Any] = {
        "vision_config": {**vision, **more, "projection_dim": width, "vision_use_head": False},
        "text_config": {
            **text,
            **ids,
            "model_type": "gemma",
            "num_key_value_heads": 1,
            "vocab_size": sizes.vocabulary,
            "max_position_embeddings": 8192,
        },
        "image_token_id": sizes.vocabulary - 1,
        "projection_dim": width,
        **ids,
    }
    return PaliGemmaConfig(**whole)


# ---------------------------------------------------------------- measuring


def compare(sizes: Sizes, steps: int = 4, arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """Alternating steps of the arms: the median seconds of a step but the first, ratios to the first arm, and losses."""
    bench = Bench(sizes, steps)
    work = {name: bench.arm(name) for name in arms}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    losses: dict[str, list[float]] = {name: [] for name in arms}
    for step in range(steps):
        for name, do in work.items():
            loss, taken = do(step)
            losses[name].append(loss)
            seconds[name].append(taken)
    median = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    first = arms[0]
    return {
        **asdict(sizes),
        "per_step": sizes.per_step,
        "steps": steps,
        "image_tokens": (sizes.image_px // 14) ** 2,
        "questions_per_s": {name: sizes.per_step / value for name, value in median.items()},
        "ratio": {name: median[first] / value for name, value in median.items()},
        "loss_difference": {n: float(np.abs(np.subtract(losses[n], losses[first])).max()) for n in arms},
        "first_loss": losses[first][0],
        "last_loss": {name: values[-1] for name, values in losses.items()},
    }


def peak_memory(sizes: Sizes, arms: Sequence[str] = ARMS) -> dict[str, float]:
    """Peak bytes of two steps of each arm in a process of its own: of the GPU, or resident, Python and libraries included."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(_peak, (sizes, name)) for name in arms}


def _peak(sizes: Sizes, name: str) -> float:
    bench = Bench(sizes, 2)
    do = bench.arm(name)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        do(0), do(1)
        return float(torch.cuda.max_memory_allocated())
    do(0), do(1)
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
