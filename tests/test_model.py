"""Loading, LoRA by tower, adapters: what should be refused is, and the counts are the paper's."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

from radvqa.errors import InputError
from radvqa.families import PaliGemma
from radvqa.families.paligemma import LANGUAGE_MODULES, VISION_MODULES
from radvqa.model import adapt, load, num_trainable, resume_adapter, save_adapter
from radvqa.recipe_sections import Adapt


@pytest.fixture()
def adapter(base, tmp_path):
    model = adapt(load(base), Adapt(rank=3, alpha=6))
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    save_adapter(model, tmp_path / "adapter")
    return tmp_path / "adapter"


PAPER = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")
SEVEN = LANGUAGE_MODULES


@pytest.mark.parametrize(
    "language, vision, projector, expected",
    [
        (PAPER, ("q_proj", "v_proj"), False, (10_229_760, 1_492_992, 0)),
        (SEVEN, ("q_proj", "k_proj", "v_proj"), False, (14_708_736, 2_239_488, 0)),
        (SEVEN, VISION_MODULES, True, (14_708_736, 6_521_472, 38_400)),
    ],
)
def test_lora_counts_of_the_full_size_model(language, vision, projector, expected):
    """The full-size architecture without memory for it: r = 12, counted by peft on the meta device and by us."""
    with torch.device("meta"):
        network = PaliGemmaForConditionalGeneration(full_size())
    family = PaliGemma(network.config)
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(
        network,
        LoraConfig(r=12, target_modules=family.lora_targets(language, vision, projector)),
        low_cpu_mem_usage=True,
    )
    towers = {"language_model": 0, "vision_tower": 0, "multi_modal_projector": 0}
    for name, parameter in wrapped.named_parameters():
        if parameter.requires_grad:
            towers[next(tower for tower in towers if tower in name)] += parameter.numel()
    assert tuple(towers.values()) == expected
    assert tuple(family.num_lora_parameters(12, language, vision, projector).values()) == expected
    assert family.grid == (32, 32) and family.num_image_tokens == 1024


def full_size() -> PaliGemmaConfig:
    return PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
            "num_attention_heads": 16, "image_size": 448, "patch_size": 14, "projection_dim": 2048, "vision_use_head": False,
        },
        text_config={
            "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
            "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216,
        },
        image_token_id=257152, projection_dim=2048,
    )  # fmt: skip


def test_names_are_anchored_per_tower(base):
    model = adapt(load(base), Adapt(rank=2, language=("q_proj",), vision=()))
    assert num_trainable(model) == {
        "language": 2 * 2 * (32 + 32),
        "vision": 0,
        "projector": 0,
    }  # 2 layers, rank 2, 32 -> 32
    model = adapt(load(base), Adapt(rank=2, language=(), vision=("out_proj", "fc1")))
    assert num_trainable(model)["vision"] == 2 * 2 * (32 + 32 + 32 + 64)


def test_a_module_of_the_other_tower_is_refused(base):
    with pytest.raises(InputError, match=r"adapt\.vision: no module 'o_proj' in the vision tower; use q_proj"):
        adapt(load(base), Adapt(vision=("o_proj",)))
    with pytest.raises(InputError, match="no module 'fc1' in the language tower"):
        adapt(load(base), Adapt(language=("fc1",)))


def test_an_adapter_goes_to_disk_and_back_also_with_plain_peft(base, adapter):
    ours = load(base, adapter)
    plain = PeftModel.from_pretrained(
        PaliGemmaForConditionalGeneration.from_pretrained(base, dtype=torch.float32), str(adapter)
    )
    saved = {n: p for n, p in ours.network.named_parameters() if "lora_" in n}
    theirs = dict(plain.named_parameters())
    assert len(saved) == 2 * 2 * (5 + 5) and all(torch.equal(p, theirs[n]) for n, p in saved.items())
    assert not any(p.requires_grad for p in ours.network.parameters())
    resumed = resume_adapter(load(base), adapter, Adapt(rank=3, alpha=6))
    assert sum(num_trainable(resumed).values()) == sum(p.numel() for p in saved.values())


def test_an_adapter_changes_the_answer_and_merging_keeps_it(base, adapter):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 30, 3), dtype=np.uint8))
    plain, adapted = (
        load(base).answer(picture, "is there a mass?"),
        load(base, adapter).answer(picture, "is there a mass?"),
    )
    merged = load(base, adapter).merge().answer(picture, "is there a mass?")
    assert plain.logprob != adapted.logprob
    assert merged.text == adapted.text and merged.logprob == pytest.approx(adapted.logprob, abs=1e-3)


def test_adapters_that_do_not_arrive_are_refused(base, adapter, tmp_path):
    weights = load_file(adapter / "adapter_model.safetensors")
    renamed = {k.replace("language_model.layers", "language_model.model.layers"): v for k, v in weights.items()}
    for name, changed, message in [
        ("renamed", renamed, r"20 adapter weights are missing and 20 do not fit"),
        ("zero", {k: torch.zeros_like(v) for k, v in weights.items()}, "every LoRA-B of this adapter is zero"),
    ]:
        shutil.copytree(adapter, tmp_path / name)
        save_file(changed, tmp_path / name / "adapter_model.safetensors")
        with pytest.raises(InputError, match=message):
            load(base, tmp_path / name)


def test_an_adapter_of_another_base_is_refused_naming_both(base, adapter):
    card = json.loads((adapter / "radvqa.json").read_text())
    (adapter / "radvqa.json").write_text(json.dumps({**card, "base": "google/other", "base_fingerprint": "0"}))
    with pytest.raises(InputError, match="trained on 'google/other', not on"):
        load(base, adapter)


def test_what_is_no_model_is_refused_in_one_message(base, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"not a model folder \(no config.json\)"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such model; give radvqa-tiny, a folder, or a hub id"):
        load("radvqa-tini")
    with pytest.raises(InputError, match="no such adapter folder"):
        load(base, tmp_path / "nothing")
    with pytest.raises(InputError, match="not an adapter folder"):
        load(base, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match="model type 'bert' is not supported; use one of: paligemma"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="the model cannot be loaded"):
        load(tmp_path)


def test_flash_attention_is_refused(base):
    with pytest.raises(InputError, match="'flash_attention_2' drops the prefix mask; use sdpa or eager"):
        load(base, attention="flash_attention_2")


def test_banned_tokens_are_drawing_image_and_padding(base):
    model = load(base)
    banned = set(model.family.banned_tokens(model.tokenizer))
    words = model.tokenizer.convert_tokens_to_ids
    assert {
        words("<loc0000>"),
        words("<loc1023>"),
        words("<seg127>"),
        words("<image>"),
        words("<pad>"),
        words("<bos>"),
    } <= banned
    assert not banned & {words("yes"), words("no"), words("<eos>")}
    assert set(range(len(model.tokenizer), 1400)) <= banned  # rows of the embedding that no token uses
