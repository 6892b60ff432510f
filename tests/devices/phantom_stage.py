"""A simulated Phantom on a stage whose clock the test moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.devices.interfaces import CameraSettings
from lightstage.devices.phantom import PhantomCamera
from lightstage.simulation.phantom_camera import CameraClock, CameraFaults, PhantomServer

#: 2026-03-01 12:00:00 UTC.
BEGIN_NS = 1_772_366_400_000_000_000
WIDTH, HEIGHT = 128, 64


def picture(start_ns: int, exposure_ns: int, index: int) -> NDArray[np.uint8]:
    """A frame that tells its number in every pixel, and which row is the top."""
    frame = np.full((HEIGHT, WIDTH), index % 200 + 10, np.uint8)
    frame[0] = 255
    return frame


class TestStage:
    """Camera, driver and the stage's clock."""

    __test__ = False

    def __init__(self, faults: CameraFaults | None = None, timeout_s: float = 0.4, **more) -> None:  # type: ignore[no-untyped-def]
        self.now_ns = BEGIN_NS
        driver = {name: more.pop(name) for name in ("data", "image_format") if name in more}
        request = more.pop("request_bytes", 1 << 20)
        self.server = PhantomServer(
            more.pop("picture_source", picture),
            stage_now=lambda: self.now_ns,
            clock=more.pop("clock", CameraClock(reference_ns=BEGIN_NS)),
            faults=faults,
            **more,
        ).start()
        try:
            self.camera = PhantomCamera(
                self.server.address, timeout_s, request_bytes=request, **driver
            )
        except BaseException:
            self.server.close()
            raise

    def __enter__(self) -> TestStage:
        return self

    def __exit__(self, *_: object) -> None:
        self.camera.close()
        self.server.close()

    def beat(self, edges: int, period_ns: int = 1_000_000) -> int:
        first = self.now_ns + period_ns
        for _ in range(edges):
            self.now_ns += period_ns
            self.server.sync_edge(self.now_ns)
        self.now_ns += period_ns // 2
        return first

    def record(self, frames: int = 20, exposure_ns: int = 700_000, before: int = 0) -> None:
        self.camera.configure(CameraSettings(WIDTH, HEIGHT, 1000.0, exposure_ns, frames))
        self.camera.arm()
        self.beat(before)
        self.camera.trigger()
        self.beat(frames)
