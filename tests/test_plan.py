"""What a recipe will cost: counted operations against torch's counter, memory against what autograd really keeps."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PaliGemmaConfig
from typer.testing import CliRunner

from radvqa.answer_loss import AnswerLoss
from radvqa.batch import encode
from radvqa.cli import app
from radvqa.cost import matmul_ceiling, step_bytes, step_flops
from radvqa.families import PaliGemma
from radvqa.layouts import make_batch, make_image_first
from radvqa.model import VQAModel, adapt
from radvqa.order import Item
from radvqa.pixels import PixelFormat
from radvqa.plan import empty_model
from radvqa.recipe_sections import Adapt
from tiny import save_tiny, tiny_tokenizer

SETTINGS = [Adapt(rank=1), Adapt(rank=1, vision=()), Adapt(method="full"), Adapt(rank=1, layout="image-first")]


class Noise:
    def batch(self, keys):
        return torch.randn(len(keys), 3, 112, 112)


@pytest.fixture
def model():
    """64 image tokens and sizes large enough for products to dominate."""
    config = PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3,
            "num_attention_heads": 3, "image_size": 112, "patch_size": 14, "projection_dim": 128, "vision_use_head": False,
        },
        text_config={
            "model_type": "gemma", "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 5, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 1400, "pad_token_id": 0,
        },
        image_token_id=tiny_tokenizer().convert_tokens_to_ids("<image>"), projection_dim=128,
    )  # fmt: skip
    from transformers import PaliGemmaForConditionalGeneration

    network = PaliGemmaForConditionalGeneration(config)
    form = PixelFormat(112, (0.5,) * 3, (0.5,) * 3, 2)
    return VQAModel("m", network, PaliGemma(config), tiny_tokenizer(), None, form)


def step_of(model, settings):
    """A forward and backward pass of 16 questions on 4 pictures; its batch."""
    adapt(model, settings)
    items = [
        Item(str(i), str(i // 4), encode(model.tokenizer, 64, "answer en is there a mass in the left lung?", "no"))
        for i in range(16)
    ]
    batch = (make_image_first if model.layout == "image-first" else make_batch)(model, Noise(), items)
    AnswerLoss(model).train()(batch).backward()
    return batch


@pytest.mark.parametrize("settings", SETTINGS)
def test_operations_are_those_that_torch_counts(model, settings):
    with FlopCounterMode(display=False) as counter:
        batch = step_of(model, settings)
    ours = step_flops(model.family, settings, 4, *batch.ids.shape, batch.num_supervised)
    assert counter.get_total_flops() == pytest.approx(ours, rel=0.1)


@pytest.mark.parametrize("settings", SETTINGS)
def test_memory_is_about_what_autograd_keeps(model, settings):
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        batch = step_of(model, settings)
    ours = step_bytes(model.family, settings, 4, *batch.ids.shape, batch.num_supervised, 4)
    assert sum(kept.values()) == pytest.approx(ours, rel=0.12)


def test_the_plan_of_a_recipe_loads_nothing_and_counts_what_is_trained(tmp_path, monkeypatch):
    base = save_tiny(tmp_path / "base")
    (base / "model.safetensors").unlink()  # only the configuration is read
    adapter = "adapt: {rank: 4, layout: image-first}"
    (tmp_path / "r.yaml").write_text(
        f"""
name: r
model: {{name: {base}}}
data: {{p: {{dataset: phantom, options: {{num_images: 4}}}}}}
{adapter}
stages:
  - {{name: one, data: [{{corpus: p}}], steps: 7, batch_size: 16}}
  - {{name: two, data: [{{corpus: p}}], epochs: 1, shard: true, adapt: {{layout: prefix}}}}
evaluate: {{data: [{{corpus: p}}]}}
"""
    )
    found = CliRunner().invoke(app, ["plan", str(tmp_path / "r.yaml"), "--json"])
    assert found.exit_code == 0, found.output
    one, two = json.loads(found.output)
    # rank 4: language q v o up down (32+32)+(32+16)+(32+32)+(32+64)+(64+32), vision (32+32)*3+(32+64)*2, two layers each
    assert one["trainable"] == {"language": 4 * 2 * 368, "vision": 4 * 2 * 384, "projector": 0}
    assert one["layout"] == "image-first" and two["layout"] == "prefix" and two["steps"] is None
    # 16 questions, 8 an image: 2 rows of 4 image tokens and 8 x 24 of text; 6 questions in rows of their own
    assert (one["steps"], one["tokens"], two["tokens"]) == (7, 2 * (4 + 8 * 24), 6 * 28)
    whole = two["weight_bytes"] + two["state_bytes"] + two["activation_bytes"]
    assert not one["sharded_bytes"] and list(two["sharded_bytes"]) == ["2", "4", "8"]
    assert two["sharded_bytes"]["8"] < two["sharded_bytes"]["4"] < two["sharded_bytes"]["2"] < 2 * whole
    words = CliRunner().invoke(app, ["plan", str(tmp_path / "r.yaml")]).output
    assert "one: layout image-first, 7 steps" in words and "Assumed: 24 text tokens" in words
    assert (
        words.count("sharded     about 0.00 GB in each of 2, 0.00 GB in each of 4, 0.00 GB in each of 8 processes") == 1
    )
    missing = CliRunner().invoke(app, ["plan", str(tmp_path / "r.yaml"), f"model.name={tmp_path}"])
    assert missing.exit_code == 2 and "error: " in missing.output and "no config.json" in missing.output


def test_parameters_of_an_empty_model_are_those_of_the_loaded_one():
    assert sum(p.numel() for p in empty_model("radvqa-tiny").network.parameters()) == 2_311_424
    assert all(p.is_meta for p in empty_model("radvqa-tiny").network.parameters())


def test_the_ceiling_is_a_speed():
    assert 1e8 < matmul_ceiling("cpu", torch.float32, seconds=0.02) < 1e14
