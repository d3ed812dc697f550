"""Turn: one question about one picture with its answer, as the model reads it, and what of it is to be explained.

In: a model, a picture, a question and an answer (the model's own if none is given). Out: a Batch of one row with the
columns of image, prompt and answer read from its ids, and the answer's log-probabilities under changed pictures.

    turn = prepare(model, picture, "Is there a mass?")
    turn.logprobs(turn.batch.pixels)              # float32[1, T]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import nn
from transformers import PreTrainedTokenizerBase

from radvqa.batch import IGNORED, Batch, collate
from radvqa.errors import InputError
from radvqa.prompt import prompt
from radvqa.saliency.fill import filled, without

if TYPE_CHECKING:
    from radvqa.model import VQAModel

MAX_VARIANTS = 16
"""Changed pictures that go through the network at once."""


@dataclass(frozen=True)
class Target:
    """What is explained. The default: every token of the answer on its own, the answer as their mean.

    A choice's likelihood: prepare the turn with that choice as its answer and take the quantity `likelihood`.
    """

    tokens: tuple[int, ...] | None = None
    """Which answer tokens count for the whole (a token, a span); None: all but the end, of a likelihood all."""
    against: str | None = None
    """A second answer: what speaks for the answer and not for it, at the first token where the two differ."""
    quantity: str = "logit"
    """One of QUANTITIES. A logit does not saturate where the model is sure; perturbation methods measure
    log-probabilities in any case."""


WHOLE = Target()
QUANTITIES = ("logit", "logprob", "likelihood")
"""likelihood: the log-probability of the answer to its end, as choices are weighed in prediction."""


@dataclass(frozen=True, eq=False)
class Turn:
    """One question with its answer laid out as one sequence of L tokens: N image, Q prompt, T answer (end included)."""

    model: VQAModel
    batch: Batch
    """One row on the model's device."""
    picture: Image.Image
    """RGB, as it was given."""
    question: str
    answer: str

    @cached_property
    def image(self) -> torch.Tensor:
        """int[N], the columns of the image tokens, wherever they start (0 is a valid start)."""
        return self._where(self.batch.ids[0] == self.model.family.image_token_id)

    @cached_property
    def prompt(self) -> torch.Tensor:
        """int[Q], the columns of the prompt's words, from after bos to the newline."""
        ids, batch = self.batch.ids[0], self.batch
        special = (ids == self.model.family.image_token_id) | (ids == self.model.tokenizer.bos_token_id)
        return self._where(batch.real[0] & (batch.labels[0] == IGNORED) & ~special)

    @cached_property
    def columns(self) -> torch.Tensor:
        """int[T], the columns of the answer's tokens, the end token last."""
        return self._where(self.batch.labels[0] != IGNORED)

    @cached_property
    def rows(self) -> torch.Tensor:
        """int[T], for each answer token the row that predicts it: the column before."""
        return self.columns - 1

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """The answer's tokens as text, the end token last; joined they are the answer."""
        return pieces(self.model.tokenizer, self.batch.ids[0, self.columns].tolist())

    @cached_property
    def prompt_tokens(self) -> tuple[str, ...]:
        """The prompt's tokens as text."""
        return pieces(self.model.tokenizer, self.batch.ids[0, self.prompt].tolist())

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of image tokens, from the configuration."""
        return self.model.family.grid

    def spans(self) -> dict[str, list[int]]:
        """The columns of every part, for the record."""
        return {"image": self.image.tolist(), "prompt": self.prompt.tolist(), "answer": self.columns.tolist()}

    def chosen(self, target: Target) -> tuple[int, ...]:
        """The answer tokens that make the whole. Raises InputError for one that the answer does not have."""
        num = len(self.columns)
        if target.tokens is None:
            return tuple(range(num if target.quantity == "likelihood" else max(num - 1, 1)))
        if not target.tokens or any(not 0 <= token < num for token in target.tokens):
            raise InputError(f"the answer has no token {target.tokens}", key="tokens", fix=f"it has {num}, from 0")
        return target.tokens

    def _where(self, kept: torch.Tensor) -> torch.Tensor:
        return torch.nonzero(kept).flatten()

    # ------------------------------------------------------------ asking the network

    def variants(self, pixels: torch.Tensor) -> Batch:
        """The same question about V pictures float[V, 3, H, W], a row each."""
        num = len(pixels)
        by_row = [f.name for f in fields(self.batch) if f.name not in ("pixels", "image_of_row")]
        wide = {name: getattr(self.batch, name).expand(num, -1) for name in by_row}
        return replace(self.batch, pixels=pixels, image_of_row=torch.arange(num, device=pixels.device), **wide)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """float32[B, T, V] that predict the answer's tokens, from hidden states float[B, L, D]; -inf on banned words."""
        logits = self.model.family.logits(self.model.network, hidden[:, self.rows])
        return logits.index_fill(-1, banned(self.model), -torch.inf)

    def score(self, logits: torch.Tensor, target: Target = WHOLE) -> torch.Tensor:
        """float32[B, T], what is explained, from logits float32[B, T, V]. One answer token alone for a contrast."""
        ids = self.batch.ids[0, self.columns]
        if target.quantity not in QUANTITIES:
            found, fix = f"unknown quantity {target.quantity!r}", "use one of: " + ", ".join(QUANTITIES)
            raise InputError(found, key="quantity", fix=fix)
        values = logits if target.quantity == "logit" else logits.log_softmax(-1)
        own = values.gather(-1, ids.expand(len(logits), -1)[..., None])[..., 0]
        if target.against is None:
            return own
        place, other = self.contrast(target.against)
        return torch.zeros_like(own).index_copy(1, place, own[:, place] - values[:, place, other])

    def contrast(self, against: str) -> tuple[torch.Tensor, torch.Tensor]:
        """int[1] token of the answer where `against` first differs, int[1] id that `against` has there."""
        tokenizer, ids = self.model.tokenizer, self.batch.ids[0, self.columns].tolist()
        other = [*tokenizer(" ".join(against.split()), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        place = next((i for i, (a, b) in enumerate(zip(ids, other)) if a != b), None)
        if place is None:
            raise InputError("the answer and what it is held against are the same", key="against")
        device = self.batch.ids.device
        return torch.tensor([place], device=device), torch.tensor([other[place]], device=device)

    @torch.no_grad()  # not inference mode: cached index tensors are used under autograd later
    def logprobs(self, pixels: torch.Tensor, target: Target = WHOLE) -> torch.Tensor:
        """float32[V, T], log-probabilities of the answer's tokens when the picture is each of float[V, 3, H, W].

        For a contrast the difference to the other answer's token.
        """
        family, network, quantity = self.model.family, self.model.network, replace(target, quantity="logprob")
        found = []
        for part in pixels.to(self.model.device, self.model.dtype).split(MAX_VARIANTS):
            hidden = family.hidden(network, self.variants(part), family.encode(network, part))
            found.append(self.score(self.logits(hidden), quantity))
        return torch.cat(found)

    def masked_logprobs(self, kept: torch.Tensor, fill: str, target: Target = WHOLE) -> torch.Tensor:
        """float32[V, T] as `logprobs`, when of the picture only float[V, gh, gw] is kept and the rest is a fill-in."""
        pixels, stand_in = self.batch.pixels, filled(self.batch.pixels, fill)
        parts = kept.to(pixels.device).split(MAX_VARIANTS)
        return torch.cat([self.logprobs(without(pixels, part, stand_in), target) for part in parts])


def prepare(
    model: VQAModel,
    picture: Image.Image,
    question: str,
    answer: str | None = None,
    choices: Sequence[str] = (),
    language: str = "en",
) -> Turn:
    """Lay out a question with an answer. `answer` None: the model's own greedy answer.

    The answer's text is tokenised as training does it; an empty answer is its end token alone.
    """
    if model.form.crop:
        raise InputError(
            f"{model.family.name}'s processor cuts a picture's edges away: a map would lie beside what it shows",
            key="model",
            fix="explain another family",
        )
    if answer is None:
        answer = model.answer(picture, question, choices).text
    words = " ".join(answer.split())
    text = prompt(question, choices, language, model.style)
    row = model.encode(text, words)
    pixels = model.form.normalise(model.form.resize(picture)[None])
    batch = collate([row], [0], pixels, model.tokenizer.pad_token_id, layout=model.layout).to(model.device, model.dtype)
    return Turn(model, batch, picture.convert("RGB"), question, words)


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """The text that each token adds, whatever the tokenizer: differences of growing decodings. Joined, they are the text.

    A token that is part of a character adds nothing; the token that completes the character adds all of it.
    """
    texts = [str(tokenizer.decode(list(ids[: i + 1]))).rstrip("�") for i in range(len(ids))]
    before = ["", *texts[:-1]]
    return tuple(text[len(previous) :] if text.startswith(previous) else text for text, previous in zip(texts, before))


def group_words(tokens: Sequence[str]) -> tuple[tuple[str, int, int], ...]:
    """(word, first token, one past its last) for tokens as `pieces` gives them, split at white space.

    Words are places, not strings: a word that comes twice is there twice.

    >>> group_words(["left", " pleu", "ral", " left"])
    (('left', 0, 1), ('pleural', 1, 3), ('left', 3, 4))
    """
    words: list[tuple[str, int, int]] = []
    for i, token in enumerate(tokens):
        if words and not token[:1].isspace():
            word, start, _ = words.pop()
            words.append((word + token, start, i + 1))
        else:
            words.append((token.lstrip(), i, i + 1))
    return tuple(words)


_BANNED: WeakKeyDictionary[nn.Module, torch.Tensor] = WeakKeyDictionary()


def banned(model: VQAModel) -> torch.Tensor:
    """int[*], the tokens that no answer holds, as in prediction; collected once a network."""
    if model.network not in _BANNED:
        _BANNED[model.network] = torch.tensor(model.family.banned_tokens(model.tokenizer), device=model.device)
    return _BANNED[model.network].to(model.device)
