"""explain_run: which answers are chosen, what is written, and the truth beside the maps."""

import io
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from radvqa.errors import InputError
from radvqa.predict import predict_arm
from radvqa.recipe_sections import Explain
from radvqa.saliency.map import Explanation
from radvqa.saliency.run import explain_run
from radvqa.saliency.truth import mass_in, on_grid, points_at, truth_of
from radvqa.sample import Box, Corpus, CorpusWriter, Sample
from saliency_tiny import saliency_model, saliency_picture


def mask_bytes(size, box):
    mask = Image.new("1", size)
    mask.paste(1, box)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """12 closed questions about 6 pictures, 4 of them with a mask, and what the tiny model answers."""
    root = tmp_path_factory.mktemp("run")
    with CorpusWriter(root / "corpus", {"name": "tiny"}) as writer:
        for i in range(6):
            for j, question in enumerate(("is there a mass ?", "is there a nodule ?")):
                mask = mask_bytes((70, 50), (10, 10, 30, 30)) if i < 4 else None
                sample = Sample(
                    id=f"q{i}{j}", question=question, answers=("yes",), kind="open", split="test", source="tiny",
                    subject=f"s{i}", mask=mask, topic="finding",
                )  # fmt: skip
                writer.add(sample, saliency_picture(i))
    corpus, model = Corpus(root / "corpus"), saliency_model()
    path = predict_arm(
        model_name="tiny", adapter=None, sources=[(corpus, list(corpus.samples()))], arm="base", control="none",
        folder=root / "predictions", max_new_tokens=4, model=model,
    )  # fmt: skip
    frame = pl.read_parquet(path)  # a random model says nothing that can be scored: words put into its mouth
    said = ["mass" if i % 2 == 0 else "no mass" for i in range(len(frame))]
    answers = pl.Series("answers", [["mass"]] * len(frame))
    frame.with_columns(answers, answer=pl.Series(said)).write_parquet(path)
    return root, model, path


def explained(run, folder, **changes):
    root, model, path = run
    settings = Explain(**{"num_right": 2, "num_wrong": 3, **changes})
    return explain_run(
        model_name="tiny", adapter=None, corpora={"tiny": root / "corpus"}, predictions=path, settings=settings,
        seed=1, folder=folder, model=model,
    )  # fmt: skip


def test_index_names_maps_masks_and_answers(run, tmp_path):
    index = json.loads(explained(run, tmp_path / "a").read_text())
    assert index["methods"] == ["raw", "rollout"] and "colours" in index["scale"]
    assert [item["right"] for item in index["items"]] == [True, True, False, False, False]
    assert index["candidates"] == {"right": 6, "wrong": 6}
    corpus = Corpus(run[0] / "corpus")
    for item in index["items"]:
        assert item["mask_png"] and item["corpus"] == "tiny" and item["arm"] == "base"
        assert 0 < item["probability"] <= 1
        truth = np.asarray(Image.open(tmp_path / "a" / item["mask_png"]))
        assert truth.sum() == 400
        for name in index["methods"]:
            again = Explanation.load(tmp_path / "a" / item["maps"][name]["npz"], corpus.image(item["image"]))
            assert again.answer == " ".join(item["answer"].split()) and again.truth.sum() == 400
            assert item["mass_in_mask"][name] == pytest.approx(mass_in(again.overall, again.truth))
            assert Image.open(tmp_path / "a" / item["maps"][name]["png"]).width == 448
    assert len({item["image"] for item in index["items"][2:]}) == 3  # different pictures first
    assert not list((tmp_path / "a").glob("*.partial"))


def test_the_choice_is_seeded_and_takes_what_there_is(run, tmp_path):
    ids = [[i["id"] for i in json.loads(explained(run, tmp_path / n).read_text())["items"]] for n in ("a", "b")]
    assert ids[0] == ids[1]
    other = json.loads(explained(run, tmp_path / "c", seed=5).read_text())["items"]
    assert [i["id"] for i in other] != ids[0]
    many = json.loads(explained(run, tmp_path / "d", num_right=99, num_wrong=0).read_text())["items"]
    assert len(many) == 6
    assert [i["mask_png"] is None for i in many] == [False] * 4 + [True] * 2  # known truth first
    assert many[-1]["mass_in_mask"] == {"raw": None, "rollout": None}


def test_where_and_no_answers(run, tmp_path):
    with pytest.raises(InputError, match="no answers to explain"):
        explained(run, tmp_path, where={"topic": "organ"})


# ---------------------------------------------------------------- truth


def test_truth_of_masks_and_boxes():
    sample = Sample(id="a", question="q", answers=("a",), kind="open", split="test", source="s")
    assert truth_of(sample, (70, 50)) is None
    boxed = replace(sample, boxes=(Box(label="x", x=10, y=20, width=5, height=4),))
    truth = truth_of(boxed, (70, 50))
    assert truth.shape == (50, 70) and truth.sum() == 20 and truth[20:24, 10:15].all()
    masked = replace(sample, mask=mask_bytes((70, 50), (0, 0, 7, 5)))
    assert truth_of(masked, (70, 50)).sum() == 35
    with pytest.raises(InputError, match="70 x 50 px on a picture of 50 x 70"):
        truth_of(masked, (50, 70))


def test_mass_and_pointing_by_hand():
    """8 x 8 picture, 2 x 2 grid, the truth is the left half of the top right patch: half of that patch's mass counts."""
    truth = np.zeros((8, 8), bool)
    truth[0:4, 4:6] = True
    assert on_grid(truth, (2, 2)).tolist() == [[0.0, 0.5], [0.0, 0.0]]
    assert mass_in(np.array([[1.0, 3.0], [0.0, 0.0]]), truth) == 3 * 0.5 / 4
    assert mass_in(np.array([[1.0, 3.0], [-5.0, 0.0]]), truth) == 3 * 0.5 / 4  # what is negative is not mass
    assert mass_in(np.zeros((2, 2)), truth) is None
    assert points_at(np.array([[1.0, 3.0], [0.0, 0.0]]), truth) == 1.0
    assert points_at(np.array([[4.0, 3.0], [0.0, 0.0]]), truth) == 0.0
    assert points_at(np.ones((2, 2)), truth) == 0.25  # an even map points nowhere: chance
