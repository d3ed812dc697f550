"""Tables of one's own: names of columns, kinds, splits, and every mistake with its file and row."""

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layouts import LAYOUTS
from layouts_tables import TABLE_COLUMNS, TABLE_ROWS
from making import png, save
from radvqa.datasets import checked_options, get, import_corpus
from radvqa.datasets.json_array import CHUNK, elements
from radvqa.datasets.reading import csv_records, jsonl_records, lines
from radvqa.errors import InputError
from radvqa.sample import Box, Sample, to_row


def read(file: Path, **options) -> list[Sample]:
    save(file.parent / "x.png", 1)
    checked = checked_options("table", options)
    return [row.sample for row in get("table").rows(file, **checked, drop=lambda reason: None)]


def csv_file(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_bytes(text.encode())
    return folder / "t.csv"


HEAD = "question,answer,image,kind,choices,split,id\n"


def test_fields_by_their_own_names(tmp_path):
    rows = 'Is it?,Yes,x.png,,,,\nWhich?,mr,x.png,,ct|mr,val,seven\n"What, so?",a|b,x.png,open,,TEST,\n'
    first, second, third = read(csv_file(tmp_path, HEAD + rows))
    assert (first.id, first.kind, first.answers, first.split, first.source) == ("t-2", "closed", ("yes",), "train", "t")
    assert (second.id, second.kind, second.choices, second.split) == ("seven", "choice", ("ct", "mr"), "validation")
    assert (third.question, third.answers, third.split) == ("What, so?", ("a", "b"), "test")


def test_columns_that_are_no_fields_are_kept(tmp_path):
    (sample,) = read(csv_file(tmp_path, "question,answer,image,reader,empty\nq,a,x.png,Dr B,\n"))
    assert sample.extra == {"reader": "Dr B"}


def test_the_rows_of_every_format_are_the_same(tmp_path):
    found = []
    for layout in ("table_csv", "table_tsv", "table_jsonl", "table_json"):
        name, path, options = LAYOUTS[layout](tmp_path / layout)
        rows = list(get(name).rows(path, **checked_options(name, options | {"name": "n"}), drop=print))
        found.append(
            [(r.sample.question, r.sample.answers, r.sample.kind, r.sample.choices, r.sample.split) for r in rows]
        )
    assert found[0] == found[1] == found[2] == found[3] and len(found[0]) == 3


@pytest.mark.parametrize("answer", ["MR", "mr", "b", "B"])
def test_a_choice_is_named_by_its_words_or_its_letter(answer, tmp_path):
    (sample,) = read(csv_file(tmp_path, HEAD + f"Which?,{answer},x.png,,ct|mr,,\n"))
    assert sample.answers == ("mr",)


def test_a_letter_that_is_itself_an_option_is_that_option(tmp_path):
    (sample,) = read(csv_file(tmp_path, HEAD + "Which?,B,x.png,,b|a,,\n"))
    assert sample.answers == ("b",)


def test_lists_in_json_text_and_in_json(tmp_path):
    record = {"question": "q", "answer": ["one", "two"], "image": "x.png", "findings": '["a, b", "c"]'}
    (tmp_path / "t.jsonl").write_text(json.dumps(record))
    (sample,) = read(tmp_path / "t.jsonl")
    assert sample.answers == ("one", "two") and sample.findings == ("a, b", "c")
    (sample,) = read(csv_file(tmp_path, "question,answer,image\nq,[sic] not a list,x.png\n"))
    assert sample.answers == ("[sic] not a list",)


def test_what_a_corpus_holds_reads_back_equal(tmp_path):
    whole = Sample(
        id="i",
        question=" Q?",
        answers=("Yes", "aye "),
        kind="choice",
        choices=("yes", "no ", "Yes"),
        split="test",
        source="s",
        topic="t",
        subject="p",
        language="de",
        origin="template",
        evidence="e",
        modality="CT",
        plane="axial",
        region="head",
        findings=("f",),
        boxes=(Box(label="b", x=1.5, y=2, width=3, height=4),),
        mask=png(1),
        extra={"n": 1, "list": [1, 2], "deep": {"a": None}},
    )
    row = to_row(whole) | {"image": "x.png"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "t.parquet")
    text = row | {"mask": base64.b64encode(row["mask"]).decode()}
    (tmp_path / "t.jsonl").write_text(json.dumps(text))
    for name in ("t.parquet", "t.jsonl"):
        assert read(tmp_path / name, separator="") == [whole]


def test_validation_is_by_subject_else_by_image(tmp_path):
    rows = "".join(f"q{i},a,x{i % 5}.png\n" for i in range(20))
    file = csv_file(tmp_path, "question,answer,image\n" + rows)
    found = [row for row in get("table").rows(file, validation_share=0.4, drop=print)]
    held = {row.picture for row in found if row.sample.split == "validation"}
    # 5 images, round(0.4 x 5) = 2 of them with all 4 of their questions
    assert len(held) == 2 and sum(row.sample.split == "validation" for row in found) == 8


def test_rows_without_an_image(tmp_path):
    file = csv_file(tmp_path, "question,answer,image\nq,a,\nr,b,x.png\n")
    with pytest.raises(InputError, match=r"t\.csv, row 2, image: no image is named"):
        read(file)
    assert [s.question for s in read(file, without_image="keep")] == ["q", "r"]
    assert [s.question for s in read(file, without_image="drop")] == ["r"]
    with pytest.raises(InputError, match="no image is named"):
        read(csv_file(tmp_path, "question,answer\nq,a\n"))


def test_empty_answers_stop_or_are_counted(tmp_path):
    file = csv_file(tmp_path, HEAD + "q,a,x.png,,,,\nr, ,x.png,,,,\n")
    with pytest.raises(InputError, match=r"t\.csv, row 3, answer: a question without an answer"):
        read(file)
    dropped = []
    list(get("table").rows(file, drop_empty_answers=True, drop=dropped.append))
    assert dropped == ["an empty answer"]


MISTAKES = {
    "no column": ("q,a\nx,y\n", {}, r"t\.csv, columns\.question: no column 'question'; the columns are q, a"),
    "a named column that is not there": (
        "question,answer,image\nq,a,x.png\n",
        {"columns": {"topic": "about"}},
        r"columns\.topic: no column 'about'",
    ),
    "a field that is none": ("question,answer\n", {"columns": {"colour": "c"}}, "there is no field 'colour'"),
    "an empty question": (HEAD + "  ,a,x.png,,,,\n", {}, r"t\.csv, row 2, question: the question is empty"),
    "an unknown kind": (HEAD + "q,a,x.png,opn,,,\n", {}, r"t\.csv, row 2: kind is 'opn'; use open, closed, choice"),
    "an unknown split": (HEAD + "q,a,x.png,,,trian,\n", {}, r"t\.csv, row 2, split: unknown split 'trian'"),
    "one choice": (HEAD + "q,ct,x.png,,ct,,\n", {}, r"t\.csv, row 2, choices: a choice question with 1 choices"),
    "an answer that is no choice": (
        HEAD + "q,pet,x.png,,ct|mr,,\n",
        {},
        r"t\.csv, row 2, answer: .*none of the choices",
    ),
    "an id twice": (HEAD + "q,a,x.png,,,,7\nr,b,x.png,,,,7\n", {}, r"t\.csv, row 3, id: the id '7' is there twice"),
    "too many fields": (HEAD + "q,a,x.png,,,,,,\n", {}, r"t\.csv, row 2: 9 fields where the header has 7"),
    "too few fields": (HEAD + "q,a\n", {}, r"t\.csv, row 2: 2 fields where the header has 7"),
    "an open quote": (HEAD + 'q,"a,x.png\n\n', {}, r"t\.csv, row \d: not a valid table"),
    "a NUL byte": (HEAD + "q,a\0,x.png,,,,\n", {}, r"t\.csv, row 2: a NUL byte"),
    "an absolute name": (
        HEAD + "q,a,/etc/passwd,,,,\n",
        {},
        r"t\.csv, row 2: the image name '/etc/passwd' is not a path",
    ),
    "a name that climbs": (HEAD + "q,a,../x.png,,,,\n", {}, r"t\.csv, row 2: the image name '../x.png' is not a path"),
    "a column twice": ("question,answer,answer\nq,a,b\n", {}, r"t\.csv, row 1: a column name is there twice: answer"),
    "an empty file": ("", {}, r"t\.csv: the file is empty"),
    "no image folder": (HEAD, {"images": "nowhere"}, "no such image folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_name_their_file_and_row(mistake, tmp_path):
    text, options, message = MISTAKES[mistake]
    with pytest.raises(InputError, match=message):
        read(csv_file(tmp_path, text), **options)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.jsonl", b'{"question": "q"\n', r"t\.jsonl, row 1: not valid JSON"),
        (
            "t.jsonl",
            b'{"question":"q","answer":"a","image":"x.png"}\n[1]\n',
            r"t\.jsonl, row 2: expected a record, found list",
        ),
        ("t.jsonl", b'{"question":"q","answer":{"x":1},"image":"x.png"}', r"row 1, answer: expected text, found dict"),
        ("t.jsonl", b'{"question":"q","answer":"a","image":7}', r"row 1, image: expected a file name, found int"),
        ("t.jsonl", b'{"question":"q","answer":"a","image":"x.png","boxes":[{"label":"b"}]}', "not a list of boxes"),
        ("t.jsonl", b'{"question":"q","answer":"a","image":"x.png","mask":"zzz"}', "not a PNG, as bytes or in base64"),
        ("t.json", b'{"question":"q"}', r"t\.json: expected a list of records"),
        ("t.json", b'[{"question":"q","answer":"a","image":"x.png"},', r"t\.json, row 2: not valid JSON"),
        ("t.json", b'[{"question":"q","answer":"a","image":"x.png"}] x', "something follows the list: 'x'"),
        ("t.json", b'["a"]', r"t\.json, row 1: expected a record, found str"),
        ("t.csv", "question,answer\nq,é".encode("latin-1"), r"t\.csv, row 2: byte 0xe9 at column 3 is not utf-8"),
        ("t.csv", "question,answer\n".encode("utf-16"), r"t\.csv, row 1: the file is UTF-16"),
        ("t.parquet", b"PAR1", r"t\.parquet: not a readable Parquet file"),
        ("t.xlsx", b"PK", r"the ending '\.xlsx' says no format"),
        ("t.csv.gz", b"not zipped", r"t\.csv\.gz: the file cannot be read to its end"),
    ],
)
def test_broken_files(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_another_encoding_can_be_named(tmp_path):
    (tmp_path / "t.csv").write_bytes("question,answer,image\nOù?,côté,x.png\n".encode("latin-1"))
    assert read(tmp_path / "t.csv", encoding="latin-1")[0].answers == ("côté",)
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        read(tmp_path / "t.csv", encoding="klingon")


def test_a_quoted_field_may_hold_line_ends(tmp_path):
    (sample,) = read(csv_file(tmp_path, 'question,answer,image\r\n"one\r\ntwo?",a,x.png\r\n'))
    assert sample.question == "one\ntwo?"


def test_readers_pass_over_blank_lines_and_marks(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n\r\n1,2\r\n")
    assert list(csv_records(tmp_path / "a.csv")) == [(3, {"a": "1", "b": "2"})]
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}\n')
    assert list(jsonl_records(tmp_path / "a.jsonl")) == [(1, {"a": 1}), (3, {"a": 2})]
    assert list(lines(tmp_path / "a.csv")) == [(1, "a,b"), (2, ""), (3, "1,2")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(json_values, max_size=8), st.sampled_from([None, 1, 4]), st.sampled_from([3, 17, CHUNK]), st.booleans())
def test_arrays_in_pieces_are_what_json_says(tmp_path_factory, value, indent, chunk, ascii_only):
    file = tmp_path_factory.getbasetemp() / "array.json"
    file.write_text(json.dumps(value, indent=indent, ensure_ascii=ascii_only), encoding="utf-8", errors="surrogatepass")
    import radvqa.datasets.json_array as module

    before, module.CHUNK = module.CHUNK, chunk
    try:
        assert [found for _, found in elements(file)] == value
    except InputError as error:
        assert "not UTF-8" in str(error) and not ascii_only  # a lone surrogate cannot be written as UTF-8
    finally:
        module.CHUNK = before


def test_the_array_reader_does_not_hold_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("radvqa.datasets.json_array.CHUNK", 64)
    (tmp_path / "a.json").write_text(json.dumps([{"n": i, "text": "x" * 40} for i in range(500)]))
    found = elements(tmp_path / "a.json")
    for place, value in found:
        assert value["n"] == place - 1
        assert len(found.gi_frame.f_locals["text"]) < 400


def test_a_table_imports_from_the_command_line_s_texts(tmp_path):
    for seed, name in enumerate(["a.png", "b.png", "sub/c.png"]):
        save(tmp_path / name, seed)
    (tmp_path / "t.json").write_text(json.dumps(TABLE_ROWS))
    options = {"columns": TABLE_COLUMNS, "images": str(tmp_path), "commercial": "true"}
    corpus = import_corpus("table", tmp_path / "t.json", tmp_path / "out", options=options, progress=False)
    assert corpus.card["commercial"] is True and corpus.card["num_images"] == 3


# ---------------------------------------------------------------- other tools' forms


def test_llava_conversations(tmp_path):
    name, path, options = LAYOUTS["llava"](tmp_path)
    samples = [row.sample for row in get(name).rows(path, **options, drop=print)]
    assert [(s.id, s.question, s.answers, s.kind, s.split) for s in samples] == [
        ("r0-1", "Is it large?", ("yes",), "closed", "train"),
        ("r0-2", "What is shown?", ("a mass",), "open", "train"),
        ("r1", "Which plane is it?", ("axial",), "open", "train"),
        ("r2", "Which plane is it?", ("axial",), "open", "validation"),
    ]
    one = list(get(name).rows(path / "val.json", split="test", drop=print))
    assert [row.sample.split for row in one] == ["validation"] and one[0].picture == path / "images/1.png"
    (path / "mine.json").write_text((path / "val.json").read_text())
    assert [row.sample.split for row in get(name).rows(path / "mine.json", split="test", drop=print)] == ["test"]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "expected turns"),
        ([{"from": "human", "value": "q"}], "expected turns"),
        ([{"from": "gpt", "value": "q"}, {"from": "human", "value": "a"}], "expected a turn from human"),
        ([{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "a"}], "the question is empty"),
        ([{"from": "human", "value": "q"}, {"from": "gpt", "value": None}], "expected text"),
    ],
)
def test_conversations_that_are_none(turns, message, tmp_path):
    save(tmp_path / "x.png", 1)
    (tmp_path / "train.json").write_text(json.dumps([{"id": "1", "image": "x.png", "conversations": turns}]))
    with pytest.raises(InputError, match=rf"train\.json, row 1, .*{message}"):
        list(get("llava").rows(tmp_path, drop=print))


