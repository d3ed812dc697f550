"""`radvqa score` as a user runs it: answers of others, radvqa's own beside them, and what is said first."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from radvqa import cli
from radvqa.sample import Corpus
from radvqa.score import read_answers
from standins import write_corpus


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write_corpus(tmp_path / "toy", num=48)


def write_answers(file: Path, corpus: Path, answer=None) -> Path:
    rows = [{"id": s.id, "answer": answer or s.answers[0]} for s in Corpus(corpus).samples(split="test")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_answers_of_any_model(tmp_path, corpus):
    good, bad = write_answers(tmp_path / "good.jsonl", corpus), write_answers(tmp_path / "bad.jsonl", corpus, "maybe")
    out = tmp_path / "scores"
    found = invoke("score", "--answers", good, "--answers", f"theirs={bad}", "--corpus", corpus, "--out", out)
    assert found.exit_code == 0, found.output
    # the first line is what a reader must know first
    assert found.output.startswith("warning: theirs: the full score is not above the majority answer")
    for words in ("exact match", "closed accuracy", "ROUGE-L", "good", "theirs", "majority"):
        assert words in found.output
    assert "theirs - good: -100.0 points of closed accuracy" in found.output
    scores = json.loads((out / "scores.json").read_text())
    assert [one["num_matched"] for one in scores["answers"]] == [12, 12]
    assert scores["warnings"][: len(scores["blind"])] == scores["blind"] != []


def test_answers_beside_own_predictions(tmp_path, corpus):
    file = write_answers(tmp_path / "theirs.jsonl", corpus)
    own = read_answers(file, [corpus], name="ours").predictions.with_columns(answer=pl.lit("yes"))
    own.write_parquet(tmp_path / "own.parquet")
    found = invoke("score", tmp_path / "own.parquet", "--answers", file, "--corpus", corpus, "--out", tmp_path / "s")
    assert found.exit_code == 0 and "theirs - ours" in found.output


def test_only_the_metrics_asked_for(tmp_path, corpus):
    file = write_answers(tmp_path / "a.jsonl", corpus)
    found = invoke("score", "--answers", file, "--corpus", corpus, "--out", tmp_path / "s", "--metric", "token_f1")
    assert found.exit_code == 0 and "token F1" in found.output and "ROUGE" not in found.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no predictions to score"),
        (("--answers", "nowhere.jsonl"), "nowhere.jsonl: no such file of answers"),
        (("nowhere",), "no such predictions"),
    ],
)
def test_bad_input(tmp_path, arguments, message):
    found = invoke("score", *arguments, "--out", tmp_path / "s")
    assert found.exit_code == 2 and message in found.output and not (tmp_path / "s").exists()


def test_real_answers_of_llava_med(real_data, tmp_path):
    assert invoke("import", "vqa_rad", real_data / "vqa_rad", "--out", tmp_path / "vqa_rad").exit_code == 0
    file = real_data / "peers" / "llava_med" / "answer-file-llava-zeorshot.jsonl"
    found = invoke("score", "--answers", f"llava={file}", "--corpus", tmp_path / "vqa_rad", "--out", tmp_path / "s")
    assert found.exit_code == 0, found.output
    rows = json.loads((tmp_path / "s" / "scores.json").read_text())["metrics"]
    values = {row["metric"]: round(100 * row["value"], 4) for row in rows if row["slice"] == {}}
    for name, value in (("recall", 12.0411), ("f1", 2.8002), ("precision", 1.7082), ("yes_no", 28.6765)):
        assert values[f"llava_med_official_{name}"] == value


# ---------------------------------------------------------------- workbooks

SPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def workbook(file: Path, sheet: str, shared: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", f"<worksheet {SPACE}><sheetData>{sheet}</sheetData></worksheet>")
        if shared:
            book.writestr("xl/sharedStrings.xml", f"<sst {SPACE}>{shared}</sst>")
    return file


def test_workbooks_as_vlmevalkit_writes_them(tmp_path):
    words = ("index", "question", "answer", "prediction", "Where?", "left lung")
    shared = "".join(f"<si><t>{word}</t></si>" for word in words) + "<si><r><t>the left</t></r><r><t> lung</t></r></si>"
    head = "".join(f'<c r="{letter}1" t="s"><v>{place}</v></c>' for place, letter in enumerate("ABCD"))
    # the question of the second row is left out, as writers leave out empty cells
    first = '<c r="A2"><v>0</v></c><c r="B2" t="s"><v>4</v></c><c r="C2" t="s"><v>5</v></c><c r="D2" t="s"><v>6</v></c>'
    second = '<c r="A3"><v>1</v></c><c r="C3" t="inlineStr"><is><t>yes</t></is></c><c r="D3" t="b"><v>1</v></c>'
    sheet = "".join(f"<row>{cells}</row>" for cells in (head, first, second))
    frame = read_answers(workbook(tmp_path / "model.xlsx", sheet, shared)).predictions
    assert frame["answer"].to_list() == ["the left lung", "true"]
    assert frame["answers"].to_list() == [["left lung"], ["yes"]]
    assert frame["question"].to_list() == ["Where?", ""]


def test_what_is_no_workbook_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_text("no zip")
    found = invoke("score", "--answers", tmp_path / "a.xlsx", "--out", tmp_path / "s")
    assert found.exit_code == 2 and "not an .xlsx workbook" in found.output
