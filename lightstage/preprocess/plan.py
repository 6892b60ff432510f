"""Plan: which frames make which OLAT set, where each set looks, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError, SequenceError
from lightstage.preprocess.align import SetFrames
from lightstage.preprocess.coarse import coarse_pictures
from lightstage.preprocess.identify import Identification, identify
from lightstage.preprocess.settings import CropSettings, PreprocessSettings
from lightstage.preprocess.source import FrameSource
from lightstage.preprocess.view import View
from lightstage.sequence import CaptureSequence, StepKind, Window
from lightstage.session import Take

#: A set whose centre is missing is centred on a tracking frame at most so many intervals away.
_CENTRE_WITHIN = 2
#: A set needs this share of its window's tracking frames.
_LEAST_TRACKING = 0.5

if TYPE_CHECKING:
    from lightstage.preprocess.head_track import HeadTrack

Progress = Callable[[int, int], None]


class SetFlag(IntFlag):
    """What a person should know of a set; bits of the array ``flag``."""

    NONE = 0
    MISSING_LIGHTS = 1
    FILLED_LIGHTS = 2
    MISSING_TRACKING = 4
    OFF_CENTRE = 8
    LOW_CONFIDENCE = 16
    HIGH_RESIDUAL = 32


@dataclass(frozen=True)
class SetPlan:
    """One OLAT set to make.

    Attributes:
        index: its place in the store.
        time_s: the time it is aligned to, seconds from the take's first frame.
        centre_frame_number: the camera's number of its centre tracking frame.
        frames: which frames it is made of.
        places: each tracking frame's place on the beat of tracking frames.
        offset: its time after the centre, in tracking intervals (0 unless exact times are asked).
        part: left, top, width, height of what it shows, source pixels.
        filled: lights that are taken from the neighbouring cycle.
        flag: what is wrong with it as far as the frames tell.
    """

    index: int
    time_s: float
    centre_frame_number: int
    frames: SetFrames
    places: NDArray[np.int64]
    offset: float
    part: tuple[float, float, float, float]
    filled: tuple[int, ...] = ()
    flag: SetFlag = SetFlag.NONE

    @property
    def missing(self) -> list[int]:
        """The lights without a frame."""
        return [int(light) for light in np.flatnonzero(self.frames.missing)]


@dataclass(frozen=True)
class TakePlan:
    """All sets of a take and what was found out about its frames.

    Attributes:
        identification: what each frame shows.
        sets: the sets that can be made, in order of time.
        skipped_s: output times for which no set can be made, seconds from the first frame.
        tracking: the most tracking frames that a set has.
        samples: the most frames that a light has in a set.
        head: where the head is, if the crop follows it.
    """

    identification: Identification
    sets: tuple[SetPlan, ...]
    skipped_s: tuple[float, ...] = ()
    tracking: int = 0
    samples: int = 1
    head: HeadTrack | None = None

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """(set, light) without a frame."""
        return tuple((item.index, light) for item in self.sets for light in item.missing)

    @property
    def filled(self) -> tuple[tuple[int, int], ...]:
        """(set, light) taken from a neighbouring cycle."""
        return tuple((item.index, light) for item in self.sets for light in item.filled)


def plan_take(
    take: Take,
    source: FrameSource,
    settings: PreprocessSettings,
    progress: Progress | None = None,
) -> TakePlan:
    """Identify a take's frames and choose those of each set.

    Raises:
        SequenceError: the take does not fit its sequence, or no whole set is in it.
        InputError: the crop does not fit the frame, or no head is found.
    """
    sequence = take.sequence
    pictures = _remembered_pictures(take.ledger_path, source, progress)
    found = identify(pictures, source.time_ns, sequence, take.dome.directions)
    return plan_sets(take.name, source, settings, sequence, found)


def plan_sets(
    name: str,
    source: FrameSource,
    settings: PreprocessSettings,
    sequence: CaptureSequence,
    found: Identification,
) -> TakePlan:
    """Return the sets of a take whose frames have been identified; see :func:`plan_take`."""
    shown = found.step_index[found.known]
    if len(shown) == 0:
        raise SequenceError(f"{name}: no frame could be told from another.")
    first, last = max(0, int(shown.min())), int(shown.max())
    windows = sequence.windows(settings.rate_hz, frame_count=last + 1, first_frame=first)
    chooser = _FrameChooser(source, found, sequence, settings)
    chosen: list[_Chosen] = []
    skipped: list[float] = []
    for window in windows:
        set_frames = chooser.choose(window)
        if set_frames is None:
            skipped.append(chooser.time_of(window.time_s * sequence.frame_rate_hz))
        else:
            chosen.append(set_frames)
    if not chosen:
        raise SequenceError(
            f"{name}: holds no whole OLAT set: {len(source)} frames from step {first} to "
            f"{last}; a set needs {sequence.frames_per_window} frames from one tracking frame to "
            f"another."
        )
    parts, head = _parts(source, settings.crop, chooser, [item.time_s for item in chosen])
    sets = tuple(
        SetPlan(
            index=index,
            time_s=item.time_s,
            centre_frame_number=source.first_frame_number
            + int(item.frames.tracking_frames[item.frames.centre]),
            frames=item.frames,
            places=item.places,
            offset=item.offset,
            part=part,
            filled=item.filled,
            flag=item.flag,
        )
        for index, (item, part) in enumerate(zip(chosen, parts, strict=True))
    )
    return TakePlan(
        identification=found,
        sets=sets,
        skipped_s=tuple(skipped),
        tracking=max(len(item.frames.tracking_frames) for item in sets),
        samples=max(item.frames.light_frames.shape[1] for item in sets),
        head=head,
    )


def view_of(part: tuple[float, float, float, float], source: FrameSource,
            settings: PreprocessSettings) -> View:  # fmt: skip
    """Return the view of a set that shows ``part`` of the source's frames."""
    return View.of(
        part,
        settings.crop.size,
        (source.width, source.height),
        flow_scale=settings.flow.scale,
        finest_scale=settings.flow.finest_scale,
    )


