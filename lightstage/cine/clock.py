"""The camera's clocks: TIME64 stamps and 0.32 fixed-point exposures, as integer nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

SECOND_NS = 1_000_000_000
#: TIME64's low two bits are no time: bit 0 = IRIG not locked, bit 1 = event input open.
FLAGS = 3
#: The first second that TIME64's 32 bits cannot hold (the year 2106).
_END_NS = SECOND_NS << 32


def time_ns(time64: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return UTC nanoseconds since 1970 of TIME64 stamps; the flag bits do not count as time."""
    seconds = (time64 >> np.uint64(32)).astype(np.int64)
    fraction = (time64 & np.uint64(0xFFFFFFFF - FLAGS)).astype(np.int64)
    return seconds * SECOND_NS + ((fraction * SECOND_NS + (1 << 31)) >> 32)


def time64(nanoseconds: int) -> int:
    """Return the TIME64 of UTC nanoseconds since 1970, with both flags set as in real files.

    The steps of TIME64 without its flags are 0.93 ns: :func:`time_ns` gives back the same integer.

    Raises:
        InputError: the time is before 1970 or after 2106.
    """
    if not 0 <= nanoseconds < _END_NS:
        raise InputError(
            f"time_ns = {nanoseconds}: a .cine file holds times from 1970 to 2106, in nanoseconds "
            "since 1970."
        )
    seconds, rest = divmod(int(nanoseconds), SECOND_NS)
    quarters = ((rest << 30) + SECOND_NS // 2) // SECOND_NS
    return (seconds << 32) | (quarters << 2) | FLAGS


def exposure_ns(stored: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return nanoseconds of exposures stored as 0.32 fixed-point seconds."""
    return (stored.astype(np.int64) * SECOND_NS + (1 << 31)) >> 32


def exposure_fraction(nanoseconds: int) -> int:
    """Return the 0.32 fixed-point seconds of an exposure in nanoseconds.

    Raises:
        InputError: the exposure is negative or a second or longer.
    """
    if not 0 <= nanoseconds < SECOND_NS:
        raise InputError(
            f"exposure_ns = {nanoseconds}: a .cine file holds exposures from 0 to just under 1 s."
        )
    return ((int(nanoseconds) << 32) + SECOND_NS // 2) // SECOND_NS


def as_integer(value: Any, name: str) -> int:
    """Return ``value`` (any integer type) as an int, or raise InputError naming it."""
    try:
        return int(value.__index__())
    except (AttributeError, TypeError):
        raise InputError(f"{name} = {value!r}: an integer is expected.") from None
