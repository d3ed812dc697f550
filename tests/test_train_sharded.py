"""Weights shared out over two processes (FSDP2): the same training, half of the weights in each."""

import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from families_tiny import save_gemma3, save_llava, save_paligemma2
from forked import forked
from radvqa import stepper
from radvqa.errors import InputError
from radvqa.model import adapt, load
from radvqa.recipe import validate
from radvqa.recipe_sections import Adapt
from radvqa.sample import Corpus
from radvqa.sharding import held_bytes, planned
from training_tiny import FULL, LORA, log_of, run, sides

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that has a GPU cannot be forked")
EMPTY = {"batch_size": 3}
"""A step is one picture: the second process has nothing to do."""
UNEQUAL = {"batch_size": 2, "accumulation": 5, "augment": "shift"}
"""10 questions on four pictures in micro-batches of two: three for one process and two for the other."""
WAYS = {
    "lora": (LORA, EMPTY),
    "image-first": (LORA.model_copy(update={"layout": "image-first"}), {**UNEQUAL, "gradient_checkpointing": True}),
    "dora": (LORA.model_copy(update={"method": "dora"}), UNEQUAL),
    "frozen tower": (Adapt(rank=4, alpha=8, vision=()), EMPTY),
    "full": (FULL, {**UNEQUAL, "ema": 0.9, "keep": "best"}),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    torch.set_num_threads(1)
    return sides(tmp_path_factory.mktemp("data") / "corpus")[0][0]


def trained(base, corpus, folder, settings, **changes):
    """A run of our own reader, since none survives a fork."""
    own = Corpus(corpus.folder)
    samples = list(own.samples())
    told = {
        "lr": 1e-4,
        "validation": [(own, samples[:7])],
        "eval_every": 2,
        "eval_samples": 7,
        "trackers": (),
        **changes,
    }
    return run(base, [(own, samples)], folder, settings, **told)


def weights_of(folder):
    return load_file(next((folder / "adapter").glob("*model.safetensors")))


def assert_equal_training(one, two):
    """To 1e-6, but for key biases: a softmax does not see them, so their gradient is rounding, which Adam makes a step of."""
    a, b = weights_of(one), weights_of(two)
    assert a.keys() == b.keys()
    assert max(float((a[k] - b[k]).abs().max()) for k in a if not k.endswith("k_proj.bias")) < 1e-6
    for x, y in zip(log_of(one), log_of(two), strict=True):
        for name in [name for name in x if name.endswith("loss")]:
            assert x[name] == pytest.approx(y[name], rel=1e-6)
        assert x.get("gradient_norm", 0) == pytest.approx(y.get("gradient_norm", 0), rel=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_two_sharded_processes_equal_one(base, corpus, tmp_path, way):
    settings, changes = WAYS[way]
    alone = trained(base, corpus, tmp_path / "one", settings, **changes)

    def work(rank):
        summary = trained(base, corpus, tmp_path / "two", settings, **changes, shard=True)
        (tmp_path / f"{rank}.json").write_text(json.dumps(summary))

    assert forked(work) == [0, 0]
    assert_equal_training(tmp_path / "one", tmp_path / "two")
    steps = [row for row in log_of(tmp_path / "two") if "loss" in row]
    assert sum(row["idle_passes"] for row in steps) > 0
    network = load(base).network
    apart = [network.get_input_embeddings()] if way != "full" else []
    if way == "frozen tower":  # its features are made by another than the loss
        apart += [network.model.vision_tower, network.model.multi_modal_projector]
    kept = sum(held_bytes(part) for part in apart) + (4 * sum(alone["trainable"].values()) if way != "full" else 0)
    model = adapt(load(base), settings)
    assert planned(model, way != "frozen tower", 2)[0] * 4 == kept + (alone["held_weight_bytes"] - kept) / 2
    for rank in range(2):
        held = json.loads((tmp_path / f"{rank}.json").read_text())["held_weight_bytes"]
        assert held - kept == pytest.approx((alone["held_weight_bytes"] - kept) / 2, rel=0.01)


@pytest.mark.parametrize("family", [save_paligemma2, save_gemma3, save_llava])
def test_other_families_are_sharded_alike(corpus, tmp_path, family):
    """LLaVA leaves the last layer of its tower out, and its head is not tied to its embedding."""
    base, changes = family(tmp_path / "base"), {**UNEQUAL, "steps": 2, "eval_every": 0}
    trained(base, corpus, tmp_path / "one", LORA, **changes)
    assert forked(lambda _: trained(base, corpus, tmp_path / "two", LORA, **changes, shard=True)) == [0, 0]
    assert_equal_training(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("way", ["lora", "full"])
def test_a_sharded_run_killed_goes_on_bit_equal(base, corpus, tmp_path, way):
    """And from the same checkpoint one process, with whole weights, goes on to the same ones."""
    settings, changes = WAYS[way]
    changes = {**changes, "steps": 3, "checkpoint_every_s": 0, "keep": "last", "eval_samples": 0}

    def sharded(folder, last=None):
        def kill(row):
            if row.get("step") == last and "loss" in row:
                os.kill(os.getpid(), signal.SIGKILL)

        return forked(lambda _: trained(base, corpus, folder, settings, **changes, shard=True, progress=kill))

    assert sharded(tmp_path / "whole") == [0, 0]
    assert -signal.SIGKILL in sharded(tmp_path / "cut", last=2)
    assert [x.name for x in (tmp_path / "cut" / "checkpoints").glob("step-*")] == ["step-00000001"]
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    assert sharded(tmp_path / "cut") == [0, 0]
    a, b = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    trained(base, corpus, tmp_path / "alone", settings, **changes)
    assert_equal_training(tmp_path / "alone", tmp_path / "whole")


@pytest.mark.parametrize("shard", [False, True])
def test_what_goes_wrong_in_one_process_ends_both(base, corpus, tmp_path, monkeypatch, shard):
    """A loss that is not finite is said by both, which name the same questions."""
    original = stepper.AnswerLoss.forward

    def wrong(self, batch):
        away = float("nan") if os.environ.get("RANK") == "1" and self.training else 1.0
        return original(self, batch) * away

    def work(rank):
        with pytest.raises(InputError, match="the loss is nan at step 0") as error:
            trained(base, corpus, tmp_path / "run", LORA, **UNEQUAL, shard=shard)
        (tmp_path / f"{rank}.txt").write_text(str(error.value))

    monkeypatch.setattr(stepper.AnswerLoss, "forward", wrong)
    assert forked(work) == [0, 0]
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert said[0] == said[1] and said[0].startswith("row ")


def test_too_little_memory_in_several_processes_is_said(base, corpus, tmp_path, monkeypatch):
    def none(self, batch):
        raise torch.OutOfMemoryError("no")

    def work(_):
        with pytest.raises(InputError, match="batch_size: memory is too small for 2 questions at once; halve it"):
            trained(base, corpus, tmp_path / "run", LORA, **UNEQUAL, eval_samples=0)

    monkeypatch.setattr(stepper.AnswerLoss, "forward", none)
    assert forked(work) == [0, 0]


def test_one_process_has_nothing_to_share_out(base, corpus, tmp_path):
    told = []
    trained(base, corpus, tmp_path / "alone", LORA, **EMPTY)
    trained(base, corpus, tmp_path / "sharded", LORA, **EMPTY, shard=True, progress=told.append)
    assert {"note": "one process: there is nothing to share its weights out over"} in told
    a, b = weights_of(tmp_path / "alone"), weights_of(tmp_path / "sharded")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_what_cannot_be_sharded_is_refused():
    stage = {"name": "s", "data": [{"corpus": "c"}], "steps": 1, "shard": True, "adapt": {"method": "qlora"}}
    tree = {"name": "x", "data": {"c": {"dataset": "phantom"}}, "stages": [stage]}
    with pytest.raises(InputError, match=r"4-bit weights cannot be shared out.*shard: false"):
        validate(tree | {"evaluate": {"data": [{"corpus": "c"}]}})
