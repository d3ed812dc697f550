"""The real rooms, end to end, on a handful of phantoms and a model made for the test."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from radvqa import pipeline
from radvqa.recipe import Recipe, load
from radvqa.screen import Screen
from radvqa.steps import STEPS
from tiny import save_tiny

TEXT = """
name: small
out: {out}
model: {{name: {model}}}
data: {{phantom: {{dataset: phantom, options: {{num_images: 20, size_px: 64, num_workers: 0, test_share: 0.4}}}}}}
adapt: {{rank: 2, alpha: 4}}
stages:
  - name: stage1
    data: [{{corpus: phantom, where: {{topic: [modality, plane, organ, position]}}}}]
    steps: 4
    batch_size: 4
    lr: 1e-2
    eval_every: 2
    eval_samples: 4
    checkpoint_every_s: 0
  - name: stage2
    start: stage1
    data: [{{corpus: phantom, where: {{topic: [finding, pathology]}}}}, {{corpus: phantom, share: 0.2}}]
    steps: 4
    batch_size: 4
    lr: 1e-2
    eval_samples: 4
    checkpoint_every_s: 0
evaluate: {{data: [{{corpus: phantom, max_samples: 24}}], max_new_tokens: 4, bootstrap_draws: 100, min_slice_n: 5}}
explain: {{num_right: 1, num_wrong: 1}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def recipe_of(folder: Path, model: Path, name: str) -> Recipe:
    path = folder / f"{name}.yaml"
    path.write_text(TEXT.format(out=folder / name, model=model))
    return load(path)


def quiet() -> Screen:
    return Screen(Console(file=io.StringIO(), width=200))


def outcome(folder: Path) -> dict:
    """All that a run says of its arms, but for the seconds it took."""
    answers = {
        path.parent.name: pl.read_parquet(path).drop("seconds").rows()
        for path in sorted(folder.glob("predictions/*/predictions.parquet"))
    }
    return {"answers": answers, "scores": json.loads((folder / "scores" / "scores.json").read_text())}


def test_a_run_cut_in_both_stages_ends_as_one_that_was_not(tmp_path, model):
    whole = pipeline.run(recipe_of(tmp_path, model, "whole"), screen=quiet())
    page = (whole / "report.html").read_text()
    assert "stage2" in page.lower() or "stage 2" in page.lower()
    assert len(list(whole.glob("predictions/*"))) == 9
    assert (whole / "stage2" / "adapter" / "adapter_model.safetensors").is_file()
    index = json.loads((whole / "saliency" / "index.json").read_text())
    assert index["methods"] == ["raw", "rollout"] and index["items"]
    run = json.loads((whole / "run.json").read_text())
    assert len(run["steps"]) == 16 and run["peak_rss_bytes"] > 1e8

    cut = recipe_of(tmp_path, model, "cut")

    def train(task):
        """The room itself, stopped once in each stage after its third step."""

        def tell(done, total, note):
            mark = tmp_path / f"{task.name} was cut"
            if done == 3 and not mark.exists():
                mark.touch()
                raise KeyboardInterrupt

        return STEPS["train"](replace(task, tell=tell))

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(cut, steps={**STEPS, "train": train}, screen=quiet())
        assert not (cut.out / "report.html").exists()
    pipeline.run(cut, steps={**STEPS, "train": train}, screen=quiet())
    assert json.loads((cut.out / "stage2" / "stage.json").read_text())["resumed"] is True
    assert outcome(cut.out) == outcome(whole)

    said = io.StringIO()
    pipeline.run(cut, screen=Screen(Console(file=said, width=200)))
    assert said.getvalue().count("unchanged since") == 16
