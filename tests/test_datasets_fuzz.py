"""Damaged inputs, more than a thousand: each is imported, or ends in one InputError that names where; never otherwise."""

import copy
import io
import json
import random
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layouts import LAYOUTS
from making import picture
from radvqa.datasets import checked_options, get, import_corpus
from radvqa.errors import InputError
from radvqa.sample import read_picture

PICTURES = (".jpg", ".png")
NUM_JSON_MUTATIONS, NUM_PICTURES = 40, 400
ODD = [None, True, 7, -1, 1.5, float("nan"), float("inf"), 10**30, "", "  ", "x" * 5000, "\ud800", "\0", "é", "../../x"]
ODD += ["/etc/passwd", "a|b|c", "Q", [], ["a", None], [[1]], {}, {"bytes": None}, {"a": {"b": 1}}, "[1, 2", "{}"]


Damage = Callable[[bytes, random.Random], bytes]


def at_random(change: Callable[[bytes, int, int], bytes]) -> Damage:
    """The change between two places drawn at random."""
    return lambda data, rng: change(data, *sorted(rng.randrange(len(data) + 1) for _ in range(2)))


DAMAGES: dict[str, Damage] = {
    "cut": at_random(lambda data, at, to: data[:at]),
    "a hole": at_random(lambda data, at, to: data[:at] + data[to:]),
    "a part twice": at_random(lambda data, at, to: data[:to] + data[at:]),
    "a NUL byte": at_random(lambda data, at, to: data[:at] + b"\0" + data[at:]),
    "a byte order mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data, rng: data.decode("utf-8", "replace").encode("utf-16"),
    "CRLF": lambda data, rng: data.replace(b"\n", b"\r\n"),
    "CR": lambda data, rng: data.replace(b"\n", b"\r"),
    "another byte": lambda data, rng: at_random(lambda d, at, to: d[:at] + rng.randbytes(1) + d[at + 1 :])(data, rng),
    "a delimiter more": lambda data, rng: at_random(lambda d, at, to: d[:at] + rng.choice(DELIMITERS) + d[at:])(
        data, rng
    ),
    "not UTF-8": lambda data, rng: data.replace(b"e", b"\xc3", 1),
    "empty": lambda data, rng: b"",
    "noise": lambda data, rng: rng.randbytes(64),
}
DELIMITERS = [b'"', b"\t", b",", b"|", b"{", b"]", b"\xff", b"\n"]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one thing wrong."""
    return rng.choice(list(DAMAGES.values()))(data, rng)


def odder(value: object, rng: random.Random) -> object:
    """The JSON value with one leaf replaced, one key gone or one element doubled."""
    value = copy.deepcopy(value)
    places: list[tuple] = []

    def walk(node: object) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(value)
    if not places:
        return rng.choice(ODD)
    node, key = rng.choice(places)
    change = rng.randrange(4)
    if change == 0 and isinstance(node, dict):
        del node[key]
    elif change == 1 and isinstance(node, list):
        node.append(node[key])
    else:
        node[key] = rng.choice(ODD)
    return value


def jsons(file: Path, rng: random.Random) -> bytes:
    """The file's JSON (or JSON lines) with one thing odd."""
    if file.suffix == ".jsonl":
        records = odder([json.loads(line) for line in file.read_text().splitlines()], rng)
        return "\n".join(map(json.dumps, records if isinstance(records, list) else [records])).encode()
    return json.dumps(odder(json.loads(file.read_text()), rng)).encode()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_files(layout, tmp_path):
    rng = random.Random(layout)
    name, path, options = LAYOUTS[layout](tmp_path / "in")
    checked = checked_options(name, options)
    files = sorted(f for f in (tmp_path / "in").rglob("*") if f.is_file() and f.suffix not in PICTURES)
    outcomes = {"read": 0, "refused": 0}
    for file in files:
        whole = file.read_bytes()
        makers = [partial(damage, whole, rng) for damage in DAMAGES.values()]
        if file.suffix in (".json", ".jsonl"):
            makers += [lambda: jsons(file, rng)] * NUM_JSON_MUTATIONS  # noqa: B023
        for make in makers:
            data = make()
            file.write_bytes(data)
            try:
                for row in get(name).rows(path, **checked, drop=lambda reason: None):
                    assert row.sample.question.strip() and row.sample.answers
                outcomes["read"] += 1
            except InputError as error:
                assert error.file is not None or error.key is not None, str(error)
                assert "\n" not in str(error)[:80] and len(str(error)) < 6000
                outcomes["refused"] += 1
            finally:
                file.write_bytes(whole)
    assert outcomes["refused"] >= 2


def test_there_are_more_than_a_thousand(tmp_path):
    number = NUM_PICTURES
    for layout, make in LAYOUTS.items():
        make(tmp_path / layout)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix not in PICTURES:
            number += len(DAMAGES) + (NUM_JSON_MUTATIONS if file.suffix in (".json", ".jsonl") else 0)
    assert number >= 2000


@pytest.mark.parametrize("layout", ["vqa_rad", "slake", "table_jsonl", "medpix", "table_csv", "huggingface_parquet"])
def test_damaged_files_leave_a_whole_corpus_or_none(layout, tmp_path):
    rng = random.Random(layout)
    name, path, options = LAYOUTS[layout](tmp_path / "in")
    files = sorted(f for f in (tmp_path / "in").rglob("*") if f.is_file() and f.suffix not in PICTURES)
    for number in range(20):
        file = rng.choice(files)
        whole = file.read_bytes()
        as_json = file.suffix in (".json", ".jsonl") and number % 2
        file.write_bytes(jsons(file, rng) if as_json else damaged(whole, rng))
        out = tmp_path / f"out{number}"
        try:
            corpus = import_corpus(name, path, out, options=options, allow_missing=bool(number % 3), progress=False)
            assert corpus.card["num_questions"] == len(list(corpus.samples())) > 0
        except InputError:
            assert not out.exists()
        finally:
            file.write_bytes(whole)
        assert not out.with_name(out.name + ".partial").exists()


ROTATED = Image.Exif()
ROTATED[0x0112] = 6  # turn by 90 degrees to see it


def pictures() -> list[bytes]:
    """One small picture in many formats."""
    found = []
    for form, mode, options in (
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "RGB", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "RGB", {"exif": ROTATED}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "F", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("JPEG2000", "RGB", {}),
        ("PPM", "RGB", {}),
    ):
        base = picture(3, (24, 20))
        if mode == "I;16":
            base = Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 200)
        buffer = io.BytesIO()
        (base if mode == "I;16" else base.convert(mode)).save(buffer, form, **options)
        found.append(buffer.getvalue())
    return found


def test_damaged_pictures():
    rng, whole = random.Random(0), pictures()
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damage that it can live with
        for data in whole:
            assert read_picture(data)[0].size in ((24, 20), (20, 24))
        for number in range(NUM_PICTURES):
            try:
                rgb, stored = read_picture(damaged(whole[number % len(whole)], rng))
                assert rgb.mode == "RGB" and read_picture(stored)[0].size == rgb.size
            except InputError as error:
                assert error.key == "image"
                refused += 1
    assert NUM_PICTURES * 0.3 < refused < NUM_PICTURES
