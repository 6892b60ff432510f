"""Identify: which step of the sequence each frame of a take shows.

Time stamps tell how many periods lie between frames, so dropped frames leave known gaps. Tracking
frames look alike where OLAT frames change: that tells the phase within the period. Which group
comes first is told by the preamble where there is one, and by appearance: a light from the right
lights the right side, one from behind lights nothing the camera sees.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SequenceError
from lightstage.preprocess.source import FrameSource
from lightstage.sequence import CaptureSequence, StepKind

#: Coarse pictures on which frames are compared: rows and columns.
_COARSE = (12, 16)
#: A phase is believed when its score is ahead of the next best by this (scores are correlations).
_CLEAR_MARGIN = 0.05
#: A tracking frame's correlation with those around it is at least this.
_LEAST_LIKENESS = 0.8
#: A take is refused when more than this share of its frames contradict the sequence.
_MOST_CONTRADICTING = 0.2


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

    def frame_of_step(self) -> dict[int, int]:
        """Return the frame that shows each step; steps without a trusted frame are left out."""
        trusted = np.flatnonzero(self.known)
        return dict(zip(self.step_index[trusted].tolist(), trusted.tolist(), strict=True))


def coarse_pictures(source: FrameSource) -> NDArray[np.float32]:
    """Return a small gray picture of each frame, ``(frames, 12, 16)``, black level subtracted.

    Whole 2x2 cells of the colour filter are averaged, so the filter leaves no pattern.
    """
    frames = (source[index] for index in range(len(source)))
    levels = source.black_level, source.white_level
    pictures = [coarse_picture(frame, *levels) for frame in frames]
    return np.stack(pictures) if pictures else np.empty((0, *_COARSE), dtype=np.float32)


def coarse_picture(
    frame: NDArray[np.generic], black_level: float, white_level: float
) -> NDArray[np.float32]:
    """Return a small gray picture of a stored frame, ``(12, 16)``, 0 = black, 1 = white level."""
    rows, columns = _COARSE
    gray = np.ascontiguousarray(frame[..., 1] if frame.ndim == 3 else frame)
    small = cv2.resize(gray, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - black_level) / (white_level - black_level), dtype=np.float32)


def identify(
    pictures: NDArray[np.float32],
    time_ns: NDArray[np.int64] | None,
    sequence: CaptureSequence,
    directions: NDArray[np.float64],
) -> Identification:
    """Return which step each frame shows.

    Args:
        pictures: coarse pictures of all frames, ``(frames, rows, columns)``.
        time_ns: time stamps, ``(frames,)``, or ``None``.
        sequence: what the lights did.
        directions: unit vectors towards the lights, ``(lights, 3)``.

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
    place, known, warnings = _places_in_time(time_ns, count, sequence.frame_rate_hz)
    residue, alike = _tracking_residue(pictures, place, known, sequence.period)
    offset, method, margin, remarks = _find_offset(
        pictures, place, known, residue, sequence, directions
    )
    step_index = place + offset
    inside = step_index >= 0  # a camera that ran early has frames from before the sequence
    known = known & inside
    known = known & _agrees_with_tracking(pictures, np.maximum(step_index, 0), known, sequence)
    contradicting = 1.0 - known[inside].mean() if inside.any() else 1.0
    if contradicting > _MOST_CONTRADICTING:
        raise SequenceError(
            f"the take does not fit the sequence: {contradicting:.0%} of its frames contradict it "
            f"(tracking frames are alike to {alike:.0%}). Check lights, olat_per_tracking and "
            f"frame_rate_hz in sequence.json."
        )
    shown = set(step_index[known].tolist())
    first = max(int(step_index[0]), 0)
    dropped = [step for step in range(first, int(step_index[-1]) + 1) if step not in shown]
    return Identification(
        step_index=step_index,
        known=known,
        dropped=np.array(dropped, dtype=np.int64),
        method=method,
        margin=margin,
        warnings=(*warnings, *remarks),
    )


