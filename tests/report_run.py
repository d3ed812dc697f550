"""A small run folder as `radvqa run` leaves it, with numbers made up by hand so that tests know what must be shown."""

import json
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageDraw

from radvqa.sample import Corpus, CorpusWriter, Sample
from radvqa.stage import writing

HOSTILE = '<script>alert("x")</script> Is there a <b>mass</b> & a cyst?'
RECIPE = """\
name: small run
model: {name: radvqa-tiny}
stages:
- name: stage1
  data: [{corpus: phantom, where: {topic: [modality, plane]}}]
  epochs: 4.0
- name: stage2
  data: [{corpus: phantom}]
  steps: 30
report: {num_pictures: 4}
"""
# arm: value, low, high of closed accuracy under none, blank and shuffled
CLOSED = {
    "base": [(0.52, 0.49, 0.55), (0.51, 0.48, 0.54), (0.50, 0.47, 0.53)],
    "stage1": [(0.71, 0.68, 0.74), (0.52, 0.49, 0.55), (0.53, 0.50, 0.56)],
    "stage2": [(0.87, 0.84, 0.90), (0.51, 0.47, 0.55), (0.54, 0.50, 0.58)],
}
CONTROLS = ("none", "blank", "shuffled")


def make_run(folder: Path) -> Path:
    """The whole run: corpus, two stages, predictions, scores, saliency."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    with writing(folder / "corpora" / "phantom", {"seed": 3}, {"code": "aa" * 32}) as partial:
        _corpus(partial / "inner")
        for file in (partial / "inner").iterdir():
            file.rename(partial / file.name)
        (partial / "inner").rmdir()
    for stage in ("stage1", "stage2"):
        with writing(folder / stage, {"stage": stage, "seed": 3}, {}) as partial:
            (partial / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log()))
    samples = list(Corpus(folder / "corpora" / "phantom").samples(split="test"))
    for arm in CLOSED:
        for control in CONTROLS:
            rows = [{"id": s.id, "image": s.image, "kind": s.kind, "arm": arm, "control": control} for s in samples]
            with writing(folder / "predictions" / f"{arm}-{control}", {"arm": arm}, {}) as partial:
                pl.DataFrame(rows).write_parquet(partial / "predictions.parquet")
    with writing(folder / "scores", {}, {}) as partial:
        (partial / "scores.json").write_text(json.dumps(scores()))
    with writing(folder / "saliency", {}, {}) as partial:
        _saliency(partial, samples)
    return folder


def _corpus(folder: Path) -> None:
    card = {"name": "phantom", "title": "Phantoms <i>v1</i>", "licence": "CC0-1.0", "commercial": True}
    card |= {"citation": "Somebody & Sons (2026).", "homepage": "javascript:alert(1)"}
    rng = np.random.default_rng(0)
    with CorpusWriter(folder, card) as writer:
        for i in range(12):
            picture = Image.fromarray(rng.integers(0, 90, (64, 48), dtype=np.uint8))
            ImageDraw.Draw(picture).ellipse([8, 8, 40, 56], fill=120 + 4 * i)
            sample = Sample(
                id=f"q{i}",
                question=HOSTILE if i == 0 else f"Is number {i} a cyst?",
                answers=("yes" if i % 2 else "no",),
                kind="closed",
                split="test" if i % 3 == 0 else "train",
                source="phantom",
                topic=("finding", "plane")[i % 2],
                modality=("CT", "MR", "X-ray")[i % 3],
                region="thorax",
                mask=b"any" if i == 3 else None,
            )
            writer.add(sample, picture)
        writer.drop("the answer is empty", 7)


def log() -> list[dict]:
    """30 steps whose loss falls by hand's arithmetic from 3.0 to 0.1, with a look at the slices every 10."""
    rows: list[dict] = [{"step": 0, "train_slice_loss": 3.1, "validation_slice_loss": 3.2}]
    for step in range(1, 31):
        rows.append({"step": step, "epoch": step / 10, "loss": 3.1 - 0.1 * step, "lr": 1e-4, "supervised_tokens": 50})
        rows[-1] |= {"questions_per_s": 100.0, "seconds": 0.5}
        if step % 10 == 0:
            validation = {10: 2.0, 20: 1.25, 30: 1.5}[step]
            rows.append({"step": step, "train_slice_loss": 3.0 - 0.09 * step, "validation_slice_loss": validation})
    return rows


def entry(metric: str, arm: str, control: str, values: tuple, where: dict | None = None, n: int = 820) -> dict:
    value, low, high = values
    row = {"arm": arm, "control": control, "metric": metric, "slice": where or {}, "n": n, "num_clusters": 400}
    return row | {"num_unscored": 3, "value": value, "low": low, "high": high}


