"""Checkpoints of the other families, small enough for a test: PaliGemma 2, Gemma 3 and LLaVA with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from tiny import WORDS, tiny_tokenizer

MARKS = ("<image>", "<start_of_image>", "<end_of_image>", "<start_of_turn>", "<end_of_turn>")
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 16, "vocab_size": 200, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Words, newlines and the marks of a chat."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", *MARKS, "\n", "user", "model", "USER:", "ASSISTANT:", "?", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split("?", "isolated"),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(list(MARKS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>", "boi_token": MARKS[1], "eoi_token": MARKS[2]},
    )  # fmt: skip


def saved(folder: Path, network: Any, tokenizer: Any, processor: Any) -> Path:
    """Weights large enough that outputs differ visibly, and a folder as the hub has them."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15 if "embed" in name else 0.4)
    for part in (network, tokenizer, processor):
        part.save_pretrained(folder)
    return folder


def save_gemma3(folder: Path) -> Path:
    """56 px, patch 14: 16 patches pooled to 4 image tokens; a sliding and a full layer."""
    text = {
        **TEXT,
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    vision = {**TOWER, "model_type": "siglip_vision_model", "image_size": 56, "vision_use_head": False}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=4,
        boi_token_index=5,
        eoi_token_index=6,
    )
    pictures = Gemma3ImageProcessor(size={"height": 56, "width": 56}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return saved(folder, Gemma3ForConditionalGeneration(config), chat_tokenizer(), pictures)


def gemma3_processor(folder: Path) -> Gemma3Processor:
    return Gemma3Processor(Gemma3ImageProcessor.from_pretrained(folder), chat_tokenizer(), image_seq_length=4)


def save_llava(folder: Path) -> Path:
    """28 px, patch 14: 4 image tokens from the last but one layer of CLIP, its class token left out."""
    vision = {
        **TOWER,
        "model_type": "clip_vision_model",
        "image_size": 28,
        "projection_dim": 32,
        "num_hidden_layers": 3,
    }
    config = LlavaConfig(
        text_config={**TEXT, "model_type": "llama"}, vision_config=vision, image_token_index=4, image_seq_length=4
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return saved(folder, LlavaForConditionalGeneration(config), chat_tokenizer(), pictures)


def llava_processor(folder: Path) -> LlavaProcessor:
    pictures = CLIPImageProcessor.from_pretrained(folder)
    return LlavaProcessor(
        pictures,
        chat_tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def save_paligemma2(folder: Path) -> Path:
    """Attention scores capped at 5, a sliding and a full layer."""
    text = {
        **TEXT,
        "model_type": "gemma2",
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "attn_logit_softcapping": 5.0,
    }
    tokenizer = tiny_tokenizer()
    vision = {**TOWER, "model_type": "siglip_vision_model", "image_size": 28, "vision_use_head": False}
    config = PaliGemmaConfig(
        text_config={**text, "vocab_size": 1400}, vision_config={**vision, "projection_dim": 32}, projection_dim=32,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    config._attn_implementation = "eager"
    pictures = SiglipImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    pictures.image_seq_length = 4
    return saved(folder, PaliGemmaForConditionalGeneration(config), tokenizer, pictures)
