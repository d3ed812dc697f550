"""The bed of planted evidence: its pictures hold what its questions ask about, and its study runs to a ranking."""

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from radvqa.model import VQAModel

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
planted = import_module("saliency_planted")


def test_pictures_hold_what_is_asked_about():
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        image, masks = planted.picture(rng)
        grey = np.asarray(image.convert("L"), dtype=float)
        for name, mask in masks.items():
            brighter = grey[mask].mean() - grey[~mask].mean()
            assert brighter * planted.NAMES[name] > 10
        if len(masks) == 2:
            assert not (masks["mass"] & masks["cyst"]).any()
        for question, answer, about in planted.questions(masks):
            found.append(answer)
            assert about in question and (answer == "no") == (about not in masks)
            assert set(question.split()) <= set(planted.TEXT.split())
    assert {"yes", "no", "left", "right"} == set(found)


def test_the_study_runs_to_a_ranking(monkeypatch):
    torch.manual_seed(0)
    model = planted.build("planted", "cpu", torch.float32, planted.SIDE_PX, planted.TEXT)
    planted.train(model, 2, batch_size=2)
    monkeypatch.setattr(VQAModel, "answer", lambda *_: SimpleNamespace(text="yes"))
    found = planted.study(model, 2, ["raw", "gradient"])
    assert found["num_answers"] == found["num_with_truth"] == 2 and 0 < found["accuracy"] < 1
    assert {row["method"] for row in found["methods"]} == {"raw", "gradient", "random", "centre"}
    checks = {(row["method"], row["check"]) for row in found["sanity"]}
    assert ("gradient", "random weights") in checks
    monkeypatch.setattr(VQAModel, "answer", lambda *_: SimpleNamespace(text="never"))
    assert planted.study(model, 1, ["raw"])["num_answers"] == 0
