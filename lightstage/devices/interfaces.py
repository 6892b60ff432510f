"""The two interfaces that capture speaks to: an LED controller and a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lightstage.devices.led_program import LedProgram

ColourFilter = Literal["GRAY", "GBRG", "RGGB", "GRBG", "BGGR"]
LedState = Literal["idle", "armed", "running", "done", "fault"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LedIdentity:
    """Who an LED controller is and what it can do; times in nanoseconds unless said otherwise."""

    product: str
    firmware_version: str
    protocol_version: int
    serial: str
    channels: int
    max_patterns: int
    max_steps: int
    timer_resolution_ns: int
    watchdog_ms: int


@dataclass(frozen=True)
class LedCounters:
    """What an LED controller has counted since it was armed."""

    edges_in: int
    triggers_out: int
    steps_executed: int
    steps_missed: int


@dataclass(frozen=True)
class LedStatus:
    """How an LED controller is."""

    state: LedState
    faults: tuple[str, ...]
    temperature_c: float
    supply_v: float
    counters: LedCounters


@dataclass(frozen=True)
class LedEvent:
    """Something an LED controller reported unasked, by its own clock."""

    name: str
    device_time_us: int
    detail: str = ""


class LedController(Protocol):
    """An LED controller, real or simulated. Each call ends within the driver's timeout.

    Every method raises DeviceError, naming the address and what did not happen.
    """

    address: str

    def identify(self) -> LedIdentity:
        """Return who it is and what it can do."""

    def upload(self, program: LedProgram) -> None:
        """Send both tables, checked by the controller before they count."""

    def arm(self) -> None:
        """Set counters to zero and be ready to start at once; lights stay dark."""

    def start(self) -> None:
        """Begin with step 0: at once as master, at the camera's next strobe else."""

    def stop(self) -> None:
        """Lights dark, whatever the state; never fails because nothing was running."""

    def status(self) -> LedStatus:
        """Return its state, faults and counters."""

    def set_lights(self, channels: Sequence[int], duration_ms: int) -> None:
        """Turn exactly these lights on; the controller itself turns them off after the time."""

    def events(self) -> list[LedEvent]:
        """Return and forget what it has reported unasked since the last call."""

    def close(self) -> None:
        """Lights dark, connection closed; may be called again."""


@dataclass(frozen=True)
class CameraIdentity:
    """Who a camera is and what it can do."""

    model: str
    serial: str
    firmware_version: str
    width_max: int
    height_max: int
    width_step: int
    height_step: int
    exposure_min_ns: int
    dead_time_ns: int
    memory_mb: int
    cfa: str


@dataclass(frozen=True)
class CameraSettings:
    """What a camera is told to record; the camera's own values once they are read back."""

    width: int
    height: int
    frame_rate_hz: float
    exposure_ns: int
    post_trigger_frames: int
    sync: Literal["internal", "external"] = "external"


@dataclass(frozen=True)
class FrameFormat:
    """How a camera's raw frames are laid out: 8 bits in one byte, more in two, little-endian.

    ``cfa`` names the top left 2x2 pixels, such as ``GBRG``; ``GRAY`` for none.
    """

    width: int
    height: int
    bit_depth: int
    cfa: ColourFilter
    black_level: int
    white_level: int

    def pixels(self, raw: bytes | memoryview) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return one raw frame as stored values ``(height, width)``, without copying."""
        size = (self.height, self.width)
        if self.bit_depth == 8:
            return np.frombuffer(raw, dtype=np.uint8).reshape(size)
        return np.frombuffer(raw, dtype=np.dtype("<u2")).reshape(size)


@dataclass(frozen=True)
class Recording:
    """A finished recording in the camera's memory."""

    first_frame_number: int
    frame_count: int
    trigger_time_ns: int


class Camera(Protocol):
    """A high-speed camera, real or simulated. Each call ends within the driver's timeout.

    Every method raises DeviceError, naming the address and what did not happen.
    """

    address: str

    def identify(self) -> CameraIdentity:
        """Return who it is and what it can do."""

    def configure(self, settings: CameraSettings) -> CameraSettings:
        """Set the camera up and return what it made of the settings, read back."""

    def arm(self, *, discard_stored: bool = False) -> None:
        """Record into memory and wait for a trigger; return once it truly waits.

        Refuses while a recording is stored, unless told to discard it.
        """

    def trigger(self) -> None:
        """Trigger by software."""

    def wait_recorded(self, timeout_s: float, progress: Progress | None = None) -> Recording:
        """Wait until the recording is stored."""

    def timestamps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return time stamps of exposure start and exposures, ns, of the stored recording.

        One of each for every frame, in order, UTC since 1970. A time that cannot be true is 0.
        """

    def frame_format(self) -> FrameFormat:
        """Return how the frames that :meth:`frames` yields are laid out."""

    def frames(
        self, first: int, count: int, progress: Progress | None = None
    ) -> Iterator[bytes | memoryview]:
        """Yield the raw frames ``first … first + count - 1`` (camera's numbers), top row first.

        A data connection that breaks, stalls or delivers short is gone on with at the first frame
        that is missing, a bounded number of times; then DeviceError says what came and what did
        not. Memory holds a frame or two.
        """

    def abort(self) -> None:
        """Stop recording; never fails because nothing was running."""

    def close(self) -> None:
        """Close the connection; may be called again."""
