"""Weights shared out over two processes (FSDP2) against whole ones in each: bytes held, peak memory, seconds a step.

    python benchmarks/sharding.py --out benchmarks/sharding-2cpu.json

In: the 16 M-parameter PaliGemma of bench_model, 8 questions an image, 256 image tokens, prefix layout, an image for each
process, gloo, a thread each. Out, of one process: bytes of its weights and of its moments, and the median seconds of
alternating steps by the clock. Then, of one of 143 M, as deep as PaliGemma, with 16 image tokens, so that weights are most of
what is held, each arm in processes of its own: the most resident memory during a step, above that before the model was made.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from transformers import PaliGemmaForConditionalGeneration

from radvqa.batch import encode
from radvqa.bench_arms import Bench
from radvqa.bench_model import Sizes, config_of
from radvqa.bench_train import machine
from radvqa.families import PaliGemma
from radvqa.model import VQAModel, adapt
from radvqa.order import Item
from radvqa.recipe_sections import Adapt, Stage, TrainSource
from radvqa.sharding import held_bytes
from radvqa.stage import measuring
from radvqa.stepper import Stepper
from radvqa.together import join

PROCESSES, STEPS = 2, 6
METHODS = {"lora": Adapt(rank=12), "full": Adapt(method="full")}
SMALL = {"questions": 8, "image_px": 224, "batch_size": 8 * PROCESSES}
DEEP = {"questions": 1, "image_px": 56, "batch_size": PROCESSES}
LARGE = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 18, "num_attention_heads": 8}
"""As deep as PaliGemma's language model."""


def stepper_of(sizes: Sizes, method: str, shard: bool) -> Stepper:
    bench, config = Bench(sizes, STEPS), config_of(sizes)
    if sizes.image_px == DEEP["image_px"]:
        config.text_config.update(LARGE)
        config.vision_config.projection_dim = config.projection_dim = LARGE["hidden_size"]
    torch.manual_seed(0)
    network, family = PaliGemmaForConditionalGeneration(config), PaliGemma(config)
    model = VQAModel("bench", network, family, bench.tokenizer, bench.pictures_processor, bench.form)
    adapt(model, METHODS[method])
    items = [
        Item(str(n), str(i), encode(bench.tokenizer, family.num_image_tokens, prompt, answer))
        for n, (i, prompt, answer) in enumerate(bench.rows)
    ]
    stage = Stage(
        name="bench", data=(TrainSource(corpus="c"),), steps=STEPS, batch_size=sizes.questions, accumulation=PROCESSES,
        adapt=METHODS[method], shard=shard,
    )  # fmt: skip
    return Stepper(model, items, bench, stage, 0, places=range(len(items)))


def held(stepper: Stepper) -> dict[str, int]:
    """Bytes of weights and of AdamW's moments in this process."""
    moments = [x for state in stepper.optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
    here = [x.to_local() if isinstance(x, DTensor) else x for x in moments]
    return {
        "weight_bytes": held_bytes(stepper.model.network),
        "moment_bytes": sum(x.numel() * x.element_size() for x in here),
    }


def times(sizes: Sizes, method: str) -> dict[str, Any]:
    """Whole and sharded in one pair of processes, a step of each in turn."""
    arms = {name: stepper_of(sizes, method, name == "sharded") for name in ("whole", "sharded")}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    losses: dict[str, list[float]] = {name: [] for name in arms}
    for step in range(STEPS):
        for name, stepper in arms.items():
            torch.distributed.barrier()
            start = time.perf_counter()
            losses[name].append(stepper.step(step)["loss"])
            seconds[name].append(time.perf_counter() - start)
    median = {name: float(np.median(some[1:])) for name, some in seconds.items()}
    return {
        "held": {name: held(stepper) for name, stepper in arms.items()},
        "seconds": median,
        "time_ratio": median["sharded"] / median["whole"],
        "loss_difference": float(np.abs(np.subtract(losses["whole"], losses["sharded"])).max()),
    }


def peak(sizes: Sizes, method: str, shard: bool) -> dict[str, Any]:
    """Resident bytes above those before the model was made, at most during two steps."""
    with measuring() as measured:
        before = measured()["peak_rss_bytes"]
    stepper = stepper_of(sizes, method, shard)
    with measuring() as measured:
        stepper.step(0), stepper.step(1)
        return {"peak_bytes": measured()["peak_rss_bytes"] - before, **held(stepper)}


def work(told: dict[str, Any]) -> None:
    """In a process of the pair."""
    torch.set_num_threads(1)
    join()
    if told["what"] == "times":
        found = times(Sizes(**SMALL), told["method"])
    else:
        found = peak(Sizes(**DEEP), told["method"], told["what"] == "sharded")
    if os.environ["RANK"] == "0":
        print(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def pair(**told: Any) -> dict[str, Any]:
    """What the first of two processes finds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(PROCESSES), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if told["what"] != "times":
        common["MALLOC_MMAP_THRESHOLD_"] = str(1 << 20)  # glibc gives back what is freed
    command = [sys.executable, "-W", "ignore", __file__, "--told", json.dumps(told)]
    ranks = [{**common, "OMP_NUM_THREADS": "1", "RANK": str(r), "LOCAL_RANK": str(r)} for r in range(PROCESSES)]
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for env in ranks]
    said = [process.communicate(timeout=1800)[0] for process in running]
    assert not any(process.returncode for process in running)
    found: dict[str, Any] = json.loads(said[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--told", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.told:
        work(options.told)
        return
    torch.set_num_threads(1)
    found: dict[str, Any] = {**machine(), "processes": PROCESSES}
    for method in METHODS:
        found[f"{method}, 16 M"] = pair(method=method, what="times")
        for what in ("whole", "sharded"):
            found[f"{method}, large, {what}"] = pair(method=method, what=what)
        options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
