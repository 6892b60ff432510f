"""A capture sequence as a picture: exposure, LED pulses, guard times, and the light's flicker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb
from lightstage.light_order import EyeSpectrum
from lightstage.safety import low_risk_percent
from lightstage.sequence import CaptureSequence, StepKind

Colour = tuple[int, int, int]

#: Size and margins, in pixels of the finished picture; it is drawn twice as large.
_WIDTH = 1400
_LEFT, _RIGHT = 150, 50
_SUPERSAMPLING = 2

_PAPER: Colour = (252, 252, 250)
_INK: Colour = (38, 42, 48)
_FAINT: Colour = (128, 134, 142)
_RULE: Colour = (216, 219, 223)
_EXPOSURE: Colour = (92, 128, 168)
_OLAT: Colour = (240, 172, 56)
_TRACKING: Colour = (222, 92, 70)
_LEAD: Colour = (250, 226, 178)
_SETTLE: Colour = (214, 224, 236)
_BEFORE: Colour = (176, 182, 190)
_AFTER: Colour = (56, 132, 112)
_LIMIT: Colour = (222, 92, 70)

_REGULAR, _BOLD = 400, 650


class FlickerSeries(NamedTuple):
    """A spectrum to draw and the words for it in the legend."""

    name: str
    spectrum: EyeSpectrum


def sequence_picture(
    sequence: CaptureSequence, flicker: Sequence[FlickerSeries] = ()
) -> NDArray[np.float32]:
    """Return a linear picture ``(height, 1400, 3)`` of the sequence's timing.

    On top the last OLAT frame of a group and its tracking frame, with all guard times; below, the
    whole group; at the bottom, where ``flicker`` is given, its harmonics over the frequency, with
    IEEE 1789's low-risk limit.

    Args:
        sequence: what to draw.
        flicker: at most two spectra over the same frequencies, such as before and after.
    """
    page = _Page(_WIDTH, 900 if flicker else 570)
    title = f"{sequence.lights} lights at {sequence.frame_rate_hz:g} frames/s"
    page.text(_LEFT, 44, title, 24, weight=_BOLD)
    page.text(
        _LEFT,
        70,
        f"{sequence.olat_per_tracking} OLAT frames, then a tracking frame; {sequence.groups} "
        f"groups make a cycle of {sequence.cycle_frames} frames, "
        f"{sequence.cycle_frames / sequence.frame_rate_hz * 1e3:.4g} ms",
        15,
        colour=_FAINT,
    )
    _draw_two_frames(page, sequence, top=112)
    _draw_group(page, sequence, top=406)
    if flicker:
        _draw_flicker(page, flicker[:2], top=590)
    return page.picture()


class _Page:
    """Paper to draw on, in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        shape = (height * _SUPERSAMPLING, width * _SUPERSAMPLING, 3)
        self.pixels = np.empty(shape, np.uint8)
        self.pixels[:] = _PAPER
        self.face = cv2.FontFace("sans")

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill a box; one narrower than a pixel is drawn a pixel wide."""
        x0, y0, x1, y1 = (round(edge * _SUPERSAMPLING) for edge in (x0, y0, x1, y1))
        self.pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + _SUPERSAMPLING)] = colour

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour = _RULE) -> None:
        """Draw an upright or level line, one pixel wide."""
        self.box(x0, y0, max(x1, x0 + 1), max(y1, y0 + 1), colour)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int = 14,
        *,
        colour: Colour = _INK,
        weight: int = _REGULAR,
        align: float = 0.0,
    ) -> None:
        """Write ``words`` on the base line ``y``; ``align`` 0 = from x on, 0.5 = around, 1 = to."""
        at = (round((x - align * self.width(words, size, weight)) * _SUPERSAMPLING),
              round(y * _SUPERSAMPLING))  # fmt: skip
        cv2.putText(self.pixels, words, at, colour, self.face, size * _SUPERSAMPLING, weight)

    def width(self, words: str, size: int = 14, weight: int = _REGULAR) -> float:
        """Return how wide ``words`` are."""
        height, width = self.pixels.shape[:2]
        box = cv2.getTextSize(
            (width, height), words, (0, 0), self.face, size * _SUPERSAMPLING, weight
        )
        return float(box[2]) / _SUPERSAMPLING

    def picture(self) -> NDArray[np.float32]:
        """Return the finished picture, linear."""
        small = cv2.resize(self.pixels, self.size, interpolation=cv2.INTER_AREA)
        return decode_srgb(small.astype(np.float32) / 255.0)


def _draw_two_frames(page: _Page, sequence: CaptureSequence, top: int) -> None:
    """Draw the last OLAT frame of the first group and its tracking frame, with all guard times."""
    period, exposure = sequence.frame_period_us, sequence.exposure_us
    scale = (_WIDTH - _LEFT - _RIGHT) / (2 * period)

    def at(time_us: float) -> float:
        return _LEFT + (time_us + sequence.lead_us) * scale

    rows = {"camera": top + 34, "LEDs": top + 84}
    foot = top + 150
    guarded = exposure + sequence.lag_us + sequence.settle_us
    guards = (
        ("lead", -sequence.lead_us, sequence.lead_us, _LEAD),
        ("lag", exposure, sequence.lag_us, _LEAD),
        ("settle", exposure + sequence.lag_us, sequence.settle_us, _SETTLE),
    )
    page.text(_LEFT, top + 8, "Two frames: a single light, then all lights", 15, weight=_BOLD)
    for frame in range(2):
        begin = frame * period
        for _, start, length, colour in guards:
            if length > 0:
                page.box(at(begin + start), top + 24, at(begin + start + length), foot, colour)
    for name, row in rows.items():
        page.text(_LEFT - 16, row + 25, name, 15, align=1.0, weight=_BOLD)
        page.line(_LEFT, row + 40, _WIDTH - _RIGHT, row + 40, _FAINT)
    _, olat_row = rows.values()
    step = sequence.cycle[sequence.olat_per_tracking - 1]
    for frame in range(2):
        begin = frame * period
        page.line(at(begin - sequence.lead_us), top + 24, at(begin - sequence.lead_us), foot)
        ends = (at(begin), at(begin + exposure))
        page.box(ends[0], rows["camera"], ends[1], rows["camera"] + 40, _EXPOSURE)
        words = f"exposure {exposure:g} µs"
        _label(page, words, ends, rows["camera"], guard_end=at(begin + guarded), inside=_PAPER)
    page.line(_WIDTH - _RIGHT, top + 24, _WIDTH - _RIGHT, foot)
    if step.kind is StepKind.OLAT:
        ends = (at(-sequence.lead_us), at(exposure + sequence.lag_us))
        page.box(ends[0], olat_row, ends[1], olat_row + 40, _OLAT)
        words = f"light {step.light} on {sequence.olat_pulse_us:g} µs"
        _label(page, words, ends, olat_row, guard_end=at(guarded))
    half = sequence.tracking_pulse_us / 2
    middle = period + exposure / 2
    ends = (at(middle - half), at(middle + half))
    page.box(ends[0], olat_row, ends[1], olat_row + 40, _TRACKING)
    words = f"all {sequence.lights} on {sequence.tracking_pulse_us:.4g} µs"
    room = at(period + exposure) - ends[1] - 16
    fits_beside = page.width(words, 15, _BOLD) < room
    _label(page, words, ends, olat_row, guard_end=ends[1] if fits_beside else at(period + guarded))

    # what each stretch of the first frame is; so placed that no leader runs through other words
    spare = ("spare", guarded, sequence.spare_us, _RULE)
    lead_end = 0.0
    for name, start, length, _ in (*guards, spare):
        if length <= 1e-6:
            continue
        words = f"{name} {length:.4g} µs"
        x, level, align = at(start + length / 2), 1 if name == "settle" else 0, 0.0
        if name == "lead":
            lead_end = x + page.width(words)
        elif name == "lag" and x - page.width(words) > lead_end + 12:
            align = 1.0
        elif name == "lag":
            level = 2
        page.line(x, foot, x, foot + 12 + level * 20, _FAINT)
        page.text(x - 4 + 8 * align, foot + 26 + level * 20, words, align=align)
    x0, x1 = at(-sequence.lead_us), at(period - sequence.lead_us)
    y = foot + 82
    page.line(x0, y, x1, y, _FAINT)
    page.line(x0, y - 5, x0, y + 6, _FAINT)
    page.line(x1, y - 5, x1, y + 6, _FAINT)
    page.text((x0 + x1) / 2, y + 22, f"frame period {period:.5g} µs", align=0.5)


def _label(
    page: _Page,
    words: str,
    ends: tuple[float, float],
    row: float,
    *,
    guard_end: float,
    inside: Colour = _INK,
) -> None:
    """Write ``words`` into the bar between ``ends``, or after ``guard_end`` if it is too short."""
    if page.width(words, 15, _BOLD) + 12 < ends[1] - ends[0]:
        middle = (ends[0] + ends[1]) / 2
        page.text(middle, row + 26, words, 15, colour=inside, weight=_BOLD, align=0.5)
    else:
        page.text(guard_end + 10, row + 26, words, 15, weight=_BOLD)


def _draw_group(page: _Page, sequence: CaptureSequence, top: int) -> None:
    """Draw the first group: one cell a frame, with its pulse and its light's number."""
    frames = sequence.period
    cell = (_WIDTH - _LEFT - _RIGHT) / frames
    scale = cell / sequence.frame_period_us
    page.text(_LEFT, top + 8, f"One group: {frames} frames", 15, weight=_BOLD)
    row = top + 24
    page.text(_LEFT - 16, row + 35, "LEDs", 15, align=1.0, weight=_BOLD)
    numbered = page.width(f"{sequence.lights - 1}") < cell - 4
    for index in range(frames):
        step = sequence.cycle[index]
        left = _LEFT + index * cell
        if cell > 6:
            page.line(left, row, left, row + 66)
        start, width, colour = 0.0, sequence.olat_pulse_us, _OLAT
        words = f"light {step.light}" if cell > 70 else f"{step.light}"
        height = 40
        if step.kind is StepKind.TRACKING:
            width, colour, words, height = sequence.tracking_pulse_us, _TRACKING, "tracking", 60
            start = sequence.lead_us + (sequence.exposure_us - width) / 2
        elif step.kind is StepKind.DARK:
            width, words = 0.0, "dark"
        if width > 0:
            page.box(
                left + start * scale, row + 60 - height, left + (start + width) * scale,
                row + 60, colour,
            )  # fmt: skip
        if numbered and page.width(words) < cell - 4:
            page.text(left + cell / 2, row + 84, words, align=0.5)
    page.line(_LEFT, row + 60, _WIDTH - _RIGHT, row + 60, _FAINT)
    page.line(_WIDTH - _RIGHT, row, _WIDTH - _RIGHT, row + 66)
    page.text(_LEFT, row + 110, "0", colour=_FAINT)
    page.text(
        _WIDTH - _RIGHT, row + 110, f"{frames * sequence.frame_period_us / 1e3:.4g} ms",
        colour=_FAINT, align=1.0,
    )  # fmt: skip


