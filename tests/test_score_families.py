"""Other evaluations' definitions: their published numbers, their habits, and what the mended forms do instead."""

import json

import numpy as np
import pytest

from radvqa.errors import InputError
from radvqa.score import METRICS, score_predictions
from radvqa.score.choice import choice_best_match, choice_letter, letter
from radvqa.score.closed import closed_accuracy
from radvqa.score.gr5293 import gr5293_bleu1, gr5293_exact, gr5293_f1, gr5293_rouge_l
from radvqa.score.llava_med import (
    llava_med_official_recall,
    llava_med_official_yes_no,
    llava_med_recall,
    llava_med_yes_no,
)
from radvqa.score.medvint import medvint, nearest_label
from radvqa.score.multimedeval import multimedeval
from radvqa.score.paired import mcnemar, mcnemar_counts
from radvqa.score.vqa_words import vqa_words

# ---------------------------------------------------------------- LLaVA-Med


def test_vqa_words_by_hand():
    assert vqa_words("The left, upper lung.") == ("left", "upper", "lung")
    assert vqa_words("x-ray") == ("x", "ray")  # the mark touches no blank: a blank
    assert vqa_words("x-ray of - a hand") == ("xray", "of", "hand")  # it touches one somewhere: deleted everywhere
    assert vqa_words("none") == ("0",) and vqa_words("Two") == ("2",)
    assert vqa_words("1,000 cells, x-ray") == ("1000", "cells", "xray")
    assert vqa_words("3.5 cm.") == ("3.5", "cm")
    assert vqa_words("dont") == vqa_words("don't") == ("don't",)
    assert sum(word.endswith(".") for word in vqa_words(" ".join(["a1."] * 40))) == 8  # only 32 full stops go


def test_repeating_a_word_raises_the_official_recall_and_not_the_mended_one():
    reference = ["left upper lobe"]
    # official: hits 3, missed 2 -> 3 / 5; mended: 1 of 3 words
    assert llava_med_official_recall("left left left", reference) == 3 / 5
    assert llava_med_recall("left left left", reference) == 1 / 3


def test_substrings_fool_the_official_yes_no_and_not_the_mended_one():
    for answer, reference in (("normal", "no"), ("yes ... no", "yes"), ("yes ... no", "no"), ("it is known", "no")):
        assert llava_med_official_yes_no(answer, [reference]) == 1.0
        assert llava_med_yes_no(answer, [reference]) == 0.0
    assert llava_med_official_yes_no("left side", ["left"]) == 0.0 and llava_med_yes_no("left side", ["left"]) == 1.0
    assert llava_med_official_yes_no("now left", ["left"]) == 1.0


def test_llava_med_published_numbers(real_data):
    table = json.loads((real_data / "vqa_rad" / "VQA_RAD Dataset Public.json").read_text())
    lines = (real_data / "peers" / "llava_med" / "answer-file-llava-zeorshot.jsonl").read_text().splitlines()
    rows = [(table[record["question_id"]], record["text"]) for record in map(json.loads, lines)]
    assert all(row["phrase_type"].startswith("test_") for row, _ in rows) and len(rows) == 451

    def percent(name, answer_type):
        chosen = [(text, str(row["answer"])) for row, text in rows if row["answer_type"].strip() == answer_type]
        values = [METRICS[name].function(text, [reference]) for text, reference in chosen]
        assert None not in values
        return round(100 * float(np.mean(values)), 4), len(values)

    assert percent("llava_med_official_recall", "OPEN") == (12.0411, 179)
    assert percent("llava_med_official_f1", "OPEN") == (2.8002, 179)
    assert percent("llava_med_official_precision", "OPEN") == (1.7082, 179)
    assert percent("llava_med_official_yes_no", "CLOSED") == (28.6765, 272)
    assert percent("llava_med_recall", "OPEN")[0] < 12.0  # repeats no longer count
    assert percent("llava_med_yes_no", "CLOSED")[0] < 28.0  # "no" within words no longer counts


