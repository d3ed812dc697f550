"""Processes: two equal one, and one that is killed at any moment goes on to the same weights."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from radvqa.sample import Corpus
from tiny import save_tiny
from training_tiny import LORA, run, sides

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sides(tmp_path_factory.mktemp("data") / "corpus")[0][0]


def started(base, corpus, out, num):
    """The stage of two_processes.py by `num` processes, as torchrun would start them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    joined = {"WORLD_SIZE": str(num), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if num > 1 else {}
    processes = []
    for rank in range(num):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if num > 1 else {}
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(TESTS / "two_processes.py"),
            str(base),
            str(corpus.folder),
            str(out),
        ]
        processes.append(subprocess.Popen(command, env={**os.environ, **common, **joined, **own}))
    return processes


def test_two_processes_equal_one_in_loss_and_weights(base, corpus, tmp_path):
    """14 questions a step, of which the last step of an epoch has 2: one process then has nothing to do."""
    running = started(base, corpus, tmp_path / "one", 1) + started(base, corpus, tmp_path / "two", 2)
    assert [process.wait(timeout=1500) for process in running] == [0, 0, 0]
    one, two = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors") for x in ("one", "two"))
    assert one.keys() == two.keys()
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-6
    logs = [[json.loads(x) for x in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("one", "two")]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
    for a, b in zip(*logs):
        for name in [name for name in a if name.endswith("loss")]:
            assert a[name] == pytest.approx(b[name], rel=1e-6)
        assert a.get("gradient_norm", 0) == pytest.approx(b.get("gradient_norm", 0), rel=1e-4)


def killed_run(base, corpus, folder, seconds):
    """The stage in a child of ours that is killed after so many seconds; True: it was done before."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own = Corpus(corpus.folder)
            run(base, [(own, list(own.samples()))], folder, LORA, **STAGE)
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), "the run failed"
    return code == 0


STAGE = {
    "steps": 12,
    "augment": "shift",
    "checkpoint_every_s": 0,
    "lr": 1e-3,
    "ema": 0.9,
    "eval_every": 4,
    "eval_samples": 8,
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has a GPU cannot be forked")
def test_a_run_killed_again_and_again_ends_bit_equal(base, corpus, tmp_path):
    """RADVQA_KILLS kills in all (50 were survived; 6 here), at moments drawn anew each time."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    run(base, [(corpus, list(corpus.samples()))], tmp_path / "whole", LORA, **STAGE)
    whole_s, rng, kills, tries = time.perf_counter() - start, random.Random(0), 0, 0
    whole = load_file(tmp_path / "whole" / "adapter" / "adapter_model.safetensors")
    while kills < int(os.environ.get("RADVQA_KILLS", "6")):
        folder = tmp_path / f"cut{tries}"
        while not killed_run(base, corpus, folder, rng.uniform(0.1, 1.0) * whole_s):
            kills += 1
            assert kills < 200, "no run gets to its end"
        tries += 1
        cut = load_file(folder / "adapter" / "adapter_model.safetensors")
        assert whole.keys() == cut.keys() and all(torch.equal(whole[k], cut[k]) for k in whole)
        steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
        assert steps == [json.loads(x)["step"] for x in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
