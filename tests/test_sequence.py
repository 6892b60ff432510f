"""The capture sequence: every window holds each light once, whatever the parameters."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage import CaptureSequence, Dome
from lightstage.errors import SequenceError
from lightstage.sequence import StepKind, golden_order

PREAMBLES = st.lists(st.sampled_from(["dark", "tracking"]), max_size=12).map(tuple)


@st.composite
def sequences(draw):
    lights = draw(st.integers(1, 40))
    return CaptureSequence(
        lights=lights,
        olat_per_tracking=draw(st.integers(1, 12)),
        frame_rate_hz=draw(st.sampled_from([24.0, 500.0, 1000.0, 1111.0])),
        light_order=tuple(draw(st.permutations(range(lights)))),
        preamble=draw(PREAMBLES),
    )


def test_the_papers_numbers():
    sequence = CaptureSequence()
    assert sequence.period == 7
    assert sequence.groups == 16
    assert sequence.cycle_frames == 112
    assert sequence.tracking_rate_hz == pytest.approx(142.857, abs=1e-3)
    assert sequence.frame_period_us == 1000.0


@given(sequences(), st.integers(0, 3))
def test_any_window_holds_each_light_exactly_once(sequence, extra_cycles):
    frame_count = len(sequence.preamble) + (2 + extra_cycles) * sequence.cycle_frames
    centres = sequence.possible_centres(frame_count)
    for centre in centres:
        window = sequence.window(int(centre))
        assert len(set(window.frames.tolist())) == sequence.lights
        for light, frame in enumerate(window.frames):
            assert sequence.step(int(frame)) == (StepKind.OLAT, light)
            assert window.tracking[0] < frame < window.tracking[-1]
        kinds = {sequence.step(int(frame)).kind for frame in window.tracking}
        assert kinds == {StepKind.TRACKING}
        assert window.tracking[-1] < frame_count
        assert centre in window.tracking


@given(sequences())
def test_any_consecutive_groups_of_a_cycle_hold_each_light_once(sequence):
    start = len(sequence.preamble)
    for group in range(sequence.groups):
        first = start + group * sequence.period
        steps = [sequence.step(first + k) for k in range(sequence.cycle_frames)]
        lights = [step.light for step in steps if step.kind is StepKind.OLAT]
        assert sorted(lights) == list(range(sequence.lights))
        assert sum(step.kind is StepKind.TRACKING for step in steps) == sequence.groups


@given(sequences(), st.integers(1, 8), st.floats(0.05, 1.0))
def test_a_take_of_the_length_asked_for_holds_the_sets_asked_for(sequence, sets, share):
    rate_hz = sequence.tracking_rate_hz * share
    windows = sequence.windows(rate_hz, sequence.frame_count_for(sets, rate_hz))
    assert sets <= len(windows) <= sets + math.ceil(1 / share)


@given(sequences(), st.floats(0.02, 1.0))
def test_each_output_time_gets_the_nearest_tracking_frame(sequence, share):
    rate_hz = sequence.tracking_rate_hz * share
    frame_count = len(sequence.preamble) + 4 * sequence.cycle_frames
    windows = sequence.windows(rate_hz, frame_count)
    half_interval_s = sequence.period / sequence.frame_rate_hz / 2
    for earlier, later in itertools.pairwise(windows):
        assert later.time_s - earlier.time_s == pytest.approx(1 / rate_hz)
        assert later.centre > earlier.centre
    for window in windows:
        centre_s = window.centre / sequence.frame_rate_hz
        assert abs(centre_s - window.time_s) <= half_interval_s * (1 + 1e-9)


@given(sequences(), st.integers(0, 300))
def test_a_take_that_starts_late_has_only_windows_after_its_start(sequence, first_frame):
    frame_count = first_frame + 3 * sequence.cycle_frames
    centres = sequence.possible_centres(frame_count, first_frame)
    whole = sequence.possible_centres(frame_count)
    starts = [sequence.window(int(c)).tracking[0] for c in whole]
    expected = [c for c, start in zip(whole, starts, strict=True) if start >= first_frame]
    assert centres.tolist() == expected


def test_the_windows_at_25_hz_are_40_frames_apart_give_or_take_half_an_interval():
    windows = CaptureSequence().windows(25, 5000)
    spacing = np.diff([window.centre for window in windows])
    assert set(spacing.tolist()) <= {35, 42}
    assert abs(spacing.mean() - 40) < 0.1


def test_without_a_rate_every_tracking_frame_is_a_centre():
    windows = CaptureSequence().windows(None, 1000)
    assert set(np.diff([window.centre for window in windows]).tolist()) == {7}


@pytest.mark.parametrize("rate_hz", [0, -1, 143, math.inf, math.nan])
def test_a_rate_that_cannot_be_made_is_refused(rate_hz):
    with pytest.raises(SequenceError, match="sets/s"):
        CaptureSequence().windows(rate_hz, 1000)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"exposure_us": 950.0}, "do not fit the frame period"),
        ({"frame_rate_hz": 2000.0}, "do not fit the frame period"),
        ({"tracking_pulse_us": 800.0}, "tracking_pulse_us"),
        ({"light_order": (0, 1, 2)}, "exactly once"),
        ({"light_order": (-1, *range(1, 96))}, "from 0"),
        ({"lights": 0}, "lights"),
        ({"olat_per_tracking": 0}, "olat_per_tracking"),
        ({"exposure_us": math.nan}, "exposure_us"),
        ({"exposure": 3}, "exposure"),
    ],
)
def test_what_cannot_be_captured_is_refused_with_the_reason(change, complaint):
    with pytest.raises(SequenceError, match=complaint):
        CaptureSequence(**change)


def test_timing_adds_up_to_the_frame_period():
    sequence = CaptureSequence(lead_us=30, lag_us=10, settle_us=100)
    assert sequence.olat_pulse_us == 740
    total = sequence.olat_pulse_us + sequence.settle_us + sequence.spare_us
    assert total == pytest.approx(sequence.frame_period_us)


@given(sequences())
def test_a_sequence_survives_saving_and_loading(sequence):
    assert CaptureSequence.model_validate_json(sequence.model_dump_json()) == sequence


def test_a_minimal_file_by_other_software_is_enough(tmp_path):
    path = tmp_path / "sequence.json"
    path.write_text('{"lights": 4, "olat_per_tracking": 2, "order": [3, 1, 0, 2]}')
    sequence = CaptureSequence.load(path)
    assert sequence.light_order == (3, 1, 0, 2)
    assert sequence.frame_rate_hz == 1000


def test_neighbours_in_time_are_far_apart_on_the_dome():
    directions = Dome.evenly_spread().directions[list(golden_order(96))]
    angles = np.degrees(np.arccos(np.clip((directions[1:] * directions[:-1]).sum(axis=1), -1, 1)))
    assert angles.min() > 45


def test_a_tracking_frame_gathers_no_more_light_with_more_lights():
    few, many = CaptureSequence(lights=24), CaptureSequence(lights=96)
    assert many.tracking_pulse_us == pytest.approx(25.0)
    assert few.tracking_pulse_us * 24 == pytest.approx(many.tracking_pulse_us * 96)
    assert CaptureSequence(lights=1).tracking_pulse_us == 700.0
    assert CaptureSequence(tracking_pulse_us=40).tracking_pulse_us == 40.0


def test_replace_validates_anew():
    with pytest.raises(SequenceError):
        CaptureSequence().replace(exposure_us=2000)
