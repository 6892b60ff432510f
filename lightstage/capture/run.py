"""Run: record one take, know at once when something did not happen, and never mark it good then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from lightstage.capture.record import (
    CAPTURE_FILE,
    CaptureRecord,
    Counts,
    Fault,
    FaultCode,
    summarise_stamps,
)
from lightstage.capture.verify import check_recording, frames_checksum
from lightstage.cine import CineWriter
from lightstage.devices.interfaces import Camera, CameraSettings, LedController, Recording
from lightstage.devices.led_program import LedProgram, LedStep
from lightstage.errors import DeviceError, LightstageError, SessionError
from lightstage.sequence import CaptureSequence
from lightstage.session import Take

#: What is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
#: Longer than the take itself by this, and waiting for the camera has failed.
GRACE_S = 5.0
_POLL_S = 0.05
#: Between trigger and first edge: what the trigger's filter holds back must not cost a frame.
_TRIGGER_SETTLES_S = 0.01
#: Free-running clocks differ by 50 to 100 ppm; more is worth knowing.
_MOST_DRIFT_PPM = 80.0
#: What an LED controller reports in a take without faults.
_EXPECTED_EVENTS = frozenset({"armed", "started", "done", "stopped"})
#: Faults with which what was recorded can still be preprocessed.
_USABLE_WITH: frozenset[FaultCode] = frozenset(
    {"interrupted", "camera", "counts", "time-stamps", "pictures"}
)
#: Faults after which a camera still waits for the rest of its frames, and may be given dark ones.
_FILLED_AFTER: frozenset[FaultCode] = frozenset({"interrupted", "camera"})


@dataclass(frozen=True)
class CaptureOrder:
    """What is to be recorded.

    ``pre_trigger_frames`` are recorded before the trigger, of ``frame_count`` in all.
    ``discard_stored`` lets a recording go that the camera still holds; say so only of one that is
    safe on disk, or that was a check.
    """

    sequence: CaptureSequence
    frame_count: int
    width: int
    height: int
    master: Literal["controller", "camera"] = "controller"
    pre_trigger_frames: int = 0
    discard_stored: bool = False
    performer: str = ""
    note: str = ""
    simulated: bool = False
    preflight: tuple[dict[str, Any], ...] = ()
    safety: dict[str, Any] = field(default_factory=dict)

    @property
    def is_open_ended(self) -> bool:
        """Whether the LEDs run until they are stopped, for when the trigger falls is not known.

        So with pre-trigger frames, and where the camera beats time: it records from its arming on.
        """
        return self.pre_trigger_frames > 0 or self.master == "camera"

    @property
    def program(self) -> LedProgram:
        """What the LED controller is told."""
        steps = 0 if self.is_open_ended else self.frame_count
        return LedProgram.of_sequence(self.sequence, frame_count=steps, master=self.master)

    @property
    def camera_settings(self) -> CameraSettings:
        """What the camera is told."""
        return CameraSettings(
            width=self.width,
            height=self.height,
            frame_rate_hz=self.sequence.frame_rate_hz,
            exposure_ns=round(self.sequence.exposure_us * 1000),
            post_trigger_frames=self.frame_count - self.pre_trigger_frames,
            sync="external" if self.master == "controller" else "internal",
        )


class _Findings:
    """What is found out while a take is recorded."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.warnings: list[str] = []
        self.counts = Counts()
        self.record: dict[str, Any] = {}
        self.account: CaptureRecord

    def fault(self, code: FaultCode, text: str) -> None:
        if all(known.text != text for known in self.faults):
            self.faults.append(Fault(code=code, text=text))

    def count(self, **changes: int) -> None:
        self.counts = self.counts.replace(**changes)


