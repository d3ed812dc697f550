"""Import: every layout, the card, options, missing images, what is left behind."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from layouts import LAYOUTS
from making import save
from radvqa.datasets import NAMES, allowed_options, checked_options, get, import_corpus, reading
from radvqa.datasets.source import Card, held_out, kind_of, tidy
from radvqa.datasets.terms import modality_of, only_modality_in, plane_of, region_of
from radvqa.errors import InputError
from radvqa.sample import Corpus

EXPECTED = {  # questions, images, dropped
    "slake": (6, 3, 1),
    "vqa_rad": (6, 4, 0),
    "vqa_rad_mevf": (6, 4, 1),
    "vqa_rad_hf": (6, 6, 0),
    "vqa_med": (5, 3, 0),
    "pmc_vqa_v1": (4, 4, 1),
    "pmc_vqa_v2": (2, 2, 0),
    "rocov2": (9, 6, 3),
    "roco": (6, 6, 3),
    "medpix": (18, 7, 3),
    "mimic_cxr": (13, 4, 2),
    "iu_xray": (8, 3, 2),
    "iu_xray_csv": (6, 2, 0),
    "path_vqa": (6, 3, 3),
    "path_vqa_parquet": (6, 3, 0),
    "path_vqa_json": (2, 2, 0),
    "table_csv": (3, 3, 0),
    "table_tsv": (3, 3, 0),
    "table_jsonl": (3, 3, 0),
    "table_json": (3, 3, 0),
    "table_parquet": (3, 3, 0),
    "huggingface_parquet": (3, 3, 0),
    "huggingface_arrow": (3, 3, 0),
    "llava": (4, 2, 0),
    "vlmevalkit": (3, 2, 0),
}


def made(layout: str, folder: Path, **more) -> Corpus:
    """The corpus of a layout, made in `folder`."""
    name, path, options = LAYOUTS[layout](folder / "in")
    return import_corpus(name, path, folder / "out", options=options | more.pop("options", {}), progress=False, **more)


def test_every_loader_has_a_layout_to_be_tested_on(tmp_path):
    named = {make(tmp_path / layout)[0] for layout, make in LAYOUTS.items()}
    assert named | {"dicom", "phantom"} == set(NAMES) and set(EXPECTED) == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_imports(layout, tmp_path):
    corpus = made(layout, tmp_path)
    card = corpus.card
    questions, images, dropped = EXPECTED[layout]
    assert (card["num_questions"], card["num_images"], sum(card["dropped"].values())) == (questions, images, dropped)
    assert card["licence"] and card["citation"] and card["commercial"] in (True, False) and card["title"]
    for name in ("split", "kind", "modality", "region", "language"):
        assert sum(card["counts"][name].values()) == questions
    assert card["inputs"] and all(len(value) == 64 for value in card["inputs"].values())
    assert card["options"] == json.loads(json.dumps(card["options"]))
    keys = set(corpus.image_keys())
    for sample in corpus.samples():
        assert sample.image in keys and sample.id and sample.source
    for key in keys:
        assert corpus.image(key).size == (8, 6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_importing_twice_gives_the_same_corpus(layout, tmp_path):
    name, path, options = LAYOUTS[layout](tmp_path / "in")
    outs = (tmp_path / "a", tmp_path / "b")
    first, second = (import_corpus(name, path, out, options=options, progress=False) for out in outs)
    assert list(first.samples()) == list(second.samples())
    assert first.card == second.card


HELD_WITHIN = [name for name in LAYOUTS if "parquet" in name or name in ("huggingface_arrow", "vlmevalkit")]
"""Layouts whose pictures are no files."""


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in HELD_WITHIN])
def test_a_missing_image_stops_the_import_or_is_counted(layout, tmp_path):
    name, path, options = LAYOUTS[layout](tmp_path / "in")
    for picture in (tmp_path / "in").rglob("*"):
        if picture.suffix in (".jpg", ".png") and picture.name != "mask.png":
            picture.unlink()
            break
    with pytest.raises(InputError, match=rf"1 of {EXPECTED[layout][1]} images are missing.*\n  .*{picture.name}"):
        import_corpus(name, path, tmp_path / "out", options=options, progress=False)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in"]
    corpus = import_corpus(name, path, tmp_path / "out", options=options, allow_missing=True, progress=False)
    lost = corpus.card["dropped"]["the image is missing"]
    assert lost >= 1 and corpus.card["num_questions"] == EXPECTED[layout][0] - lost


def test_twenty_missing_images_are_listed_and_all_are_counted(tmp_path):
    lines = [json.dumps({"question": "q", "answer": "a", "image": f"{i}.png"}) for i in range(33)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    save(tmp_path / "7.png", 7)
    with pytest.raises(InputError) as caught:
        import_corpus("table", tmp_path / "t.jsonl", tmp_path / "out", progress=False)
    message = str(caught.value)
    assert "32 of 33 images are missing" in message and message.count(".png (first asked for by") == 20
    assert message.endswith("and 12 more")


def test_an_unreadable_image_stops_the_import_or_is_counted(tmp_path):
    name, path, options = LAYOUTS["vqa_rad"](tmp_path / "in")
    picture = tmp_path / "in/VQA_RAD Image Folder/synpic1.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(InputError, match=r"synpic1\.jpg, row vqa_rad-0, image: the image is not readable"):
        import_corpus(name, path, tmp_path / "out", options=options, progress=False)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
    corpus = import_corpus(name, path, tmp_path / "out", options=options, allow_missing=True, progress=False)
    assert corpus.card["dropped"] == {"the image is unreadable": 3}


def test_questions_alone(tmp_path):
    corpus = made("slake", tmp_path, pictures=False)
    assert corpus.card["num_images"] == 0 and corpus.card["pictures"] is False and corpus.card["num_questions"] == 6
    assert next(corpus.samples()).extra["img_name"] == "xmlab1/source.jpg"


def test_when_nothing_is_left_there_is_no_corpus(tmp_path):
    (tmp_path / "t.csv").write_text("question,answer,image\nq,a,gone.png\n")
    with pytest.raises(InputError, match=r"no question is left .*the image is missing: 1"):
        import_corpus("table", tmp_path / "t.csv", tmp_path / "out", allow_missing=True, progress=False)
    (tmp_path / "t.csv").write_text("question,answer,image\n")
    with pytest.raises(InputError, match="no questions were found"):
        import_corpus("table", tmp_path / "t.csv", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("table_parquet", "huggingface_parquet")])
def test_no_path_or_a_wrong_one(layout, tmp_path):
    name, _, options = LAYOUTS[layout](tmp_path / "in")
    with pytest.raises(InputError, match="no such file or folder"):
        import_corpus(name, tmp_path / "nowhere", tmp_path / "out", options=options, progress=False)
    with pytest.raises(InputError):
        import_corpus(name, None, tmp_path / "out", options=options, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        import_corpus(name, tmp_path / "empty", tmp_path / "out", options=options, progress=False)


def test_a_full_disk_is_one_message(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(InputError, match=r"cannot be written .No space left on device"):
        made("vqa_rad", tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in"]


def test_the_bar_is_shown_on_stderr(tmp_path, capsys):
    name, path, options = LAYOUTS["vqa_rad"](tmp_path / "in")
    import_corpus(name, path, tmp_path / "out", options=options)
    out, err = capsys.readouterr()
    assert out == "" and "import vqa_rad" in err and "6/6" in err


def test_inputs_are_hashed_and_many_are_hashed_together(tmp_path, monkeypatch):
    card = made("slake", tmp_path / "a").card
    assert set(card["inputs"]) >= {"train.json", "test.json", "mask.txt", "imgs/xmlab1/mask.png"}
    assert card["inputs"]["train.json"] == reading.sha256_of(tmp_path / "a/in/train.json")
    monkeypatch.setattr("radvqa.datasets.INPUTS_LISTED", 3)
    together = made("slake", tmp_path / "b").card["inputs"]
    assert "imgs/ (3 files)" in together and "train.json" in together
    (tmp_path / "c").mkdir()
    changed = tmp_path / "c"
    name, path, options = LAYOUTS["slake"](changed / "in")
    (path / "imgs/xmlab2/detection.json").write_text("[ ]")
    again = import_corpus(name, path, changed / "out", options=options, progress=False).card["inputs"]
    assert again["imgs/ (3 files)"] != together["imgs/ (3 files)"] and again["train.json"] == together["train.json"]


# ---------------------------------------------------------------- names and options


def test_an_unknown_name_or_option_is_refused():
    with pytest.raises(InputError, match=r"unknown data set 'slack'; use dicom"):
        get("slack")
    with pytest.raises(InputError, match="vqa_rad has no option 'sed'; its options are form, frames"):
        checked_options("vqa_rad", {"sed": 1})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vqa_rad", {"validation_share": "much"}),
        ("vqa_rad", {"form": "xlsx"}),
        ("medpix", {"splits": ["dev"]}),
        ("slake", {"languages": "de"}),
        ("table", {"columns": ["question"]}),
        ("medpix", {"seed": 1.5}),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name, options):
    with pytest.raises(InputError, match="does not fit") as caught:
        checked_options(name, options)
    assert caught.value.key == next(iter(options))


def test_texts_of_the_command_line_become_typed():
    checked = checked_options(
        "medpix", {"validation_share": "0.25", "seed": "3", "splits": ["train"], "holdout": "both"}
    )
    assert checked == {"validation_share": 0.25, "seed": 3, "splits": ("train",), "holdout": "both"}
    assert "drop" not in allowed_options("medpix")


def test_every_card_is_complete():
    for name in set(NAMES) - {"dicom"}:
        card = asdict(get(name).CARD)
        assert isinstance(get(name).CARD, Card) and card["name"] == name
        assert all(card[key] for key in ("title", "licence", "citation", "homepage")) or name == "table"


def test_the_licence_of_a_table_is_the_users(tmp_path):
    told = {"licence": "CC BY 4.0", "commercial": True, "citation": "Us (2026)", "name": "ours"}
    card = made("table_csv", tmp_path, options=told).card
    assert {key: card[key] for key in told} == told


# ---------------------------------------------------------------- what loaders share


def test_held_out_subjects():
    subjects = [f"case{i}" for i in range(20)]
    held = held_out(subjects, 0.2, seed=0)
    assert len(held) == 4 and set(held.values()) == {"validation"}
    assert held == held_out(subjects[::-1] * 2, 0.2, seed=0)
    assert set(held) != set(held_out(subjects, 0.2, seed=1))
    both = held_out(subjects, 0.2, seed=0, holdout="both")
    assert set(both) == set(held) and sorted(both.values()) == ["test", "test", "validation", "validation"]
    assert len(held_out(subjects, 0.01, seed=0)) == 1 and held_out(subjects, 0.0, seed=0) == {}
    for share, names in ((1.0, subjects), (-0.1, subjects), (0.5, ["only"])):
        with pytest.raises(InputError) as caught:
            held_out(names, share, seed=0)
        assert caught.value.key == "validation_share"


@pytest.mark.parametrize(
    ("word", "modality"),
    [
        (" MR - Montage of Images", "MR"),
        ("MR T2* gradient,GRE,MPGR,SWAN,SWI", "MR"),
        ("MRA - MR Angiography/Venography", "MR"),
        ("MRS - Spectroscopy", "MR"),
        ("CTA - CT Angiography", "CT"),
        ("Virtual Colonoscopy", "CT"),
        ("xr - plain film", "X-ray"),
        ("us-d - doppler ultrasound", "ultrasound"),
        ("an - angiogram", "angiography"),
        ("X-Ray", "X-ray"),
        ("Drawing", None),
        (None, None),
    ],
)
def test_words_for_a_modality(word, modality):
    assert modality_of(word) == modality


def test_words_for_planes_and_regions():
    assert [plane_of(w) for w in ("Transverse  Plane", "冠状面", "PA", "LATERAL", "3D Reconstruction", "")] == [
        "axial",
        "coronal",
        "frontal",
        "lateral",
        None,
        None,
    ]
    words = ("Chest_lung", "Brain_Tissue", "Pelvic Cavity", "skull and contents", "musculoskeletal")
    assert [region_of(w) for w in words] == ["chest", "head", "pelvis", "head", None]
    assert only_modality_in("Axial CT of a man") == "CT" and only_modality_in("CT and MRI") is None


def test_kinds_and_tidy_answers():
    assert (
        kind_of(["Yes."]) == "closed" and kind_of(["yes, a mass"]) == "open" and kind_of(["x"], ["x", "y"]) == "choice"
    )
    assert [tidy(answer) for answer in (" YES", "No ", " Left Lung")] == ["yes", "no", "Left Lung"]


# ---------------------------------------------------------------- names that lead elsewhere


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/passwd", "a/../../x.png", "C:/x.png", "C:\\x.png", "", "a\0b", "  "]
)
def test_names_that_lead_out_of_the_folder(name, tmp_path):
    with pytest.raises(InputError, match="is not a path inside") as caught:
        reading.picture_in(tmp_path / "images", name, tmp_path / "t.csv", 4)
    assert caught.value.row == 4 and caught.value.file == tmp_path / "t.csv" and len(str(caught.value)) < 500


def test_links(tmp_path):
    (tmp_path / "images").mkdir()
    save(tmp_path / "secret.png", 1)
    save(tmp_path / "images/in.png", 2)
    (tmp_path / "images/out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "images/inside.png").symlink_to(tmp_path / "images/in.png")
    (tmp_path / "images/up").symlink_to(tmp_path)
    for name in ("out.png", "up/secret.png"):
        with pytest.raises(InputError, match="is a link that leaves images"):
            reading.picture_in(tmp_path / "images", name, tmp_path / "t.csv", 1)
    assert reading.picture_in(tmp_path / "images", "inside.png", tmp_path / "t.csv", 1).is_file()
    (tmp_path / "linked").symlink_to(tmp_path / "images")
    assert reading.picture_in(tmp_path / "linked", "in.png", tmp_path / "t.csv", 1).is_file()
