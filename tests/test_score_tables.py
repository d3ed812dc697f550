"""From predictions to scores.parquet and scores.json: counts, controls, comparisons, warnings, bad input."""

import json
import random
import subprocess
import sys

import polars as pl
import pytest

from radvqa.errors import InputError
from radvqa.score import score_predictions, write_scores
from radvqa.score.majority import majority_answers

QUESTION = {"closed": "Is there a mass?", "choice": "Which modality is it?", "open": "Where is it?"}
WRONG = {"yes": "no", "no": "yes", "CT": "MR", "MR": "CT", "left lung": "brain", "right lung": "liver"}


def predictions(rights=None, num_questions=240, per_image=4, seed=0):
    """Runs (arm, control) that are right with a given chance; every third question closed, choice, open."""
    rights = rights or {("base", "none"): 0.5, ("stage2", "none"): 0.95, ("stage2", "blank"): 0.5}
    rng, rows = random.Random(seed), []
    for number in range(num_questions):
        kind = ("closed", "choice", "open")[number % 3]
        truth = {"closed": ("yes", "no"), "choice": ("CT", "MR"), "open": ("left lung", "right lung")}[kind]
        reference = truth[number // 3 % 2]
        options = list(truth) if kind != "open" else []
        for (arm, control), right in rights.items():
            answer = reference if rng.random() < right else WRONG[reference]
            rows.append(
                {
                    "id": f"q{number:04d}",
                    "image": f"i{number // per_image}",
                    "kind": kind,
                    "question": QUESTION[kind],
                    "answers": [reference],
                    "choices": options if kind == "choice" else [],
                    "modality": ("CT", "MR", None)[number // per_image % 3],
                    "findings": ["mass"] if number % 2 else [],
                    "arm": arm,
                    "control": control,
                    "answer": answer,
                    "options": options,
                    "option_logprobs": [-0.1 if option == answer else -2.0 for option in options],
                }
            )
    return pl.DataFrame(rows)


def row_of(rows, **wanted):
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def value(tables, metric, arm="base", where=None, control="none"):
    return row_of(tables["metrics"], metric=metric, arm=arm, control=control, slice=where or {})


@pytest.fixture(scope="module")
def scored():
    return score_predictions(predictions(), num_draws=300)


# ---------------------------------------------------------------- what is in the tables


def test_values_are_means_of_the_scores_with_n_beside(scored):
    scores, tables = scored
    base = scores.filter(arm="base", control="none")
    row = value(tables, "closed_accuracy")
    assert row["n"] == 160 and row["num_unscored"] == 0 and row["num_clusters"] == 60
    assert row["value"] == pytest.approx(base["closed_accuracy"].mean())
    assert row["low"] < row["value"] < row["high"] and row["error"] > 0
    assert row["sd"] == pytest.approx(base["closed_accuracy"].std())
    assert base["closed_accuracy"].null_count() == 80  # open questions: the metric does not apply


def test_slices_hold_every_question_unknown_ones_too(scored):
    _, tables = scored
    parts = [value(tables, "token_f1", where={"modality": name})["n"] for name in ("CT", "MR", "unknown")]
    assert sum(parts) == 240
    assert value(tables, "token_f1", where={"findings": "mass"})["n"] == 120
    assert value(tables, "token_f1", where={"kind": "open"})["n"] == 80


def test_controls_stand_beside_the_score(scored):
    _, tables = scored
    assert value(tables, "closed_accuracy", "stage2", control="blank")["value"] < 0.65
    pair = row_of(
        tables["paired"],
        metric="closed_accuracy",
        test="permutation",
        slice={},
        a={"arm": "stage2", "control": "none"},
        b={"arm": "stage2", "control": "blank"},
    )
    assert pair["difference"] > 0.3 and pair["p"] < 0.01 and pair["p_holm"] >= pair["p"] and pair["low"] > 0


def test_later_arms_are_compared_with_earlier_ones():
    frame = predictions({(arm, "none"): 0.5 for arm in ("stage2", "base", "stage1")})
    pairs = score_predictions(frame, num_draws=50)[1]["paired"]
    named = {(pair["a"]["arm"], pair["b"]["arm"]) for pair in pairs}
    assert named == {("stage1", "base"), ("stage2", "base"), ("stage2", "stage1")}


def test_mcnemar_only_where_outcomes_are_right_or_wrong(scored):
    _, tables = scored
    tested = {pair["metric"] for pair in tables["paired"] if pair["test"] == "mcnemar"}
    assert "closed_accuracy" in tested and "token_f1" not in tested


def test_input_order_does_not_matter(scored):
    scores, tables = score_predictions(predictions().sample(fraction=1.0, shuffle=True, seed=3), num_draws=300)
    assert scores.equals(scored[0]) and tables == scored[1]


def test_score_and_table_do_not_depend_on_other_runs(scored):
    alone = score_predictions(predictions().filter(pl.col("arm") == "base"), num_draws=300)[1]
    assert value(alone, "token_f1") == value(scored[1], "token_f1")


def test_questions_are_clustered_by_their_own_image_not_by_a_control_s():
    other = pl.when(pl.col("control") == "blank").then(pl.lit("grey")).otherwise("image")
    tables = score_predictions(predictions().with_columns(image=other), num_draws=50)[1]
    assert value(tables, "token_f1", "stage2", control="blank")["num_clusters"] == 60


# ---------------------------------------------------------------- unscored, empty, missing


def test_missing_answers_are_unscored_and_empty_ones_wrong():
    frame = predictions({("base", "none"): 1.0})
    place = pl.int_range(pl.len())
    frame = frame.with_columns(
        answer=pl.when(place < 24).then(None).when(place < 36).then(pl.lit("")).otherwise("answer")
    )
    scores, tables = score_predictions(frame, num_draws=50)
    row = value(tables, "exact_match")
    assert (row["n"], row["num_unscored"]) == (216, 24)
    assert row["value"] == pytest.approx(204 / 216)
    assert scores["exact_match"].null_count() == 24
    assert "base / none: 12 of 240 answers are empty and count as wrong" in tables["warnings"]
    assert "base / none: 24 of 240 answers are missing and are unscored" in tables["warnings"]


def test_unreadable_references_are_unscored():
    frame = predictions({("base", "none"): 1.0}).with_columns(
        answers=pl.when(pl.col("id") == "q0000").then(pl.lit(["?"])).otherwise("answers")
    )
    row = value(score_predictions(frame, num_draws=50)[1], "exact_match")
    assert (row["n"], row["num_unscored"], row["value"]) == (239, 1, 1.0)


def test_corpus_bleu_without_four_words_is_unscored(scored):
    row = value(scored[1], "bleu_corpus")
    assert row["value"] is None and row["n"] == 0 and row["num_unscored"] == 240


# ---------------------------------------------------------------- warnings


def test_a_blind_model_is_called_blind():
    blind = predictions({("stage2", "none"): 0.6, ("stage2", "blank"): 0.6})
    first = score_predictions(blind, num_draws=50)[1]["warnings"][0]
    assert first.startswith("stage2: the full score is not above the blank-image score (closed accuracy 0.")
    assert "p = " in first


def test_a_model_that_looks_is_not(scored):
    assert not [line for line in scored[1]["warnings"] if "stage2: the full score" in line]
    assert "stage2: there is no shuffled-image run, so nothing shows that the image is used" in scored[1]["warnings"]


# ---------------------------------------------------------------- the majority answer


def test_majority_takes_the_most_particular_rule():
    train = pl.DataFrame(
        {
            "question": ["Is it CT?", "is it ct", "Is it CT?", "Which plane?", "Which organ?"],
            "kind": ["closed", "closed", "closed", "open", "open"],
            "topic": ["modality", "modality", "modality", "plane", "organ"],
            "answers": [["Yes"], ["yes"], ["no"], ["axial"], ["liver"]],
        }
    )
    test = pl.DataFrame(
        {
            "question": ["Is it CT ?", "Is it MR?", "Which cut?", "What is seen?", "Which one?", "Which?"],
            "kind": ["closed", "closed", "open", "open", "choice", "choice"],
            "topic": ["modality", "modality", "plane", None, None, None],
            "choices": [[], [], [], [], ["brain", "liver"], ["bone", "skin"]],
        }
    )
    found = majority_answers(train, test)
    assert found["answer"].to_list() == ["yes", "yes", "axial", "axial", "liver", "bone"]
    assert found["rule"].to_list() == [0, 1, 1, 2, 3, 4]


def test_majority_is_scored_beside_the_model():
    frame = predictions().with_columns(topic=pl.lit(None, pl.String))
    train = pl.DataFrame(
        {"question": ["Is there a mass?"] * 3, "kind": ["closed"] * 3, "answers": [["yes"], ["yes"], ["no"]]}
    ).with_columns(topic=pl.lit(None, pl.String))
    tables = score_predictions(frame, train, num_draws=50)[1]
    row = row_of(tables["majority"], metric="closed_accuracy", slice={"kind": "closed"})
    assert row["value"] == 0.5 and row["n"] == 80 and "most frequent train answer" in row["answer_rule"]
    assert any(pair["b"]["arm"] == "majority" for pair in tables["paired"])
    assert all(row["arm"] != "majority" for row in tables["metrics"])


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (predictions().drop("answer"), "answer: this column is missing"),
        (predictions().clear(), "no prediction to score"),
        (pl.concat([predictions(), predictions()]), "q0000, id: answered twice in one run"),
        (predictions().with_columns(kind=pl.lit("opn")), "kind is 'opn'"),
    ],
)
def test_bad_predictions_are_refused(frame, message):
    with pytest.raises(InputError, match=message):
        score_predictions(frame, num_draws=10)


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="unknown metric 'f1'"):
        score_predictions(predictions(), metrics=["f1"])
    with pytest.raises(InputError, match="cannot cluster by 'patient'"):
        score_predictions(predictions(), cluster="patient")


