"""Simulated takes: raw frames of a performer under a capture sequence, and .cine files of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightstage.cine import CineWriter
from lightstage.dome import Dome
from lightstage.errors import SequenceError
from lightstage.sequence import CaptureSequence, Step, StepKind
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.mosaic import render_mosaic
from lightstage.simulation.performer import Performer
from lightstage.simulation.render import Scene, render_sum
from lightstage.simulation.sensor import SimulatedSensor, frame_generator

Stored = NDArray[np.uint8] | NDArray[np.uint16]
Progress = Callable[[int, int], None]

#: The exposure for which the renderer's brightness is made: a front light's brightest skin lies at
#: about three quarters of white.
REFERENCE_EXPOSURE_US = 700.0
#: The camera's clock counts in steps of 0.24 us (a PH16 time stamp).
CLOCK_STEP_NS = 240
#: When a simulated take begins unless told: 2024-01-01 12:00:00 UTC.
TAKE_BEGINS_NS = 1_704_110_400_000_000_000


class SimulatedFrame(NamedTuple):
    """One raw frame: its index in the take, when the performer was seen, what was lit, pixels."""

    index: int  # type: ignore[assignment]  # not tuple.index
    time_s: float
    step: Step
    frame: Stored


class Lighting(NamedTuple):
    """The lights that are on in a frame, and the share ``(n,)`` of each that the frame gathers.

    A share of 1 is a sound light that is on for the reference exposure.
    """

    lights: list[int]
    shares: NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedStage:
    """All that decides what the camera records: lights and their sequence, performer, camera.

    Raises:
        SequenceError: the sequence has lights that the dome lacks.
    """

    sequence: CaptureSequence = field(default_factory=CaptureSequence)
    dome: Dome = field(default_factory=Dome.evenly_spread)
    performer: Performer = field(default_factory=Performer)
    camera: SimulatedCamera = field(default_factory=SimulatedCamera)
    sensor: SimulatedSensor = field(default_factory=SimulatedSensor)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the dome has the sequence's lights."""
        if self.sequence.lights > len(self.dome):
            raise SequenceError(
                f"the sequence has {self.sequence.lights} lights, the dome {self.dome.name!r} only "
                f"{len(self.dome)}."
            )

    def time_s(self, index: int) -> float:
        """Return when the performer is seen in frame ``index``: the middle of its exposure."""
        return index / self.sequence.frame_rate_hz + 0.5e-6 * self.sequence.exposure_us

    def scene(self, index: int) -> Scene:
        """Return the performer as frame ``index`` sees them."""
        vertices = self.performer.vertices(self.time_s(index))
        return Scene(self.performer.model, self.camera, vertices)

    def lighting(self, index: int) -> Lighting:
        """Return which lights are on in frame ``index``, and how much of each the frame gathers."""
        step = self.sequence.step(index)
        lights = {
            StepKind.OLAT: [step.light],
            StepKind.TRACKING: list(range(self.sequence.lights)),
            StepKind.DARK: [],
        }[step.kind]
        return Lighting(lights, np.full(len(lights), self.light_share(step.kind), np.float32))

    def light_share(self, kind: StepKind) -> float:
        """Return the light a frame gathers, 1 = a light that is on for the reference exposure."""
        tracking = kind is StepKind.TRACKING
        on_us = self.sequence.tracking_pulse_us if tracking else self.sequence.exposure_us
        return on_us / REFERENCE_EXPOSURE_US

    def picture(self, index: int) -> NDArray[np.float32]:
        """Return frame ``index`` without noise, ``(height, width, 3)``, 1.0 = white, unclipped."""
        lit = self.lighting(index)
        return render_sum(self.scene(index), self.dome, lit.lights, self._gains(lit))

    def frame(self, index: int) -> SimulatedFrame:
        """Return frame ``index`` as recorded; its noise does not depend on other frames."""
        stored = self.exposed(self.scene(index), self.lighting(index), index)
        return SimulatedFrame(index, self.time_s(index), self.sequence.step(index), stored)

    def exposed(self, scene: Scene, lit: Lighting, noise: int) -> Stored:
        """Return the stored frame of ``scene`` so lit, with the noise of frame ``noise``."""
        light = render_mosaic(scene, self.dome, lit.lights, self._gains(lit), self.sensor.cfa)
        return self.sensor.read_out(light, frame_generator(self.seed, noise))

    def _gains(self, lit: Lighting) -> NDArray[np.float32]:
        return np.asarray(self.dome.gains[lit.lights] * lit.shares[:, None], np.float32)

    def time_ns(self, index: int, begins_ns: int = TAKE_BEGINS_NS) -> int:
        """Return frame ``index``'s time stamp: when its exposure began by the camera's clock."""
        jitter = frame_generator(self.seed + 1, index).normal(0.0, 120.0)
        ideal = index * 1e9 / self.sequence.frame_rate_hz + jitter
        return begins_ns + round(ideal / CLOCK_STEP_NS) * CLOCK_STEP_NS


