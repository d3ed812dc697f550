"""The report's parts: the verdict in words, scores found by what they are about, pictures with outline and map."""

import base64
import io
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from radvqa.report.card import varied
from radvqa.report.evidence import constant_letter, power
from radvqa.report.gallery import over
from radvqa.report.headline import headline, learned
from radvqa.report.lookup import Scores, turn
from radvqa.report.pictures import OUTLINE, outlined, thumbnail
from report_run import entry, paired_row, scores

# ---------------------------------------------------------------- the verdict


def sentence(found: dict) -> str:
    class Anything:
        recipe, predictions, corpora = {}, None, {}

    text = headline(Anything(), Scores(found, ["stage1", "stage2"])).sentence
    return re.sub("<[^>]*>", "", str(text))


def test_the_sentence_tells_the_way_and_what_not_seeing_reaches():
    assert sentence(scores()) == (
        "Closed accuracy rose from 0.52 [0.49, 0.55] (base model) to 0.71 [0.68, 0.74] (stage 1) and "
        "0.87 [0.84, 0.90] (stage 2), and falls without the picture: to 0.51 [0.47, 0.55] under a blank image and "
        "0.54 [0.50, 0.58] under shuffled images; the majority answer reaches 0.50 [0.46, 0.54]."
    )


def test_power_and_the_best_constant_letter_are_said():
    found = scores()
    test = paired_row(("stage2", "none"), ("base", "none"), 0.35, 0.31, 0.39, 0.001) | {
        "n": 400,
        "detectable": 0.052,
        "num_needed": 12,
    }
    found["paired"] = [test]
    read = Scores(found, ["stage1", "stage2"])
    assert power(read) == (
        "400 questions like these show a difference of 0.05 between two models in four of five studies; "
        "12 would show the 0.35 found here."
    )
    assert constant_letter(read) is None
    found["constant_letter"] = {"letter": "B", "value": 0.3373, "low": 0.26, "high": 0.42, "n": 166}
    assert constant_letter(Scores(found)) == (
        "Always choosing B, the best constant letter, is right in 0.34 [0.26, 0.42], n 166."
    )


@pytest.mark.parametrize(
    ("low", "high", "p", "verb"),
    [
        (0.31, 0.39, 0.001, "rose from"),
        (-0.39, -0.31, 0.001, "fell from"),
        (-0.1, 0.1, 0.5, "did not clearly change, from"),
        (0.001, 0.1, 0.2, "did not clearly change, from"),  # the corrected p does not agree with the interval
    ],
)
def test_the_verb_is_the_paired_tests(low, high, p, verb):
    found = scores() | {"paired": [paired_row(("stage2", "none"), ("base", "none"), (low + high) / 2, low, high, p)]}
    assert f"Closed accuracy {verb}" in sentence(found)


def test_a_model_that_does_not_look_is_said_not_to():
    blind = paired_row(("stage2", "none"), ("stage2", "blank"), 0.01, -0.02, 0.04, 0.6)
    assert ", but does not clearly fall without the picture: 0.51" in sentence(scores() | {"paired": [blind]})
    shuffled = paired_row(("stage2", "none"), ("stage2", "shuffled"), 0.01, -0.02, 0.04, 0.6)
    assert "does not clearly fall" in sentence(scores() | {"paired": [shuffled]})  # one control is enough
    worse = paired_row(("stage2", "blank"), ("stage2", "none"), 0.05, 0.02, 0.08, 0.01)
    assert ", but is higher without the picture: 0.51" in sentence(scores() | {"paired": [worse]})


@pytest.mark.parametrize(
    ("low", "high", "p", "said"),
    [
        (0.3, 0.4, 0.001, "; the majority answer reaches 0.50"),
        (0.01, 0.1, 0.06, "; stage 2 is not clearly above the majority answer, 0.50"),
        (-0.4, -0.3, 0.001, "; stage 2 is below the majority answer, 0.50"),
    ],
)
def test_the_majority_answer_is_an_opponent(low, high, p, said):
    row = paired_row(("stage2", "none"), ("majority", "none"), (low + high) / 2, low, high, p)
    assert said in sentence(scores() | {"paired": [row]})


def test_without_a_test_intervals_that_do_not_touch_decide():
    assert "rose from" in sentence(scores() | {"paired": []})
    bare = [{**row, "low": None, "high": None} for row in scores()["metrics"]]
    assert "went from 0.52  (base model)" in sentence(scores() | {"metrics": bare, "paired": []})


def test_one_arm_alone_and_no_controls():
    rows = [entry("exact_match", "base", "none", (0.4, 0.3, 0.5))]
    assert sentence({"metrics": rows}) == "Exact match of the base model is 0.40 [0.30, 0.50]."
    rows = [entry("exact_match", "stage1", "none", (0.4, 0.3, 0.5))]
    assert sentence({"metrics": rows}).startswith("Exact match of stage 1 is 0.40")
    assert headline_of([]) is None and headline_of([entry("f", "base", "none", (None, None, None))]) is None


def headline_of(rows: list) -> str | None:
    return Scores({"metrics": rows}).headline


# ---------------------------------------------------------------- parts


