"""Charts and words: what is drawn stands where arithmetic says, what is written reads as it should."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from radvqa.report import words
from radvqa.report.charts import Line, Mark, Row, bars, forest, lines, strip, ticks
from radvqa.report.curves import thinned

NUMBERS = r"-?\d+\.?\d*"


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(rf'<circle[^>]* cx="({NUMBERS})" cy="({NUMBERS})"', svg)]


def test_ticks_are_round_and_inside():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 420) == [0, 100, 200, 300, 400]
    assert ticks(-0.3, 0.3, 4) == [-0.2, 0.0, 0.2]
    assert ticks(5, 5) == [5]
    for low, high in ((0, 1e-7), (3, 1e9), (0.37, 0.41)):
        found = ticks(low, high)
        assert 2 <= len(found) <= 6 and all(low <= v <= high * (1 + 1e-9) for v in found)


def test_forest_puts_a_value_at_its_place_on_the_axis():
    svg = forest([Row("Stage 2", [Mark("True image", 0.75, 0.5, 1.0, tone=2, note="n 10")])], label="x", width=980)
    # the axis runs from 232 px to 980 - 218 = 762 px: 0.75 is at 232 + 0.75 * 530 = 629.5, the interval 497 .. 762
    assert circles(svg)[0][0] == pytest.approx(629.5)
    whisker = re.search(rf'x1="({NUMBERS})"[^>]*x2="({NUMBERS})"[^>]*class="whisker"', svg)
    assert [float(v) for v in whisker.groups()] == [497.0, 762.0]
    assert "0.75" in svg and "[0.50, 1.00]" in svg and "n 10" in svg and "tone-2" in svg


def test_forest_widens_its_axis_for_values_beyond_it_and_draws_nothing_for_no_value():
    marks = [Mark("a", 1.5), Mark("b", None), Mark("c", float("nan"))]
    svg = forest([Row("r", marks)], label="x", reference=("majority", 0.5))
    assert len(circles(svg)) == 1 and circles(svg)[0][0] == pytest.approx(762.0)
    assert svg.count(words.NONE) == 2 and "majority 0.50" in svg


@pytest.mark.parametrize(
    "svg",
    [
        forest([Row("<b>&", [Mark('"<i>', 0.5, 0.4, 0.6)])], label='<"&'),
        strip([Row("<b>&", [Mark('"<i>', 0.5, 0.4, 0.6)])], label='<"&'),
        lines([Line("<b>&", [0, 1], [2.0, 1.0])], label='<"&', x_label="<x>", y_label="<y>"),
        bars({"<b>&": 3, 'a long name with "quotes" in it': 2}, label='<"&'),
    ],
)
def test_charts_are_well_formed_whatever_the_names(svg):
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"].startswith('<"&') and root.attrib["role"] == "img"
    assert not list(root.iter("{http://www.w3.org/2000/svg}b"))


def test_bars_say_every_count_and_add_up_the_rest():
    svg = bars({f"k{i}": 100 - i for i in range(12)}, label="Topic", most=8)
    # 7 bars and one for k7 .. k11: 93 + 92 + 91 + 90 + 89 = 455, the longest
    assert "5 others" in svg and ">455<" in svg and ">94<" in svg and ">93<" not in svg
    assert bars({}, label="x") == ""
    cut = bars({"a very very long category name": 1}, label="x")
    assert "<title>a very very long category name</title>" in cut


def test_lines_leave_gaps_and_choose_a_logarithm_for_wide_ranges():
    svg = lines([Line("v", [0, 1, 2, 3], [2.0, None, 1.0, 0.5], marked=True)], label="x", x_label="s", y_label="loss")
    path = re.search(r'class="curve" d="([^"]*)"', svg).group(1)
    assert path.count("M") == 2 and len(circles(svg)) == 3 and "logarithmic" not in svg
    wide = lines([Line("v", [0, 1, 2], [100.0, 10.0, 1.0], marked=True)], label="x", x_label="s", y_label="loss")
    heights = [y for _, y in circles(wide)]
    assert "logarithmic" in wide and heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.11)
    assert lines([Line("v", [0], [float("nan")])], label="x", x_label="s", y_label="l") == ""


def test_labels_at_the_ends_of_curves_do_not_touch():
    series = [Line(f"curve {i}", [0, 1], [1.0, 0.5 + i / 1000]) for i in range(4)]
    svg = lines(series, label="x", x_label="s", y_label="l", height=280)
    heights = sorted(float(y) for y in re.findall(rf'y="({NUMBERS})" class="toned"', svg))
    assert len(heights) == 4 and all(b - a >= 29.9 for a, b in pairwise(heights)) and heights[-1] <= 280


def test_a_long_curve_is_averaged_in_equal_stretches():
    # 1000 points to at most 400: stretches of 3; the first ends at step 3 with mean (1 + 2 + 3) / 3 = 2
    xs, ys, width = thinned(list(range(1, 1001)), [float(i) for i in range(1, 1001)])
    assert width == 3 and (xs[0], ys[0]) == (3, 2.0) and (xs[-1], ys[-1]) == (1000, 1000.0) and len(xs) == 334
    assert thinned([1, 2, 3], [1.0, None, float("nan")]) == ([1], [1.0], 1)
    assert thinned([], []) == ([], [], 1)


def test_numbers_read_as_they_should():
    assert words.interval(0.8712, 0.84, 0.9) == "0.87 [0.84, 0.90]"
    assert words.interval(None, None, None) == words.number(float("nan")) == "–"
    assert words.interval(-0.04, -0.1, 0.02, words.signed) == "−0.04 [−0.10, +0.02]"
    assert [words.p_value(p) for p in (0.00004, 0.0342, 0.5, None)] == [
        "p < 0.001",
        "p = 0.034",
        "p = 0.50",
        "p not given",
    ]
    assert [words.seconds(s) for s in (12.42, 59.97, 252, 7500, None)] == [
        "12.4 s",
        "1 min 00 s",
        "4 min 12 s",
        "2 h 05 min",
        "–",
    ]
    assert [words.size(b) for b in (2040109466, 356515840, 12)] == ["1.9 GiB", "340 MiB", "12 B"]
    assert [words.small(v) for v in (0.0234, 0.000012, -0.5, 0)] == ["0.023", "1.2·10⁻⁵", "−0.5", "0"]
    assert [words.percent(v) for v in (0.314, 0.004, 0.0, 1.0)] == ["31 %", "0.4 %", "0 %", "100 %"]
    assert words.count(1061, "question") == "1,061 questions" and words.count(1, "question") == "1 question"


def test_names_of_arms_metrics_and_lists():
    assert [words.arm_name(a) for a in ("base", "stage2", "rehearsal")] == ["Base model", "Stage 2", "rehearsal"]
    assert words.metric_name("closed_accuracy") == "Closed accuracy" and words.metric_name("rougeL") == "ROUGE-L"
    assert words.metric_name("my_own_score") == "My own score"
    assert words.joined(["a"]) == "a" and words.joined(["a", "b", "c"]) == "a, b and c" and words.joined([]) == ""
