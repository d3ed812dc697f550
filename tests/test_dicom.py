"""DICOM: grey values by hand arithmetic, pydicom's own 176 test files, and no name in anything that is written."""

from __future__ import annotations

import json
import random
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from radvqa.datasets import import_corpus
from radvqa.datasets.dicom import rows
from radvqa.dicom import read_dicom
from radvqa.dicom_tags import allowed_tags, plane, pseudonym
from radvqa.errors import InputError
from radvqa.sample import Corpus

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SALT = b"sixteen bytes or more"


def dicom(path: Path, pixels: np.ndarray, **elements: object) -> Path:
    """A CT file of these stored values uint16 / int16 [frames,] rows, columns."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientID, data.PatientName, data.Modality = "MRN-4711-0815", "Sesame^Ernestine", "CT"
    data.Rows, data.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, int(pixels.dtype == np.int16)
    data.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def grey(path: Path, **options: object) -> list[int]:
    """The picture's values, row by row."""
    return np.asarray(read_dicom(path, **options)[0]).ravel().tolist()  # type: ignore[arg-type]


# ---------------------------------------------------------------- grey values


def test_the_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    stored = np.array([[0, 984, 1064, 1144, 2000]], np.uint16)
    file = dicom(tmp_path / "a", stored, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=81)
    # -1024 -40 40 120 976 HU; (x - 39.5) / 80 + 0.5: below 0; below 0; 0.50625 -> 129; above 1; above 1
    assert grey(file) == [0, 0, 129, 255, 255]


@pytest.mark.parametrize(
    ("name", "centre", "width"),
    [("lung", -600, 1500), ("bone", 400, 1800), ("brain", 40, 80), ("soft tissue", 40, 400)],
)
def test_named_windows_are_centre_and_width_in_hounsfield_units(
    tmp_path: Path, name: str, centre: int, width: int
) -> None:
    values = np.array([[centre - width, centre, centre + width]], np.int16)
    file = dicom(tmp_path / "a", values, RescaleSlope=1, RescaleIntercept=0)
    assert grey(file, window=name) == grey(file, window=(centre, width))
    low, middle, high = grey(file, window=name)
    assert (low, high) == (0, 255) and abs(middle - 128) <= 2


def test_sigmoid_and_linear_exact(tmp_path: Path) -> None:
    values = np.array([[0, 100, 150, 200]], np.int16)
    both = {"WindowCenter": 100, "WindowWidth": 200}
    exact = dicom(tmp_path / "a", values, VOILUTFunction="LINEAR_EXACT", **both)
    assert grey(exact) == [0, 128, 191, 255]  # x / 200: 0, 0.5, 0.75, 1
    sigmoid = dicom(tmp_path / "b", values, VOILUTFunction="SIGMOID", **both)
    # 1 / (1 + exp(-4 (x - 100) / 200)): 1 / (1 + e^2) = 0.1192; 0.5; 1 / (1 + e^-1) = 0.7311; 0.8808
    assert grey(sigmoid) == [30, 128, 186, 225]


def test_without_a_window_the_range_is_used_and_padding_is_not_part_of_it(tmp_path: Path) -> None:
    values = np.array([[-2000, 100, 150, 200]], np.int16)
    file = dicom(tmp_path / "a", values, PixelPaddingValue=-2000)
    out, low, middle, high = grey(file)
    assert (out, low, high) == (0, 0, 255) and 126 <= middle <= 129


def test_monochrome1_is_turned(tmp_path: Path) -> None:
    values = np.array([[0, 50, 100]], np.uint16)
    same = {"WindowCenter": 50, "WindowWidth": 101}
    plain = grey(dicom(tmp_path / "a", values, **same))
    turned = grey(dicom(tmp_path / "b", values, PhotometricInterpretation="MONOCHROME1", **same))
    assert plain == [255 - value for value in turned] and plain[0] < plain[2]


def test_twelve_signed_bits(tmp_path: Path) -> None:
    # 12 stored bits: 0xFFF is -1, 0x800 is -2048
    stored = np.array([[0x0FFF, 0x0800, 0x07FF]], np.uint16)
    file = dicom(
        tmp_path / "a", stored, BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter=0, WindowWidth=4096
    )
    middle, low, high = grey(file)
    assert (low, high) == (0, 255) and middle in (127, 128)


