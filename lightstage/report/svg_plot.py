"""Small plots as inline SVG: curves, histograms and bars that a style sheet colours.

Marks carry classes (``s0`` to ``s3``, or a colour's name), no colours, so that one page is readable
on a dark screen, on a light one and on paper; series differ by dashes too. Nothing here grows with
the number of samples: a curve has at most two points for each column of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

#: A plot's picture in SVG units; a page scales it to its column.
_WIDTH, _HEIGHT = 480, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 34, 44
#: Columns that a curve is drawn in.
_COLUMNS = 400
#: Bars closer than this are drawn without a gap.
_LEAST_GAP = 3.0
#: Series of these names have that colour.
_COLOURS = ("red", "green", "blue")


class Series(NamedTuple):
    """Values to draw; ``style`` names the colour.

    Attributes:
        name: in the legend; empty = not there.
        x, y: ``(n,)``; values that are not finite are left out.
        style: the class of its marks: s0 to s3, red, green or blue.
        marks: dots instead of a line.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    style: str = "s0"
    marks: bool = False


def curve_plot(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    limits: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Return curves over a common axis as an ``<svg>`` element.

    Args:
        title: what the plot shows, for those who see it and those who hear it.
        series: what to draw.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        y_range: of the vertical axis; all that there is, and 0, where it is ``None``.
        limits: values to mark by a level line, and what each means.
    """
    clean = [(item, *_finite(item)) for item in series]
    everything = [x for _, x, _ in clean if len(x)]
    if not everything:
        return Markup("")
    x_range = (min(float(x.min()) for x in everything), max(float(x.max()) for x in everything))
    if y_range is None:
        values = [0.0, *(limit for limit, _ in limits)]
        values += [f(y) for _, _, y in clean if len(y) for f in (_lowest, _highest)]
        y_range = (min(values), max(values) * 1.06)
    axes = _Axes(_wide(x_range), _wide(y_range))
    parts = [axes.frame(x_label, y_label)]
    for value, meaning in limits:
        level = float(axes.y(value))
        words_y = level + 13 if meaning.endswith("below") else level - 4
        parts.append(
            f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{level:.1f}" '
            f'y2="{level:.1f}"/>'
            f'<text class="faint" x="{_WIDTH - _RIGHT - 4}" y="{words_y:.1f}" text-anchor="end">'
            f"{escape(meaning)}</text>"
        )
    for item, x, y in clean:
        parts.append(_dots(axes, item, x, y) if item.marks else _line(axes, item, x, y))
    return _svg(title, "".join(parts) + _legend(series))


def histogram_plot(
    title: str,
    edges: ArrayLike,
    counts: Sequence[tuple[str, ArrayLike]],
    *,
    x_label: str,
    y_label: str = "share",
    logarithmic: bool = False,
) -> Markup:
    """Return one or several histograms over the same bins as an ``<svg>`` element.

    Args:
        title: what the plot shows.
        edges: ``(bins + 1,)`` of the bins.
        counts: name of each histogram and what each bin holds, ``(bins,)``, at least 0.
        x_label: name and unit of the horizontal axis.
        y_label: of the vertical axis.
        logarithmic: whether heights are drawn as powers of ten; empty bins lie at the foot.
    """
    bounds = np.asarray(edges, dtype=np.float64)
    heights = [np.asarray(values, dtype=np.float64) for _, values in counts]
    styles = _styles([name for name, _ in counts])
    highest = max((float(values.max()) for values in heights if values.size), default=0.0)
    if not highest > 0:
        return Markup("")
    if logarithmic:
        lowest = min(float(v[v > 0].min()) for v in heights if (v > 0).any())
        bottom = max(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) - 6)
        heights = [np.maximum(np.log10(np.maximum(v, 1e-300)), bottom) for v in heights]
        y_range = (float(bottom), float(max(bottom + 1, math.ceil(math.log10(highest)))))
    else:
        y_range = (0.0, highest)
    axes = _Axes((float(bounds[0]), float(bounds[-1])), y_range, powers=logarithmic)
    parts = [axes.frame(x_label, y_label)]
    for style, values in zip(styles, heights, strict=True):
        xs = np.repeat(axes.x(bounds), 2)[1:-1]
        ys = np.repeat(axes.y(values), 2)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        foot = axes.y(y_range[0])
        if len(heights) == 1:
            parts.append(
                f'<polygon class="area {style}" points="{xs[0]:.1f},{foot:.1f} {path} '
                f'{xs[-1]:.1f},{foot:.1f}"/>'
            )
        parts.append(f'<polyline class="line {style}" points="{path}"/>')
    legend = [Series(name, (), (), style) for style, (name, _) in zip(styles, counts, strict=True)]
    return _svg(title, "".join(parts) + (_legend(legend) if len(counts) > 1 else ""))


def bar_plot(
    title: str,
    values: Sequence[tuple[str, ArrayLike]],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Return bars over 0, 1, 2, … as an ``<svg>`` element; several series stand side by side.

    Args:
        title: what the plot shows.
        values: name of each series and its heights, ``(n,)``.
        x_label: of the numbers.
        y_label: name and unit of the heights.
        y_range: of the vertical axis; from 0 to the highest where it is ``None``.
    """
    heights = [np.nan_to_num(np.asarray(bars, dtype=np.float64)) for _, bars in values]
    styles = _styles([name for name, _ in values])
    count = max((len(bars) for bars in heights), default=0)
    if not count:
        return Markup("")
    if y_range is None:
        y_range = (0.0, max(float(bars.max()) for bars in heights) * 1.06)
    axes = _Axes((-0.5, count - 0.5), _wide(y_range))
    parts = [axes.frame(x_label, y_label)]
    room = (_WIDTH - _LEFT - _RIGHT) / count
    width = (room - (1.0 if room > _LEAST_GAP else 0.0)) / len(heights)
    foot = axes.y(y_range[0])
    for place, (style, bars) in enumerate(zip(styles, heights, strict=True)):
        lefts = axes.x(np.arange(len(bars)) - 0.5) + place * width
        tops = axes.y(np.clip(bars, *y_range))
        path = "".join(
            f"M{x:.1f} {foot:.1f}V{y:.1f}h{width:.2f}V{foot:.1f}z"
            for x, y in zip(lefts, tops, strict=True)
        )
        parts.append(f'<path class="bar {style}" d="{path}"/>')
    legend = [Series(name, (), (), style) for style, (name, _) in zip(styles, values, strict=True)]
    return _svg(title, "".join(parts) + (_legend(legend) if len(values) > 1 else ""))


def _styles(names: Sequence[str]) -> list[str]:
    """Return each series' class: its own colour where it is named for one."""
    return [name if name in _COLOURS else f"s{place % 4}" for place, name in enumerate(names)]


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most ``most`` round numbers in ``[low, high]``, evenly apart by 1, 2 or 5."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            break
    return [number * step for number in range(first, last + 1)]


class _Axes:
    """Where values lie in the picture."""

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], *, powers: bool = False
    ) -> None:
        self._x_range, self._y_range, self._powers = x_range, y_range, powers

    def x(self, value: ArrayLike) -> NDArray[np.float64]:
        """Return the picture's x of values."""
        low, high = self._x_range
        share = (np.asarray(value, dtype=np.float64) - low) / (high - low)
        return np.asarray(_LEFT + share * (_WIDTH - _LEFT - _RIGHT))

    def y(self, value: ArrayLike) -> NDArray[np.float64]:
        """Return the picture's y of values; values beyond the axis lie on its end."""
        low, high = self._y_range
        share = np.clip((np.asarray(value, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
        return np.asarray(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM))

    def frame(self, x_label: str, y_label: str) -> str:
        """Return ticks, their lines and the names of the axes."""
        right, foot = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = []
        for tick in nice_ticks(*self._y_range):
            y = float(self.y(tick))
            if self._powers and tick != round(tick):
                continue
            words = _power(round(tick)) if self._powers else f"{tick:.6g}"
            parts.append(
                f'<line class="rule" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{words}</text>'
            )
        for tick in nice_ticks(*self._x_range):
            x = float(self.x(tick))
            parts.append(
                f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{foot}" y2="{foot + 4}"/>'
                f'<text x="{x:.1f}" y="{foot + 17}" text-anchor="middle">{tick:.6g}</text>'
            )
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{foot}" y2="{foot}"/>')
        middle = (_LEFT + right) / 2
        parts.append(
            f'<text class="faint" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{escape(x_label)}</text>"
            f'<text class="faint" x="8" y="{_TOP - 20}">{escape(y_label)}</text>'
        )
        return "".join(parts)


def _power(exponent: int) -> str:
    return f'10<tspan dy="-5" font-size="9">{exponent}</tspan>'


def _line(axes: _Axes, item: Series, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    x, y = _thinned(x, y)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(axes.x(x), axes.y(y), strict=True))
    return f'<polyline class="line {item.style}" points="{points}"/>'


def _dots(axes: _Axes, item: Series, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    x, y = _thinned(x, y)
    path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(axes.x(x), axes.y(y), strict=True))
    return f'<path class="dots {item.style}" d="{path}"/>'


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest value of each column where there are many more values."""
    if len(x) <= 2 * _COLUMNS:
        return x, y
    span = float(np.ptp(x)) or 1.0
    column = np.minimum((x - x.min()) / span * _COLUMNS, _COLUMNS - 1).astype(np.int64)
    order = np.lexsort((y, column))
    firsts = np.flatnonzero(np.diff(column[order], prepend=-1))
    lasts = np.append(firsts[1:], len(x)) - 1
    kept = np.unique(np.concatenate([order[firsts], order[lasts]]))
    return x[kept], y[kept]


def _finite(item: Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (item.x, item.y))
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def _lowest(values: NDArray[np.float64]) -> float:
    return float(values.min())


def _highest(values: NDArray[np.float64]) -> float:
    return float(values.max())


def _wide(span: tuple[float, float]) -> tuple[float, float]:
    """Return a range that is not empty, with a little air above what is drawn."""
    low, high = span
    if not high > low:
        pad = abs(low) * 0.1 or 0.5
        return (low - pad, high + pad) if low else (0.0, 1.0)
    return low, high


def _legend(series: Sequence[Series]) -> str:
    parts, right = [], float(_WIDTH - _RIGHT)
    for item in reversed([item for item in series if item.name]):
        right -= 7.2 * len(item.name) + 4
        drawn = (
            f'<path class="dots {item.style}" d="M{right - 12:.0f} {_TOP - 24}h0"/>'
            if item.marks
            else f'<line class="line {item.style}" x1="{right - 22:.0f}" x2="{right - 4:.0f}" '
            f'y1="{_TOP - 24}" y2="{_TOP - 24}"/>'
        )
        parts.append(f'{drawn}<text x="{right:.0f}" y="{_TOP - 20}">{escape(item.name)}</text>')
        right -= 38
    return "".join(parts)


def _svg(title: str, body: str) -> Markup:
    name = escape(title)
    return Markup(  # what was not made here was escaped above
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">'
        f"<title>{name}</title>{body}</svg>"
    )
