"""The same question several times at a temperature, its prompt read once: sampled runs share one prefill.

In: a model, Samples, the number of runs. Out: repeats.parquet, a row a question and run.

    repeat_arm(model, sources=[(corpus, samples)], arm="stage2", folder=out, settings=Repeats(num_runs=5))

Each question and run has its own random numbers, a function of (seed, id of the question, run), so an answer depends
neither on the batch it was asked in nor on whether the prefill was shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from radvqa.asked import Repeats, crc, forms_of, write_repeats
from radvqa.model import VQAModel
from radvqa.pixels import PixelStore
from radvqa.predict import Question, _log_probabilities, _step, prefill
from radvqa.predictions import Said, asked_of
from radvqa.prompt import sample_prompt
from radvqa.sample import Corpus, Sample


@torch.inference_mode()
def sample_batch(
    model: VQAModel,
    pixels: torch.Tensor,
    questions: Sequence[Question],
    draws: Sequence[np.ndarray],
    temperature: float,
) -> list[list[Said]]:
    """Sampled answers, draws[q] float[runs of question q, longest answer]: the uniform number behind each token.

    A token is the first whose cumulative probability at the temperature reaches its number. `logprob` is the model's
    own, at temperature 1.
    """
    real, cache, first, banned = prefill(model, pixels, questions)
    owner = torch.tensor([place for place, some in enumerate(draws) for _ in some], device=real.device)
    uniform = torch.tensor(np.concatenate(draws), device=real.device)
    cache.batch_select_indices(owner)
    real, logprobs, eos = real[owner], first[owner], model.tokenizer.eos_token_id
    tokens: list[list[int]] = [[] for _ in owner]
    totals = torch.zeros(len(owner), dtype=torch.float64, device=real.device)
    open_rows = torch.ones(len(owner), dtype=torch.bool, device=real.device)
    for number in range(uniform.shape[1]):
        token = _drawn(logprobs, uniform[:, number], temperature)
        totals += torch.where(open_rows, logprobs.gather(1, token[:, None])[:, 0].double(), 0.0)
        for row in torch.nonzero(open_rows).flatten().tolist():
            tokens[row].append(int(token[row]))
        open_rows = open_rows & (token != eos)
        if not open_rows.any() or number == uniform.shape[1] - 1:
            break
        real = torch.cat([real, open_rows[:, None]], 1)
        logprobs = _log_probabilities(model, _step(model, token[:, None], real, cache)[:, -1], banned)
    found = [_said(model, ids, float(total)) for ids, total in zip(tokens, totals)]
    ends = np.cumsum([len(some) for some in draws]).tolist()
    return [found[end - len(some) : end] for end, some in zip(ends, draws)]


def _drawn(logprobs: torch.Tensor, uniform: torch.Tensor, temperature: float) -> torch.Tensor:
    """int[R]: the token each number in [0, 1) falls on, of log-probabilities float[R, V] at a temperature."""
    heights = (logprobs.double() / temperature).softmax(-1).cumsum(-1)
    place = torch.searchsorted(heights, uniform[:, None] * heights[:, -1:], right=True)
    return place[:, 0].clamp(max=logprobs.shape[1] - 1)


def _said(model: VQAModel, ids: list[int], logprob: float) -> Said:
    text = str(model.tokenizer.decode(ids, skip_special_tokens=True)).strip()
    return Said(text, logprob=logprob, finished=ids[-1] == model.tokenizer.eos_token_id)


def uniforms(sample: Sample, runs: Sequence[int], longest: int, seed: int) -> np.ndarray:
    """float64[runs, longest]: the random numbers of these runs of one question."""
    rows = [np.random.default_rng([seed, crc(sample.id), run]).random(longest) for run in runs]
    return np.array(rows).reshape(len(rows), longest)


def repeat_arm(
    model: VQAModel,
    *,
    sources: Sequence[tuple[Corpus, list[Sample]]],
    arm: str,
    folder: Path,
    settings: Repeats,
    batch_size: int = 16,
    max_new_tokens: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Ask every question `num_runs` times; writes folder/repeats.parquet and returns its path.

    batch_size: prompts read at once; the answers of num_runs times as many are written at once.
    """
    samples = asked_of(sources)
    store = PixelStore([corpus for corpus, _ in sources], model.form)
    forms = [forms_of(sample, settings) for sample in samples]
    order = sorted(range(len(samples)), key=lambda place: (samples[place].image or "", samples[place].id))
    said: list[list[Said]] = [[] for _ in samples]
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        keys = list(dict.fromkeys(samples[place].image or "" for place in part))
        questions: list[Question] = []
        draws: list[np.ndarray] = []
        owners: list[tuple[int, list[int]]] = []
        for place in part:
            for prompt, runs in _prompts(forms[place], model.style).items():
                questions.append(Question(keys.index(samples[place].image or ""), prompt))
                draws.append(uniforms(samples[place], runs, max_new_tokens, settings.seed))
                owners.append((place, runs))
        found = sample_batch(model, store.batch(keys), questions, draws, settings.temperature)
        for (place, runs), answers in zip(owners, found):
            said[place] = said[place] or [Said(None)] * settings.num_runs
            for run, answer in zip(runs, answers):
                said[place][run] = answer
        if progress:
            progress(start + len(part), len(order))
    return write_repeats(folder, samples, forms, arm, said)


def _prompts(forms: Sequence[Sample], style: str) -> dict[str, list[int]]:
    """The runs that ask with the same words, and so share a prefill, by these words."""
    found: dict[str, list[int]] = {}
    for run, form in enumerate(forms):
        found.setdefault(sample_prompt(form, style), []).append(run)
    return found
