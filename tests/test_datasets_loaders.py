"""What each loader makes of its rows, field by field, on the official layouts with their quirks."""

import io
import json
import pickle
import sys
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from layouts import LAYOUTS, rad_record
from making import png, save, write
from radvqa.datasets import checked_options, get, import_corpus
from radvqa.datasets.path_vqa import load_plain
from radvqa.datasets.pmc_vqa import choices_of
from radvqa.errors import InputError
from radvqa.sample import Box, Sample


def read(layout: str, folder: Path, **more) -> tuple[list[Sample], Counter]:
    """The samples of a layout, and what was dropped."""
    dropped: Counter = Counter()
    name, path, options = LAYOUTS[layout](folder)
    checked = checked_options(name, options | more)
    found = get(name).rows(path, **checked, drop=lambda reason: dropped.update([reason]))
    return [row.sample for row in found], dropped


# ---------------------------------------------------------------- SLAKE


def test_slake(tmp_path):
    samples, _ = read("slake", tmp_path)
    first = samples[0]
    assert (first.id, first.kind, first.answers, first.topic) == ("slake-0", "closed", ("yes",), "organ")
    assert (first.modality, first.region, first.plane, first.subject) == ("MR", "abdomen", "axial", "slake-1")
    assert first.boxes == (
        Box(label="Liver", x=1, y=2, width=3, height=2),
        Box(label="Kidney", x=0, y=0, width=1, height=1),
    )
    assert [s.language for s in samples] == ["en", "en", "en", "zh", "en", "en"]
    assert samples[4].topic == "knowledge" and samples[4].split == "validation" and samples[4].boxes == ()
    assert (samples[5].modality, samples[5].region, samples[5].split) == ("X-ray", "chest", "test")


def test_slake_masks_are_of_the_structure_that_is_named(tmp_path):
    samples, _ = read("slake", tmp_path)
    liver, kidney, plane = (sample.mask for sample in samples[:3])
    picture = Image.open(io.BytesIO(liver))
    assert picture.mode == "1" and picture.size == (8, 6)
    # liver: rows 0-1, columns 0-3 = 8 pixels; left kidney (not the other one): rows 3-4, columns 5-7 = 6 pixels
    assert np.asarray(picture)[0:2, 0:4].all() and np.asarray(picture).sum() == 8
    mask = np.asarray(Image.open(io.BytesIO(kidney)))
    assert mask[3:5, 5:8].all() and mask.sum() == 6
    assert plane is None


def test_slake_by_language_split_and_without_evidence(tmp_path):
    samples, dropped = read("slake", tmp_path, languages=["zh"], splits=["train"], evidence=False)
    assert [s.id for s in samples] == ["slake-3"] and samples[0].mask is None and not dropped


def test_slake_with_a_broken_detection_file(tmp_path):
    name, path, options = LAYOUTS["slake"](tmp_path)
    write(path / "imgs/xmlab1/detection.json", '[{"Liver": [1, 2, 3]}]')
    with pytest.raises(InputError, match=r"detection\.json: expected a list of"):
        list(get(name).rows(path, **checked_options(name, options), drop=print))


# ---------------------------------------------------------------- VQA-RAD


def test_vqa_rad(tmp_path):
    samples, _ = read("vqa_rad", tmp_path)
    assert [s.id for s in samples] == [f"vqa_rad-{i}" for i in range(6)]
    assert [s.answers[0] for s in samples] == ["yes", "4", "no", "left, upper", "no", "MRI"]
    assert [s.kind for s in samples] == ["closed", "open", "closed", "open", "closed", "open"]
    assert [s.topic for s in samples] == ["presence", "count", "presence", "position", "presence", "modality"]
    assert [s.region for s in samples] == ["chest", "chest", "chest", "abdomen", "head", "chest"]
    assert samples[3].modality == "CT" and samples[3].extra["question_type"] == "POS, PRES"
    assert samples[0].modality == "X-ray" and samples[4].modality is None
    assert samples[0].subject == "case-synpic1" and "question_rephrase" not in samples[0].extra
    assert samples[5].extra["phrase_type"] == "test_para"


def test_the_three_forms_of_vqa_rad_agree(tmp_path):
    official, _ = read("vqa_rad", tmp_path / "a")
    mevf, dropped = read("vqa_rad_mevf", tmp_path / "b")
    exported, _ = read("vqa_rad_hf", tmp_path / "c")
    same = [(s.id, s.question, s.answers, s.kind, s.topic, s.split, s.region) for s in official]
    assert [(s.id, s.question, s.answers, s.kind, s.topic, s.split, s.region) for s in mevf] == same
    assert sum(dropped.values()) == 1
    assert [(s.question.lower(), s.split, s.kind) for s in official] == [
        (s.question, s.split, s.kind) for s in exported
    ]
    assert all(s.topic is None and s.subject is None for s in exported)


