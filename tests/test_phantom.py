"""Phantoms: deterministic, in order, physically sensible, exact masks, sides by the patient, balanced questions."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from radvqa.datasets import phantom as loader
from radvqa.errors import InputError
from radvqa.phantom import ANSWERS, BLOCK, FINDINGS, STRUCTURES, Phantom, captions, layout, phantom, phantoms, questions
from radvqa.phantom.anatomy import build
from radvqa.phantom.balance import decoy
from radvqa.phantom.findings import BY_REGION, MIN_DIAMETER, possible
from radvqa.phantom.grid import chord, inside, make_grid
from radvqa.phantom.radiograph import project
from radvqa.phantom.render import NOISE_SD
from radvqa.phantom.scene import subject_of
from radvqa.phantom.solids import ellipsoid, tube
from radvqa.phantom.tissue import ID

NUM_LARGE, NUM_SMALL = 120, 2000


@pytest.fixture(scope="module")
def large() -> list[Phantom]:
    return [phantom(3, index) for index in range(NUM_LARGE)]


@pytest.fixture(scope="module")
def small() -> list[Phantom]:
    """Enough pictures for counting; their questions are asked in `asked`."""
    return [phantom(5, index, size_px=80) for index in range(NUM_SMALL)]


@pytest.fixture(scope="module")
def asked(small: list[Phantom]) -> list:
    return [sample for picture in small for sample in questions(picture)]


def equal(a: Phantom, b: Phantom) -> bool:
    same = np.array_equal(a.image, b.image) and np.array_equal(a.labels, b.labels) and a.caption == b.caption
    return same and all(np.array_equal(f.mask, g.mask) for f, g in zip(a.findings, b.findings, strict=True))


# ---------------------------------------------------------------- geometry, by hand


def test_slice_of_a_ball_is_a_disc_of_the_right_size_at_the_right_place() -> None:
    # a ball of radius 50 at x = +40 (the patient's left), cut 30 above its middle: a disc of radius sqrt(2500 - 900) = 40
    grid = make_grid("axial", size_px=200, centre=(0, 0, 30), fov_mm=200)
    found = inside(ellipsoid("liver", "liver", (40, -20, 0), (50, 50, 50)), grid)
    assert found is not None
    mask = np.zeros((200, 200), bool)
    mask[found[0]] = found[1]
    assert mask.sum() == pytest.approx(np.pi * 40**2, rel=0.01)
    rows, columns = np.nonzero(mask)
    # 1 mm a pixel: left of the patient is right in the picture, the front (-y) is up
    assert columns.mean() == pytest.approx(99.5 + 40, abs=0.5)
    assert rows.mean() == pytest.approx(99.5 - 20, abs=0.5)


@pytest.mark.parametrize(("plane", "right", "down"), [("coronal", "left", "feet"), ("sagittal", "back", "feet")])
def test_other_planes_follow_the_convention(plane: str, right: str, down: str) -> None:
    at = {"left": (30, 0, 0), "back": (0, 30, 0), "feet": (0, 0, -30)}
    grid = make_grid(plane, size_px=100, centre=(0, 0, 0), fov_mm=100)
    for name, axis in ((right, 1), (down, 0)):
        found = inside(ellipsoid("liver", "liver", at[name], (10, 10, 10)), grid)
        assert found is not None
        mask = np.zeros((100, 100), bool)
        mask[found[0]] = found[1]
        assert np.argwhere(mask).mean(0)[axis] == pytest.approx(49.5 + 30, abs=0.6)


def test_chord_through_a_turned_ellipsoid_is_its_thickness() -> None:
    # axes 40, 20, 30 turned a quarter about z: along y it is 2 * 40 thick, along x 2 * 20
    solid = ellipsoid("liver", "liver", (0, 0, 0), (40, 20, 30), turn=(0, 0, 90))
    for plane, thick in (("frontal", 80.0), ("lateral", 40.0)):
        grid = make_grid(plane, size_px=101, centre=(0, 0, 0), fov_mm=101)
        enter, leave = chord(solid, grid, (slice(0, 101), slice(0, 101)))
        assert (leave - enter)[50, 50] == pytest.approx(thick, rel=1e-3)
        assert (leave - enter)[0, 0] == 0


def test_chord_adds_up_to_the_volume() -> None:
    grid = make_grid("frontal", size_px=120, centre=(0, 0, 0), fov_mm=120)
    whole = (slice(0, 120), slice(0, 120))
    enter, leave = chord(ellipsoid("liver", "liver", (0, 0, 0), (40, 20, 30)), grid, whole)
    assert (leave - enter).sum() == pytest.approx(4 / 3 * np.pi * 40 * 20 * 30, rel=0.01)
    enter, leave = chord(tube("aorta", "vessel", (0, 0, -20), (0, 0, 20), 10), grid, whole)
    # a cylinder of length 40 and two half balls of radius 10
    assert (leave - enter).sum() == pytest.approx(np.pi * 100 * 40 + 4 / 3 * np.pi * 1000, rel=0.02)


def test_a_radiograph_darkens_through_bone_and_clears_through_lung() -> None:
    anatomy = build("thorax", np.random.default_rng(2))
    grid = make_grid("frontal", size_px=96, centre=(0, 4, 0), fov_mm=anatomy.tall_mm)
    picture = project(anatomy, grid)
    clear = (picture.labels == ID["left lung"]) & (picture.lungs["left lung"] > 100)
    assert picture.path[picture.labels == ID["spine"]].mean() > picture.path[clear].mean() + 1
    heart = (picture.labels == ID["heart"]) & (picture.lungs["left lung"] > 20)
    assert picture.path[heart].mean() > picture.path[clear].mean() + 0.5
    assert (picture.path >= 0).all()


# ---------------------------------------------------------------- determinism


def test_a_phantom_depends_on_seed_and_index_alone(large: list[Phantom]) -> None:
    for index in (17, 4, 60):
        assert equal(phantom(3, index), large[index])
    assert not np.array_equal(phantom(4, 17).image, large[17].image)


def test_processes_give_the_same_phantoms_in_order(large: list[Phantom]) -> None:
    order = [9, 2, 30, 31, 5, 5, 12, 0, 44, 3]
    for got, index in zip(phantoms(3, order, num_workers=2), order, strict=True):
        assert got.index == index
        assert equal(got, large[index])


def test_a_script_without_a_main_guard_may_use_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from radvqa.phantom import phantoms\nprint(len(list(phantoms(1, range(9), num_workers=2, size_px=64))))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "9"), done.stderr


def test_questions_are_the_same_each_time(large: list[Phantom]) -> None:
    assert questions(large[8]) == questions(phantom(3, 8))
    stage1 = questions(large[8], topics=("modality", "plane"))
    assert {sample.topic for sample in stage1} == {"modality", "plane"}
    assert all(sample in questions(large[8]) for sample in stage1)


# ---------------------------------------------------------------- the truth


def test_masks_boxes_and_labels_agree(large: list[Phantom]) -> None:
    num = 0
    for picture in large:
        assert picture.image.shape == picture.labels.shape == (192, 192)
        for finding in picture.findings:
            num += 1
            rows, columns = np.nonzero(finding.mask)
            assert finding.box == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            painted = picture.labels == ID[finding.name]
            assert not (painted & ~finding.mask).any()
            if picture.modality != "X-ray":
                assert np.array_equal(painted, finding.mask)
            diameter = 2 * np.sqrt(finding.mask.sum() / np.pi) / 192
            thin = finding.name == "fracture"  # a crack is long and narrow
            assert diameter > (0.06 if thin else 0.85 * MIN_DIAMETER), (picture.index, finding.name)
    assert num > 50


def test_findings_are_where_they_may_be(small: list[Phantom]) -> None:
    seen = defaultdict(set)
    for picture in small:
        allowed = possible(picture.region, picture.modality, picture.plane)
        names = [finding.name for finding in picture.findings]
        assert set(names) <= set(allowed) <= set(BY_REGION[picture.region])
        assert len(set(names)) == len(names) <= 2
        seen[picture.region].update(names)
        for finding in picture.findings:
            assert (finding.side is None) == (picture.plane in ("sagittal", "lateral"))
            if finding.name == "effusion":
                assert picture.region in ("thorax", "abdomen")
    assert {region: set(names) for region, names in BY_REGION.items()} == dict(seen)


def test_sides_are_the_patients(large: list[Phantom], small: list[Phantom]) -> None:
    """The patient's left is right in the picture: of the middle of the body, not of the picture."""
    num = 0
    for picture in large + small[:400]:
        body = np.nonzero(picture.labels > 0)[1]
        middle = (body.min() + body.max()) / 2
        for finding in picture.findings:
            if finding.side is None:
                continue
            offset = np.nonzero(finding.mask)[1].mean() - middle
            margin = 0.06 * picture.labels.shape[1]  # the body may be cut by the rim or leaning
            assert offset > -margin if finding.side == "left" else offset < margin, picture.index
            num += 1
    assert num > 150


