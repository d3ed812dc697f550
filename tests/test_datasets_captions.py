"""Captions, cases and reports: what their loaders make of the official layouts with their quirks."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from layouts import LAYOUTS
from making import write
from radvqa.datasets import checked_options, get
from radvqa.datasets.founding import founding_pairs, pairs_of
from radvqa.datasets.sections import sections
from radvqa.errors import InputError
from radvqa.sample import Sample


def read(layout: str, folder: Path, **more) -> tuple[list[Sample], Counter]:
    """The samples of a layout, and what was dropped."""
    dropped: Counter = Counter()
    name, path, options = LAYOUTS[layout](folder)
    checked = checked_options(name, options | more)
    found = get(name).rows(path, **checked, drop=lambda reason: dropped.update([reason]))
    return [row.sample for row in found], dropped


# ---------------------------------------------------------------- captions


def test_rocov2(tmp_path):
    samples, _ = read("rocov2", tmp_path)
    first, asked = samples[:2]
    assert first.answers == ("CT, façade of the pelvis",) and first.evidence == first.answers[0]
    assert (first.modality, first.region, first.findings) == ("CT", "pelvis", ("Malignant Neoplasms",))
    assert first.extra["pmcid"] == "PMC1" and first.extra["cuis_manual"] == ["C0040405", "C0030797"]
    assert asked.kind == "choice" and asked.answers == ("ct",) and "ct" in asked.choices and asked.origin == "template"
    assert samples[2].modality is None and samples[2].split == "train"
    assert {s.split for s in samples} == {"train", "validation", "test"}


def test_roco(tmp_path):
    samples, dropped = read("roco", tmp_path, groups=["radiology", "non-radiology"], splits=["train"])
    assert [s.answers[0] for s in samples] == ["Axial CT of the pelvis.", "MRI and CT.", "A chart."]
    assert [s.modality for s in samples] == ["CT", None, None] and dropped == {"an empty caption": 1}
    assert samples[0].extra["cuis"] == ["C1", "C2"] and samples[0].extra["licence"] == "CC BY"
    assert [s.subject for s in samples] == ["PMC1", "PMC2", None] and samples[2].extra["group"] == "non-radiology"


# ---------------------------------------------------------------- MedPix


def test_medpix_templates(tmp_path):
    samples, dropped = read("medpix", tmp_path, splits=["train"])
    found = {s.id.removeprefix("medpix-"): s for s in samples}
    assert found["MPX1_synpic1-modality"].answers == ("ct",) and found["MPX2_synpic3-modality"].answers == ("mr",)
    assert found["MPX1_synpic2-plane"].answers == ("axial",)
    assert "MPX3_synpic4-modality" not in found and "MPX3_synpic4-plane" not in found
    assert found["MPX4_synpic5-region"].answers == ("thorax",) and found["MPX4_synpic5-region"].region == "chest"
    assert found["MPX1_synpic1-plane"].choices == ("axial", "coronal", "sagittal")
    assert len(found["MPX1_synpic1-region"].choices) == 5
    assert found["MPX1_synpic1-region"].findings == ("Disease MPX1",)
    assert found["MPX1_synpic1-region"].subject == "MPX1" and found["MPX1_synpic1-region"].origin == "template"
    assert len(samples) == 12 and sum(dropped.values()) == 3


def test_medpix_descriptions(tmp_path):
    samples, dropped = read("medpix", tmp_path, questions="descriptions")
    assert [s.answers[0] for s in samples][:2] == ["Caption of MPX1_synpic1", "Caption of MPX2_synpic3"]
    assert {s.split for s in samples} == {"train", "validation", "test"} and sum(dropped.values()) == 2


def test_medpix_cases_are_held_out_whole(tmp_path):
    samples, _ = read("medpix", tmp_path, splits=["train"], validation_share=0.5, holdout="both")
    splits: dict[str, set] = {}
    for sample in samples:
        splits.setdefault(sample.subject, set()).add(sample.split)
    assert all(len(names) == 1 for names in splits.values())
    assert Counter(next(iter(names)) for names in splits.values()) == {"train": 2, "validation": 1, "test": 1}


def test_founding_questions(tmp_path):
    replies = [
        {
            "U_id": "MPX1",
            "image_id": "MPX1_synpic1",
            "qa_pairs_raw": "Here are two:\n\nQ: What?\nA: A mass.\n\nQ: Is it?\nA: Yes.",
        },
        {"U_id": "MPX7", "image_id": "MPX7_synpic7", "qa_pairs_raw": "Q: Gone?\nA: No"},
        {"U_id": "MPX1", "image_id": "MPX1_synpic1", "qa_pairs_raw": "Q: What?\nA: A mass."},
    ]
    file = tmp_path / "pairs.json"
    write(file, "\n".join(json.dumps(reply, indent=4) for reply in replies))
    samples, dropped = read("medpix", tmp_path / "in", questions="founding", founding_file=file)
    assert [(s.question, s.answers[0], s.kind) for s in samples] == [
        ("What?", "A mass.", "open"),
        ("Is it?", "yes", "closed"),
    ]
    assert {s.origin for s in samples} == {"llama3.1-8b"}
    assert dropped == {"a pair that is there twice": 1, "a founding question about an image that is not here": 1}
    with pytest.raises(InputError, match="need their file"):
        read("medpix", tmp_path / "again", questions="founding")


@pytest.mark.parametrize(
    ("reply", "pairs"),
    [
        ("Here are 5:\n\nQ: One?\nA: x.\n\nQ: Two?\nA: y.", [("One?", "x."), ("Two?", "y.")]),
        ("**Q: One?**\nA: x.\n\n**Q: Two?**\nA: y.", [("One?", "x."), ("Two?", "y.")]),
        ("**Q:** One?\n**A:** x.", [("One?", "x.")]),
        ("**Q1:** One?\n**A1:** x.\n**Q2:** Two?\nA2: y.", [("One?", "x."), ("Two?", "y.")]),
        ("1. Q: One?\n   A: x.", [("One?", "x.")]),
        (
            "**Question 1**\nOne?\n \n**Answer**\nx\n\n**Question 2**\nTwo?\n\n**Answer**\ny",
            [("One?", "x"), ("Two?", "y")],
        ),
        ("Q: One?\nA: x\n- and\n- more\n\nNote that I've avoided numbers.", [("One?", "x - and - more")]),
        ("Q: One (assuming it is)? A: x", [("One (assuming it is)?", "x")]),
        ("One?\n\nx of it.\n\nTwo?\ny", [("One?", "x of it."), ("Two?", "y")]),
        ("Q: One?\nA: Not available\n\nQ: Two?\n(To be answered)", []),
        ("Please give me the captions.", []),
    ],
)
def test_the_shapes_of_a_reply(reply, pairs):
    found, dropped = pairs_of(reply)
    assert [(pair.question, pair.answer) for pair in found] == pairs
    if "Not available" in reply:
        assert dropped == {"an answer that says there is none": 1, "half a pair": 1} or sum(dropped.values()) == 2


def test_founding_questions_of_a_table(tmp_path):
    head = "image_id,case_id,question,answer,ans_len,mode,split,new_lines\n"
    write(
        tmp_path / "d.csv",
        head + 'sample/MPX1_s1.png,MPX1,What?,"a\nb",2,pre_training,Train,1\ns/M.png,M,q,,0,alignment,Test,0\n',
    )
    found, dropped = founding_pairs(tmp_path / "d.csv")
    assert found["MPX1_s1"][0] == ("What?", "a\nb", "template") and dropped == {"half a pair": 1}


# ---------------------------------------------------------------- reports


def test_mimic(tmp_path):
    samples, dropped = read("mimic_cxr", tmp_path)
    first = [s for s in samples if s.extra["dicom_id"].startswith("a")]
    assert [(s.question, s.answers[0]) for s in first] == [
        ("Is there pulmonary edema?", "yes"),
        ("Is there pneumonia?", "no"),
        ("What are the findings?", "The heart is normal. LUNGS: clear."),
        ("What is the impression?", "No acute process."),
    ]
    assert first[0].subject == "mimic-p10000032" and first[0].plane == "frontal" and first[0].findings == ("edema",)
    assert {s.plane for s in samples} == {"frontal", "lateral", None}
    assert dropped == {"an uncertain label": 1, "a study without labels": 1}
    assert {s.split for s in samples} == {"train", "validation", "test"}


def test_mimic_with_a_label_that_is_none(tmp_path):
    name, path, options = LAYOUTS["mimic_cxr"](tmp_path)
    file = path / "mimic-cxr-2.1.0-chexpert.csv"
    text = gzip.decompress((path / "mimic-cxr-2.0.0-chexpert.csv.gz").read_bytes()).decode()
    write(file, text.replace("-1.0", "7"))
    with pytest.raises(InputError, match="Fracture is 7"):
        list(get(name).rows(path, **checked_options(name, options), drop=print))


def test_sections():
    report = "FINAL REPORT\n PA AND LATERAL VIEWS OF THE CHEST:\n Clear lungs.\n\n CONCLUSION: Normal.\n IMPRESSION: Again.\n"
    assert sections(report) == {"findings": "Clear lungs.", "impression": "Normal. Again."}
    nested = "FINDINGS: Heart normal.\nLUNGS: clear.\nIMPRESSION: None.\n________________\nADDENDUM: Late.\n"
    assert sections(nested) == {"findings": "Heart normal. LUNGS: clear.", "impression": "None.", "addendum": "Late."}
    assert sections("") == {} and sections("no headings at all") == {} and sections("FINDINGS:\n\nIMPRESSION:\n") == {}


def test_iu_xray(tmp_path):
    samples, dropped = read("iu_xray", tmp_path)
    first = [s for s in samples if s.extra["image_name"] == "CXR1_1_IM-0001-1001.png"]
    assert [(s.topic, s.answers[0]) for s in first] == [
        ("findings", "The heart & lungs are normal."),
        ("impression", "Normal chest x-XXXX."),
        ("normal", "yes"),
    ]
    assert [s.answers[0] for s in samples if s.subject == "iu-2"] == ["Normal chest x-XXXX.", "no"]
    assert dropped == {"a report without findings": 1, "a report without images": 1}
    held, _ = read("iu_xray", tmp_path / "again", validation_share=0.34)
    assert {s.split for s in held} <= {"train", "validation"}


def test_iu_xray_tables(tmp_path):
    samples, _ = read("iu_xray_csv", tmp_path)
    assert [(s.plane, s.subject) for s in samples[::3]] == [("frontal", "iu-1"), ("lateral", "iu-1")]


def test_an_xml_bomb_is_refused(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><eCitation>&y;</eCitation>'
    write(tmp_path / "ecgen-radiology/1.xml", bomb)
    with pytest.raises(InputError, match=r"1\.xml: the file defines entities"):
        list(get("iu_xray").rows(tmp_path, drop=print))


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path):
    for layout, gone, there in (
        ("rocov2", "test_captions.csv", "train,validation"),
        ("medpix", "splitted_dataset/descriptions_test.jsonl", "train,validation"),
        ("pmc_vqa_v2", "test_2.csv", "train"),
    ):
        name, path, options = LAYOUTS[layout](tmp_path / layout)
        (path / gone).unlink()
        with pytest.raises(InputError, match=rf"splits: no {gone} here; .*say splits=\[{there}\]"):
            list(get(name).rows(path, **checked_options(name, options), drop=print))
        some = options | {"splits": there.split(",")}
        assert list(get(name).rows(path, **checked_options(name, some), drop=lambda reason: None))
