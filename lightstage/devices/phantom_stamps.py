"""From a Phantom's time records to when each exposure began, and which of them cannot be true."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from firmware_protocols.phantom import ProtocolError, parse_time_stamp, utc_ns
from lightstage.devices.interfaces import Recording
from lightstage.errors import DeviceError

#: A stamp this far from the trigger is garbage: no memory holds so much.
_FAR_NS = 24 * 3600 * 1_000_000_000
_log = logging.getLogger(__name__)


def exposure_times(
    address: str, recording: Recording, blocks: Iterable[memoryview], per_block: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return exposure starts (UTC, ns since 1970) and exposures (ns), one for every frame.

    A start that cannot be true is 0, and the log names its frame: no time of any year, more than a
    day from the trigger, or out of order among its neighbours.

    Args:
        address: the camera's, for errors.
        recording: whose frames the records are of.
        blocks: ``per_block`` records each; the last may have fewer.
        per_block: records to a block.

    Raises:
        DeviceError: fewer than half of the stamps can be true.
    """
    count = recording.frame_count
    # without a clock in the camera the year is this computer's
    near_ns = recording.trigger_time_ns or time.time_ns()
    starts, exposures = np.zeros(count, np.int64), np.zeros(count, np.int64)
    index = 0
    for block in blocks:
        size = len(block) // min(per_block, count - index)
        for offset in range(0, len(block), size):
            starts[index], exposures[index] = _start_and_exposure(
                block[offset : offset + size], near_ns
            )
            index += 1
    true = _longest_rise(starts)
    starts[~true] = 0
    wrong = np.flatnonzero(~true)
    if 2 * len(wrong) > count:
        raise DeviceError(
            f"{address}: {len(wrong)} of {count} time stamps cannot be true. Check the camera's "
            "clock."
        )
    if len(wrong):
        frames = ", ".join(str(recording.first_frame_number + place) for place in wrong[:10])
        more = ", …" if len(wrong) > 10 else ""
        text = f"{address}: the time stamps of {len(wrong)} frames cannot be true: {frames}{more}"
        _log.warning("%s", text)
    return starts, exposures


def _start_and_exposure(record: memoryview, near_ns: int) -> tuple[int, int]:
    """Return when an exposure began, 0 if its record cannot be true, and how long it was."""
    try:
        stamp = parse_time_stamp(record)
    except ProtocolError:
        return 0, 0
    end_ns = utc_ns(stamp.since_year_ns, near_ns)
    # the camera stamps the end
    start_ns = end_ns - stamp.exposure_ns if abs(end_ns - near_ns) < _FAR_NS else 0
    return start_ns, stamp.exposure_ns


def _longest_rise(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the times that are not 0 belong to the longest rising sequence of them."""
    tails: list[int] = []  # the least last time of a sequence of each length
    tail_at: list[int] = []
    before = np.full(len(times), -1, np.int64)
    for index, moment in enumerate(times.tolist()):
        if moment == 0:
            continue
        length = bisect_left(tails, moment)
        if length:
            before[index] = tail_at[length - 1]
        if length == len(tails):
            tails.append(moment)
            tail_at.append(index)
        else:
            tails[length], tail_at[length] = moment, index
    chosen = np.zeros(len(times), np.bool_)
    index = tail_at[-1] if tail_at else -1
    while index >= 0:
        chosen[index] = True
        index = int(before[index])
    return chosen
