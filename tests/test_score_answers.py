"""Answers of others: every form they come in, ids without a partner, and files that must be refused."""

import json

import polars as pl
import pytest

from radvqa.errors import InputError
from radvqa.sample import CorpusWriter, Sample
from radvqa.score import read_answers, score_answers

QUESTIONS = [
    ("Is there a mass?", "closed", "yes", ()),
    ("Where is the mass?", "open", "left lung", ()),
    ("Which modality is it?", "choice", "MRI", ("CT", "MRI", "X-ray")),
    ("Is it a CT?", "closed", "no", ()),
]


@pytest.fixture
def corpus(tmp_path):
    with CorpusWriter(tmp_path / "corpus", {"name": "small"}) as writer:
        for number, (question, kind, answer, choices) in enumerate(QUESTIONS):
            for split, start in (("test", 10), ("train", 20)):
                sample = Sample(
                    id=f"small-{start + number}",
                    question=question,
                    answers=(answer,),
                    kind=kind,
                    choices=choices,
                    split=split,
                    source="small",
                    subject=f"case{number // 2}",
                )
                writer.add(sample, None)
    return tmp_path / "corpus"


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_plain_jsonl(tmp_path, corpus):
    file = write(tmp_path / "a.jsonl", [{"id": "small-10", "answer": "Yes"}, {"id": "small-13", "answer": "no"}])
    answers = read_answers(file, [corpus], name="theirs")
    assert answers.predictions.sort("id")["answer"].to_list() == ["Yes", None, None, "no"]
    assert answers.unanswered == ["small-11", "small-12"] and answers.unmatched == []
    assert answers.predictions["arm"].unique().to_list() == ["theirs"]


def test_unmatched_and_unanswered_are_listed_and_unscored(tmp_path, corpus):
    rows = [{"id": f"small-{number}", "answer": "yes"} for number in (10, 11, 12, 77)]
    found = score_answers(
        [read_answers(write(tmp_path / "a.jsonl", rows), [corpus])], tmp_path / "scores", corpora=[corpus], num_draws=20
    )
    account = found["answers"][0]
    assert account["unmatched"] == ["small-77"] and account["unanswered"] == ["small-13"]
    assert (account["num_matched"], account["num_unmatched"], account["num_unanswered"]) == (3, 1, 1)
    assert "a.jsonl: 1 answers match no question of the corpus (small-77)" in found["warnings"]
    row = next(row for row in found["metrics"] if row["metric"] == "exact_match" and row["slice"] == {})
    assert (row["n"], row["num_unscored"], row["value"]) == (3, 1, pytest.approx(1 / 3))
    assert json.loads((tmp_path / "scores" / "scores.json").read_text()) == found
    assert found["majority"] and found["constant_letter"]["letter"] == "B"


def test_llava_med_files_match_by_row_number(tmp_path, corpus):
    rows = [{"question_id": 10, "prompt": "Is there a mass? Please choose [yes, no]", "text": "Yes.", "metadata": {}}]
    answers = read_answers(write(tmp_path / "a.jsonl", rows), [corpus])
    assert answers.predictions.filter(pl.col("id") == "small-10")["answer"].to_list() == ["Yes."]


def test_another_order_is_refused(tmp_path, corpus):
    file = write(tmp_path / "a.jsonl", [{"question_id": 11, "question": "Is there a mass?", "text": "Yes."}])
    with pytest.raises(InputError, match="this row asks 'Is there a mass\\?', but small-11 asks"):
        read_answers(file, [corpus])


def test_json_arrays_and_objects(tmp_path, corpus):
    array, mapping = tmp_path / "a.json", tmp_path / "b.json"
    array.write_text(json.dumps([{"id": "small-10", "answer": "yes"}], indent=1))
    mapping.write_text(json.dumps({"small-10": "yes"}))
    for file in (array, mapping):
        assert read_answers(file, [corpus]).predictions["answer"].drop_nulls().to_list() == ["yes"]


