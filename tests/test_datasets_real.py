"""The real files, where RADVQA_DATA has them: row, split and answer-type counts as published."""

import time
from collections import Counter
from itertools import combinations
from pathlib import Path

from radvqa.datasets import checked_options, get, import_corpus
from radvqa.datasets.founding import founding_pairs
from radvqa.datasets.reading import csv_records
from radvqa.datasets.source import Row
from radvqa.sample import Sample


def read(name: str, path: Path, **options) -> tuple[list[Row], Counter]:
    dropped: Counter = Counter()
    rows = list(get(name).rows(path, **checked_options(name, options), drop=lambda reason: dropped.update([reason])))
    assert len({row.sample.id for row in rows}) == len(rows)
    return rows, dropped


def counts(rows: list[Row], *fields: str) -> dict:
    """How many samples have each combination of these fields."""
    return dict(Counter(tuple(getattr(row.sample, field) for field in fields) for row in rows))


def test_slake(real_data):
    rows, dropped = read("slake", real_data / "slake", languages=["en", "zh"])
    # 9,835 + 2,099 + 2,094 rows; one English training row has no answer
    assert len(rows) == 14_027 and dropped == {"an empty answer": 1}
    assert counts(rows, "split", "language") == {
        ("train", "en"): 4_918,
        ("train", "zh"): 4_916,
        ("validation", "en"): 1_053,
        ("validation", "zh"): 1_046,
        ("test", "en"): 1_061,
        ("test", "zh"): 1_033,
    }
    english = [row for row in rows if row.sample.language == "en"]
    # the row without an answer is an OPEN one: 2,976 - 1
    assert counts(english, "split", "kind") == {
        ("train", "open"): 2_975,
        ("train", "closed"): 1_943,
        ("validation", "open"): 631,
        ("validation", "closed"): 422,
        ("test", "open"): 645,
        ("test", "closed"): 416,
    }
    assert len({row.sample.subject for row in rows}) == 642
    assert all(row.sample.modality in ("CT", "MR", "X-ray") and row.sample.region for row in rows)
    topics = {
        "organ",
        "position",
        "abnormality",
        "knowledge",
        "modality",
        "size",
        "plane",
        "quantity",
        "color",
        "shape",
    }
    assert {row.sample.topic for row in rows} == topics
    knowledge = [row.sample.extra["base_type"] == "kvqa" for row in rows]
    assert knowledge == [row.sample.topic == "knowledge" for row in rows] and any(knowledge)
    for name, kind, number in (("test_close.csv", "closed", 416), ("test_open.csv", "open", 645)):
        derived = [record["question"] for _, record in csv_records(real_data / "slake" / "derived_csv" / name)]
        own = [r.sample for r in english if r.sample.split == "test" and r.sample.kind == kind]
        assert len(derived) == number
        assert Counter(map(str.strip, derived)) == Counter(sample.question for sample in own)


def test_images_that_slakes_splits_share(real_data):
    rows, _ = read("slake", real_data / "slake", languages=["en", "zh"])
    images: dict[tuple[str, str], set] = {}
    for row in rows:
        images.setdefault((row.sample.language, row.sample.split), set()).add(row.sample.subject)
    assert [len(images["en", split]) for split in ("train", "validation", "test")] == [450, 96, 96]
    for one, other in combinations(images, 2):
        if one[0] == other[0]:  # disjoint within a language ...
            assert not images[one] & images[other]
    shared = {  # ... but not across
        (("en", "test"), ("zh", "train")): 72,
        (("en", "test"), ("zh", "validation")): 12,
        (("en", "test"), ("zh", "test")): 12,
        (("en", "validation"), ("zh", "train")): 64,
        (("zh", "test"), ("en", "train")): 70,
    }
    for (one, other), number in shared.items():
        assert len(images[one] & images[other]) == number


def same(sample: Sample) -> tuple:
    return sample.id, sample.question, sample.answers, sample.kind, sample.topic, sample.split, sample.region


