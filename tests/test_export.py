"""Exports: what is written imports back equal, and other tools' forms say what those tools read."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from making import picture
from radvqa import cli
from radvqa.datasets import import_corpus
from radvqa.errors import InputError
from radvqa.export import FORMS, export
from radvqa.sample import SCHEMA, Box, Corpus, CorpusWriter, Sample

CARD = {"name": "toy", "title": "Toy: a set", "licence": "CC BY 4.0", "commercial": True, "citation": "Doe (2020)."}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Every field filled once, and what is awkward: quotes, tabs, blanks at edges, Chinese, no picture, two formats."""
    mask = io.BytesIO()
    Image.new("1", (8, 6), 1).save(mask, "PNG")
    jpeg = io.BytesIO()
    picture(3).save(jpeg, "JPEG")
    everything = {
        "answers": (" two blanks ", "another"),
        "topic": "organ",
        "subject": "p1",
        "language": "zh",
        "origin": "llama3.1",
        "evidence": 'A "caption"\nof two\tlines',
        "modality": "CT",
        "plane": "axial",
        "region": "chest",
        "findings": ("mass", "effusion, left"),
        "boxes": (Box(label="mass", x=0.5, y=1, width=2, height=3.25),),
        "mask": mask.getvalue(),
        "extra": {"a": [1, {"b": None}], "text": "é"},
    }
    common = {"kind": "open", "split": "train", "source": "toy", "answers": ("yes",)}
    choice = {"kind": "choice", "choices": ("CT", "MR", "A: US"), "answers": ("MR",), "split": "test"}
    samples = [
        (Sample(**{**common, **everything, "id": "full", "question": " 这是什么? "}), picture(1)),
        (Sample(**{**common, "id": "1", "question": 'Is "it"\tCT?', "kind": "closed"}), picture(1)),
        (Sample(**{**common, **choice, "id": "choice", "question": "Which?"}), jpeg.getvalue()),
        (Sample(**{**common, **choice, "id": "odd", "question": "Which?", "answers": ("PET",)}), picture(2)),
        (Sample(**{**common, "id": "blind", "question": "How are you?", "split": "validation"}), None),
    ]
    with CorpusWriter(tmp_path / "corpus", CARD) as writer:
        for sample, image in samples:
            writer.add(sample, image)
    return Corpus(tmp_path / "corpus")


def assert_equal(again: Corpus, before: Corpus) -> None:
    """The same samples, order within a split aside, and the same bytes of every picture."""
    by_id = {sample.id: sample for sample in again.samples()}
    assert by_id == {sample.id: sample for sample in before.samples()}
    assert set(again.image_keys()) == set(before.image_keys())
    for key in before.image_keys():
        assert again.image_bytes(key) == before.image_bytes(key)


@pytest.mark.parametrize(
    ("form", "name", "file"),
    [("huggingface", "huggingface", ""), ("jsonl", "table", "questions.jsonl"), ("llava", "llava", "")],
)
def test_what_is_exported_imports_back_equal(corpus, tmp_path, form, name, file):
    found = export(corpus, tmp_path / "out", form)
    assert found["questions"] == 5 and found["left_out"] == {}
    again = reimported(name, tmp_path / "out" / file, tmp_path / "again")
    assert_equal(again, corpus)
    assert json.loads((tmp_path / "out" / "card.json").read_text()) == corpus.card
    for key in ("name", "title", "licence", "commercial", "citation"):  # the terms travel back too
        assert again.card[key] == corpus.card[key]


def reimported(name: str, path: Path, out: Path, **options) -> Corpus:
    return import_corpus(name, path, out, options={"without_image": "keep"} | options, progress=False)


def test_a_vlmevalkit_table_imports_back_equal_but_for_what_it_left_out(corpus, tmp_path):
    found = export(corpus, tmp_path / "out", "vlmevalkit")
    again = reimported("vlmevalkit", tmp_path / "out", tmp_path / "again")
    assert found["left_out"] == {"the answer is none of the choices": 1, "a question without a picture": 1}
    kept = {sample.id: sample for sample in corpus.samples() if sample.id not in ("odd", "blind")}
    assert {sample.id: sample for sample in again.samples()} == kept and len(kept) == 3
    for key in again.image_keys():
        assert again.image_bytes(key) == corpus.image_bytes(key)
    assert again.card["licence"] == "CC BY 4.0"