def test_vlmevalkit_tables(tmp_path):
    file = tmp_path / "model_set.tsv"
    lines = [
        ["index", "question", "A", "B", "C", "D", "answer", "prediction", "image"],
        ["0", "Which modality?", "CT", "MRI", "", "", "B", "B. MRI", "x" * 900],
        ["1", "Is there a mass?", "", "", "", "", "yes", "Yes", "y" * 900],
        ["2", "Where?", "", "", "", "", "left lung", "the left lung", ""],
    ]
    file.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    frame = read_answers(file).predictions
    assert frame["kind"].to_list() == ["choice", "closed", "open"]
    assert frame["answers"].to_list() == [["MRI"], ["yes"], ["left lung"]]
    assert frame["choices"].to_list() == [["CT", "MRI"], [], []]
    assert frame["image"].to_list() == [None, None, None]
    found = score_answers([read_answers(file)], tmp_path / "scores", num_draws=20)
    values = {row["metric"]: row["value"] for row in found["metrics"] if row["slice"] == {}}
    assert values["choice_letter"] == 1.0
    assert values["token_f1"] == pytest.approx((2 / 3 + 1 + 1) / 3)  # {b, mri} against {mri}: 2 x 1 / (2 + 1)


def test_side_by_side_without_a_corpus(tmp_path):
    rows = [
        {"id": 0, "qtype": "closed", "reference": "yes", "prediction": "no", "question": "Is it?"},
        {"id": 1, "qtype": "open", "reference": ["left", "on the left"], "prediction": "On the left"},
        {"id": 2, "answer": "yes", "prediction": ""},
    ]
    frame = read_answers(write(tmp_path / "a.jsonl", rows)).predictions
    assert frame["answers"].to_list() == [["yes"], ["left", "on the left"], ["yes"]]
    assert frame["kind"].to_list() == ["closed", "open", "closed"]


def test_the_peer_file_is_read_as_it_is(real_data, tmp_path):
    file = real_data / "peers" / "gr5293" / "results" / "baseline" / "predictions.jsonl"
    published = json.loads((file.parent / "metrics.json").read_text())
    found = score_answers([read_answers(file)], tmp_path / "scores", num_draws=100)
    values = {(row["metric"], *row["slice"].values()): row for row in found["metrics"]}
    assert values["gr5293_f1", "open"]["value"] == pytest.approx(published["open"]["f1"], abs=1e-12)
    assert values["gr5293_bleu1", "open"]["value"] == pytest.approx(published["open"]["bleu1"], abs=1e-12)
    assert values["gr5293_rougeL", "open"]["value"] == pytest.approx(published["open"]["rougeL"], abs=1e-12)
    assert values["gr5293_exact", "closed"]["value"] == pytest.approx(published["closed"]["exact_match"], abs=1e-12)
    assert values["gr5293_exact", "closed"]["n"] == 251 and values["gr5293_exact",]["n"] == 451


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1, "answer": "yes"}\n{"id": 1, "answer": "no"}\n', "row 2: the id '1' is there twice"),
        ('{"id": 1, "answer": "yes"}\n{"id": 2, "ans', "row 2: not JSON"),
        ('{"id": 1, "words": "yes"}\n', "row 1: no answer in this row"),
        ("[1, 2]", "row 1: expected an object"),
        ("", "the file holds no answers"),
        ('{"id": "x", "answer": "yes"}\n', "no answer matches a question of the corpus"),
    ],
)
def test_bad_files_are_refused(tmp_path, corpus, text, message):
    file = tmp_path / "a.jsonl"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_answers(file, [corpus])


def test_answers_without_references_need_a_corpus(tmp_path):
    file = write(tmp_path / "a.jsonl", [{"id": "1", "answer": "yes"}])
    with pytest.raises(InputError, match="no reference in this row; name the corpus"):
        read_answers(file)
    with pytest.raises(InputError, match="no such file"):
        read_answers(tmp_path / "none.jsonl")


def test_two_files_are_compared(tmp_path, corpus):
    ids = [f"small-{number}" for number in range(10, 14)]
    right = [{"id": name, "answer": answer} for name, (_, _, answer, _) in zip(ids, QUESTIONS)]
    wrong = [{"id": name, "answer": "brain"} for name in ids]
    answers = [
        read_answers(write(tmp_path / "a.jsonl", wrong), [corpus], name="a"),
        read_answers(write(tmp_path / "b.jsonl", right), [corpus], name="b"),
    ]
    pairs = score_answers(answers, tmp_path / "scores", num_draws=20, cluster="subject")["paired"]
    pair = next(p for p in pairs if (p["metric"], p["slice"], p["test"]) == ("exact_match", {}, "permutation"))
    assert (pair["a"]["arm"], pair["b"]["arm"], pair["difference"]) == ("b", "a", 1.0)
    assert pair["num_clusters"] == 2 and pair["p"] == 0.5  # two subjects: 2 of 4 sign patterns are as far