def test_mevf_frames_are_kept_when_asked_for(tmp_path):
    samples, dropped = read("vqa_rad_mevf", tmp_path, frames=True)
    assert [s.id for s in samples if "frame" in s.id] == ["vqa_rad-frame-3"] and len(samples) == 7 and not dropped


def test_vqa_rad_training_rows_of_test_images_can_be_left_out(tmp_path):
    samples, dropped = read("vqa_rad", tmp_path, exclude_test_images=True)
    assert [s.id for s in samples] == ["vqa_rad-2", "vqa_rad-3", "vqa_rad-4", "vqa_rad-5"]
    assert dropped == {"a training row whose image is also a test image": 2}


def test_vqa_rad_validation_is_by_case(tmp_path):
    samples, _ = read("vqa_rad", tmp_path, validation_share=0.4)
    by_split: dict[str, set] = {}
    for sample in samples:
        by_split.setdefault(sample.split, set()).add(sample.subject)
    # 3 training cases, round(0.4 x 3) = 1 of them held out
    assert len(by_split["validation"]) == 1 and len(by_split["train"]) == 2
    assert not by_split["train"] & by_split["validation"]
    assert sum(s.split == "test" for s in samples) == 2


def test_an_image_with_two_case_addresses_is_one_case(tmp_path):
    url = "https://medpix.nlm.nih.gov/case?id=abc"
    rows = [rad_record(i, "synpic1", "q?", "a", image_case_url=f"{url}{i}") for i in range(3)]
    write(tmp_path / "VQA_RAD Dataset Public.json", json.dumps(rows))
    found = get("vqa_rad").rows(tmp_path, drop=print)
    assert {row.sample.subject for row in found} == {"abc0"}


def test_the_hugging_face_form_cannot_be_split_by_image(tmp_path):
    with pytest.raises(InputError, match="does not say which rows share an image"):
        read("vqa_rad_hf", tmp_path, validation_share=0.1)


# ---------------------------------------------------------------- VQA-Med, PMC-VQA, PathVQA


def test_vqa_med(tmp_path):
    samples, _ = read("vqa_med", tmp_path)
    assert [s.topic for s in samples] == ["modality", "plane", None, "abnormality", "organ"]
    assert [s.split for s in samples] == ["train", "train", "validation", "test", "test"]
    assert (samples[0].modality, samples[0].plane) == ("CT", "axial") == (samples[1].modality, samples[1].plane)
    assert samples[2].kind == "closed" and samples[2].answers == ("no",)
    assert samples[3].answers == (
        "(angioinvasive aspergillosis with) septic emboli",
        "septic emboli",
        "angioinvasive aspergillosis with septic emboli",
    )
    assert samples[3].modality == "CT" and samples[4].answers == ("skull", "spine") and samples[4].region == "head"
    assert {s.subject for s in samples} == {"synpic1", "synpic2", "synpic3"}


@pytest.mark.parametrize("line", ["synpic1|what?", "synpic1|a|b|c", "synpic1"])
def test_a_line_of_vqa_med_with_other_parts(line, tmp_path):
    name, path, _ = LAYOUTS["vqa_med"](tmp_path)
    write(path / "ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt", "synpic1|q|a\n\n" + line)
    with pytest.raises(InputError, match=r"All_QA_Pairs_train\.txt, row 3: \d parts"):
        list(get(name).rows(path, drop=print))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ([" A: CT ", " B:MRI", "C: vitamin A: low", "  D: none "], ("CT", "MRI", "vitamin A: low", "none")),
        (["A:A: x", "B: B", "C:C", "D: A: y"], ("A: x", "B", "C", "A: y")),
        (["vitamin A: x", "y", "z", "w"], ("vitamin A: x", "y", "z", "w")),
        (["A: bacterium", "virus", "fungus", "worm"], ("A: bacterium", "virus", "fungus", "worm")),
        (["B: x", "A: y", "D: z", "C: w"], ("B: x", "A: y", "D: z", "C: w")),
        (["A : 5 mm", "B : 1:2", "C: 3", "D: 4"], ("5 mm", "1:2", "3", "4")),
    ],
)
def test_the_letters_of_choices(raw, clean):
    assert choices_of({f"Choice {letter}": text for letter, text in zip("ABCD", raw)}) == clean


def test_pmc_vqa_version_1(tmp_path):
    samples, dropped = read("pmc_vqa_v1", tmp_path)
    assert [s.answers[0] for s in samples] == ["MRI", "vitamin A: low", "A: bacterium", "CT"]
    assert samples[0].choices == ("CT", "MRI", "vitamin A: low", "none") and samples[0].question == "What is shown?"
    assert [s.subject for s in samples] == ["PMC1", "PMC1", "PMC3", "PMC9"] and samples[1].extra["answer_label"] == "C"
    assert dropped == {"an empty choice": 1}
    full, _ = read("pmc_vqa_v1", tmp_path / "b", test="full", splits=["test"])
    assert len(full) == 3 and {s.split for s in full} == {"test"}


