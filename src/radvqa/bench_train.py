"""How much faster the loop is than the founding recipe as anyone would write it, on the same model, data and order.

In: sizes. Out: questions a second of transformers `Trainer` + peft + the processor as collator (one row a question), of
TRL's `SFTTrainer` with the same collator, and of our two layouts; peak memory of each; losses step by step.

    print(compare(Sizes(questions=8, image_px=224), steps=4))

On a CPU the arms alternate in one process, seconds are processor seconds (what else runs on the machine then matters
little), and peak memory is that of each arm in a process of its own. On a GPU the arms run one after another, so that
each has the memory to itself, seconds are by the clock, and pictures and the baseline's batches are ready before it
starts: there other processes make them in time. TRL's own collator cannot train PaliGemma: it hands completions to the
processor without a picture, which the processor refuses, and would make them part of the bidirectional prefix; so TRL gets
the processor as collator.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from radvqa.bench_arms import ARMS, OURS, Bench, Done
from radvqa.bench_model import Sizes
from radvqa.cost import matmul_ceiling
from radvqa.stage import measuring

CASES = tuple(Sizes(n, px, rows_at_once=22 if px == 224 else 11) for px in (224, 448) for n in (8, 22, 4, 1))
"""1, 4, 8 and 22 questions an image at 256 and 1,024 image tokens; 22 rows of 1,024 tokens in two halves."""
FULL = (
    Sizes(8, 224, 257_216, batch_size=384, full_size=True, rows_at_once=32, prefix_rows=64),
    Sizes(8, 448, 257_216, batch_size=128, full_size=True, rows_at_once=8, prefix_rows=16),
    Sizes(22, 224, 257_216, batch_size=264, full_size=True, rows_at_once=33, prefix_rows=66),
    Sizes(1, 224, 257_216, batch_size=64, full_size=True, rows_at_once=32),
)
"""PaliGemma-3B on a GPU of 80 GB or more: steps long enough to keep it busy, micro-batches that the baseline can hold."""


def compare(sizes: Sizes, steps: int = 4, arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """Steps of the arms: the median seconds of a step but the first, ratios to the first arm, and losses."""
    bench = Bench(sizes, steps)
    done, peak = one_after_another(bench, arms) if bench.device.type == "cuda" else (alternating(bench, arms), {})
    losses = {name: [step.loss for step in some] for name, some in done.items()}
    median = {name: float(np.median([step.seconds for step in some[1:]])) for name, some in done.items()}
    first = arms[0]
    found = {
        **asdict(sizes),
        "per_step": sizes.per_step,
        "steps": steps,
        "image_tokens": sizes.image_tokens,
        "seconds": {name: [step.seconds for step in some] for name, some in done.items()},
        "questions_per_s": {name: sizes.per_step / value for name, value in median.items()},
        "ratio": {name: median[first] / value for name, value in median.items()},
        "loss_difference": {n: float(np.abs(np.subtract(losses[n], losses[first])).max()) for n in arms},
        "first_loss": losses[first][0],
        "last_loss": {name: values[-1] for name, values in losses.items()},
        "mfu": {name: float(np.median([step.mfu for step in done[name][1:]])) for name in arms if name in OURS},
    }
    if peak:
        found["peak_bytes"], found["peak_share"] = peak, {name: value / peak[first] for name, value in peak.items()}
    return found


def alternating(bench: Bench, arms: Sequence[str]) -> dict[str, list[Done]]:
    """Step by step, each arm its turn: what disturbs the machine disturbs all of them."""
    work = {name: bench.arm(name) for name in arms}
    done: dict[str, list[Done]] = {name: [] for name in arms}
    for step in range(bench.steps):
        for name, do in work.items():
            done[name].append(do(step))
    return done


def one_after_another(bench: Bench, arms: Sequence[str]) -> tuple[dict[str, list[Done]], dict[str, int]]:
    """All steps of an arm, then of the next, with the GPU's memory and compiled programs to itself; its peak bytes too."""
    done, peak = {}, {}
    for name in arms:
        torch._dynamo.reset()
        do = bench.arm(name)
        torch.cuda.reset_peak_memory_stats()
        done[name] = [do(step) for step in range(bench.steps)]
        peak[name] = torch.cuda.max_memory_allocated()
        del do
        gc.collect()
        torch.cuda.empty_cache()
    return done, peak


def peak_memory(sizes: Sizes, arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """Peak resident bytes of two steps of each arm in a process of its own, and their share of the first arm's.

    Python, the libraries and the weights included.
    """
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peak = {name: pool.apply(_peak, (sizes, name)) for name in arms}
    return {**asdict(sizes), "bytes": peak, "share": {name: value / peak[arms[0]] for name, value in peak.items()}}


def _peak(sizes: Sizes, name: str) -> float:
    bench = Bench(sizes, 2)
    do = bench.arm(name)
    with measuring() as measured:
        do(0), do(1)
        return float(measured()["peak_rss_bytes"])


def report(
    keep: Callable[[str, Any], None], found: Collection[str] = (), steps: int = 4, full_size: bool = False
) -> None:
    """All that the benchmark says, one finding at a time to `keep(name, value)`; what is in `found` is not done again.

    Peak memory with PaliGemma's own 257,216 words, the questions a second of every case (TRL's at 256 image tokens), and
    losses of the exact layout against the Trainer's over 50 steps. `full_size`: PaliGemma-3B on a GPU, without TRL.
    """
    work: dict[str, Callable[[], Any]] = {}
    if not full_size:
        work["peak memory"] = partial(peak_memory, Sizes(vocabulary=257_216))
    for sizes in FULL if full_size else CASES:
        name = f"{sizes.questions} questions an image, {sizes.image_tokens} image tokens"
        arms = ARMS if sizes.image_tokens == 256 and not full_size else ("trainer", *OURS)
        work[name] = partial(compare, sizes, steps, arms)
    if not full_size:
        work["losses"] = partial(compare, Sizes(), 50, ("trainer", "prefix"))
    for name, do in work.items():
        if name not in found:
            keep(name, do())


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    cores = f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} thread"
    names = ("torch", "transformers", "peft", "accelerate", *(("trl",) if "trl" in ARMS else ()))
    found: dict[str, Any] = {"device": cores, "date": datetime.now(UTC).date().isoformat()}
    if torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["matmul_tflops"] = matmul_ceiling("cuda", torch.bfloat16) / 1e12
    return found | {name: version(name) for name in names}
