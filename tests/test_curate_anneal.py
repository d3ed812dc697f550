"""Annealing reaches the trainer: what every step learns is what mix.parquet says, to the last step, while the rate falls."""

import io
import itertools
import json
import math

import polars as pl
import pytest
from PIL import Image
from rich.console import Console

from radvqa import pipeline
from radvqa.order import Order
from radvqa.recipe import load
from radvqa.sample import CorpusWriter, Sample
from radvqa.screen import Screen
from tiny import save_tiny

RECIPE = """
name: small
out: {folder}/run
model: {{name: {folder}/model}}
data:
  big: {{dataset: corpus, path: {folder}/big}}
  good: {{dataset: corpus, path: {folder}/good}}
adapt: {{rank: 2}}
stages:
  - name: annealed
    data: [{{corpus: big, share: 0.75}}, {{corpus: good, share: 0.25}}]
    anneal: {{corpus: good, start: 0.5, share: 1.0}}
    steps: 10
    batch_size: 4
    accumulation: 2
    lr: 1e-3
    schedule: wsd
    decay: 0.5
    eval_samples: 0
    max_tokens: {max_tokens}
evaluate: {{data: [{{corpus: good}}], controls: [], bootstrap_draws: 100}}
explain: null
"""
LONG = "is there a mass or nodule or effusion in the left lung or in the right lung or in the liver shown?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anneal")
    save_tiny(folder / "model")
    for place, (name, num) in enumerate((("big", 40), ("good", 10))):
        with CorpusWriter(folder / name, {"name": name}) as writer:
            for i in range(num):
                question = LONG if i % 5 == 4 else "is there a mass?"
                about = {"kind": "closed", "split": "test" if i == 0 else "train", "source": name}
                writer.add(
                    Sample(id=f"{name}{i}", question=question, answers=(["yes", "no"][i % 2],), **about),
                    Image.new("RGB", (28, 28), (i, 100 * place, 5)),
                )
    return folder


def trained(folder, max_tokens, monkeypatch):
    """(ids of every step, rows of mix.parquet, rows of the log) of the annealed stage."""
    file, steps, step_of = folder / "recipe.yaml", {}, Order.step

    def noted(self, step):
        found = step_of(self, step)
        steps[step] = [item.id for item in found]
        return found

    monkeypatch.setattr(Order, "step", noted)
    file.write_text(RECIPE.format(folder=folder, max_tokens=max_tokens))
    run = pipeline.run(load(file), until="train", screen=Screen(Console(file=io.StringIO())))
    log = [json.loads(line) for line in (run / "annealed" / "log.jsonl").read_text().splitlines()]
    assert (run / "annealed" / "mix.png").stat().st_size > 5000
    mix = pl.read_parquet(run / "annealed" / "mix.parquet").sort("place")
    return [steps[k] for k in sorted(steps)], mix, [row for row in log if "lr" in row]


def test_every_step_learns_what_the_mixture_says(folder, monkeypatch):
    steps, mix, log = trained(folder, 512, monkeypatch)
    ids = mix["id"].to_list()
    assert steps == [ids[at : at + 8] for at in range(0, 80, 8)]
    good = [sum(name.startswith("good") for name in step) for step in steps]
    # 0.25 x 8 = 2 a step; from step 5 the share rises from 0.25 to 1: 0.325, 0.475, 0.625, 0.775, 0.925 on average
    assert good[:5] == [2] * 5 and sum(good[5:]) == pytest.approx(8 * (0.325 + 0.475 + 0.625 + 0.775 + 0.925), abs=1)
    assert good[5:] == sorted(good[5:]) and good[-1] >= 7
    rates = [row["lr"] for row in log]
    assert rates[:5] == [1e-3] * 5 and all(a > b for a, b in itertools.pairwise(rates[4:]))


def test_what_is_too_long_shortens_the_stage_and_never_begins_again(folder, monkeypatch):
    steps, mix, log = trained(folder, 20, monkeypatch)
    fits = [name for name in mix["id"].to_list() if int(name[4 if name[0] == "g" else 3 :]) % 5 != 4]
    assert 0 < len(fits) < 80 and [name for step in steps for name in step] == fits
    assert len(steps) == len(log) == math.ceil(len(fits) / 8) < 10
    assert sum(name.startswith("good") for name in steps[-1]) >= 0.8 * len(steps[-1])
