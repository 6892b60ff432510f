"""Simulated takes: raw frames of a performer under a capture sequence, and .cine files of them."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
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
from lightstage.simulation.take_faults import TakeFaults
from lightstage.simulation.take_steps import NO_STEP, TakeSteps, draw_steps
from lightstage.simulation.unstamped import remove_time_stamps

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
        SequenceError: the sequence has lights that the dome lacks, or the faults name lights that
            the sequence lacks.
    """

    sequence: CaptureSequence = field(default_factory=CaptureSequence)
    dome: Dome = field(default_factory=Dome.evenly_spread)
    performer: Performer = field(default_factory=Performer)
    camera: SimulatedCamera = field(default_factory=SimulatedCamera)
    sensor: SimulatedSensor = field(default_factory=SimulatedSensor)
    seed: int = 0
    faults: TakeFaults = field(default_factory=TakeFaults)

    def __post_init__(self) -> None:
        """Check that the dome has the sequence's lights."""
        if self.sequence.lights > len(self.dome):
            raise SequenceError(
                f"the sequence has {self.sequence.lights} lights, the dome {self.dome.name!r} only "
                f"{len(self.dome)}."
            )
        self.faults.check_lights(self.sequence.lights)

    @property
    def sound(self) -> SimulatedStage:
        """The same stage without faults."""
        return replace(self, faults=TakeFaults())

    def time_s(self, index: float) -> float:
        """Return when the performer is seen in frame ``index``: the middle of its exposure."""
        return index / self.sequence.frame_rate_hz + 0.5e-6 * self.sequence.exposure_us

    def scene(self, index: float) -> Scene:
        """Return the performer as frame ``index`` sees them."""
        vertices = self.performer.vertices(self.time_s(index))
        return Scene(self.performer.model, self.camera, vertices)

    def lighting(self, index: int) -> Lighting:
        """Return which lights are on in frame ``index``, and how much of each the frame gathers."""
        return self._lighting(self._light_us(index, 0.0))

    def false_lighting(self, index: int) -> Lighting:
        """Return what lights a false frame that is exposed half a period after ``index``."""
        half_us = 0.5 * self.sequence.frame_period_us
        return self._lighting(self._light_us(index, half_us) + self._light_us(index + 1, -half_us))

    @cached_property
    def light_gain(self) -> NDArray[np.float32]:
        """Each light's brightness over the whole take, ``(lights,)``, 1 = sound."""
        return self.faults.light_gains(self.sequence.lights)

    def gain(self, index: int) -> float:
        """Return how bright step ``index`` is against a sound one's 1; 1 where nothing is lit."""
        kind = self.sequence.step(index).kind
        if kind is StepKind.TRACKING:
            return self.faults.tracking_gain(index, index / self.sequence.frame_rate_hz)
        return self.faults.olat_gain(index) if kind is StepKind.OLAT else 1.0

    def _light_us(self, index: int, delay_us: float) -> NDArray[np.float64]:
        """Return what an exposure gathers from step ``index``'s pulse, ``(lights,)`` in us.

        The exposure begins ``delay_us`` after the step's own.
        """
        s = self.sequence
        gathered = np.zeros(s.lights)
        step = s.step(index)
        if step.kind is StepKind.OLAT:
            lit, begin, end = [step.light], -s.lead_us, s.exposure_us + s.lag_us
        elif step.kind is StepKind.TRACKING:
            begin = 0.5 * (s.exposure_us - s.tracking_pulse_us)
            lit, end = list(range(s.lights)), begin + s.tracking_pulse_us
        else:
            return gathered
        shared = min(end, delay_us + s.exposure_us) - max(begin, delay_us)
        gathered[lit] = max(shared, 0.0) * self.gain(index) * self.light_gain[lit]
        return gathered

    def _lighting(self, gathered_us: NDArray[np.float64]) -> Lighting:
        stuck = list(self.faults.stuck_on)
        gathered_us[stuck] = self.sequence.exposure_us * self.light_gain[stuck]
        lit = np.flatnonzero(gathered_us)
        return Lighting(lit.tolist(), (gathered_us[lit] / REFERENCE_EXPOSURE_US).astype(np.float32))

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
        noise = frame_generator(self.seed, index)
        stored = self.exposed(self.scene(index), self.lighting(index), noise)
        return SimulatedFrame(index, self.time_s(index), self.sequence.step(index), stored)

    def false_frame(self, index: int) -> Stored:
        """Return the frame of a false trigger half a period after frame ``index``'s."""
        noise = frame_generator(self.seed, index, false=True)
        return self.exposed(self.scene(index + 0.5), self.false_lighting(index), noise)

    def exposed(self, scene: Scene, lit: Lighting, noise: np.random.Generator) -> Stored:
        """Return the stored frame of ``scene`` so lit."""
        light = render_mosaic(scene, self.dome, lit.lights, self._gains(lit), self.sensor.cfa)
        return self.sensor.read_out(light, noise)

    def _gains(self, lit: Lighting) -> NDArray[np.float32]:
        return np.asarray(self.dome.gains[lit.lights] * lit.shares[:, None], np.float32)

    def time_ns(self, beat: float, begins_ns: int = TAKE_BEGINS_NS) -> int:
        """Return the time stamp of an exposure that began ``beat`` periods after step 0's did.

        ``begins_ns`` is when that was, by the camera's clock, which counts in steps of 0.24 us.
        """
        noise = frame_generator(self.seed + 1, int(beat), false=beat % 1.0 != 0.0)
        ideal = beat * 1e9 / self.sequence.frame_rate_hz + noise.normal(0.0, 120.0)
        return begins_ns + round(ideal / CLOCK_STEP_NS) * CLOCK_STEP_NS


