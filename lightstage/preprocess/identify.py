"""Identify: which step of the sequence each frame of a take shows.

Time stamps give each frame its place on the beat (:mod:`beat`); without them frames are counted,
and dynamic programming finds where the count slips (:mod:`slips`). Tracking frames and either a
preamble or the pictures tell the phase (:mod:`phase`). Then each frame is compared with what its
step should look like by other frames of that light (:mod:`verdicts`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SequenceError
from lightstage.preprocess.beat import find_beat
from lightstage.preprocess.coarse import coarse_picture, coarse_pictures
from lightstage.preprocess.counting import settle
from lightstage.preprocess.phase import find_phase, lean, lean_of_a_ball, tracking_residue
from lightstage.preprocess.verdicts import Judge
from lightstage.sequence import CaptureSequence

__all__ = [
    "Identification",
    "coarse_picture",
    "coarse_pictures",
    "identify",
    "lean",
    "lean_of_a_ball",
]

#: A take is refused when more than this share of its frames contradict the sequence.
_MOST_CONTRADICTING = 0.2
#: A frame placed by counting is trusted when its place is ahead of others by this (logarithm).
_LEAST_LEAD = 3.0
_NO_FRAMES: tuple[int, ...] = ()


@dataclass(frozen=True)
class Identification:
    """What each frame of a take shows.

    Attributes:
        step_index: each frame's place in the sequence, as ``CaptureSequence.step`` counts.
        known: whether the frame can be trusted to show that step, ``(frames,)`` bool.
        dropped: steps between the first and the last frame that no frame shows.
        method: what the phase rests on, in words.
        margin: by how much the phase found is ahead of the next best, 0 to 1.
        warnings: what a person should know.
    """

    step_index: NDArray[np.int64]
    known: NDArray[np.bool_]
    dropped: NDArray[np.int64]
    method: str
    margin: float
    warnings: tuple[str, ...] = field(default=())
    confidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    repeated: tuple[int, ...] = _NO_FRAMES
    swapped: tuple[int, ...] = _NO_FRAMES
    extra: tuple[int, ...] = _NO_FRAMES

    def frame_of_step(self) -> dict[int, int]:
        """Return the frame that shows each step; steps without a trusted frame are left out."""
        serves = self.known.copy()
        serves[list(self.repeated + self.extra)] = False
        trusted = np.flatnonzero(serves)
        return dict(zip(self.step_index[trusted].tolist(), trusted.tolist(), strict=True))


def identify(
    pictures: NDArray[np.float32],
    time_ns: NDArray[np.int64] | None,
    sequence: CaptureSequence,
    directions: NDArray[np.float64],
) -> Identification:
    """Return which step each frame shows."""
    count = len(pictures)
    if count < sequence.frames_per_window:
        raise SequenceError(
            f"the take has {count} frames, one OLAT set of this sequence needs "
            f"{sequence.frames_per_window}."
        )
    beat = find_beat(time_ns, count, sequence.frame_rate_hz)
    sure = np.full(count, 50.0)
    if beat.loose[1:].any():
        beat, sure = settle(pictures, beat, sequence, directions)
    residue, alike = tracking_residue(pictures, beat.place, beat.in_slot, sequence.period)
    looked_at = pictures, beat.place, beat.in_slot, residue, sequence, directions
    phase = find_phase(*looked_at, counted=not beat.stamped)
    judge = Judge(pictures, beat, phase.offset, sequence, directions)
    found = judge.judge()
    found.known &= sure > _LEAST_LEAD
    found.confidence = np.minimum(found.confidence, np.where(found.known, _odds(sure), 0.0))
    inside = found.step >= 0
    lost = ~found.known & inside
    lost[found.extra] = False
    contradicting = float(lost[inside].mean()) if inside.any() else 1.0
    if contradicting > _MOST_CONTRADICTING:
        raise SequenceError(
            f"the take does not fit the sequence: {contradicting:.0%} of its frames contradict it "
            f"(tracking frames are alike to {alike:.0%}). Check lights, olat_per_tracking and "
            f"frame_rate_hz in sequence.json."
        )
    shown = found.step[found.known]
    place = found.step[inside]
    steps = np.arange(max(int(place.min()), 0), int(place.max()) + 1)
    dropped = steps[~np.isin(steps, shown)]
    return Identification(
        step_index=found.step,
        known=found.known,
        dropped=dropped,
        method=phase.method,
        margin=phase.margin,
        warnings=(*beat.warnings, *phase.warnings),
        confidence=found.confidence,
        repeated=tuple(sorted(found.repeated)),
        swapped=tuple(sorted(found.swapped)),
        extra=tuple(sorted(found.extra)),
    )


def _odds(lead: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(lead, -50.0, 50.0))))