def simulate_frames(
    stage: SimulatedStage, frame_count: int, first: int = 0, workers: int = 1
) -> Iterator[SimulatedFrame]:
    """Yield the raw frames ``first`` to ``first + frame_count - 1`` in order.

    Args:
        stage: what is recorded.
        frame_count: how many frames.
        first: the index of the first in the sequence, 0 = the preamble's first frame.
        workers: processes that render; with more than 1 the calling script needs the usual
            ``if __name__ == "__main__"`` guard. The frames are the same for any number.
    """
    indices = range(first, first + frame_count)
    if workers <= 1:
        yield from map(stage.frame, indices)
        return
    with _worker_pool(stage, workers) as pool:
        waiting: deque[Future[SimulatedFrame]] = deque()
        try:
            for index in indices:
                waiting.append(pool.submit(_work, index))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def simulate_take(
    path: str | os.PathLike[str],
    stage: SimulatedStage,
    frame_count: int,
    workers: int = 1,
    progress: Progress | None = None,
    begins_ns: int = TAKE_BEGINS_NS,
) -> None:
    """Record ``frame_count`` frames of the stage as the .cine file ``path``.

    Args:
        path: the file to make.
        stage: what is recorded.
        frame_count: how many frames, the preamble's included.
        workers: processes that render.
        progress: called with (frames done, frames in all) after each frame.
        begins_ns: UTC nanoseconds of the first frame.

    Raises:
        InputError: the file cannot be written.
    """
    sequence, sensor = stage.sequence, stage.sensor
    with CineWriter(
        Path(path),
        width=stage.camera.width,
        height=stage.camera.height,
        frame_count=frame_count,
        frame_rate_hz=sequence.frame_rate_hz,
        exposure_us=sequence.exposure_us,
        bit_depth=sensor.bit_depth,
        cfa=sensor.cfa,
        black_level=sensor.black_level,
        white_level=sensor.white_level,
        trigger_time_ns=begins_ns,
    ) as writer:
        exposure_ns = round(1000 * sequence.exposure_us)
        for shown in simulate_frames(stage, frame_count, workers=workers):
            writer.write(shown.frame, stage.time_ns(shown.index, begins_ns), exposure_ns)
            if progress is not None:
                progress(shown.index + 1, frame_count)


# Workers: each process keeps its own stage

_stage_of_worker: SimulatedStage | None = None


def _worker_pool(stage: SimulatedStage, workers: int) -> ProcessPoolExecutor:
    """Return a pool of fresh processes with one thread each.

    Forking would copy OpenCV's locks in whatever state they are; two BLAS threads in each process
    would halve the speed of both.
    """
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin_work, initargs=(stage,)
    )
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        # the executor starts its processes at the first tasks
        for future in [pool.submit(os.getpid) for _ in range(workers)]:
            future.result(timeout=120)
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return pool


def _begin_work(stage: SimulatedStage) -> None:
    import cv2

    global _stage_of_worker
    cv2.setNumThreads(1)
    _stage_of_worker = stage


def _work(index: int) -> SimulatedFrame:
    assert _stage_of_worker is not None
    return _stage_of_worker.frame(index)
