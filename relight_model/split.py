"""Splits of a take: training and held-out sets, apart in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError


class TooShortError(InputError):
    """A take has too few sets to hold some of them out."""


class Split(NamedTuple):
    """Indices of sets, each ``(n,)``, in order of time."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def split_by_time(
    time_s: NDArray[np.float64], held_out_share: float = 0.2, gap_s: float = 0.112
) -> Split:
    """Hold out the end of a take.

    Neighbouring sets share OLAT frames, so sets are never split at random, and those within
    ``gap_s`` before the held-out part are used by neither.

    Args:
        time_s: each set's time, rising, ``(sets,)``.
        held_out_share: share of the take's duration to hold out, in (0, 1).
        gap_s: a window's duration, 0.112 s for the paper's sequence.

    Raises:
        InputError: the share is out of range.
        TooShortError: a part would be empty.
    """
    if not 0 < held_out_share < 1:
        raise InputError(f"the held-out share must be between 0 and 1, not {held_out_share:g}.")
    start, end = float(time_s[0]), float(time_s[-1])
    border = end - (end - start) * held_out_share
    held_out = np.flatnonzero(time_s >= border)
    train = np.flatnonzero(time_s < border - gap_s)
    if len(train) == 0 or len(held_out) == 0:
        raise TooShortError(
            f"a take of {len(time_s)} sets over {end - start:.3g} s cannot be split: {len(train)} "
            f"sets would be left to train on, {len(held_out)} are held out."
        )
    return Split(train, held_out)
