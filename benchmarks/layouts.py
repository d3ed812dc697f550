"""Quality of PaliGemma's own layout against image-first: same questions and steps, and same processor time.

    RADVQA_DATA=/your/data python benchmarks/layouts.py --work runs/layouts --out benchmarks/layouts-2cpu.json

In: radvqa-tiny, phantoms (LoRA on both towers) and MedPix' training images (full fine-tuning, validated on other cases).
Out: for each bed and arm the share of right answers, and the paired differences to `prefix`, each with a 95 % interval:
clusters are pictures, and a picture's answers of all seeds are drawn together, so that seeds do not count as pictures.

Arms: prefix; image-first, same steps (the same questions in the same order); image-first, same time (as many steps as fit
into the processor seconds of prefix). A run that was cut goes on; what is in --work is not computed again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from radvqa.datasets import import_corpus
from radvqa.predict import predict_arm
from radvqa.recipe_sections import Adapt, Stage, TrainSource
from radvqa.sample import Corpus, Sample
from radvqa.score.closed import closed_accuracy
from radvqa.score.exact import exact_match
from radvqa.score.intervals import cluster_interval
from radvqa.train import train_stage

ARMS = ("prefix", "image-first, same steps", "image-first, same time")


@dataclass(frozen=True)
class Bed:
    """What is learned and asked."""

    name: str
    dataset: str
    path: str | None
    options: dict[str, Any]
    adapt: dict[str, Any]
    steps: int
    stage: dict[str, Any]
    asked: str
    """Split of the questions asked."""
    seeds: tuple[int, ...]

    def corpus(self, work: Path) -> Corpus:
        folder = work / self.name / "corpus"
        if not folder.is_dir():
            path = None if self.path is None else Path(os.environ["RADVQA_DATA"]) / self.path
            import_corpus(self.dataset, path, folder, options=self.options)
        return Corpus(folder)


SCHEDULE = {"schedule": "cosine", "warmup_steps": 10, "eval_samples": 0, "checkpoint_every_s": 20}
BEDS = (
    Bed(
        "phantoms", "phantom", None,
        {"num_images": 1500, "seed": 7, "test_share": 0.12, "validation_share": 0.05}, {}, 110,
        {"batch_size": 64, "questions_per_image": 16, "lr": 2e-3, **SCHEDULE}, "test", (0, 1),
    ),
    Bed(
        "medpix", "medpix", "MedPix-2-0",
        {"questions": "template", "splits": ["train"], "validation_share": 0.12}, {"method": "full"}, 100,
        {"batch_size": 48, "lr": 7e-4, "weight_decay": 0.05, "augment": "shift", **SCHEDULE}, "validation", (0, 1),
    ),
)  # fmt: skip


def trained(bed: Bed, seed: int, arm: str, steps: int, work: Path) -> dict[str, Any]:
    """Train and ask one arm; its steps, processor seconds a step, and 1 or 0 for each question."""
    folder = work / bed.name / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}"
    if (folder / "result.json").is_file():
        return json.loads((folder / "result.json").read_text())
    corpus = bed.corpus(work)
    samples = {split: list(corpus.samples(split=split)) for split in ("train", bed.asked)}
    asked = samples[bed.asked]
    settings = Adapt(layout="prefix" if arm == "prefix" else "image-first", **bed.adapt)
    stage = Stage(name="s", data=(TrainSource(corpus="c"),), steps=steps, **bed.stage)
    clock: list[tuple[int, float]] = []

    def watch(row: dict[str, Any]) -> None:
        if "loss" in row:
            clock.append((row["step"], time.process_time()))

    train_stage(
        model_name="radvqa-tiny", start_adapter=None, adapt=settings, stage=stage, sources=[(corpus, samples["train"])],
        validation=[], seed=seed, folder=folder, progress=watch,
    )  # fmt: skip
    (first, began), (last, ended) = clock[0], clock[-1]
    file = predict_arm(
        model_name="radvqa-tiny", adapter=folder / "adapter", sources=[(corpus, asked)], arm=arm, control="none",
        folder=folder / "answers", batch_size=64, max_new_tokens=16,
    )  # fmt: skip
    answers = dict(pl.read_parquet(file).select("id", "answer").iter_rows())
    found = {
        "steps": steps,
        "step_s": (ended - began) / max(1, last - first),
        "right": {sample.id: right(sample, answers[sample.id]) for sample in asked},
    }
    (folder / "result.json").write_text(json.dumps(found))
    return found


def right(sample: Sample, answer: str) -> float:
    """1 where the answer is right: yes or no read from it for closed questions, the very words for open ones."""
    score = (closed_accuracy if sample.kind == "closed" else exact_match)(answer, sample.answers)
    return float(score or 0.0)


def interval(values: np.ndarray, pictures: np.ndarray, unit: bool) -> dict[str, float | None]:
    """values float[S, N], one row a seed: their mean with its interval, clustered by picture."""
    found = cluster_interval(values.reshape(-1), np.tile(pictures, len(values)), unit=unit)
    return {"value": found.value, "low": found.low, "high": found.high}


def measured(bed: Bed, work: Path) -> dict[str, Any]:
    """All arms and seeds of a bed."""
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    longer = bed.steps
    for seed in bed.seeds:
        for arm in ARMS:
            results[arm].append(trained(bed, seed, arm, longer if arm == ARMS[2] else bed.steps, work))
            if arm == ARMS[1] and seed == bed.seeds[0]:
                longer = round(bed.steps * results[ARMS[0]][0]["step_s"] / results[arm][0]["step_s"])
            print(bed.name, seed, arm, {k: v for k, v in results[arm][-1].items() if k != "right"}, flush=True)
    samples = {sample.id: sample for sample in bed.corpus(work).samples(split=bed.asked)}
    groups = {"all": list(samples)} | {
        kind: [name for name, sample in samples.items() if sample.kind == kind] for kind in ("closed", "open")
    }
    out: dict[str, Any] = {"seeds": list(bed.seeds), "questions": len(samples)}
    out["pictures"] = len({sample.image for sample in samples.values()})
    for arm, runs in results.items():
        out[arm] = {
            "steps": runs[0]["steps"],
            "questions_learned": runs[0]["steps"] * bed.stage["batch_size"],
            "processor_s": [round(run["steps"] * run["step_s"], 1) for run in runs],
            "by_seed": [round(float(np.mean(list(run["right"].values()))), 4) for run in runs],
        }
        for group, names in groups.items():
            pictures = np.array([samples[name].image for name in names])
            values, first = (np.array([[r["right"][n] for n in names] for r in results[a]]) for a in (arm, ARMS[0]))
            out[arm][group] = interval(values, pictures, unit=True)
            if arm != ARMS[0]:
                out[arm][f"{group}, above prefix"] = interval(values - first, pictures, unit=False)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bed", choices=[bed.name for bed in BEDS], help="only this one")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    found |= {
        "model": "radvqa-tiny, pretrained with a row a picture",
        "device": f"{os.cpu_count()} CPU cores, one thread",
    }
    found |= {"date": datetime.now(UTC).date().isoformat(), "torch": torch.__version__}
    for bed in BEDS:
        if options.bed in (None, bed.name):
            found[bed.name] = measured(bed, options.work)
            options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
