"""A PaliGemma of 16 image tokens (56 px, patch 14) and 3 + 2 layers as a VQAModel, and helpers for saliency tests."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipImageProcessor

from radvqa.families.paligemma import PaliGemma
from radvqa.model import VQAModel
from radvqa.pixels import PixelFormat
from radvqa.saliency.turn import Turn, prepare
from tiny import tiny_tokenizer

QUESTION = "is there a mass in the left lung ?"
ANSWER = "mass in the left lung"


SOFTCAPPED = {"model_type": "gemma2", "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 8, "sliding_window": 512}
"""PaliGemma 2: layers of two kinds, attention logits capped."""


def saliency_model(
    seed: int = 0, image_px: int = 56, layers: int = 3, attention: str = "sdpa", **text: object
) -> VQAModel:
    """Random weights, large enough that attention is far from uniform; eval mode. `text` changes the text config."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer()
    config = PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": image_px, "patch_size": 14, "projection_dim": 32, "vision_use_head": False,
        },
        text_config={
            "model_type": "gemma", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": layers, "num_attention_heads": 4,
            "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 1400, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
            **text,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    config._attn_implementation = attention
    network = PaliGemmaForConditionalGeneration(config).eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15 if "embed" not in name else 0.5)
    processor = SiglipImageProcessor(
        size={"height": image_px, "width": image_px}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    family = PaliGemma(config)
    return VQAModel("tiny", network, family, tokenizer, processor, PixelFormat.of(processor, image_px))


def saliency_picture(seed: int = 0, size: tuple[int, int] = (70, 50)) -> Image.Image:
    """A random RGB picture that is not square."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3))
    return Image.fromarray(values.astype(np.uint8))


def saliency_turn(model: VQAModel | None = None, question: str = QUESTION, answer: str | None = ANSWER) -> Turn:
    return prepare(model or saliency_model(), saliency_picture(), question, answer)
