"""What a stage can be told: variants of LoRA, averages, early stopping, orders, budgets, and memory that is too small."""

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from radvqa import stepper as stepping
from radvqa import train
from radvqa.bench_arms import ARMS
from radvqa.bench_model import Sizes
from radvqa.bench_train import compare
from radvqa.cli import app
from radvqa.errors import InputError
from radvqa.families import PaliGemma
from radvqa.features import is_frozen
from radvqa.lora import fuse
from radvqa.model import adapt, load, num_trainable
from radvqa.train import Stepper
from training_tiny import FULL, LORA, log_of, run, stage, stepper_of


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


def test_early_stopping_keeps_the_best_adapter(base, sources, tmp_path, monkeypatch):
    """Looks after steps 0, 2, 4, ... give 9, 3, 1, 2, 2, 2: the best is that after step 4, the end that after step 10."""
    corpus, samples = sources[0]
    scripted = iter([9.0, 3.0, 1.0, 2.0, 2.0, 2.0, 0.5])
    original = Stepper.mean_loss
    monkeypatch.setattr(
        Stepper, "mean_loss", lambda s, some: next(scripted) if some[0].id in val else original(s, some)
    )
    val = {sample.id for sample in samples[24:]}
    told = {"validation": [(corpus, samples[24:])], "lr": 1e-3, "eval_every": 2}
    train_on = [(corpus, samples[:24])]
    summary = run(base, train_on, tmp_path / "s", steps=40, patience=3, keep="best", **told)
    assert (summary["steps"], summary["planned_steps"]) == (10, 40)
    monkeypatch.setattr(Stepper, "mean_loss", original)
    for steps, name in ((4, "adapter"), (10, "last")):
        run(base, train_on, tmp_path / name, steps=steps, **told)
        kept, until = (
            load_file(p / "adapter_model.safetensors") for p in (tmp_path / "s" / name, tmp_path / name / "adapter")
        )
        assert all(torch.equal(kept[k], until[k]) for k in kept)
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


def test_too_little_memory_is_said_once(base, sources, tmp_path, monkeypatch):
    original, told = stepping.AnswerLoss.forward, []

    def limited(self, batch):
        if self.training and len(batch.ids) > 6:
            raise torch.OutOfMemoryError("no")
        return original(self, batch)

    monkeypatch.setattr(stepping.AnswerLoss, "forward", limited)
    run(base, sources, tmp_path / "s", steps=3, batch_size=12, eval_samples=0, progress=told.append)
    notes = [row["note"] for row in told if "note" in row]
    assert notes == ["memory is too small for 12 questions at once: 6 from here on"]


def test_a_frozen_tower_sees_each_picture_once_and_changes_nothing(base, sources, tmp_path, monkeypatch):
    settings = LORA.model_copy(update={"vision": ()})
    told = {"epochs": 2, "eval_every": 2, "lr": 1e-3}
    seen, original = [], PaliGemma.encode
    monkeypatch.setattr(PaliGemma, "encode", lambda f, n, pixels: seen.append(len(pixels)) or original(f, n, pixels))
    run(base, sources, tmp_path / "kept", settings, **told)
    assert sum(seen) == 12 and not (tmp_path / "kept" / "features").exists()
    monkeypatch.setattr(train, "is_frozen", lambda *_: False)
    run(base, sources, tmp_path / "anew", settings, **told)
    assert sum(seen) > 60
    losses = [[v for row in log_of(tmp_path / x) for k, v in row.items() if "loss" in k] for x in ("kept", "anew")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_a_tower_is_frozen_where_nothing_in_it_learns_or_changes(base):
    model = adapt(load(base), LORA.model_copy(update={"vision": ()}))
    assert is_frozen(model, LORA.model_copy(update={"vision": ()}), stage())
    assert not is_frozen(model, LORA, stage()) and not is_frozen(model, FULL, stage())
    assert not is_frozen(model, LORA.model_copy(update={"vision": ()}), stage(augment="shift"))


@pytest.mark.parametrize(
    "method, dropout, fused", [("lora", 0, 20), ("rslora", 0, 20), ("dora", 0, 0), ("lora", 0.1, 0)]
)
def test_lora_in_one_product_equals_pefts_three(base, sources, monkeypatch, method, dropout, fused):
    settings = LORA.model_copy(update={"method": method, "dropout": dropout, "alpha": 12.0})
    ours = stepper_of(base, sources, settings)
    monkeypatch.setattr(stepping, "fuse", lambda network, keep: 0)
    theirs = stepper_of(base, sources, settings)
    found = []
    for stepper in (ours, theirs):
        torch.manual_seed(3)
        for parameter in stepper.parameters:
            torch.nn.init.normal_(parameter, std=0.05)
        stepper.model.network.train()
        batch = stepper.build(stepper.model, stepper.store, stepper.items[:9])
        torch.manual_seed(4)
        loss = stepper.loss(batch)
        loss.backward()
        found.append((loss.item(), [parameter.grad for parameter in stepper.parameters]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for a, b in zip(found[0][1], found[1][1]):
        assert torch.allclose(a, b, atol=2e-5 * float(b.abs().max()) + 1e-7)
    assert fuse(ours.model.network) == fused


@pytest.mark.parametrize("keep", [True, False])
def test_lora_in_one_product_keeps_no_matrix_of_its_own_where_weights_are_sharded(base, sources, keep):
    """There W + s B A is made again in the backward pass: kept, each adapted matrix would lie in memory whole."""
    stepper, seen = stepper_of(base, sources), []
    fuse(stepper.model.network, keep)
    stepper.model.network.train()
    batch = stepper.build(stepper.model, stepper.store, stepper.micro_batches(0)[0])
    with torch.autograd.graph.saved_tensors_hooks(lambda x: seen.append(x) or x, lambda x: x):
        stepper.loss(batch)
    weights = {p.untyped_storage().data_ptr() for p in stepper.model.network.parameters()}
    matrices = [x for x in seen if x.ndim == 2 and tuple(x.shape) in {(32, 32), (64, 32), (32, 64), (16, 32)}]
    assert len(matrices) > 20 and keep != all(x.untyped_storage().data_ptr() in weights for x in matrices)


def test_the_benchmark_compares_equal_training():
    """Its arms at four image tokens: the exact layout follows Trainer with peft and the processor loss by loss."""
    found = compare(Sizes(questions=3, image_px=28, vocabulary=1200, batch_size=6), steps=3)
    assert found["per_step"] == 6 and set(found["ratio"]) == set(ARMS) >= {"trainer", "prefix", "image-first"}
    exact = set(ARMS) - {"image-first"}  # TRL among them where it is installed
    assert all(found["loss_difference"][arm] < 1e-4 for arm in exact)
    assert found["first_loss"] == pytest.approx(7.09, abs=0.5)  # near log 1200: nothing is known yet
    assert found["ratio"]["trainer"] == 1
    assert found["loss_difference"]["image-first"] > 1e-6  # another mask


def test_the_benchmark_cuts_the_baselines_step_as_its_own():
    """22 questions, at most 11 rows at once: two halves, of which the loss is the whole's."""
    sizes = Sizes(questions=4, image_px=28, vocabulary=1200, batch_size=4, rows_at_once=3)
    assert [sizes.accumulation(most) for most in (None, 4, 3, 1)] == [1, 1, 2, 4]
    found = compare(sizes, steps=2, arms=("trainer", "prefix"))
    assert found["loss_difference"]["prefix"] < 1e-4


def test_bench_says_what_it_can_measure():
    assert "ROOM: found 'eval'; use train" in CliRunner().invoke(app, ["bench", "eval"]).output
