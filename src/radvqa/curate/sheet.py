"""A contact sheet of pairs: the two pictures side by side, with the reason and the score.

In: a table of pairs and the corpora of either side. Out: PNG files, 24 pairs a sheet, at most 20 sheets.

    draw_pairs(leakage(a, b), [a], [b], Path("pairs.png"))  # pairs.png, pairs-2.png, ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from PIL import Image, ImageDraw, ImageFont

from radvqa.sample import Corpus

CELL_PX, MARGIN_PX, LINE_PX = 220, 12, 16
COLUMNS, ROWS = 3, 8
MOST = 20 * COLUMNS * ROWS
"""Pairs that are drawn."""
PAPER, INK, FRAME = (250, 250, 248), (30, 30, 30), (200, 200, 196)


def draw_pairs(pairs: pl.DataFrame, left: Sequence[Corpus], right: Sequence[Corpus], out: str | Path) -> list[Path]:
    """Draw the pairs that have two pictures; the paths of the sheets, none where there is no such pair.

    Of several reasons for the same two pictures, the first is drawn.
    """
    albums = [{key: corpus for corpus in corpora for key in corpus.image_keys()} for corpora in (left, right)]
    both = ["left_image", "right_image"]
    shown = pairs.drop_nulls(both).unique(both, keep="first", maintain_order=True).head(MOST).to_dicts()
    written = []
    for start in range(0, len(shown), COLUMNS * ROWS):
        part = shown[start : start + COLUMNS * ROWS]
        name = Path(out) if start == 0 else Path(out).with_stem(f"{Path(out).stem}-{start // (COLUMNS * ROWS) + 1}")
        partial = name.with_name(name.name + ".partial")
        _sheet(part, *albums).save(partial, "PNG")
        partial.rename(name)
        written.append(name)
    return written


def _sheet(rows: list[dict[str, object]], left: dict[str, Corpus], right: dict[str, Corpus]) -> Image.Image:
    width, height = 2 * CELL_PX + MARGIN_PX, CELL_PX + 2 * LINE_PX + MARGIN_PX
    columns = min(COLUMNS, len(rows))
    sheet = Image.new("RGB", (columns * width + MARGIN_PX, -(-len(rows) // COLUMNS) * height + MARGIN_PX), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, row in enumerate(rows):
        x, y = MARGIN_PX + place % COLUMNS * width, MARGIN_PX + place // COLUMNS * height
        draw.text((x, y), f"{row['reason']} {row['score']:.2f}", INK, font)
        for side, album, offset in (("left", left, 0), ("right", right, CELL_PX)):
            key = str(row[f"{side}_image"])
            picture = album[key].image(key)
            scale = (CELL_PX - 4) / max(picture.size)
            small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
            draw.text((x + offset, y + LINE_PX), _short(str(row[f"{side}_sample"])), INK, font)
            draw.rectangle(
                (x + offset, y + 2 * LINE_PX, x + offset + CELL_PX - 4, y + 2 * LINE_PX + CELL_PX - 4), FRAME
            )
            sheet.paste(small, (x + offset, y + 2 * LINE_PX))
    return sheet


def _short(name: str, length: int = 34) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
