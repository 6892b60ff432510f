"""A small simulated stage for tests: 24 lights, 128x96 pixels, a take of a tenth of a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lightstage import CaptureSequence, Dome, Session, Take
from lightstage.capture.run import CaptureOrder
from lightstage.devices.phantom import PhantomCamera
from lightstage.devices.serial_led import SerialLedController
from lightstage.simulation.stage_hardware import SimulatedHardware, StageFaults

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)
WIDTH, HEIGHT = 128, 96
FRAMES = 100


@dataclass
class TestStage:
    """Hardware and the drivers connected to it."""

    hardware: SimulatedHardware
    leds: SerialLedController
    camera: PhantomCamera

    __test__ = False


@contextmanager
def stage(
    faults: StageFaults | None = None, timeout_s: float = 1.0, master: str = "controller"
) -> Iterator[TestStage]:
    hardware = SimulatedHardware(
        dome=DOME, width=WIDTH, height=HEIGHT, faults=faults, master=master
    )
    with (
        hardware,
        closing(SerialLedController(hardware.leds_address, timeout_s=timeout_s)) as leds,
        closing(PhantomCamera(hardware.camera_address, timeout_s=timeout_s)) as camera,
    ):
        yield TestStage(hardware, leds, camera)


def order(**changes) -> CaptureOrder:
    settings = {"frame_count": FRAMES, "width": WIDTH, "height": HEIGHT, "simulated": True}
    return CaptureOrder(sequence=SEQUENCE, **{**settings, **changes})


def new_take(folder: Path, name: str = "talk") -> Take:
    path = folder / "session"
    if Session.is_at(path):
        session = Session.open(path)
    else:
        session = Session.create(path, dome=DOME, sequence=SEQUENCE)
    return session.add_take(name, origin="captured")
