"""The gallery: where the model looked, for right and for wrong answers, beside what the answer truly rests on.

In: saliency/index.json of a run, its maps and pictures. Out: items with their panels for the template.

    gallery(run).wrong[0].panels[0].method

Maps are drawn here from their arrays, so that all panels have one size and their colour scale stands in the page's own
type; where a method left no arrays, its finished picture is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from radvqa.errors import InputError
from radvqa.report.pictures import Picture, open_picture, outlined, thumbnail
from radvqa.report.read import Run
from radvqa.report.words import NONE, arm_name, is_number, number, percent, small
from radvqa.saliency.overlay import coloured, limits
from radvqa.saliency.words import COLUMNS, Line, lines, said
from radvqa.sample import Corpus
from radvqa.tables import read_table

SHOWN = 12
"""At most so many right and so many wrong answers; how many there are is said."""
PANEL_PX = 448


@dataclass(frozen=True)
class Panel:
    """One method's map over the picture."""

    method: str
    picture: Picture
    low: str
    high: str
    scale: str
    signed: bool
    ramp: str
    """The colours from low to high, as the stops of a CSS gradient."""
    inside: str
    """Share of the map that lies in the true outline, where there is one."""


@dataclass(frozen=True)
class Item:
    """One answer."""

    question: str
    answer: str
    references: str
    right: bool
    probability: str
    share: float | None
    """The probability itself, for the bar."""
    arm: str
    facts: str
    picture: Picture | None
    """None where no corpus of the run holds it; the panels are then the method's finished pictures."""
    outline: str
    """What the cyan outline shows: `true evidence` (the question's mask), `labelled boxes`, or nothing."""
    truth_share: str
    """Share of the picture that lies in the true outline."""
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Gallery:
    """Right and wrong answers in the order of the index, and how many of each the run gave."""

    right: tuple[Item, ...]
    wrong: tuple[Item, ...]
    num_right: int
    num_wrong: int


def gallery(run: Run) -> Gallery | None:
    """The answers of the index, or None where there is no saliency."""
    if run.saliency is None:
        return None
    folder = run.folder / "saliency"
    entries = run.saliency.get("items") or []
    if not isinstance(entries, list):
        raise InputError("`items` is no list", file=folder / "index.json", key="items")
    right = [entry for entry in entries if entry.get("right")]
    wrong = [entry for entry in entries if not entry.get("right")]
    counts = run.saliency.get("candidates") or {}
    shelf = _Shelf(run.corpora)
    return Gallery(
        right=tuple(_item(entry, folder, shelf) for entry in right[:SHOWN]),
        wrong=tuple(_item(entry, folder, shelf) for entry in wrong[:SHOWN]),
        num_right=counts.get("right", len(right)),
        num_wrong=counts.get("wrong", len(wrong)),
    )


@dataclass(frozen=True)
class Methods:
    """How faithful the methods are."""

    said: str
    columns: Mapping[str, str]
    lines: tuple[Line, ...]


def ranked(run: Run) -> Methods | None:
    """The ranking of the methods, or None where nothing was measured."""
    if run.ranking is None or not run.ranking.get("methods"):
        return None
    return Methods(said(run.ranking), COLUMNS, tuple(lines(run.ranking)))


class _Shelf:
    """The pictures and the rows of the samples, looked up in the run's corpora."""

    def __init__(self, corpora: Mapping[str, Corpus]) -> None:
        self.corpora = corpora
        self.tables: dict[str, pl.DataFrame] = {}

    def picture(self, corpus: str, key: str) -> Image.Image | None:
        """The picture, or None where the run does not hold that corpus any more."""
        return self.corpora[corpus].image(key) if corpus in self.corpora else None

    def row(self, corpus: str, sample: str) -> Mapping[str, Any]:
        """The question's row, or nothing."""
        if corpus not in self.corpora:
            return {}
        if corpus not in self.tables:
            file = self.corpora[corpus].folder / "questions.parquet"
            found = read_table(file, ["id", "modality", "plane", "region", "topic", "mask"])
            self.tables[corpus] = found.with_columns(pl.col("mask").is_not_null().alias("has_mask")).drop("mask")
        rows = self.tables[corpus].filter(pl.col("id") == sample)
        return rows.row(0, named=True) if len(rows) else {}


