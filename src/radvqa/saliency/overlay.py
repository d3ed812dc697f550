"""Display: a map over a picture, with what its colours mean written on it.

In: an Explanation and its picture. Out: an image with the map, the outline of the truth where it is known, a colour
bar with the numbers at its ends, and the method, sign and unit in words.

    overlay(explanation, picture).save("map.png")

Colours: inferno (dark to bright) for maps without a sign, PuOr (purple against, orange for) for signed ones; both
are told apart by colour-blind readers. Opacity grows with the value, so that the anatomy stays visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from radvqa.saliency.map import Explanation

WIDTH_PX = 448
"""Width of one panel."""
OPACITY = 0.75
"""At the strongest value."""
PAPER, INK, FAINT, OUTLINE = (255, 255, 255), (24, 28, 34), (96, 104, 114), (64, 224, 255)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def limits(grid: np.ndarray, signed: bool) -> tuple[float, float]:
    """The values at the ends of the colour scale: the smallest and the largest; of a signed map +- the strongest.

    A map that is the same everywhere gets a scale from 0, and no colour.
    """
    strongest, weakest = float(np.abs(grid).max()), float(grid.min())
    if signed:
        return (-strongest, strongest) if strongest > 0 else (-1.0, 1.0)
    return (weakest, strongest) if strongest - weakest > 1e-6 * strongest else (strongest, strongest + 1.0)


def coloured(grid: np.ndarray, low: float, high: float, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """(uint8[..., 3] colours, float[...] opacity 0..1) of values."""
    place = np.clip((grid - low) / (high - low), 0.0, 1.0)
    colours = matplotlib.colormaps["PuOr_r" if signed else "inferno"](place, bytes=True)[..., :3]
    strength = np.abs(2.0 * place - 1.0) if signed else place
    return colours, OPACITY * strength**0.7


def blended(explanation: Explanation, picture: Image.Image, word: int | None, width: int = WIDTH_PX) -> Image.Image:
    """The picture at `width` with the map over it and the true outline around what the answer rests on."""
    size = (width, max(1, round(picture.height * width / picture.width)))
    base = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    low, high = limits(explanation.overall if word is None else explanation.word(word), explanation.signed)
    colours, opacity = coloured(explanation.at(size, word), low, high, explanation.signed)
    mixed = base * (1.0 - opacity[..., None]) + colours * opacity[..., None]
    drawn = outlined(Image.fromarray(mixed.round().astype(np.uint8)), explanation.truth)
    return crossed(drawn, explanation.grid, explanation.details.get("sinks", ()))


def crossed(picture: Image.Image, grid: tuple[int, int], patches: Iterable[int]) -> Image.Image:
    """The picture with a small white cross on some patches of its grid."""
    draw, (rows, columns) = ImageDraw.Draw(picture), grid
    arm = max(2.0, min(picture.width / columns, picture.height / rows) / 6)
    for patch in patches:
        x = (patch % columns + 0.5) * picture.width / columns
        y = (patch // columns + 0.5) * picture.height / rows
        for ends in ((x - arm, y - arm, x + arm, y + arm), (x - arm, y + arm, x + arm, y - arm)):
            draw.line(ends, fill=(0, 0, 0), width=4)
            draw.line(ends, fill=PAPER, width=2)
    return picture


def outlined(picture: Image.Image, truth: np.ndarray | None, thickness: int = 2) -> Image.Image:
    """The picture with the border of a mask bool[height, width] drawn on it, dark around bright so that it always shows."""
    if truth is None or not truth.any():
        return picture
    from scipy.ndimage import binary_dilation

    mask = (
        np.asarray(Image.fromarray(truth.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BILINEAR)) > 127
    )
    near, far = binary_dilation(mask, iterations=thickness), binary_dilation(mask, iterations=thickness + 1)
    pixels = np.array(picture)
    pixels[far & ~near] = (0, 0, 0)
    pixels[near & ~mask] = OUTLINE
    return Image.fromarray(pixels)


def overlay(explanation: Explanation, picture: Image.Image, word: int | None = None) -> Image.Image:
    """One panel: the blended picture and below it the colour bar and what it means."""
    panel = blended(explanation, picture, word)
    return stack([panel, legend(explanation, word, panel.width)])


def legend(explanation: Explanation, word: int | None, width: int) -> Image.Image:
    """The colour bar with its numbers, the method, the unit and the sign in words."""
    grid = explanation.overall if word is None else explanation.word(word)
    low, high = limits(grid, explanation.signed)
    sign = "orange speaks for the answer, purple against" if explanation.signed else "brighter is more"
    if not explanation.signed and grid.mean() > 0:  # without this an almost even map would look like a strong one
        sign += f"; the strongest patch has {grid.max() / grid.mean():.1f} times the mean"
    about = "the whole answer" if word is None else f"“{explanation.words[word][0]}”"
    lines = [f"{explanation.method} · {about}", f"{explanation.scale}; {sign}"]
    if explanation.truth is not None and explanation.truth.any():
        lines.append("cyan outline: what the answer truly rests on")
    if len(explanation.details.get("sinks", ())):
        lines.append("white crosses: sinks, which draw attention whatever is asked")
    bar = np.linspace(low, high, width - 16)[None].repeat(12, 0)
    colours, _ = coloured(bar, low, high, explanation.signed)
    text = paragraph(lines, width, size=12)
    image = Image.new("RGB", (width, 40 + text.height), PAPER)
    image.paste(Image.fromarray(colours), (8, 6))
    draw = ImageDraw.Draw(image)
    draw.text((8, 20), f"{low:.3g}", fill=INK, font=_font(12))
    draw.text((width - 8, 20), f"{high:.3g}", fill=INK, font=_font(12), anchor="ra")
    image.paste(text, (0, 38))
    return image


def figure(explanation: Explanation, picture: Image.Image) -> Image.Image:
    """Question and answer, the picture, the map of the whole answer and, of several words, the map of each."""
    plain_width = WIDTH_PX
    height = max(1, round(picture.height * plain_width / picture.width))
    plain = outlined(picture.resize((plain_width, height), Image.Resampling.BICUBIC), explanation.truth)
    panels = [stack([plain]), overlay(explanation, picture)]
    if len(explanation.words) > 1:
        panels += [overlay(explanation, picture, word) for word in range(len(explanation.words))]
    rows = [beside(panels[i : i + 2]) for i in range(0, len(panels), 2)]
    heading = paragraph([explanation.question, f"Answer: {explanation.answer or '(empty)'}"], rows[0].width, size=16)
    return stack([heading, *rows])


def paragraph(lines: list[str], width: int, size: int) -> Image.Image:
    """Text on paper, wrapped to a width."""
    font, margin = _font(size), 8
    wrapped: list[tuple[str, bool]] = []
    for number, line in enumerate(lines):
        current = ""
        for word in line.split():
            longer = f"{current} {word}".strip()
            if current and font.getlength(longer) > width - 2 * margin:
                wrapped.append((current, number == 0))
                longer = word
            current = longer
        wrapped.append((current, number == 0))
    step = round(size * 1.35)
    image = Image.new("RGB", (width, step * len(wrapped) + margin), PAPER)
    draw = ImageDraw.Draw(image)
    for i, (line, first) in enumerate(wrapped):
        draw.text((margin, 3 + i * step), line, fill=INK if first else FAINT, font=font)
    return image


def stack(images: list[Image.Image]) -> Image.Image:
    """Images one below the other on paper."""
    page = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), PAPER)
    top = 0
    for image in images:
        page.paste(image, (0, top))
        top += image.height
    return page


def beside(images: list[Image.Image], gap: int = 8) -> Image.Image:
    """Images side by side, tops aligned, on paper."""
    width = sum(i.width for i in images) + gap * (len(images) - 1)
    page = Image.new("RGB", (width, max(i.height for i in images)), PAPER)
    left = 0
    for image in images:
        page.paste(image, (left, 0))
        left += image.width + gap
    return page