def test_organs_are_on_their_side(large: list[Phantom]) -> None:
    for picture in large:
        if picture.plane in ("sagittal", "lateral") or picture.region == "head":
            continue
        columns = {name: np.nonzero(picture.labels == ID[name])[1].mean() for name in picture.organs}
        for right, left in (("right lung", "left lung"), ("right kidney", "left kidney"), ("liver", "spleen")):
            if right in columns and left in columns:
                assert columns[right] < columns[left]


def contrast(picture: Phantom, mask: np.ndarray, against: tuple[str, ...]) -> float:
    """Mean grey inside less mean grey of what is around, a part of the full range."""
    ring = binary_dilation(mask, iterations=10) & ~binary_dilation(mask, iterations=1)
    ring &= np.isin(picture.labels, [ID[name] for name in against])
    if ring.sum() < 20:
        return np.nan
    return float(picture.image[mask].mean() - picture.image[ring].mean()) / 255


EXPECTED = [
    # finding, region, modality, sequence, around it, the least contrast and its sign
    ("nodule", "thorax", "CT", None, ("left lung", "right lung"), 0.15),
    ("mass", "thorax", "MR", "T2", ("left lung", "right lung"), 0.15),
    ("effusion", "thorax", "CT", None, ("left lung", "right lung"), 0.15),
    ("effusion", "thorax", "MR", "T2", ("left lung", "right lung"), 0.15),
    ("haemorrhage", "head", "CT", None, ("left hemisphere", "right hemisphere"), 0.15),
    ("haemorrhage", "head", "MR", "T1", ("left hemisphere", "right hemisphere"), 0.1),
    ("haemorrhage", "head", "MR", "T2", ("left hemisphere", "right hemisphere"), -0.1),
    ("cyst", "head", "CT", None, ("left hemisphere", "right hemisphere"), -0.1),
    ("cyst", "head", "MR", "T1", ("left hemisphere", "right hemisphere"), -0.15),
    ("cyst", "head", "MR", "T2", ("left hemisphere", "right hemisphere"), 0.15),
    ("stone", "abdomen", "CT", None, ("left kidney", "right kidney"), 0.15),
    ("stone", "abdomen", "MR", "T1", ("left kidney", "right kidney"), -0.1),
    ("stone", "abdomen", "MR", "T2", ("left kidney", "right kidney"), -0.15),
    ("cyst", "abdomen", "CT", None, ("left kidney", "right kidney", "liver", "spleen"), -0.03),
    ("cyst", "abdomen", "MR", "T2", ("left kidney", "right kidney", "liver", "spleen"), 0.1),
    ("effusion", "abdomen", "MR", "T2", ("fat",), 0.05),
]