def _places_in_time(
    time_ns: NDArray[np.int64] | None, count: int, frame_rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[str]]:
    """Return each frame's place on the camera's beat (first frame 0), and whether it is known."""
    counted = np.arange(count, dtype=np.int64)
    known = np.ones(count, dtype=bool)
    if time_ns is None or len(time_ns) != count:
        return counted, known, ["no time stamps: frames are counted, drops cannot be seen"]
    steps_ns = np.diff(time_ns).astype(np.float64)
    beat_ns = float(np.median(steps_ns))
    nominal_ns = 1e9 / frame_rate_hz
    if not 0.9 < beat_ns / nominal_ns < 1.1:
        raise SequenceError(
            f"the take's frames are {beat_ns / 1e3:.4g} us apart, the sequence says "
            f"{nominal_ns / 1e3:.4g} us ({frame_rate_hz:g} fps); give the sequence it was made "
            f"with."
        )
    beats = np.rint(steps_ns / beat_ns).astype(np.int64)
    if (beats <= 0).any() or beats.sum() > 4 * count:
        wrong = int(np.flatnonzero((beats <= 0) | (beats > count))[0]) + 1
        return (
            counted,
            known,
            [f"the time stamp of frame {wrong} is garbage: frames are counted instead"],
        )
    place = np.concatenate([[0], np.cumsum(beats)])
    lost = int((beats - 1).sum())
    return place, known, [f"{lost} frames are missing by the time stamps"] if lost else []


def _tracking_residue(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    known: NDArray[np.bool_],
    period: int,
) -> tuple[int, float]:
    """Return which place modulo the period holds the tracking frames, and how alike they are.

    Tracking frames a period apart differ only by the motion in between; OLAT frames a period apart
    show different lights.
    """
    likeness = np.full(period, -1.0)
    for residue in range(period):
        members = pictures[known & (place % period == residue)]
        if len(members) < 3:
            continue
        change = np.abs(np.diff(members, axis=0)).mean(axis=(1, 2))
        level = (members[1:] + members[:-1]).mean(axis=(1, 2)) / 2.0
        likeness[residue] = 1.0 - np.median(change) / max(float(np.median(level)), 1e-4)
    best = int(likeness.argmax())
    others = np.delete(likeness, best)
    if period > 1 and likeness[best] - others.max() < _CLEAR_MARGIN:
        raise SequenceError(
            f"no tracking frames are to be seen: no place in the period of {period} frames is much "
            f"more alike over time ({likeness[best]:.2f}) than the others ({others.max():.2f})."
        )
    return best, float(likeness[best])


def _find_offset(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    known: NDArray[np.bool_],
    residue: int,
    sequence: CaptureSequence,
    directions: NDArray[np.float64],
) -> tuple[int, str, float, list[str]]:
    """Return what to add to a frame's place to get its step."""
    scores = _appearance_scores(pictures, place, known, residue, sequence, directions)
    ranked = np.sort(scores)[::-1]
    margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else 1.0
    by_appearance = int(scores.argmax())
    marked = _preamble_end(pictures, place, residue, sequence)
    if marked is not None:
        offset = len(sequence.preamble) - marked
        group = -(marked + sequence.period - 1 - residue) // sequence.period % sequence.groups
        if by_appearance != group and margin > _CLEAR_MARGIN:
            raise SequenceError(
                f"the preamble says that the take starts with group {group} of the cycle, the "
                f"pictures that it starts with group {by_appearance}: the light order or the "
                f"light directions are not those of the take."
            )
        return offset, "preamble, confirmed by appearance", 1.0, []
    remarks = ["no preamble: the phase rests on the pictures alone"] if sequence.preamble else []
    if margin < _CLEAR_MARGIN:
        raise SequenceError(
            f"which light comes first cannot be told: no preamble was found, and the two likeliest "
            f"of {sequence.groups} phases look alike (scores {ranked[0]:.3f} and {ranked[1]:.3f}). "
            f"Check the light directions and the light order."
        )
    # the group that ends with the first frame at `residue` is group `by_appearance`
    first_tracking = len(sequence.preamble) + by_appearance * sequence.period + sequence.period - 1
    return first_tracking - residue, "appearance", margin, remarks


