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
from radvqa.saliency.run import PROGRESS, explain_run
from radvqa.saliency.study import examine, mirrored
from radvqa.saliency.truth import mass_in, on_grid, points_at, truth_of
from radvqa.saliency.words import COLUMNS, lines, said
from radvqa.sample import Box, Corpus, CorpusWriter, Sample
from saliency_tiny import saliency_model, saliency_picture, saliency_turn


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
            for j, (question, topic) in enumerate((("is there a mass ?", "finding"), ("is there a nodule ?", "other"))):
                mask = mask_bytes((70, 50), (10, 10, 30, 30)) if i < 4 else None
                sample = Sample(
                    id=f"q{i}{j}", question=question, answers=("yes",), kind="open", split="test", source="tiny",
                    subject=f"s{i}", mask=mask, topic=topic,
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
    ids = [
        [i["id"] for i in json.loads(explained(run, tmp_path / n, methods=["raw"]).read_text())["items"]]
        for n in ("a", "b")
    ]
    assert ids[0] == ids[1]
    other = json.loads(explained(run, tmp_path / "c", seed=5, methods=["raw"]).read_text())["items"]
    assert [i["id"] for i in other] != ids[0]
    few = {"num_wrong": 0, "methods": ["raw"]}
    many = json.loads(explained(run, tmp_path / "d", num_right=99, **few).read_text())["items"]
    assert len(many) == 6
    assert [i["mask_png"] is None for i in many] == [False] * 4 + [True] * 2  # known truth first
    assert many[-1]["mass_in_mask"] == {"raw": None}


def test_faithfulness_stands_beside_every_map(run, tmp_path):
    folder = tmp_path / "a"
    index = json.loads(explained(run, folder).read_text())
    table = pl.read_parquet(folder / "faithfulness.parquet")
    assert set(table["method"]) == {"raw", "rollout", "random", "centre"} and set(table["fill"]) == {"blur", "grey"}
    assert len(table) == 5 * 4 * 2 and table["seconds"].min() >= 0 and table["pointing"].null_count() == 0
    for item in index["items"]:
        assert {row["method"] for row in item["faithfulness"]} == {"raw", "rollout"}
    maps = pl.read_parquet(folder / "maps.parquet")
    first = maps.filter((pl.col("id") == index["items"][0]["id"]) & (pl.col("method") == "rollout")).row(0, named=True)
    saved = Explanation.load(folder / index["items"][0]["maps"]["rollout"]["npz"])
    assert np.allclose(np.reshape(first["values"], (first["num_rows"], first["num_columns"])), saved.overall)
    ranking = json.loads((folder / "ranking.json").read_text())
    assert ranking["num_answers"] == 2 and ranking["sanity"] == []  # right ones; nothing was sampled
    assert not (folder / PROGRESS).exists()


def test_a_sample_is_ranked_with_its_sanity_and_agreement(run, tmp_path):
    explained(run, tmp_path, num_right=1, num_wrong=0, sample=4, methods=["rollout", "gradient", "diagonal"])
    ranking = json.loads((tmp_path / "ranking.json").read_text())
    assert ranking["num_answers"] == 4 and ranking["num_with_truth"] == 4
    assert len(list(tmp_path.glob("*.png"))) == 4  # one answer is shown: three methods and its mask
    verdicts = {row["method"]: row["verdict"] for row in ranking["methods"]}
    assert verdicts["random"] == verdicts["centre"] == verdicts["diagonal"] == "control"
    assert verdicts["gradient"] in ("faithful", "partly", "not")
    checks = {(row["method"], row["check"]): row for row in ranking["sanity"]}
    assert checks["random", "random weights"]["value"] == pytest.approx(1.0)
    assert not checks["random", "random weights"]["passes"] and checks["rollout", "other question"]["n"] == 4
    assert {(row["first"], row["second"]) for row in ranking["agreement"]} >= {("rollout", "gradient")}
    sanity = pl.read_parquet(tmp_path / "sanity.parquet")
    assert len(sanity.filter((pl.col("check") == "random weights") & (pl.col("method") == "rollout"))) == 4 * 6
    best = next(row for row in ranking["methods"] if row["verdict"] != "control")["method"]
    tests = [test for row in ranking["methods"] for test in row["paired"] if test["against"] == best]
    assert tests and all(test["low"] <= test["better_by"] <= test["high"] for test in tests if test["low"] is not None)
    table = lines(ranking)
    assert [line.method for line in table] == [row["method"] for row in ranking["methods"]]
    assert all(len(line.cells) == len(COLUMNS) for line in table)
    assert "4 right answers, 4 with a known truth" in said(ranking)


def test_a_cut_study_goes_on_where_it_was_and_gives_the_same(run, tmp_path, monkeypatch):
    small = {"num_right": 1, "num_wrong": 0, "sample": 3, "methods": ["raw"]}
    explained(run, tmp_path / "whole", **small)
    calls = []

    def cut(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return examine(*args, **kwargs)

    monkeypatch.setattr("radvqa.saliency.run.examine", cut)
    with pytest.raises(KeyboardInterrupt):
        explained(run, tmp_path / "cut", **small)
    journal = tmp_path / "cut" / PROGRESS
    assert journal.read_text().count("\n") == 3  # what it is for, and two answers
    with journal.open("a") as file:
        file.write('{"measured": {"fait')  # and a third that was cut in the middle
    explained(run, tmp_path / "cut", **small)
    assert len(calls) == 3 + 1
    for name in ("maps", "sanity", "agreement"):
        whole, again = (pl.read_parquet(tmp_path / n / f"{name}.parquet") for n in ("whole", "cut"))
        assert whole.equals(again)
    journal.write_text('"of something else"\n{}\n')
    explained(run, tmp_path / "cut", **small)
    assert len(calls) == 4 + 3


def test_where_and_no_answers(run, tmp_path):
    with pytest.raises(InputError, match="no answers to explain"):
        explained(run, tmp_path, where={"topic": "organ"})


def test_the_other_question_may_be_one_that_is_not_explained(run, tmp_path):
    """The answers explained are all about findings; the pictures were asked about something else too."""
    explained(run, tmp_path, num_right=0, num_wrong=0, sample=3, methods=["raw"], where={"topic": "finding"})
    checks = {row["check"]: row["n"] for row in json.loads((tmp_path / "ranking.json").read_text())["sanity"]}
    assert checks["other question"] == 3


def test_the_question_about_the_other_side():
    turn = saliency_turn(question="is the left lung right ?")
    assert mirrored(turn).question == "is the right lung left ?"
    assert mirrored(saliency_turn(question="is there a cleft ?")) is None


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
