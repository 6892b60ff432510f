"""The beat: each frame's place in time, from time stamps of which some may be garbage.

Only differences between neighbouring stamps count, so a camera clock that runs fast or slow does
no harm. Stamps that do not fit are set aside: their frames take the slot that is left for them, or
none. Where the clock itself jumps, counting goes on and the place is marked as a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SequenceError

#: What a clock that jumps costs, in frames whose stamps could be kept instead.
_BREAK_COST = 8.0
#: What a gap costs, times its logarithm: a lone stamp far away is garbage rather than a frame.
_GAP_COST = 0.4
#: A gap that long at the very end or beginning is looked at more closely.
_SHORT_GAP = 3
#: The beat is known to this share.
_DRIFT = 5e-5
#: A stamp that is this far off the beat, in beats, is not on it.
_WORST = 0.3
#: A stamp that is this many standard deviations off those around it is not that beat's own.
_OWN_BEAT = 5.5
#: and this share of a beat.
_LEAST_OFF = 0.03
#: Stamps are compared with those of so many frames before and after.
_AROUND = 8
#: With more pieces than this share of the frames, the stamps are of no use.
_MOST_PIECES = 0.5
#: Frames that change places with their stamps lie at most so many places off in the file.
_NEAR = 2
#: A garbage stamp's frame beside a longer gap is looked for this far into it.
_EITHER_SIDE = 4


@dataclass(frozen=True)
class Beat:
    """Each frame's place in time.

    Attributes:
        place: beats since the first frame, ``(frames,)``; a frame without a slot has the place of
            the one before it.
        in_slot: whether the frame has a slot of its own on the beat.
        possible: for frames without, the places they may have, likeliest first.
        between: frames without whose stamps lie between beats: false triggers, rather than frames
            with garbage stamps.
        lone: frames without that lie where just as many slots are free.
        loose: whether the step from the frame before may be any number of beats.
        stamped: whether places rest on time stamps.
        warnings: what a person should know.
    """

    place: NDArray[np.int64]
    in_slot: NDArray[np.bool_]
    loose: NDArray[np.bool_]
    stamped: bool
    warnings: tuple[str, ...] = ()
    possible: dict[int, tuple[int, ...]] = field(default_factory=dict)
    between: frozenset[int] = frozenset()
    lone: frozenset[int] = frozenset()


def find_beat(time_ns: NDArray[np.int64] | None, count: int, frame_rate_hz: float) -> Beat:
    """Return the place of each of ``count`` frames on the beat of ``frame_rate_hz``.

    Args:
        time_ns: time stamps, ``(count,)``, or ``None``.
        count: frames in the take.
        frame_rate_hz: the nominal rate.

    Raises:
        SequenceError: the stamps are more than a tenth off the nominal rate.
    """
    if time_ns is None or len(time_ns) != count or count < 2:
        return _counted(
            count, "no time stamps: frames are counted, drops show in the pictures only"
        )
    stamps = np.asarray(time_ns, dtype=np.int64)
    if stamps.dtype.kind == "i":
        base = int(np.median(stamps))
        # as floats relative to the middle: exact to the nanosecond for a hundred days
        time = np.array(stamps - base if _is_near(stamps, base) else stamps.astype(float) - base)
    step = np.diff(time.astype(np.float64))
    forward = step[step > 0]
    nominal = 1e9 / frame_rate_hz
    if len(forward) < 0.5 * len(step):
        return _counted(count, "the time stamps are garbage: frames are counted instead")
    beat = float(np.median(forward))
    if not 0.9 < beat / nominal < 1.1:
        raise SequenceError(
            f"the take's frames are {beat / 1e3:.4g} us apart, the sequence says "
            f"{nominal / 1e3:.4g} us ({frame_rate_hz:g} fps); give the sequence it was made "
            f"with."
        )
    return _linked(time.astype(np.float64) / beat, step / beat)


def _is_near(stamps: NDArray[np.int64], base: int) -> bool:
    lowest, highest = int(stamps.min()), int(stamps.max())
    return highest - base < 2**62 and base - lowest < 2**62


def _counted(count: int, warning: str) -> Beat:
    loose = np.ones(count, dtype=bool)
    return Beat(
        np.arange(count, dtype=np.int64), np.ones(count, dtype=bool), loose, False, (warning,)
    )


def _linked(time: NDArray[np.float64], step: NDArray[np.float64]) -> Beat:
    """Return places of frames at ``time``, in beats, ``step`` after each other."""
    count = len(time)
    regular = np.abs(step - 1.0) < 0.1
    if regular.any():  # the median is as coarse as the camera's clock
        exact = _exact_beat(time, regular)
        time, step = time / exact, step / exact
    whole = np.rint(step)
    error = np.abs(step - whole)
    jitter = float(np.median(error[regular])) if regular.any() else 0.0
    tolerance = min(0.25, max(0.02, 10.0 * jitter))
    longest = 4.0 * count
    fits = (
        (error <= np.minimum(tolerance + _DRIFT * whole, _WORST)) & (whole >= 0) & (whole < longest)
    )
    if fits.all() and max(whole[0], whole[-1]) <= _SHORT_GAP:
        place = np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)
        in_slot = np.concatenate([[True], whole > 0])
        loose = np.zeros(count, dtype=bool)
        off_beat, _ = _give_to_owners(time, place, in_slot, loose, tolerance)
        possible, lone = free_slots(place, in_slot)
        warnings = _lost(place[in_slot], len(off_beat), off_beat[:5].tolist())
        return Beat(place, in_slot, loose, True, warnings, possible, lone=lone)
    fits &= whole <= 1  # what lies across a gap may be garbage: other ways around it are tried
    starts = np.concatenate([[0], np.flatnonzero(~fits) + 1])
    if len(starts) > _MOST_PIECES * count:
        return _counted(count, "the time stamps are garbage: frames are counted instead")
    return _chained(time, np.where(fits, whole, 0.0), starts, tolerance, longest)


def _exact_beat(time: NDArray[np.float64], regular: NDArray[np.bool_]) -> float:
    """Return the slope of the parallel lines through all runs of regularly stamped frames."""
    run = np.concatenate([[0], np.cumsum(~regular)])
    count = np.bincount(run)
    begin = np.concatenate([[0], np.cumsum(count)[:-1]])
    beat = np.arange(len(time)) - begin[run]
    since = time - time[begin][run]
    beat = beat - (np.bincount(run, beat) / count)[run]
    since -= (np.bincount(run, since) / count)[run]
    return float((beat * since).sum() / (beat * beat).sum())


def _chained(
    time: NDArray[np.float64],
    whole: NDArray[np.float64],
    starts: NDArray[np.intp],
    tolerance: float,
    longest: float,
) -> Beat:
    """Return places where stamps fall into pieces: the likeliest chain of pieces is kept."""
    count = len(time)
    ends = np.concatenate([starts[1:], [count]]) - 1
    length = (ends - starts + 1).astype(np.float64)
    best, before = length.copy(), np.full(len(starts), -1)
    broken = np.zeros(len(starts), dtype=bool)
    for k in range(1, len(starts)):
        low = max(0, k - 256)
        gap = time[starts[k]] - time[ends[low:k]]
        beats = np.rint(gap)
        near = np.abs(gap - beats) <= np.minimum(tolerance + _DRIFT * beats, _WORST)
        joined = near & (beats >= 0) & (beats < longest)
        price = _GAP_COST * np.log(np.clip(beats, 1.0, longest))
        gain = best[low:k] - np.where(joined, price, _BREAK_COST)
        chosen = int(len(gain) - 1 - gain[::-1].argmax())
        if gain[chosen] > 0:
            best[k] += gain[chosen]
            before[k], broken[k] = low + chosen, not joined[chosen]
    chain = [int(best.argmax())]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    chain.reverse()
    place = np.full(count, -1, dtype=np.int64)
    anchored = np.zeros(count, dtype=bool)
    loose = np.zeros(count, dtype=bool)
    twice = np.zeros(count, dtype=bool)
    now = int(starts[chain[0]])  # frames before the first piece are counted back from it
    for k, previous in zip(chain, [None, *chain[:-1]], strict=True):
        begin, end = int(starts[k]), int(ends[k])
        if previous is not None:
            if broken[k]:
                now += begin - int(ends[previous])
                loose[begin] = True
            else:
                now += int(np.rint(time[begin] - time[ends[previous]]))
        place[begin : end + 1] = now + np.concatenate([[0], np.cumsum(whole[begin:end])])
        anchored[begin : end + 1] = True
        second = begin + 1 + np.flatnonzero(whole[begin:end] == 0)
        twice[second] = True
        if previous is not None and now == place[ends[previous]]:
            twice[begin] = True
        now = int(place[end])
    in_slot = anchored & ~twice
    off_beat, tolerance = _give_to_owners(time, place, in_slot, loose, tolerance)
    strays = np.union1d(np.flatnonzero(~anchored), off_beat)
    _take_free_slots(time, place, anchored, in_slot, tolerance, longest)
    between = frozenset(_between_beats(time, anchored, in_slot))
    possible, lone = free_slots(place, in_slot, between)
    lowest = int(place.min())
    place -= lowest
    possible = {f: tuple(p - lowest for p in places) for f, places in possible.items()}
    warnings = _lost(place[in_slot], len(strays), strays[:5].tolist())
    return Beat(place, in_slot, loose, True, warnings, possible, between, lone)


def _give_to_owners(
    time: NDArray[np.float64],
    place: NDArray[np.int64],
    in_slot: NDArray[np.bool_],
    loose: NDArray[np.bool_],
    tolerance: float,
) -> tuple[NDArray[np.intp], float]:
    """Take the slot from frames whose stamps only happen to lie near a beat.

    Returned are those frames, and by how much a stamp may be off its beat.

    A garbage stamp may be a whole number of beats off, nearly. Of two frames with one place, the
    one whose stamp agrees with those around it has the slot.
    """
    on_beat = np.flatnonzero(in_slot)
    if len(on_beat) < 2 * _AROUND:
        return np.zeros(0, dtype=np.intp), tolerance
    off, spread = _off_beat(time, place, on_beat, np.cumsum(loose))
    limit = max(_LEAST_OFF, _OWN_BEAT * spread)
    second = np.flatnonzero(~in_slot)
    second = second[(second > 0) & in_slot[second - 1] & (place[second] == place[second - 1])]
    for frame in second.tolist():
        rival = frame - 1
        if time[frame] == time[rival]:
            continue  # given twice: the first is the one that was taken then
        ours = abs(time[frame] - time[rival] + off[rival])
        if ours + spread < abs(off[rival]) and ours <= limit:
            in_slot[[rival, frame]] = False, True
    stray = np.flatnonzero(in_slot & (np.abs(off) > limit))
    in_slot[stray] = False
    return stray, min(limit, tolerance)


def _off_beat(
    time: NDArray[np.float64],
    place: NDArray[np.int64],
    on_beat: NDArray[np.intp],
    run: NDArray[np.int64],
) -> tuple[NDArray[np.float64], float]:
    """Return how far each frame on the beat is off those around it, in beats, and what is usual."""
    off = np.zeros(len(time))
    shift = time[on_beat] - place[on_beat]
    for number in np.unique(run[on_beat]).tolist():
        members = run[on_beat] == number
        own = shift[members]
        reach = min(_AROUND, (len(own) - 1) // 2)
        windows = np.lib.stride_tricks.sliding_window_view(own, 2 * reach + 1)
        middle = np.pad(np.median(windows, axis=1), reach, mode="edge")
        off[on_beat[members]] = own - middle
    return off, 1.4826 * float(np.median(np.abs(off[on_beat])))


def _between_beats(
    time: NDArray[np.float64], anchored: NDArray[np.bool_], in_slot: NDArray[np.bool_]
) -> list[int]:
    """Return strays whose stamps lie between those of the trusted frames around them."""
    anchors = np.flatnonzero(anchored)
    strays = np.flatnonzero(~anchored & ~in_slot)
    after = np.searchsorted(anchors, strays)
    inner = (after > 0) & (after < len(anchors))
    strays, after = strays[inner], after[inner]
    lies = (time[anchors[after - 1]] < time[strays]) & (time[strays] < time[anchors[after]])
    return [int(frame) for frame in strays[lies]]


def _take_free_slots(
    time: NDArray[np.float64],
    place: NDArray[np.int64],
    anchored: NDArray[np.bool_],
    in_slot: NDArray[np.bool_],
    tolerance: float,
    longest: float,
) -> None:
    """Put strays at the place of the frame before, or where their stamps are on the beat.

    They are on the beat where two frames changed places together with their stamps, and where a
    frame lies alone between gaps or beyond one.
    """
    anchors = np.flatnonzero(anchored)
    taken = set(place[anchored].tolist())
    for frame in np.flatnonzero(~anchored).tolist():
        after = int(np.searchsorted(anchors, frame))
        anchor = int(anchors[max(0, after - 1)])
        place[frame] = place[anchor] + min(0, frame - anchor)
        offset = time[frame] - time[anchor]
        if abs(offset) > longest or abs(offset - np.rint(offset)) > tolerance:
            continue
        wanted = int(place[anchor]) + round(offset)
        if wanted in taken:
            continue
        at_an_end = after in (0, len(anchors))
        if at_an_end and (wanted > place[anchor]) != (after > 0):
            continue
        between = not at_an_end and place[anchor] < wanted < place[anchors[after]]
        # a garbage stamp is seldom on the beat; far from where it lies in the file it may be
        following = place[anchor] if at_an_end else place[anchors[after]]
        near = place[anchor] - _NEAR <= wanted <= following + _NEAR
        if at_an_end or between or near:
            place[frame], in_slot[frame] = wanted, True
            taken.add(wanted)


def free_slots(
    place: NDArray[np.int64], in_slot: NDArray[np.bool_], between: frozenset[int] = frozenset()
) -> tuple[dict[int, tuple[int, ...]], frozenset[int]]:
    """Return for each frame without a slot the free ones around it, and which lie in order.

    Frames ``between`` beats may be false triggers: those lie in order only if all of them do.
    """
    slotless = np.flatnonzero(~in_slot)
    if not len(slotless):
        return {}, frozenset()
    false = np.zeros(len(place), dtype=bool)
    false[list(between)] = True
    slotted = np.flatnonzero(in_slot)
    taken = set(place[in_slot].tolist())
    possible: dict[int, tuple[int, ...]] = {}
    in_order: set[int] = set()
    for frame in slotless.tolist():
        at = int(np.searchsorted(slotted, frame))
        before = int(slotted[at - 1]) if at > 0 else -1
        after = int(slotted[at]) if at < len(slotted) else -1
        if before < 0:
            nearest = int(place[after]) - (after - frame)
            wanted = list(range(nearest, nearest - _EITHER_SIDE, -1))
        elif after < 0:
            nearest = int(place[before]) + (frame - before)
            wanted = list(range(nearest, nearest + _EITHER_SIDE))
        else:
            low, high = int(place[before]) + 1, int(place[after])
            mixed = 0 < int(false[before + 1 : after].sum()) < after - before - 1
            if high - low == after - before - 1 and not mixed:  # as many slots as frames: in order
                in_order.add(frame)
                wanted = [low + frame - before - 1]
            else:
                near = range(low, min(high, low + _EITHER_SIDE))
                wanted = [*near, *range(max(high - _EITHER_SIDE, near.stop), high)]
        free = tuple(p for p in wanted if p not in taken)
        possible[frame] = free
    return possible, frozenset(in_order)


def _lost(place: NDArray[np.int64], strays: int, named: list[int]) -> tuple[str, ...]:
    warnings = []
    if strays:
        names = ", ".join(str(frame) for frame in named) + (", …" if strays > len(named) else "")
        warnings.append(f"the time stamps of {strays} frames are garbage or off beat: {names}")
    lost = int(place.max() - place.min() + 1 - len(np.unique(place))) if len(place) else 0
    if lost > 0:
        warnings.append(f"{lost} frames are missing by the time stamps")
    return tuple(warnings)
