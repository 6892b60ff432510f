"""The phase: which step of the sequence the frames of a take begin with.

Tracking frames look alike where OLAT frames change: that tells the phase within the period. Which
group comes first is told by the preamble where there is one, and by appearance: a light from the
right lights the right side, one from behind lights nothing the camera sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SequenceError
from lightstage.preprocess.coarse import COARSE_SHAPE
from lightstage.sequence import CaptureSequence, StepKind

#: A phase is believed when its score is ahead of the next best by this (scores are correlations).
CLEAR_MARGIN = 0.05
#: A tracking frame's picture differs from one nearby by less than this share.
_ALIKE = 0.35
#: So many frames of a preamble must be as it says and not as the cycle would have it.
_LEAST_SURPRISES = 3


#: What something looks like under each light, ``(lights, rows, columns)``, and under all of them.
Looks = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Phase:
    """Where a take begins in its sequence.

    Attributes:
        offset: what to add to a frame's place to get its step.
        method: what that rests on, in words.
        margin: by how much it is ahead of the next best, 0 to 1.
        warnings: what a person should know.
    """

    offset: int
    method: str
    margin: float
    warnings: tuple[str, ...] = ()


def tracking_residue(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    period: int,
) -> tuple[int, float]:
    """Return which place modulo the period holds the tracking frames, and how alike they are.

    Tracking frames a period apart differ only by the motion in between; OLAT frames a period apart
    show different lights.

    Raises:
        SequenceError: no place in the period is alike over time.
    """
    likeness = np.full(period, -1.0)
    for residue in range(period):
        members = pictures[trusted & (place % period == residue)]
        if len(members) < 3:
            continue
        change = np.abs(np.diff(members, axis=0)).mean(axis=(1, 2))
        level = (members[1:] + members[:-1]).mean(axis=(1, 2)) / 2.0
        likeness[residue] = 1.0 - np.median(change) / max(float(np.median(level)), 1e-4)
    best = int(likeness.argmax())
    others = np.delete(likeness, best)
    if period > 1 and likeness[best] - others.max() < CLEAR_MARGIN:
        raise SequenceError(
            f"no tracking frames are to be seen: no place in the period of {period} frames is much "
            f"more alike over time ({likeness[best]:.2f}) than the others ({others.max():.2f})."
        )
    return best, float(likeness[best])


def find_phase(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    residue: int,
    sequence: CaptureSequence,
    looks: Looks,
    *,
    counted: bool = False,
) -> Phase:
    """Return where the take begins.

    Args:
        pictures: coarse pictures, ``(frames, rows, columns)``.
        place: each frame's place in time.
        trusted: which frames' places are to be trusted.
        residue: place modulo the period of the tracking frames.
        sequence: what the lights did.
        looks: what something under the lights looks like, such as a ball.
        counted: whether places were found from the pictures, which may bend them to a preamble.

    Raises:
        SequenceError: the phase cannot be told, or preamble and pictures contradict each other.
    """
    scores = _appearance_scores(pictures, place, trusted, residue, sequence, looks)
    ranked = np.sort(scores)[::-1]
    margin = float(ranked[0] - ranked[1]) if len(ranked) > 1 else 1.0
    by_appearance = int(scores.argmax())
    # the group that ends with the first frame at `residue` is group `by_appearance`
    first_tracking = len(sequence.preamble) + by_appearance * sequence.period + sequence.period - 1
    offset = first_tracking - residue
    clear = margin >= CLEAR_MARGIN
    looked_at = pictures, place, trusted, residue, sequence
    end = _preamble_end(*looked_at, None, looks)
    if end is None and clear:
        end = _preamble_end(*looked_at, offset, looks, counted=counted)
    if end is not None:
        group = -(end + sequence.period - 1 - residue) // sequence.period % sequence.groups
        if by_appearance != group and clear:
            raise SequenceError(
                f"the preamble says that the take starts with group {group} of the cycle, the "
                f"pictures that it starts with group {by_appearance}: the light order or the "
                f"light directions are not those of the take."
            )
        method = "preamble, confirmed by appearance" if clear else "preamble"
        return Phase(len(sequence.preamble) - end, method, 1.0)
    if not clear:
        raise SequenceError(
            f"which light comes first cannot be told: no preamble was found, and the two likeliest "
            f"of {sequence.groups} phases look alike (scores {ranked[0]:.3f} and {ranked[1]:.3f}). "
            f"Check the light directions and the light order."
        )
    remarks = ("no preamble: the phase rests on the pictures alone",) if sequence.preamble else ()
    return Phase(offset, "appearance", margin, remarks)


def _appearance_scores(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    residue: int,
    sequence: CaptureSequence,
    looks: Looks,
) -> NDArray[np.float64]:
    """Return for each group how well the take fits if its first tracking frame ends that group.

    Compared are brightness and how far light leans to the right and to the top, for a matt ball
    and for the take, as correlations over all OLAT frames.
    """
    tracking = np.median(pictures[trusted & (place % sequence.period == residue)], axis=0)
    # frames and ball are both weighed by how much of the full-lit subject each cell holds
    expected = lean(*looks)
    observed = lean(pictures, tracking)
    in_cycle = (place - residue - 1) % sequence.cycle_frames
    cycle_lights = np.array([step.light for step in sequence.cycle])
    scores = np.empty(sequence.groups)
    candidates = trusted & (place > residue)
    for group in range(sequence.groups):
        # frame at residue + 1 begins group + 1
        shifted = (in_cycle + (group + 1) * sequence.period) % sequence.cycle_frames
        light = cycle_lights[shifted]
        used = candidates & (light >= 0)
        scores[group] = _mean_correlation(observed[used], expected[light[used]])
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
    weights = np.stack([np.ones_like(to_right), to_right, to_top]).reshape(3, -1) / (rows * columns)
    flat = pictures.reshape(len(pictures), -1)
    return np.asarray(flat @ weights.T.astype(np.float32), dtype=np.float64)


def lean_of_a_ball(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return :func:`lean` of a matt ball under each light, ``(lights, 3)``."""
    return lean(*pictures_of_a_ball(directions))


