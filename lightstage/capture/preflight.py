"""Preflight: everything that can be known before a performer's time is spent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightstage.capture.run import GRACE_S, CaptureOrder
from lightstage.devices.interfaces import Camera, LedController
from lightstage.devices.led_program import LedProgram
from lightstage.dome import Dome
from lightstage.errors import DeviceError
from lightstage.sequence import StepKind

Severity = Literal["good", "warning", "refuse"]
#: A light is called dead below this part of what a matt ball promises, dim below the second. A
#: head is no ball (hair, a neck in shadow), so only front lights can be called dim.
_DEAD, _DIM = 0.1, 0.45
_FRONT = 0.4
#: Lights whose expected brightness is below this part of the brightest cannot be judged.
_BEHIND = 0.12
#: Frames that should be dark may have this part of a bright OLAT frame's light.
_STRAY = 0.1
_HEADROOM_BYTES = 200_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    check: str
    severity: Severity
    text: str

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON-able values."""
        return {"check": self.check, "severity": self.severity, "text": self.text}


@dataclass(frozen=True)
class Preflight:
    """All that was checked before a take."""

    findings: tuple[Finding, ...] = field(default=())

    @property
    def refusals(self) -> list[Finding]:
        """What forbids to record."""
        return [finding for finding in self.findings if finding.severity == "refuse"]


def preflight(leds: LedController, camera: Camera, order: CaptureOrder, folder: Path) -> Preflight:
    """Check that the order fits the devices and the disk; no light is turned on.

    Raises:
        DeviceError: a device does not answer.
    """
    findings = [*_check_leds(leds, order), *_check_camera(camera, order)]
    frame_bytes = order.width * order.height
    needed = order.frame_count * frame_bytes + _HEADROOM_BYTES
    free = shutil.disk_usage(folder).free
    text = f"the take needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free in {folder}"
    findings.append(Finding("disk", "good" if free >= needed else "refuse", text))
    return Preflight(tuple(findings))


def _check_leds(leds: LedController, order: CaptureOrder) -> list[Finding]:
    identity, program = leds.identify(), order.program
    findings = []
    for what, wanted, there in (
        ("channels", program.channels, identity.channels),
        ("patterns", len(program.patterns), identity.max_patterns),
        ("steps", len(program.steps), identity.max_steps),
    ):
        text = f"the sequence uses {wanted} {what}, the controller has {there}"
        findings.append(Finding(f"led {what}", "good" if wanted <= there else "refuse", text))
    shortest = min(step.width_ns for step in program.steps if step.width_ns)
    fine = shortest >= 10 * identity.timer_resolution_ns
    text = (
        f"the shortest pulse is {shortest / 1e3:g} us, the controller's timer counts in "
        f"{identity.timer_resolution_ns / 1e3:g} us"
    )
    findings.append(Finding("led timer", "good" if fine else "warning", text))
    status = leds.status()
    findings += [
        Finding("led faults", "refuse", f"the controller reports {fault}")
        for fault in status.faults
    ]
    if not status.faults:
        text = f"none; {status.temperature_c:.0f} C, {status.supply_v:.1f} V"
        findings.append(Finding("led faults", "good", text))
    return findings


def _check_camera(camera: Camera, order: CaptureOrder) -> list[Finding]:
    identity, sequence = camera.identify(), order.sequence
    findings = []
    period_us = sequence.frame_period_us
    needed_us = sequence.exposure_us + identity.dead_time_ns / 1e3
    text = (
        f"exposure {sequence.exposure_us:g} us and dead time {identity.dead_time_ns / 1e3:g} us "
        f"in a frame period of {period_us:g} us"
    )
    findings.append(Finding("exposure", "good" if needed_us < period_us else "refuse", text))
    fits = (
        order.width <= identity.width_max
        and order.height <= identity.height_max
        and order.width % identity.width_step == 0
        and order.height % identity.height_step == 0
    )
    text = (
        f"{order.width}x{order.height}; the camera takes up to {identity.width_max}x"
        f"{identity.height_max} in steps of {identity.width_step}x{identity.height_step}"
    )
    findings.append(Finding("resolution", "good" if fits else "refuse", text))
    needed = order.frame_count * order.width * order.height
    there = identity.memory_mb * 1_000_000
    text = f"the take fills {needed / 1e9:.2f} of the camera's {there / 1e9:.2f} GB"
    findings.append(Finding("camera memory", "good" if needed <= there else "refuse", text))
    return findings


