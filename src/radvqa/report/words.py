"""Numbers and names as the report says them.

In: plain values from the files of a run. Out: short strings; `–` stands for a number that is not there.

    interval(0.8712, 0.84, 0.9)  # '0.87 [0.84, 0.90]'
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from radvqa.score import METRICS

NONE = "–"
_ARMS = {"base": "Base model"}
_CONTROLS = {"none": "True image", "blank": "Blank image", "shuffled": "Shuffled images"}
_DIMENSIONS = {"kind": "Question kind", "topic": "Topic"}


def is_number(value: Any) -> TypeGuard[float]:
    """True for a finite int or float; None, NaN and infinities are no numbers to print."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, places: int = 2) -> str:
    """0.87; a minus sign is a real minus, and zero has none. None and NaN give a dash."""
    return f"{value:z.{places}f}".replace("-", "−") if is_number(value) else NONE


def signed(value: Any, places: int = 2) -> str:
    """+0.11 or −0.04."""
    return f"{value:+.{places}f}".replace("-", "−") if is_number(value) else NONE


def bounds(low: Any, high: Any, write: Any = number) -> str:
    """[0.84, 0.90]; empty when there is no interval."""
    return f"[{write(low)}, {write(high)}]" if is_number(low) and is_number(high) else ""


def interval(value: Any, low: Any, high: Any, write: Any = number) -> str:
    """0.87 [0.84, 0.90]."""
    return f"{write(value)} {bounds(low, high, write)}".strip()


def p_value(p: Any) -> str:
    """p = 0.034, p < 0.001."""
    if not is_number(p):
        return "p not given"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def count(value: Any, noun: str = "") -> str:
    """1,061; with a noun, `1 question` or `1,061 questions`."""
    text = f"{int(value):,}" if is_number(value) else NONE
    return f"{text} {noun}{'' if value == 1 else 's'}" if noun else text


def seconds(value: Any) -> str:
    """12.4 s, 4 min 12 s, 2 h 05 min."""
    if not is_number(value):
        return NONE
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def small(value: Any) -> str:
    """Two digits that matter, whatever the size: 0.023, 2.4·10⁻⁵, −0.5."""
    if not is_number(value):
        return NONE
    text = f"{value:.2g}"
    if "e" in text:
        mantissa, power = text.split("e")
        text = f"{mantissa}·10" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return text.replace("-", "−")


def percent(share: Any) -> str:
    """31 %, and 0.4 % below 1 %."""
    if not is_number(share):
        return NONE
    return f"{100 * share:.{0 if share >= 0.00995 or share == 0 else 1}f} %"


def size(num_bytes: Any) -> str:
    """1.9 GiB, 340 MiB, 12 KiB."""
    if not is_number(num_bytes):
        return NONE
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if num_bytes >= 1 << power:
            return f"{num_bytes / (1 << power):.{1 if power == 30 else 0}f} {unit}"
    return f"{int(num_bytes)} B"


def arm_name(arm: str) -> str:
    """`Base model`, `Stage 2`; any other name as it stands."""
    if arm.startswith("stage") and arm[5:].isdigit():
        return f"Stage {arm[5:]}"
    return _ARMS.get(arm, arm)


def arm_in_text(arm: str) -> str:
    """The arm within a sentence: `the base model`, `stage 2`; any other name as it stands."""
    name = arm_name(arm)
    return "the base model" if arm == "base" else name.lower() if name != arm else arm


def control_name(control: str) -> str:
    """`True image`, `Blank image`, `Shuffled images`."""
    return _CONTROLS.get(control, control)


def metric_name(metric: str) -> str:
    """`closed_accuracy` -> `Closed accuracy`: the title the metric was registered with, else its name in words."""
    title = METRICS[metric].title if metric in METRICS else metric.replace("_", " ").replace("bleu", "BLEU")
    return title[:1].upper() + title[1:]


def dimension_name(name: str) -> str:
    """`kind` -> `Question kind`."""
    return _DIMENSIONS.get(name, name.replace("_", " ").capitalize())


def joined(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def clipped(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis; the caller keeps the whole text in a title."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
