"""The record that crosses rooms: pictures by their pixels, the folder on disk, what is refused."""

import io
import json
import struct
import zlib
from dataclasses import fields, replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radvqa.errors import InputError
from radvqa.sample import (
    MAX_PIXELS,
    SCHEMA,
    Box,
    Corpus,
    CorpusWriter,
    Sample,
    from_row,
    perceptual_hash,
    picture_key,
    read_picture,
    to_row,
)
from radvqa.tables import read_table


def sample(id: str = "a", **changes) -> Sample:
    values = {"question": "Is it?", "answers": ("yes",), "kind": "closed", "split": "train", "source": "s"}
    return Sample(id=id, **(values | changes))


def pixels(seed: int = 0, shape: tuple[int, ...] = (6, 8, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


# ---------------------------------------------------------------- pictures


def test_key_is_of_pixels_not_of_files():
    picture = Image.fromarray(pixels())
    keys = {picture_key(read_picture(encoded(picture, form))[0]) for form in ("PNG", "BMP", "TIFF")}
    assert keys == {picture_key(picture)}


def test_a_grey_file_and_its_rgb_copy_have_one_key():
    grey = Image.fromarray(pixels(shape=(6, 8)))
    assert picture_key(read_picture(encoded(grey, "PNG"))[0]) == picture_key(
        read_picture(encoded(grey.convert("RGB"), "PNG"))[0]
    )


def test_one_pixel_or_the_shape_makes_another_key():
    values = pixels()
    other = values.copy()
    other[0, 0, 0] ^= 1
    keys = {picture_key(Image.fromarray(v)) for v in (values, other, values.reshape(8, 6, 3))}
    assert len(keys) == 3


def test_eight_bit_jpeg_and_png_keep_their_bytes():
    for form in ("JPEG", "PNG"):
        data = encoded(Image.fromarray(pixels()), form)
        assert read_picture(data)[1] == data


@pytest.mark.parametrize("form", ["BMP", "TIFF", "GIF"])
def test_other_files_are_stored_as_png_with_the_same_pixels(form):
    rgb, data = read_picture(encoded(Image.fromarray(pixels()).convert("P" if form == "GIF" else "RGB"), form))
    assert data.startswith(b"\x89PNG")
    assert read_picture(data)[0].tobytes() == rgb.tobytes()


def test_sixteen_bits_are_scaled_from_minimum_to_maximum():
    values = np.array([[1000, 2000], [3000, 5000]], dtype=np.uint16)
    rgb, data = read_picture(encoded(Image.fromarray(values), "PNG"))
    # (v - 1000) * 255 / 4000: 0, 63.75, 127.5, 255, rounded half to even
    assert np.asarray(rgb)[..., 0].tolist() == [[0, 64], [128, 255]]
    assert Image.open(io.BytesIO(data)).mode == "L"


def test_a_constant_sixteen_bit_picture_is_black():
    assert not np.asarray(read_picture(encoded(Image.fromarray(np.full((3, 3), 700, np.uint16)), "PNG"))[0]).any()


def test_floats_with_nan_and_infinity():
    values = np.array([[np.nan, 0.0], [1.0, np.inf]], dtype=np.float32)
    # the unknown and the infinite count as the lowest: 0
    assert np.asarray(read_picture(Image.fromarray(values))[0])[..., 0].tolist() == [[0, 0], [255, 0]]


def test_cmyk_palette_one_bit_and_grey_with_alpha_become_rgb():
    base = Image.fromarray(pixels())
    for picture, form in (
        (base.convert("CMYK"), "JPEG"),
        (base.convert("CMYK"), "TIFF"),
        (base.quantize(7), "PNG"),
        (base.convert("1"), "PNG"),
        (base.convert("LA"), "PNG"),
    ):
        rgb, data = read_picture(encoded(picture, form))
        assert rgb.mode == "RGB" and rgb.size == (8, 6)
        assert picture_key(read_picture(data)[0]) == picture_key(rgb)


def test_transparency_lies_on_black():
    values = np.full((2, 2, 4), 200, dtype=np.uint8)
    values[0, 0, 3], values[0, 1, 3], values[1, :, 3] = 0, 255, 128
    rgb = np.asarray(read_picture(encoded(Image.fromarray(values), "PNG"))[0])
    # 200 * 0/255 = 0, 200 * 255/255 = 200, 200 * 128/255 = 100.4
    assert rgb[..., 0].tolist() == [[0, 200], [100, 100]]


def test_a_palette_with_a_transparent_colour():
    picture = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    picture.putpalette([9, 9, 9, 50, 60, 70])
    rgb = np.asarray(read_picture(encoded(picture, "PNG", transparency=0))[0])
    assert rgb.tolist() == [[[0, 0, 0], [50, 60, 70]]]


def test_exif_orientation_is_applied():
    values = np.zeros((2, 4, 3), dtype=np.uint8)
    values[0, 0] = 255  # top left; turned by 90 degrees clockwise it is top right
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb, data = read_picture(encoded(Image.fromarray(values), "PNG", exif=exif))
    assert rgb.size == (2, 4) and np.asarray(rgb)[0, 1].tolist() == [255, 255, 255]
    assert read_picture(data)[0].tobytes() == rgb.tobytes()


def header_only(width: int, height: int) -> bytes:
    """A PNG that says it is `width` x `height` and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (10_001, 10_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_before_they_are_decoded(size):
    with pytest.raises(InputError, match="at most 100000000 pixels") as caught:
        read_picture(header_only(*size))
    assert caught.value.key == "image" and MAX_PIXELS == 100_000_000


def test_a_picture_of_30_000_by_2_pixels_is_read():
    assert read_picture(encoded(Image.new("L", (30_000, 2)), "PNG"))[0].size == (30_000, 2)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0" * 99]
)
def test_what_is_no_picture_is_refused(data, tmp_path):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_picture(tmp_path / "x.png")
    assert "x.png" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_every_truncation_is_refused_or_read_but_never_a_traceback():
    for form in ("PNG", "JPEG", "TIFF"):
        data = encoded(Image.fromarray(pixels(shape=(16, 16, 3))), form)
        refused = 0
        for length in range(0, len(data), 7):
            try:
                read_picture(data[:length])
            except InputError:
                refused += 1
        assert refused > len(data) // 7 * 0.8


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png.*No such file"):
        read_picture(tmp_path / "gone.png")


def test_alike_pictures_have_near_hashes():
    picture = Image.fromarray(pixels(5, (9, 9, 3))).resize((128, 128), Image.Resampling.BICUBIC)
    jpeg = read_picture(encoded(picture, "JPEG", quality=40))[0]
    other = Image.fromarray(pixels(3, (64, 64, 3)))
    assert (perceptual_hash(picture) ^ perceptual_hash(jpeg.resize((90, 90)))).bit_count() <= 8
    assert (perceptual_hash(picture) ^ perceptual_hash(other)).bit_count() > 16
    assert 0 <= perceptual_hash(other) < 2**64


# ---------------------------------------------------------------- the record


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"kind": "opn"}, None),
        ({"split": "dev"}, None),
        ({"question": "  "}, "question"),
        ({"answers": ()}, "answers"),
        ({"answers": ("yes", " ")}, "answers"),
        ({"kind": "choice", "choices": ("one",)}, "choices"),
    ],
)
def test_what_no_sample_may_be(changes, key):
    with pytest.raises(InputError) as caught:
        sample(**changes)
    assert caught.value.row == "a" and (key is None or caught.value.key == key)


@pytest.mark.parametrize("place", [(float("nan"), 0, 1, 1), (0, float("inf"), 1, 1), (0, 0, -1, 1)])
def test_a_box_has_a_place_and_a_size(place):
    with pytest.raises(InputError, match="the box of 'mass'"):
        Box(label="mass", x=place[0], y=place[1], width=place[2], height=place[3])


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
maybe = st.none() | text
number = st.floats(0, 1e6, width=32)
samples = st.builds(
    Sample,
    id=text,
    question=text,
    answers=st.lists(text, min_size=1, max_size=3).map(tuple),
    kind=st.sampled_from(["open", "closed"]),
    split=st.sampled_from(["train", "validation", "test"]),
    source=text,
    image=maybe,
    choices=st.lists(text, max_size=3).map(tuple),
    topic=maybe,
    subject=maybe,
    language=text,
    origin=text,
    evidence=maybe,
    modality=maybe,
    plane=maybe,
    region=maybe,
    findings=st.lists(text, max_size=2).map(tuple),
    boxes=st.lists(st.builds(Box, label=text, x=number, y=number, width=number, height=number), max_size=2).map(tuple),
    mask=st.none() | st.binary(min_size=1),
    extra=st.dictionaries(text, st.none() | text | st.integers(-(2**53), 2**53) | st.lists(text), max_size=3),
)


@given(samples)
def test_a_row_gives_its_sample_back(one):
    assert from_row(to_row(one)) == one


@settings(max_examples=30, deadline=None)
@given(samples)
def test_a_corpus_gives_its_sample_back(tmp_path_factory, one):
    out = tmp_path_factory.mktemp("round") / "corpus"
    with CorpusWriter(out, {}) as writer:
        writer.add(one, None)
    assert list(Corpus(out).samples()) == [one]


def test_the_schema_holds_every_field():
    assert set(SCHEMA.names) == {field.name for field in fields(Sample)}


# ---------------------------------------------------------------- the folder


def test_a_picture_is_stored_once(tmp_path):
    first, second = Image.fromarray(pixels(1)), Image.fromarray(pixels(2))
    (tmp_path / "one.png").write_bytes(encoded(first, "PNG"))
    (tmp_path / "same.bmp").write_bytes(encoded(first, "BMP"))
    with CorpusWriter(tmp_path / "c", {"name": "n"}) as writer:
        for place, picture in enumerate([tmp_path / "one.png", tmp_path / "same.bmp", first, second, None]):
            writer.add(sample(str(place)), picture)
        writer.drop("tired", 3)
    corpus = Corpus(tmp_path / "c")
    keys = [one.image for one in corpus.samples()]
    assert keys[0] == keys[1] == keys[2] != keys[3] and keys[4] is None
    assert corpus.image_keys() == [keys[0], keys[3]]
    assert np.array_equal(np.asarray(corpus.image(keys[3])), pixels(2))
    assert corpus.card["num_questions"] == 5 and corpus.card["num_images"] == 2
    assert corpus.card["dropped"] == {"tired": 3} and corpus.card["counts"]["split"] == {"train": 5}
    assert corpus.table.height == 5
    assert [one.id for one in corpus.samples(id=["1", "3"])] == ["1", "3"]


def test_shards_are_bounded_by_bytes_and_all_pictures_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(CorpusWriter, "SHARD_BYTES", 500)
    monkeypatch.setattr(Corpus, "OPEN_SHARDS", 2)
    with CorpusWriter(tmp_path / "c", {}) as writer:
        for seed in range(9):
            writer.add(sample(str(seed)), Image.fromarray(pixels(seed)))
    corpus = Corpus(tmp_path / "c")
    assert len(list((tmp_path / "c").glob("images-*.parquet"))) == 3
    for seed, one in enumerate(corpus.samples()):
        assert np.array_equal(np.asarray(corpus.image(one.image)), pixels(seed))
    assert len(corpus._shards) == 2


def test_rows_are_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(CorpusWriter, "ROWS", 4)
    with CorpusWriter(tmp_path / "c", {}) as writer:
        for place in range(11):
            writer.add(sample(str(place)), None)
            assert len(writer._rows) < 4
    assert [one.id for one in Corpus(tmp_path / "c").samples()] == [str(place) for place in range(11)]
    with pq.ParquetFile(tmp_path / "c" / "questions.parquet") as file:
        assert file.num_row_groups == 3


def test_an_id_that_comes_twice_is_named(tmp_path):
    with (
        pytest.raises(InputError, match="row twin, id: this id is there twice"),
        CorpusWriter(tmp_path / "c", {}) as writer,
    ):
        writer.add(sample("twin"), None)
        writer.add(sample("twin"), None)
    assert not list(tmp_path.iterdir())


def test_a_bad_picture_names_its_row(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no")
    with pytest.raises(InputError) as caught, CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample("seven"), tmp_path / "x.png")
    assert caught.value.row == "seven" and caught.value.file == tmp_path / "x.png" and caught.value.key == "image"


def test_half_a_surrogate_pair_is_refused(tmp_path):
    with pytest.raises(InputError, match="not valid Unicode") as caught, CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample("u", answers=("\ud800",)), None)
    assert caught.value.key == "answers"


def test_nothing_is_left_under_either_name_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample(), Image.fromarray(pixels()))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_failed_import_leaves_the_old_corpus(tmp_path):
    for broken in (False, True):
        try:
            with CorpusWriter(tmp_path / "c", {"run": broken}) as writer:
                writer.add(sample(), None)
                assert not broken
        except AssertionError:
            pass
    assert Corpus(tmp_path / "c").card["run"] is False


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space"), CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample(), None)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_import_left_is_replaced(tmp_path):
    (tmp_path / "c.partial").mkdir()
    (tmp_path / "c.partial" / "images-00007.parquet").write_bytes(b"half")
    with CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample(), None)
    assert sorted(f.name for f in (tmp_path / "c").iterdir()) == ["card.json", "questions.parquet"]


def test_a_folder_that_is_no_corpus_is_not_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="not a corpus"), CorpusWriter(tmp_path / "home", {}) as writer:
        writer.add(sample(), None)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"


def test_what_is_no_corpus_is_not_opened(tmp_path):
    with pytest.raises(InputError, match="not a corpus folder"):
        Corpus(tmp_path)
    with CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample(), None)
    (tmp_path / "c" / "card.json").write_text("{")
    with pytest.raises(InputError, match=r"card\.json is not valid JSON"):
        Corpus(tmp_path / "c")


def test_an_unknown_field_or_picture_is_refused(tmp_path):
    with CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample(), None)
    corpus = Corpus(tmp_path / "c")
    with pytest.raises(InputError, match="samples have no field 'colour'"):
        next(corpus.samples(colour="red"))
    with pytest.raises(InputError, match="no picture"):
        corpus.image("0" * 64)


def test_the_same_rows_give_the_same_files(tmp_path):
    for name in ("a", "b"):
        with CorpusWriter(tmp_path / name, {"name": "n"}) as writer:
            writer.add(replace(sample(), modality="CT", extra={"b": 1, "a": 2}), Image.fromarray(pixels()))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert json.loads((tmp_path / "a" / "card.json").read_text())["counts"]["modality"] == {"CT": 1}


def test_cut_files_are_named(tmp_path):
    with CorpusWriter(tmp_path / "c", {}) as writer:
        writer.add(sample("a"), Image.fromarray(pixels()))
    whole = {path.name: path.read_bytes() for path in tmp_path.glob("c/*.parquet")}
    for name, read in (("questions.parquet", lambda c: c.table), ("images-00000.parquet", lambda c: c.image_keys())):
        (tmp_path / "c" / name).write_bytes(whole[name][:-20])
        with pytest.raises(InputError, match=rf"{name}: cannot be read \(.*make it anew"):
            read(Corpus(tmp_path / "c"))
        (tmp_path / "c" / name).write_bytes(whole[name])
    with pytest.raises(InputError, match=r"questions.parquet: cannot be read \(.*no_such"):
        read_table(tmp_path / "c" / "questions.parquet", ["no_such"])