def test_a_voi_lut_goes_before_a_window(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 0, 8]
    table.add_new("LUTData", "US", [0, 200, 100, 255])
    file = dicom(tmp_path / "a", np.array([[0, 1, 2, 3]], np.uint16), VOILUTSequence=[table], WindowCenter=1)
    assert grey(file) == [0, 200, 100, 255]


def test_frames_are_chosen_or_laid_side_by_side(tmp_path: Path) -> None:
    frames = np.arange(5, dtype=np.uint16)[:, None, None] * np.ones((1, 2, 3), np.uint16)
    file = dicom(tmp_path / "a", frames, WindowCenter=2.5, WindowWidth=5)  # (x - 2) / 4 + 0.5
    assert set(grey(file, frame=0)) == {0} and set(grey(file, frame=4)) == {255}
    assert set(grey(file)) == set(grey(file, frame="middle")) == {128}
    sheet, tags = read_dicom(file, frame="montage")
    assert sheet.size == (9, 4) and tags["frames"] == [0, 1, 2, 3, 4]  # 3 x 2 frames of 3 x 2 px, one place empty
    assert sheet.getpixel((3, 0)) == 64 and sheet.getpixel((3, 2)) == 255
    with pytest.raises(InputError, match="there is no frame 5"):
        read_dicom(file, frame=5)


def test_windows_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    file = dicom(tmp_path / "a", np.ones((2, 2), np.uint16), Modality="MR")
    with pytest.raises(InputError, match="Hounsfield"):
        read_dicom(file, window="lung")
    with pytest.raises(InputError, match="width above 0"):
        read_dicom(file, window=(40, 0))
    with pytest.raises(InputError, match="unknown window 'liver'"):
        read_dicom(file, window="liver")  # type: ignore[arg-type]


def test_a_picture_beyond_bounds_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    file = dicom(tmp_path / "a", np.ones((2, 2), np.uint16), Rows=60000, Columns=60000)
    with pytest.raises(InputError, match="60000 x 60000 px"):
        read_dicom(file)


# ---------------------------------------------------------------- tags


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        ([1, 0, 0, 0, 1, 0], "axial"),  # normal (0, 0, 1)
        ([1, 0, 0, 0, 0, -1], "coronal"),  # normal (0, 1, 0)
        ([0, 1, 0, 0, 0, -1], "sagittal"),  # normal (-1, 0, 0)
        ([1, 0, 0, 0, 0.94, 0.342], "axial"),  # 20 degrees of tilt
        ([1, 0, 0, 0, 0.707, 0.707], "oblique"),
        ([0, 0, 0, 0, 0, 0], None),
    ],
)
def test_the_plane_is_that_of_the_normal(cosines: list[float], expected: str | None) -> None:
    data = Dataset()
    data.ImageOrientationPatient = cosines
    assert plane(data) == expected


def test_only_the_allow_list_is_kept(tmp_path: Path) -> None:
    file = dicom(
        tmp_path / "a",
        np.ones((4, 6), np.uint16),
        BodyPartExamined="CHEST",
        PixelSpacing=[0.5, 0.75],
        SliceThickness=3,
        StudyDescription="Sesame, Ernestine: thorax",
        InstitutionName="St. Elsewhere",
        PatientBirthDate="19500101",
        StudyDate="20200202",
    )
    tags = read_dicom(file, salt=SALT)[1]
    names = {"modality", "body_part", "pixel_spacing_mm", "slice_thickness_mm", "window", "width_px", "height_px"}
    assert set(tags) == names | {"subject", "study", "series", "image"}
    assert tags["pixel_spacing_mm"] == [0.5, 0.75] and (tags["width_px"], tags["height_px"]) == (6, 4)
    assert not set(read_dicom(file)[1]) & {"subject", "study", "series", "image"}


def test_pseudonyms_depend_on_the_salt_and_hide_the_number() -> None:
    assert pseudonym("4711", SALT) == pseudonym(" 4711 ", SALT) != pseudonym("4711", b"another salt")
    assert pseudonym("", SALT) is None and pseudonym(None, SALT) is None
    assert re.fullmatch(r"[0-9a-f]{16}", pseudonym("4711", SALT) or "")


@pytest.mark.parametrize(
    "name", ["Sésame^Ernestine", "SESAME", "ERNESTINE SESAME", "HEAD OF MRS SESAME", "4711", "-", ""]
)
def test_a_name_in_the_wrong_place_is_no_code(name: str) -> None:
    data = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.BodyPartExamined, data.ViewPosition = name, name
    assert not {"body_part", "view"} & set(allowed_tags(data))


