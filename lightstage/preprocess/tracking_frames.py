"""Tracking frames that can be trusted, and frames that are the same as the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.appearance import Ints

#: A tracking frame differs from one of those around it by less than this share, or a few times
#: what is usual in the take.
_TRACKING_CHANGE = 0.2
#: One that differs from both neighbours so much more than they from each other is none, and
#: by at least this share, or what is usual.
_APART, _LEAST_APART = 1.3, 0.02


def alike_over_time(
    pictures: NDArray[np.float32], tracking: NDArray[np.intp], place: Ints
) -> NDArray[np.bool_]:
    """Return which tracking frames are like those around them."""
    if len(tracking) < 2:
        return np.ones(len(tracking), dtype=bool)
    order = np.argsort(place[tracking], kind="stable")
    shown = pictures[tracking][order].reshape(len(tracking), -1)
    level = shown.mean(axis=1)
    usual_level = float(np.median(level))
    least = np.full(len(shown), np.inf)
    when = place[tracking][order]
    near: NDArray[np.bool_] = np.zeros(len(shown), dtype=bool)
    beside = np.full((2, len(shown)), np.inf)  # change to the tracking frame before, and after
    across = np.full(len(shown), np.inf)  # change between those
    for apart in (1, 2):
        if len(shown) <= apart:
            break
        a, b = shown[:-apart], shown[apart:]
        gain = level[:-apart] / np.maximum(level[apart:], 1e-9)
        change = np.abs(a - b * np.clip(gain, 0.9, 1.1)[:, None]).mean(axis=1)
        change = change / max(usual_level, 1e-9)
        interval = when[apart:] - when[:-apart]
        close = interval <= 2 * apart * _usual_step(when)
        near[:-apart] |= close
        near[apart:] |= close
        if apart == 1:
            beside[0, 1:], beside[1, :-1] = change, change
        else:
            across[1:-1] = np.where(close, change, np.inf)
        least[:-apart] = np.minimum(least[:-apart], change)
        least[apart:] = np.minimum(least[apart:], change)
    usual = float(np.median(least))
    bright = (level > 0.5 * usual_level) & (level < 2.0 * usual_level)
    good = np.empty(len(shown), dtype=bool)
    # across a gap the performer may have moved by any amount
    limit = np.where(near, max(_TRACKING_CHANGE, 4.0 * usual), 2.5 * _TRACKING_CHANGE)
    # those before and after are like each other, this one is like neither
    between = beside.min(axis=0) > _APART * across + max(_LEAST_APART, usual)
    good[order] = bright & (least < limit) & ~between
    return good


def _usual_step(when: Ints) -> float:
    return max(1.0, float(np.median(np.diff(when))))


def same_as_before(pictures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which frames are to the last bit the frame before, and not plain."""
    same = np.zeros(len(pictures), dtype=bool)
    equal = (pictures[1:] == pictures[:-1]).all(axis=(1, 2))
    plain = pictures[1:].max(axis=(1, 2)) == pictures[1:].min(axis=(1, 2))
    same[1:] = equal & ~plain
    return same