def test_pmc_vqa_version_2(tmp_path):
    samples, _ = read("pmc_vqa_v2", tmp_path)
    assert [(s.answers, s.split) for s in samples] == [(("vitamin A: low",), "train"), (("vitamin A: low",), "test")]
    assert samples[0].evidence == "Axial CT, with vitamin" and samples[0].modality == "CT"


def test_path_vqa(tmp_path):
    for layout in ("path_vqa", "path_vqa_parquet"):
        samples, dropped = read(layout, tmp_path / layout)
        assert [(s.answers[0], s.kind) for s in samples[:2]] == [("liver", "open"), ("yes", "closed")]
        assert [s.split for s in samples] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
        assert dropped == ({"an empty answer": 3} if layout == "path_vqa" else {})


class Evil:
    def __reduce__(self):
        return (Path.write_text, (Path("owned.txt"), "x"))


@pytest.mark.parametrize("value", [Evil(), [Path("x")], {"a": np.zeros(3)}, [Image.new("L", (2, 2))], Counter(a=1)])
def test_a_pickle_that_wants_a_class_is_refused(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(InputError, match="not a pickle of plain values"):
            load_plain(tmp_path / "x.pkl")
    assert not (tmp_path / "owned.txt").exists()


def test_a_plain_pickle_is_read_in_every_protocol(tmp_path):
    value = [{"image": "a", "n": 1, "t": (1, 2.5, None, True), "b": b"x"}]
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        assert load_plain(tmp_path / "x.pkl") == value


# ---------------------------------------------------------------- Hugging Face


@pytest.mark.parametrize("layout", ["huggingface_parquet", "huggingface_arrow"])
def test_hugging_face_folders(layout, tmp_path):
    samples, _ = read(layout, tmp_path / "mine")
    assert [(s.split, s.kind, s.answers) for s in samples] == [
        ("train", "closed", ("yes",)),
        ("validation", "choice", ("mr",)),
        ("test", "open", ("a mass",)),
    ]
    assert {s.source for s in samples} == {"mine"} and len({s.id for s in samples}) == 3


def test_hugging_face_shards_are_held_out_together(tmp_path):
    for shard in (0, 1):
        rows = [
            {"question": "q", "answer": "a", "image": {"bytes": png(i), "path": None}, "subject": f"p{i}"}
            for i in range(4)
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"train-0000{shard}-of-00002.parquet")
    found = list(get("huggingface").rows(tmp_path, validation_share=0.25, drop=print))
    held = {row.sample.subject for row in found if row.sample.split == "validation"}
    # 4 subjects, each in both shards: round(0.25 x 4) = 1 is held out, with its row of either shard
    assert len(held) == 1 and sum(row.sample.split == "validation" for row in found) == 2


def test_a_repository_needs_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="needs the `datasets` library"):
        list(get("huggingface").rows(None, repository="a/b", drop=print))


def test_a_repository_is_streamed(tmp_path, monkeypatch):
    class Image:
        def __init__(self, decode: bool = True) -> None:
            self.decode = decode

    class Split(list):
        features = types.MappingProxyType({"image": Image(), "question": None})

        def cast_column(self, name: str, feature: Image) -> "Split":
            assert name == "image" and feature.decode is False
            return self

    def load_dataset(name: str, config: str | None, *, revision: str | None, streaming: bool) -> dict:
        assert (name, config, streaming) == ("org/set", None, True)
        row = {"question": "Is it?", "answer": "yes", "image": {"bytes": png(1), "path": "x.png"}}
        return {"train": Split([row]), "val": Split([row])}

    library = types.SimpleNamespace(load_dataset=load_dataset, Image=Image, ClassLabel=type("ClassLabel", (), {}))
    monkeypatch.setitem(sys.modules, "datasets", library)
    corpus = import_corpus("huggingface", None, tmp_path / "out", options={"repository": "org/set"}, progress=False)
    assert corpus.card["counts"]["split"] == {"train": 1, "validation": 1} and corpus.card["num_images"] == 1
    assert corpus.card["name"] == "org-set" and corpus.card["title"] == "org/set"


def test_save_to_disk_caches_are_passed_over(tmp_path):
    name, path, options = LAYOUTS["huggingface_arrow"](tmp_path)
    (path / "train" / "cache-123.arrow").write_bytes(b"not arrow")
    assert len(list(get(name).rows(path, **checked_options(name, options), drop=print))) == 3


def test_pictures_beside_a_parquet_file(tmp_path):
    save(tmp_path / "images/a.png", 1)
    pq.write_table(
        pa.Table.from_pylist([{"question": "q", "answer": "a", "image": "images/a.png"}]), tmp_path / "x.parquet"
    )
    (row,) = get("huggingface").rows(tmp_path, drop=print)
    assert row.picture == tmp_path / "images/a.png" and row.sample.split == "train"