@pytest.mark.parametrize(
    ("form", "name", "old", "new"),
    [("llava", "llava", '"value": "yes"', '"value": "no"'), ("vlmevalkit", "vlmevalkit", "\tyes\t", "\tno\t")],
)
def test_what_was_edited_after_the_export_is_not_passed_over(corpus, tmp_path, form, name, old, new):
    export(corpus, tmp_path / "out", form)
    (file,) = (f for f in (tmp_path / "out").iterdir() if f.name in ("train.json", "toy_VQA.tsv"))
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    with pytest.raises(InputError, match="something else than `sample`"):
        reimported(name, tmp_path / "out", tmp_path / "again")


def test_the_datasets_library_loads_an_export_and_what_it_writes_imports_back_equal(corpus, tmp_path):
    datasets = pytest.importorskip("datasets")
    export(corpus, tmp_path / "out", "huggingface")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": 2, "validation": 1, "test": 2}
    row = loaded["train"][0]
    assert row["image"].size == (8, 6) and row["answers"] == [" two blanks ", "another"]
    assert row["boxes"][0]["height"] == 3.25 and loaded["validation"][0]["image"] is None
    loaded.save_to_disk(str(tmp_path / "arrow"), num_shards={"train": 2, "validation": 1, "test": 1})
    assert len(list((tmp_path / "arrow" / "train").glob("*.arrow"))) == 2
    (tmp_path / "shards").mkdir()
    for split, part in loaded.items():
        for place in range(2 if split != "validation" else 1):
            shard = part.shard(2 if split != "validation" else 1, place)
            shard.to_parquet(str(tmp_path / "shards" / f"{split}-{place:05d}-of-00002.parquet"))
    for folder in ("arrow", "shards"):
        assert_equal(reimported("huggingface", tmp_path / folder, tmp_path / "again"), corpus)
    # what `repository=` does with a hub's name, the library does with a folder's
    streamed = import_corpus(
        "huggingface",
        None,
        tmp_path / "streamed",
        options={"repository": str(tmp_path / "out"), "without_image": "keep"},
        progress=False,
    )
    assert_equal(streamed, corpus)


def test_a_folder_that_the_datasets_library_made(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"picture": [picture(seed) for seed in range(6)], "q": ["Which is it?"] * 6, "label": [0, 1, 1, 0, 1, 0]}
    kinds = {
        "picture": datasets.Image(),
        "q": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["CT", "MR"]),
    }
    made = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).train_test_split(2, shuffle=False)
    made.save_to_disk(str(tmp_path / "arrow"))
    for split, part in made.items():
        part.to_parquet(str(tmp_path / "parquet" / f"{split}-00000-of-00001.parquet"))
    columns = {"question": "q", "answer": "label", "image": "picture"}
    for folder in ("arrow", "parquet"):
        found = reimported("huggingface", tmp_path / folder, tmp_path / f"{folder}-corpus", columns=columns)
        samples = list(found.samples())
        # the names of the classes, not their numbers
        assert [s.answers[0] for s in samples] == ["CT", "MR", "MR", "CT", "MR", "CT"]
        assert [s.split for s in samples] == ["train"] * 4 + ["test"] * 2
        pixels = [found.image(s.image).tobytes() for s in samples]
        assert pixels == [picture(seed).tobytes() for seed in range(6)]


def test_croissant_is_valid_and_its_records_are_those_of_the_corpus(corpus, tmp_path):
    croissant = pytest.importorskip("mlcroissant")
    export(corpus, tmp_path / "out", "huggingface")
    found = croissant.Dataset(jsonld=str(tmp_path / "out" / "croissant.json"))  # raises where it is not valid
    assert not found.metadata.ctx.issues.errors
    (named,) = found.metadata.ctx.issues.warnings
    assert "datePublished" in named  # recommended; a corpus does not know it
    records = [(split.id, record) for split in found.metadata.record_sets for record in found.records(split.id)]
    assert sorted(record[f"{split}/id"].decode() for split, record in records) == sorted(s.id for s in corpus.samples())
    told = {record[f"{split}/id"]: (split, record) for split, record in records}
    split, full = told[b"full"]
    assert full[f"{split}/image"].tobytes() == picture(1).tobytes()
    assert full[f"{split}/answers"] == [b" two blanks ", b"another"]


