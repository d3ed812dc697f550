"""The only place that builds tokens, masks, labels and positions.

In: prompts, answers and pictures. Out: a Batch whose rows are questions and whose pictures are each there once.

    <image> x N  <bos> prompt \\n   answer <eos>
    |------- prefix, sees itself ---|-- causal, supervised --|      layout prefix (PaliGemma's own)
    | sees itself |-------------- causal --------------------|      layout image-first (Gemma 3's, LLaVA's)

    batch = collate([encode(tokenizer, 256, "answer en Is there a mass?", "no")], [0], pixels, tokenizer.pad_token_id, layout="prefix")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a position without supervision."""
Visible = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""int rows, queries, keys, broadcast against each other -> bool, whether the query may look at the key."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One question as token ids: `num_prefix` of them are image, bos, prompt and newline, the rest answer and eos."""

    ids: tuple[int, ...]
    num_prefix: int
    num_image: int = 0
    """Of the prefix, so many are image tokens."""
    first_image: int = 0
    """Where they begin: tokens of a chat may stand in front of them."""
    num_after: int = 0
    """Tokens behind them that belong to the picture and not to a question, as an end-of-image token."""
    block: bool = True
    """Whether image tokens see each other in both directions (LLaVA's do not)."""

    @property
    def num_shared(self) -> int:
        """Tokens at the front that all questions about a picture have in common."""
        return self.first_image + self.num_image + self.num_after

    def causal(self, layout: str) -> list[bool]:
        """For each token whether it sees only what came before; a token without it sees on to the last such in a row."""
        if layout == "prefix":
            return [False] * self.num_prefix + [True] * self.num_supervised
        flags = [True] * len(self.ids)
        if self.block:  # the first one, where something stands in front, begins what the others see
            start = self.first_image + (self.first_image > 0)
            flags[start : self.first_image + self.num_image] = [False] * (self.first_image + self.num_image - start)
        return flags

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
    return Encoded((*prefix, *suffix), len(prefix), num_image_tokens)


