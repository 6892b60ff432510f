"""Jobs: a take's OLAT sets made by worker processes; the only place that knows Dask."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import xxhash
from numpy.typing import NDArray

from lightstage.errors import LightstageError, SequenceError
from lightstage.fields import FieldsWriter
from lightstage.preprocess.align import AlignedSet, SetFrames, align_set
from lightstage.preprocess.develop import develop
from lightstage.preprocess.identify import Identification, coarse_pictures, identify
from lightstage.preprocess.ledger import Ledger
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import CineSource, FrameSource
from lightstage.session import Take

#: Called with the number of sets done and the number of all sets.
Progress = Callable[[int, int], None]
#: Sets handed to the workers ahead of what they have finished, per worker.
_AHEAD = 2


@dataclass(frozen=True)
class SetPlan:
    """One OLAT set to make: its place in the store and its frames."""

    index: int
    time_s: float
    centre_frame_number: int
    frames: SetFrames


@dataclass(frozen=True)
class TakePlan:
    """All sets of a take and what was found out about its frames."""

    identification: Identification
    sets: tuple[SetPlan, ...]
    missing: tuple[tuple[int, int], ...] = field(default=())  # (set, light) without a frame


@dataclass(frozen=True)
class PreprocessResult:
    """What :func:`preprocess_take` did."""

    path: Path
    sets: int
    made: int
    frames: int
    seconds: dict[str, float]
    identification: Identification
    missing: tuple[tuple[int, int], ...]


def plan_take(take: Take, source: FrameSource, settings: PreprocessSettings) -> TakePlan:
    """Identify a take's frames and choose those of each set.

    Raises:
        SequenceError: the take does not fit its sequence, or no whole set is in it.
    """
    sequence = take.sequence
    found = identify(coarse_pictures(source), source.time_ns, sequence, take.dome.directions)
    first, last = int(found.step_index[0]), int(found.step_index[-1])
    windows = sequence.windows(settings.rate_hz, frame_count=last + 1, first_frame=first)
    frame_of_step = found.frame_of_step()
    times_s = _frame_times(source, found, sequence.frame_rate_hz)
    # where a step has no frame, its time is still known: the steps are evenly spaced
    step_time = np.poly1d(np.polyfit(found.step_index, times_s, 1))
    sets: list[SetPlan] = []
    missing: list[tuple[int, int]] = []
    for window in windows:
        tracking = [step for step in window.tracking.tolist() if step in frame_of_step]
        if window.centre not in tracking or len(tracking) < 2:
            continue
        frames = np.array([frame_of_step.get(int(step), -1) for step in window.frames])
        missing += [(len(sets), int(light)) for light in np.flatnonzero(frames < 0)]
        times = np.where(frames >= 0, times_s[frames], step_time(window.frames))
        indices = np.array([frame_of_step[step] for step in tracking])
        centre = tracking.index(window.centre)
        sets.append(
            SetPlan(
                index=len(sets),
                time_s=float(times_s[indices[centre]]),
                centre_frame_number=source.first_frame_number + int(indices[centre]),
                frames=SetFrames(frames, times, indices, times_s[indices], centre),
            )
        )
    if not sets:
        raise SequenceError(
            f"{take.path}: holds no whole OLAT set: {len(source)} frames from step {first} to "
            f"{last}; a set needs {sequence.frames_per_window} frames from one tracking frame to "
            f"another."
        )
    return TakePlan(found, tuple(sets), tuple(missing))


def preprocess_take(
    take: Take,
    settings: PreprocessSettings | None = None,
    *,
    output: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> PreprocessResult:
    """Make a take's reflectance fields; sets that are done already are not made again.

    Args:
        take: the take, with its recording.
        settings: what to make.
        output: where the store goes; the take's ``aligned.zarr`` unless said otherwise.
        workers: worker processes on this machine; 1 = this process alone.
        scheduler: address of a running ``dask.distributed`` scheduler, instead of ``workers``;
            its workers must see the session under the same path.
        progress: called after each set.

    Raises:
        LightstageError: the take is damaged or does not fit its sequence.
    """
    settings = settings or PreprocessSettings()
    output = output or take.aligned_path
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    with CineSource(take.cine_path) as source:
        plan = plan_take(take, source, settings)
        seconds["identify"] = time.perf_counter() - started
        digest = _digest(take, source, settings)
        ledger = Ledger(take.ledger_path / output.stem, digest)
        done = _prepare_store(output, take, source, plan, settings, digest, ledger)
    frames = len(plan.identification.step_index)
    todo = [item for item in plan.sets if item.index not in done]
    finished = len(done)
    if progress:
        progress(finished, len(plan.sets))
    started = time.perf_counter()
    work = _SetWork(str(take.cine_path), str(output), settings)
    for index, figures in _run(work, todo, workers, scheduler):
        ledger.finish(_unit(index), **figures)
        finished += 1
        if progress:
            progress(finished, len(plan.sets))
    seconds["align"] = time.perf_counter() - started
    if todo:
        lost = [item.index for item in plan.sets if not ledger.is_done(_unit(item.index))]
        if lost:
            raise LightstageError(f"{output}: sets {lost} were not made; run the command again.")
        FieldsWriter.open(output).finish()
    return PreprocessResult(
        path=output,
        sets=len(plan.sets),
        made=len(todo),
        frames=frames,
        seconds=seconds,
        identification=plan.identification,
        missing=plan.missing,
    )


def make_set(source: FrameSource, plan: SetPlan, settings: PreprocessSettings) -> AlignedSet:
    """Return one OLAT set of a plan, made from its frames."""

    def developed(index: int) -> NDArray[np.float32]:
        return develop(
            source[index],
            cfa=source.cfa,
            black_level=source.black_level,
            white_level=source.white_level,
            settings=settings.develop,
        )

    return align_set(plan.frames, developed, settings)


@dataclass(frozen=True)
class _SetWork:
    """Makes one set and stores it; sent to worker processes."""

    cine_path: str
    output: str
    settings: PreprocessSettings

    def __call__(self, plan: SetPlan) -> tuple[int, dict[str, Any]]:
        cv2.setNumThreads(1)
        started = time.perf_counter()
        with CineSource(Path(self.cine_path)) as source:
            aligned = make_set(source, plan, self.settings)
        FieldsWriter.open(self.output).write_set(
            plan.index,
            olat=aligned.olat,
            full_lit=aligned.full_lit,
            confidence=aligned.confidence,
            time_s=plan.time_s,
            centre_frame=plan.centre_frame_number,
        )
        return plan.index, {"seconds": round(time.perf_counter() - started, 3)}


def _run(
    work: _SetWork, todo: list[SetPlan], workers: int, scheduler: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the result of each set as it is done, in this process or by Dask workers."""
    if not todo:
        return
    if scheduler is None and (workers <= 1 or len(todo) == 1):
        for plan in todo:
            yield work(plan)
        return
    from distributed import as_completed

    with _client(min(workers, len(todo)), scheduler) as client:
        # few tasks at a time: the scheduler never sees a graph of the whole take
        waiting = iter(todo)
        ahead = max(2, _AHEAD * max(1, len(client.scheduler_info(n_workers=-1)["workers"])))
        first = [client.submit(work, plan, pure=False) for plan in islice(waiting, ahead)]
        queue = as_completed(first)
        for future in queue:
            yield future.result()
            following = next(waiting, None)
            if following is not None:
                queue.add(client.submit(work, following, pure=False))


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError, TimeoutError) as reason:
            raise LightstageError(
                f"{scheduler}: no Dask scheduler answers there ({reason}); start one with "
                f"'dask scheduler' or leave --scheduler out."
            ) from None
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _prepare_store(
    output: Path,
    take: Take,
    source: FrameSource,
    plan: TakePlan,
    settings: PreprocessSettings,
    digest: str,
    ledger: Ledger,
) -> set[int]:
    """Make the store, or go on with one of the same hash; return the sets that are done."""
    if (output / "zarr.json").is_file() and _store_digest(output) == digest:
        return {item.index for item in plan.sets if ledger.is_done(_unit(item.index))}
    ledger.forget_all()
    FieldsWriter.create(
        output,
        sets=len(plan.sets),
        height=source.height,
        width=source.width,
        dome=take.dome,
        rate_hz=settings.rate_hz or take.sequence.tracking_rate_hz,
        attributes={
            "digest": digest,
            "take": take.name,
            "sequence": take.sequence.model_dump(mode="json"),
            "settings": settings.model_dump(mode="json"),
            "identified_by": plan.identification.method,
            "dropped_steps": plan.identification.dropped.tolist(),
            "missing": [list(pair) for pair in plan.missing],
        },
    )
    return set()