# ---------------------------------------------------------------- MultiMedEval, MedVInT


def test_multimedeval_by_hand():
    assert multimedeval("left lung, upper", ["left upper lung lobe"]) == 1.0  # 3 of 4
    assert multimedeval("left lung", ["left upper lung lobe"]) == 0.0  # 2 of 4
    assert multimedeval("left left left left", ["left upper lung lobe"]) == 0.0  # distinct words
    assert multimedeval("it is not", ["no"]) == 1.0 and multimedeval("normal", ["no"]) == 0.0
    assert multimedeval("yes and no", ["yes"]) == 1.0 and closed_accuracy("yes and no", ["yes"]) == 0.0


def test_medvint_takes_the_nearest_train_label():
    labels = ["left lung", "right lung", "Liver"]
    assert medvint("in the left lungs", ["left lung"], labels) == 1.0
    assert medvint("the liver.", ["liver"], labels) == 1.0
    assert medvint("right lungs", ["left lung"], labels) == 0.0
    assert medvint("spleen", ["spleen"], labels) == 1.0  # word for word, though train has no such label
    assert medvint("spleens", ["spleen"], labels) == 0.0  # the test answer is not among the labels
    assert medvint("", ["liver"], labels) == 0.0 and medvint("liver", ["?"], labels) is None


def test_nearest_label_equals_a_search_through_all():
    import random
    from difflib import SequenceMatcher

    rng = random.Random(3)
    texts = ["".join(rng.choices("bcdef ", k=rng.randint(2, 9))).strip() or "x" for _ in range(120)]
    labels = tuple(sorted({" ".join(text.split()) for text in texts[:60]}))
    for said in (" ".join(text.split()) for text in texts[60:]):
        ratios = [SequenceMatcher(None, label, said, autojunk=False).ratio() for label in labels]
        wanted = labels[int(np.argmax(ratios))] if max(ratios) > 0 else None
        found = nearest_label(said, labels)
        assert found == wanted  # both take the first in the alphabet where several are as near


def test_labels_come_from_the_train_split_only():
    import polars as pl

    frame = pl.DataFrame(
        {"id": ["1"], "kind": ["open"], "question": ["?"], "answers": [["spleen"]], "answer": ["spleens"]}
    )
    train = pl.DataFrame({"question": ["a"], "kind": ["open"], "topic": [None], "answers": [["liver"]]})
    train = train.with_columns(pl.col("topic").cast(pl.String))
    scores, _ = score_predictions(frame, train, num_draws=10)
    assert scores["medvint"].to_list() == [0.0]
    assert "medvint" not in score_predictions(frame, None, num_draws=10)[0].columns


def test_a_list_of_labels_without_end_is_used_only_when_asked_for():
    import polars as pl

    frame = pl.DataFrame({"id": ["1"], "kind": ["open"], "question": ["?"], "answers": [["x7"]], "answer": ["x7."]})
    train = pl.DataFrame(
        {"question": ["a"] * 2001, "kind": ["open"] * 2001, "answers": [[f"x{n}"] for n in range(2001)]}
    )
    train = train.with_columns(topic=pl.lit(None, pl.String))
    scores, tables = score_predictions(frame, train, num_draws=10)
    assert "medvint" not in scores.columns
    assert "medvint: not computed, train has 2,001 different answers; ask for it by name" in tables["warnings"]
    assert score_predictions(frame, train, metrics=["medvint"], num_draws=10)[0]["medvint"].to_list() == [1.0]


# ---------------------------------------------------------------- choice


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("B", 1),
        ("b.", 1),
        ("(C)", 2),
        ("B: MRI", 1),
        ("B) MRI", 1),
        ("The answer is C.", 2),
        ("The correct option is (B), since ...", 1),
        ("A or B", None),
        ("The answer is B. No, the answer is C.", None),
        ("a mass in the lung", None),
        ("A mass in the lung", None),
        ("I am not sure", None),
        ("E", None),
        ("", None),
    ],
)
def test_letters(answer, place):
    assert letter(answer, 4) == place