def scores() -> dict:
    rows = []
    for arm, found in CLOSED.items():
        for control, values in zip(CONTROLS, found):
            rows.append(entry("token_f1", arm, control, (values[0] / 2, values[1] / 2, values[2] / 2)))
            rows.append(entry("closed_accuracy", arm, control, values))
        for modality, n in (("CT", 500), ("MR", 320)):
            rows.append(entry("closed_accuracy", arm, "none", found[0], {"modality": modality}, n))
        rows += [entry("token_f1", arm, "none", found[0], {"kind": kind}, 400) for kind in ("closed", "open")]
    majority = [{"metric": "closed_accuracy", "slice": {}, "n": 820, "value": 0.5, "low": 0.46, "high": 0.54}]
    majority[0] |= {"num_unscored": 0, "answer_rule": "the most frequent train answer"}
    paired = [
        paired_row(("stage2", "none"), ("base", "none"), 0.35, 0.31, 0.39, 0.0001),
        paired_row(("stage2", "none"), ("stage1", "none"), 0.16, 0.13, 0.19, 0.0001),
        paired_row(("stage1", "none"), ("base", "none"), 0.19, 0.15, 0.23, 0.0001),
        paired_row(("stage2", "none"), ("stage2", "blank"), 0.36, 0.32, 0.40, 0.0001),
    ]
    warnings = ["base: the full score is not above the blank-image score <oh>"]
    return {"metrics": rows, "paired": paired, "majority": majority, "warnings": warnings}


def paired_row(
    a: tuple, b: tuple, difference: float, low: float, high: float, p: float, kind: str = "permutation"
) -> dict:
    sides = {name: {"arm": run[0], "control": run[1]} for name, run in (("a", a), ("b", b))}
    row = {"metric": "closed_accuracy", "slice": {}, **sides, "n": 820, "difference": difference}
    return row | {"low": low, "high": high, "p": p / 4, "p_holm": p, "test": kind}


def _saliency(folder: Path, samples: list[Sample]) -> None:
    items = []
    for number, sample in enumerate(samples):
        mask = Image.new("L", (48, 64))
        ImageDraw.Draw(mask).rectangle([12, 16, 35, 47], fill=255)
        mask.convert("1").save(folder / f"{number}-mask.png")
        maps = {}
        for method, signed in (("raw", False), ("relevancy", True)):
            values = np.zeros((2, 4, 4), np.float32)
            values[0, 1, 2], values[0, 3, 0] = 0.25, -0.125 if signed else 0.0
            np.savez_compressed(folder / f"{number}-{method}.npz", values=values)
            about = {"method": method, "chosen": [0], "signed": signed, "scale": f"unit of {method}"}
            (folder / f"{number}-{method}.json").write_text(json.dumps(about))
            maps[method] = {"npz": f"{number}-{method}.npz", "png": f"{number}-{method}.png"}
        items.append(
            {"id": sample.id, "arm": "stage2", "question": sample.question, "answer": "no", "maps": maps}
            | {"references": list(sample.answers), "right": number % 2 == 0, "probability": 0.73}
            | {"image": sample.image, "corpus": "phantom", "mask_png": f"{number}-mask.png" if number else None}
            | {"mask_share": 0.25 if number else None, "mass_in_mask": {"raw": 0.31} if number else {}}
        )
    index = {"methods": ["raw", "relevancy"], "items": items, "candidates": {"right": 700, "wrong": 120}}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "ranking.json").write_text(json.dumps(ranking()))


def ranking() -> dict:
    """Three methods over 40 answers: relevancy is faithful and sane, raw beats nothing, random is the control."""
    methods, sanity = [], []
    for name, deletion, p, verdict in (
        ("relevancy", 0.31, 0.0004, "faithful"), ("raw", 0.52, 0.6, "not"), ("random", 0.53, None, "control"),
    ):  # fmt: skip
        kinds = (("deletion", "blur", deletion), ("deletion", "grey", 0.4), ("insertion", "blur", 0.6))
        kinds += (("pointing", None, 0.85), ("mass", None, 0.21))
        measures = [
            {"measure": m, "fill": f, "n": 40, "value": v, "low": v - 0.1, "high": v + 0.1} for m, f, v in kinds
        ]
        test = {
            "measure": "deletion",
            "fill": "blur",
            "against": "random",
            "better_by": 0.53 - deletion,
            "p": p,
            "n": 40,
        }
        methods.append({"method": name, "verdict": verdict, "measures": measures, "paired": [test] if p else []})
        likeness = {"relevancy": 0.12, "raw": 0.81}.get(name, 1.0)
        sanity.append(
            {"method": name, "check": "random weights", "n": 12, "value": likeness, "low": 0.0, "high": 0.9}
            | {"passes": likeness < 0.5}
        )
    return {"methods": methods, "sanity": sanity, "agreement": [], "num_answers": 40, "num_with_truth": 39}