def _store_digest(output: Path) -> str | None:
    import zarr

    try:
        digest = zarr.open_group(str(output), mode="r").attrs.get("digest")
    except Exception:  # a damaged store is made anew
        return None
    return str(digest) if digest is not None else None


def _digest(take: Take, source: FrameSource, settings: PreprocessSettings) -> str:
    """Return a hash of all that the sets depend on; a session keeps it when it is copied."""
    recording = take.cine_path.stat()
    stamps = source.time_ns
    # without time stamps nothing but the file's own date tells one recording from another
    identity = (
        str(recording.st_mtime_ns) if stamps is None else xxhash.xxh3_64_hexdigest(stamps.tobytes())
    )
    return settings.digest(
        take.dome.model_dump_json(),
        take.sequence.model_dump_json(),
        f"{recording.st_size} {len(source)} {identity}",
    )


def _unit(index: int) -> str:
    return f"set_{index:06d}"


def _frame_times(
    source: FrameSource, found: Identification, frame_rate_hz: float
) -> NDArray[np.float64]:
    """Return each frame's time in seconds from the take's first frame."""
    counted = (found.step_index - found.step_index[0]) / frame_rate_hz
    stamps = source.time_ns
    if stamps is None or len(stamps) != len(counted):
        return np.asarray(counted, dtype=np.float64)
    stamped = (stamps - stamps[0]) / 1e9
    # a garbage stamp is off by more than a frame; its place on the beat is the better time
    good = np.abs(stamped - np.median(stamped - counted) - counted) < 1.0 / frame_rate_hz
    return np.asarray(np.where(good, stamped, counted), dtype=np.float64)
