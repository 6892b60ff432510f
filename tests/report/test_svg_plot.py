"""Plots: round ticks, nothing lost that matters, nothing that a page could run."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.report.dome_plot import dome_plot
from lightstage.report.svg_plot import Series, bar_plot, curve_plot, histogram_plot, nice_ticks

#: Where axes lie in a plot, in its own units.
FOOT, TOP, LEFT, RIGHT = 192.0, 34.0, 58.0, 466.0


def marks(svg, tag, name):
    root = ElementTree.fromstring(str(svg))
    return [item for item in root.iter(tag) if name in item.get("class", "").split()]


def points(element):
    return np.array([[float(v) for v in pair.split(",")] for pair in element.get("points").split()])


@given(
    st.floats(-1e6, 1e6, allow_nan=False),
    st.floats(1e-6, 1e6, allow_nan=False),
    st.integers(2, 10),
)
def test_ticks_are_few_even_round_and_inside(low, width, most):
    high = low + width
    if not high > low:
        return
    ticks = nice_ticks(low, high, most)
    assert len(ticks) <= most
    slack = 1e-6 * max(abs(low), abs(high), width)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    if len(ticks) > 1:
        steps = np.diff(ticks)
        assert np.allclose(steps, steps[0], rtol=1e-6, atol=slack)
        leading = steps[0] / 10.0 ** np.floor(np.log10(steps[0]) + 1e-9)
        assert any(np.isclose(leading, digit, rtol=1e-3) for digit in (1, 2, 5, 10))


def test_a_long_curve_is_short_on_the_page_and_keeps_its_extremes():
    rng = np.random.default_rng(1)
    y = rng.normal(size=200_000)
    y[123_456] = 9.0
    y[45_678] = -9.0
    svg = curve_plot(
        "t", [Series("", np.arange(len(y)), y)], x_label="x", y_label="y", y_range=(-10, 10)
    )
    assert len(svg) < 30_000
    (line,) = marks(svg, "polyline", "line")
    drawn = points(line)[:, 1]
    # 9 of -10 .. 10 is a twentieth from the top
    assert drawn.min() == pytest.approx(TOP + 0.05 * (FOOT - TOP), abs=0.1)
    assert drawn.max() == pytest.approx(FOOT - 0.05 * (FOOT - TOP), abs=0.1)


def test_values_that_are_not_finite_are_left_out():
    svg = curve_plot(
        "t", [Series("", [0, 1, 2, 3], [1, np.nan, np.inf, 2])], x_label="x", y_label="y"
    )
    (line,) = marks(svg, "polyline", "line")
    assert len(points(line)) == 2
    assert "nan" not in svg and "inf" not in svg


def test_bars_are_as_high_as_their_values():
    svg = bar_plot(
        "t", [("", [0.0, 0.25, 1.0])], x_label="light", y_label="gain", y_range=(0.0, 1.0)
    )
    (bars,) = marks(svg, "path", "bar")
    tops = [float(part.split("V")[1].split("h")[0]) for part in bars.get("d").split("M")[1:]]
    assert np.allclose(tops, FOOT - np.array([0.0, 0.25, 1.0]) * (FOOT - TOP), atol=0.1)


def test_a_histogram_steps_at_its_edges():
    svg = histogram_plot("t", [0, 1, 2, 4], [("n", [1, 2, 4])], x_label="x")
    (line,) = marks(svg, "polyline", "line")
    drawn = points(line)
    x = LEFT + np.array([0, 1, 1, 2, 2, 4]) / 4 * (RIGHT - LEFT)
    y = FOOT - np.array([1, 1, 2, 2, 4, 4]) / 4 * (FOOT - TOP)
    assert np.allclose(drawn, np.stack([x, y], axis=1), atol=0.1)


def test_powers_of_ten_are_evenly_apart():
    svg = histogram_plot(
        "t", np.arange(5), [("n", [1.0, 0.1, 0.01, 0.001])], x_label="x", logarithmic=True
    )
    (line,) = marks(svg, "polyline", "line")
    heights = points(line)[::2, 1]
    assert np.allclose(np.diff(heights), np.diff(heights)[0], atol=0.15)


@pytest.mark.parametrize("empty", [[], [Series("", [], [])], [Series("", [1.0], [np.nan])]])
def test_nothing_to_draw_is_nothing(empty):
    assert curve_plot("t", empty, x_label="x", y_label="y") == ""


def test_words_are_words_and_not_markup():
    bad = "<script>alert(1)</script>\"'&"
    for svg in (
        curve_plot(
            bad, [Series(bad, [0, 1], [0, 1])], x_label=bad, y_label=bad, limits=[(0.5, bad)]
        ),
        histogram_plot(bad, [0, 1, 2], [(bad, [1, 2]), ("b", [2, 1])], x_label=bad, y_label=bad),
        bar_plot(bad, [(bad, [1.0]), ("b", [1.0])], x_label=bad, y_label=bad),
        dome_plot(np.array([[0.0, 0.0, 1.0]]), np.ones((1, 3)), title=bad),
    ):
        root = ElementTree.fromstring(str(svg))  # well-formed
        assert not [item for item in root.iter() if "script" in item.tag]
        assert root.get("role") == "img" and root.get("aria-label") == bad
        assert root.find("title").text == bad


def test_lights_lie_where_an_equal_area_projection_has_them():
    rng = np.random.default_rng(2)
    unit = rng.normal(size=(60, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    svg = dome_plot(unit, np.ones((60, 3)), marked=[7])
    discs = [(float(d.get("cx")), float(d.get("cy"))) for d in marks(svg, "circle", "disc")]
    for led, (x, y, z) in zip(marks(svg, "circle", "led"), unit, strict=True):
        cx, cy = discs[0] if z >= 0 else discs[1]
        dx, dy = float(led.get("cx")) - cx, cy - float(led.get("cy"))
        # area within a light's distance of the disc's middle: that of the cap, 2 pi (1 - |z|)
        assert np.hypot(dx, dy) ** 2 / 170.0**2 == pytest.approx(1 - abs(z), abs=0.01)
        assert np.hypot(dx, dy) < 1 or np.allclose(
            [dx, dy] / np.hypot(dx, dy), [x, y] / np.hypot(x, y), atol=0.02
        )
    assert len(marks(svg, "circle", "ring")) == 1