def test_choices_by_hand():
    choices = ["CT", "MRI scan", "X-ray", "vitamin A"]
    assert choice_letter("B", ["MRI scan"], choices) == 1.0
    assert choice_letter("MRI scan", ["MRI scan"], choices) == 1.0
    assert choice_letter("MRI", ["MRI scan"], choices) == 0.0 and choice_best_match("MRI", ["MRI scan"], choices) == 1.0
    assert choice_letter("vitamin A", ["vitamin A"], choices) == 1.0  # its words, not its last letter
    assert choice_letter("A and B", ["CT"], choices) == 0.0
    assert choice_letter("B", ["PET"], choices) is None and choice_best_match("B", ["PET"], choices) is None
    assert choice_best_match("", ["CT"], choices) == 0.0
    assert choice_letter("B", ["CT"], ["CT", "ct.", "MRI"]) == 1.0  # the same option twice


# ---------------------------------------------------------------- GR5293


PEERS = (("results/baseline", "predictions"), ("checkpoints/lora_rank4", "lora_predictions"))
FUNCTIONS = {"correct": gr5293_exact, "f1": gr5293_f1, "bleu1": gr5293_bleu1, "rougeL": gr5293_rouge_l}


def peer(real_data, folder, name):
    home = real_data / "peers" / "gr5293" / folder
    rows = [json.loads(line) for line in (home / f"{name}.jsonl").read_text().splitlines()]
    return rows, json.loads((home / "per_example_scores.json").read_text())


@pytest.mark.parametrize(("folder", "name"), PEERS)
def test_gr5293_scores_are_reproduced(real_data, folder, name):
    rows, theirs = peer(real_data, folder, name)
    for metric, function in FUNCTIONS.items():
        for place, row in enumerate(rows):
            ours = function(row["prediction"], [row["reference"]])
            if metric == "correct" or row["qtype"] == "open":
                assert ours == pytest.approx(theirs[metric][place], abs=1e-12)
            else:
                assert theirs[metric][place] == 0.0  # the peer writes closed questions as zeros; here they are scored


def percentiles(values, seed=42):
    """The peer's bootstrap: questions drawn one by one, as if no two were about one image."""
    draws = values[np.random.default_rng(seed).integers(0, len(values), size=(10_000, len(values)))].mean(axis=1)
    return np.quantile(draws, [0.025, 0.975]).tolist(), draws.std(ddof=1)


def test_gr5293_intervals_and_tests_are_reproduced(real_data):
    from radvqa.score.intervals import cluster_interval

    scores = [peer(real_data, *one)[1] for one in PEERS]
    is_open = np.array([kind == "open" for kind in scores[0]["qtypes"]])
    published = json.loads((real_data / "peers/gr5293/results/baseline/metrics.json").read_text())
    tests = json.loads((real_data / "peers/gr5293/results/statistical_tests/baseline_vs_lora_rank4.json").read_text())
    f1 = np.array(scores[0]["f1"])[is_open]
    theirs = published["open"]["ci95_f1"]
    limits, error = percentiles(f1)
    assert limits == pytest.approx([theirs["lower"], theirs["upper"]], abs=1e-12)
    assert error == pytest.approx(theirs["se"], abs=1e-12)
    ours = cluster_interval(f1, np.arange(len(f1)), num_draws=10_000)
    assert [ours.low, ours.high] == pytest.approx(limits, abs=0.004)  # another stream of draws, expanded limits
    assert ours.error == pytest.approx(error, abs=0.0005)
    right = [np.array(one["correct"], dtype=float)[~is_open] for one in scores]
    assert mcnemar_counts(*right) == (
        tests["tests"]["Closed EM"]["mcnemar"]["b"],
        tests["tests"]["Closed EM"]["mcnemar"]["c"],
    )
    assert mcnemar(*right).p == pytest.approx(tests["tests"]["Closed EM"]["mcnemar"]["p_value"], rel=1e-9)