def _draw_flicker(page: _Page, flicker: Sequence[FlickerSeries], top: int) -> None:
    """Draw each harmonic's modulation as a bar a series, and the low-risk limit over it."""
    colours = (_BEFORE, _AFTER) if len(flicker) > 1 else (_AFTER,)
    page.text(
        _LEFT, top + 8, "Flicker at the performer's eyes, worst of nine gazes", 15, weight=_BOLD
    )
    x = float(_LEFT)
    legend = [(item.name, colour) for item, colour in zip(flicker, colours, strict=False)]
    for words, colour in (*legend, ("IEEE 1789 low risk", _LIMIT)):
        page.box(x, top + 24, x + 12, top + 36, colour)
        page.text(x + 18, top + 35, words)
        x += page.width(words) + 48
    frequencies = flicker[0].spectrum.frequency_hz
    worst = [item.spectrum.worst_percent for item in flicker]
    highest = max((float(series.max()) for series in worst if len(series)), default=1.0)
    step = _round_step(highest)
    ceiling = step * max(1, int(np.ceil(highest / step - 1e-9)))
    head, foot = top + 56, top + 250
    for tick in np.arange(0.0, ceiling + step / 2, step):
        y = foot - (foot - head) * tick / ceiling
        page.line(_LEFT, y, _WIDTH - _RIGHT, y)
        page.text(_LEFT - 12, y + 5, f"{tick:g} %", colour=_FAINT, align=1.0)
    slot = (_WIDTH - _LEFT - _RIGHT) / max(1, len(frequencies))
    width = min(56.0, 0.8 * slot / len(flicker))
    for index, frequency in enumerate(frequencies):
        middle = _LEFT + (index + 0.5) * slot
        left = middle - width * len(flicker) / 2
        for number, (series, colour) in enumerate(zip(worst, colours, strict=False)):
            x, percent = left + number * width, float(series[index])
            y = foot - (foot - head) * percent / ceiling
            page.box(x, y, x + width - min(2.0, width / 4), foot, colour)
            if width > 40:
                page.text(x + width / 2, y - 6, f"{percent:.1f}", 12, colour=_FAINT, align=0.5)
        limit = min(ceiling, low_risk_percent(float(frequency)))
        y = foot - (foot - head) * limit / ceiling
        page.box(left - 4, y - 1, left + width * len(flicker) + 4, y + 1.5, _LIMIT)
        every = max(1, int(np.ceil(90.0 / slot)))
        if index % every == 0:
            page.text(middle, foot + 22, f"{frequency:.3g} Hz", align=0.5)
    page.line(_LEFT, foot, _WIDTH - _RIGHT, foot, _FAINT)


def _round_step(highest: float) -> float:
    """Return a round distance between some four ticks up to ``highest``."""
    rough = max(highest, 1e-3) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))
