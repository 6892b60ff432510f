"""What time stamps and pictures say, against made-up ones whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.capture.preflight import _sharpness
from lightstage.capture.record import summarise_stamps


def stamps(count=500, rate_hz=1000.0, ppm=0.0):
    return np.rint(np.arange(count) * 1e9 / rate_hz * (1 - ppm * 1e-6)).astype(np.int64) + 10**18


@given(st.floats(-200, 200))
def test_drift_is_found_to_a_few_ppm(ppm):
    assert summarise_stamps(stamps(ppm=ppm), 1000.0).drift_ppm == pytest.approx(ppm, abs=3)


@given(st.sets(st.integers(1, 497), min_size=1, max_size=20))
def test_every_gap_is_found_and_nothing_else(lost):
    kept = np.delete(np.arange(500), sorted(lost))
    summary = summarise_stamps(stamps()[kept], 1000.0)
    expected = [k for k in range(1, len(kept)) if kept[k] - kept[k - 1] > 1]
    assert summary.gaps == tuple(expected)
    assert summary.early == summary.backwards == ()
    assert summary.frames == len(kept)
    assert summary.drift_ppm == pytest.approx(0, abs=1)


@given(st.integers(2, 498))
def test_a_false_frame_comes_early_and_a_stamp_from_nowhere_goes_backwards(index):
    twice = np.insert(stamps(), index, stamps()[index - 1] + 400_000)
    assert index in summarise_stamps(twice, 1000.0).early
    garbage = stamps().copy()
    garbage[index] = 7
    assert summarise_stamps(garbage, 1000.0).backwards == (index,)


def test_the_frame_rate_is_the_camera_clocks():
    summary = summarise_stamps(stamps(rate_hz=500.0), 1000.0)
    assert summary.frame_rate_hz == pytest.approx(500.0)
    assert summarise_stamps(stamps(1), 1000.0).frame_rate_hz == 0.0


def test_sharpness_falls_as_the_lens_leaves_focus_and_not_with_brightness():
    noise = np.random.default_rng(0).random((200, 200))
    scene = np.clip(cv2.GaussianBlur(noise, (0, 0), 2.0) * 600 - 200, 10, 240)
    blurred = [_sharpness(cv2.GaussianBlur(scene, (0, 0), s), 0.0) for s in (0.1, 1, 2, 4, 8)]
    assert blurred == sorted(blurred, reverse=True)
    assert _sharpness(scene * 0.5, 0.0) == pytest.approx(_sharpness(scene, 0.0))
