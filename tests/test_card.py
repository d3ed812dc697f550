"""The card of corpora and the terms on which they may be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from making import picture
from radvqa import cli
from radvqa.card import COUNTED, _table, draw_card
from radvqa.conditions import conditions_of
from radvqa.errors import InputError
from radvqa.licences import read_terms, restriction, terms_of, write_terms
from radvqa.report.card import leakage_sentence
from radvqa.sample import Corpus, CorpusWriter, Sample

FREE = {"name": "a", "title": "A", "licence": "CC0", "commercial": True, "citation": "x", "homepage": ""}
CLOSED = {"name": "b", "title": "B <set>", "licence": "CC BY-NC 4.0", "commercial": False}


def write(folder: Path, card: dict, num: int = 6) -> Path:
    """Two questions a picture; the first picture has two findings, the others none."""
    with CorpusWriter(folder, card) as writer:
        for number in range(num):
            found = ("Mass", "effusion") if number < 2 else ()
            sample = Sample(
                id=f"q{number}",
                question="Is it a CT?",
                answers=("yes it is",),
                kind="closed" if number % 2 else "open",
                split="train",
                source=card["name"],
                modality="CT" if number < 4 else None,
                findings=found,
            )
            writer.add(sample, picture(number // 2))
    return folder


def test_values_are_counted_by_picture_and_kinds_by_question(tmp_path):
    table = _table(Corpus(write(tmp_path / "a", FREE)))
    counted = {name: count(table, "A") for name, count in COUNTED.items()}
    assert counted["Conditions"].values == {"mass": 1, "effusion": 1, "not stated": 2}
    assert counted["Modalities"].values == {"CT": 2, "not stated": 1} and counted["Modalities"].total == 3
    assert counted["Kinds of question"].values == {"open": 3, "closed": 3}
    assert counted["Modalities"].share("CT") == pytest.approx(2 / 3)
    assert table["question"].to_list() == [4] * 6 and table["answer"].to_list() == [3] * 6


def sample_of(**fields) -> Sample:
    plain = {
        "id": "q",
        "question": "What is shown?",
        "answers": ("a scan",),
        "kind": "open",
        "split": "train",
        "source": "s",
    }
    return Sample(**plain | fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"findings": ("Meningioma (WHO I)", "Strange disease")}, ("meningioma", "strange disease")),
        ({"evidence": "A mass, no pleural effusion."}, ("mass",)),
        ({"findings": ("C0205129", "Left"), "extra": {"cuis": ["C0032326"]}}, ("pneumothorax",)),
        ({"answers": ("a fracture of the rib",)}, ("fracture",)),
        ({"question": "Is there a stone?", "kind": "closed", "answers": ("yes",)}, ("stone",)),
        ({"question": "Is there a stone?", "kind": "closed", "answers": ("no",)}, ()),
        ({"question": "Is there no stone?", "kind": "closed", "answers": ("yes",)}, ()),
        ({"evidence": "No mass.", "answers": ("No mass.",)}, ()),
    ],
)
def test_conditions_in_one_vocabulary(fields, expected):
    assert conditions_of(sample_of(**fields)) == expected


def test_subjects_are_counted_where_there_are_no_pictures(tmp_path):
    with CorpusWriter(tmp_path / "c", FREE) as writer:
        for number in range(4):
            region = "thorax" if number % 2 else None
            writer.add(sample_of(id=f"q{number}", subject=f"s{number // 2}", region=region), None)
    counted = COUNTED["Body regions"](_table(Corpus(tmp_path / "c")), "C")
    assert (counted.values, counted.total, counted.unit) == ({"chest": 2}, 2, "subjects")


def test_the_page_and_its_figures(tmp_path):
    corpora = [write(tmp_path / "a", FREE), write(tmp_path / "b", CLOSED, 4)]
    page = draw_card(corpora, tmp_path / "card")
    text = page.read_text()
    assert "B &lt;set&gt;" in text and "<set>" not in text and "CC BY-NC 4.0" in text and "http://" not in text
    names = {
        "conditions",
        "modalities",
        "body_regions",
        "kinds_of_question",
        "length_of_questions",
        "length_of_answers",
    }
    assert {file.stem for file in page.parent.glob("*.png")} == names
    for file in page.parent.glob("*.png"):
        with Image.open(file) as figure:
            assert figure.width == 1620
    before = text
    assert draw_card(corpora, tmp_path / "card").read_text() == before  # drawn again in its place, the same bytes
    with pytest.raises(InputError, match="something that is no card"):
        draw_card(corpora, tmp_path / "a")
    with pytest.raises(InputError, match="not a corpus folder"):
        draw_card([tmp_path], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_verb(tmp_path):
    write(tmp_path / "a", FREE)
    out = tmp_path / "card"
    said = CliRunner().invoke(cli.app, ["card", str(tmp_path / "a"), "--out", str(out)])
    assert said.exit_code == 0 and "licence: CC0" in said.output and "6 questions on 3 images" in said.output
    assert (out / "index.html").is_file()


# ---------------------------------------------------------------- terms


def test_terms_travel_and_are_told_once(tmp_path):
    write_terms(tmp_path, terms_of([FREE, CLOSED]))
    assert json.loads((tmp_path / "licences.json").read_text())[0] == FREE
    inherited = read_terms(tmp_path)
    assert [one["name"] for one in terms_of([CLOSED, FREE, {**FREE, "name": "c"}], inherited)] == ["a", "b", "c"]
    assert read_terms(tmp_path / "nowhere") == []


def test_what_is_not_free_is_said():
    assert restriction(terms_of([FREE])) is None and restriction([]) is None
    assert (restriction(terms_of([FREE, CLOSED])) or "").startswith("B <set> (CC BY-NC 4.0) does not allow")
    silent = {"name": "mine"}  # a card that says nothing allows nothing
    assert "B <set> (CC BY-NC 4.0) and mine (no licence) do not" in (restriction(terms_of([CLOSED, silent])) or "")


def test_the_report_says_what_is_shared():
    found = {"train_questions": 10, "test_questions": 4, "pairs": {}, "dropped": {}}
    assert "share no picture" in (leakage_sentence(found) or "") and leakage_sentence(None) is None
    said = leakage_sentence({**found, "pairs": {"pixels": 2, "text": 1}, "dropped": {"pixels": 3}}) or ""
    assert "the same picture (2)" in said and "3 training questions were left out" in said
    assert "all were trained on" in (leakage_sentence({**found, "pairs": {"pixels": 2}}) or "")
