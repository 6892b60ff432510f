"""Identify: which step of the sequence each frame of a take shows.

Time stamps give each frame its place on the beat (:mod:`~lightstage.preprocess.beat`); without
them frames are counted, and dynamic programming finds where the count slips
(:mod:`~lightstage.preprocess.counting`). Tracking frames and either a preamble or the pictures tell
the phase (:mod:`~lightstage.preprocess.phase`). Then each frame is compared with what its step
should look like by other frames of that light (:mod:`~lightstage.preprocess.verdicts`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import SequenceError
from lightstage.preprocess.appearance import look_features
from lightstage.preprocess.beat import Beat, find_beat
from lightstage.preprocess.coarse import (
    coarse_from_rows,
    coarse_picture,
    coarse_pictures,
    coarse_rows,
)
from lightstage.preprocess.counting import settle
from lightstage.preprocess.light_faults import LightFaults
from lightstage.preprocess.phase import (
    find_phase,
    lean,
    lean_of_a_ball,
    pictures_of_a_ball,
    tracking_residue,
)
from lightstage.preprocess.verdicts import Judge, Verdicts
from lightstage.sequence import CaptureSequence

__all__ = [
    "Identification",
    "coarse_from_rows",
    "coarse_picture",
    "coarse_pictures",
    "coarse_rows",
    "identify",
    "lean",
    "lean_of_a_ball",
]

#: A take is refused when more than this share of its frames contradict the sequence.
_MOST_CONTRADICTING = 0.2
#: A frame placed by counting is trusted when its place is ahead of others by this (logarithm).
_LEAST_LEAD = 3.0
#: A stamp that is this many frame periods off its step's time is not the frame's time.
_LATE = 0.5


@dataclass(frozen=True)
class Identification:
    """What each frame of a take shows.

    Attributes:
        step_index: each frame's place in the sequence, as ``CaptureSequence.step`` counts. For a
            repeated frame the step that it truly shows, the one its original shows; for an extra
            frame, which shows none, its neighbour's.
        known: whether the frame can be trusted to show that step, ``(frames,)`` bool.
        dropped: steps between the first and the last known frame that no trusted frame shows.
        method: what the phase rests on, in words.
        margin: by how much the phase found is ahead of the next best, 0 to 1.
        warnings: what a person should know.
        confidence: how sure each frame's step is, ``(frames,)``, 0 to 1; 0 where not known.
        repeated: frames that show again what a frame beside them shows; they serve no step.
        swapped: frames found out of order, in pairs; ``step_index`` is what they show.
        extra: frames without a place in the sequence, such as of a false trigger.
        dark_lights: lights that did not shine though lights around them did.
        dim_lights: lights much darker than those around them promise.
        stuck_lights: lights that were on all the time.

    Two lights that look the same to the camera cannot be told apart: a swap of their frames, or a
    repetition that is not the same to the last bit, is not seen, and frames are taken by their
    place. So it is with lights behind the performer that hardly light what the camera sees.

    Without time stamps a loss is told but for whole cycles.
    """

    step_index: NDArray[np.int64]
    known: NDArray[np.bool_]
    dropped: NDArray[np.int64]
    method: str
    margin: float
    warnings: tuple[str, ...] = field(default=())
    confidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    repeated: tuple[int, ...] = ()
    swapped: tuple[int, ...] = ()
    extra: tuple[int, ...] = ()
    dark_lights: tuple[int, ...] = ()
    dim_lights: tuple[int, ...] = ()
    stuck_lights: tuple[int, ...] = ()

    @property
    def certainty(self) -> float:
        """How sure the whole is, 0 to 1: the mean confidence of the frames that are known."""
        return float(self.confidence[self.known].mean()) if self.known.any() else 0.0

    def frame_of_step(self) -> dict[int, int]:
        """Return the frame that shows each step; steps without a trusted frame are left out.

        Repeated and extra frames serve no step, a swapped frame the one it shows.
        """
        serves = self.known.copy()
        serves[list(self.repeated + self.extra)] = False
        trusted = np.flatnonzero(serves)
        return dict(zip(self.step_index[trusted].tolist(), trusted.tolist(), strict=True))

    def times_s(
        self, time_ns: NDArray[np.int64] | None, frame_rate_hz: float
    ) -> NDArray[np.float64]:
        """Return when what each frame shows was seen, in seconds from step 0, ``(frames,)``.

        That is the frame's own stamp where it agrees with its step. A stamp that does not, as of a
        frame that changed places with another or one with a garbage stamp, says when the file was
        written to, not what was seen: then the time of the step is returned, by the straight line
        through all stamps that agree.

        Args:
            time_ns: the take's time stamps, ``(frames,)``, or ``None``.
            frame_rate_hz: the nominal rate.
        """
        line = self.step_times_s(self.step_index, time_ns, frame_rate_hz)
        stamped = self._stamped_s(time_ns)
        if stamped is None:
            return line
        _, start = self._line(stamped, frame_rate_hz)
        own = stamped - start
        off = np.abs(own - line) * frame_rate_hz
        late = ~(off < _LATE)
        late[list(self.repeated)] = True
        return np.asarray(np.where(late, line, own), dtype=np.float64)

    def step_times_s(
        self, steps: ArrayLike, time_ns: NDArray[np.int64] | None, frame_rate_hz: float
    ) -> NDArray[np.float64]:
        """Return when steps were, in seconds from step 0, by the straight line through all stamps.

        Args:
            steps: any steps, also between two, of any shape.
            time_ns: the take's time stamps, ``(frames,)``, or ``None``.
            frame_rate_hz: the nominal rate.
        """
        wanted = np.asarray(steps, dtype=np.float64)
        stamped = self._stamped_s(time_ns)
        beat_s = 1.0 / frame_rate_hz if stamped is None else self._line(stamped, frame_rate_hz)[0]
        return wanted * beat_s

    def _stamped_s(self, time_ns: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
        """Return stamps in seconds from their middle; ``None`` where they are of no use."""
        timed = self._timed()
        if time_ns is None or len(time_ns) != len(self.step_index) or timed.sum() < 2:
            return None
        stamps = np.asarray(time_ns, dtype=np.int64)
        origin = int(np.median(stamps[timed].astype(np.float64)))
        stamped = (stamps.astype(np.float64) - origin) / 1e9
        near = np.abs(stamped) < 1e7
        stamped[near] = (stamps[near] - origin) / 1e9  # exact
        return np.asarray(stamped)

    def _timed(self) -> NDArray[np.bool_]:
        """Return which frames' stamps should be those of the steps they show."""
        timed = self.known.copy()
        timed[list(self.repeated + self.swapped + self.extra)] = False
        return timed

    def _line(self, stamped: NDArray[np.float64], frame_rate_hz: float) -> tuple[float, float]:
        """Return seconds a step, and the time of step 0, of a line through all good stamps."""
        timed = self._timed()
        step, seen = self.step_index[timed].astype(np.float64), stamped[timed]
        between = np.diff(step)
        rates = np.diff(seen)[between > 0] / between[between > 0]
        slope = float(np.median(rates)) if len(rates) else 1.0 / frame_rate_hz
        start = float(np.median(seen - slope * step))
        # the clock's resolution may spoil that slope by a thousandth
        within = 2.0 + 1e-3 * len(self.step_index)
        for _ in range(2):
            good = np.abs(seen - start - slope * step) * frame_rate_hz < within
            if good.sum() < 2 or np.ptp(step[good]) == 0:
                break
            slope, start = (float(value) for value in np.polyfit(step[good], seen[good], 1))
            within = _LATE
        return slope, start


