"""Figures of a recording: what its frames show, how even its beat is, how they are exposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SequenceError
from lightstage.preprocess.coarse import coarse_pictures
from lightstage.preprocess.identify import Identification, identify
from lightstage.preprocess.plan import plan_take
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import FrameSource
from lightstage.sequence import CaptureSequence, StepKind
from lightstage.session import Take

Progress = Callable[[int, int], None]

#: A stamp more than this share of a period off the beat is garbage, not jitter.
_OFF_BEAT = 0.5
#: Frames of a kind that exposure is measured on, and pixels of all of them at most.
_MOST_FRAMES = 96
_MOST_PIXELS = 120_000_000
#: Bins of a histogram, from below black to above white.
_BINS = 64
_SPAN = (-0.05, 1.05)


@dataclass(frozen=True)
class LostSteps:
    """A run of steps that no frame shows.

    Attributes:
        first, last: steps of the sequence, 0 = the preamble's first.
        after_frame: the camera's number of the frame before the run; ``None`` = the run is first.
        lights: the lights that were on in them.
        tracking: how many of them were tracking frames.
    """

    first: int
    last: int
    after_frame: int | None
    lights: tuple[int, ...]
    tracking: int

    @property
    def count(self) -> int:
        """How many steps were lost."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class FrameFigures:
    """What identification found out about a recording's frames.

    Frames are named by the camera's numbers, steps by their place in the sequence.
    """

    frames: int
    lost: tuple[LostSteps, ...]
    repeated: tuple[int, ...]
    swapped: tuple[int, ...]
    extra: tuple[int, ...]
    unknown: tuple[int, ...]
    dark_lights: tuple[int, ...]
    dim_lights: tuple[int, ...]
    stuck_lights: tuple[int, ...]
    method: str
    certainty: float
    warnings: tuple[str, ...]

    @property
    def dropped_steps(self) -> list[int]:
        """All steps that no trusted frame shows."""
        return [step for run in self.lost for step in range(run.first, run.last + 1)]


@dataclass(frozen=True)
class TimingFigures:
    """How far time stamps are off a regular beat, the straight line through all good ones.

    Attributes:
        time_s: when each frame was taken by the beat, ``(frames,)`` from the take's first.
        deviation_us: of each frame's stamp from the beat, ``(frames,)``; NaN where it is garbage
            or the frame's place is not known.
        period_us: the beat's, by the camera's clock.
        nominal_period_us: the sequence's.
        off_beat: the camera's numbers of frames whose stamps are garbage.
    """

    time_s: NDArray[np.float64]
    deviation_us: NDArray[np.float64]
    period_us: float
    nominal_period_us: float
    off_beat: tuple[int, ...]

    @property
    def jitter_us(self) -> float:
        """Standard deviation from the beat."""
        good = self.deviation_us[np.isfinite(self.deviation_us)]
        return float(good.std()) if good.size else 0.0

    @property
    def worst_us(self) -> float:
        """The largest deviation."""
        good = np.abs(self.deviation_us[np.isfinite(self.deviation_us)])
        return float(good.max()) if good.size else 0.0

    @property
    def drift_ppm(self) -> float:
        """How much faster than the sequence's rate the frames came, by the camera's clock."""
        return (self.nominal_period_us / self.period_us - 1.0) * 1e6


@dataclass(frozen=True)
class ExposureFigures:
    """How frames of one kind are exposed.

    Attributes:
        kind: OLAT or tracking.
        frames: how many frames were looked at.
        edges: ``(bins + 1,)`` of the histogram; 0 = black level, 1 = white level.
        counts: share of each colour's pixels in each bin, by the colour's name, ``(bins,)``.
        saturated: share of pixels at white level or above.
        black: share of pixels at black level or below.
        bright: the value that one pixel in a thousand exceeds, 1 = white level.
        most_saturated: the frame with the largest share of saturated pixels, by the camera's
            number, and that share; ``None`` where none is saturated.
    """

    kind: StepKind
    frames: int
    edges: NDArray[np.float64]
    counts: dict[str, NDArray[np.float64]]
    saturated: float
    black: float
    bright: float
    most_saturated: tuple[int, float] | None


def identified(
    take: Take, source: FrameSource, progress: Progress | None = None
) -> tuple[Identification, int]:
    """Return what each frame of a take shows, and how many OLAT sets 25 Hz would make of it.

    Raises:
        SequenceError: the take does not fit its sequence.
    """
    try:
        plan = plan_take(take, source, PreprocessSettings(), progress)
    except (SequenceError, OSError):
        # too short for a set, or on a disk where preprocessing cannot note what it looked at
        pictures = coarse_pictures(source, progress)
        return identify(pictures, source.time_ns, take.sequence, take.dome.directions), 0
    return plan.identification, len(plan.sets)


def frame_figures(
    found: Identification, sequence: CaptureSequence, first_frame_number: int
) -> FrameFigures:
    """Return the figures of identified frames; frame 0 has the camera's ``first_frame_number``."""

    def numbers(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(index) + first_frame_number for index in indices)

    odd = {*found.repeated, *found.swapped, *found.extra}
    unknown = [index for index in np.flatnonzero(~found.known).tolist() if index not in odd]
    return FrameFigures(
        frames=len(found.step_index),
        lost=_lost_runs(found, sequence, first_frame_number),
        repeated=numbers(found.repeated),
        swapped=numbers(found.swapped),
        extra=numbers(found.extra),
        unknown=numbers(unknown),
        dark_lights=found.dark_lights,
        dim_lights=found.dim_lights,
        stuck_lights=found.stuck_lights,
        method=found.method,
        certainty=found.certainty,
        warnings=found.warnings,
    )


