"""Leakage between the real data sets, where RADVQA_DATA has them: the pairs that were looked at, and no other."""

import re
from pathlib import Path

import pytest

from radvqa.curate.leakage import leakage
from radvqa.datasets import get, import_corpus
from radvqa.sample import Corpus, CorpusWriter

EQUAL = {"16520", "19853", "20208", "21028", "22020", "23571", "24424", "48714", "51426"}
"""Archive numbers of the pictures that VQA-RAD and MedPix hold pixel by pixel the same ..."""
ALIKE = {"19605", "27142", "32981", "35914", "39460", "43433", "46943", "48749"}
"""... and of those that are resized, cropped to the body or of another window."""
REDRAWN = ("24220", "24221")
"""One picture under two numbers: in MedPix the adrenals are outlined."""
NEIGHBOURS = {"19604", "23570", "48750", "48754"}
"""MedPix' slices beside, or other sequences of, the shared ones: not the same picture."""
STRIDE = 25


def number_of(name: object) -> str:
    return re.findall(r"synpic0*(\d+)", str(name))[0]


def part(name: str, path: Path, out: Path, wanted: set[str]) -> Corpus:
    """A corpus of the wanted pictures and of every STRIDE-th other one, a question each."""
    options = {"splits": ("train",)} if name == "medpix" else {}
    seen: set[Path] = set()
    with CorpusWriter(out, {"name": name}) as writer:
        for row in get(name).rows(path, **options, drop=lambda reason: None):
            if row.picture not in seen:
                seen.add(row.picture)
                if number_of(row.picture) in wanted or len(seen) % STRIDE == 0:
                    writer.add(row.sample, row.picture)
    return Corpus(out)


@pytest.fixture(scope="module")
def corpora(real_data, tmp_path_factory) -> dict[str, Corpus]:
    out, wanted = tmp_path_factory.mktemp("corpora"), EQUAL | ALIKE | set(REDRAWN) | NEIGHBOURS
    return {
        "vqa_rad": part("vqa_rad", real_data / "vqa_rad", out / "vqa_rad", wanted),
        "medpix": part("medpix", real_data / "MedPix-2-0", out / "medpix", wanted),
    }


def test_pictures_that_vqa_rad_and_medpix_share(corpora):
    pairs = leakage(corpora["vqa_rad"], corpora["medpix"], use_ids=False, texts=False)
    names = [{s.image: number_of(s.extra["image_name"]) for s in corpus.samples()} for corpus in corpora.values()]
    found = [(row["reason"], names[0][row["left_image"]], names[1][row["right_image"]]) for row in pairs.to_dicts()]
    assert {(reason, a, b) for reason, a, b in found if a == b} == {
        *(("pixels", number, number) for number in EQUAL),
        *(("picture", number, number) for number in ALIKE),
    }
    assert [(reason, a, b) for reason, a, b in found if a != b] == [("picture", *REDRAWN)]
    assert pairs["score"].min() > 0.94


def test_ids_that_vqa_rad_and_medpix_share(corpora):
    pairs = leakage(corpora["vqa_rad"], corpora["medpix"], pictures=False, texts=False)
    by_id = pairs.filter(pairs["reason"] == "id")
    assert {detail.removeprefix("medpix:") for detail in by_id["detail"]} == EQUAL | ALIKE


def test_ids_that_vqa_rad_and_vqa_med_share(real_data, tmp_path):
    rad, med = (
        import_corpus(name, real_data / folder, tmp_path / name, pictures=False, progress=False)
        for name, folder in (("vqa_rad", "vqa_rad"), ("vqa_med", "vqa_med_2019"))
    )
    pairs = leakage(rad, med, texts=False)
    assert pairs["reason"].to_list() == ["id"] * 42
    splits = {sample.id: sample.split for sample in med.samples()}
    counted = [splits[name] for name in pairs["right_sample"]]
    assert [counted.count(split) for split in ("train", "validation", "test")] == [32, 6, 4]


def test_slakes_english_test_and_chinese_train(real_data, tmp_path):
    options = {"languages": ["en", "zh"]}
    corpus = import_corpus(
        "slake", real_data / "slake", tmp_path / "slake", options=options, pictures=False, progress=False
    )
    where = {"split": "test", "language": "en"}, {"split": "train", "language": "zh"}
    pairs = leakage(corpus, corpus, where=where)
    assert pairs["reason"].to_list() == ["id"] * 72 + ["subject"] * 72
    assert not len(leakage(corpus, corpus, where=(where[0], {"split": "train", "language": "en"}), texts=False))
