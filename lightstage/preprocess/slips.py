"""Slips: where counting frames loses its place, found by dynamic programming.

Without time stamps a lost frame shows only in that the frames after it show later steps. The state
is how far the step is ahead of the count; it mostly stays. What it may do at each frame: stay, move
up by frames lost, move down by one for a frame too many. The likeliest path (Viterbi) over all
frames is found, and how far each frame's best other state is behind it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.beat import Beat

#: What a slip costs, in logarithms of probability: one frame lost, two, one too many, any other.
_ONE_LOST, _TWO_LOST, _ONE_EXTRA, _ANY = 5.0, 6.5, 7.0, 10.0


def find_slips(
    fit: NDArray[np.float32], place: NDArray[np.int64], loose: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each frame's step of the cycle, and how much surer it is than any other.

    Args:
        fit: how well each frame shows each step, log likelihood, ``(frames, steps)``.
        place: each frame's place by stamps or by count, ``(frames,)``.
        loose: whether a slip may come before the frame, ``(frames,)``.

    Returns:
        The step of each frame in the cycle, ``(frames,)``, and by how much the best path through
        that step is ahead of the best path through another, ``(frames,)``, in logarithms.
    """
    count, states = fit.shape
    ahead = np.arange(states)
    by_state = np.take_along_axis(fit, (place[:, None] + ahead) % states, axis=1)
    forward, came_from = _sweep(by_state, loose, forwards=True)
    # the backward sweep holds frame i's own fit as well: it is counted once
    backward, _ = _sweep(by_state[::-1], np.roll(loose[::-1], 1), forwards=False)
    through = forward + backward[::-1] - by_state
    state = np.empty(count, dtype=np.int64)
    state[-1] = int(forward[-1].argmax())
    for index in range(count - 1, 0, -1):
        state[index - 1] = came_from[index, state[index]]
    chosen = np.take_along_axis(through, state[:, None], axis=1)[:, 0]
    rival = through.copy()
    np.put_along_axis(rival, state[:, None], -np.inf, axis=1)
    lead = chosen - rival.max(axis=1) if states > 1 else np.full(count, 50.0)
    return (place + state) % states, np.asarray(lead, dtype=np.float64)


def _sweep(
    by_state: NDArray[np.float32], loose: NDArray[np.bool_], *, forwards: bool
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    count, states = by_state.shape
    ahead = np.arange(states)
    sign = -1 if forwards else 1
    shifts = ((1, _ONE_LOST), (2, _TWO_LOST), (-1, _ONE_EXTRA))
    moves = [((ahead + sign * shift) % states, np.float32(cost)) for shift, cost in shifts]
    came_from = np.empty(by_state.shape, dtype=np.int16)
    score = np.empty_like(by_state)
    score[0], came_from[0] = by_state[0], ahead
    now = by_state[0].copy()
    stay = ahead.astype(np.int16)
    for index in range(1, count):
        if not loose[index]:
            now = now + by_state[index]
            came_from[index] = stay
            score[index] = now
            continue
        top = int(now.argmax())
        better, source = now, stay
        for order, cost in moves:
            moved = now[order] - cost
            wins = moved > better
            better, source = np.where(wins, moved, better), np.where(wins, order, source)
        far = now[top] - np.float32(_ANY)
        wins = far > better
        better, source = np.where(wins, far, better), np.where(wins, top, source)
        now = better + by_state[index]
        score[index], came_from[index] = now, source
    return score, came_from


def unwrapped(step: NDArray[np.int64], steps: int, beat: Beat) -> NDArray[np.int64]:
    """Return places whose remainders are ``step``, as near to those of ``beat`` as can be.

    Where the count may slip, less than a cycle is lost, or up to two frames are too many.
    """
    moved = np.diff(step) - np.diff(beat.place)
    # where it may not slip, the steps agree but for whole cycles
    slip = (moved + 2) % steps - 2
    placed = np.concatenate([[0], np.cumsum(np.diff(beat.place) + slip)])
    return np.asarray(placed + step[0], dtype=np.int64)