def test_findings_look_as_physics_says(small: list[Phantom]) -> None:
    """Bright or dark by modality, each by at least four standard deviations of the noise or a stated contrast."""
    seen: dict[tuple, list[float]] = defaultdict(list)
    for picture in small:
        for finding in picture.findings[:1]:
            for row in EXPECTED:
                if (finding.name, picture.region, picture.modality, picture.sequence) == row[:4]:
                    value = contrast(picture, finding.mask, row[4])
                    if np.isfinite(value):
                        seen[row].append(value * np.sign(row[5]))
    for row in EXPECTED:
        values = seen[row]
        assert len(values) >= 3, row[:4]
        assert np.median(values) > abs(row[5]), (row[:4], values)
        assert np.mean(np.array(values) > 4 * NOISE_SD[1] * (0.6 if abs(row[5]) < 0.1 else 1)) >= 0.75, (
            row[:4],
            values,
        )


def test_layout_gives_lesions_their_cells(large: list[Phantom]) -> None:
    picture = next(picture for picture in large if picture.findings)
    labels = np.zeros((192, 192), np.uint8)
    labels[:, 96:] = ID["liver"]
    labels[0:6, 0:8] = ID["nodule"]  # 48 of 144 pixels of the first cell: more than a quarter
    labels[12:18, 0:6] = ID["cyst"]  # 36 of 144 of the one below: exactly a quarter, not more
    grid = layout(replace(picture, labels=labels), 16)
    assert grid.shape == (16, 16)
    assert STRUCTURES[grid[0, 0]] == "nodule"
    assert STRUCTURES[grid[1, 0]] == "background"
    assert (grid[:, 8:] == ID["liver"]).all()


