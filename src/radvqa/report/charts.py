"""Charts as SVG text: pure functions from numbers to a string that stands alone.

In: numbers and labels from the files of a run. Out: an `<svg>` that takes its colours from the page (`currentColor`
and the CSS variables `--tone-0` ... of the arms), needs no script and says in `aria-label` what it shows.

    svg = forest([Row("Stage 2", [Mark("True image", 0.87, 0.84, 0.90, tone=2)])], label="Closed accuracy")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from radvqa.report.words import bounds, clipped, count, interval, is_number, number

NUM_TONES = 6
SHAPES = ("disc", "ring", "diamond")


@dataclass(frozen=True, slots=True)
class Mark:
    """One estimate: its value and the ends of its interval, all in the unit of the axis."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    tone: int = 0
    """Index of the colour."""
    shape: str = "disc"
    """disc, ring or diamond: what colour says, shape says again."""
    note: str = ""
    """Written at the right end, e.g. the number of questions."""


@dataclass(frozen=True, slots=True)
class Row:
    """A group of marks under one name."""

    name: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; points whose y is not finite are gaps."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    tone: int = 0
    faint: bool = False
    marked: bool = False
    """Draw a dot at every point: few points, each an evaluation."""
    dashed: bool = False


def _svg(width: float, height: float, label: str, body: Iterable[str], kind: str) -> str:
    return (
        f'<svg class="chart {kind}" role="img" aria-label="{escape(label)}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start", most: int = 0) -> str:
    """A line of text; cut to `most` characters, it keeps the whole in its title."""
    shown = clipped(text, most) if most else text
    title = f"<title>{escape(text)}</title>" if shown != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(shown)}{title}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _dot(x: float, y: float, shape: str, size: float) -> str:
    if shape == "diamond":
        d = size + 1
        return f'<path class="mark ring" d="M{x - d:.1f} {y:.1f}L{x:.1f} {y - d:.1f}L{x + d:.1f} {y:.1f}L{x:.1f} {y + d:.1f}Z"/>'
    return f'<circle class="mark {shape}" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}"/>'


def tone(index: int) -> str:
    """The class that colours a mark; there are NUM_TONES, then they come again."""
    return f"tone-{index % NUM_TONES}"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) between low and high, at most `most` of them."""
    if not high > low:
        return [low]
    for power in range(math.floor(math.log10((high - low) / most)), 400):
        for factor in (1, 2, 5):
            step = factor * 10.0**power
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
            if last - first + 1 <= most:
                return [round(i * step, 12) for i in range(first, last + 1)]
    raise AssertionError("no step fits")


# ---------------------------------------------------------------- estimates with intervals

Reference = tuple[str, float] | None
"""A name and a value, drawn as a dashed line over all rows."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """A value on the axis to its place in px."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)


def _scale(rows: Sequence[Row], reference: Reference, domain: tuple[float, float], left: float, right: float) -> _Scale:
    found = [v for row in rows for m in row.marks for v in (m.value, m.low, m.high) if is_number(v)]
    found += [reference[1]] if reference is not None else []
    low, high = min([domain[0], *found]), max([domain[1], *found])
    return _Scale(low, high if high > low else low + 1.0, left, right)


def _grid(x: _Scale, top: float, bottom: float, reference: Reference, most: int) -> list[str]:
    """The lines that the marks stand on, their numbers below, and the reference."""
    body = []
    for value in ticks(x.low, x.high, most):
        body += [_rule(x(value), top, x(value), bottom, "grid")]
        body += [_text(x(value), bottom + 17, f"{value:g}", kind="tick", anchor="middle")]
    return body + ([_rule(x(reference[1]), top, x(reference[1]), bottom, "reference")] if reference else [])


def _estimate(mark: Mark, y: float, x: _Scale, size: float) -> str:
    """The interval and the value, or nothing where there is no value."""
    if not is_number(mark.value):
        return ""
    known = is_number(mark.low) and is_number(mark.high)
    whisker = _rule(x(mark.low), y, x(mark.high), y, "whisker") if known else ""  # type: ignore[arg-type]
    return whisker + _dot(x(mark.value), y, mark.shape, size)


