"""A PaliGemma small enough for a test: 28 px, patch 14 (4 image tokens), 2 + 2 layers, width 32, words as tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

WORDS = [
    "answer",
    "en",
    "is",
    "there",
    "a",
    "the",
    "mass",
    "nodule",
    "effusion",
    "in",
    "left",
    "right",
    "lung",
    "liver",
    "what",
    "which",
    "modality",
    "plane",
    "organ",
    "ct",
    "mr",
    "x-ray",
    "axial",
    "coronal",
    "sagittal",
    "yes",
    "no",
    "shown",
    "picture",
    "image",
    "where",
    "of",
    "chest",
    "head",
    "abdomen",
    "normal",
    "and",
    "A:",
    "B:",
    "C:",
    "D:",
]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word tokenizer with PaliGemma's special tokens; characters that are no word become bytes-like single tokens."""
    letters = [chr(c) for c in range(32, 127)]
    vocabulary = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", "▁", *WORDS, *[x for x in letters if x not in WORDS]]
    vocabulary = list(dict.fromkeys(vocabulary))
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Split("?", "isolated"),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<image>",)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        extra_special_tokens={"image_token": "<image>"},
    )
    fast.add_tokens([f"<loc{i:04d}>" for i in range(1024)] + [f"<seg{i:03d}>" for i in range(128)])
    return fast


def tiny_network(
    seed: int = 0,
    vocab_size: int = 1400,
    image_token_id: int | None = None,
    spread: float = 0.4,
    word_spread: float = 0.15,
) -> PaliGemmaForConditionalGeneration:
    """A random network, deterministic by seed, eval mode; the spreads are standard deviations of its weights."""
    torch.manual_seed(seed)
    config = PaliGemmaConfig(
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": 32, "vision_use_head": False,
        },
        text_config={
            "model_type": "gemma", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 16, "vocab_size": vocab_size, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
        },
        image_token_id=image_token_id if image_token_id is not None else tiny_tokenizer().convert_tokens_to_ids("<image>"),
        projection_dim=32, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    network = PaliGemmaForConditionalGeneration(config).eval()
    for name, parameter in network.named_parameters():  # larger than the default 0.02, so that outputs differ visibly
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=spread if "embed_tokens" not in name else word_spread)
    return network


def save_tiny(folder: Path, seed: int = 0, **spreads: float) -> Path:
    """A checkpoint folder as the hub has them: network, tokenizer, image processor."""
    tiny_network(seed, **spreads).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    processor = SiglipImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.image_seq_length = 4
    processor.save_pretrained(folder)
    return folder