def test_gr5293_deletes_what_the_own_metrics_split():
    assert gr5293_f1("x ray", ["x-ray"]) == 0.0 and METRICS["token_f1"].function("x ray", ["x-ray"]) == 1.0
    assert gr5293_exact("the lung", ["lung"]) == 0.0 and METRICS["exact_match"].function("the lung", ["lung"]) == 1.0
    # 1 of 2 words right, no brevity penalty; then 1 of 1 right but exp(1 - 2 / 1)
    assert gr5293_bleu1("left lung", ["left"]) == 0.5
    assert gr5293_bleu1("left", ["left lung"]) == pytest.approx(np.exp(-1))


# ---------------------------------------------------------------- extras


def test_extras_say_what_is_missing(monkeypatch):
    import sys

    from radvqa.score import extras

    extras._bertscore.cache_clear()
    monkeypatch.delenv("RADVQA_BERTSCORE", raising=False)
    monkeypatch.setitem(sys.modules, "bert_score", None)
    with pytest.raises(InputError, match="pip install bert-score"):
        METRICS["bertscore"].function("left lung", ["left lung"])
    extras._meteor.cache_clear()
    monkeypatch.setitem(sys.modules, "nltk.translate.meteor_score", None)
    with pytest.raises(InputError, match="METEOR needs NLTK"):
        METRICS["meteor"].function("left lung", ["left lung"])
    assert METRICS["meteor"].function("left", ["?"]) is None


# ---------------------------------------------------------------- Med-MoE, MedGemma, RadEval


def test_med_moe_and_medgemma_by_hand():
    med_moe, set_f1 = METRICS["med_moe_closed"].function, METRICS["set_f1"].function
    assert med_moe("The lungs are normal.", ["no"]) == med_moe("yes ... no", ["no"]) == 1.0  # why it is not ours
    assert med_moe("Yes", ["no"]) == 0.0 and med_moe("yes", [" "]) is None
    # {left, lung} against {left, upper, lung}: 2 x 2 / (2 + 3); said twice it stays so
    assert set_f1("left lung", ["left upper lung"]) == set_f1("left left lung", ["left upper lung"]) == 4 / 5
    assert METRICS["set_recall"].function("left lung", ["left upper lung"]) == 2 / 3


def test_radeval_is_asked_for_each_reference_and_said_when_missing(monkeypatch):
    import sys
    import types

    from radvqa.score import radeval

    asked = []

    class Evaluator:
        """The interface of radeval 2.2.1: names of metrics, a list of values a metric with per_sample."""

        def __init__(self, metrics, per_sample, show_progress):
            if metrics == ["green"]:
                raise OSError("no such model\nand more")
            assert metrics == ["radgraph"] and per_sample and not show_progress

        def __call__(self, refs, hyps):
            asked.append((refs, hyps))
            return {"radgraph_simple": [0.0] * len(refs), "radgraph_partial": [0.25 * len(r.split()) for r in refs]}

    radeval._evaluator.cache_clear()
    monkeypatch.setitem(sys.modules, "radeval", types.SimpleNamespace(RadEval=Evaluator))
    function = METRICS["radgraph_f1"].function
    assert function("a mass", ["mass", "left mass", "?"]) == 0.5
    assert asked == [(["mass", "left mass"], ["a mass", "a mass"])]
    assert function("", ["mass"]) == 0.0 and function("mass", ["?"]) is None
    with pytest.raises(InputError, match=r"RadEval cannot load green \(no such model\)"):
        METRICS["green"].function("a mass", ["mass"])
    radeval._evaluator.cache_clear()
    monkeypatch.setitem(sys.modules, "radeval", None)
    with pytest.raises(InputError, match="pip install radeval"):
        function("a mass", ["mass"])
    radeval._evaluator.cache_clear()