def test_vlmevalkit_tables(tmp_path):
    name, path, options = LAYOUTS["vlmevalkit"](tmp_path)
    rows = list(get(name).rows(path, **options, drop=print))
    assert [(s.sample.answers, s.sample.kind, s.sample.choices, s.sample.topic, s.sample.split) for s in rows] == [
        (("MR",), "choice", ("CT", "MR"), "modality", "test"),
        (("yes",), "closed", (), "plane", "test"),
        (("a mass",), "open", (), None, "test"),
    ]
    assert rows[0].picture == rows[1].picture and rows[0].sample.extra == {"l2-category": "x"}


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("7", "no row before this one"),
        ("['a']", "several pictures"),
        ("no base 64!", "neither base64"),
        ("", "no image"),
    ],
)
def test_images_that_a_vlmevalkit_table_cannot_have(cell, message, tmp_path):
    (tmp_path / "t.tsv").write_text(f"index\timage\tquestion\tanswer\n0\t{cell}\tq\ta\n")
    with pytest.raises(InputError, match=rf"t\.tsv, row 2, image: {message}"):
        list(get("vlmevalkit").rows(tmp_path / "t.tsv", drop=print))
    (tmp_path / "p.tsv").write_text("index\timage_path\tquestion\tanswer\n0\tx.png\tq\ta\n")
    assert next(get("vlmevalkit").rows(tmp_path / "p.tsv", drop=print)).picture == tmp_path / "x.png"


def test_the_terms_of_an_export_travel_and_what_the_user_says_goes_before(tmp_path):
    csv_file(tmp_path, "question,answer,image\nq,a,x.png\n")
    save(tmp_path / "x.png", 1)
    terms = {"name": "toy", "title": "Toy", "licence": "CC BY-NC 4.0", "commercial": False, "citation": "Doe (2020)."}
    (tmp_path / "card.json").write_text(json.dumps(terms))
    card = import_corpus("table", tmp_path / "t.csv", tmp_path / "out", progress=False).card
    assert {key: card[key] for key in terms} == terms and "card.json" in card["inputs"]
    options = {"licence": "mine", "commercial": True}
    card = import_corpus("table", tmp_path / "t.csv", tmp_path / "out", options=options, progress=False).card
    assert (card["licence"], card["commercial"], card["name"]) == ("mine", True, "toy")
    (tmp_path / "card.json").write_text("[1]")  # somebody else's
    card = import_corpus("table", tmp_path / "t.csv", tmp_path / "out", progress=False).card
    assert (card["name"], card["licence"]) == ("t", "not stated")
