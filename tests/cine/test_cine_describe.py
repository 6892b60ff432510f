"""What a technician is told of a recording: dropped frames, jitter, rates, warnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.cine import CameraSetup, CineFile, CineWriter
from lightstage.cine.describe import describe, iso_utc
from lightstage.cine.inspection import stamp_statistics
from tests.cine.cine_real_files import each_real_file
from tests.cine.cine_takes import PERIOD_NS, START_NS


def _described(path: Path, stamps: list[int], **options: Any) -> dict[str, Any]:
    exposures = options.pop("exposures", [None] * len(stamps))
    with CineWriter(
        path, width=16, height=8, frame_count=len(stamps), frame_rate_hz=1000, exposure_us=500,
        first_frame_number=-3, **options,
    ) as writer:  # fmt: skip
        for stamp, exposure in zip(stamps, exposures, strict=True):
            writer.write(np.zeros((8, 16), np.uint8), stamp, exposure)
    with CineFile(path) as cine:
        told = describe(cine)
    json.dumps(told, allow_nan=False)
    return told


def _steady(count: int) -> list[int]:
    return [START_NS + index * PERIOD_NS for index in range(count)]


def test_a_clean_take_has_nothing_to_warn_of(tmp_path: Path) -> None:
    setup = CameraSetup(lens_description="50 mm\x1b[31m", description="take one")
    told = _described(
        tmp_path / "a.cine", _steady(10), setup=setup, camera_model="Phantom v2512", serial=7
    )
    assert told["warnings"] == told["gaps"] == []
    assert (told["frames"], told["first_frame_number"], told["last_frame_number"]) == (10, -3, 6)
    assert told["frame_rate_measured_hz"] == told["frame_rate_hz"] == 1000
    assert told["duration_s"] == pytest.approx(0.01)
    assert (told["dropped_frames"], told["time_jitter_us"]) == (0, 0)
    assert (told["exposure_us"], told["exposure_measured_us"]) == (500, 500)
    assert told["trigger_time_utc"] == "2023-11-14T22:13:20.126456789Z"
    assert (told["camera_model"], told["camera_serial"]) == ("Phantom v2512", 7)
    assert told["comment"] == "take one"
    assert told["lens"] == "50 mm [31m"  # nothing in a file may steer the terminal


@given(st.sets(st.integers(3, 96), max_size=20), st.floats(0, 0.1))
def test_every_dropped_frame_is_counted(dropped: set[int], jitter: float) -> None:
    rng = np.random.default_rng(len(dropped))
    kept = [index for index in range(100) if index not in dropped]
    noise = rng.uniform(-jitter, jitter, len(kept))
    stamps = START_NS + ((np.array(kept) + noise) * PERIOD_NS).astype(np.int64)
    statistics = stamp_statistics(stamps)
    assert sum(missing for _, missing in statistics.gaps) == len(dropped)
    first_after = {index for index in kept if index - 1 in dropped}
    assert {kept[index] for index, _ in statistics.gaps} == first_after


def test_a_gap_is_reported_by_frame_number(tmp_path: Path) -> None:
    stamps = _steady(10)
    told = _described(tmp_path / "a.cine", stamps[:4] + stamps[6:])
    assert told["dropped_frames"] == 2
    assert told["gaps"] == [{"before_frame_number": 1, "missing": 2}]
    assert any("2 frames are missing" in warning for warning in told["warnings"])


@pytest.mark.parametrize("garbage", [0, START_NS + 10**18, START_NS - 10**15])
@pytest.mark.parametrize("index", [0, 4, 9])
def test_one_garbage_stamp_is_reported_and_no_frame_is_called_missing(
    tmp_path: Path, garbage: int, index: int
) -> None:
    stamps = _steady(10)
    stamps[index] = garbage
    told = _described(tmp_path / "a.cine", stamps)
    assert told["dropped_frames"] == 0
    assert told["frame_rate_measured_hz"] == 1000
    assert told["duration_s"] == pytest.approx(0.01)
    assert any("Time stamps" in warning for warning in told["warnings"])


def test_a_camera_triggered_too_fast_is_noticed(tmp_path: Path) -> None:
    told = _described(tmp_path / "a.cine", [START_NS + 2 * PERIOD_NS * i for i in range(10)])
    assert told["frame_rate_measured_hz"] == 500
    assert any("triggered too fast" in warning for warning in told["warnings"])


def test_an_exposure_that_differs_is_noticed(tmp_path: Path) -> None:
    exposures = [500_000, 500_100, 900_000]
    told = _described(tmp_path / "a.cine", _steady(3), exposures=exposures)
    assert told["exposure_range_us"] == [500, 900]
    assert any("image 2: 900 us" in warning for warning in told["warnings"])


def test_clocks_that_are_years_apart_are_noticed(tmp_path: Path) -> None:
    told = _described(tmp_path / "a.cine", _steady(3), trigger_time_ns=10**18)
    assert any("clock" in warning for warning in told["warnings"])


@each_real_file
def test_a_real_file_is_described(real: Path) -> None:
    with CineFile(real) as cine:
        told = describe(cine)
    json.dumps(told, allow_nan=False)
    assert told["camera_model"].startswith("Phantom")
    assert told["size_bytes"] == real.stat().st_size
    assert told["frame_rate_measured_hz"] == pytest.approx(told["frame_rate_hz"], rel=0.01)
    # Recorded exposures differ from the nominal ones by up to a few per cent.
    assert told["exposure_measured_us"] == pytest.approx(told["exposure_us"], rel=0.05)
    assert told["dropped_frames"] == 0


def test_times_are_printed_to_the_nanosecond() -> None:
    assert iso_utc(0) == "1970-01-01T00:00:00.000000000Z"
    assert iso_utc((1 << 32) * 10**9 - 1) == "2106-02-07T06:28:15.999999999Z"
