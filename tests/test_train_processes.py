"""Processes: two equal one, and one that is killed at any moment goes on to the same weights."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from radvqa.sample import Corpus, CorpusWriter
from training_tiny import LORA, run, sides


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sides(tmp_path_factory.mktemp("data") / "corpus")[0][0]


def recipe_of(base, corpus, folder):
    """Three stages, the last sharded, 14 questions a step: of 10 pictures to learn, one to watch, one to ask."""
    split = dict.fromkeys(map(str, range(10)), "train") | {"10": "validation", "11": "test"}
    with CorpusWriter(folder / "corpus", {"name": "sides"}) as writer:
        for sample in corpus.samples():
            split_ = split[sample.subject]
            writer.add(
                replace(sample, split=split_, question=f"{sample.question} {sample.id}"), corpus.image(sample.image)
            )
    stage = {
        "data": [{"corpus": "c"}],
        "lr": 1e-5,
        "batch_size": 7,
        "accumulation": 2,
        "augment": "shift",
        "eval_every": 2,
    }
    after = {"start": "one", "steps": 2, **stage}
    stages = [{"name": "one", "steps": 4, **stage}, {"name": "two", **after}, {"name": "three", **after, "shard": True}]
    data = {"c": {"dataset": "corpus", "path": str(folder / "corpus")}}
    recipe = {"name": "x", "model": {"name": str(base)}, "data": data, "stages": stages, "leakage": "report"}
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe | {"adapt": {"rank": 4, "alpha": 8}, "evaluate": {"data": [{"corpus": "c"}]}}))
    return file


def started(recipe, out, num):
    """`radvqa train` by `num` processes, as torchrun would start them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    joined = {"WORLD_SIZE": str(num), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} if num > 1 else {}
    command = [sys.executable, "-W", "ignore", "-m", "radvqa.cli", "train", str(recipe), f"out={out}"]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} if num > 1 else {} for rank in range(num)]
    return [subprocess.Popen(command, env={**common, **joined, **own}, stderr=subprocess.PIPE) for own in ranks]


def test_two_processes_equal_one_in_loss_and_weights(base, corpus, tmp_path):
    """30 questions, 14 a step, of which the last step of an epoch has 2: one process then has nothing to do."""
    recipe = recipe_of(base, corpus, tmp_path)
    running = started(recipe, tmp_path / "one", 1) + started(recipe, tmp_path / "two", 2)
    said = [process.communicate(timeout=1500)[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert "5/5  three" in said[1] and not said[2]  # the second process says nothing
    for stage in ("one", "two", "three"):
        one, two = (load_file(tmp_path / x / stage / "adapter" / "adapter_model.safetensors") for x in ("one", "two"))
        assert one.keys() == two.keys()
        assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-6
        logs = [
            [json.loads(x) for x in (tmp_path / n / stage / "log.jsonl").read_text().splitlines()]
            for n in ("one", "two")
        ]
        assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
        for a, b in zip(*logs):
            for name in [name for name in a if name.endswith("loss")]:
                assert a[name] == pytest.approx(b[name], rel=1e-6)
            assert a.get("gradient_norm", 0) == pytest.approx(b.get("gradient_norm", 0), rel=1e-4)


def test_a_mistake_ends_every_process(base, corpus, tmp_path):
    """Found by the first before training: the others are let go."""
    recipe = recipe_of(base, corpus, tmp_path)
    tree = json.loads(recipe.read_text())
    tree["stages"][0]["data"][0]["where"] = {"topic": "nothing"}
    recipe.write_text(json.dumps(tree))
    running = started(recipe, tmp_path / "out", 2)
    said = [process.communicate(timeout=600)[1].decode() for process in running]
    assert [process.returncode for process in running] == [2, 0] and "no questions with" in said[0]


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
