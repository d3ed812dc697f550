"""The model in the package: its size, plain transformers loads it, and it knows what it was pretrained for, unseen."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, PaliGemmaForConditionalGeneration

from radvqa.batch import collate, encode
from radvqa.model import VQAModel, load
from radvqa.phantom import FINDINGS, Phantom, phantoms

FOLDER = Path(str(files("radvqa") / "assets" / "radvqa-tiny"))
SEED, NUM = 4242, 60
"""Phantoms that neither pretraining nor a recipe shows."""


@pytest.fixture(scope="module")
def model() -> VQAModel:
    return load("radvqa-tiny")


@pytest.fixture(scope="module")
def pictures() -> list[Phantom]:
    return list(phantoms(SEED, range(NUM)))


@torch.no_grad()
def first_words(model: VQAModel, pictures: list[Phantom], asked: list[tuple[int, str]]) -> list[str]:
    """The most likely first token of the answer to (picture, prompt)."""
    pixels = model.form.normalise(np.stack([model.form.resize(Image.fromarray(p.image)) for p in pictures]))
    rows = [encode(model.tokenizer, model.family.num_image_tokens, prompt, None) for _, prompt in asked]
    batch = collate(
        rows, [place for place, _ in asked], pixels, model.tokenizer.pad_token_id, side="left", layout="prefix"
    )
    hidden = model.family.hidden(model.network, batch, model.family.encode(model.network, batch.pixels))
    best = model.family.logits(model.network, hidden[:, -1]).argmax(-1)
    return [str(model.tokenizer.decode([int(token)])).strip() for token in best]


def test_it_is_a_small_paligemma_that_plain_transformers_loads() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 10e6
    network = PaliGemmaForConditionalGeneration.from_pretrained(FOLDER)
    assert 2e6 <= sum(parameter.numel() for parameter in network.parameters()) <= 4e6
    processor = AutoProcessor.from_pretrained(FOLDER)
    found = processor(images=Image.new("RGB", (50, 40)), text="answer en is it?", suffix="no", return_tensors="pt")
    assert torch.isfinite(network(**found).loss)


def test_nothing_is_unknown_to_its_tokenizer(model: VQAModel) -> None:
    text = "ünïcode 胸部 \U0001fac1 — ok?"
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert model.tokenizer.unk_token_id not in ids
    assert model.tokenizer.decode(ids) == text


def test_it_names_modality_and_plane(model: VQAModel, pictures: list[Phantom]) -> None:
    for question, truth in (
        ("answer en What is the imaging modality?", [p.modality.lower().split("-")[0] for p in pictures]),
        ("answer en In which plane is this picture?", [p.plane for p in pictures]),
    ):
        said = first_words(model, pictures, [(i, question) for i in range(NUM)])
        assert np.mean([a == b for a, b in zip(said, truth)]) >= 0.9, question


def test_it_finds_what_is_there_better_than_chance(model: VQAModel, pictures: list[Phantom]) -> None:
    asked = [(i, name) for i in range(NUM) for name in FINDINGS]
    said = first_words(model, pictures, [(i, f"detect {name}") for i, name in asked])
    there = np.array([name in {f.name for f in pictures[i].findings} for i, name in asked])
    found = np.array([word != "none" for word in said])
    balanced = (found[there].mean() + (~found[~there]).mean()) / 2
    assert balanced >= 0.75  # 0.87 over 300 pictures


def test_it_does_not_answer_yes_or_no_yet(model: VQAModel, pictures: list[Phantom]) -> None:
    said = first_words(model, pictures, [(i, "answer en Is the modality CT?") for i in range(NUM)])
    right = [(word == "yes") == (p.modality == "CT") for word, p in zip(said, pictures) if word in ("yes", "no")]
    assert sum(right) <= 0.6 * NUM