def test_the_parquet_files_and_their_description(corpus, tmp_path):
    export(corpus, tmp_path / "out", "huggingface")
    files = sorted(file.name for file in (tmp_path / "out" / "data").iterdir())
    assert files == [f"{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")]
    train = pq.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert json.loads(train.schema.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
    first = train["image"][0].as_py()
    assert Image.open(io.BytesIO(first["bytes"])).size == (8, 6) and first["path"].endswith(".png")
    told = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert told["license"] == "CC BY 4.0" and told["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for item in told["distribution"]:
        data = (tmp_path / "out" / item["contentUrl"]).read_bytes()
        assert item["sha256"] == hashlib.sha256(data).hexdigest() and item["contentSize"] == f"{len(data)} B"
    for records in told["recordSet"]:
        assert [field["name"] for field in records["field"]] == SCHEMA.names
        sources = [part["source"] for field in records["field"] for part in field.get("subField", [field])]
        assert all(source["fileObject"]["@id"].startswith("data/") for source in sources)
    head = (tmp_path / "out" / "README.md").read_text().split("---")[1]
    assert 'license_name: "CC BY 4.0"' in head and "path: data/test-*" in head


def test_llava_conversations(corpus, tmp_path):
    export(corpus, tmp_path / "out", "llava")
    train, test, validation = (
        json.loads((tmp_path / "out" / f"{split}.json").read_text()) for split in ("train", "test", "validation")
    )
    assert [record["id"] for record in train] == ["full", "1"]
    assert train[1]["conversations"] == [
        {"from": "human", "value": '<image>\nIs "it"\tCT?'},
        {"from": "gpt", "value": "yes"},
    ]
    assert test[0]["conversations"][0]["value"] == "<image>\nWhich?\nA. CT\nB. MR\nC. A: US"
    assert "image" not in validation[0] and validation[0]["conversations"][0]["value"] == "How are you?"
    assert (tmp_path / "out" / test[0]["image"]).read_bytes() == corpus.image_bytes(Path(test[0]["image"]).stem)


def test_vlmevalkit_tables(corpus, tmp_path):
    found = export(corpus, tmp_path / "out", "vlmevalkit")
    assert found["left_out"] == {"the answer is none of the choices": 1, "a question without a picture": 1}
    csv.field_size_limit(sys.maxsize)
    plain, choice = (
        list(csv.DictReader((tmp_path / "out" / f"toy_{kind}.tsv").open(newline=""), delimiter="\t"))
        for kind in ("VQA", "MCQ")
    )
    assert [row["question"] for row in plain] == [" 这是什么? ", 'Is "it"\tCT?'] and plain[1]["image"] == "0"
    (row,) = choice
    assert (row["A"], row["B"], row["C"], row["answer"], row["split"]) == ("CT", "MR", "A: US", "B", "test")
    assert Image.open(io.BytesIO(base64.b64decode(row["image"]))).format == "JPEG"


def test_nothing_is_overwritten_and_nothing_partial_is_left(corpus, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown form 'coco'"):
        export(corpus, tmp_path / "out", "coco")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="there already"):
        export(corpus, tmp_path / "there", "jsonl")

    def full(corpus, folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(FORMS, "jsonl", full)
    with pytest.raises(InputError, match="No space left"):
        export(corpus, tmp_path / "out", "jsonl")
    assert not list(tmp_path.glob("out*"))


def test_the_verb(corpus, tmp_path):
    out = tmp_path / "out"
    said = CliRunner().invoke(cli.app, ["export", str(corpus.folder), "vlmevalkit", "--out", str(out)])
    assert said.exit_code == 0 and "3 questions in" in said.output and "left out: 1" in said.output
    said = CliRunner().invoke(cli.app, ["export", str(corpus.folder), "coco", "--out", str(tmp_path / "other")])
    assert said.exit_code == 2