@dataclass(frozen=True)
class Batch:
    """B questions about I pictures, padded to L tokens."""

    pixels: torch.Tensor
    """float[I, 3, H, W], normalised; or float[I, N, D], the features that a frozen tower made of them."""
    image_of_row: torch.Tensor
    """int[B], which picture each row is about; where rows hold several, one entry each in reading order."""
    ids: torch.Tensor
    """int[B, L] token ids; padding holds the pad token."""
    real: torch.Tensor
    """bool[B, L], False on padding."""
    causal: torch.Tensor
    """bool[B, L], True where a token sees only what came before: answer and eos; image-first: all but the picture."""
    position_ids: torch.Tensor
    """int[B, L], from 1 on the first real token (PaliGemma counts from 1); 1 on padding in front."""
    labels: torch.Tensor
    """int[B, L], the token itself where it is supervised, IGNORED elsewhere."""

    def visible(self) -> Visible:
        """What may look at what, entry by entry: see prefix_visible."""
        return prefix_visible(self.causal, self.real)

    def attention_mask(self, queries: torch.Tensor | None = None) -> torch.Tensor:
        """bool[B, 1, L, L], True where the row (query) may look at the column (key); or [B, 1, T, L] of int[B, T] queries."""
        return as_mask(self.visible(), self.ids, queries)

    @property
    def num_supervised(self) -> int:
        return int((self.labels != IGNORED).sum())

    def pinned(self) -> Batch:
        """The batch in memory that a GPU copies from while it computes."""
        return replace(self, **{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Batch:
        """The batch on another device, its pixels in another dtype."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        moved["pixels"] = moved["pixels"].to(dtype)
        return replace(self, **moved)


def prefix_visible(causal: torch.Tensor, real: torch.Tensor) -> Visible:
    """From bool[B, L] `causal` and `real`: k is visible to q when cumsum(causal)[k] <= cumsum(causal)[q].

    `i` image, `p` prompt, `a` answer, `.` padding; a row is a query, 1 where it may look:

        i p a a        . i p a         i p a .
      i 1 1 0 0      . 0 1 1 0       i 1 1 0 0
      p 1 1 0 0      i 0 1 1 0       p 1 1 0 0
      a 1 1 1 0      p 0 1 1 0       a 1 1 1 0
      a 1 1 1 1      a 0 1 1 1       . 1 1 1 0

    Padding is never looked at; its own rows look at something so that no softmax is empty.
    """
    order = causal.long().cumsum(1)
    return lambda row, q, k: real[row, k] & (order[row, k] <= order[row, q])


def as_mask(visible: Visible, like: torch.Tensor, queries: torch.Tensor | None = None) -> torch.Tensor:
    """bool[B, 1, T, L] for sequences [B, L] `like`: all their positions as queries, or int[B, T] of them."""
    rows, places = (torch.arange(n, device=like.device) for n in like.shape)
    return visible(rows[:, None, None], (places[None] if queries is None else queries)[..., None], places)[:, None]


def collate(
    rows: Sequence[Encoded],
    image_of_row: Sequence[int],
    pixels: torch.Tensor,
    pad_token_id: int,
    *,
    layout: str,
    side: str = "right",
) -> Batch:
    """Pad rows to one length. `side` is where the padding goes: right to train, left to generate.

    The layout has no default: rows read under another mask than the model's give answers that look right and are not.
    """
    assert len(rows) == len(image_of_row) and rows, "a row without a picture, or no rows"
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad_token_id)
    real = torch.zeros((len(rows), length), dtype=torch.bool)
    causal, supervised = torch.zeros_like(real), torch.zeros_like(real)
    for i, row in enumerate(rows):
        start = 0 if side == "right" else length - len(row.ids)
        stop = start + len(row.ids)
        ids[i, start:stop] = torch.tensor(row.ids)
        real[i, start:stop] = True
        causal[i, start:stop] = torch.tensor(row.causal(layout))
        supervised[i, start + row.num_prefix : stop] = True
    return Batch(
        pixels=pixels,
        image_of_row=torch.tensor(list(image_of_row)),
        ids=ids,
        real=real,
        causal=causal,
        position_ids=real.long().cumsum(1).clamp(min=1),
        labels=torch.where(supervised, ids, IGNORED),
    )


@dataclass(frozen=True)
class PackedBatch(Batch):
    """Rows are pictures, each with all its questions behind it: `image | bos q1 a1 eos | bos q2 a2 eos | ...`.

    The picture sees itself only, a question sees the picture and, causally, itself, and its positions go on from the
    picture's: one pass over the picture serves all its questions, and each is answered as if it stood alone under the
    image-first layout. Short pictures share a row; they do not see each other. For PaliGemma this is another mask than
    its own: what is trained under it must be answered under it.

        i i p a p a
      i 1 1 0 0 0 0
      i 1 1 0 0 0 0
      p 1 1 1 0 0 0
      a 1 1 1 1 0 0
      p 1 1 0 0 1 0
      a 1 1 0 0 1 1
    """

    picture: torch.Tensor
    """int[B, L]: which picture of the row, 0, 1, ..."""
    owner: torch.Tensor
    """int[B, L]: 0 a picture with what stands around it, 1, 2, ... the row's questions, -1 padding."""

    def visible(self) -> Visible:
        """Of the same picture, a token of the picture or of the same question, and not later."""
        owner, picture, not_later = self.owner, self.picture, super().visible()

        def visible(row: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            near = (owner[row, k] == 0) | (owner[row, k] == owner[row, q])
            return near & (picture[row, k] == picture[row, q]) & not_later(row, q, k)

        return visible


def pack(lengths: Sequence[int]) -> list[list[int]]:
    """Which pictures share a row: first fit, longest first, no row longer than the longest picture with its questions."""
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, left in enumerate(room) if left >= lengths[i]), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(max(lengths))
        rows[place].append(i)
        room[place] -= lengths[i]
    return rows


def collate_image_first(groups: Sequence[Sequence[Encoded]], pixels: torch.Tensor, pad_token_id: int) -> PackedBatch:
    """`groups[i]` are the questions of picture i, each encoded with its own image tokens in front."""
    num = groups[0][0].num_shared
    packed = pack([num + sum(len(question.ids) - num for question in group) for group in groups])
    rows: list[dict[str, list[int]]] = []
    for places in packed:
        row: dict[str, list[int]] = {
            name: [] for name in ("ids", "picture", "owner", "position", "causal", "supervised")
        }
        for picture, place in enumerate(places):
            for number, question in enumerate(groups[place]):
                _append(row, question, picture, first=number == 0)
        rows.append(row)
    length = max(len(row["ids"]) for row in rows)

    def padded(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[name] + [fill] * (length - len(row[name])) for row in rows])

    ids, owner = padded("ids", pad_token_id), padded("owner", -1)
    return PackedBatch(
        pixels=pixels,
        image_of_row=torch.tensor([place for places in packed for place in places]),
        ids=ids,
        real=owner >= 0,
        causal=padded("causal", 0).bool(),
        position_ids=padded("position", 1),
        labels=torch.where(padded("supervised", 0).bool(), ids, IGNORED),
        picture=padded("picture", 0),
        owner=owner,
    )


def _append(row: dict[str, list[int]], question: Encoded, picture: int, first: bool) -> None:
    """Put a question at the end of a row, behind its picture if it is the picture's first."""
    num, number = question.num_shared, max(row["owner"], default=0) + 1
    skip = 0 if first else num
    image, text = [0] * (num - skip), len(question.ids) - num
    row["ids"] += question.ids[skip:]
    row["picture"] += [picture] * (len(image) + text)
    row["owner"] += image + [number] * text
    row["position"] += range(skip + 1, len(question.ids) + 1)
    row["causal"] += question.causal("image-first")[skip:]
    row["supervised"] += [0] * (question.num_prefix - skip) + [1] * question.num_supervised
