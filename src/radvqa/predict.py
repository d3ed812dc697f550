"""Answers with probabilities: greedy, batched, each picture encoded once and each prompt read once.

In: a model and Samples. Out: predictions.parquet, a row for each question under one arm and one control.

    predict_arm(model_name="radvqa-tiny", adapter=None, sources=[(corpus, samples)], arm="base", control="none", folder=out)

Controls: `blank` replaces every picture by a grey one, `shuffled` by the picture of another subject; the question stays.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import DynamicCache

from radvqa.batch import Encoded, collate
from radvqa.model import VQAModel, load
from radvqa.pixels import PixelStore
from radvqa.predictions import Said, asked_of, options_of, pictures_shown, swap_pictures, write_predictions
from radvqa.prompt import prompt, sample_prompt
from radvqa.sample import Corpus, Sample


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Probabilities are over the words a model may say: drawing and image tokens are left out."""

    text: str
    logprob: float
    """Natural logarithm of the probability of the whole answer, its end included."""
    token_logprobs: tuple[float, ...]
    finished: bool
    """False: the answer was cut at max_new_tokens before the model ended it."""
    options: tuple[str, ...] = ()
    option_logprobs: tuple[float, ...] = ()

    @property
    def probability(self) -> float:
        """Of this answer; among the options where there are some and it is one of them."""
        named = [option.strip().lower() for option in self.options]
        if self.text.strip().lower() in named:
            weights = np.exp(np.array(self.option_logprobs) - max(self.option_logprobs))
            return float(weights[named.index(self.text.strip().lower())] / weights.sum())
        return float(np.exp(self.logprob))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a prompt about a picture (by its place in the pixels given), with options to weigh."""

    picture: int
    prompt: str
    options: tuple[str, ...] = ()


@torch.inference_mode()
def answer_batch(
    model: VQAModel, pixels: torch.Tensor, questions: Sequence[Question], max_new_tokens: int = 32
) -> list[Answer]:
    """Greedy answers to questions about pictures float[I, 3, H, W]. One prefill serves options and answer."""
    real, cache, first, banned = prefill(model, pixels, questions)
    options = _option_logprobs(model, questions, real, cache, first, banned)
    texts = _greedy(model, real, cache, first, banned, max_new_tokens)
    answers = []
    for question, (tokens, logprobs), scored in zip(questions, texts, options):
        finished = tokens[-1] == model.tokenizer.eos_token_id
        text = str(model.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
        answers.append(Answer(text, float(sum(logprobs)), tuple(logprobs), finished, question.options, scored))
    return answers


def prefill(
    model: VQAModel, pixels: torch.Tensor, questions: Sequence[Question]
) -> tuple[torch.Tensor, DynamicCache, torch.Tensor, torch.Tensor]:
    """Read every prompt once, each picture encoded once.

    Returns what is real in the cache bool[B, K], the cache, the log-probabilities float[B, V] of each answer's first
    token, and the ids no answer holds.
    """
    family = model.family
    rows = [model.encode(q.prompt, None) for q in questions]
    batch = collate(
        rows, [q.picture for q in questions], pixels, model.tokenizer.pad_token_id, side="left", layout=model.layout
    )
    batch = batch.to(model.device, model.dtype)
    cache = DynamicCache(config=family.config.get_text_config())
    hidden = family.hidden(model.network, batch, family.encode(model.network, batch.pixels), cache)
    banned = torch.tensor(family.banned_tokens(model.tokenizer), device=model.device)
    return batch.real, cache, _log_probabilities(model, hidden[:, -1], banned), banned


def _log_probabilities(model: VQAModel, hidden: torch.Tensor, banned: torch.Tensor) -> torch.Tensor:
    """float[..., V] log-probabilities over the words that an answer may hold."""
    logits = model.family.logits(model.network, hidden)
    logits[..., banned] = -torch.inf
    return logits.log_softmax(-1)


def _step(model: VQAModel, tokens: torch.Tensor, seen: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Hidden states float[B, T, D] of the next tokens int[B, T]; `seen` bool[B, K] marks what is real, them included."""
    num_new, num_keys = tokens.shape[1], seen.shape[1]
    order = torch.arange(num_keys, device=tokens.device)
    causal = order[None, :] <= order[-num_new:, None]
    mask = (seen[:, None, :] & causal[None])[:, None]
    positions = seen.long().cumsum(1)[:, -num_new:].clamp(min=1)
    embeds = model.family.core(model.network).get_input_embeddings()(tokens)
    return model.family.language(model.network, embeds, mask, positions, cache)


def _greedy(
    model: VQAModel, real: torch.Tensor, cache: DynamicCache, logprobs: torch.Tensor, banned: torch.Tensor, limit: int
) -> list[tuple[list[int], list[float]]]:
    eos = model.tokenizer.eos_token_id
    found: list[tuple[list[int], list[float]]] = [([], []) for _ in range(len(real))]
    open_rows = torch.ones(len(real), dtype=torch.bool, device=real.device)
    for number in range(limit):
        value, token = logprobs.max(-1)
        for i in torch.nonzero(open_rows).flatten().tolist():
            found[i][0].append(int(token[i]))
            found[i][1].append(float(value[i]))
        open_rows = open_rows & (token != eos)
        if not open_rows.any() or number == limit - 1:
            break
        real = torch.cat([real, open_rows[:, None]], 1)
        # a finished row goes on reading padding that nobody sees: its own column is masked, its prefix is not
        logprobs = _log_probabilities(model, _step(model, token[:, None], real, cache)[:, -1], banned)
    return found


