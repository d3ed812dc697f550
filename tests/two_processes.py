"""Run by test_train_processes.py, once a process: one stage on CPUs joined by gloo.

RANK=0 WORLD_SIZE=2 ... python two_processes.py BASE CORPUS OUT
"""

import sys
from pathlib import Path

import torch

from radvqa.sample import Corpus
from training_tiny import LORA, run

if __name__ == "__main__":
    torch.set_num_threads(1)
    base, folder, out = map(Path, sys.argv[1:])
    corpus = Corpus(folder)
    samples = list(corpus.samples())
    told = {
        "steps": 5,
        "lr": 1e-5,
        "batch_size": 7,
        "accumulation": 2,
        "augment": "shift",
        "eval_every": 2,
        "checkpoint_every_s": 0,
    }
    run(base, [(corpus, samples[:30])], out, LORA, validation=[(corpus, samples[30:])], **told)
