"""PH16 time stamps: the big-endian records of ``time``, and the trigger's seconds and fraction.

A record counts from the beginning of the year by the camera's clock, and stamps the **end** of an
exposure. Of a record's 8 bytes the first 4 are hundredths of a second, then come 2 of exposure in
microseconds and 2 of microseconds within the hundredth (bits 15 to 2), event (bit 1) and lock
(bit 0). 12-byte records add 2 bytes each of 32nds of a microsecond for exposure and stamp. Records
of 24 and 28 bytes are those of 8 and 12 followed by 16 bytes of other data (inferred), which is
left unread. Source: PH16 protocol 2.3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from firmware_protocols.phantom.errors import ProtocolError

RECORD_SIZES = (8, 12, 24, 28)
SECOND_NS = 1_000_000_000
#: Leap years have this many hundredths of a second.
_YEAR_HUNDREDTHS = 366 * 86400 * 100
_SHORT = struct.Struct(">IHH")
_LONG = struct.Struct(">IHHHH")


@dataclass(frozen=True)
class TimeStamp:
    """One record: nanoseconds from the year's beginning to the exposure's end, and the exposure.

    ``event`` and ``lock`` are the record's two lowest bits as they are.
    """

    since_year_ns: int
    exposure_ns: int
    event: bool = False
    lock: bool = False


def parse_time_stamp(record: bytes | memoryview) -> TimeStamp:
    """Return what a record of 8, 12, 24 or 28 bytes says.

    Raises:
        ProtocolError: another length, or a time that no year has.
    """
    size = len(record)
    if size not in RECORD_SIZES:
        raise ProtocolError(f"PH16: a time record has 8, 12, 24 or 28 bytes, not {size}.")
    exposure_32nds = fraction_32nds = 0
    if size in (12, 28):
        hundredths, exposure_us, fraction, exposure_32nds, fraction_32nds = _LONG.unpack_from(
            record
        )
    else:
        hundredths, exposure_us, fraction = _SHORT.unpack_from(record)
    within_us = fraction >> 2
    if hundredths >= _YEAR_HUNDREDTHS or within_us >= 10_000:
        raise ProtocolError(
            f"PH16: no year has a time of {hundredths} hundredths and {within_us} us."
        )
    if exposure_32nds >= 32 or fraction_32nds >= 32:
        raise ProtocolError(
            f"PH16: a microsecond has 32 parts, not {exposure_32nds} and {fraction_32nds}."
        )
    return TimeStamp(
        since_year_ns=hundredths * 10_000_000 + within_us * 1000 + _ns_of_32nds(fraction_32nds),
        exposure_ns=exposure_us * 1000 + _ns_of_32nds(exposure_32nds),
        event=bool(fraction & 2),
        lock=bool(fraction & 1),
    )


def format_time_stamp(stamp: TimeStamp, size: int = 12) -> bytes:
    """Return a record of ``size`` bytes, rounded to 1 us (8, 24) or 1/32 us (12, 28).

    Raises:
        ProtocolError: another size, a time beyond a year, an exposure of 65.5 ms or more.
    """
    if size not in RECORD_SIZES:
        raise ProtocolError(f"PH16: a time record has 8, 12, 24 or 28 bytes, not {size}.")
    unit = 32 if size in (12, 28) else 1
    time = (stamp.since_year_ns * unit + 500) // 1000
    exposure = (stamp.exposure_ns * unit + 500) // 1000
    hundredths, within = divmod(time, 10_000 * unit)
    if not (0 <= hundredths < _YEAR_HUNDREDTHS and 0 <= exposure < unit << 16):
        raise ProtocolError(f"PH16: no time record can hold {stamp}.")
    fraction = within // unit << 2 | stamp.event << 1 | stamp.lock
    if unit == 1:
        record = _SHORT.pack(hundredths, exposure, fraction)
    else:
        record = _LONG.pack(hundredths, exposure // 32, fraction, exposure % 32, within % 32)
    return record.ljust(size, b"\0")


def year_begins_ns(year: int) -> int:
    """Return UTC nanoseconds since 1970 of the first moment of ``year`` (1 to 9999)."""
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS


def since_year_ns(time_ns: int) -> int:
    """Return nanoseconds from the beginning of a UTC time's year to that time."""
    return time_ns - year_begins_ns(_year(time_ns))


def utc_ns(since_year: int, near_ns: int) -> int:
    """Return the UTC time that lies ``since_year`` ns into a year, as near as can be to another.

    A record tells no year: a take may begin in December and end in January, so the year is that
    which brings the stamp nearest to ``near_ns``, the trigger's time by the same clock.
    """
    year = _year(near_ns)
    times = (year_begins_ns(y) + since_year for y in (year - 1, year, year + 1))
    return min(times, key=lambda time: abs(time - near_ns))


def trigger_fields(time_ns: int) -> tuple[int, int]:
    """Return ``trigtime.secs`` and ``.frac`` of a UTC time: seconds, and 2^-32 s.

    The fraction's two lowest bits are flags and left 0, as in a .cine file's TIME64 (inferred).
    """
    seconds, rest = divmod(time_ns, SECOND_NS)
    return seconds, (((rest << 32) + SECOND_NS // 2) // SECOND_NS) & 0xFFFFFFFC


def trigger_ns(seconds: int, fraction: int) -> int:
    """Return the UTC time of ``trigtime``'s seconds and fraction; see :func:`trigger_fields`.

    Raises:
        ProtocolError: the seconds are beyond 32 bits, or the fraction is.
    """
    if not (0 <= seconds < 1 << 32 and 0 <= fraction < 1 << 32):
        raise ProtocolError(f"PH16: trigtime {seconds}, {fraction} does not fit 32 bits each.")
    return seconds * SECOND_NS + (((fraction & 0xFFFFFFFC) * SECOND_NS + (1 << 31)) >> 32)


def _year(time_ns: int) -> int:
    return datetime.fromtimestamp(time_ns // SECOND_NS, UTC).year


def _ns_of_32nds(parts: int) -> int:
    return (parts * 125 + 2) // 4