def _appearance_scores(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    known: NDArray[np.bool_],
    residue: int,
    sequence: CaptureSequence,
    directions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return for each group how well the take fits if its first tracking frame ends that group.

    Compared are brightness and how far light leans to the right and to the top, for a matt ball
    and for the take, as correlations over all OLAT frames.
    """
    tracking = np.median(pictures[known & (place % sequence.period == residue)], axis=0)
    # frames and ball are both weighed by how much of the full-lit subject each cell holds
    expected = lean_of_a_ball(directions)
    observed = lean(pictures, tracking)
    in_cycle = (place - residue - 1) % sequence.cycle_frames
    cycle_lights = np.array([step.light for step in sequence.cycle])
    scores = np.empty(sequence.groups)
    for group in range(sequence.groups):
        # frame at residue + 1 begins group + 1
        shifted = (in_cycle + (group + 1) * sequence.period) % sequence.cycle_frames
        light = cycle_lights[shifted]
        used = known & (light >= 0) & (place > residue)
        per_feature = [_correlation(observed[used, k], expected[light[used], k]) for k in range(3)]
        scores[group] = np.mean(per_feature)
    return scores


def lean(pictures: NDArray[np.float32], tracking: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each picture's brightness, lean to the right and lean to the top, ``(n, 3)``."""
    rows, columns = tracking.shape
    y, x = np.mgrid[0:rows, 0:columns]
    weight = np.maximum(tracking, 0.0)
    weight = weight / max(float(weight.sum()), 1e-9)
    centre_x, centre_y = float((weight * x).sum()), float((weight * y).sum())
    width = max(float(np.sqrt((weight * (x - centre_x) ** 2).sum())), 1e-3)
    height = max(float(np.sqrt((weight * (y - centre_y) ** 2).sum())), 1e-3)
    to_right = np.clip((x - centre_x) / width, -2.0, 2.0)
    to_top = np.clip((centre_y - y) / height, -2.0, 2.0)
    bright = pictures.mean(axis=(1, 2))
    right = (pictures * to_right).mean(axis=(1, 2))
    top = (pictures * to_top).mean(axis=(1, 2))
    return np.stack([bright, right, top], axis=1)


def lean_of_a_ball(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return :func:`lean` of a matt ball under each light, ``(lights, 3)``."""
    rows, columns = _COARSE
    y, x = np.mgrid[1 : -1 : rows * 1j, -1 : 1 : columns * 1j]
    depth_squared = 1.0 - x * x - y * y
    seen = depth_squared > 0
    normals = np.stack([x, y, np.sqrt(np.maximum(depth_squared, 0.0))], axis=-1)
    lit = np.maximum(np.einsum("yxc,lc->lyx", normals, directions), 0.0) * seen
    return lean(lit.astype(np.float32), (normals[..., 2] * seen).astype(np.float32))


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def _preamble_end(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    residue: int,
    sequence: CaptureSequence,
) -> int | None:
    """Return the place of the first frame after the preamble, or ``None`` where there is none.

    Looked for among the places that fit the tracking frames found, in the take's first quarter.
    """
    marks = [kind == StepKind.TRACKING.value for kind in sequence.preamble]
    length = len(marks)
    if length < 4 or all(marks) or not any(marks):
        return None
    level = pictures.mean(axis=(1, 2))
    at_place = dict(zip(place.tolist(), level.tolist(), strict=True))
    tracking = float(np.median(level[place % sequence.period == residue]))
    for end in range(length, max(length + 1, len(place) // 4)):
        if (end + sequence.period - 1 - residue) % sequence.period:
            continue
        levels = [at_place.get(end - length + k) for k in range(length)]
        if any(value is None for value in levels):
            continue
        fits = [
            (0.6 * tracking < value < 1.6 * tracking) if mark else (value < 0.1 * tracking)
            for mark, value in zip(marks, levels, strict=True)
            if value is not None
        ]
        if all(fits):
            return end
    return None


def _agrees_with_tracking(
    pictures: NDArray[np.float32],
    step_index: NDArray[np.int64],
    known: NDArray[np.bool_],
    sequence: CaptureSequence,
) -> NDArray[np.bool_]:
    """Return which frames are as their step says: like a tracking frame, or dark, or neither.

    One OLAT frame cannot be told from another by this: that rests on its time.
    """
    kinds = np.array([sequence.step(int(step)).kind for step in step_index])
    agrees = np.ones(len(pictures), dtype=bool)
    level = pictures.mean(axis=(1, 2))
    tracking = np.flatnonzero((kinds == StepKind.TRACKING) & known)
    if len(tracking) < 3:
        return agrees
    usual_level = float(np.median(level[tracking]))
    for place, index in enumerate(tracking):
        around = tracking[max(0, place - 2) : place + 3]
        typical = np.median(pictures[around], axis=0)
        like = _correlation(pictures[index].ravel(), typical.ravel())
        same_level = 0.5 * usual_level < level[index] < 2.0 * usual_level
        agrees[index] = same_level and like > _LEAST_LIKENESS
    dark = kinds == StepKind.DARK
    agrees[dark] = level[dark] < 0.25 * usual_level
    return agrees