def _item(entry: Mapping[str, Any], folder: Path, shelf: _Shelf) -> Item:
    picture = shelf.picture(entry["corpus"], entry["image"])
    row = shelf.row(entry["corpus"], entry["id"])
    mask = _mask(entry, folder)
    probability = entry.get("probability")
    facts = [row.get("modality"), row.get("plane"), row.get("region"), row.get("topic")]
    maps, inside = entry.get("maps") or {}, entry.get("mass_in_mask") or {}
    return Item(
        question=str(entry.get("question", "")),
        answer=str(entry.get("answer", "")) or "(no answer)",
        references=" / ".join(map(str, entry.get("references") or ())) or NONE,
        right=bool(entry.get("right")),
        probability=number(probability),
        share=min(1.0, max(0.0, probability)) if is_number(probability) else None,
        arm=arm_name(str(entry.get("arm", ""))),
        facts=" · ".join(fact for fact in facts if fact),
        picture=_plain(picture, mask),
        outline=("true evidence" if row.get("has_mask", True) else "labelled boxes") if mask else "",
        truth_share=percent(entry["mask_share"]) if is_number(entry.get("mask_share")) else "",
        panels=tuple(_panel(method, files, folder, picture, inside.get(method)) for method, files in maps.items()),
    )


def _plain(picture: Image.Image | None, mask: bytes | None) -> Picture | None:
    if picture is None:
        return None
    return outlined(picture, mask, most_px=PANEL_PX) if mask else thumbnail(picture, most_px=PANEL_PX)


def _mask(entry: Mapping[str, Any], folder: Path) -> bytes | None:
    if not entry.get("mask_png"):
        return None
    path = folder / entry["mask_png"]
    if not path.is_file():
        raise InputError("the mask is missing", file=path, row=entry.get("id"), fix="run `radvqa explain` again")
    return path.read_bytes()


def _panel(
    method: str, files: Mapping[str, Any], folder: Path, picture: Image.Image | None, inside: float | None
) -> Panel:
    """The map of the whole answer over the picture; the method's finished picture where arrays or picture are gone."""
    arrays = folder / str(files.get("npz"))
    record = arrays.with_suffix(".json")
    if picture is None or not arrays.is_file() or not record.is_file():
        finished = open_picture(folder / str(files.get("png")))
        return Panel(method, thumbnail(finished, most_px=2 * PANEL_PX), "", "", "", False, "", "")
    about = json.loads(record.read_text())
    with np.load(arrays, allow_pickle=False) as file:
        values = file["values"]
    grid = values[list(about["chosen"])].mean(0)
    low, high = limits(grid, about["signed"])
    drawn = thumbnail(over(picture, grid, signed=about["signed"]), most_px=PANEL_PX)
    return Panel(
        method=method,
        picture=drawn,
        low=small(low),
        high=small(high),
        scale=str(about.get("scale", "")),
        signed=bool(about["signed"]),
        ramp=ramp(about["signed"]),
        inside=percent(inside) if is_number(inside) else "",
    )


def ramp(signed: bool) -> str:
    """The colour scale of the maps, as the stops of a CSS gradient."""
    colours, _ = coloured(np.linspace(-1.0 if signed else 0.0, 1.0, 9), -1.0 if signed else 0.0, 1.0, signed)
    return ", ".join("#" + bytes(colour).hex() for colour in colours)


def over(picture: Image.Image, grid: np.ndarray, *, signed: bool) -> Image.Image:
    """A map float[gh, gw] over a picture, in the colours of the saliency room, the picture below."""
    scale = PANEL_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    base = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    smooth = np.asarray(Image.fromarray(grid.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    colours, opacity = coloured(smooth, *limits(grid, signed), signed)
    mixed = base * (1.0 - opacity[..., None]) + colours * opacity[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8))
