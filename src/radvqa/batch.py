"""The only place that builds tokens, masks, labels and positions.

In: prompts, answers and pictures. Out: a Batch whose rows are questions and whose pictures are each there once.

    <image> x N  <bos> prompt \\n   answer <eos>
    |------- prefix, sees itself ---|-- causal, supervised --|

    batch = collate([encode(tokenizer, 256, "answer en Is there a mass?", "no")], [0], pixels, tokenizer.pad_token_id)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a position without supervision."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One question as token ids: `num_prefix` of them are image, bos, prompt and newline, the rest answer and eos."""

    ids: tuple[int, ...]
    num_prefix: int

    @property
    def num_supervised(self) -> int:
        """Tokens that the loss sees: answer and eos."""
        return len(self.ids) - self.num_prefix


def encode(tokenizer: PreTrainedTokenizerBase, num_image_tokens: int, prompt: str, answer: str | None) -> Encoded:
    """Token ids of one question, equal to PaliGemmaProcessor's; with `answer` None the sequence ends at the newline.

    Nothing is ever cut: the caller decides what is too long.
    """
    image, bos, eos = tokenizer.convert_tokens_to_ids("<image>"), tokenizer.bos_token_id, tokenizer.eos_token_id
    text = tokenizer(prompt + "\n", add_special_tokens=False)["input_ids"]
    prefix = [image] * num_image_tokens + [bos, *text]
    suffix = [] if answer is None else [*tokenizer(answer, add_special_tokens=False)["input_ids"], eos]
    return Encoded((*prefix, *suffix), len(prefix))


@dataclass(frozen=True)
class Batch:
    """B questions about I pictures, padded to L tokens."""

    pixels: torch.Tensor
    """float[I, 3, H, W], normalised."""
    image_of_row: torch.Tensor
    """int[B], which picture each question is about."""
    ids: torch.Tensor
    """int[B, L] token ids; padding holds the pad token."""
    real: torch.Tensor
    """bool[B, L], False on padding."""
    causal: torch.Tensor
    """bool[B, L], True on answer and eos; everything before is prefix."""
    position_ids: torch.Tensor
    """int[B, L], from 1 on the first real token (PaliGemma counts from 1); 1 on padding in front."""
    labels: torch.Tensor
    """int[B, L], the token itself where it is supervised, IGNORED elsewhere."""

    def attention_mask(self) -> torch.Tensor:
        """bool[B, 1, L, L], True where the row (query) may look at the column (key)."""
        return prefix_mask(self.causal, self.real)

    @property
    def num_supervised(self) -> int:
        return int((self.labels != IGNORED).sum())

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, its pixels in another dtype."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        moved["pixels"] = moved["pixels"].to(dtype)
        return replace(self, **moved)


def prefix_mask(causal: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """bool[B, 1, L, L] from bool[B, L] `causal` and `real`: k is visible to q when cumsum(causal)[k] <= cumsum(causal)[q].

    `i` image, `p` prompt, `a` answer, `.` padding; a row is a query, 1 where it may look:

        i p a a        . i p a         i p a .
      i 1 1 0 0      . 0 1 1 0       i 1 1 0 0
      p 1 1 0 0      i 0 1 1 0       p 1 1 0 0
      a 1 1 1 0      p 0 1 1 0       a 1 1 1 0
      a 1 1 1 1      a 0 1 1 1       . 1 1 1 0

    Padding is never looked at; its own rows look at something so that no softmax is empty.
    """
    order = causal.long().cumsum(1)
    return ((order[:, None, :] <= order[:, :, None]) & real[:, None, :])[:, None]


def collate(
    rows: Sequence[Encoded], image_of_row: Sequence[int], pixels: torch.Tensor, pad_token_id: int, side: str = "right"
) -> Batch:
    """Pad rows to one length. `side` is where the padding goes: right to train, left to generate."""
    assert len(rows) == len(image_of_row) and rows, "a row without a picture, or no rows"
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad_token_id)
    real = torch.zeros((len(rows), length), dtype=torch.bool)
    causal = torch.zeros_like(real)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else length - len(row.ids)
        stop = start + len(row.ids)
        ids[i, start:stop] = torch.tensor(row.ids)
        real[i, start:stop] = True
        causal[i, start + row.num_prefix : stop] = True
    return Batch(
        pixels=pixels,
        image_of_row=torch.tensor(list(image_of_row)),
        ids=ids,
        real=real,
        causal=causal,
        position_ids=real.long().cumsum(1).clamp(min=1),
        labels=torch.where(causal, ids, IGNORED),
    )