def check_lights(
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    dome: Dome,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Fire each light once, one a frame, and look at what the camera saw of it.

    Something pale must stand where the performer will. Each picture's brightness and lean to the
    right and top are compared with those of a matt ball under the dome's lights: that names dead,
    dim and swapped lights. Lights that stand too far behind to be seen are counted, not judged.

    Raises:
        DeviceError: the short recording itself failed.
    """
    preamble, pictures, sharpness = _one_cycle(leds, camera, order, progress)
    sequence = order.sequence
    unlit = [k for k, kind in enumerate(sequence.preamble) if kind == StepKind.DARK.value]
    steps = [sequence.step(len(sequence.preamble) + k) for k in range(sequence.cycle_frames)]
    shown = {step.light: k for k, step in enumerate(steps) if step.kind is StepKind.OLAT}
    olat = pictures[[shown[light] for light in range(sequence.lights)]]
    tracking = [k for k, step in enumerate(steps) if step.kind is StepKind.TRACKING]
    stuck = _always_on(preamble[unlit], olat, dome) if unlit else []
    return [
        *(stuck or judge_lights(olat, pictures[tracking].mean(axis=0), dome)),
        *_exposure_findings(olat, pictures[tracking]),
        Finding(
            "focus",
            "good",
            f"sharpness {sharpness[tracking].mean():.3f} in tracking frames (the mean step between "
            f"neighbouring pixels over the mean level; turn the lens until it is highest)",
        ),
    ]


def _always_on(dark: NDArray[np.float32], olat: NDArray[np.float32], dome: Dome) -> list[Finding]:
    """Return which light is on in frames that should be dark, ``(frames, rows, columns)``."""
    level = float(dark.mean())
    if level < _STRAY * float(np.percentile(olat.mean(axis=(1, 2)), 90)):
        return []
    # a light that is always on adds nothing in its own frame, where a ball promises that it would
    from lightstage.preprocess.identify import lean_of_a_ball

    promised = lean_of_a_ball(dome.directions)[:, 0]
    added = olat.mean(axis=(1, 2)) - level
    front = promised > _BEHIND * promised.max()
    scale = float(np.median(added[front] / promised[front]))
    suspect = int((promised * scale - added).argmax())
    text = f"frames that should be dark are lit: something is always on, likely light {suspect}"
    return [Finding("lights", "refuse", text)]


def judge_lights(
    olat: NDArray[np.float32], tracking: NDArray[np.float32], dome: Dome
) -> list[Finding]:
    """Return which lights are dead, dim or swapped by coarse pictures ``(lights, rows, columns)``.

    ``tracking`` is a coarse full-lit picture.
    """
    from lightstage.preprocess.identify import lean, lean_of_a_ball

    observed, expected = lean(olat, tracking), lean_of_a_ball(dome.directions)
    seen = expected[:, 0] > _BEHIND * expected[:, 0].max()
    scale = float(np.median(observed[seen, 0] / expected[seen, 0]))
    if scale <= 0:
        return [Finding("lights", "refuse", "no light is to be seen: lens cap, or all LEDs dark?")]
    ratio = observed[:, 0] / (scale * np.maximum(expected[:, 0], 1e-9))
    dead = np.flatnonzero(seen & (ratio < _DEAD))
    front = expected[:, 0] > _FRONT * expected[:, 0].max()
    dim = np.flatnonzero(front & (ratio >= _DEAD) & (ratio < _DIM))
    findings = []
    if len(dead):
        findings.append(Finding("lights", "refuse", f"dead: lights {_listed(dead)}"))
    if len(dim):
        text = "dim: " + ", ".join(f"light {k} at {ratio[k]:.0%}" for k in dim[:8])
        findings.append(Finding("lights", "warning", text))
    swapped = _swapped(observed, expected * scale, seen & (ratio >= _DEAD))
    if swapped:
        pairs = ", ".join(f"{a} and {b}" for a, b in swapped)
        findings.append(Finding("lights", "refuse", f"swapped channels: lights {pairs}"))
    if not findings:
        findings.append(
            Finding("lights", "good", f"{int(seen.sum())} lights seen, all as expected")
        )
    hidden = int((~seen).sum())
    if hidden:
        text = f"{hidden} lights stand behind the performer and cannot be judged by the camera"
        findings.append(Finding("lights behind", "good", text))
    return findings


def _swapped(
    observed: NDArray[np.float64], expected: NDArray[np.float64], judged: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return pairs of lights that each look as the other should."""
    lights = np.flatnonzero(judged)
    spread = expected[lights].std(axis=0)
    apart = np.linalg.norm((observed[lights, None] - expected[None, lights]) / spread, axis=2)
    own = np.diag(apart)
    pairs = []
    for a in range(len(lights)):
        for b in range(a + 1, len(lights)):
            now, exchanged = own[a] + own[b], apart[a, b] + apart[b, a]
            if exchanged < 0.4 * now and now > 1.5:
                pairs.append((int(lights[a]), int(lights[b])))
    return pairs


def _exposure_findings(olat: NDArray[np.float32], tracking: NDArray[np.float32]) -> list[Finding]:
    findings = []
    for name, pictures in (("OLAT frames", olat), ("tracking frames", tracking)):
        burnt = float((pictures > 0.95).mean())
        top = float(np.percentile(pictures, 99.5))
        text = f"{name}: brightest parts at {top:.0%} of white, {burnt:.1%} burnt out"
        fine = burnt < 0.01 and top > 0.1
        findings.append(Finding("exposure", "good" if fine else "warning", text))
    return findings


def _one_cycle(
    leds: LedController,
    camera: Camera,
    order: CaptureOrder,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Record the preamble and one cycle; return each as coarse pictures, and how sharp it is."""
    from dataclasses import replace

    from lightstage.preprocess.identify import coarse_picture

    sequence = order.sequence
    count = len(sequence.preamble) + sequence.cycle_frames
    short = replace(order, frame_count=count, pre_trigger_frames=0)
    leds.upload(LedProgram.of_sequence(sequence, frame_count=count, master=order.master))
    camera.configure(short.camera_settings)
    leds.arm()
    if order.master == "camera":
        leds.start()
        camera.arm(discard_stored=order.discard_stored)
        camera.trigger()
    else:
        camera.arm(discard_stored=order.discard_stored)
        camera.trigger()
        leds.start()
    recording = camera.wait_recorded(count / sequence.frame_rate_hz + GRACE_S)
    leds.stop()
    layout = camera.frame_format()
    enough = recording.frame_count >= count  # a camera that beats time records from its arming on
    if not enough or (order.master == "controller" and recording.frame_count != count):
        raise DeviceError(
            f"{camera.address}: recorded {recording.frame_count} frames in the light check, "
            f"{count} were triggered."
        )
    pictures, sharp = [], []
    for done, raw in enumerate(camera.frames(recording.first_frame_number, count), 1):
        frame = layout.pixels(raw)
        pictures.append(coarse_picture(frame, layout.black_level, layout.white_level))
        sharp.append(_sharpness(frame, layout.black_level))
        if progress:
            progress(done, count)
    split = len(sequence.preamble)
    return np.stack(pictures)[:split], np.stack(pictures)[split:], np.array(sharp)[split:]


def _sharpness(frame: NDArray[np.generic], black_level: float) -> float:
    """Return the mean step between neighbours of one colour, over the mean level above black."""
    one_colour = frame[0::2, 0::2].astype(np.float32)
    level = max(float(one_colour.mean()) - black_level, 1e-3)
    return float(np.abs(np.diff(one_colour, axis=1)).mean()) / level


def _listed(numbers: NDArray[np.intp]) -> str:
    return ", ".join(str(number) for number in numbers)
