"""Time records: exact to their resolution, and never a time that no year has."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocols.phantom import (
    ProtocolError,
    TimeStamp,
    format_time_stamp,
    parse_time_stamp,
    since_year_ns,
    trigger_fields,
    trigger_ns,
    utc_ns,
    year_begins_ns,
)

stamps = st.builds(
    TimeStamp,
    st.integers(0, 365 * 86400 * 10**9),
    st.integers(0, 65_000_000),
    st.booleans(),
    st.booleans(),
)
times = st.integers(0, 4_000_000_000 * 10**9)


@given(stamps, st.sampled_from([8, 12, 24, 28]))
def test_a_stamp_is_read_to_its_resolution(stamp: TimeStamp, size: int) -> None:
    record = format_time_stamp(stamp, size)
    read = parse_time_stamp(record)
    tolerance = 16 if size in (12, 28) else 500
    assert len(record) == size
    assert abs(read.since_year_ns - stamp.since_year_ns) <= tolerance
    assert abs(read.exposure_ns - stamp.exposure_ns) <= tolerance
    assert (read.event, read.lock) == (stamp.event, stamp.lock)
    assert format_time_stamp(read, size) == record


def test_a_record_by_hand() -> None:
    # 2 January, 00:00:01.23 and 4567 us and 3/32; exposure 700 us and 16/32
    record = struct.pack(">IHHHH", 86400 * 100 + 123, 700, 4567 << 2 | 1, 16, 3)
    assert parse_time_stamp(record) == TimeStamp(
        86400 * 10**9 + 1_234_567_000 + 94, 700_500, event=False, lock=True
    )


@pytest.mark.parametrize(
    "record", [b"", b"\0" * 7, b"\0" * 9, b"\xff" * 8, b"\xff" * 12, b"\xff" * 28,
               struct.pack(">IHH", 0, 0, 10_000 << 2), struct.pack(">IHHHH", 0, 0, 0, 32, 0)]
)  # fmt: skip
def test_garbage_is_refused(record: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_time_stamp(record)


@given(st.binary(min_size=12, max_size=12))
def test_any_record_is_a_time_or_an_error(record: bytes) -> None:
    try:
        stamp = parse_time_stamp(record)
    except ProtocolError:
        return
    assert 0 <= stamp.since_year_ns < 366 * 86400 * 10**9
    assert format_time_stamp(stamp) == record


@given(times, st.integers(-100 * 86400 * 10**9, 100 * 86400 * 10**9))
def test_the_year_is_found_from_a_time_within_months(time_ns: int, away_ns: int) -> None:
    near_ns = max(time_ns + away_ns, 0)
    assert utc_ns(since_year_ns(time_ns), near_ns) == time_ns


def test_years_begin_where_the_calendar_says() -> None:
    for year in (1970, 2000, 2024, 2026, 2100):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=year_begins_ns(year) // 10**9)
        assert moment == datetime(year, 1, 1, tzinfo=UTC)


@given(times)
def test_the_trigger_s_fraction_is_exact_to_a_nanosecond(time_ns: int) -> None:
    seconds, fraction = trigger_fields(time_ns)
    assert 0 <= fraction < 1 << 32
    assert fraction & 3 == 0
    assert abs(trigger_ns(seconds, fraction) - time_ns) <= 1
    assert trigger_ns(seconds, fraction | 3) == trigger_ns(seconds, fraction)