def pictures_of_a_ball(directions: NDArray[np.float64]) -> Looks:
    """Return coarse pictures of a matt ball under each light, and under all (not to scale)."""
    return _pictures_of_a_ball(np.asarray(directions, dtype=np.float64).tobytes())


@lru_cache(maxsize=8)
def _pictures_of_a_ball(buffer: bytes) -> Looks:
    directions = np.frombuffer(buffer, dtype=np.float64).reshape(-1, 3)
    rows, columns = COARSE_SHAPE
    y, x = np.mgrid[1 : -1 : rows * 1j, -1 : 1 : columns * 1j]
    depth_squared = 1.0 - x * x - y * y
    seen = depth_squared > 0
    normals = np.stack([x, y, np.sqrt(np.maximum(depth_squared, 0.0))], axis=-1)
    lit = np.maximum(np.einsum("yxc,lc->lyx", normals, directions), 0.0) * seen
    return lit.astype(np.float32), (normals[..., 2] * seen).astype(np.float32)


def _mean_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the mean over columns of the correlation of ``a`` with ``b``."""
    if len(a) < 2:
        return 0.0
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))
    return float(np.mean((a * b).sum(axis=0) / np.maximum(size, 1e-30)))


def _preamble_end(
    pictures: NDArray[np.float32],
    place: NDArray[np.int64],
    trusted: NDArray[np.bool_],
    residue: int,
    sequence: CaptureSequence,
    offset: int | None,
    looks: Looks,
    *,
    counted: bool = False,
) -> int | None:
    """Return the place of the first frame after the preamble, or ``None`` where there is none.

    Looked for among the places that fit the tracking frames found; where ``offset``, what to add
    to a place to get its step, is clear but for whole cycles, among those that fit it: then a
    preamble of which frames were lost will do. Without, only in the take's first quarter.
    """
    marks = np.array([kind == StepKind.TRACKING.value for kind in sequence.preamble], dtype=bool)
    length = len(marks)
    if length < 4 or marks.all() or not marks.any():
        return None
    level = pictures.mean(axis=(1, 2))
    is_tracking = trusted & (place % sequence.period == residue)
    usual = float(np.median(level[is_tracking]))
    darkest = min(float(level.min()), 0.5 * usual)
    shows = np.flatnonzero(is_tracking)
    frame_at = {int(p): k for k, p in enumerate(place) if trusted[k]}
    # where no preamble would be, which of its frames would be a surprise?
    cycle_light = np.array([step.light for step in sequence.cycle])
    cycle_tracking = np.array([step.kind is StepKind.TRACKING for step in sequence.cycle])
    level_of_light = lean(*looks)[:, 0]
    bright = (level_of_light > 0.25 * level_of_light.max())[cycle_light] & (cycle_light >= 0)
    tail = np.arange(-length, 0) % sequence.cycle_frames
    surprising = np.where(marks, ~cycle_tracking[tail], bright[tail] | cycle_tracking[tail])
    last = len(place) // 4 if offset is None else int(place.max())
    best: tuple[int, int] | None = None
    for end in _candidates(length, last, residue, sequence, offset):
        frames = [frame_at.get(end - length + k, -1) for k in range(length)]
        # as bright as tracking frames are nearby: the performer may leave the picture later
        after = shows[place[shows] >= end]
        after = after if len(after) > 2 else shows
        nearest = after[np.argsort(np.abs(place[after] - end), kind="stable")[:9]]
        usual = max(float(np.median(level[nearest])), 2.0 * darkest + 1e-9)
        share = (level[frames] - darkest) / (usual - darkest)
        bright = (share > 0.6) & (share < 1.6)
        shown = np.where(bright, _BRIGHT, np.where(share < 0.25, _DARK, _NEITHER))
        shown[np.array(frames) < 0] = _ABSENT
        tally = _Tally.of(shown, marks, surprising)
        if not (tally.whole if offset is None else tally.enough(counted)):
            continue
        # where no tracking frame is near, marks must be like each other
        near = bool((np.abs(place[shows] - end - 2 * sequence.period) <= 2 * sequence.period).any())
        others = [frame for frame, mark in zip(frames, marks, strict=True) if mark and frame >= 0]
        alike = np.concatenate([shows, [] if near else others]).astype(np.intp)
        for k in np.flatnonzero(shown == _BRIGHT).tolist():
            if not _is_like_one_of(pictures, frames[k], alike, place):
                shown[k] = _NEITHER
        tally = _Tally.of(shown, marks, surprising)
        enough = tally.whole if offset is None else tally.enough(counted)
        if enough and (best is None or tally.fits > best[0]):
            best = tally.fits, end
    return best[1] if best else None


#: What a frame of a preamble may show.
_DARK, _BRIGHT, _NEITHER, _ABSENT = range(4)


@dataclass(frozen=True)
class _Tally:
    """How many frames are as a preamble says, how many not, and how many surprise by that."""

    length: int
    fits: int
    misses: int
    surprises: int
    exchanged: int

    @classmethod
    def of(
        cls, shown: NDArray[np.int64], marks: NDArray[np.bool_], surprising: NDArray[np.bool_]
    ) -> _Tally:
        """Compare what frames show with what they should."""
        wanted = np.where(marks, _BRIGHT, _DARK)
        fit = shown == wanted
        wrong = ~fit & (shown < _NEITHER)
        turned = wrong[:-1] & wrong[1:] & (wanted[:-1] != wanted[1:])
        exchanged, k = 0, 0
        while k < len(turned):  # a frame changes places with one other
            exchanged += int(turned[k])
            k += 2 if turned[k] else 1
        fits = int(fit.sum()) + 2 * exchanged
        misses = int((shown != _ABSENT).sum()) - fits
        return cls(len(marks), fits, misses, int((fit & surprising).sum()), exchanged)

    @property
    def whole(self) -> bool:
        """Whether all frames are there and as they should be."""
        return self.fits == self.length and not self.exchanged

    def enough(self, counted: bool) -> bool:
        """Whether that is a preamble, where the phase but for whole cycles is known."""
        least = _LEAST_SURPRISES + (self.misses > 0) + 2 * counted
        return self.surprises >= least and self.fits >= 2 * self.misses


def _candidates(
    length: int, last: int, residue: int, sequence: CaptureSequence, offset: int | None
) -> range:
    """Return places at which the first group may begin."""
    spacing = sequence.period if offset is None else sequence.cycle_frames
    wanted = residue + 1 if offset is None else length - offset
    # a preamble of which the first frames were not recorded begins before place 0
    lowest = length if offset is None else 1
    first = lowest + (wanted - lowest) % spacing
    return range(first, max(first, last) + 1, spacing)


def _is_like_one_of(
    pictures: NDArray[np.float32],
    frame: int,
    others: NDArray[np.intp],
    place: NDArray[np.int64],
) -> bool:
    """Return whether a frame is like one of the nearest few others."""
    others = others[others != frame]
    nearest = others[np.argsort(np.abs(place[others] - place[frame]), kind="stable")[:5]]
    return any(_alike(pictures[frame], pictures[other]) < _ALIKE for other in nearest.tolist())


def _alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return by which share two pictures differ, each as bright as the other."""
    a, b = a / max(float(a.mean()), 1e-9), b / max(float(b.mean()), 1e-9)
    return float(np.abs(a - b).mean())