def test_the_three_forms_of_vqa_rad(real_data):
    official, none = read("vqa_rad", real_data / "vqa_rad")
    assert len(official) == 2_248 and not none
    assert counts(official, "split") == {("train",): 1_797, ("test",): 451}
    # CLOSED 1,297 and twice 'CLOSED '
    assert counts(official, "kind") == {("closed",): 1_299, ("open",): 949}
    phrased = Counter(row.sample.extra["phrase_type"] for row in official)
    assert phrased == {"freeform": 1_206, "para": 591, "test_freeform": 308, "test_para": 143}
    assert (
        sum("question_rephrase" not in row.sample.extra for row in official) >= 2
    )  # absent in two rows, NULL in others
    assert counts(official, "region") == {("chest",): 794, ("abdomen",): 739, ("head",): 715}
    assert sum(row.sample.kind == "closed" and row.sample.answers[0] not in ("yes", "no") for row in official) == 106
    assert sum(row.sample.kind == "open" and row.sample.answers[0] in ("yes", "no") for row in official) == 0
    assert len({row.picture for row in official}) == 314 and all(row.picture.is_file() for row in official)
    test_images = {row.picture for row in official if row.sample.split == "test"}
    train_images = {row.picture for row in official if row.sample.split == "train"}
    assert (len(test_images), len(test_images & train_images)) == (203, 202)

    mevf, dropped = read("vqa_rad", real_data / "vqa_rad" / "mevf_format")
    assert dropped == {"a rephrased (frame) question of the MEVF form": 1_267}
    assert [same(row.sample)[0::5] for row in mevf] == [same(row.sample)[0::5] for row in official]
    assert counts(mevf, "split", "kind") == counts(official, "split", "kind")
    assert {row.picture for row in mevf} == {row.picture for row in official}

    # the export's makers left out four doubled training rows: 1,793 of 1,797
    exported, none = read("vqa_rad", real_data / "vqa_rad" / "hf_export")
    assert counts(exported, "split") == {("train",): 1_793, ("test",): 451} and not none


def test_vqa_rad_imports(real_data, tmp_path):
    options = {"validation_share": 0.1, "exclude_test_images": True}
    corpus = import_corpus("vqa_rad", real_data / "vqa_rad", tmp_path / "c", options=options, progress=False)
    card = corpus.card
    assert card["counts"]["split"]["test"] == 451 and card["licence"] == "CC0 1.0" and card["commercial"] is True
    assert card["num_questions"] + sum(card["dropped"].values()) == 2_248
    table = corpus.table
    images = {name: set(table.filter(table["split"] == name)["image"]) for name in ("train", "validation", "test")}
    assert not images["train"] & images["test"] and not images["train"] & images["validation"]
    assert all(len(value) > 10 for value in images.values())


def test_vqa_med(real_data):
    rows, dropped = read("vqa_med", real_data / "vqa_med_2019")
    assert counts(rows, "split") == {("train",): 12_792, ("validation",): 2_000, ("test",): 500} and not dropped
    topics = ("modality", "plane", "organ", "abnormality")
    assert counts([r for r in rows if r.sample.split == "test"], "topic") == {(topic,): 125 for topic in topics}
    train = counts([r for r in rows if r.sample.split == "train"], "topic")
    assert train == {("modality",): 3_200, ("plane",): 3_200, ("organ",): 3_200, ("abnormality",): 3_192}
    test = [row.sample for row in rows if row.sample.split == "test"]
    assert sum("#" in sample.extra["answer"] for sample in test) == 12
    assert sum("(" in sample.extra["answer"] for sample in test) == 20
    images = {s: {r.sample.subject for r in rows if r.sample.split == s} for s in ("train", "validation", "test")}
    assert [len(some) for some in images.values()] == [3_200, 500, 500] and len(set.union(*images.values())) == 4_200


