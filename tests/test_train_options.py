"""What a stage can be told: variants of LoRA, averages, early stopping, orders, budgets, and memory that is too small."""

import json

import pytest
import torch
from safetensors.torch import load_file

from radvqa.errors import InputError
from radvqa.model import adapt, load, num_trainable
from radvqa.train import Stepper
from tiny import save_tiny
from training_tiny import LORA, run, sides, stepper_of


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return sides(tmp_path_factory.mktemp("data") / "corpus")


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["rslora", "dora"])
def test_variants_of_lora_train_and_come_back(base, sources, tmp_path, method):
    settings = LORA.model_copy(update={"method": method})
    run(base, sources, tmp_path / "s", settings, steps=2)
    model = load(base, tmp_path / "s" / "adapter")
    config = model.network.peft_config["default"]
    assert (config.use_rslora, config.use_dora) == (method == "rslora", method == "dora")
    once_more = run(base, sources, tmp_path / "t", settings, steps=1, start=tmp_path / "s" / "adapter")
    added = num_trainable(adapt(load(base), settings))
    assert once_more["trainable"] == added
    magnitudes = 2 * (32 + 16 + 32 + 64 + 32) + 2 * (32 + 32 + 32 + 64 + 32)  # one an output, two layers a tower
    assert sum(added.values()) - sum(num_trainable(adapt(load(base), LORA)).values()) == magnitudes * (method == "dora")


def test_qlora_is_refused_without_a_gpu(base, sources, tmp_path):
    with pytest.raises(InputError, match=r"adapt\.method: qlora needs a GPU and bitsandbytes; use lora"):
        run(base, sources, tmp_path / "s", LORA.model_copy(update={"method": "qlora"}))


def test_an_average_is_what_is_evaluated_and_kept(base, sources, tmp_path):
    """By hand: a <- d a + (1 - d) w with d = min(0.5, (1 + t) / (10 + t)), so 2/11, then 3/12, 4/13."""
    stepper = stepper_of(base, sources, ema=0.5)
    name, parameter = next((n, p) for n, p in stepper.model.network.named_parameters() if p.requires_grad)
    expected = parameter.detach().clone()
    for step, decay in enumerate((2 / 11, 3 / 12, 4 / 13)):
        stepper.step(step)
        expected = decay * expected + (1 - decay) * parameter.detach()
    assert torch.allclose(stepper.average.weights[name], expected, atol=1e-7)
    now = parameter.detach().clone()
    with stepper.average.in_place():
        assert torch.allclose(parameter, expected, atol=1e-7)
    assert torch.equal(parameter, now)
    run(base, sources, tmp_path / "s", steps=3, ema=0.5)
    saved = load_file(tmp_path / "s" / "adapter" / "adapter_model.safetensors")
    assert torch.allclose(saved[name.replace(".default", "")], expected, atol=1e-6)


def test_early_stopping_keeps_the_best_adapter(base, sources, tmp_path):
    """A rate so high that the loss on the validation slice soon rises."""
    corpus, samples = sources[0]
    told = {
        "validation": [(corpus, samples[24:])],
        "steps": 40,
        "lr": 0.3,
        "eval_every": 2,
        "patience": 3,
        "keep": "best",
    }
    summary = run(base, [(corpus, samples[:24])], tmp_path / "s", **told)
    rows = [row for row in log_of(tmp_path / "s") if "validation_slice_loss" in row and row["step"]]
    losses = [row["validation_slice_loss"] for row in rows]
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 3 and summary["steps"] == rows[-1]["step"] < summary["planned_steps"] == 40
    again = run(
        base, [(corpus, samples[:24])], tmp_path / "t", **{**told, "patience": None, "steps": rows[best]["step"]}
    )
    kept, until = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors") for x in ("s", "t"))
    assert all(torch.equal(kept[k], until[k]) for k in kept) and again["steps"] == rows[best]["step"]
    last = load_file(tmp_path / "s" / "last" / "adapter_model.safetensors")
    assert not torch.equal(last[next(iter(last))], kept[next(iter(last))])
    with pytest.raises(InputError, match="no validation questions to choose by; use keep: last and no patience"):
        run(base, sources, tmp_path / "u", patience=2)


def test_questions_follow_a_given_order(base, sources, tmp_path, monkeypatch):
    seen, original = [], Stepper.micro_batches

    def spied(self, step):
        seen.append([item.id for item in self.order.step(step)])
        return original(self, step)

    monkeypatch.setattr(Stepper, "micro_batches", spied)
    summary = run(base, sources, tmp_path / "s", order=[3, 3, 0, 35, 1], batch_size=2, epochs=2)
    ids = [sample.id for sample in sources[0][1]]
    assert seen == 2 * [[ids[3], ids[3]], [ids[0], ids[35]], [ids[1]]] and summary["steps"] == 6
    with pytest.raises(InputError, match="the order names sample 36; there are 36, from 0"):
        run(base, sources, tmp_path / "t", order=[36])


def test_questions_that_are_too_long_are_counted_before_training(base, sources, tmp_path):
    """`is there a mass in the left lung?` has 4 + 1 + 2 + 9 + 1 + 2 = 19 tokens, the others at most 13."""
    told = []
    summary = run(base, sources, tmp_path / "s", max_tokens=16, progress=told.append)
    assert told[0] == {"note": "12 questions are longer than 16 tokens: left out"}
    assert summary["too_long"] == 12 and summary["questions"] == 24
    with pytest.raises(
        InputError, match=r"stages\.s\.max_tokens: all 36 questions are longer than 9 tokens; the shortest has"
    ):
        run(base, sources, tmp_path / "t", max_tokens=9)


def test_a_token_budget_changes_how_a_step_is_cut_and_not_the_step(base, sources):
    whole, cut = stepper_of(base, sources, batch_size=36), stepper_of(base, sources, batch_size=36, max_tokens=60)
    a, b = whole.step(0), cut.step(0)
    assert a["micro_batches"] == 1 and b["micro_batches"] > 5
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-5) and a["gradient_norm"] == pytest.approx(
        b["gradient_norm"], rel=1e-4
    )


def test_when_memory_is_too_small_the_step_is_repeated_in_halves(base, sources):
    small, whole = (stepper_of(base, sources, batch_size=12, augment="shift") for _ in range(2))
    forward = small.loss.forward

    def limited(batch):
        if len(batch.ids) > 4:
            raise torch.OutOfMemoryError("no")
        return forward(batch)

    small.loss.forward = limited
    a, b = small.step(0), whole.step(0)
    assert small.size == 3 and a["micro_batches"] == 4 and b["micro_batches"] == 1
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    small.loss.forward = lambda batch: (_ for _ in ()).throw(torch.OutOfMemoryError("never"))
    with pytest.raises(torch.OutOfMemoryError):
        small.step(1)
