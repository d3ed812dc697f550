"""Leakage: the same picture is found whatever was done to it, another is not, and a run does as it was told."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from radvqa import cli, pipeline
from radvqa.curate import overlay
from radvqa.curate.candidates import FIRST_BITS, RADIUS_BITS, ROUTES, Candidates, near
from radvqa.curate.duplicates import duplicates
from radvqa.curate.hashing import CONTENT, WINDOWS, content_box, look_at, view_of
from radvqa.curate.leakage import enforce, leakage, summary
from radvqa.curate.register import SAME, coarse, same_picture
from radvqa.curate.texts import near_texts, words
from radvqa.errors import InputError
from radvqa.recipe import load
from radvqa.sample import Corpus, CorpusWriter, Sample
from radvqa.screen import Screen
from scenes import CHANGES, everything, halved, scene
from standins import STAND_INS, write_recipe


def grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"))


def corpus(folder: Path, rows: list[tuple[dict, Image.Image | None]], name: str = "toy") -> Corpus:
    """A corpus of one question a row; the fields say what differs from a plain one."""
    with CorpusWriter(folder, {"name": name, "licence": "CC0"}) as writer:
        for number, (fields, picture) in enumerate(rows):
            plain = {"id": f"{name}-{number}", "question": "Is it CT?", "answers": ("yes",), "kind": "closed"}
            writer.add(Sample(**{**plain, "split": "train", "source": name, **fields}), picture)
    return Corpus(folder)


# ---------------------------------------------------------------- one pair of pictures


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_a_candidate_and_the_same(change, tmp_path):
    seeds = (1, 2)
    rows = [({}, scene(seed)) for seed in seeds] + [({}, change(scene(seed))) for seed in seeds]
    pictures = corpus(tmp_path / "c", rows)
    keys = [sample.image for sample in pictures.samples()]
    found = {frozenset(row[:2]) for row in duplicates(pictures).rows()}
    assert found == {frozenset(pair) for pair in zip(keys[:2], keys[2:])}


def test_different_pictures_are_not_the_same():
    pictures = [grey(scene(seed)) for seed in range(4)]
    scores = [same_picture(a, b).score for i, a in enumerate(pictures) for b in pictures[:i]]
    assert max(scores) < SAME - 0.2


def test_the_match_says_where_the_copy_lies():
    picture = scene(4)
    crop = picture.crop((24, 20, 240, 200))  # 90 % of each side, the lower right
    match = same_picture(grey(crop), grey(picture))
    # shares: x' = 0.9 x + 0.1
    assert match.map == pytest.approx(np.array([[0.9, 0, 0.1], [0, 0.9, 0.1]]), abs=0.01)
    assert match.cover == pytest.approx((1.0, 0.81), abs=0.02)


def test_flat_and_tiny_pictures_are_like_nothing():
    flat, tiny = np.full((50, 60), 7, np.uint8), np.array([[0, 255]], np.uint8)
    for a, b in ((flat, flat), (flat, tiny), (flat, grey(scene(1))), (tiny, grey(scene(1)))):
        assert same_picture(a, b).score < SAME


# ---------------------------------------------------------------- hashes


def brute(left, right) -> set[tuple[int, int]]:
    """All pairs by the definition, one after the other."""
    found = set()
    for i in range(len(left)):
        for j in range(len(right)):
            for a, b in ROUTES:
                one, two = left.hashes[i, a], right.hashes[j, b]
                bits = [(int(p) ^ int(q)).bit_count() for p, q in zip(one, two)]
                if bits[0] <= FIRST_BITS and sum(bits) <= RADIUS_BITS:
                    found.add((i, j))
    return found


def test_candidates_are_those_of_a_naive_loop():
    left = look_at([scene(seed) for seed in range(5)] + [everything(scene(7))])
    right = look_at([scene(seed) for seed in (3, 7, 9)] + [halved(scene(1))])
    found = {pair for part in near(left, right) for pair in zip(part.left.tolist(), part.right.tolist())}
    assert found == brute(left, right) and {(3, 0), (1, 3), (5, 1)} <= found


def test_cells_find_what_is_near_and_nothing_else():
    rng = np.random.default_rng(0)
    left = look_at([Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)) for _ in range(60)])
    exact = {pair for part in near(left, left) for pair in zip(part.left.tolist(), part.right.tolist())}
    celled = {pair for part in near(left, left, exact=0) for pair in zip(part.left.tolist(), part.right.tolist())}
    assert {(i, i) for i in range(60)} <= celled <= exact


def test_edges_slide_as_in_a_naive_loop():
    rng = np.random.default_rng(0)
    own, other = (rng.standard_normal((3, 32, 32)) + 1j * rng.standard_normal((3, 32, 32)) for _ in range(2))
    other[1] = np.roll(own[1], (-2, 1), axis=(0, 1))  # the right one lies 2 px higher and 1 px further right
    own, other = (some / np.linalg.norm(some, axis=(1, 2), keepdims=True) for some in (own, other))
    fit, across, down = overlay._slide(np.fft.fft2(own), np.fft.fft2(other))
    for place in range(3):
        naive = {
            (x, y): (np.conj(own[place]) * np.roll(other[place], (-y, -x), axis=(0, 1))).sum().real
            for x in range(-2, 3)
            for y in range(-2, 3)
        }
        best = max(naive, key=naive.get)
        assert (across[place], down[place]) == best and fit[place] == pytest.approx(naive[best], abs=1e-5)
    assert (across[1], down[1]) == (1, -2) and fit[1] == pytest.approx(1)


def test_a_crop_is_laid_near_its_place_and_strangers_are_not_laid():
    picture = scene(4)
    left, right = look_at([picture.crop((24, 20, 240, 200)), scene(5)]), look_at([picture])
    both = Candidates(np.array([0, 1]), np.array([0, 0]), np.array([0, 0]))  # whole upon whole
    windows = Candidates(np.array([0]), np.array([0]), np.array([4]))  # upon the window of 92 % at the lower right
    assert (1, 0) not in [pair[:2] for pair in overlay.overlaid(left, right, both)]
    ((i, j, start),) = overlay.overlaid(left, right, windows)
    assert (i, j) == (0, 0) and start == pytest.approx(np.array([[0.92, 0, 0.08], [0, 0.92, 0.08]]), abs=0.07)
    laid = coarse(left.thumbs[0].astype(float), right.thumbs[0].astype(float), start)
    assert laid == pytest.approx(np.array([[0.9, 0, 0.1], [0, 0.9, 0.1]]), abs=0.02)


def test_views_are_resampled_as_pillow_does():
    thumb = look_at([scene(1)]).thumbs[0]
    for view in (WINDOWS[0], WINDOWS[7]):
        box = np.array([view], np.float32)
        grey = (
            overlay._weights(box[:, 1], box[:, 3])
            @ thumb.astype(np.float32)
            @ overlay._weights(box[:, 0], box[:, 2]).transpose(0, 2, 1)
        )
        assert np.abs(grey[0] - view_of(Image.fromarray(thumb), view)).max() < 2


def test_no_pictures_have_no_pairs():
    assert not list(near(look_at([]), look_at([scene(1)]))) and not list(near(look_at([scene(1)]), look_at([])))


def test_views_and_content():
    assert len(WINDOWS) == CONTENT == 21 and WINDOWS[0] == (0, 0, 1, 1)
    assert {round(right - left, 2) for left, _, right, _ in WINDOWS[1:]} == {0.92, 0.83}
    thumb = np.zeros((64, 64), np.uint8)
    thumb[16:48, 8:56], thumb[2:4, 2:20] = 200, 255  # a body, and a line of text above it
    assert content_box(thumb) == (8 / 64, 16 / 64, 56 / 64, 48 / 64)
    assert content_box(np.zeros((64, 64), np.uint8)) == (0, 0, 1, 1)


# ---------------------------------------------------------------- texts


def test_near_texts_are_those_of_a_naive_loop():
    rng = np.random.default_rng(0)
    vocabulary = [f"word{number}" for number in range(40)]
    texts = [" ".join(rng.choice(vocabulary, 20)) for _ in range(30)]
    changed = [" ".join(text.split()[:-1]) + " other" for text in texts[:10]] + texts[10:15] + ["too short"]

    def triples(text):
        found = words(text)
        return {tuple(found[at : at + 3]) for at in range(len(found) - 2)}

    naive = [
        (i, j, len(triples(a) & triples(b)) / len(triples(a) | triples(b)))
        for i, a in enumerate(texts)
        for j, b in enumerate(changed)
    ]
    assert near_texts(texts, changed) == [pair for pair in naive if pair[2] >= 0.8]
    assert len(near_texts(texts, changed)) == 15


def test_short_texts_and_punctuation():
    assert near_texts(["Is there a mass? no"], ["Is there a mass? no"]) == []
    text = "The left lung holds a mass of 3 cm."
    assert near_texts([text], [text.upper().replace(".", " !")]) == [(0, 0, 1.0)]


# ---------------------------------------------------------------- two corpora


@pytest.fixture
def two(tmp_path: Path) -> tuple[Corpus, Corpus]:
    caption = "Axial CT of the abdomen with a large mass in the left kidney"
    left = [
        ({"subject": "s1"}, scene(1)),
        ({}, scene(2)),
        ({"extra": {"image_name": "synpic0123.jpg"}}, scene(3)),
        ({"evidence": caption}, scene(4)),
        ({"question": "Is there a large mass in the left kidney of this patient?"}, scene(5)),
        ({}, None),
    ]
    right = [
        ({"split": "test"}, scene(1)),
        ({"split": "test"}, everything(scene(2))),
        ({"split": "test", "extra": {"image_path": "MPX1/MPX1_synpic123.png"}}, scene(13)),
        ({"split": "test", "evidence": caption + " seen"}, scene(14)),
        ({"split": "test", "question": "Is there a large mass in the left kidney of this patient"}, scene(15)),
        ({"split": "test", "subject": "s1"}, scene(16)),
    ]
    return corpus(tmp_path / "a", left, "a"), corpus(tmp_path / "b", right, "b")


def test_every_reason_is_found_once(two):
    pairs = leakage(*two)
    assert pairs["reason"].to_list() == ["pixels", "picture", "id", "caption", "text"]
    assert pairs["left_sample"].to_list() == ["a-0", "a-1", "a-2", "a-3", "a-4"]
    assert pairs["right_sample"].to_list() == ["b-0", "b-1", "b-2", "b-3", "b-4"]
    assert pairs["detail"][2] == "medpix:123" and summary(pairs).startswith("1 by pixels, 1 by picture")
    assert leakage(*two, use_ids=False)["reason"].to_list() == ["pixels", "picture", "caption", "text"]
    assert leakage(*two, texts=False, pictures=False)["reason"].to_list() == ["pixels", "id"]


def test_a_subject_counts_within_its_data_set_only(two, tmp_path):
    a, b = two  # s1 is somebody else in b
    assert "subject" not in leakage(a, b)["reason"].to_list()
    c = corpus(tmp_path / "c", [({"source": "a", "subject": "s1", "id": "x"}, None)], "c")
    assert leakage(a, c)["reason"].to_list() == ["subject"]


def test_phantoms_are_compared_by_pixels_only(tmp_path):
    drawn = {"source": "phantom"}
    a = corpus(tmp_path / "a", [(drawn, scene(1)), (drawn, scene(2))], "a")
    b = corpus(tmp_path / "b", [(drawn, scene(1)), (drawn, halved(scene(2)))], "b")
    assert leakage(a, b)["reason"].to_list() == ["pixels"]


def test_a_corpus_with_itself_needs_filters_that_exclude_each_other(two):
    a, _ = two
    with pytest.raises(InputError, match="compared with themselves"):
        leakage(a, a)
    with pytest.raises(InputError, match="no questions with"):
        leakage(a, a, where=({"split": "train"}, {"split": "test"}))
    with pytest.raises(InputError, match="no field 'splitt'"):
        leakage(a, a, where=({"splitt": "train"}, {}))


@pytest.mark.parametrize(("policy", "dropped"), [("report", []), ("drop", ["a-0", "a-1", "a-2"])])
def test_policies(two, policy, dropped):
    sides = [[(corpus, list(corpus.samples()))] for corpus in two]
    pairs, gone = enforce(*sides, policy)
    assert gone["id"].to_list() == dropped and len(pairs) == 5
    with pytest.raises(InputError, match=r"share 1 by pixels, 1 by picture, 1 by id; .*leakage: drop"):
        enforce(*sides, "refuse")


# ---------------------------------------------------------------- the verb and the run


def test_the_verb_prints_and_draws(two, tmp_path):
    names, drawn = [str(corpus.folder) for corpus in two], str(tmp_path / "pairs.png")
    said = CliRunner().invoke(cli.app, ["leakage", *names, "--draw", drawn])
    assert said.exit_code == 0 and "share 1 by pixels, 1 by picture, 1 by id" in said.output
    assert "a-1 (1) = b-1 (1)" in said.output and "drawn" in said.output
    with Image.open(drawn) as sheet:
        assert sheet.width > 400  # two pairs and more side by side
    found = json.loads(CliRunner().invoke(cli.app, ["leakage", *names, "--json", "--draw", drawn, "--no-ids"]).output)
    assert [pair["reason"] for pair in found["pairs"]] == ["pixels", "picture", "caption", "text"]
    none = ["leakage", *names, "--where-a", "id=a-5", "--draw", str(tmp_path / "none.png")]
    said = CliRunner().invoke(cli.app, none)
    assert said.exit_code == 0 and "share nothing" in said.output and not (tmp_path / "none.png").exists()


def walk(file: Path, *changes: str) -> Path:
    quiet = Screen(Console(file=io.StringIO(), width=200))
    return pipeline.run(load(file, list(changes)), steps=STAND_INS, screen=quiet)


def test_a_run_refuses_drops_or_reports(tmp_path):
    file = write_recipe(tmp_path)
    overlap = "stages.stage1.data.0.where={}", "evaluate.data=[{corpus: toy, split: train, where: {topic: finding}}]"
    with pytest.raises(InputError, match="leakage: training and test questions share 6 by pixels, 6 by subject"):
        walk(file, *overlap)
    assert not (tmp_path / "run" / "leakage").exists() and not (tmp_path / "run" / "stage1").exists()
    with pytest.raises(InputError, match="all 12 questions share something"):
        walk(file, *overlap, "leakage=drop")
    run = walk(file, *overlap, "leakage=report")
    assert json.loads((run / "leakage" / "leakage.json").read_text())["pairs"] == {"pixels": 6, "subject": 6}
    assert len(pl.read_parquet(run / "leakage" / "dropped.parquet")) == 0


def test_dropped_questions_are_not_in_the_mixture(tmp_path):
    file = write_recipe(tmp_path)
    asked = "evaluate.data=[{corpus: toy, split: train, where: {id: [q0, q1]}}]"
    run = walk(file, asked, "leakage=drop")
    gone = pl.read_parquet(run / "leakage" / "dropped.parquet")
    assert sorted(gone["id"]) == ["q0", "q1"] and set(gone["reason"]) == {"pixels"}
    for stage in ("stage1", "stage2"):
        assert not {"q0", "q1"} & set(pl.read_parquet(run / stage / "mix.parquet")["id"])
    assert "q2" in set(pl.read_parquet(run / "stage2" / "mix.parquet")["id"])