def identify(
    pictures: NDArray[np.float32],
    time_ns: NDArray[np.int64] | None,
    sequence: CaptureSequence,
    directions: NDArray[np.float64],
    appearance: NDArray[np.float32] | None = None,
) -> Identification:
    """Return which step each frame shows.

    Args:
        pictures: coarse pictures of all frames, ``(frames, rows, columns)``, as
            ``coarse_pictures`` or workers with ``coarse_from_rows`` make them.
        time_ns: time stamps, ``(frames,)``, or ``None``. Single ones may be garbage, the clock may
            run fast or slow by a tenth, and may jump.
        sequence: what the lights did.
        directions: unit vectors towards the lights, ``(lights, 3)``.
        appearance: what the subject looks like under each light and, last, under all of them, by
            an earlier take or a calibration, ``(lights + 1, rows, columns)``; without it, lights
            are told at first by a matt ball under them, then by the take itself.

    Raises:
        SequenceError: the take is too short, does not fit the sequence, or its phase cannot be
            told; the text says what was tried.
    """
    count = len(pictures)
    if count < sequence.frames_per_window:
        raise SequenceError(
            f"the take has {count} frames, one OLAT set of this sequence needs "
            f"{sequence.frames_per_window}."
        )
    lights = sequence.lights
    directions = np.asarray(directions, dtype=np.float64)[:lights]
    if appearance is not None and len(appearance) != lights + 1:
        raise SequenceError(
            f"the appearance given has {len(appearance)} pictures; {lights} lights need "
            f"{lights + 1}, the last under all of them."
        )
    if appearance is None:
        looks, prior = pictures_of_a_ball(directions), None
    else:
        looks = appearance[:-1], appearance[-1]
        prior = look_features(*looks)
    beat = find_beat(time_ns, count, sequence.frame_rate_hz)
    sure = np.full(count, 50.0)
    if beat.loose[1:].any():
        beat, sure = settle(pictures, beat, sequence, directions, looks)
    residue, alike = tracking_residue(pictures, beat.place, beat.in_slot, sequence.period)
    looked_at = pictures, beat.place, beat.in_slot, residue, sequence, looks
    phase = find_phase(*looked_at, counted=not beat.stamped)
    judge = Judge(pictures, beat, phase.offset, sequence, directions, prior)
    found = judge.judge()
    found.known &= sure > _LEAST_LEAD
    inside = found.step >= 0
    contradicting = _contradicting(found, inside)
    if contradicting > _MOST_CONTRADICTING:
        raise SequenceError(
            f"the take does not fit the sequence: {contradicting:.0%} of its frames contradict it "
            f"(tracking frames are alike to {alike:.0%}). Check lights, olat_per_tracking and "
            f"frame_rate_hz in sequence.json."
        )
    faults = judge.light_faults(found)
    confidence = np.minimum(found.confidence, 1.0 / (1.0 + np.exp(-np.minimum(sure, 50.0))))
    return Identification(
        step_index=found.step,
        known=found.known,
        dropped=_dropped(found, inside),
        method=phase.method,
        margin=phase.margin,
        warnings=(*beat.warnings, *phase.warnings, *_remarks(beat, found, faults)),
        confidence=np.where(found.known, confidence, 0.0),
        repeated=tuple(sorted(found.repeated)),
        swapped=tuple(sorted(found.swapped)),
        extra=tuple(sorted(found.extra)),
        dark_lights=faults.dark,
        dim_lights=faults.dim,
        stuck_lights=faults.stuck,
    )