def _option_logprobs(
    model: VQAModel,
    questions: Sequence[Question],
    real: torch.Tensor,
    cache: DynamicCache,
    first: torch.Tensor,
    banned: torch.Tensor,
) -> list[tuple[float, ...]]:
    """Log-probability of every option, its end included, given the prefix that the cache holds."""
    owner = [i for i, question in enumerate(questions) for _ in question.options]
    if not owner:
        return [() for _ in questions]
    tokenizer = model.tokenizer
    words = [
        tokenizer(" ".join(option.split()), add_special_tokens=False)["input_ids"]
        for q in questions
        for option in q.options
    ]
    words = [[*ids, tokenizer.eos_token_id] for ids in words]
    longest = max(len(ids) for ids in words)
    tokens = torch.full((len(words), longest), tokenizer.pad_token_id)
    for i, ids in enumerate(words):
        tokens[i, : len(ids)] = torch.tensor(ids)
    tokens, rows = tokens.to(real.device), torch.tensor(owner, device=real.device)
    scores = first[rows].gather(1, tokens[:, :1])
    if longest > 1:
        branch = copy.deepcopy(cache)
        branch.batch_select_indices(rows)
        filled = (
            torch.arange(longest - 1, device=real.device)[None]
            < torch.tensor([len(w) - 1 for w in words], device=real.device)[:, None]
        )
        seen = torch.cat([real[rows], filled], 1)
        rest = _log_probabilities(model, _step(model, tokens[:, :-1], seen, branch), banned)
        rest = rest.gather(2, tokens[:, 1:, None])[..., 0].masked_fill(~filled, 0.0)
        scores = torch.cat([scores, rest], 1)
    total = scores.sum(1).tolist()
    return [tuple(total[j] for j, i in enumerate(owner) if i == row) for row in range(len(questions))]


def answer_one(model: VQAModel, picture: Image.Image, question: str, choices: Sequence[str] = ()) -> Answer:
    """The answer to one question about one picture; choices are worded into the prompt and weighed."""
    pixels = model.form.normalise(model.form.resize(picture)[None])
    asked = Question(0, prompt(question, choices, style=model.style), tuple(choices))
    return answer_batch(model, pixels, [asked])[0]


# ---------------------------------------------------------------- many questions, one parquet


def predict_arm(
    *,
    model_name: str,
    adapter: Path | None,
    sources: Sequence[tuple[Corpus, list[Sample]]],
    arm: str,
    control: str,
    folder: Path,
    batch_size: int = 64,
    max_new_tokens: int = 32,
    seed: int = 0,
    style: str = "paligemma",
    model: VQAModel | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Ask one arm every question under one control; writes folder/predictions.parquet and returns its path.

    `model` spares the loading when the caller has it. `progress(done, total)` is called as questions are answered.
    """
    samples = asked_of(sources)
    shown = pictures_shown(samples, control, seed)
    model = model or load(model_name, adapter, style=style)
    store = PixelStore([corpus for corpus, _ in sources], model.form)
    rows = _answer_all(model, store, samples, shown, batch_size, max_new_tokens, progress)
    return write_predictions(folder, samples, arm, control, [_said(*found) for found in rows])


def _said(answer: Answer, seconds: float) -> Said:
    return Said(
        answer=answer.text,
        logprob=answer.logprob,
        probability=answer.probability,
        token_logprobs=answer.token_logprobs,
        finished=answer.finished,
        options=answer.options,
        option_logprobs=answer.option_logprobs,
        seconds=seconds,
    )


def _answer_all(
    model: VQAModel,
    store: PixelStore,
    samples: Sequence[Sample],
    shown: Sequence[str | None],
    batch_size: int,
    max_new_tokens: int,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[Answer, float]]:
    """Answers in the order of the samples. Equal questions about equal pictures are asked once; pictures stay together."""
    asked = [(key, sample_prompt(s, model.style), options_of(s)) for s, key in zip(samples, shown)]
    distinct = sorted(set(asked), key=lambda item: (item[0] or "", len(item[1]), item[1]))
    found: dict[tuple, tuple[Answer, float]] = {}
    for part in _chunks(distinct, batch_size):
        start = time.perf_counter()
        keys = list(dict.fromkeys(key for key, _, _ in part))
        pixels = model.form.normalise(
            np.stack([model.form.blank() if key is None else store.resized(key) for key in keys])
        )
        answers = answer_batch(model, pixels, [Question(keys.index(k), p, o) for k, p, o in part], max_new_tokens)
        seconds = (time.perf_counter() - start) / len(part)
        found |= {item: (answer, seconds) for item, answer in zip(part, answers)}
        if progress:
            progress(round(len(samples) * len(found) / len(distinct)), len(samples))
    return [found[item] for item in asked]


def _chunks(items: Sequence, size: int) -> Iterable[Sequence]:
    return (items[i : i + size] for i in range(0, len(items), size))


__all__ = ["Answer", "Encoded", "Question", "answer_batch", "answer_one", "options_of", "predict_arm", "swap_pictures"]
