"""What five runs of every question cost, beside one: sampled runs share the reading of picture and prompt.

    python benchmarks/consistency.py --out benchmarks/consistency-2cpu.json

The built-in model on pictures of 256 tokens (its 12 x 12 places stretched to 16 x 16), four questions about each of
eight pictures of noise, temperature 0.7, one thread. Counted are processor seconds, which a busy machine hardly moves;
each figure is the least of three rounds, the three ways taking turns. Answers with and without sharing are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from radvqa.model import VQAModel, checkpoint_path, load
from radvqa.predict import Question
from radvqa.prompt import sample_prompt
from radvqa.repeats import sample_batch, uniforms
from radvqa.sample import Sample

SIDE, BATCH, LONGEST, TEMPERATURE = 16, 16, 32, 0.7
NUM_PICTURES = 8
QUESTIONS = ("Is there a mass?", "What imaging modality is this?", "Which plane is shown?", "Where is the lesion?")


def stretched(folder: Path) -> VQAModel:
    """The built-in model with SIDE x SIDE image tokens."""
    from transformers import AutoConfig, PaliGemmaForConditionalGeneration

    path = checkpoint_path("radvqa-tiny")
    old = PaliGemmaForConditionalGeneration.from_pretrained(path)
    config = AutoConfig.from_pretrained(path)
    vision, text = config.vision_config, config.text_config
    vision.image_size = SIDE * vision.patch_size
    vision.num_image_tokens = text.num_image_tokens = SIDE * SIDE
    network = PaliGemmaForConditionalGeneration(config)
    weights = old.state_dict()
    for name, weight in weights.items():
        if name.endswith("position_embedding.weight"):
            side = round(len(weight) ** 0.5)
            grid = weight.T.reshape(1, -1, side, side)
            grid = torch.nn.functional.interpolate(grid, size=(SIDE, SIDE), mode="bicubic")
            weights[name] = grid.reshape(-1, SIDE * SIDE).T.contiguous()
    network.load_state_dict(weights)
    model = load("radvqa-tiny")
    processor = model.image_processor
    processor.size = {"height": vision.image_size, "width": vision.image_size}
    network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load(folder)


def asked(seed: int = 0) -> tuple[dict[str, np.ndarray], list[Sample]]:
    """Pictures of noise, and four questions about each."""
    rng = np.random.default_rng(seed)
    pictures = {f"i{n}": rng.integers(0, 256, (240, 240, 3), dtype=np.uint8) for n in range(NUM_PICTURES)}
    samples = [
        Sample(id=f"{key}-{n}", question=text, answers=("yes",), kind="open", split="test", source="noise", image=key)
        for key in pictures
        for n, text in enumerate(QUESTIONS)
    ]
    return pictures, samples


def answers(
    model: VQAModel, pictures: dict[str, np.ndarray], samples: list[Sample], runs: int, shared: bool
) -> tuple[list[Any], float]:
    """The answers of every question in order, and the processor seconds."""
    pixels = {key: model.form.resize(Image.fromarray(picture)) for key, picture in pictures.items()}
    start, found = time.process_time(), []
    for place in range(0, len(samples), BATCH):
        part = samples[place : place + BATCH]
        keys = list(dict.fromkeys(s.image or "" for s in part))
        batch = model.form.normalise(np.stack([pixels[key] for key in keys]))
        questions = [Question(keys.index(s.image or ""), sample_prompt(s, model.style)) for s in part]
        if shared:
            draws = [uniforms(s, range(runs), LONGEST, 0) for s in part]
            found += sample_batch(model, batch, questions, draws, TEMPERATURE)
        else:
            each = [
                sample_batch(model, batch, questions, [uniforms(s, [run], LONGEST, 0) for s in part], TEMPERATURE)
                for run in range(runs)
            ]
            found += [[one[0] for one in question] for question in zip(*each)]
    return [[one.answer for one in runs] for runs in found], time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = stretched(Path(folder) / "model")
        pictures, samples = asked()
        ways = {"one_run": (1, True), "shared": (options.runs, True), "not_shared": (options.runs, False)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        said: dict[str, Any] = {}
        for _ in range(3):
            for name, way in ways.items():
                said[name], took = answers(model, pictures, samples, *way)
                seconds[name].append(took)
    least = {name: round(min(took), 3) for name, took in seconds.items()}
    found = {
        "when": datetime.now(UTC).date().isoformat(),
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
        "image_tokens": SIDE * SIDE,
        "questions": len(samples),
        "runs": options.runs,
        "cpu_s": least,
        "shared_over_one_run": round(least["shared"] / least["one_run"], 3),
        "not_shared_over_one_run": round(least["not_shared"] / least["one_run"], 3),
        "same_answers": said["shared"] == said["not_shared"],
        "mean_answer_words": round(float(np.mean([len(a.split()) for runs in said["shared"] for a in runs])), 2),
    }
    print(json.dumps(found, indent=2))
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