@pytest.mark.parametrize(
    ("written", "kept"), [("CHEST", "chest"), (" Whole_Body", "whole body"), ("HEAD-NECK", "head neck")]
)
def test_body_parts_are_kept_as_they_are_written(written: str, kept: str) -> None:
    data = Dataset()
    data.BodyPartExamined, data.ViewPosition = written, "AP"
    assert allowed_tags(data) == {"body_part": kept, "view": "ap", "plane": "frontal"}


# ---------------------------------------------------------------- pydicom's files


def every_identity() -> set[str]:
    """Every person's name, every id, UID, date and description in the test files, as texts of at least 4 letters."""
    found: set[str] = set()

    def collect(data: Dataset) -> None:
        for element in data.iterall():
            if element.VR in ("PN", "UI", "DA") or (
                element.VR in ("LO", "SH", "ST", "LT") and not element.tag.is_private
            ):
                values = (
                    element.value if isinstance(element.value, (list, pydicom.multival.MultiValue)) else [element.value]
                )
                found.update(str(value).strip() for value in values)

    for file in sorted(TEST_FILES.rglob("*")):
        try:
            collect(pydicom.dcmread(file, force=True, stop_before_pixels=True))
        except Exception:  # broken on purpose
            continue
    return {text for text in found if len(text) >= 4}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    out = tmp_path_factory.mktemp("dicom") / "corpus"
    return import_corpus("dicom", TEST_FILES, out, options={"name": "collected"}, progress=False)


def test_every_file_is_read_or_refused_with_a_reason() -> None:
    outcomes: Counter[str] = Counter()
    files = [file for file in TEST_FILES.rglob("*") if file.is_file()]
    for file in files:
        try:
            picture, tags = read_dicom(file, salt=SALT)
        except InputError as error:
            assert str(file) in str(error) and error.found
            outcomes["refused"] += 1
        else:
            assert picture.mode in ("L", "RGB") and picture.size == (tags["width_px"], tags["height_px"])
            outcomes["read"] += 1
    assert len(files) == 176
    assert outcomes["read"] >= 87, outcomes  # 88 with radvqa[dicom]: a lossless JPEG more


def test_the_import_counts_every_file_once(imported: Corpus) -> None:
    dropped = imported.card["dropped"]
    assert dropped["not a DICOM file"] == 10
    assert dropped["there is no picture in it (CT Image Storage)"] == 51
    assert imported.card["num_images"] > 40
    subjects = imported.table.filter(modality="CT")["subject"].n_unique()
    assert subjects >= 5
    assert set(imported.table["topic"]) <= {"modality", "region", "plane", "view"}


def test_no_identity_in_any_output(imported: Corpus) -> None:
    written = b"\n".join(file.read_bytes() for file in sorted(imported.folder.rglob("*")) if file.is_file())
    text = written.decode("latin-1") + str(imported.table.to_dicts()) + json.dumps(imported.card)
    body_parts = {"HEAD", "ABDOMEN", "WHOLE BODY", "CSPINE"}  # are also written into free text
    identities = every_identity() - body_parts

    def named(text: str) -> list[str]:
        return [name for name in identities if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]

    assert len(identities) > 300 and named(f"'subject': '{min(identities)}'") == [min(identities)]
    assert named(text) == []