@dataclass(frozen=True)
class _Chosen:
    time_s: float
    frames: SetFrames
    places: NDArray[np.int64]
    offset: float
    filled: tuple[int, ...] = ()
    flag: SetFlag = SetFlag.NONE


class _FrameChooser:
    """Chooses the frames of a window out of those that were identified."""

    def __init__(
        self,
        source: FrameSource,
        found: Identification,
        sequence: CaptureSequence,
        settings: PreprocessSettings,
    ) -> None:
        self._sequence = sequence
        self._settings = settings
        self._frame_of_step = found.frame_of_step()
        self.times_s, self.time_of = _frame_times(source, found, sequence.frame_rate_hz)
        self._tracking_steps = np.array(
            sorted(
                step
                for step in self._frame_of_step
                if step >= 0 and sequence.step(step).kind is StepKind.TRACKING
            ),
            dtype=np.int64,
        )

    @property
    def tracking_frames(self) -> NDArray[np.int64]:
        """The frames of all tracking steps, in order."""
        return np.array([self._frame_of_step[int(s)] for s in self._tracking_steps], np.int64)

    def choose(self, asked: Window) -> _Chosen | None:
        """Return the set nearest to the asked window, or ``None`` where there is none."""
        for window in self._candidates(asked):
            chosen = self._choose(window, asked)
            if chosen is not None:
                return chosen
        return None

    def _candidates(self, asked: Window) -> list[Window]:
        windows = [asked]
        for away in range(1, _CENTRE_WITHIN + 1):
            for side in (-away, away):
                try:
                    centre = asked.centre + side * self._sequence.period
                    windows.append(self._sequence.window(centre, asked.time_s))
                except SequenceError:
                    continue
        return windows

    def _choose(self, window: Window, asked: Window) -> _Chosen | None:
        sequence, settings = self._sequence, self._settings
        present = [int(step) for step in window.tracking if int(step) in self._frame_of_step]
        if window.centre not in present or len(present) < _LEAST_TRACKING * len(window.tracking):
            return None
        # a window's lights lie between its first tracking frame and its last
        flag = SetFlag.NONE
        if len(present) < len(window.tracking):
            flag |= SetFlag.MISSING_TRACKING
        if window.centre != asked.centre:
            flag |= SetFlag.OFF_CENTRE
        cycle = sequence.cycle_frames
        steps = np.stack([window.frames, window.frames - cycle, window.frames + cycle], axis=1)
        frames = self._frames(steps)
        filled: tuple[int, ...] = ()
        if not settings.align.fuse_cycles:
            if settings.align.fill_missing:
                frames, steps, filled = _fill(frames, steps, window.centre)
            else:
                frames, steps = frames[:, :1], steps[:, :1]
        else:
            filled = tuple(np.flatnonzero((frames[:, 0] < 0) & (frames >= 0).any(axis=1)).tolist())
        if filled:
            flag |= SetFlag.FILLED_LIGHTS
        if (frames < 0).all(axis=1).any():
            flag |= SetFlag.MISSING_LIGHTS
        used = steps[frames >= 0]
        if len(used) == 0:
            return None
        tracking = self._tracking_around(used, window)
        indices = np.array([self._frame_of_step[int(step)] for step in tracking], np.int64)
        step_s = np.vectorize(self.time_of, otypes=[float])
        times = np.where(frames >= 0, self.times_s[frames], step_s(steps))
        centre = int(np.searchsorted(tracking, window.centre))
        offset, time_s = 0.0, float(self.times_s[indices[centre]])
        if settings.exact_times:
            wanted = asked.time_s * sequence.frame_rate_hz
            offset = float((wanted - window.centre) / sequence.period)
            time_s = self.time_of(wanted)
        return _Chosen(
            time_s=time_s,
            frames=SetFrames(frames, times, indices, self.times_s[indices], centre, time_s),
            places=(tracking - tracking[0]) // sequence.period,
            offset=offset,
            filled=filled,
            flag=flag,
        )

    def _frames(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        frames = [self._frame_of_step.get(int(step), -1) for step in steps.ravel()]
        # a cycle before the first one lies the preamble, which shows no light
        in_cycles = steps >= len(self._sequence.preamble)
        return np.where(in_cycles, np.array(frames, np.int64).reshape(steps.shape), -1)

    def _tracking_around(self, used: NDArray[np.int64], window: Window) -> NDArray[np.int64]:
        """Return the tracking steps from the one before the first used frame to one after."""
        known, period = self._tracking_steps, self._sequence.period
        on_beat = known[(known - window.centre) % period == 0]
        low = min(int(used.min()), int(window.tracking[0]))
        high = max(int(used.max()), int(window.tracking[-1]))
        first = max(0, int(np.searchsorted(on_beat, low, side="right")) - 1)
        last = min(len(on_beat) - 1, int(np.searchsorted(on_beat, high, side="left")))
        return np.asarray(on_beat[first : last + 1])


def _fill(
    frames: NDArray[np.int64], steps: NDArray[np.int64], centre: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, ...]]:
    """Return one frame for each light: its own, or that of the nearer neighbouring cycle."""
    away = np.where(frames >= 0, np.abs(steps - centre), np.iinfo(np.int64).max)
    away[:, 0] = np.where(frames[:, 0] >= 0, -1, away[:, 0])
    best = away.argmin(axis=1)
    rows = np.arange(len(frames))
    filled = np.flatnonzero((best > 0) & (frames[rows, best] >= 0))
    return frames[rows, best][:, None], steps[rows, best][:, None], tuple(filled.tolist())