def _contradicting(found: Verdicts, inside: NDArray[np.bool_]) -> float:
    wrong = ~found.known & inside
    wrong[found.extra] = False
    return float(wrong[inside].mean()) if inside.any() else 1.0


def _dropped(found: Verdicts, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    serves = found.known & inside
    serves[found.repeated + found.extra] = False
    shown = found.step[serves]
    everything = found.step[inside]
    steps = np.arange(int(everything.min()), int(everything.max()) + 1)
    return np.asarray(steps[~np.isin(steps, shown)], dtype=np.int64)


def _remarks(beat: Beat, found: Verdicts, faults: LightFaults) -> list[str]:
    counts = (
        (len(found.repeated), "frames repeat the one before them"),
        (len(found.swapped), "frames are out of order"),
        (len(found.extra), "frames have no place in the sequence (false triggers?)"),
    )
    remarks = [f"{count} {what}" for count, what in counts if count]
    lights = (
        (faults.dark, "dark"),
        (faults.dim, "dim"),
        (faults.stuck, "always on"),
    )
    for numbers, what in lights:
        if numbers:
            remarks.append(f"lights {', '.join(str(number) for number in numbers)} are {what}")
    if faults.always_on and not faults.stuck:
        remarks.append("something is always on: frames that should be dark are lit")
    if not beat.stamped:
        unknown = float(1.0 - found.known.mean())
        remarks.append(f"placed by the pictures alone; {unknown:.1%} of the frames cannot be told")
    return remarks