def test_what_a_stage_learned_is_said_in_a_line():
    stage = {"data": [{"corpus": "a", "where": {"topic": ["organ", "plane"], "kind": "closed"}}, {"corpus": "b"}]}
    assert learned(stage | {"epochs": 0.5}) == "a: organ, plane, closed; b; 0.5 epochs"
    stage["data"][1]["share"] = 0.2
    assert learned(stage | {"steps": 1, "epochs": None}) == "a: organ, plane, closed; b (20 % of the mixture); 1 step"
    annealed = {
        "data": [{"corpus": "b", "share": 0.2}],
        "anneal": {"corpus": "b", "start": 0.6, "share": 0.8},
        "steps": 9,
    }
    assert learned(annealed) == "b (20 % of the mixture, rising to 80 % over the last 40 %); 9 steps"


def test_scores_are_found_by_what_they_are_about():
    found = Scores(scores(), ["stage1", "stage2"])
    assert found.arms == ["base", "stage1", "stage2"] and found.controls == ["none", "blank", "shuffled"]
    assert found.metrics == ["closed_accuracy", "token_f1"]
    assert found.find("closed_accuracy", "stage2", where={"modality": "MR"})["n"] == 320
    assert found.find("closed_accuracy", "stage2", "blank")["value"] == 0.51
    assert found.find("closed_accuracy", "stage3") is None
    assert found.slices("closed_accuracy") == {"modality": ["CT", "MR"]}
    assert found.majority_for("closed_accuracy")["value"] == 0.5 and found.majority_for("token_f1") is None
    named = Scores({"metrics": [entry("f", arm, "none", (1, 1, 1)) for arm in ("z", "base", "a")]}, ["z", "a"])
    assert named.arms == ["base", "z", "a"]  # the recipe's order, not the alphabet's


def test_warnings_about_earlier_arms_come_last():
    texts = ["base: blind", "stage1 / none: empty", "stage2: blind", "few images"]
    found = Scores(scores() | {"warnings": texts}, ["stage1", "stage2"])
    assert found.warnings == ["stage2: blind", "few images", "base: blind", "stage1 / none: empty"]


def test_a_paired_test_is_found_from_either_side_and_the_permutation_first():
    rows = [
        paired_row(("a", "none"), ("b", "none"), 0.2, 0.1, 0.4, 0.01, "mcnemar"),
        paired_row(("a", "none"), ("b", "none"), 0.2, 0.1, 0.3, 0.01),
    ]
    found = Scores({"paired": rows}).test("closed_accuracy", ("b", "none"), ("a", "none"))
    assert (found["difference"], found["low"], found["high"]) == (-0.2, -0.3, -0.1) and found["test"] == "permutation"
    assert turn(found) == -1 and turn({**found, "p_holm": 0.2}) == 0 and turn({"low": 0.1, "high": 0.2}) == 1


def test_sample_pictures_are_different_pictures_and_differ():
    rows = [
        {"id": f"q{i:02d}", "image": f"k{i // 3}", "modality": "CT" if i < 24 else "MR", "plane": None, "region": None}
        | {"topic": ("modality", "organ", "finding")[i % 3], "kind": "closed", "question": "?", "answers": ["yes"]}
        for i in range(30)
    ]
    chosen = varied(pl.DataFrame(rows, schema_overrides={n: pl.String for n in ("plane", "region")}), 4)
    assert len({row["image"] for row in chosen}) == 4 and len({row["topic"] for row in chosen}) == 3
    # 8 pictures are CT and 2 are MR: the least seen is taken each time, so two of each
    assert sorted(row["modality"] for row in chosen) == ["CT", "CT", "MR", "MR"]


def test_the_outline_runs_around_the_mask_and_nowhere_else():
    picture, mask = Image.new("RGB", (100, 80), (30, 30, 30)), Image.new("1", (100, 80))
    mask.paste(1, (20, 20, 60, 50))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    with Image.open(
        io.BytesIO(base64.b64decode(outlined(picture, buffer.getvalue(), most_px=100).uri.split(",")[1]))
    ) as f:
        pixels = np.asarray(f.convert("RGB")).astype(int)
    cyan = (np.abs(pixels - OUTLINE).sum(-1) < 200) & (pixels[..., 1] - pixels[..., 0] > 40)
    assert cyan[19:21, 25:55].any(0).all() and cyan[25:45, 59:61].any(1).all()
    assert not cyan[27:43, 27:53].any() and not cyan[60:].any()


def test_a_thumbnail_shrinks_keeps_its_shape_and_never_grows():
    small = thumbnail(Image.new("RGB", (1000, 500)), most_px=100)
    assert (small.width_px, small.height_px) == (100, 50)
    assert thumbnail(Image.new("L", (30, 20)), most_px=100).width_px == 30


def test_a_map_is_brightest_where_its_value_is():
    grid = np.zeros((4, 4), np.float32)
    grid[0, 3] = 1.0
    pixels = np.asarray(over(Image.new("RGB", (64, 64)), grid, signed=False)).sum(-1)
    y, x = np.unravel_index(pixels.argmax(), pixels.shape)
    assert x > 0.75 * pixels.shape[1] and y < 0.25 * pixels.shape[0]
    assert pixels[-1, 0] == 0  # nothing is drawn over what has no value