def simulate_frames(
    stage: SimulatedStage, frame_count: int, first: int = 0, workers: int = 1
) -> Iterator[SimulatedFrame]:
    """Yield the raw frames ``first`` to ``first + frame_count - 1`` in order, none lost or doubled.

    Args:
        stage: what is recorded; of its faults only the lights' are seen.
        frame_count: how many frames.
        first: the index of the first in the sequence, 0 = the preamble's first frame.
        workers: processes that render; with more than 1 the calling script needs the usual
            ``if __name__ == "__main__"`` guard. The frames are the same for any number.
    """
    indices = range(first, first + frame_count)
    with closing(_rendered(stage, zip(indices, repeat(0)), workers)) as rendered:
        for index, stored in zip(indices, rendered, strict=False):
            yield SimulatedFrame(index, stage.time_s(index), stage.sequence.step(index), stored)


def take_steps(stage: SimulatedStage, step_count: int, first_step: int = 0) -> TakeSteps:
    """Return what each frame of a take of the stage truly shows, and what is wrong with it.

    Args:
        stage: what is recorded, and with which faults.
        step_count: steps that the sequence runs through while the camera records.
        first_step: the first of them; behind the preamble, the take begins in mid-cycle.

    Raises:
        SequenceError: a fault names what the take does not have, or leaves nothing of it.
    """
    return _steps_and_owners(stage, step_count, first_step)[0]


def simulate_take(
    path: str | os.PathLike[str],
    stage: SimulatedStage,
    frame_count: int,
    workers: int = 1,
    progress: Progress | None = None,
    begins_ns: int = TAKE_BEGINS_NS,
    first_step: int = 0,
) -> TakeSteps:
    """Record ``frame_count`` steps of the stage as the .cine file ``path``.

    An interruption leaves no file. Memory does not grow with the take but for some 60 bytes a
    frame of stamps and truth.

    Args:
        path: the file to make.
        stage: what is recorded, and with which faults.
        frame_count: how many steps of the sequence, the preamble's included; without dropped or
            extra ones each gives a frame.
        workers: processes that render.
        progress: called with (frames done, frames in all) after each frame.
        begins_ns: UTC nanoseconds of step 0.
        first_step: the step of the first frame; behind the preamble, the take begins in mid-cycle.

    Returns:
        what each frame truly shows.

    Raises:
        InputError: the file cannot be written.
        SequenceError: a fault names what the take does not have, or leaves nothing of it.
    """
    sequence, sensor, path = stage.sequence, stage.sensor, Path(path)
    steps, owners = _steps_and_owners(stage, frame_count, first_step)
    unstamped = stage.faults.no_stamps
    written = path.with_name(f"{path.stem}.stamped{path.suffix}") if unstamped else path
    with CineWriter(
        written,
        width=stage.camera.width,
        height=stage.camera.height,
        frame_count=len(steps),
        frame_rate_hz=sequence.frame_rate_hz,
        exposure_us=sequence.exposure_us,
        bit_depth=sensor.bit_depth,
        cfa=sensor.cfa,
        black_level=sensor.black_level,
        white_level=sensor.white_level,
        trigger_time_ns=begins_ns,
    ) as writer:
        exposure_ns = round(1000 * sequence.exposure_us)
        garbage = np.random.default_rng([stage.faults.seed, 4])
        tasks = zip(steps.step_index.tolist(), owners.tolist(), strict=True)
        with closing(_rendered(stage, tasks, workers)) as rendered:
            for index, stored in enumerate(rendered):
                time_ns = stage.time_ns(float(steps.beat[index]), begins_ns)
                if steps.garbage_stamp[index]:
                    time_ns = int(garbage.integers(0, 1 << 32)) * 1_000_000_000
                writer.write(stored, time_ns, exposure_ns)
                if progress is not None:
                    progress(index + 1, len(steps))
    if unstamped:
        remove_time_stamps(written)
        written.replace(path)
    return steps


def _steps_and_owners(
    stage: SimulatedStage, step_count: int, first_step: int
) -> tuple[TakeSteps, NDArray[np.int64]]:
    """Return :func:`take_steps` and the step after which each frame was exposed."""
    steps, owners = draw_steps(stage.faults, step_count, first_step)
    gain = steps.gain
    faults = stage.faults
    if (
        faults.tracking_gain_jitter or faults.olat_gain_jitter
        or faults.supply_droop or faults.supply_fade_per_s
    ):  # fmt: skip
        shown = (1.0 if s == NO_STEP else stage.gain(s) for s in steps.step_index.tolist())
        gain = np.fromiter(shown, np.float32, len(steps))
    return replace(steps, gain=gain, light_gain=stage.light_gain), owners


# Rendering, in this process or in several

#: What to render: a step, or NO_STEP and the step after which a false frame is exposed.
Task = tuple[int, int]


def _rendered(
    stage: SimulatedStage, tasks: Iterable[Task], workers: int
) -> Generator[Stored, None, None]:
    """Yield the stored frame of each task in order; few are in memory at a time."""
    if workers <= 1:
        for task in tasks:
            yield _render(stage, task)
        return
    with _worker_pool(stage, workers) as pool:
        waiting: deque[Future[Stored]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(_work, task))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _render(stage: SimulatedStage, task: Task) -> Stored:
    step, after = task
    return stage.false_frame(after) if step == NO_STEP else stage.frame(step).frame


#: Each worker process keeps its own stage.
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
    # an interruption is the parent's to handle; when that is gone, so is the worker's purpose
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _stage_of_worker = stage


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Stored:
    assert _stage_of_worker is not None
    return _render(_stage_of_worker, task)