def test_runs_that_ask_different_questions_are_refused():
    other = predictions({("stage2", "none"): 1.0}).with_columns(question=pl.lit("What?"))
    with pytest.raises(InputError, match="two runs ask different questions"):
        score_predictions(pl.concat([predictions({("base", "none"): 1.0}), other]), num_draws=10)


# ---------------------------------------------------------------- on disk


def test_write_scores(tmp_path):
    for control in ("none", "blank"):
        folder = tmp_path / f"stage2-{control}"
        folder.mkdir()
        predictions({("stage2", control): 0.8}).write_parquet(folder / "predictions.parquet")
    folders = [tmp_path / "stage2-none", tmp_path / "stage2-blank"]
    found = write_scores(folders, tmp_path / "scores", num_draws=50)
    assert json.loads((tmp_path / "scores" / "scores.json").read_text()) == found
    scores = pl.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert len(scores) == 480 and scores.columns[:3] == ["id", "arm", "control"]
    assert (tmp_path / "scores" / "stage.json").is_file()
    with pytest.raises(InputError, match="no such predictions"):
        write_scores([tmp_path / "nowhere"], tmp_path / "other")
    assert not list(tmp_path.glob("other*"))


def test_the_room_needs_no_torch():
    code = "import sys, radvqa.score; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