def test_medpix(real_data):
    rows, dropped = read("medpix", real_data / "MedPix-2-0", questions="descriptions")
    # 2,050 images, 21 of them with the form's placeholder as caption
    assert len(rows) == 2_029 and sum(dropped.values()) == 21
    words = [len(row.sample.answers[0].split()) for row in rows]
    assert (min(words), max(words)) == (1, 189)
    rows, dropped = read("medpix", real_data / "MedPix-2-0")
    by_region = [row for row in rows if row.sample.topic == "region"]
    assert counts(by_region, "split") == {("train",): 1_653, ("validation",): 197, ("test",): 200}
    cases = {
        split: {r.sample.subject for r in rows if r.sample.split == split} for split in ("train", "validation", "test")
    }
    assert [len(cases[split]) for split in ("train", "validation", "test")] == [535, 67, 69]
    assert len(set.union(*cases.values())) == 671
    assert counts(by_region, "answers") == {
        (("head",),): 884,
        (("spine and muscles",),): 355,
        (("thorax",),): 334,
        (("abdomen",),): 319,
        (("reproductive and urinary system",),): 158,
    }
    # Axial 1,404 + Transverse 16, Coronal 275, Sagittal 253; the other 102 of 2,050 have no such plane
    planes = counts([row for row in rows if row.sample.topic == "plane"], "answers")
    assert planes == {(("axial",),): 1_420, (("coronal",),): 275, (("sagittal",),): 253}
    assert sum(number for reason, number in dropped.items() if reason.startswith("no plane")) == 102
    # CT 1,062 and MR 988, less 2 and 1 drawings
    modalities = counts([row for row in rows if row.sample.topic == "modality"], "answers")
    assert modalities == {(("ct",),): 1_060, (("mr",),): 987}
    train = [row for row in rows if row.sample.split == "train"]
    assert len({row.picture for row in train}) == 1_653 and all(row.picture.is_file() for row in train[::7])


def test_medpix_validation_is_by_case(real_data):
    rows, _ = read("medpix", real_data / "MedPix-2-0", splits=["train"], validation_share=0.1, seed=1)
    cases = {split: {r.sample.subject for r in rows if r.sample.split == split} for split in ("train", "validation")}
    # round(0.1 x 535) = 54
    assert len(cases["validation"]) == 54 and not cases["train"] & cases["validation"]


def test_medpix_pictures_decode_fast_enough(real_data):
    from radvqa.sample import perceptual_hash, picture_key, read_picture

    files = sorted((real_data / "MedPix-2-0" / "images").glob("*.png"))[::16]
    begun = time.process_time()
    for file in files:
        rgb, _ = read_picture(file)
        picture_key(rgb), perceptual_hash(rgb)
    assert len(files) / (time.process_time() - begun) >= 40  # images a second of one processor


def test_founding_questions(real_data):
    found, dropped = founding_pairs(real_data / "medm" / "qa_pairs_generated_all.json")
    # 2,052 records, two images twice; five pairs a record
    assert len(found) == 2_050 and sum(map(len, found.values())) == 10_260 and not dropped
    found, dropped = founding_pairs(real_data / "medm" / "qa_pairs_output.json")
    assert len(found) == 1_541 and min(map(len, found.values())) >= 2 and max(map(len, found.values())) == 12
    assert dropped == {"an answer that says there is none": 4, "half a pair": 3}
    found, dropped = founding_pairs(real_data / "medm" / "dataset_sa.csv")
    assert sum(map(len, found.values())) + sum(dropped.values()) == 13_225


def test_rocov2_sample(real_data, tmp_path):
    options = {"splits": ["train", "validation"], "questions": "both"}
    corpus = import_corpus("rocov2", real_data / "rocov2_sample", tmp_path / "c", options=options, progress=False)
    assert corpus.card["counts"]["kind"]["open"] == 340 and corpus.card["num_images"] <= 340
    assert corpus.table.filter(corpus.table["kind"] == "open")["split"].value_counts().sort("split").rows() == [
        ("train", 240),
        ("validation", 100),
    ]


def test_roco_validation(real_data):
    rows, dropped = read("roco", real_data / "roco_v1", splits=["validation"])
    assert len(rows) == 8_180 and not dropped
    assert all(row.sample.extra["licence"] and row.sample.subject.startswith("PMC") for row in rows)
