"""The loop: only what should move moves, accumulation is exact, a killed run ends as one that was not."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import PaliGemmaForConditionalGeneration

from radvqa import train
from radvqa.checkpoint import load_checkpoint, save_checkpoint
from radvqa.errors import InputError
from radvqa.layouts import tokens_by_image, tokens_by_question
from radvqa.model import load
from radvqa.order import Order, cut, share
from radvqa.pixels import augment
from radvqa.predict import predict_arm
from radvqa.recipe_sections import Adapt
from radvqa.sample import Sample
from radvqa.schedule import learning_rate
from tiny import save_tiny
from training_tiny import FULL, LORA, run, stage, stepper_of


def state_of(stepper):
    return {name: p.detach().clone() for name, p in stepper.model.network.named_parameters()}


@pytest.mark.parametrize(
    "settings", [LORA, Adapt(rank=2, vision=(), language=("q_proj",)), Adapt(rank=2, language=(), projector=True)]
)
def test_every_trainable_changes_and_every_frozen_tensor_is_bit_equal(base, sources, settings):
    stepper = stepper_of(base, sources, settings, steps=2)
    trainable = {n for n, p in stepper.model.network.named_parameters() if p.requires_grad}
    before = state_of(stepper)
    stepper.step(0)
    stepper.step(1)  # LoRA-A moves only once LoRA-B is not zero
    after = state_of(stepper)
    assert trainable and all("lora_" in name for name in trainable)
    assert {name for name in before if not torch.equal(before[name], after[name])} == trainable


def test_after_one_step_every_lora_b_of_both_towers_has_moved(base, sources):
    stepper = stepper_of(base, sources)
    stepper.step(0)
    moved = {n: float(p.detach().abs().max()) for n, p in stepper.model.network.named_parameters() if "lora_B" in n}
    assert any("vision_tower" in n for n in moved) and any("language_model" in n for n in moved)
    assert all(value > 0 for value in moved.values())


def test_the_loss_equals_the_librarys(base, sources):
    stepper = stepper_of(base, sources)
    items = stepper.items[:7]
    batch = train.make_batch(stepper.model, stepper.store, items)
    network = PaliGemmaForConditionalGeneration.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = network(
            input_ids=batch.ids, pixel_values=batch.pixels[batch.image_of_row], attention_mask=batch.real.long(),
            token_type_ids=batch.causal.long(), labels=batch.labels,
        ).loss  # fmt: skip
    assert stepper.mean_loss(items) == pytest.approx(theirs.item(), abs=1e-5)


def test_two_micro_batches_equal_one_of_both(base, sources):
    """36 questions: accumulation 2 x 18 weights tokens as 1 x 36 does, although the halves hold different numbers."""
    whole, halves = stepper_of(base, sources, batch_size=36), stepper_of(base, sources, batch_size=18, accumulation=2)
    a, b = whole.step(0), halves.step(0)
    assert a["supervised_tokens"] == b["supervised_tokens"] and a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-4)


def test_lora_of_scale_zero_is_the_base(base, sources):
    stepper = stepper_of(base, sources)
    plain = train.Stepper(load(base), stepper.items, stepper.store, stage(), 0)
    assert stepper.mean_loss(stepper.items) == pytest.approx(
        plain.mean_loss(stepper.items), abs=1e-6
    )  # B starts at zero


def test_every_question_is_there_once_an_epoch_and_order_follows_the_seed(base, sources):
    items = stepper_of(base, sources).items
    orders = [Order(items, seed, 9, 8) for seed in (0, 0, 1)]
    first, again, seeded = ([order.step(i) for i in range(4)] for order in orders)
    assert first == again != seeded and orders[0].steps_per_epoch == 4
    second = [orders[0].step(i) for i in range(4, 8)]
    assert second != first and orders[0].step(1) == first[1]  # any step, at any time
    for epoch in (first, second):
        assert sorted(item.id for step in epoch for item in step) == sorted(item.id for item in items)
    images = [len({item.image for item in step}) for step in first]
    assert max(images) <= 4  # 9 questions of 3 an image: three or four images, each encoded once


def test_a_given_order_is_followed_and_gone_through_again(base, sources):
    items = stepper_of(base, sources).items
    order = Order(items, 0, 2, 8, [5, 5, 0, 7, 3])
    assert [[items.index(item) for item in order.step(i)] for i in range(4)] == [[5, 5], [0, 7], [3], [5, 5]]
    with pytest.raises(InputError, match="order: the order names question 36; there are 36, from 0"):
        Order(items, 0, 2, 8, [0, 36])


def test_a_step_is_cut_by_questions_and_tokens_and_shared_whole(base, sources):
    items = stepper_of(base, sources).items[:20]
    parts = cut(items, 6)
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    assert sorted(i.id for part in parts for i in part) == sorted(i.id for i in items)
    for cost in (tokens_by_question, tokens_by_image):
        parts = cut(items, 20, 50, cost)
        assert len(parts) > 1 and all(cost(part) <= 50 for part in parts) and sum(map(len, parts)) == 20
    assert len(cut(items, 20, 1, tokens_by_question)) == 20  # never less than one question
    shares = [share(items, rank, 3) for rank in range(3)]
    assert sorted(i.id for part in shares for i in part) == sorted(i.id for i in items)
    images = [{i.image for i in part} for part in shares]
    assert not images[0] & images[1] and not images[1] & images[2] and not images[0] & images[2]


def test_learning_rate_by_hand():
    cosine, constant = stage(lr=1.0, schedule="cosine", warmup_steps=2), stage(lr=1.0)
    # warm-up 1/2, 2/2; then (1 + cos(pi k/4)) / 2 for k = 0..3
    expected = [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]
    assert [learning_rate(cosine, i, 6) for i in range(6)] == pytest.approx(expected, abs=1e-6)
    assert [learning_rate(constant, i, 6) for i in (0, 5)] == [1.0, 1.0]
    # the last half of 6 steps decays: 3/4, 2/4, 1/4; none is zero
    wsd = stage(lr=1.0, schedule="wsd", warmup_steps=2, decay=0.5)
    assert [learning_rate(wsd, i, 6) for i in range(6)] == pytest.approx([0.5, 1.0, 1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("settings", [LORA, FULL])
def test_a_run_cut_after_any_step_ends_bit_equal(base, sources, tmp_path, settings, monkeypatch):
    changes = {"steps": 6, "augment": "shift", "checkpoint_every_s": 0, "lr": 1e-3}
    settings = settings.model_copy(update={"dropout": 0.1 if settings is LORA else 0.0})
    run(base, sources, tmp_path / "whole", settings, **changes)
    original = train.Stepper.step
    for at in (1, 4):

        def killed(self, step, at=at):
            if step == at:
                raise KeyboardInterrupt
            return original(self, step)

        monkeypatch.setattr(train.Stepper, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            run(base, sources, tmp_path / "cut", settings, **changes)
        monkeypatch.setattr(train.Stepper, "step", original)
        run(base, sources, tmp_path / "cut", settings, **changes)
        name = "model.safetensors" if settings.method == "full" else "adapter_model.safetensors"
        whole, cut_ = (load_file(tmp_path / x / "adapter" / name) for x in ("whole", "cut"))
        assert whole.keys() == cut_.keys() and all(torch.equal(whole[k], cut_[k]) for k in whole)
        rows = [
            [json.loads(line) for line in (tmp_path / x / "log.jsonl").read_text().splitlines()]
            for x in ("whole", "cut")
        ]
        assert [r["loss"] for r in rows[0] if "loss" in r] == [r["loss"] for r in rows[1] if "loss" in r]
        assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]]
        shutil.rmtree(tmp_path / "cut")


def test_a_run_cut_while_its_checkpoints_are_removed_is_finished(base, sources, tmp_path, monkeypatch):
    """Half a removed checkpoint could not be read, and without one the run would begin again."""
    run(base, sources, tmp_path / "whole", steps=3, checkpoint_every_s=0)
    original = shutil.rmtree

    def cut(path, **told):
        if path.name == "checkpoints.finished":
            next(path.rglob("weights.safetensors")).unlink()
            raise KeyboardInterrupt
        original(path, **told)

    monkeypatch.setattr(train.shutil, "rmtree", cut)
    with pytest.raises(KeyboardInterrupt):
        run(base, sources, tmp_path / "cut", steps=3, checkpoint_every_s=0)
    monkeypatch.setattr(train.shutil, "rmtree", original)
    monkeypatch.setattr(train.Stepper, "step", lambda *_: pytest.fail("it was finished"))
    summary = run(base, sources, tmp_path / "cut", steps=3, checkpoint_every_s=0)
    assert summary["steps"] == 3 and not list((tmp_path / "cut").glob("checkpoints*"))
    whole, cut_ = (load_file(tmp_path / x / "adapter" / "adapter_model.safetensors") for x in ("whole", "cut"))
    assert all(torch.equal(whole[k], cut_[k]) for k in whole)


def test_a_checkpoint_cut_while_it_was_written_is_passed_over(base, sources, tmp_path):
    stepper = stepper_of(base, sources)
    stepper.step(0)
    save_checkpoint(stepper, tmp_path, 1)
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "weights.safetensors").write_bytes(b"half")
    assert load_checkpoint(stepper_of(base, sources), tmp_path) == (1, {})
    stepper.step(1)
    save_checkpoint(stepper, tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]


def test_stage_two_starts_from_stage_one_and_learns_to_answer(sources, tmp_path):
    base = save_tiny(tmp_path / "base", spread=0.15, word_spread=0.5)
    run(base, sources, tmp_path / "one", steps=30)
    summary = run(base, sources, tmp_path / "two", start=tmp_path / "one" / "adapter", steps=60, schedule="cosine")
    first = next(json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines())
    last = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()][-1]
    assert first["step"] == 0 and first["train_slice_loss"] == pytest.approx(last["train_slice_loss"], abs=1e-5)
    assert summary["final"]["train_slice_loss"] < 0.3 * first["train_slice_loss"]
    path = predict_arm(
        model_name=str(base), adapter=tmp_path / "two" / "adapter", sources=sources, arm="two", control="none", folder=tmp_path / "p", max_new_tokens=4
    )  # fmt: skip
    import polars as pl

    found = pl.read_parquet(path)
    assert found["finished"].all()
    assert (found["answer"] == found["answers"].list.first()).mean() > 0.9


def test_full_fine_tuning_moves_everything_and_loads_as_a_checkpoint(base, sources, tmp_path):
    run(base, sources, tmp_path / "s", FULL, steps=2, lr=1e-3)
    network = PaliGemmaForConditionalGeneration.from_pretrained(tmp_path / "s" / "adapter", dtype=torch.float32)
    before = dict(PaliGemmaForConditionalGeneration.from_pretrained(base, dtype=torch.float32).named_parameters())
    assert all(not torch.equal(p, before[n]) for n, p in network.named_parameters())


def test_a_loss_that_is_not_finite_stops_before_the_step(base, sources):
    stepper = stepper_of(base, sources)
    before = state_of(stepper)
    with torch.no_grad():
        next(
            p for n, p in stepper.model.network.named_parameters() if "multi_modal_projector" in n and p.ndim == 2
        ).fill_(float("nan"))
    with pytest.raises(InputError, match="the loss is nan at step 0"):
        stepper.step(0)
    after = state_of(stepper)
    assert all(torch.equal(before[n], after[n]) for n in before if "lora_" in n)


def test_augmentation_is_seeded_small_and_never_mirrors(base, sources):
    stepper = stepper_of(base, sources)
    pixels = train.make_batch(stepper.model, stepper.store, stepper.items).pixels
    moved, again = (augment(pixels, range(len(pixels))) for _ in range(2))
    assert torch.equal(moved, again) and not torch.equal(moved, pixels)
    assert torch.allclose(augment(pixels[3:4], [3])[0], moved[3], atol=1e-6)  # whatever lies beside it
    half = pixels.shape[-1] // 2
    brighter_left = (pixels[..., :half].mean((1, 2, 3)) > pixels[..., half:].mean((1, 2, 3))).tolist()
    assert (moved[..., :half].mean((1, 2, 3)) > moved[..., half:].mean((1, 2, 3))).tolist() == brighter_left


def test_no_questions_and_pictureless_questions_are_refused(base, sources, tmp_path):
    with pytest.raises(InputError, match=r"stages\.s\.data: no questions to train on"):
        run(base, [(sources[0][0], [])], tmp_path / "s")
    bare = Sample(id="q7", question="a?", answers=("b",), kind="open", split="train", source="x")
    with pytest.raises(InputError, match="row q7, image: a question without a picture"):
        run(base, [(sources[0][0], [bare])], tmp_path / "s")
