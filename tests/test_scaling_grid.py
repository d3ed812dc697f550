"""The grid of runs: what varies, what is shared, what a loss is, and that the law it was made of comes out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from radvqa.cli import app
from radvqa.errors import InputError
from radvqa.material import evaluated
from radvqa.model import load as load_model
from radvqa.pixels import PixelStore
from radvqa.recipe import Recipe, load
from radvqa.recipe_sections import Stage, TrainSource
from radvqa.sample import Corpus
from radvqa.scaling.grid import run_grid
from radvqa.scaling.losses import question_losses
from radvqa.screen import Screen
from radvqa.train import Stepper, encode_samples
from standins import RECIPE, STAND_INS, write_corpus, write_recipe
from tiny import save_tiny

GRID = "scaling: {{stage: stage2, shares: [0.25, 0.5, 0.75, 1.0], ranks: [2, 8], num_draws: 100}}\n"


def grid_of(folder: Path, num: int = 320, overrides: tuple[str, ...] = ()) -> Recipe:
    write_corpus(folder / "corpus", num=num)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    text = RECIPE.replace(", {{corpus: toy, share: 0.2}}", "")
    return load(write_recipe(folder, text=text + GRID), overrides)


def lawful(task, adapter):
    """Losses that follow 3 / (rank^0.3 D^0.5) + 0.4, the same for all questions; findings cost 0.1 more."""
    stage = task.stage
    learned = pl.read_parquet(adapter.parent / "mix.parquet")["id"].n_unique()
    loss = 3 / (stage.adapt.rank**0.3 * learned**0.5) + 0.4
    samples = [s for _, some in evaluated(task) for s in some]
    rows = [
        {"id": s.id, "nats": 2 * loss + 0.1 * (s.topic == "finding"), "num_tokens": 2, "topic": s.topic}
        for s in samples
    ]
    return pl.DataFrame(rows)


def walk(recipe: Recipe):
    done: list[str] = []

    def noting(work):
        def wrapped(task):
            done.append(f"{task.run.name}/{task.name}")
            return work(task)

        return wrapped

    steps = {verb: noting(work) for verb, work in STAND_INS.items()}
    fits, held = run_grid(recipe, steps=steps, losses=lawful, screen=Screen(Console(file=io.StringIO(), width=200)))
    return done, fits, held


def test_a_grid_makes_its_runs_once_and_finds_the_law(tmp_path):
    recipe = grid_of(tmp_path)
    done, fits, held = walk(recipe)
    assert done[0] == "rank2-share0.25-seed0/corpora/toy"
    assert sum(name.endswith("/stage2") for name in done) == 8
    assert sum(name.endswith("/stage1") for name in done) == 2  # once for each rank, whatever the share
    assert not any("predictions" in name or name.endswith("corpora/toy") for name in done[1:])
    points = pl.read_csv(recipe.out / "points.csv")
    assert sorted(points["data"].unique()) == [20, 40, 60, 80]  # 80 findings to learn from in 320 questions
    assert points.group_by("group").len().sort("group").rows() == [("all", 8), ("finding", 8), ("modality", 8)]
    fits = {fit.group: fit for fit in fits}
    assert fits["all"].form.name == "joint"
    for group, floor in (("all", 0.425), ("finding", 0.45), ("modality", 0.4)):  # half of the questions cost 0.05 more
        assert fits[group].value("E") == pytest.approx(floor, abs=1e-4)
        assert fits[group].value("alpha") == pytest.approx(0.3, abs=1e-3)
        assert fits[group].value("beta") == pytest.approx(0.5, abs=1e-3)
    assert all(one is not None and one.error < 1e-6 for one in held)
    law = json.loads((recipe.out / "law" / "fit.json").read_text())
    assert [one["group"] for one in law["laws"]] == ["all", "finding", "modality"]
    assert (recipe.out / "law" / "fit.png").is_file() and not list(recipe.out.rglob("*.partial"))
    assert walk(recipe)[0] == []


def test_ranks_keep_their_scale_and_shares_lie_in_one_another(tmp_path):
    recipe = grid_of(tmp_path)
    walk(recipe)
    runs = {path.name: load(path / "recipe.yaml") for path in (recipe.out / "runs").iterdir()}
    for name, run in runs.items():
        for stage in run.stages:
            assert stage.adapt.rank == int(name.split("-")[0][4:]) and stage.adapt.alpha == 16 * stage.adapt.rank
        assert run.stages[0].data[0].max_samples is None  # only the stage that was named
    learned = [
        set(pl.read_parquet(recipe.out / "runs" / f"rank2-share{share}-seed0" / "stage2" / "mix.parquet")["id"])
        for share in ("0.25", "0.5", "1")
    ]
    assert learned[0] < learned[1] < learned[2]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("scaling.stage=stage3", "scaling.stage: found 'stage3'; did you mean stage"),
        ("scaling.shares=[0.1, 2.0]", "scaling.shares.1: found 2.0"),
        ("scaling.rank=[2]", "scaling.rank: there is no such key; did you mean ranks?"),
        ("scaling.shares=[]", "scaling.shares: this list is empty"),
        ("stages=[]", "scaling: there is no stage whose data could vary"),
    ],
)
def test_a_mistake_in_the_grid_is_told(tmp_path, override, said):
    with pytest.raises(InputError) as error:
        grid_of(tmp_path, 24, (override,))
    assert said in str(error.value)


def test_a_share_without_questions_and_a_recipe_without_grid_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"scaling\.shares: 0\.01 of 80 questions is 1"):
        walk(grid_of(tmp_path, overrides=("scaling.shares=[0.01, 1.0]",)))
    said = CliRunner().invoke(app, ["scaling", "run", str(write_recipe(tmp_path, "plain.yaml"))])
    assert said.exit_code == 2 and "plain.yaml, scaling: this recipe makes no grid" in said.output


# ---------------------------------------------------------------- losses


def test_the_loss_of_all_questions_is_what_training_minimises(tmp_path):
    corpus = Corpus(write_corpus(tmp_path / "corpus"))
    samples = list(corpus.samples())
    model = load_model(str(save_tiny(tmp_path / "model")))
    frame = question_losses(model, [(corpus, samples)], batch_size=7)
    assert len(frame) == len(samples) and set(frame["topic"]) == {"modality", "finding"}
    for parameter in model.network.parameters():
        parameter.requires_grad_(False)
    next(model.network.parameters()).requires_grad_(True)  # an optimizer wants something to train
    stage = Stage(name="s", data=(TrainSource(corpus="toy"),), steps=1, batch_size=5)
    items = encode_samples(model, samples)
    stepper = Stepper(model, items, PixelStore([corpus], model.form), stage, seed=0)
    assert frame["nats"].sum() / frame["num_tokens"].sum() == pytest.approx(stepper.mean_loss(items), rel=1e-5)
    alone = question_losses(model, [(corpus, samples)], batch_size=1)
    np.testing.assert_allclose(frame["nats"], alone["nats"], rtol=2e-4, atol=1e-5)


def test_a_grid_on_phantoms_with_real_rooms(tmp_path):
    text = f"""
name: real
out: {tmp_path / "real"}
model: {{name: {save_tiny(tmp_path / "model")}}}
data: {{phantom: {{dataset: phantom, options: {{num_images: 12, size_px: 64, num_workers: 0, test_share: 0.4}}}}}}
stages: [{{name: stage1, epochs: 1, batch_size: 8, lr: 1e-2, eval_samples: 0, data: [{{corpus: phantom}}]}}]
evaluate: {{data: [{{corpus: phantom, max_samples: 12}}]}}
scaling: {{shares: [0.1, 0.2, 0.5, 1.0], ranks: [2], by: null, num_draws: 100}}
"""
    (tmp_path / "recipe.yaml").write_text(text)
    said = CliRunner().invoke(app, ["scaling", "run", str(tmp_path / "recipe.yaml")])
    assert said.exit_code == 0, said.output
    assert "all: L(D) = A / D^beta + E, 4 points" in said.output
    assert "D spans a factor" in said.output or "mean little" in said.output