def capture_take(
    take: Take,
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> CaptureRecord:
    """Record a take into its folder and write ``capture.json``, whatever happens.

    The order of events: tables to the LEDs, camera set up and read back, both armed, trigger,
    LEDs started; then counters compared, frames fetched into ``take.unverified.cine``, and that
    checked from disk and given its name. Lights are dark whenever this returns or raises.

    Args:
        take: the folder to record into.
        leds: the LED controller.
        camera: the camera.
        order: what to record.
        progress: told of each stage.
        stop: set it to end early: lights go dark, and what the camera has is kept.

    Returns:
        What ``capture.json`` holds; ``good`` is true only if nothing at all was wrong.
    """
    stop = stop or threading.Event()
    with _account(take, order) as found:
        try:
            report = progress or _silent
            recording = _record(leds, camera, order, found, report, stop)
            if recording is not None:
                _fetch(take, camera, order, recording, found, report)
        except DeviceError as reason:
            found.fault(_code_of(str(reason), leds, camera), str(reason))
        finally:
            _go_dark(leds, camera, found)
    return found.account


def fetch_take(
    take: Take, camera: Camera, order: CaptureOrder, progress: Progress | None = None
) -> CaptureRecord:
    """Fetch the recording that a camera still holds, after a download that broke off for good.

    The LEDs are not asked: what they counted is in the account of the capture, whose counts are
    kept where there is one. Nothing is recorded or discarded.

    Args:
        take: the folder to fetch into; it must not have a recording yet.
        camera: the camera.
        order: what was recorded.
        progress: told of each stage.
    """
    if take.cine_path.exists():
        raise SessionError(f"{take.path}: has its recording already; name another take.")
    before = take.path / CAPTURE_FILE
    counts = Counts(frames_wanted=order.frame_count)
    if before.exists():
        known = CaptureRecord.load(before)
        counts = known.counts
        order = replace(
            order,
            performer=known.performer,
            note=known.note,
            preflight=known.preflight,
            safety=known.safety,
        )
    with _account(take, order) as found:
        found.counts = counts
        try:
            recording = camera.wait_recorded(GRACE_S)
            found.count(frames_recorded=recording.frame_count)
            if recording.frame_count != order.frame_count:
                text = f"the camera holds {recording.frame_count} frames, not {order.frame_count}"
                found.fault("counts", text)
            _fetch(take, camera, order, recording, found, progress or _silent)
        except DeviceError as reason:
            found.fault("camera", str(reason))
    return found.account


def _silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@contextmanager
def _account(take: Take, order: CaptureOrder) -> Iterator[_Findings]:
    """Yield what is to be found out; write ``capture.json`` of it, whatever happens."""
    started = datetime.now(UTC)
    found = _Findings()
    try:
        yield found
    except LightstageError as reason:
        found.fault("download", str(reason))
    except BaseException as reason:  # Ctrl-C above all: an account that stops short is not good
        found.fault("interrupted", f"ended in the middle of the take: {type(reason).__name__}")
        raise
    finally:
        found.account = CaptureRecord(
            good=not found.faults,
            started=started,
            performer=order.performer,
            note=order.note,
            simulated=order.simulated,
            counts=found.counts,
            faults=tuple(found.faults),
            warnings=tuple(found.warnings),
            preflight=order.preflight,
            safety=order.safety,
            **found.record,
        )
        found.account.save(take.path / CAPTURE_FILE)


def _record(
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    found: _Findings,
    report: Progress,
    stop: threading.Event,
) -> Recording | None:
    found.count(frames_wanted=order.frame_count)
    found.record["leds"] = {"address": leds.address, **asdict(leds.identify())}
    identity = camera.identify()
    leds.upload(order.program)
    settings = camera.configure(order.camera_settings)
    found.record["camera"] = {"address": camera.address, **asdict(identity), **asdict(settings)}
    leds.arm()
    leds.events()
    if order.master == "camera":
        leds.start()  # its first step comes with the camera's first strobe
        camera.arm(discard_stored=order.discard_stored)
    else:
        camera.arm(discard_stored=order.discard_stored)
        if not order.is_open_ended:
            camera.trigger()
            time.sleep(_TRIGGER_SETTLES_S)
        leds.start()
    _watch(leds, camera, order, found, report, stop)
    recording = None
    if not found.faults and order.is_open_ended:
        recording = _wait_stored(camera, order, report)
    counted = leds.status().counters
    leds.stop()
    found.count(
        steps_executed=counted.steps_executed,
        steps_missed=counted.steps_missed,
        triggers_sent=counted.triggers_out,
        edges_seen=counted.edges_in,
    )
    if recording is None and not found.faults:
        try:
            recording = _wait_stored(camera, order, report)
        except DeviceError as reason:
            found.fault("camera", str(reason))
    if recording is None:
        recording = _fill_up(leds, camera, order, found, report)
    if recording is not None:
        found.count(frames_recorded=recording.frame_count)
        _compare_counts(order, found)
    return recording


def _fill_up(
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    found: _Findings,
    report: Progress,
) -> Recording | None:
    """Give a camera that still waits for frames dark ones, so that it keeps what it has.

    A triggered camera stores its recording only once it has all frames. Where the take was stopped
    by hand or edges were lost, the controller beats on with all lights dark. Not where a device is
    at fault.
    """
    codes = {fault.code for fault in found.faults}
    if order.master != "controller" or order.pre_trigger_frames or not codes <= _FILLED_AFTER:
        return None
    dark = LedProgram(
        channels=order.program.channels,
        patterns=((),),
        steps=(LedStep(pattern=0, start_ns=0, width_ns=0),),
        step_limit=order.frame_count,
        period_ns=order.program.period_ns,
        exposure_delay_ns=order.program.exposure_delay_ns,
    )
    try:
        leds.upload(dark)
        leds.arm()
        leds.start()
        length_s = order.frame_count / order.sequence.frame_rate_hz
        recording = camera.wait_recorded(
            length_s + GRACE_S, lambda done, total: report("filling up", done, total)
        )
    except DeviceError as reason:
        found.warnings.append(f"what the camera has could not be kept: {reason}")
        return None
    finally:
        leds.stop()
    found.warnings.append("the end of the recording was filled with dark frames, to keep the rest")
    return recording


def _wait_stored(camera: Camera, order: CaptureOrder, report: Progress) -> Recording:
    rest_s = order.camera_settings.post_trigger_frames / order.sequence.frame_rate_hz
    timeout_s = GRACE_S + (rest_s if order.is_open_ended else 0.0)
    return camera.wait_recorded(timeout_s, lambda done, total: report("storing", done, total))


def _watch(
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    found: _Findings,
    report: Progress,
    stop: threading.Event,
) -> None:
    """Follow the LEDs until their steps are done, or the trigger was due; note what goes wrong."""
    pre, open_ended = order.pre_trigger_frames, order.is_open_ended
    length_s = (pre if open_ended else order.frame_count) / order.sequence.frame_rate_hz
    deadline = time.monotonic() + length_s + GRACE_S
    while True:
        status = leds.status()
        executed = status.counters.steps_executed
        report("recording", min(executed, order.frame_count), order.frame_count)
        for fault in status.faults:
            found.fault("leds", f"{leds.address}: the LED controller reports {fault}")
        ended = status.state != "running" or (open_ended and executed >= pre)
        if found.faults or stop.is_set() or ended or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    for event in leds.events():
        if event.name not in _EXPECTED_EVENTS:
            text = f"{leds.address}: the LED controller reported {event.name} {event.detail}"
            found.fault("leds", text.strip())
    if stop.is_set():
        found.fault("interrupted", "the recording was stopped by hand before its end")
    elif found.faults:
        return
    elif open_ended and status.state == "running" and executed >= pre:
        camera.trigger()
    elif status.state == "running":
        text = f"{executed} of {order.frame_count} steps were done within {length_s:.1f} s"
        found.fault("leds", f"{leds.address}: {text}; is the camera's strobe connected?")
    elif status.state != "done":
        text = f"is {status.state} after {executed} of {order.frame_count} steps: did it restart?"
        found.fault("leds", f"{leds.address}: {text}")


def _compare_counts(order: CaptureOrder, found: _Findings) -> None:
    counts = found.counts
    if counts.steps_missed:
        found.fault("counts", f"the LED controller missed {counts.steps_missed} steps")
    if order.is_open_ended:
        # the LEDs ran on after the camera had all it was to record
        if not order.frame_count <= counts.frames_recorded <= counts.steps_executed:
            text = (
                f"{counts.frames_recorded} frames were recorded of {counts.steps_executed} steps, "
                f"{order.frame_count} were wanted"
            )
            found.fault("counts", text)
        return
    if counts.steps_executed != order.frame_count:
        text = f"{counts.steps_executed} steps were executed, {order.frame_count} were wanted"
        found.fault("counts", text)
    beats = counts.triggers_sent if order.master == "controller" else counts.edges_seen
    name = "triggers were sent" if order.master == "controller" else "strobes were seen"
    if not beats == counts.steps_executed == counts.frames_recorded:
        text = (
            f"{beats} {name}, {counts.steps_executed} steps executed, {counts.frames_recorded} "
            f"frames recorded: they must be equal"
        )
        found.fault("counts", text)


def _fetch(
    take: Take,
    camera: Camera,
    order: CaptureOrder,
    recording: Recording,
    found: _Findings,
    report: Progress,
) -> None:
    """Bring the frames over, check them from disk, and only then give the file its name."""
    time_ns, exposure_ns = _stamps(camera, recording, order, found)
    layout = camera.frame_format()
    unverified = take.path / "take.unverified.cine"
    digest = xxhash.xxh3_128()
    done = 0
    with CineWriter(
        unverified,
        width=layout.width,
        height=layout.height,
        frame_count=recording.frame_count,
        frame_rate_hz=order.sequence.frame_rate_hz,
        exposure_us=order.sequence.exposure_us,
        bit_depth=layout.bit_depth,
        cfa=layout.cfa,
        black_level=layout.black_level,
        white_level=layout.white_level,
        first_frame_number=recording.first_frame_number,
        trigger_time_ns=recording.trigger_time_ns,
    ) as writer:
        try:
            for raw in camera.frames(recording.first_frame_number, recording.frame_count):
                pixels = layout.pixels(raw)
                writer.write(pixels, int(time_ns[done]), int(exposure_ns[done]))
                digest.update(pixels.data)
                done += 1
                report("downloading", done, recording.frame_count)
        except DeviceError as reason:
            # what came over whole is kept; the rest is still in the camera
            found.fault("download", str(reason))
            if not done:
                raise
    found.count(frames_downloaded=done)
    if done != recording.frame_count:
        text = f"{done} of {recording.frame_count} frames came over; the camera still has them"
        found.fault("download", text)
    found.record["checksum_xxh3_128"] = digest.hexdigest()
    _check_from_disk(take, unverified, digest.hexdigest(), order, found, report)
    # frames that are whole are worth preprocessing, which marks each gap; others are kept aside
    whole = {fault.code for fault in found.faults} <= _USABLE_WITH
    unverified.replace(take.cine_path if whole else take.path / "take.faulty.cine")


def _stamps(
    camera: Camera, recording: Recording, order: CaptureOrder, found: _Findings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the camera's time stamps; where they cannot be used, those of an even beat."""
    count = recording.frame_count
    try:
        time_ns, exposure_ns = camera.timestamps()
    except DeviceError as reason:
        found.fault("time-stamps", str(reason))
        time_ns = exposure_ns = np.empty(0, dtype=np.int64)
    if len(time_ns) != count:
        found.fault("time-stamps", f"{len(time_ns)} time stamps came for {count} frames")
        beat_ns = 1e9 / order.sequence.frame_rate_hz
        time_ns = recording.trigger_time_ns + np.rint(np.arange(count) * beat_ns).astype(np.int64)
        exposure_ns = np.full(count, round(order.sequence.exposure_us * 1000), dtype=np.int64)
    stamps = summarise_stamps(time_ns, order.sequence.frame_rate_hz)
    if abs(stamps.drift_ppm) > _MOST_DRIFT_PPM and not stamps.backwards:
        found.warnings.append(
            f"the camera's clock and the LED controller's drift apart by {stamps.drift_ppm:g} ppm"
        )
    found.record["stamps"] = stamps
    return time_ns, exposure_ns


def _check_from_disk(
    take: Take,
    path: Path,
    expected: str,
    order: CaptureOrder,
    found: _Findings,
    report: Progress,
) -> None:
    on_disk = frames_checksum(path, lambda done, total: report("verifying", done, total))
    if on_disk != expected:
        found.fault("checksum", f"{path.name}: the frames on disk are not those that came over")
    early = order.master == "camera"
    for fault in check_recording(take, path, from_start=True, may_begin_early=early):
        found.fault(fault.code, fault.text)


def _go_dark(leds: LedController, camera: Camera, found: _Findings) -> None:
    """Lights dark and camera at rest, however the take ended."""
    for act, address in ((leds.stop, leds.address), (camera.abort, camera.address)):
        try:
            act()
        except DeviceError as reason:
            found.warnings.append(f"{address}: could not be told to stop ({reason})")


def _code_of(text: str, leds: LedController, camera: Camera) -> FaultCode:
    return "leds" if leds.address in text and camera.address not in text else "camera"
