"""Capture on the simulated stage, through the real drivers: good takes, and every fault told."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from lightstage import ReflectanceFields
from lightstage.capture.preflight import check_lights, preflight
from lightstage.capture.record import CaptureRecord
from lightstage.capture.run import capture_take, fetch_take
from lightstage.capture.verify import verify_take
from lightstage.cine import CineFile
from lightstage.errors import SessionError
from lightstage.preprocess.jobs import preprocess_take
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.simulation.stage_hardware import StageFaults
from tests.capture.stage import DOME, FRAMES, SEQUENCE, new_take, order, stage


def captured(tmp_path, faults=None, **changes):
    take = new_take(tmp_path)
    with stage(StageFaults.parse(faults or {}, "test")) as parts:
        record = capture_take(take, parts.leds, parts.camera, order(**changes))
        dark_at_ns = parts.hardware.log.last_lit_ns
        after = parts.hardware.leds.state
    return take, record, dark_at_ns, after


def test_a_good_take_counts_up_and_shows_what_the_sequence_says(tmp_path):
    take, record, _, state = captured(tmp_path)
    assert record.faults == ()
    assert record.good
    counts = record.counts
    assert (
        counts.triggers_sent
        == counts.steps_executed
        == counts.frames_recorded
        == counts.frames_downloaded
        == FRAMES
    )
    assert state != "running"
    assert CaptureRecord.load(take.path / "capture.json") == record
    assert verify_take(take) == []
    with CineFile(take.cine_path) as cine:
        assert len(cine) == FRAMES
        levels = np.array([frame.mean() for frame in cine])
    kinds = [SEQUENCE.step(index).kind.value for index in range(FRAMES)]
    dark = levels[[kind == "dark" for kind in kinds]]
    tracking = levels[[kind == "tracking" for kind in kinds]]
    assert dark.max() < tracking.min() / 2
    assert not list(take.path.glob("*.partial"))


def test_a_captured_take_becomes_reflectance_fields(tmp_path):
    take, record, _, _ = captured(tmp_path)
    assert record.good
    preprocess_take(take, PreprocessSettings(rate_hz=50.0))
    fields = ReflectanceFields.open(take.path)
    olat, directions = fields[0].olat, DOME.directions
    right = olat[directions[:, 0] > 0.7].mean(axis=(0, 1, 3))
    left = olat[directions[:, 0] < -0.7].mean(axis=(0, 1, 3))
    middle = fields.width // 2
    assert right[middle:].sum() > right[:middle].sum()
    assert left[:middle].sum() > left[middle:].sum()


def test_pre_trigger_frames_are_kept(tmp_path):
    take, record, _, _ = captured(tmp_path, pre_trigger_frames=30)
    assert record.good, record.faults
    with CineFile(take.cine_path) as cine:
        assert len(cine) >= FRAMES
        assert cine.first_frame_number <= -30


def test_the_camera_can_beat_time_instead(tmp_path):
    take = new_take(tmp_path)
    with stage(master="camera") as parts:
        asked = order(master="camera")
        findings = check_lights(parts.leds, parts.camera, asked, DOME)
        assert [f.severity for f in findings if f.check == "lights"] == ["good"]
        record = capture_take(take, parts.leds, parts.camera, replace(asked, discard_stored=True))
    assert record.good, record.faults
    assert record.counts.frames_recorded >= FRAMES
    assert record.counts.edges_seen >= record.counts.frames_recorded
    assert verify_take(take) == []


def test_stopping_by_hand_leaves_the_lights_dark_and_the_take_not_good(tmp_path):
    take = new_take(tmp_path)
    stop = threading.Event()
    with stage() as parts:
        threading.Timer(0.15, stop.set).start()
        record = capture_take(take, parts.leds, parts.camera, order(frame_count=400), stop=stop)
        state = parts.hardware.leds.state
    assert not record.good
    assert record.faults[0].code == "interrupted"
    assert state != "running"
    # what there was is kept, and the rest of the camera's frames are dark
    executed = record.counts.steps_executed
    with CineFile(take.cine_path) as cine:
        levels = np.array([cine[index].mean() for index in range(len(cine))])
    tracking = [k for k in range(executed - 1) if SEQUENCE.step(k).kind.value == "tracking"]
    assert levels[tracking].min() > 2 * levels[executed + 2 :].max()


def test_a_program_that_ends_in_the_middle_leaves_no_good_take(tmp_path):
    take = new_take(tmp_path)

    def end(what, done, total):
        if what == "downloading" and done == 20:
            raise KeyboardInterrupt

    with stage() as parts:
        with pytest.raises(KeyboardInterrupt):
            capture_take(take, parts.leds, parts.camera, order(), progress=end)
        state = parts.hardware.leds.state
    record = CaptureRecord.load(take.path / "capture.json")
    assert not record.good
    assert [fault.code for fault in record.faults] == ["interrupted"]
    assert not take.cine_path.exists()
    assert state != "running"


def test_preflight_refuses_what_does_not_fit(tmp_path):
    with stage() as parts:
        fine = preflight(parts.leds, parts.camera, order(), tmp_path)
        assert fine.refusals == []
        large = preflight(parts.leds, parts.camera, order(frame_count=10**8), tmp_path)
        odd = preflight(parts.leds, parts.camera, order(width=131), tmp_path)
    assert {finding.check for finding in large.refusals} == {"disk", "camera memory"}
    assert {finding.check for finding in odd.refusals} == {"resolution"}


def test_a_recording_that_did_not_come_over_is_fetched_later(tmp_path):
    take = new_take(tmp_path)
    broken = {"data_fault": "short", "data_fault_at_byte": 5_000, "data_fault_times": 9}
    with stage(StageFaults.parse({"camera": broken}, "test")) as parts:
        first = capture_take(take, parts.leds, parts.camera, order())
        assert not first.good
        assert not take.cine_path.exists()
        tries = 0
        while not (second := fetch_take(take, parts.camera, order())).good and tries < 4:
            tries += 1
    assert second.good, second.faults
    assert second.counts.steps_executed == FRAMES
    assert verify_take(take) == []
    with pytest.raises(SessionError, match="already"):
        fetch_take(take, parts.camera, order())
