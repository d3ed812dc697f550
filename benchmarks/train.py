"""Training: questions a second, peak memory and losses of our two layouts against Trainer + peft and TRL's SFTTrainer.

    python benchmarks/train.py --out benchmarks/train-2cpu.json                    # half an hour of one CPU core
    python benchmarks/train.py --full-size --out benchmarks/train-h200.json        # PaliGemma-3B, bfloat16, on a GPU

What is compared is described in radvqa/bench_train.py and bench_arms.py. A run that was cut goes on with what its output file lacks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from radvqa.bench_train import machine, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--steps", type=int, default=4, help="a case; the first is not timed")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    found |= machine()

    def keep(name: str, value: object) -> None:
        found[name] = value
        options.out.write_text(json.dumps(found, indent=2) + "\n")
        print(name, json.dumps(value), flush=True)

    report(keep, found, options.steps, options.full_size)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