# ---------------------------------------------------------------- words


def test_captions_name_everything(large: list[Phantom]) -> None:
    for picture in large[:60]:
        told = captions(picture, np.random.default_rng(1))
        assert len(set(told)) == len(told) >= 6
        for text in told:
            assert text == text.lower()
            assert picture.modality.lower() in text and picture.plane in text and picture.region in text
            assert (picture.sequence or "").lower() in text
            for finding in picture.findings:
                assert finding.name in text and finding.organ in text
                assert finding.side is None or finding.organ in ("liver", "spleen") or finding.side in text
        assert picture.caption == captions(picture, np.random.default_rng(0))[0]


def test_every_sample_is_whole(large: list[Phantom]) -> None:
    for picture in large[:80]:
        samples = questions(picture)
        assert len({sample.id for sample in samples}) == len(samples)
        for sample in samples:
            assert all(answer in ANSWERS for answer in sample.answers), sample
            assert sample.evidence == picture.caption and sample.subject == picture.subject
            assert (sample.modality, sample.plane, sample.region) == (picture.modality, picture.plane, picture.region)
            assert {"closed": sample.answers[0] in ("yes", "no"), "choice": sample.answers[0] in sample.choices}.get(
                sample.kind, True
            )
            assert len(set(sample.choices)) == len(sample.choices)
            if sample.topic in ("finding", "pathology") and len(picture.findings) == 1 and sample.answers != ("no",):
                assert sample.mask is not None
                mask = np.asarray(Image.open(io.BytesIO(sample.mask)))
                assert mask.dtype == bool and np.array_equal(mask, picture.findings[0].mask)
            assert {box.label for box in sample.boxes} >= {finding.name for finding in picture.findings}


def test_questions_per_picture(small: list[Phantom], asked: list) -> None:
    stage2 = sum(sample.topic in ("finding", "pathology") for sample in asked) / len(small)
    stage1 = len(asked) / len(small) - stage2
    assert 4 <= stage1 <= 6.5 and 3 <= stage2 <= 5
    with_findings = np.array([len(picture.findings) for picture in small])
    assert 0.45 < (with_findings == 1).mean() < 0.62 and 0.06 < (with_findings == 2).mean() < 0.2


def test_yes_and_no_are_equally_likely_for_each_wording(asked: list) -> None:
    """For each thing asked, and for each wording, within what chance allows (3.5 and 4 standard deviations)."""
    wordings: dict[str, Counter] = defaultdict(Counter)
    for sample in asked:
        if sample.kind == "closed":
            wordings[sample.question][sample.answers[0]] += 1
            for name in FINDINGS:
                if name in sample.question and "the " + name not in sample.question:
                    wordings[f"({name})"][sample.answers[0]] += 1
    assert len(wordings) > 300
    for question, count in wordings.items():
        assert abs(count["yes"] - count["no"]) <= 4 * np.sqrt(count.total()) + 1, (question, count)


