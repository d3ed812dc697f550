"""Small stand-ins for the rooms of a run, and a corpus and recipe for them; run as a script it can be made to die.

python tests/standins.py recipe.yaml 7      # killed (SIGKILL) the 7th time a step says how far it is
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
from PIL import Image

from radvqa import pipeline
from radvqa.material import evaluated, learned, watched
from radvqa.recipe import load
from radvqa.sample import CorpusWriter, Sample
from radvqa.steps import STEPS, adapter_of, answered, predictions_of
from radvqa.task import Task

RECIPE = """
name: small
out: {out}
model: {{name: {model}}}
data: {{toy: {{dataset: corpus, path: {corpus}}}}}
adapt: {{rank: 2}}
stages:
  - {{name: stage1, epochs: 1, data: [{{corpus: toy, where: {{topic: modality}}}}]}}
  - {{name: stage2, start: stage1, steps: 4, data: [{{corpus: toy, where: {{topic: finding}}}}, {{corpus: toy, share: 0.2}}]}}
evaluate: {{data: [{{corpus: toy}}], controls: [blank], bootstrap_draws: 100}}
explain: {{num_right: 1, num_wrong: 1}}
"""


def write_corpus(folder: Path, num: int = 24, size_px: int = 28) -> Path:
    """A corpus of `num` questions in two topics and three splits, two questions an image."""
    with CorpusWriter(folder, {"name": "toy", "title": "Toy", "licence": "CC0"}) as writer:
        for i in range(num):
            split = ("train", "train", "validation", "test")[i // 2 % 4]
            shade = 10 * (i // 2)
            sample = Sample(
                id=f"q{i}",
                question="Is it CT?" if i % 2 else "Is there a mass?",
                answers=("yes" if i % 4 < 2 else "no",),
                kind="closed",
                split=split,
                source="toy",
                topic="modality" if i % 2 else "finding",
                subject=f"s{i // 2}",
                modality="CT",
            )
            colour = (shade % 256, shade % 256, (shade + shade // 256) % 256)  # no two alike
            writer.add(sample, Image.new("RGB", (size_px, size_px), colour))
    return folder


def write_recipe(folder: Path, name: str = "recipe.yaml", out: str = "run", text: str = RECIPE) -> Path:
    """The recipe file, with a corpus and a model folder beside it."""
    if not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
    path = folder / name
    path.write_text(text.format(out=folder / out, corpus=folder / "corpus", model=folder / "model"))
    return path


def train(task: Task) -> str:
    """Twelve steps, each folding what is learned into the 'weights', with a checkpoint after each."""
    ids = [[s.id for s in samples] for _, samples in learned(task).sources] + [
        [s.id for s in x] for _, x in watched(task)
    ]
    before = adapter_of(task.run, task.stage.start)
    start = (before / "adapter_model.safetensors").read_text() if before else "base"
    checkpoint = task.folder / "checkpoints" / "step.json"
    step, weights = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, start)
    while step < 4:
        weights = hashlib.sha256(f"{weights} {step} {ids} {task.stage.lr}".encode()).hexdigest()
        step += 1
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.with_suffix(".partial").write_text(json.dumps([step, weights]))
        checkpoint.with_suffix(".partial").replace(checkpoint)
        task.tell(step, 4, "loss 1.0")
    (task.folder / "adapter").mkdir(exist_ok=True)
    (task.folder / "adapter" / "adapter_model.safetensors").write_text(weights)
    (task.folder / "log.jsonl").write_text(json.dumps({"step": 4, "loss": 1.0}) + "\n")
    return "trained"


def predict(task: Task) -> str:
    """An answer that is a function of weights, question and control."""
    arm, control = task.item
    adapter = adapter_of(task.run, arm)
    weights = (adapter / "adapter_model.safetensors").read_text() if adapter else "base"
    rows = []
    for i, sample in enumerate(s for _, samples in evaluated(task) for s in samples):
        told = hashlib.sha256(f"{weights} {control} {sample.id}".encode()).digest()[0]
        rows.append({"id": sample.id, "arm": arm, "control": control, "answer": "yes" if told % 2 else "no"})
        task.tell(i + 1, 6, "questions")
    pl.DataFrame(rows).write_parquet(task.folder / "predictions.parquet")
    return f"{len(rows)} answers"


def score(task: Task) -> str:
    """Which answers are right."""
    truth = {s.id: s.answers[0] for _, samples in evaluated(task) for s in samples}
    rows = []
    for arm, control in answered(task.recipe):
        frame = pl.read_parquet(predictions_of(task.run, arm, control))
        right = [truth[i] == answer for i, answer in frame.select("id", "answer").iter_rows()]
        value = sum(right) / len(right)
        row = {"metric": "closed_accuracy", "slice": {}, "arm": arm, "control": control, "n": len(right)}
        rows.append({**row, "value": value, "low": value, "high": value})
        task.tell(len(rows), 6, arm)
    (task.folder / "scores.json").write_text(json.dumps({"metrics": rows, "majority": []}))
    return "scored"


def explain(task: Task) -> str:
    """Nothing but the arm."""
    (task.folder / "index.json").write_text(json.dumps({"arm": task.recipe.arms[-1]}))
    task.tell(1, 1, "")
    return "explained"


def report(task: Task) -> str:
    """A page with the scores in it."""
    (task.folder / "report.html").write_text(f"<html>{(task.run / 'scores' / 'scores.json').read_text()}</html>")
    return "written"


STAND_INS: dict[str, Callable[[Task], str]] = {
    "import": STEPS["import"],
    "leakage": STEPS["leakage"],
    "train": train,
    "predict": predict,
    "score": score,
    "explain": explain,
    "report": report,
}


def dying(steps: dict[str, Callable[[Task], str]], at: int) -> dict[str, Callable[[Task], str]]:
    """The same steps, but the process is killed the `at`-th time one of them says how far it is."""
    calls = 0

    def with_tell(work: Callable[[Task], str]) -> Callable[[Task], str]:
        def wrapped(task: Task) -> str:
            def tell(done: int, total: int, note: str) -> None:
                nonlocal calls
                calls += 1
                if calls == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            return work(Task(task.recipe, task.run, task.name, task.item, task.folder, tell))

        return wrapped

    return {verb: with_tell(work) for verb, work in steps.items()}


if __name__ == "__main__":
    pipeline.run(load(sys.argv[1]), steps=dying(STAND_INS, int(sys.argv[2])))