def timing_figures(
    found: Identification,
    time_ns: NDArray[np.int64] | None,
    sequence: CaptureSequence,
    first_frame_number: int,
) -> TimingFigures | None:
    """Return how even the beat of time stamps is; ``None`` where there are none of use."""
    if time_ns is None or len(time_ns) != len(found.step_index):
        return None
    timed = found.known.copy()
    timed[list(found.repeated + found.swapped + found.extra)] = False
    if timed.sum() < 3:
        return None
    rate = sequence.frame_rate_hz
    beat_s = found.step_times_s(found.step_index, time_ns, rate)
    anchor = int(np.flatnonzero(timed)[0])
    # integers first: nanoseconds since 1970 have no room in a float
    stamped_us = (np.asarray(time_ns) - time_ns[anchor]) / 1e3
    off_us = stamped_us - (beat_s - beat_s[anchor]) * 1e6
    off_us -= np.median(off_us[timed])
    garbage = np.abs(off_us) > _OFF_BEAT * sequence.frame_period_us
    deviation_us = np.where(timed & ~garbage, off_us, np.nan)
    if np.isfinite(deviation_us).any():
        deviation_us -= np.nanmean(deviation_us)
    step_us = float(found.step_times_s(1.0, time_ns, rate)) * 1e6
    return TimingFigures(
        time_s=beat_s - beat_s[0],
        deviation_us=deviation_us,
        period_us=step_us,
        nominal_period_us=sequence.frame_period_us,
        off_beat=tuple((np.flatnonzero(timed & garbage) + first_frame_number).tolist()),
    )


def exposure_figures(
    source: FrameSource,
    found: Identification,
    sequence: CaptureSequence,
    kind: StepKind,
    progress: Progress | None = None,
) -> ExposureFigures | None:
    """Return how frames of a kind are exposed, measured on some spread over the take.

    ``None`` where no trusted frame is of that kind. Values count as stored, before any colour is
    interpolated: a saturated pixel is one that the sensor clipped.
    """
    frames = [
        frame
        for step, frame in sorted(found.frame_of_step().items())
        if step >= len(sequence.preamble) and sequence.step(step).kind is kind
    ]
    if not frames:
        return None
    most = max(8, min(_MOST_FRAMES, _MOST_PIXELS // (source.width * source.height)))
    places = np.unique(np.linspace(0, len(frames) - 1, most).round().astype(int))
    black, white = float(source.black_level), float(source.white_level)
    totals: dict[str, NDArray[np.int64]] = {}
    saturated: list[tuple[float, int]] = []
    for done, place in enumerate(places.tolist(), 1):
        stored = source[frames[place]]
        for name, plane in _planes(stored, source.cfa):
            count = np.bincount(np.ravel(plane).astype(np.int64))
            old = totals.get(name, np.zeros(0, np.int64))
            if len(old) < len(count):
                old, count = count, old
            old = old.copy()
            old[: len(count)] += count
            totals[name] = old
        share = float(np.greater_equal(stored, white).mean())
        saturated.append((share, frames[place] + source.first_frame_number))
        if progress:
            progress(done, len(places))
    edges = np.linspace(*_SPAN, _BINS + 1)
    counts = {name: _binned(total, black, white, edges) for name, total in totals.items()}
    longest = max(len(total) for total in totals.values())
    all_values = np.zeros(longest, np.int64)
    for total in totals.values():
        all_values[: len(total)] += total
    levels, pixels = np.arange(longest), int(all_values.sum())
    above = np.cumsum(all_values[::-1])[::-1]  # pixels at each value or above
    bright = int(np.flatnonzero(above >= max(1, pixels // 1000))[-1])
    worst = max(saturated)
    return ExposureFigures(
        kind=kind,
        frames=len(places),
        edges=edges,
        counts=counts,
        saturated=float(all_values[levels >= white].sum() / pixels),
        black=float(all_values[levels <= black].sum() / pixels),
        bright=(bright - black) / (white - black),
        most_saturated=(worst[1], worst[0]) if worst[0] > 0 else None,
    )


def _planes(stored: NDArray[np.generic], cfa: str) -> list[tuple[str, NDArray[np.generic]]]:
    """Return the pixels of each colour; a colour filter's two greens are one colour each time."""
    names = {"R": "red", "G": "green", "B": "blue"}
    if stored.ndim == 3:
        return [(names[letter], stored[..., k]) for k, letter in enumerate("RGB")]
    if len(cfa) != 4 or not set(cfa) <= names.keys():
        return [("gray", stored)]
    return [(names[letter], stored[k // 2 :: 2, k % 2 :: 2]) for k, letter in enumerate(cfa)]


def _binned(
    counts: NDArray[np.int64], black: float, white: float, edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    values = (np.arange(len(counts)) - black) / (white - black)
    inside = np.clip(values, edges[0], edges[-1])
    held, _ = np.histogram(inside, edges, weights=counts)
    return np.asarray(held / max(1, int(counts.sum())))


def _lost_runs(
    found: Identification, sequence: CaptureSequence, first_frame_number: int
) -> tuple[LostSteps, ...]:
    steps = np.sort(found.dropped)
    if not len(steps):
        return ()
    shown = sorted(found.frame_of_step().items())
    known_steps = np.array([step for step, _ in shown], np.int64)
    runs = []
    for run in np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1):
        first, last = int(run[0]), int(run[-1])
        before = int(np.searchsorted(known_steps, first)) - 1
        what = [sequence.step(step) for step in range(max(first, 0), last + 1)]
        runs.append(
            LostSteps(
                first=first,
                last=last,
                after_frame=None if before < 0 else shown[before][1] + first_frame_number,
                lights=tuple(step.light for step in what if step.kind is StepKind.OLAT),
                tracking=sum(step.kind is StepKind.TRACKING for step in what),
            )
        )
    return tuple(runs)
