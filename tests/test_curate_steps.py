"""Curation in a recipe: chosen, asked, filtered, drawn, and nothing gone without a reason; the terminal reviewer."""

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from making import picture  # isort: skip
from radvqa.cli import app
from radvqa.curate.reviewing import review, summary
from radvqa.curate.steps import curate, draw_mix, write_judged
from radvqa.errors import InputError
from radvqa.mix import Part, annealed
from radvqa.recipe_sections import Curate
from radvqa.review import Drawn, ReviewStore, Verdict, corpus_key
from radvqa.sample import Corpus, CorpusWriter, Sample


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps") / "captions"
    texts = ["Left fracture", "Right fracture", "Left cyst", "Right mass", "Normal", "No fracture"]
    with CorpusWriter(folder, {"name": "toy"}) as writer:
        for i in range(48):
            fields = {"question": "What is shown?", "kind": "open", "split": "train", "source": "toy"}
            text = texts[i % len(texts)]
            modality = "CT" if i % 3 else "MR"
            writer.add(Sample(id=f"q{i}", answers=(text,), evidence=text, modality=modality, **fields), picture(i))
    return Corpus(folder)


def test_selected_asked_and_drawn(corpus, tmp_path):
    said = curate(corpus, tmp_path / "out", Curate(select=("fracture", "cyst"), questions="template"))
    made, gone = Corpus(tmp_path / "out"), pl.read_parquet(tmp_path / "out" / "dropped.parquet")
    assert said.startswith("24 pictures chosen") and {s.origin for s in made.samples()} == {"template"}
    assert set(gone.filter(pl.col("reason") == "not among the pathologies chosen")["id"]) == {
        f"q{i}" for i in range(48) if i % 6 in (3, 4, 5)
    }
    counts = json.loads((tmp_path / "out" / "curation.json").read_text())
    assert counts["before"] == {"fracture": 16, "cyst": 8, "mass": 8} and counts["after"] == {"fracture": 16, "cyst": 8}
    assert (tmp_path / "out" / "curation.png").stat().st_size > 5000
    assert sum(made.card["dropped"].values()) == len(gone)


def test_common_cap_keep_and_captions(corpus, tmp_path):
    curate(corpus, tmp_path / "a", Curate(common=1, cap=5))
    assert Corpus(tmp_path / "a").card["num_questions"] == 5
    curate(corpus, tmp_path / "b", Curate(questions="captions", filter=False))
    assert Corpus(tmp_path / "b").card["num_questions"] == 48
    with pytest.raises(InputError, match="no check nope"):
        curate(corpus, tmp_path / "c", Curate(off=("nope",)))
    with pytest.raises(InputError, match="no picture has tumour"):
        curate(corpus, tmp_path / "c", Curate(select=("tumour",)))
    with pytest.raises(ValueError, match="both select and common"):
        Curate(select=("mass",), common=3)


def test_verdicts_become_a_corpus(corpus, tmp_path):
    base = {"corpus": "c", "reviewer": "ada"}
    verdicts = [Verdict(id="1", sample="q0", verdict="reject", reason="wrong answer", **base)]
    verdicts += [Verdict(id="2", sample="q1", verdict="edit", answer="On the right", **base)]
    made = write_judged(corpus, tmp_path / "out", verdicts)
    assert made.card["num_questions"] == 47 and next(made.samples()).answers == ("On the right",)
    gone = pl.read_parquet(tmp_path / "out" / "dropped.parquet")
    assert gone["reason"].to_list() == ["rejected: wrong answer"]


def test_a_terminal_review(corpus, tmp_path):
    store, key, said = ReviewStore(tmp_path / "r.sqlite"), corpus_key(corpus), []
    store.enqueue(key, [Drawn(sample=f"q{i}", how="random") for i in range(6)])
    typed = iter(["a", "r", "9", "r", "2", "e", "What is shown?", "Cyst on the left", "x", "q"])
    given = review(corpus, store, key, "ada", ask=lambda *_, **__: next(typed), say=said.append)
    verdicts = store.verdicts(key)
    assert given == 3 and [v.verdict for v in verdicts] == ["accept", "reject", "edit"]
    assert verdicts[1].reason == "the image does not show it" and verdicts[2].answer == "Cyst on the left"
    assert any("Left fracture" in text for text in said)
    told = summary(corpus, store, key)
    assert "3 reviews of 6 wanted" in told and "of the 45 pairs nobody has seen, 66.7%" in told


def test_the_verbs(corpus, tmp_path):
    run = CliRunner().invoke
    made = run(app, ["questions", str(corpus.folder), "--out", str(tmp_path / "q")])
    assert made.exit_code == 0 and "questions in" in made.output
    done = run(app, ["filter", str(tmp_path / "q"), "--out", str(tmp_path / "good")])
    assert done.exit_code == 0 and "pairs stay" in done.output
    run(app, ["filter", str(corpus.folder), "--out", str(tmp_path / "dropping"), "--off", "length"])
    assert run(app, ["filter", str(tmp_path / "dropping"), "--report"]).exit_code == 0
    assert run(app, ["filter", str(corpus.folder)]).exit_code == 2
    assert run(app, ["filter", str(corpus.folder), "--out", str(tmp_path / "x"), "--off", "nope"]).exit_code == 2
    store = ["--store", str(tmp_path / "r.sqlite"), "--as", "ada"]
    seen = run(app, ["review", str(corpus.folder), *store, "--number", "3"], input="a\na\nq\n")
    assert seen.exit_code == 0 and "2 reviews of 3 wanted" in seen.output
    assert run(app, ["review", str(corpus.folder), *store, "--status"]).exit_code == 0
    assert run(app, ["review", str(corpus.folder), *store, "--write", str(tmp_path / "w")]).exit_code == 0
    assert run(app, ["review", str(corpus.folder), "--store", "nosuch://x"]).exit_code == 2


def test_a_mix_is_drawn(tmp_path):
    index = annealed([Part(400), Part(60, share=0.1)], 0, total=2000, source=1, start=0.5, share=0.8)
    rows = {"place": range(2000), "source": index[:, 0], "corpus": np.array(["roco", "medpix"])[index[:, 0]]}
    pl.DataFrame(rows).write_parquet(tmp_path / "mix.parquet")
    draw_mix(tmp_path / "mix.parquet", tmp_path / "mix.png")
    assert (tmp_path / "mix.png").stat().st_size > 5000
