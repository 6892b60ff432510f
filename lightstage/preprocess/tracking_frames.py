"""Tracking frames that can be trusted, and frames that are the same as the one before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.appearance import Ints

#: A tracking frame differs from one of those around it by less than this share, or a few times
#: what is usual in the take.
_TRACKING_CHANGE = 0.2
#: A frame beside is the tracking frame if it differs from others by this much less, and the frame
#: in its place by at least that share.
_NEARER, _LEAST_APART = 0.5, 0.04


def alike_over_time(
    pictures: NDArray[np.float32], tracking: NDArray[np.intp], place: Ints
) -> NDArray[np.bool_]:
    """Return which tracking frames are like one of the four around them."""
    if len(tracking) < 2:
        return np.ones(len(tracking), dtype=bool)
    order = np.argsort(place[tracking], kind="stable")
    shown = pictures[tracking][order].reshape(len(tracking), -1)
    level = shown.mean(axis=1)
    usual_level = float(np.median(level))
    least = np.full(len(shown), np.inf)
    when = place[tracking][order]
    near: NDArray[np.bool_] = np.zeros(len(shown), dtype=bool)
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
        least[:-apart] = np.minimum(least[:-apart], change)
        least[apart:] = np.minimum(least[apart:], change)
    usual = float(np.median(least))
    bright = (level > 0.5 * usual_level) & (level < 2.0 * usual_level)
    good = np.empty(len(shown), dtype=bool)
    # across a gap the performer may have moved by any amount
    limit = np.where(near, max(_TRACKING_CHANGE, 4.0 * usual), 2.5 * _TRACKING_CHANGE)
    good[order] = bright & (least < limit)
    return good


def tracking_beside(
    pictures: NDArray[np.float32],
    tracking: NDArray[np.intp],
    place: Ints,
    in_slot: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return where a tracking frame changed places with the frame beside it, ``(frames - 1,)``.

    Entry ``i`` is of the frames ``i`` and ``i + 1``. A light from the front may look much like all
    lights; a tracking frame looks still more like the tracking frames around it.

    Args:
        pictures: coarse pictures, ``(frames, rows, columns)``.
        tracking: indices of the frames in whose places tracking frames belong.
        place: each frame's place in time.
        in_slot: which frames' places are to be trusted.
    """
    beside = np.zeros(max(0, len(pictures) - 1), dtype=bool)
    if len(tracking) < 3:
        return beside
    tracking = tracking[np.argsort(place[tracking], kind="stable")]
    level = pictures.mean(axis=(1, 2))
    usual = max(float(np.median(level[tracking])), 1e-9)
    bright = level > 0.5 * usual
    is_tracking = np.zeros(len(pictures), dtype=bool)
    is_tracking[tracking] = True
    usual_step = _usual_step(place[tracking])

    def change(frames: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far frames are off the likest tracking frame around their place."""
        least = np.full(len(frames), np.inf)
        for apart in (1, 2):
            early, late = tracking[:-apart], tracking[apart:]
            close = place[late] - place[early] <= 2 * apart * usual_step
            before = _change(pictures[frames[apart:]], pictures[early], usual)
            after = _change(pictures[frames[:-apart]], pictures[late], usual)
            before = np.where(close & bright[early], before, np.inf)
            after = np.where(close & bright[late], after, np.inf)
            least[apart:] = np.minimum(least[apart:], before)
            least[:-apart] = np.minimum(least[:-apart], after)
        return least

    own = change(tracking)
    for side in (-1, 1):
        other = np.clip(tracking + side, 0, len(pictures) - 1)
        there = in_slot[other] & ~is_tracking[other] & (place[other] == place[tracking] + side)
        theirs = change(other)
        turned = there & bright[other] & np.isfinite(own) & (own > _LEAST_APART)
        turned &= theirs < _NEARER * own
        beside[np.minimum(tracking, other)[turned]] = True
    return beside


def _change(a: NDArray[np.float32], b: NDArray[np.float32], level: float) -> NDArray[np.float64]:
    """Return by which share of ``level`` pictures differ, each nearly as bright as the other."""
    ratio = a.mean(axis=(1, 2)) / np.maximum(b.mean(axis=(1, 2)), 1e-9)
    gain = np.clip(ratio, 0.9, 1.1)[:, None, None].astype(np.float32)
    return np.asarray(np.abs(a - b * gain).mean(axis=(1, 2)) / level, dtype=np.float64)


def _usual_step(when: Ints) -> float:
    return max(1.0, float(np.median(np.diff(when))))


def same_as_before(pictures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which frames are to the last bit the frame before, and not plain."""
    same = np.zeros(len(pictures), dtype=bool)
    equal = (pictures[1:] == pictures[:-1]).all(axis=(1, 2))
    plain = pictures[1:].max(axis=(1, 2)) == pictures[1:].min(axis=(1, 2))
    same[1:] = equal & ~plain
    return same
