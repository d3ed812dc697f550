"""What is seen of training: the log in TensorBoard, once a step even after a cut; speeds, waiting and MFU in every row."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from radvqa import trackers, train
from radvqa.cli import app
from radvqa.errors import InputError
from radvqa.steps import speed
from training_tiny import log_of, run


def events_of(folder):
    """Tag -> (step, value) in the order in which they were written."""
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_holds_the_log_once_even_after_a_cut(base, sources, tmp_path, monkeypatch):
    original = train.Stepper.step

    def killed(self, step):
        if step == 3:
            raise KeyboardInterrupt
        return original(self, step)

    monkeypatch.setattr(train.Stepper, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(base, sources, tmp_path / "s", steps=5, checkpoint_every_s=0)
    monkeypatch.setattr(train.Stepper, "step", original)
    run(base, sources, tmp_path / "s", steps=5, checkpoint_every_s=0)
    rows, events = log_of(tmp_path / "s"), events_of(tmp_path / "s")
    assert [step for step, _ in events["loss"]] == [1, 2, 3, 4, 5]
    for tag in ("loss", "lr", "questions_per_s", "mfu", "train_slice_loss"):
        expected = [(row["step"], row[tag]) for row in rows if tag in row]
        assert [step for step, _ in events[tag]] == [step for step, _ in expected]
        assert [value for _, value in events[tag]] == pytest.approx([value for _, value in expected], rel=1e-6)
    written = list((tmp_path / "s" / "tensorboard").iterdir())
    assert len(written) == 1 and written[0].stat().st_size < 20_000


def test_without_trackers_there_is_the_log_alone(base, sources, tmp_path):
    run(base, sources, tmp_path / "s", steps=1, trackers=())
    assert not (tmp_path / "s" / "tensorboard").exists() and len(log_of(tmp_path / "s")) == 3


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_loaded(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="trackers: wandb is not installed; pip install wandb, or leave it out"):
        run("no-such-model", sources, tmp_path / "s", trackers=("wandb",))
    refused = CliRunner().invoke(app, ["plan", "recipes/demo.yaml", "stages.stage1.trackers=[neptune]"])
    assert refused.exit_code == 2 and "trackers" in refused.output


def test_rows_say_how_fast_what_it_waits_for_and_mfu(base, sources, tmp_path):
    run(base, sources, tmp_path / "s", steps=2)
    rows = [row for row in log_of(tmp_path / "s") if "loss" in row]
    for row in rows:
        assert 0 < row["mfu"] < 1 and 0 <= row["wait_share"] < 1
        # 9 questions on 3 or 4 pictures of 4 tokens
        assert row["image_tokens_per_s"] * row["seconds"] in (pytest.approx(12), pytest.approx(16))
        assert row["text_tokens_per_s"] * row["seconds"] == pytest.approx(
            round(row["text_tokens_per_s"] * row["seconds"])
        )
    assert "image and" in speed(rows[0]) and "waiting for data" in speed(rows[0]) and "MFU" in speed(rows[0])


def test_activations_computed_again_change_nothing(base, sources, tmp_path):
    kept, again = (
        run(base, sources, tmp_path / name, steps=3, gradient_checkpointing=on)
        for name, on in (("a", False), ("b", True))
    )
    assert kept["final"] == pytest.approx(again["final"], abs=1e-6)
    norms = [[row["gradient_norm"] for row in log_of(tmp_path / name) if "loss" in row] for name in ("a", "b")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_activations_are_really_computed_again(base, sources, monkeypatch):
    from training_tiny import stepper_of

    counts = []
    for on in (False, True):
        stepper, seen = stepper_of(base, sources, gradient_checkpointing=on), []
        layer = stepper.model.family.core(stepper.model.network).model.language_model.layers[0]
        layer.self_attn.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        stepper.step(0)
        counts.append(len(seen))
        moved = [float(p.detach().abs().max()) for n, p in stepper.model.network.named_parameters() if "lora_B" in n]
        assert all(value > 0 for value in moved)
    assert counts == [1, 2]


def test_the_recipes_number_type_is_that_of_training(base, sources):
    from radvqa.train import trainable_model
    from training_tiny import LORA

    model = trainable_model(str(base), None, LORA, "paligemma", "bfloat16")
    assert model.dtype == torch.bfloat16
