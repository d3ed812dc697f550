"""Training: questions a second, peak memory and losses of our two layouts against transformers' Trainer + peft.

    python benchmarks/train.py --out benchmarks/train-2cpu.json                    # about half an hour on a CPU
    python benchmarks/train.py --full-size --out benchmarks/train-h200.json        # PaliGemma-3B, bfloat16, on a GPU

What is compared is described in radvqa/bench_train.py. TRL's SFTTrainer is not among the arms.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

from radvqa.bench_train import Sizes, compare, peak_memory

CASES = [(1, 224), (4, 224), (8, 224), (22, 224), (1, 448), (8, 448)]
"""Questions an image, picture size: 256 and 1,024 image tokens."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--steps", type=int, default=4, help="a case; the first is not timed")
    parser.add_argument("--cases", type=int, default=len(CASES))
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--losses", type=int, default=0, help="steps over which losses are compared; 0: not")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores, one thread"
    found |= {"device": device, "machine": platform.machine(), "date": datetime.now(UTC).date().isoformat()}
    found |= {"torch": torch.__version__, "transformers": transformers.__version__}

    def keep(name: str, value: object) -> None:
        found[name] = value
        options.out.write_text(json.dumps(found, indent=2) + "\n")
        print(name, json.dumps(value), flush=True)

    for questions, image_px in CASES[: options.cases]:
        name = f"{questions} questions an image, {(image_px // 14) ** 2} image tokens"
        if name not in found:
            keep(name, compare(Sizes(questions, image_px, full_size=options.full_size), options.steps))
    if options.losses and "losses" not in found:
        keep("losses", compare(Sizes(8, 224), options.losses, ("trainer", "prefix")))
    if not options.no_memory and "peak bytes" not in found:
        keep("peak bytes", peak_memory(Sizes(8, 224, vocabulary=257_216, full_size=options.full_size)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