def forest(
    rows: Sequence[Row],
    *,
    label: str,
    reference: Reference = None,
    domain: tuple[float, float] = (0.0, 1.0),
    width: float = 980,
) -> str:
    """A forest plot: a line for each mark with its interval, its value and its note written beside it.

    Values beyond `domain` widen the axis.
    """
    left, pitch, top = 232.0, 23.0, 30.0
    x = _scale(rows, reference, domain, left, width - 218.0)
    heights = [len(row.marks) * pitch + 14 for row in rows]
    bottom = top + sum(heights)
    body = _grid(x, top - 6, bottom - 8, reference, 6)
    if reference is not None:
        name, value = reference
        body.append(_text(x(value), top - 14, f"{name} {number(value)}", kind="tick strong", anchor="middle"))
    y = top
    for row, height in zip(rows, heights):
        body.append(_text(0, y + 16, row.name, kind="strong", most=16))
        for i, mark in enumerate(row.marks):
            at, weight = y + 12 + i * pitch, "strong" if mark.shape == "disc" else "muted"
            parts = [
                _text(left - 16, at + 4, mark.name, kind="muted", anchor="end", most=18),
                _estimate(mark, at, x, 4.5),
                _text(width - 200, at + 4, number(mark.value), kind=f"num {weight}"),
                _text(width - 164, at + 4, bounds(mark.low, mark.high), kind="num muted"),
                _text(width, at + 4, mark.note, kind="num muted", anchor="end"),
            ]
            body.append(f'<g class="{tone(mark.tone)}">{"".join(parts)}</g>')
        y += height
    return _svg(width, bottom + 14, label, body, "forest")


def strip(
    rows: Sequence[Row],
    *,
    label: str,
    reference: Reference = None,
    domain: tuple[float, float] = (0.0, 1.0),
    width: float = 340,
) -> str:
    """A small forest plot: the marks of a row close together, the value of the first one written at the right."""
    pitch, top = 38.0, 8.0
    x = _scale(rows, reference, domain, 84.0, width - 40.0)
    bottom = top + pitch * len(rows)
    body = _grid(x, top, bottom, reference, 5)
    for i, row in enumerate(rows):
        middle = top + pitch * (i + 0.5)
        body.append(_text(0, middle + 4, row.name, kind="muted", most=12))
        for j, mark in enumerate(row.marks):
            drawn = _estimate(mark, middle + (j - (len(row.marks) - 1) / 2) * 9.0, x, 3.2)
            said = f"{row.name}, {mark.name}: {interval(mark.value, mark.low, mark.high)}"
            body.append(f'<g class="{tone(mark.tone)}">{drawn}<title>{escape(said)}</title></g>' if drawn else "")
        value = number(row.marks[0].value) if row.marks else ""
        body.append(_text(width, middle + 4, value, kind="num strong", anchor="end"))
    return _svg(width, bottom + 22, label, body, "strip")


# ---------------------------------------------------------------- curves


def lines(
    series: Sequence[Line],
    *,
    label: str,
    x_label: str,
    y_label: str,
    width: float = 470,
    height: float = 280,
) -> str:
    """Curves over one x axis; the last value of each is written at its end, labels pushed apart.

    The y axis starts at 0, or is logarithmic when all values are positive and the largest is over 20 times the smallest.
    """
    points = [(x, y) for line in series for x, y in zip(line.xs, line.ys) if is_number(x) and is_number(y)]
    if not points:
        return ""
    smallest, largest = min(y for _, y in points), max(y for _, y in points)
    log = smallest > 0 and largest / smallest > 20
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    left, right, top, bottom = 40.0, width - 102.0, 26.0, height - 40.0
    floor, roof = (math.log10(smallest), math.log10(largest)) if log else (min(0.0, smallest), largest)
    roof = roof + (roof - floor) * 0.04 if roof > floor else floor + 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        share = ((math.log10(y) if log else y) - floor) / (roof - floor)
        return left + (x - first) / max(last - first, 1e-12) * (right - left), bottom - share * (bottom - top)

    body = [_text(0, 12, y_label + (" (logarithmic)" if log else ""), kind="tick")]
    for value in _log_ticks(smallest, largest) if log else ticks(floor, roof, 6):
        y = at(first, value)[1]
        body += [_rule(left, y, right, y, "grid"), _text(left - 8, y + 4, f"{value:g}", kind="tick", anchor="end")]
    for value in ticks(first, last, 6):
        x = at(value, smallest)[0]
        body += [
            _rule(x, bottom, x, bottom + 4, "axis"),
            _text(x, bottom + 18, f"{value:g}", kind="tick", anchor="middle"),
        ]
    body += [_rule(left, bottom, right, bottom, "axis"), _text(right, height - 4, x_label, kind="tick", anchor="end")]
    ends = []
    for line in series:
        path, end = _curve(line, at)
        body.append(path)
        ends += [end] if end and not line.faint else []
    return _svg(width, height, label, body + _end_labels(ends, right, top, bottom), "lines")


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [v for p in powers for v in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if low <= v <= high]