def _frame_times(
    source: FrameSource, found: Identification, frame_rate_hz: float
) -> tuple[NDArray[np.float64], Callable[[float], float]]:
    """Return each frame's time in seconds from the take's first frame, and any step's time."""
    stamps = source.time_ns
    first = found.step_index[0]
    begins = float(found.step_times_s(first, stamps, frame_rate_hz))
    beat_s = float(found.step_times_s(1.0, stamps, frame_rate_hz))
    times = found.times_s(stamps, frame_rate_hz) - begins
    return times, lambda step: float((step - first) * beat_s)


def _parts(
    source: FrameSource,
    crop: CropSettings,
    chooser: _FrameChooser,
    times_s: list[float],
) -> tuple[list[tuple[float, float, float, float]], HeadTrack | None]:
    """Return what each set shows: left, top, width, height in source pixels."""
    width, height = source.width, source.height
    if crop.mode == "face":
        frames = chooser.tracking_frames
        from lightstage.preprocess.head_track import track_head

        head = track_head(source, frames, chooser.times_s[frames])
        side = float(head.side_px)
        parts = []
        for time_s in times_s:
            x, y = head.at(time_s)
            parts.append((x + 0.5 - side / 2, y + 0.5 - side / 2, side, side))
        return parts, head
    part = (0, 0, width, height) if crop.rectangle is None else crop.rectangle
    left, top, wide, high = part
    if left + wide > width or top + high > height:
        raise InputError(
            f"the crop {left},{top},{wide},{high} reaches outside the frames, which are "
            f"{width} x {height} pixels."
        )
    whole = (float(left), float(top), float(wide), float(high))
    return [whole] * len(times_s), None


def _remembered_pictures(
    folder: Path, source: FrameSource, progress: Progress | None
) -> NDArray[np.float32]:
    """Return the coarse pictures of all frames; read from disk where they were made before."""
    path = folder / f"coarse.{source.identity()}.npy"
    if path.is_file():
        try:
            kept = np.load(path, allow_pickle=False)
            if kept.ndim == 3 and len(kept) == len(source) and kept.dtype == np.float32:
                return np.asarray(kept)
        except (OSError, ValueError):
            pass  # damaged: made anew
    pictures = coarse_pictures(source, progress)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.save(file, pictures, allow_pickle=False)
    partial.replace(path)
    return pictures
