"""The simulated stage's hardware: LEDs, camera and performer that share one truth.

The LED controller writes every pulse into a light log and beats the camera's F-Sync line; the
camera keeps when each exposure was; and the performer is rendered, when frames are fetched, under
what the LEDs really did in that exposure.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lightstage.dome import Dome
from lightstage.manifest import Manifest
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.led_faults import LedFaults
from lightstage.simulation.led_pty import LedFirmwareOnPty
from lightstage.simulation.light_log import LightLog
from lightstage.simulation.mosaic import render_mosaic
from lightstage.simulation.performer import Performer
from lightstage.simulation.phantom_camera import PhantomServer
from lightstage.simulation.phantom_faults import CameraFaults
from lightstage.simulation.render import Scene
from lightstage.simulation.sensor import SimulatedSensor, frame_generator
from lightstage.simulation.take import REFERENCE_EXPOSURE_US

Motion = Literal["still", "slow", "talking", "violent"]


class StageFaults(Manifest):
    """What is wrong with a simulated stage: with its LED controller and with its camera."""

    leds: LedFaults = Field(default_factory=LedFaults)
    camera: CameraFaults = Field(default_factory=CameraFaults)


class PerformerSettings(Manifest):
    """Who sits in the simulated dome."""

    performer: Annotated[int, Field(ge=0)] = 0
    motion: Motion = "talking"
    noise_seed: Annotated[int, Field(ge=0)] = 0


class SimulatedHardware:
    """A stage that drivers can connect to; a context manager.

    Attributes:
        log: what every LED did.
        leds: the LED controller behind its pseudo-terminal.
        camera: the camera behind its sockets.
        leds_address, camera_address: where the drivers find them.
    """

    def __init__(
        self,
        *,
        dome: Dome,
        width: int,
        height: int,
        master: Literal["controller", "camera"] = "controller",
        performer: PerformerSettings | None = None,
        faults: StageFaults | None = None,
    ) -> None:
        """Make the devices; they can be reached once this is entered."""
        faults = faults or StageFaults()
        # one clock for all: true time of day at power-on, that never jumps afterwards
        begins_ns, beat_ns = time.time_ns(), time.monotonic_ns()

        def stage_now() -> int:
            return begins_ns + time.monotonic_ns() - beat_ns

        self.log = LightLog(len(dome))
        self._pictures = PerformerPictures(
            dome, width, height, self.log, begins_ns, performer or PerformerSettings()
        )
        self._master = master
        self.camera = PhantomServer(
            picture_source=self._pictures,
            stage_now=stage_now,
            faults=faults.camera,
            on_strobe=self._strobe,
        )
        self.leds = LedFirmwareOnPty(
            self.log, faults=faults.leds, on_sync_edge=self._edge, clock=stage_now
        )
        self._begins_ns = begins_ns
        self._pending_fault: tuple[str, int] | None = None
        self._stack = ExitStack()

    def _strobe(self, time_ns: int) -> None:
        if self._master == "camera":
            self.leds.strobe(time_ns)

    def fault_when_running(self, name: str, after_s: float) -> None:
        """Arm a fault of the LED controller: ``name``, a time, happens ``after_s`` into its run."""
        self._pending_fault = (name, round(after_s * 1e9))

    def _edge(self, time_ns: int) -> None:
        if self._pending_fault is not None:
            name, after_ns = self._pending_fault
            self._pending_fault = None
            since_power_on = time_ns + after_ns - self._begins_ns
            self.leds.faults = self.leds.faults.replace(**{name: since_power_on})
        self.camera.sync_edge(time_ns)

    @property
    def leds_address(self) -> str:
        """The LED controller's address."""
        return self.leds.address

    @property
    def camera_address(self) -> str:
        """The camera's address."""
        return self.camera.address

    def __enter__(self) -> Self:
        """Power on."""
        self._pictures.warm_up()
        with ExitStack() as stack:
            stack.enter_context(self.camera)
            stack.enter_context(self.leds)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Power off: lights dark, sockets and pseudo-terminal closed."""
        self._stack.close()


class PerformerPictures:
    """Frames of the performer under whatever the light log says lit each exposure.

    The performer's own time begins at ``begins_ns`` of the stage's.
    """

    def __init__(
        self,
        dome: Dome,
        width: int,
        height: int,
        log: LightLog,
        begins_ns: int,
        settings: PerformerSettings,
    ) -> None:
        self._dome = dome
        self._camera = SimulatedCamera(width, height)
        self._sensor = SimulatedSensor()
        self._log = log
        self._performer = Performer(seed=settings.performer, motion=settings.motion)
        self._noise_seed = settings.noise_seed
        self._begins_ns = begins_ns

    def warm_up(self) -> None:
        """Make the head, which takes seconds: a camera that is asked for a frame has it at once."""
        _ = self._performer.model

    def __call__(self, start_ns: int, exposure_ns: int, index: int) -> NDArray[np.uint8]:
        """Return the stored frame ``(height, width)`` of an exposure, in the stage's time."""
        on_ns = self._log.on_time_ns(start_ns, start_ns + exposure_ns)
        lit: Sequence[int] = np.flatnonzero(on_ns).tolist()
        light = np.zeros((self._camera.height, self._camera.width), np.float32)
        if lit:
            seen_s = (start_ns + exposure_ns / 2 - self._begins_ns) / 1e9
            vertices = self._performer.vertices(seen_s)
            scene = Scene(self._performer.model, self._camera, vertices)
            shares = on_ns[lit] / (REFERENCE_EXPOSURE_US * 1e3)
            light = render_mosaic(scene, self._dome, lit, shares, self._sensor.cfa)
        frame = self._sensor.read_out(light, frame_generator(self._noise_seed, index))
        return np.asarray(frame, dtype=np.uint8)
