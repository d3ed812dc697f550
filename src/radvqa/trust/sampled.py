"""Disagreement: how often sampled runs of the same question say something else than the answer that was given.

In: a model, pictures and questions. Out: the texts of k runs of each question.

    texts = sample_answers(model, pixels, [Question(0, "answer en Is there a mass?")], uniforms)

A picture and its question are read once and serve all runs. Every token of every run has its own uniform number, which
depends on the seed and the question alone: the runs are the same in any batch and in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from transformers import DynamicCache

from radvqa.batch import collate, encode
from radvqa.model import VQAModel
from radvqa.predict import Question
from radvqa.saliency.turn import banned
from radvqa.score.text import normalise


@torch.inference_mode()
def sample_answers(
    model: VQAModel,
    pixels: torch.Tensor,
    questions: Sequence[Question],
    uniforms: np.ndarray,
    *,
    temperature: float = 1.0,
) -> list[list[str]]:
    """k texts for each question about pictures float[I, 3, H, W]; uniforms float[B, k, T] in [0, 1), T the most tokens.

    A token is drawn by inverting the cumulative distribution of softmax(logits / temperature).
    """
    family, tokenizer, num_runs = model.family, model.tokenizer, uniforms.shape[1]
    rows = [encode(tokenizer, family.num_image_tokens, q.prompt, None) for q in questions]
    batch = collate(rows, [q.picture for q in questions], pixels, tokenizer.pad_token_id, side="left")
    batch = batch.to(model.device, model.dtype)
    cache = DynamicCache(config=family.config.get_text_config())
    hidden = family.hidden(model.network, batch, family.encode(model.network, batch.pixels), cache)[:, -1:]
    cache.batch_repeat_interleave(num_runs)
    hidden, real = hidden.repeat_interleave(num_runs, 0), batch.real.repeat_interleave(num_runs, 0)
    u = torch.from_numpy(uniforms.reshape(len(real), -1)).to(model.device)
    said: list[list[int]] = [[] for _ in range(len(real))]
    going = torch.ones(len(real), dtype=torch.bool, device=real.device)
    for number in range(u.shape[1]):
        logits = family.logits(model.network, hidden[:, -1]).index_fill(-1, banned(model), -torch.inf)
        token = _drawn((logits / temperature).softmax(-1), u[:, number])
        going = going & (token != tokenizer.eos_token_id)
        for row in torch.nonzero(going).flatten().tolist():
            said[row].append(int(token[row]))
        if not going.any() or number == u.shape[1] - 1:
            break
        real = torch.cat([real, going[:, None]], 1)
        hidden = _next(model, token[:, None], real, cache)
    texts = [str(tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in said]
    return [texts[i : i + num_runs] for i in range(0, len(texts), num_runs)]


def _drawn(probabilities: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """int[B]: the first token whose cumulative probability exceeds u float[B]."""
    reached = probabilities.double().cumsum(-1)
    return torch.searchsorted(reached, (u * reached[:, -1])[:, None], right=True)[:, 0].clamp(
        max=probabilities.shape[-1] - 1
    )


def _next(model: VQAModel, token: torch.Tensor, real: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    """Hidden states float[B, 1, D] of one more token int[B, 1]; `real` bool[B, K] marks what may be seen, it included."""
    positions = real.long().sum(1, keepdim=True).clamp(min=1)
    embeds = model.family.core(model.network).get_input_embeddings()(token)
    return model.family.language(model.network, embeds, real[:, None, None], positions, cache)


def uniforms_for(key: str, num_runs: int, num_tokens: int, seed: int) -> np.ndarray:
    """float[k, T] in [0, 1): what question `key` is sampled with."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, number]).random((num_runs, num_tokens))


def disagreement(answer: str, runs: Sequence[str]) -> float:
    """Share of runs whose words are not the answer's.

    >>> disagreement("the left lung", ["Left lung.", "right lung"])
    0.5
    """
    return float(np.mean([normalise(run) != normalise(answer) for run in runs]))
