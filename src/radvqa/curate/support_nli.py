"""Whether the evidence supports an answer, as a model of natural-language inference judges it.

In: pairs with their evidence, and the folder of a sequence classifier whose labels name entailment and contradiction. Out:
for each pair yes (entailed), no (contradicted), or None (neither, or question and answer too long to be put to it).

    list(Entailment(Path("models/nli"), Path("verdicts.sqlite")).verdicts([Pair("Which side?", "left", evidence="...")]))

The premise is the evidence; where it is longer than the model reads it is put in windows that overlap by a quarter, and the
window that entails most decides. The hypothesis is question and answer as one statement. Every verdict is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from radvqa.call_store import CallStore
from radvqa.curate.checks import Pair
from radvqa.curate.support import CONTRADICTED
from radvqa.errors import InputError
from radvqa.stage import path_hash

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
STATEMENT = 'To the question "{question}" the answer is: {answer}'
MAX_TOKENS = 512
"""Longest window of evidence and statement; less where the model reads less."""
BATCH = 16
"""Windows, and pairs, at a time."""


class Entailment:
    """An entailment model on this machine. Raises InputError for a folder that holds none."""

    name, reason = "nli", CONTRADICTED

    def __init__(self, folder: Path, store: Path) -> None:
        """store: the SQLite file of verdicts, found again under the hash of model, evidence and statement."""
        config, self._tokenizer, network = _loaded(folder)
        self._entails, self._contradicts = places_of(config.id2label, folder)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self._device).eval()
        reads = getattr(config, "max_position_embeddings", MAX_TOKENS) - 2  # RoBERTa's positions begin at 2
        self.max_tokens = min(self._tokenizer.model_max_length, reads, MAX_TOKENS)
        self.model, self._fingerprint, self._store = folder.name, path_hash(folder), CallStore(store)

    def close(self) -> None:
        """Close the file of verdicts."""
        self._store.close()

    def verdicts(self, pairs: Sequence[Pair]) -> Iterator[bool | None]:
        """One a pair, in order."""
        for at in range(0, len(pairs), BATCH):
            some = pairs[at : at + BATCH]
            asked = [(pair.evidence, STATEMENT.format(question=pair.question, answer=pair.answer)) for pair in some]
            keys = [self._key(*one) for one in asked]
            known = {key: raw for key in keys if (raw := self._store.get(key)) is not None}
            new = {key: one for key, one in zip(keys, asked) if key not in known}
            for key, raw in zip(new, self._ask(list(new.values()))):
                self._store.put(key, raw, {"model": self.model})
                known[key] = raw
            yield from (verdict_of(known[key]) for key in keys)

    def _key(self, premise: str, hypothesis: str) -> str:
        return hashlib.sha256(json.dumps([self._fingerprint, premise, hypothesis]).encode()).hexdigest()

    def _ask(self, asked: Sequence[tuple[str, str]]) -> list[dict[str, float]]:
        """The shares of the window that entails most, of each; {} where the statement leaves no room for evidence."""
        said = [self._tokenizer(statement, add_special_tokens=False)["input_ids"] for _, statement in asked]
        fits = [place for place, tokens in enumerate(said) if len(tokens) <= self.max_tokens // 2]
        best: list[dict[str, float]] = [{} for _ in asked]
        if not fits:
            return best
        windows = self._tokenizer(
            [asked[place][0] for place in fits], [asked[place][1] for place in fits],
            truncation="only_first", max_length=self.max_tokens, stride=self.max_tokens // 4,
            return_overflowing_tokens=True, padding=True, return_tensors="pt",
        )  # fmt: skip
        of = windows.pop("overflow_to_sample_mapping").tolist()
        for place, (entails, contradicts) in zip(of, self._shares(windows)):
            if entails > best[fits[place]].get("entailment", -1.0):
                best[fits[place]] = {"entailment": entails, "contradiction": contradicts}
        return best

    @torch.inference_mode()
    def _shares(self, windows: Mapping[str, torch.Tensor]) -> Iterator[tuple[float, float]]:
        """The probabilities of entailment and contradiction of each window."""
        for at in range(0, len(windows["input_ids"]), BATCH):
            part = {name: values[at : at + BATCH].to(self._device) for name, values in windows.items()}
            shares = self._network(**part).logits.float().softmax(-1)[:, [self._entails, self._contradicts]].tolist()
            if not all(math.isfinite(share) for row in shares for share in row):
                raise InputError("the entailment model's answers are not finite", file=self.model, key="nli")
            yield from map(tuple, shares)


def _loaded(folder: Path) -> tuple[Any, Any, Any]:
    """Configuration, tokenizer and network; no code of the folder's is run, and no pickle read."""
    if not (folder / "config.json").is_file():
        fix = "give a folder that save_pretrained wrote"
        raise InputError("not a model folder (no config.json)", file=folder, key="nli", fix=fix)
    own: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    classifier = AutoModelForSequenceClassification
    try:
        config = AutoConfig.from_pretrained(folder, **own)
        tokenizer = AutoTokenizer.from_pretrained(folder, **own)
        network, told = classifier.from_pretrained(folder, use_safetensors=True, output_loading_info=True, **own)
    except (OSError, ValueError, KeyError) as error:
        found = f"the entailment model cannot be loaded: {str(error).splitlines()[0]}"
        raise InputError(found, file=folder, key="nli") from error
    if told["missing_keys"] or not tokenizer.is_fast:
        missing = ", ".join(sorted(told["missing_keys"]))
        found = f"no weights for {missing}" if missing else "its tokenizer is not a fast one"
        raise InputError(found, file=folder, key="nli", fix="give a classifier that was trained for entailment")
    return config, tokenizer, network


def verdict_of(shares: Mapping[str, float]) -> bool | None:
    """The likeliest of entailment, contradiction and the rest."""
    if not shares:
        return None
    entails, contradicts = shares["entailment"], shares["contradiction"]
    return None if max(entails, contradicts) <= 1 - entails - contradicts else entails >= contradicts


def places_of(labels: Mapping[Any, str], folder: Path) -> tuple[int, int]:
    """Which of a classifier's classes are entailment and contradiction, by their names."""
    found = [
        [int(place) for place, name in labels.items() if name.lower().startswith(start)]
        for start in ("entail", "contradict")
    ]
    if any(len(places) != 1 for places in found):
        said = f"its labels are {', '.join(map(str, labels.values()))}"
        raise InputError(
            said, file=folder / "config.json", key="id2label", fix="one must name entailment, one contradiction"
        )
    return found[0][0], found[1][0]