def test_the_same_folder_gives_the_same_ids_and_a_salt_file_others(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for number in range(3):
        dicom(folder / f"{number}.dcm", np.full((2, 2), number, np.uint16), PatientID=f"P{number // 2}-0815")

    def subjects(**options: object) -> list[str | None]:
        return [row.sample.subject for row in rows(folder, drop=lambda reason: None, **options)]  # type: ignore[arg-type]

    first = subjects()
    assert first == subjects() and len(set(first)) == 2
    salt = tmp_path / "salt"
    salt.write_text("not to be found in any corpus")
    assert set(subjects(salt_file=salt)) & set(first) == set()
    salt.write_text("short")
    with pytest.raises(InputError, match="shorter than 16"):
        subjects(salt_file=salt)


# ---------------------------------------------------------------- questions


def test_a_table_asks_by_file_and_by_uid(tmp_path: Path) -> None:
    folder = tmp_path / "PACS"
    dicom(folder / "a" / "1", np.arange(4, dtype=np.uint16).reshape(2, 2), BodyPartExamined="HEAD")
    dicom(folder / "b" / "2", np.arange(6, dtype=np.uint16).reshape(2, 3), SOPInstanceUID="1.2.3.4")
    table = tmp_path / "questions.csv"
    table.write_text(
        "image,question,answer,ward\n"
        "a/1,Is there a fracture?,no,Ernestine's\n"
        "1.2.3.4,What is shown?,two pixels more,Ernestine's\n"
        "1.2.3.4,Which side?,left,Ernestine's\n"
    )
    corpus = import_corpus("dicom", folder, tmp_path / "corpus", options={"table": table}, progress=False)
    samples = list(corpus.samples())
    assert [sample.question for sample in samples] == ["Is there a fracture?", "What is shown?", "Which side?"]
    assert samples[1].image == samples[2].image != samples[0].image
    assert (samples[0].region, samples[0].modality, samples[0].kind) == ("head", "CT", "closed")
    assert corpus.image(samples[1].image or "").size == (3, 2)
    everything = str(corpus.table.to_dicts()) + json.dumps(corpus.card)
    assert "Ernestine" not in everything and "4711" not in everything and "1.2.3.4" not in everything


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c/3,Why?,because", "row 2, image: there is no such DICOM file"),
        (",Why?,because", "row 2, image: no file and no SOPInstanceUID"),
        ("../a/1,Why?,because", "not a path inside"),
        ("note.txt,Why?,because", "there is no such DICOM file"),
    ],
)
def test_a_table_that_asks_for_what_is_not_there_stops(tmp_path: Path, line: str, message: str) -> None:
    folder = tmp_path / "PACS"
    dicom(folder / "a" / "1", np.ones((2, 2), np.uint16))
    (folder / "note.txt").write_text("hello")
    table = tmp_path / "questions.csv"
    table.write_text("image,question,answer\n" + line + "\n")
    with pytest.raises(InputError, match=re.escape(message)):
        list(rows(folder, table=table, drop=lambda reason: None))


def test_burned_in_annotation_warns_or_drops(tmp_path: Path) -> None:
    folder = tmp_path / "PACS"
    dicom(folder / "1", np.ones((2, 2), np.uint16), BurnedInAnnotation="YES")
    dicom(folder / "2", np.ones((2, 2), np.uint16), BurnedInAnnotation="NO")
    with pytest.warns(UserWarning, match="1 picture"):
        kept = list(rows(folder, drop=lambda reason: None))
    assert {row.sample.extra["burned_in"] for row in kept} == {True, False}
    dropped: list[str] = []
    with pytest.warns(UserWarning, match="left out"):
        left = list(rows(folder, burned_in="drop", drop=dropped.append))
    assert len(left) == 1 and dropped == ["annotation is burned in"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    dicom(tmp_path / "elsewhere" / "1", np.ones((2, 2), np.uint16))
    folder = tmp_path / "PACS"
    dicom(folder / "2", np.ones((2, 2), np.uint16))
    (folder / "link").symlink_to(tmp_path / "elsewhere" / "1")
    (folder / "tree").symlink_to(tmp_path / "elsewhere")
    dropped: list[str] = []
    assert len(list(rows(folder, drop=dropped.append))) == 1
    assert dropped == ["a link that leaves the folder"]


def test_a_named_window_leaves_other_modalities_alone(tmp_path: Path) -> None:
    folder = tmp_path / "PACS"
    values = np.array([[-600, 0, 600]], np.int16)
    dicom(folder / "1", values, RescaleSlope=1, RescaleIntercept=0)
    dicom(folder / "2", values, Modality="MR")
    used = {row.sample.modality: row.sample.extra["window"] for row in rows(folder, window="lung", drop=print)}
    assert used == {"CT": "lung", "MR": "0.5th to 99.5th percentile"}


def test_damaged_files_are_refused_and_never_crash(tmp_path: Path) -> None:
    draw = random.Random(0)
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg.dcm", "examples_palette.dcm", "image_dfl.dcm")
    originals = [(TEST_FILES / name).read_bytes()[:40_000] for name in names]
    file, refused = tmp_path / "mutant", 0
    for _ in range(200):
        data = bytearray(draw.choice(originals))
        for _ in range(draw.randint(1, 12)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.4:
            del data[draw.randrange(len(data)) :]
        file.write_bytes(bytes(data))
        try:
            read_dicom(file, salt=SALT, frame=draw.choice([None, "montage"]))
        except InputError:
            refused += 1
    assert refused > 50
