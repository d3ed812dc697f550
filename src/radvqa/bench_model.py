"""The model and the words of the training benchmark: a PaliGemma with random weights, its processor, questions on noise.

In: sizes. Out: a configuration of 16 million parameters, or of PaliGemma-3B's sizes; a word tokenizer; rows of
(picture, prompt, answer), 24 text tokens each, 4 of them supervised.

    network = PaliGemmaForConditionalGeneration(config_of(Sizes(questions=8)))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PaliGemmaConfig, PreTrainedTokenizerFast

PROMPT_WORDS, ANSWER_WORDS = 18, 3
"""With bos and newline, and with eos: 24 text tokens, 4 of them supervised."""


@dataclass(frozen=True)
class Sizes:
    """What is trained on what."""

    questions: int = 8
    """Of one image."""
    image_px: int = 224
    """224: 256 image tokens; 448: 1,024."""
    vocabulary: int = 32_000
    """Rows of the embedding; PaliGemma's own is 257,216."""
    batch_size: int = 8
    """Questions in a step, at least; whole images."""
    rank: int = 12
    full_size: bool = False
    """PaliGemma-3B's widths and depths in bfloat16 instead of 16 million parameters."""
    rows_at_once: int | None = None
    """Most rows in a micro-batch where a row is a question; None: a step at once."""
    prefix_rows: int | None = None
    """The same for our layout `prefix`, whose rows need less memory; None: as many."""

    @property
    def image_tokens(self) -> int:
        return (self.image_px // 14) ** 2

    @property
    def per_step(self) -> int:
        return self.questions * max(1, self.batch_size // self.questions)

    def accumulation(self, most: int | None) -> int:
        """Micro-batches in a step where a row is a question, all of one size, of at most so many rows."""
        sizes = (n for n in range(1, self.per_step + 1) if self.per_step % n == 0)
        return next(n for n in sizes if most is None or self.per_step // n <= most)


def rows_of(sizes: Sizes, images: int) -> list[tuple[int, str, str]]:
    """(picture's number, prompt, answer) of so many pictures, the same every time."""
    rng = np.random.default_rng(1)
    return [
        (i, words(rng, PROMPT_WORDS), words(rng, ANSWER_WORDS)) for i in range(images) for _ in range(sizes.questions)
    ]


def words(rng: np.random.Generator, number: int) -> str:
    return " ".join(f"w{k}" for k in rng.integers(0, 1000, number))


def tokenizer_of(vocabulary: int) -> PreTrainedTokenizerFast:
    """Words w0 to w999, PaliGemma's special tokens, and `<image>` as the last row of the embedding."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", *(f"w{k}" for k in range(1000))]
    names += [f"<unused{k}>" for k in range(vocabulary - 1 - len(names))]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")]
    )
    tokenizer.add_special_tokens([AddedToken("<image>", special=True, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip


def config_of(sizes: Sizes) -> PaliGemmaConfig:
    vision = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 3}
    text = {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "head_dim": 64,
    }
    if sizes.full_size:
        vision = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
        text = {
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "head_dim": 256,
        }
    width = text["hidden_size"]
    more: dict[str, Any] = {"model_type": "siglip_vision_model", "image_size": sizes.image_px, "patch_size": 14}
    ids = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    whole: dict[str, Any] = {
        "vision_config": {**vision, **more, "projection_dim": width, "vision_use_head": False},
        "text_config": {
            **text,
            **ids,
            "model_type": "gemma",
            "num_key_value_heads": 1,
            "vocab_size": sizes.vocabulary,
            "max_position_embeddings": 8192,
        },
        "image_token_id": sizes.vocabulary - 1,
        "projection_dim": width,
        **ids,
    }
    return PaliGemmaConfig(**whole)
