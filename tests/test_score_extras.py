"""METEOR and BERTScore really run: on a WordNet of two words and a BERT of two layers, both made here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast
from typer.testing import CliRunner

from radvqa import cli
from radvqa.errors import InputError
from radvqa.score import METRICS, extras

SYNSET = "{offset:08d} 00 n 02 lesion 0 mass 0 000 | something that does not belong there"
FILES = ("adj", "adv", "noun", "verb")


def write_wordnet(folder: Path) -> None:
    """corpora/wordnet as WordNet 3.0 lays it out (wndb(5WN)), with one meaning that `lesion` and `mass` share."""
    place = folder / "corpora" / "wordnet"
    place.mkdir(parents=True)
    for part in FILES:
        for name in (f"index.{part}", f"data.{part}", f"{part}.exc"):
            (place / name).write_text("")
    head = "  1 a licence stands here\n"
    (place / "data.noun").write_text(head + SYNSET.format(offset=len(head)) + "  \n")
    (place / "index.noun").write_text("".join(f"{word} n 1 0 1 0 {len(head):08d}  \n" for word in ("lesion", "mass")))
    (place / "lexnames").write_text("00\tnoun.Tops\t1\n")
    (place / "index.sense").write_text("")
    (place / "cntlist.rev").write_text("")


@pytest.fixture
def wordnet(tmp_path, monkeypatch):
    """NLTK reading from a folder of ours, and from nowhere else."""
    nltk = pytest.importorskip("nltk")
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setattr(nltk.corpus, "wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader, None))
    extras._meteor.cache_clear()
    yield tmp_path
    extras._meteor.cache_clear()


def test_meteor(wordnet, monkeypatch):
    meteor = METRICS["meteor"].function
    with pytest.raises(InputError, match=r"METEOR needs NLTK with its WordNet.*nltk.downloader wordnet"):
        meteor("left mass", ["left mass"])
    write_wordnet(wordnet)
    # two words in one chunk: F = 1, penalty 0.5 (1 / 2)^3 = 1/16
    assert meteor("the left mass", ["left mass"]) == pytest.approx(15 / 16)
    assert meteor("left lesion", ["right lung", "left mass"]) == pytest.approx(15 / 16)  # a synonym is a match
    assert meteor("right lung", ["left mass"]) == 0.0 and meteor("left", ["?"]) is None


def write_bert(folder: Path) -> Path:
    """A checkpoint with a tokenizer of letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), **size)).save_pretrained(folder)
    return folder


def test_bertscore(tmp_path, monkeypatch):
    pytest.importorskip("bert_score")
    extras._bertscore.cache_clear()
    monkeypatch.setenv("RADVQA_BERTSCORE", str(write_bert(tmp_path / "bert")))
    bertscore = METRICS["bertscore"].function
    same, other = bertscore("left lung", ["left lung"]), bertscore("left lung", ["abnormal"])
    assert same == pytest.approx(1.0, abs=1e-5) and 0 <= other < same
    assert bertscore("left lung", ["abnormal", "left lung", "?"]) == pytest.approx(same, abs=1e-5)  # the best reference
    assert bertscore("", ["left lung"]) == 0.0 and bertscore("left", ["?"]) is None
    rows = '{"id": "1", "answer": "left lung", "reference": "left lung", "kind": "open"}\n'
    (tmp_path / "a.jsonl").write_text(rows)
    command = ["score", "--answers", tmp_path / "a.jsonl", "--metric", "bertscore", "--out", tmp_path / "s"]
    found = CliRunner().invoke(cli.app, [str(one) for one in command])
    assert found.exit_code == 0 and "BERTScore F1" in found.output, found.output


def test_bertscore_without_its_model(tmp_path, monkeypatch):
    pytest.importorskip("bert_score")
    extras._bertscore.cache_clear()
    monkeypatch.setenv("RADVQA_BERTSCORE", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"BERTScore's model .*nowhere cannot be loaded.*RADVQA_BERTSCORE"):
        METRICS["bertscore"].function("left", ["left"])
