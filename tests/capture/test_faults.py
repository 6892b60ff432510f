"""Each scripted fault is found, named, never leaves a take marked good, and never hangs.

The table in docs/capture.md is made here: run with ``LIGHTSTAGE_WRITE_DOCS=1`` to write it anew.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lightstage.capture.preflight import check_lights, preflight
from lightstage.capture.record import CaptureRecord
from lightstage.capture.run import capture_take
from lightstage.cine import CineFile
from lightstage.simulation.stage_hardware import StageFaults
from tests.capture.stage import DOME, FRAMES, SEQUENCE, new_take, order, stage

DOCS = Path(__file__).resolve().parents[2] / "docs" / "capture.md"
#: The longest that any of them may take: the grace period, retries, and rendering of 100 frames.
LONGEST_S = 60.0
SECOND_NS = 1_000_000_000

# what goes wrong, the faults, the code it gets, words that must be in what the technician reads
FAULTS = [
    ("an F-Sync edge is lost on the way to the camera", {"leds": {"missed_sync_edges": [40]}},
     "camera", "99 of 100 frames"),
    ("a false edge gives a false frame", {"camera": {"extra_edges": [40]}},
     "time-stamps", "before they were due"),
    ("the camera misses an edge", {"camera": {"missed_edges": [40]}}, "camera", "99 of 100"),
    ("a false first frame", {"camera": {"extra_first_frame": True}}, "pictures|counts", ""),
    ("the camera's memory is full too early", {"camera": {"memory_full_after": 60}},
     "camera|counts", ""),
    ("the interlock opens during the take",
     {"leds": {"interlock_opens_at_ns": None}}, "leds", "interlock"),
    ("the supply droops when all lights are on", {"leds": {"droop_per_channel": 0.03}},
     "leds", "under_voltage"),
    ("the LED controller resets during the take", {"leds": {"reset_at_ns": None}}, "leds", ""),
    ("the LED controller overheats during the take",
     {"leds": {"overheats_at_ns": None}}, "leds", "temperature"),
    ("time stamps are garbage", {"camera": {"garbage_stamps": [50]}}, "time-stamps", ""),
    ("the data connection always delivers short",
     {"camera": {"data_fault": "short", "data_fault_at_byte": 5_000, "data_fault_times": 1000}},
     "download|time-stamps", ""),
    ("the data connection always breaks",
     {"camera": {"data_fault": "break", "data_fault_at_byte": 5_000, "data_fault_times": 1000}},
     "download|time-stamps", ""),
    ("the camera stops answering", {"camera": {"hangs_at": "trig", "hang_times": 1000}},
     "camera", "no reply"),
    ("the camera is busy", {"camera": {"busy_commands": 1000}}, "camera", "automatic operation"),
]  # fmt: skip
#: Faults that a take survives: what is lost is asked for again.
SURVIVED = [
    ("a false F-Sync edge falls within an exposure", {"leds": {"extra_sync_edges": [40]}}),
    ("bytes are lost, flipped and doubled on the serial line (0.1 % each)",
     {"leds": {"byte_loss_rate": 0.001, "byte_flip_rate": 0.001, "byte_duplicate_rate": 0.001}}),
    ("the data connection breaks once",
     {"camera": {"data_fault": "break", "data_fault_at_byte": 100_000}}),
    ("the data connection delivers short once",
     {"camera": {"data_fault": "short", "data_fault_at_byte": 100_000}}),
    ("the data connection stalls once",
     {"camera": {"data_fault": "stall", "data_fault_at_byte": 100_000}}),
    ("the network is slow (2 MB/s)", {"camera": {"data_mb_per_s": 2.0}}),
    ("the camera's clock runs 100 ppm fast", {"camera": {"clock_drift_ppm": 100.0}}),
    ("the LED controller's clock runs 100 ppm fast", {"leds": {"clock_drift_ppm": 100.0}}),
]  # fmt: skip


def captured_with(tmp_path, faults):
    take = new_take(tmp_path)
    leds = dict(faults.get("leds", {}))
    timed = [name for name, value in leds.items() if value is None]
    for name in timed:
        del leds[name]
    settings = StageFaults.parse({**faults, "leds": leds}, "test")
    with stage(settings) as parts:
        if timed:
            # in the middle of the take: a little after the tables are up and the lights run
            parts.hardware.fault_when_running(timed[0], after_s=0.03)
        started = time.monotonic()
        record = capture_take(take, parts.leds, parts.camera, order())
        seconds = time.monotonic() - started
        state = parts.hardware.leds.state
    return take, record, seconds, state


@pytest.mark.parametrize(("what", "faults", "code", "words"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_fault_is_named_and_the_take_is_not_good(tmp_path, what, faults, code, words):
    take, record, seconds, state = captured_with(tmp_path, faults)
    assert not record.good
    assert not CaptureRecord.load(take.path / "capture.json").good
    text = " ".join(fault.text for fault in record.faults)
    assert any(re.fullmatch(code, fault.code) for fault in record.faults), record.faults
    assert words in text
    if "edge is lost" in what or "misses an edge" in what:
        with CineFile(take.cine_path) as cine:
            assert len(cine) == FRAMES  # the others are kept, and one dark frame
    assert seconds < LONGEST_S
    assert state != "running"
    _to_docs(what, "not good", record.faults[0].text)


@pytest.mark.parametrize(("what", "faults"), SURVIVED, ids=[f[0] for f in SURVIVED])
def test_a_fault_that_can_be_mended_leaves_a_good_take(tmp_path, what, faults):
    _, record, seconds, state = captured_with(tmp_path, faults)
    assert record.good, record.faults
    assert seconds < LONGEST_S
    assert state != "running"
    _to_docs(what, "good", "nothing: the drivers mend it")


FRONT = int(DOME.directions[:, 2].argmax())
RIGHT = int((DOME.directions @ [0.8, 0.0, 0.6]).argmax())
LEFT = int((DOME.directions @ [-0.8, 0.0, 0.6]).argmax())
#: Faults of lights: the light check finds them before the take.
LIGHTS = [
    ("an LED is dead", {"stuck_dark": [FRONT]}, "refuse", f"dead: lights {FRONT}"),
    ("an LED is dim (30 %)", {"dim": {FRONT: 0.3}}, "warning", f"light {FRONT} at"),
    ("two channels are swapped", {"swapped": [[LEFT, RIGHT]]}, "refuse", "swapped channels"),
    ("an LED is always on", {"stuck_on": [FRONT]}, "refuse", f"likely light {FRONT}"),
]


@pytest.mark.parametrize(("what", "leds", "severity", "words"), LIGHTS, ids=[f[0] for f in LIGHTS])
def test_a_bad_light_is_named_before_the_take(what, leds, severity, words):
    with stage(StageFaults.parse({"leds": leds}, "test")) as parts:
        findings = check_lights(parts.leds, parts.camera, order(), DOME)
    bad = [f for f in findings if f.check == "lights" and f.severity != "good"]
    assert bad
    assert bad[0].severity == severity
    assert words in bad[0].text
    _to_docs(what, "refused" if severity == "refuse" else "recorded", bad[0].text)


def test_sound_lights_are_found_sound():
    with stage() as parts:
        findings = check_lights(parts.leds, parts.camera, order(), DOME)
    assert [f.severity for f in findings if f.check == "lights"] == ["good"]


def test_over_triggering_is_refused_before_the_take(tmp_path):
    # exposure and dead time do not fit the frame period
    sequence = SEQUENCE.replace(
        exposure_us=999.0, lead_us=0.0, lag_us=0.0, settle_us=0.0, tracking_pulse_us=50.0
    )
    with stage() as parts:
        asked = replace(order(), sequence=sequence)
        refused = preflight(parts.leds, parts.camera, asked, tmp_path).refusals
    assert [finding.check for finding in refused] == ["exposure"]
    _to_docs("exposure and dead time fill the frame period", "refused", refused[0].text)


def test_the_docs_name_every_fault():
    text = DOCS.read_text(encoding="utf-8")
    for what, *_ in [*FAULTS, *SURVIVED, *LIGHTS]:
        assert f"| {what} |" in text


def _to_docs(what, verdict, text):
    """Write the row of the table, where asked to."""
    if os.environ.get("LIGHTSTAGE_WRITE_DOCS") != "1":
        return
    text = re.sub(r"/dev/pts/\d+", "/dev/ttyACM0", re.sub(r"127\.0\.0\.1:\d+", "172.16.0.5", text))
    row = f"| {what} | {verdict} | {text} |"
    page = DOCS.read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if not line.startswith(f"| {what} |")]
    place = max(k for k, line in enumerate(lines) if line.startswith("|")) + 1
    lines.insert(place, row)
    DOCS.write_text("\n".join(lines) + "\n", encoding="utf-8")
