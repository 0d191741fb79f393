import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repic.page.charts import HEIGHT, WIDTH, Chart, Line, nice_ticks, smooth


def test_a_line_worked_by_hand() -> None:
    """x 0..10 spans 44..350, y 0..1 spans 176..10 (from the bottom up)."""
    chart = Chart("Reward", "iteration", (Line("total", [0.0, 5.0, 10.0], [0.0, 0.5, 1.0]),))
    root = ElementTree.fromstring(chart.svg())
    (line,) = root.findall("polyline")
    assert line.get("points") == "44.0,176.0 197.0,93.0 350.0,10.0"
    assert root.get("aria-label") == "Reward: total from 0 to 1"
    assert [text.text for text in root.findall("text")][-3:] == ["0", "10", "iteration"]


def test_a_chart_stands_alone_with_title_legend_and_colours() -> None:
    lines = (Line("plain & simple", [0.0, 1.0], [1.0, 2.0]), Line("packed", [0.0, 1.0], [1.0, 1.0]))
    chart = Chart("CPU seconds <a step>", "size", lines)
    root = ElementTree.fromstring(chart.standalone())
    name = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{name}svg"
    assert len(root.findall(f"{name}polyline")) == 2
    title = root.find(f"{name}text")
    assert title is not None
    assert "".join(title.itertext()) == "CPU seconds <a step>plain & simplepacked"
    assert ".s0 { stroke: var(--c0)" in "".join(root.itertext())
    assert Chart("nothing", "x", ()).standalone() == ""


def test_gaps_divide_a_line_and_single_points_are_dots() -> None:
    xs, ys = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, math.nan, 3.0, math.nan, math.inf]
    root = ElementTree.fromstring(Chart("x", "x", (Line("a", xs, ys),)).svg())
    assert len(root.findall("polyline")) == 1
    assert len(root.findall("circle")) == 1


def test_lines_differ_in_more_than_colour() -> None:
    lines = tuple(Line(str(i), [0.0, 1.0], [i / 1, i + 1.0]) for i in range(7))
    found = re.findall(r'class="line (s[^"]*)"', Chart("x", "x", lines).svg())
    assert found == ["s0", "s1", "s2", "s3", "s4", "s5", "s0 t1"]


def test_intervals_worked_by_hand() -> None:
    """x 1..3 with 8 % on both sides spans 44..350; y 0..100 spans 176..10; lines 4 apart."""
    nan = math.nan
    a = Line("a", [1.0, 3.0], [50.0, 100.0], [0.0, nan], [75.0, nan])
    chart = Chart("x", "x", (a, Line("b", [1.0, 3.0], [50.0, 50.0], [50.0] * 2, [50.0] * 2)))
    root = ElementTree.fromstring(replace(chart, x_ticks=(1.0, 3.0)).svg())
    whiskers = [e.attrib for e in root.findall("line") if "whisker" in e.get("class", "")]
    assert len(whiskers) == 3  # one interval is missing
    left = 44 + 306 * 0.16 / 2.32
    assert float(whiskers[0]["x1"]) == pytest.approx(left - 2, abs=0.06)
    assert (whiskers[0]["y1"], whiskers[0]["y2"]) == ("176.0", "51.5")
    assert float(whiskers[1]["x1"]) == pytest.approx(left + 2, abs=0.06)
    assert [text.text for text in root.findall("text")][-2:] == ["1", "3"]
    assert len(root.findall("circle")) == 4


def test_a_line_may_keep_its_style_in_another_chart() -> None:
    svg = Chart("x", "x", (Line("a", [0.0, 1.0], [0.0, 1.0], style=4),)).svg()
    assert 'class="line s4"' in svg


def test_labels_are_escaped() -> None:
    svg = Chart('<b>"&', "<i>", (Line("<u>", [0.0, 1.0], [0.0, 1.0]),)).svg()
    assert "<b>" not in svg
    assert "<i>" not in svg
    ElementTree.fromstring(svg)


@pytest.mark.parametrize("ys", [[], [math.nan, math.nan]])
def test_nothing_to_draw(ys: list[float]) -> None:
    assert Chart("x", "x", (Line("a", [float(i) for i in range(len(ys))], ys),)).svg() == ""


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e9, 1e9)), min_size=1, max_size=20).map(
        sorted
    )
)
def test_every_point_lies_inside(points: list[tuple[int, float]]) -> None:
    xs, ys = [float(x) for x, _ in points], [y for _, y in points]
    svg = Chart("x", "x", (Line("a", xs, ys),)).svg()
    for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)[ \"]", svg):
        assert 0 <= float(x) <= WIDTH
        assert 0 <= float(y) <= HEIGHT


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 0, [0, 0.5, 1]),
        (72, 97, [70, 80, 90, 100]),
        (-0.3, 0.3, [-0.4, -0.2, 0, 0.2, 0.4]),
        (1.5e-6, 1.6e-5, [0, 5e-6, 1e-5, 1.5e-5, 2e-5]),
        (5, 5, [2, 4, 6, 8]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(float(low), float(high)) == pytest.approx(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_enclose_the_range_and_are_few(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    slack = 1e-6 * (abs(low) + width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack
    assert 2 <= len(ticks) <= 8


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=300))
def test_smoothing_keeps_the_range_and_the_number_small(ys: list[float]) -> None:
    line = smooth(Line("a", [float(i) for i in range(len(ys))], ys), num_points=20)
    assert len(line.xs) == len(line.ys) <= 20 or len(ys) <= 20
    assert min(ys) - 1e-9 <= min(line.ys)
    assert max(line.ys) <= max(ys) + 1e-9


def test_smoothing_passes_over_gaps() -> None:
    line = smooth(
        Line("a", [1.0, 2.0, 3.0, 4.0], [math.nan, 3.0, math.nan, math.nan]), num_points=2
    )
    assert line.ys[0] == 3.0
    assert math.isnan(line.ys[1])
