"""The plots of a take: timing, exposure, and what alignment did to its sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from lightstage.preprocess.store import LEAST_CONFIDENCE, MOST_RESIDUAL
from lightstage.report.field_figures import FieldFigures
from lightstage.report.recording_figures import ExposureFigures, TimingFigures
from lightstage.report.svg_plot import Series, bar_plot, curve_plot, histogram_plot
from lightstage.sequence import StepKind

_DEVIATION_BINS = 25
#: Colours in the order of the legend.
_COLOURS = ("red", "green", "blue", "gray")


def deviation_plot(timing: TimingFigures) -> Markup:
    """Return each frame's deviation from the beat over time."""
    reach = max(timing.worst_us, 0.5) * 1.1
    return curve_plot(
        f"Deviation of time stamps from the beat over time; standard deviation "
        f"{timing.jitter_us:.3f} microseconds",
        [Series("", timing.time_s, timing.deviation_us, marks=True)],
        x_label="time in s",
        y_label="µs off the beat",
        y_range=(-reach, reach),
    )


def deviation_histogram(timing: TimingFigures) -> Markup:
    """Return how often frames are how far off the beat."""
    good = timing.deviation_us[np.isfinite(timing.deviation_us)]
    reach = max(timing.worst_us, 0.5) * 1.1
    counts, edges = np.histogram(good, _DEVIATION_BINS, (-reach, reach))
    return histogram_plot(
        f"Histogram of deviations from the beat; the largest is {timing.worst_us:.3f} microseconds",
        edges,
        [("frames", counts)],
        x_label="µs off the beat",
        y_label="frames",
    )


def exposure_plot(exposure: ExposureFigures) -> Markup:
    """Return the histogram of stored values, on a logarithmic scale."""
    name = "OLAT" if exposure.kind is StepKind.OLAT else exposure.kind.value
    return histogram_plot(
        f"Exposure of {name} frames: {exposure.saturated:.3%} of pixels saturated, "
        f"{exposure.black:.1%} black",
        exposure.edges,
        sorted(exposure.counts.items(), key=lambda item: _COLOURS.index(item[0])),
        x_label="stored value (0 = black level, 1 = white level)",
        y_label=f"{name}: share of pixels",
        logarithmic=True,
    )


def motion_plot(fields: FieldFigures) -> Markup:
    """Return the largest mean motion within each set's window."""
    if fields.motion_px is None:
        return Markup("")
    return curve_plot(
        "Motion within each set's window: the largest mean length of the flow",
        [Series("", fields.time_s, fields.motion_px, "s0", fields.sets < 3)],
        x_label="time in s",
        y_label="flow in pixels of the recording",
    )


def confidence_plot(fields: FieldFigures) -> Markup:
    """Return each set's mean confidence and that of its least trusted light."""
    known = _known_confidence(fields)
    mean = known.mean(axis=1).filled(np.nan)
    least = known.min(axis=1).filled(np.nan)
    return curve_plot(
        "Confidence of each set's alignment, mean of its lights and its least trusted light",
        [
            Series("mean", fields.time_s, mean, "s0", fields.sets < 3),
            Series("least light", fields.time_s, least, "s1", fields.sets < 3),
        ],
        x_label="time in s",
        y_label="confidence",
        y_range=(0.0, 1.0),
        limits=[(LEAST_CONFIDENCE, "flagged below")],
    )


def residual_plot(fields: FieldFigures) -> Markup:
    """Return how far tracking frames are from the centre's, aligned and not."""
    if fields.residual is None or fields.residual_unaligned is None:
        return Markup("")
    return curve_plot(
        "Mean difference of each set's tracking frames from its centre, with and without alignment",
        [
            Series("not aligned", fields.time_s, fields.residual_unaligned, "s1", fields.sets < 3),
            Series("aligned", fields.time_s, fields.residual, "s0", fields.sets < 3),
        ],
        x_label="time in s",
        y_label="share of brightness",
        limits=[(MOST_RESIDUAL, "flagged above")],
    )


def light_confidence_plot(fields: FieldFigures) -> Markup:
    """Return each light's mean confidence over all sets."""
    mean = _known_confidence(fields).mean(axis=0).filled(0.0)
    return bar_plot(
        "Confidence of each light's alignment, mean of all sets",
        [("", mean)],
        x_label="light",
        y_label="mean confidence",
        y_range=(0.0, 1.0),
    )


def _known_confidence(fields: FieldFigures) -> np.ma.MaskedArray[Any, np.dtype[np.float32]]:
    """Return the confidence of lights that are there, ``(sets, lights)``."""
    missing = np.zeros(fields.confidence.shape, dtype=bool)
    for index, light in fields.missing:
        missing[index, light] = True
    return np.ma.masked_array(fields.confidence, missing | ~np.isfinite(fields.confidence))