def _curve(
    line: Line, at: Callable[[float, float], tuple[float, float]]
) -> tuple[str, tuple[Line, float, float] | None]:
    path, pen, dots, end = "", "M", "", None
    for x, y in zip(line.xs, line.ys):
        if not is_number(y):
            pen = "M"
            continue
        px, py = at(x, y)
        path, pen, end = path + f"{pen}{px:.1f} {py:.1f}", "L", (line, y, py)
        dots += f'<circle class="mark disc" cx="{px:.1f}" cy="{py:.1f}" r="2.6"/>' if line.marked else ""
    kind = "curve" + " faint" * line.faint + " dashed" * line.dashed
    return f'<g class="{tone(line.tone)}"><path class="{kind}" d="{path}"/>{dots}</g>', end


def _end_labels(ends: list[tuple[Line, float, float]], x: float, top: float, bottom: float) -> list[str]:
    """Names and last values at the right end, at least 30 px apart, in the order of their heights."""
    pitch, labels = 30.0, []
    heights: list[float] = []
    ordered = sorted(ends, key=lambda end: end[2])
    for *_, y in ordered:
        heights.append(max(y, heights[-1] + pitch if heights else top))
    overflow = max(0.0, heights[-1] - bottom + 8) if heights else 0.0
    for (line, value, _), y in zip(ordered, heights):
        text = _text(x + 12, y - overflow, line.name, kind="toned", most=18)
        labels.append(
            f'<g class="{tone(line.tone)}">{text}{_text(x + 12, y - overflow + 14, number(value, 3), kind="num")}</g>'
        )
    return labels


def reliability(points: Sequence[Mark], foreseen: Sequence[float], *, label: str, size: float = 330) -> str:
    """A reliability diagram: what was foreseen (0 to 1, across) against what came (each mark, up), the diagonal dashed."""
    left, top, bottom = 40.0, 26.0, size - 40.0
    x = _Scale(0.0, 1.0, left, left + bottom - top)
    y = _Scale(0.0, 1.0, bottom, top)
    body = [_text(0, 12, "share wrong", kind="tick")]
    for value in ticks(0.0, 1.0, 6):
        body += [_rule(left, y(value), x(1), y(value), "grid"), _rule(x(value), top, x(value), bottom, "grid")]
        body += [_text(left - 8, y(value) + 4, f"{value:g}", kind="tick", anchor="end")]
        body += [_text(x(value), bottom + 18, f"{value:g}", kind="tick", anchor="middle")]
    body += [_rule(x(0), y(0), x(1), y(1), "reference")]
    body += [_text(x(1), size - 4, "risk foreseen", kind="tick", anchor="end")]
    for mark, at in zip(points, foreseen):
        if not is_number(mark.value):
            continue
        known = is_number(mark.low) and is_number(mark.high)
        whisker = _rule(x(at), y(mark.low), x(at), y(mark.high), "whisker") if known else ""  # type: ignore[arg-type]
        title = f"<title>foreseen {number(at)}, came {interval(mark.value, mark.low, mark.high)}, {mark.note}</title>"
        dot = _dot(x(at), y(mark.value), mark.shape, 4.0)
        body.append(f'<g class="{tone(mark.tone)}">{whisker}{dot}{title}</g>')
    return _svg(x(1) + 12, size, label, body, "reliability")


# ---------------------------------------------------------------- counts


def bars(counts: Mapping[str, int], *, label: str, width: float = 300, most: int = 8) -> str:
    """Horizontal bars, the longest first, each with its count; beyond `most`, one bar for all others together."""
    items = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(items) > most:
        rest = items[most - 1 :]
        items = [*items[: most - 1], (f"{len(rest)} others", sum(number for _, number in rest))]
    if not items:
        return ""
    left, right, pitch = 116.0, width - 52.0, 24.0
    largest = max(1, *(number for _, number in items))
    body = []
    for i, (name, value) in enumerate(items):
        y = i * pitch
        length = max(1.0, value / largest * (right - left)) if value else 0.0
        body.append(_text(left - 10, y + 15, name, kind="muted", anchor="end", most=16))
        body.append(f'<rect class="bar" x="{left:g}" y="{y + 5:.1f}" width="{length:.1f}" height="13" rx="2"/>')
        body.append(_text(left + length + 8, y + 15.5, count(value), kind="num"))
    said = ", ".join(f"{name} {value}" for name, value in items)
    return _svg(width, len(items) * pitch + 2, f"{label}: {said}", body, "bars")
