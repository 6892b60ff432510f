"""Figures of a recording against what was put into it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage import CaptureSequence
from lightstage.preprocess.identify import Identification
from lightstage.report.recording_figures import (
    exposure_figures,
    frame_figures,
    timing_figures,
)
from lightstage.sequence import StepKind

SEQUENCE = CaptureSequence(lights=12)
FIRST_NUMBER = -40


def identified(steps, *, unknown=(), repeated=(), swapped=(), extra=()):
    steps = np.asarray(steps, np.int64)
    known = np.ones(len(steps), bool)
    known[list(unknown)] = False
    serves = known.copy()
    serves[list(repeated) + list(extra)] = False
    everything = np.arange(steps.min(), steps.max() + 1)
    return Identification(
        step_index=steps,
        known=known,
        dropped=everything[~np.isin(everything, steps[serves])],
        method="the test",
        margin=1.0,
        confidence=known.astype(float),
        repeated=tuple(repeated),
        swapped=tuple(swapped),
        extra=tuple(extra),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    jitter_us=st.floats(0.05, 30.0),
    drift_ppm=st.floats(-200.0, 200.0),
    lost=st.floats(0.0, 0.1),
)
@settings(max_examples=40)
def test_jitter_is_the_deviation_from_the_line_through_all_stamps(seed, jitter_us, drift_ppm, lost):
    rng = np.random.default_rng(seed)
    steps = np.flatnonzero(rng.random(600) >= lost)
    noise_us = rng.normal(0.0, jitter_us, len(steps))
    beat_us = steps * 1000.0 / (1 + 1e-6 * drift_ppm)
    stamps = 1_700_000_000_000_000_000 + np.rint((beat_us + noise_us) * 1e3).astype(np.int64)
    timing = timing_figures(identified(steps), stamps, SEQUENCE, FIRST_NUMBER)
    # least squares, of what was added alone
    expected = noise_us - np.polyval(np.polyfit(steps, noise_us, 1), steps)
    assert np.allclose(timing.deviation_us, expected, atol=0.01)
    assert timing.jitter_us == pytest.approx(expected.std(), abs=0.005)
    assert timing.worst_us == pytest.approx(np.abs(expected).max(), abs=0.02)
    assert timing.off_beat == ()
    assert timing.drift_ppm == pytest.approx(drift_ppm, abs=1.0 + 2.0 * jitter_us)


def test_garbage_stamps_are_named_and_are_no_jitter():
    stamps = np.arange(200, dtype=np.int64) * 1_000_000 + 10**18
    stamps[[50, 90]] += 3_700_000
    timing = timing_figures(identified(np.arange(200)), stamps, SEQUENCE, FIRST_NUMBER)
    assert timing.off_beat == (50 + FIRST_NUMBER, 90 + FIRST_NUMBER)
    assert timing.jitter_us < 1e-3


def test_frames_that_are_not_what_their_place_says_have_no_deviation():
    steps = np.arange(100)
    found = identified(steps, unknown=[10], repeated=[20], swapped=[30, 31], extra=[40])
    stamps = np.arange(100, dtype=np.int64) * 1_000_000 + 10**18
    stamps[[10, 20, 30, 31, 40]] += 300_000
    timing = timing_figures(found, stamps, SEQUENCE, 0)
    assert np.flatnonzero(np.isnan(timing.deviation_us)).tolist() == [10, 20, 30, 31, 40]
    assert timing.jitter_us < 1e-3


def test_without_stamps_there_is_no_timing():
    assert timing_figures(identified(np.arange(100)), None, SEQUENCE, 0) is None


def test_lost_steps_are_told_with_their_lights_and_the_frame_before():
    lost = [15, 30, 31, 32, 33, 34, 35, 36]
    steps = np.array([step for step in range(60) if step not in lost])
    figures = frame_figures(identified(steps), SEQUENCE, FIRST_NUMBER)
    assert figures.dropped_steps == lost
    first, second = figures.lost
    assert (first.first, first.last, first.count) == (15, 15, 1)
    assert (second.first, second.last, second.count) == (30, 36, 7)
    assert first.after_frame == 14 + FIRST_NUMBER
    assert second.after_frame == 28 + FIRST_NUMBER  # step 29 is frame 28, one was lost before it
    shown = [SEQUENCE.step(step) for step in range(30, 37)]
    assert second.lights == tuple(step.light for step in shown if step.light >= 0)
    assert second.tracking == sum(step.kind is StepKind.TRACKING for step in shown) == 1


def test_frames_are_named_by_the_cameras_numbers():
    found = identified(np.arange(50), unknown=[9], repeated=[4], swapped=[6, 7], extra=[8])
    figures = frame_figures(found, SEQUENCE, FIRST_NUMBER)
    assert figures.unknown == (9 + FIRST_NUMBER,)
    assert figures.repeated == (4 + FIRST_NUMBER,)
    assert figures.swapped == (6 + FIRST_NUMBER, 7 + FIRST_NUMBER)
    assert figures.extra == (8 + FIRST_NUMBER,)


class Frames:
    """Frames with values that are known: what exposure is measured on."""

    width, height = 8, 6
    black_level, white_level = 64.0, 1023.0
    first_frame_number = FIRST_NUMBER

    def __init__(self, count, cfa="RGGB", seed=0):
        rng = np.random.default_rng(seed)
        self.frames = rng.integers(40, 1100, (count, self.height, self.width)).astype(np.uint16)
        self.cfa = cfa

    def __getitem__(self, index):
        return self.frames[index]


@pytest.mark.parametrize("kind", [StepKind.OLAT, StepKind.TRACKING])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", "GRAY"])
def test_exposure_counts_what_the_sensor_stored(kind, cfa):
    frames = Frames(90, cfa)
    found = identified(np.arange(90), unknown=[13])
    figures = exposure_figures(frames, found, SEQUENCE, kind)
    chosen = [
        step
        for step in range(len(SEQUENCE.preamble), 90)
        if SEQUENCE.step(step).kind is kind and step != 13
    ]
    assert figures.frames == len(chosen)
    values = frames.frames[chosen]
    assert figures.saturated == pytest.approx((values >= 1023).mean())
    assert figures.black == pytest.approx((values <= 64).mean())
    worst, share = figures.most_saturated
    shares = (values >= 1023).mean(axis=(1, 2))
    assert share == pytest.approx(shares.max())
    assert shares[chosen.index(worst - FIRST_NUMBER)] == shares.max()
    scaled = np.clip((values.astype(float) - 64) / (1023 - 64), -0.05, 1.05)
    for name, letter in (("red", "R"), ("green", "G"), ("blue", "B"), ("gray", "-")):
        if name == "gray" or cfa == "GRAY":
            mask = np.full((2, 2), name == "gray" and cfa == "GRAY")
        else:
            mask = np.array([[c == letter for c in cfa[:2]], [c == letter for c in cfa[2:]]])
        tiled = np.tile(mask, (3, 4))
        if not tiled.any():
            assert name not in figures.counts
            continue
        held, _ = np.histogram(scaled[:, tiled], figures.edges)
        assert np.allclose(figures.counts[name], held / held.sum())


def test_without_a_frame_of_a_kind_there_is_no_exposure():
    found = identified(np.arange(12), unknown=range(12))
    assert exposure_figures(Frames(12), found, SEQUENCE, StepKind.TRACKING) is None