def test_the_question_alone_does_not_tell_the_answer(asked: list) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    closed = [sample for sample in asked if sample.kind == "closed"]
    # one who knows the region (but for the questions that ask for it) gains nothing either
    region_asked = [sample.topic == "organ" and any(name in sample.question for name in BY_REGION) for sample in closed]
    knowing = [sample for sample, skip in zip(closed, region_asked) if not skip]
    for samples, tag in ((closed, False), (knowing, True)):
        told = np.array([sample.answers[0] == "yes" for sample in samples])
        words = [sample.question + (f" q{sample.region}" if tag else "") for sample in samples]
        features = CountVectorizer(ngram_range=(1, 2), token_pattern=r"[\w-]+").fit_transform(words)
        half = len(samples) // 2
        model = LogisticRegression(C=0.05, max_iter=300).fit(features[:half], told[:half])
        majority = max(told[half:].mean(), 1 - told[half:].mean())
        assert model.score(features[half:], told[half:]) < majority + 0.03


def test_decoys_are_balanced() -> None:
    """40,000 draws of a property with unequal shares: each value is asked with yes as often as with no."""
    for shares in ({"a": 0.4, "b": 0.33, "c": 0.27}, {"a": 0.6, "b": 0.4}):
        rng, count = np.random.default_rng(0), Counter()
        for true in rng.choice(list(shares), 40_000, p=list(shares.values())):
            if (done := decoy(rng, shares, str(true))) is not None:
                count[done] += 1
        for name in shares:
            assert count[name, True] == pytest.approx(count[name, False], rel=0.05)


def test_the_right_option_is_anywhere(asked: list) -> None:
    places = Counter(
        (len(sample.choices), sample.choices.index(sample.answers[0])) for sample in asked if sample.kind == "choice"
    )
    for num in (3, 4):
        total = sum(places[num, k] for k in range(num))
        for k in range(num):
            assert places[num, k] == pytest.approx(total / num, abs=4 * np.sqrt(total / num))


# ---------------------------------------------------------------- as a data set


def test_rows_stream_and_subjects_do_not_cross_splits() -> None:
    samples, pictures = [], {}
    for row in loader.rows(None, num_images=120, size_px=64, num_workers=0, test_share=0.3, drop=pytest.fail):
        samples.append(row.sample)
        pictures[row.sample.id.rsplit("-", 1)[0]] = row.picture
    assert len(pictures) == 120
    splits = defaultdict(set)
    for sample in samples:
        splits[sample.subject].add(sample.split)
    assert all(len(names) == 1 for names in splits.values())
    assert {name for names in splits.values() for name in names} == {"train", "validation", "test"}
    with Image.open(io.BytesIO(pictures["phantom-0-7"])) as stored:
        assert np.array_equal(np.asarray(stored), phantom(0, 7, size_px=64).image)


def test_subjects_have_one_to_three_pictures_and_stay_in_their_block() -> None:
    subjects = Counter(subject_of(1, index)[0] for index in range(1000))
    assert set(subjects.values()) == {1, 2, 3}
    first = {subject_of(1, index)[0] for index in range(0, 500)}
    assert not first & {subject_of(1, index)[0] for index in range(500, 1000)}
    assert not first & {subject_of(2, index)[0] for index in range(500)}
    regions = defaultdict(set)
    for index in range(60):
        regions[subject_of(5, index)[0]].add(phantom(5, index, size_px=64).region)
    assert all(len(names) == 1 for names in regions.values())


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"num_images": 0}, "num_images"),
        ({"first_index": BLOCK + 1}, "first_index"),
        ({"test_share": 0.8, "validation_share": 0.2}, "test_share"),
        ({"size_px": 10}, "size_px"),
    ],
)
def test_bad_options_are_named(options: dict, key: str) -> None:
    with pytest.raises(InputError) as caught:
        next(loader.rows(None, drop=pytest.fail, **options))
    assert caught.value.key == key


def test_fast_enough() -> None:
    """At least 30 pictures a second on two cores is 67 ms of one core each, questions and PNG included."""
    start = time.process_time()
    for _ in loader.rows(None, num_images=40, num_workers=0, seed=9, drop=pytest.fail):
        pass
    assert (time.process_time() - start) / 40 < 0.067
