"""Jobs: a take's OLAT sets, made by this process or shared out to Dask workers."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import cv2

from lightstage.aligned_store import HALF_CODEC, Kind, write_image, write_olat
from lightstage.errors import LightstageError
from lightstage.preprocess.cluster import (
    WORKERS_WITHIN_S,
    LocalWorkers,
    running_cluster,
    worker_addresses,
)
from lightstage.preprocess.costs import Costs, check_it_fits, estimate
from lightstage.preprocess.develop import with_balance
from lightstage.preprocess.field_correction import with_calibration
from lightstage.preprocess.ledger import Ledger
from lightstage.preprocess.plan import SetPlan, TakePlan, plan_take, view_of
from lightstage.preprocess.set_maker import MakerOptions, SetMaker
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import FrameSource, open_path, open_source
from lightstage.preprocess.store import (
    create_store,
    finish_store,
    flagged_sets,
    note_calibration,
    padded_motion,
    store_digest,
)
from lightstage.preprocess.worker_process import keep_freed_memory
from lightstage.session import Take

#: What is handed to a worker at a time.
Unit = TypeVar("Unit")
#: Called with the number of sets done and the number of all sets.
Progress = Callable[[int, int], None]
#: Sets handed to a worker ahead of what it has finished.
_AHEAD = 2
#: Neighbouring sets that go to one worker, which remembers the frames they share.
_BATCH = 16
#: Tracking frames of the sets to come that are remembered beyond a window's.
_TRACKING_AHEAD = 8
#: How long to wait for any one set.
_SET_WITHIN_S = 1800.0


@dataclass(frozen=True)
class JobOptions:
    """How a job is run; what it makes does not depend on it.

    Attributes:
        workers: worker processes on this machine; 1 = this process alone.
        scheduler: address of a running ``dask.distributed`` scheduler, instead of ``workers``; its
            workers must see the session under the same path.
        dashboard: port of Dask's dashboard on 127.0.0.1, or ``None``.
        memory_bytes: what all workers of this machine may use; ``None`` = what is free.
    """

    workers: int = 1
    scheduler: str | None = None
    dashboard: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class PreprocessResult:
    """What :func:`preprocess_take` did."""

    path: Path
    kind: Kind
    made: int
    frames: int
    plan: TakePlan
    seconds: dict[str, float]
    stages: dict[str, float] = field(default_factory=dict)
    flagged: int = 0

    @property
    def sets(self) -> int:
        """How many sets the store has."""
        return len(self.plan.sets)


def preprocess_take(
    take: Take,
    settings: PreprocessSettings | None = None,
    *,
    output: Path | None = None,
    kind: Kind = "materialised",
    options: JobOptions | None = None,
    progress: Progress | None = None,
) -> PreprocessResult:
    """Make a take's reflectance fields; sets that are done already are not made again.

    Args:
        take: the take, with its recording.
        settings: what to make.
        output: where the store goes; the take's ``aligned.zarr`` unless said otherwise.
        kind: whether the images are stored, or made from the recording when they are read.
        options: how the job is run.
        progress: called after each set.

    Raises:
        LightstageError: the take is damaged, does not fit its sequence, or does not fit into
            memory or on the disk.
    """
    settings, options = settings or PreprocessSettings(), options or JobOptions()
    output = output or take.aligned_path
    if options.scheduler is not None:
        with running_cluster(options.scheduler):
            pass  # one that does not answer is refused before anything is read or replaced
    with ExitStack() as stack:
        workers = None
        held = store_digest(output)
        if options.scheduler is None and options.workers > 1 and (held is None or not held[2]):
            workers = stack.enter_context(closing(local_workers(options, options.workers)))
        return _preprocess(take, settings, output, kind, options, progress, workers)


def _preprocess(
    take: Take,
    settings: PreprocessSettings,
    output: Path,
    kind: Kind,
    options: JobOptions,
    progress: Progress | None,
    workers: LocalWorkers | None,
) -> PreprocessResult:
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    with open_source(take) as source:
        plan = plan_take(take, source, settings)
        settings = _resolved(take, settings, source, plan)
        seconds["identify"] = time.perf_counter() - started
        costs = estimate(plan, source, settings, len(take.dome), kind)
        digest = _digest(take, source, settings)
        ledger = Ledger(take.ledger_path / output.stem, digest)
        held = store_digest(output)
        if held is not None and held[0] == digest and held[1] != kind and held[2]:
            # the same sets, kept otherwise: nothing is found anew
            from lightstage.preprocess.convert import convert

            convert(output, kind, options, progress)
        done = _done_before(output, plan, digest, ledger, kind)
        todo = [item for item in plan.sets if item.index not in done]
        if todo:
            share = len(todo) / len(plan.sets)
            check_it_fits(costs, options.workers, output, options.memory_bytes, share)
        if not done:
            ledger.forget_all()
            create_store(output, take, source, plan, settings, digest, kind)
        work = _work(source, output, settings, kind, ledger, costs, plan)
    started = time.perf_counter()
    finished = len(done)
    if progress:
        progress(finished, len(plan.sets))
    stages: dict[str, float] = {}
    # closed before the workers are: it drains them
    with closing(run_jobs(work, todo, options, workers)) as made:
        for figures in made:
            finished += 1
            for name, spent in figures.get("stages", {}).items():
                stages[name] = stages.get(name, 0.0) + spent
            if progress:
                progress(finished, len(plan.sets))
    seconds["align"] = time.perf_counter() - started
    if todo or not _is_finished(output, digest, kind):
        lost = [item.index for item in plan.sets if not ledger.is_done(unit(item.index))]
        if lost:
            raise LightstageError(f"{output}: sets {lost} were not made; run the command again.")
        figures_of_all = [ledger.figures(unit(item.index)) for item in plan.sets]
        finish_store(output, plan, figures_of_all)
    note_calibration(output, take, settings)
    return PreprocessResult(
        path=output,
        kind=kind,
        made=len(todo),
        frames=len(plan.identification.step_index),
        plan=plan,
        seconds=seconds,
        stages={name: round(spent, 3) for name, spent in stages.items()},
        flagged=flagged_sets(output),
    )


@dataclass(frozen=True)
class JobPlan:
    """What a job would make and what it would cost, told without making it."""

    plan: TakePlan
    costs: Costs
    output: Path
    width: int
    height: int
    seconds_per_set: float


def plan_job(
    take: Take,
    settings: PreprocessSettings | None = None,
    *,
    output: Path | None = None,
    kind: Kind = "materialised",
    look: Progress | None = None,
) -> JobPlan:
    """Return what :func:`preprocess_take` would do; one set is made, timed and thrown away.

    Args:
        take: the take.
        settings: what to make.
        output: where the store would go.
        kind: whether the images would be stored.
        look: called while frames are looked at to identify them.

    Raises:
        LightstageError: as :func:`preprocess_take`.
    """
    settings = settings or PreprocessSettings()
    output = output or take.aligned_path
    with open_source(take) as source:
        plan = plan_take(take, source, settings, look)
        settings = _resolved(take, settings, source, plan)
        costs = estimate(plan, source, settings, len(take.dome), kind)
        view = view_of(plan.sets[0].part, source, settings)
        _prepare_process()
        options = MakerOptions(frames_bytes=costs.remembered_bytes)
        maker = SetMaker(source, settings, options)
        seconds = []
        # the second of two neighbours finds frames developed, as all but the first of a job do
        for item in plan.sets[:2]:
            started = time.perf_counter()
            aligner = maker.aligner(item.frames, item.part, maker.motion(item))
            if kind == "materialised":
                for image in aligner.lights():
                    HALF_CODEC.compress(image)
            seconds.append(time.perf_counter() - started)
    return JobPlan(plan, costs, output, view.out_width, view.out_height, seconds[-1])


@dataclass(frozen=True)
class SetWork:
    """Makes one set, stores it and records it in the ledger; sent to worker processes."""

    recording: str
    output: str
    settings: PreprocessSettings
    kind: Kind
    ledger: Ledger
    options: MakerOptions
    tracking: int

    def __call__(self, plan: SetPlan) -> dict[str, Any]:
        """Make the set of ``plan`` and return what is recorded about it."""
        if self.ledger.is_done(unit(plan.index)):  # by a worker that died before it could tell
            return self.ledger.figures(unit(plan.index))
        started = time.perf_counter()
        maker = _maker_of_this_process(self)
        motion = maker.motion(plan)
        after_motion = time.perf_counter()
        aligner = maker.aligner(plan.frames, plan.part, motion)
        path = Path(self.output)
        if self.kind == "materialised":
            write_olat(path, plan.index, aligner.lights(), plan.frames.lights)
        after_images = time.perf_counter()
        write_image(path, "full_lit", plan.index, aligner.full_lit())
        write_image(path, "flow", plan.index, padded_motion(motion.flow, self.tracking))
        write_image(path, "trust", plan.index, padded_motion(motion.trust, self.tracking))
        ended = time.perf_counter()
        figures = {
            "confidence": [round(float(value), 6) for value in aligner.confidence()],
            "residual": float(motion.residual.mean()),
            "residual_unaligned": float(motion.residual_unaligned.mean()),
            "motion_px": float(motion.motion_px.max()),
            "seconds": round(ended - started, 3),
            "stages": {
                "motion": round(after_motion - started, 4),
                "images": round(after_images - after_motion, 4),
                "grids": round(ended - after_images, 4),
            },
        }
        self.ledger.finish(unit(plan.index), **figures)
        return figures


#: This process's maker and what it was made for: consecutive sets share frames.
_maker: tuple[tuple[str, PreprocessSettings, MakerOptions], SetMaker] | None = None


def _maker_of_this_process(work: SetWork) -> SetMaker:
    global _maker
    key = (work.recording, work.settings, work.options)
    if _maker is None or _maker[0] != key:
        _maker = None  # the old one's memory goes before the new one's comes
        _maker = (key, SetMaker(open_path(work.recording), work.settings, work.options))
    return _maker[1]


def run_jobs(
    work: Callable[[Unit], dict[str, Any]],
    todo: list[Unit],
    options: JobOptions,
    workers: LocalWorkers | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Yield what ``work`` returns for each unit as it is done, in this process or by Dask workers.

    Args:
        work: called with a unit; sent to workers by pickle.
        todo: the units; neighbours go to the same worker.
        options: how the job is run.
        workers: of this machine, where they have been started already; the caller's to close.

    Raises:
        InputError: no scheduler answers, or it has no workers.
        LightstageError: a unit failed, or the workers have gone.
    """
    if not todo:
        return
    if options.scheduler is None and (options.workers <= 1 or len(todo) == 1):
        global _maker
        _prepare_process()
        try:
            for item in todo:
                yield work(item)
        finally:
            _maker = None
        return
    with ExitStack() as stack:
        if options.scheduler is not None:
            client = stack.enter_context(running_cluster(options.scheduler))
        else:
            if workers is None:
                workers = stack.enter_context(closing(local_workers(options, len(todo))))
            client = stack.enter_context(workers.client())
        yield from _run_on(client, work, todo)


@lru_cache(maxsize=1)
def _prepare_process() -> None:
    """Make this process fit to work on units: one thread, and what is freed is kept."""
    cv2.setNumThreads(1)
    keep_freed_memory()


def local_workers(options: JobOptions, units: int) -> LocalWorkers:
    """Start the worker processes of this machine for so many units of work."""
    return LocalWorkers(min(options.workers, units), options.dashboard, __name__)


def _run_on(
    client: Any, work: Callable[[Unit], dict[str, Any]], todo: list[Unit]
) -> Iterator[dict[str, Any]]:
    """Yield the results of units done by a cluster's workers, a few at a time.

    Neighbouring units go to the same worker. The scheduler never sees a graph of the whole take. On
    Ctrl-C no more units are handed out; those under way are finished and recorded.
    """
    from distributed import wait

    batches = deque(todo[start : start + _BATCH] for start in range(0, len(todo), _BATCH))
    workers = len(worker_addresses(client))
    if len(batches) < 2 * workers:  # a short take is shared out evenly
        size = max(1, -(-len(todo) // workers))
        batches = deque(todo[start : start + size] for start in range(0, len(todo), size))
    queues: dict[str, deque[Unit]] = {}
    running: dict[Any, str] = {}

    def hand_out() -> None:
        for address in worker_addresses(client):
            queue = queues.setdefault(address, deque())
            while sum(at == address for at in running.values()) < _AHEAD:
                if not queue and batches:
                    queue.extend(batches.popleft())
                if not queue:
                    break
                future = client.submit(
                    _attempt, work, queue.popleft(), workers=[address], allow_other_workers=True,
                    pure=False,
                )  # fmt: skip
                running[future] = address
        # what was meant for a worker that has gone goes to the others
        for address in set(queues) - set(worker_addresses(client)):
            left = queues.pop(address)
            if left:
                batches.appendleft(list(left))

    try:
        hand_out()
        while running:
            done = _first_done(client, wait, list(running))
            for future in done:
                del running[future]
                result = future.result()
                if isinstance(result, Exception):
                    raise result
                yield result
            hand_out()
    except (KeyboardInterrupt, GeneratorExit):
        _drain(wait, running)
        raise
    except BaseException:
        client.cancel(list(running))
        raise


def _attempt(work: Callable[[Unit], dict[str, Any]], item: Unit) -> dict[str, Any] | Exception:
    """Return what ``work`` returns, or its error as a value.

    An error whose traceback cannot be sent (distributed 2026.8) leaves the client waiting for ever.
    """
    try:
        _prepare_process()
        return work(item)
    except (LightstageError, OSError, MemoryError) as reason:
        return reason
    except Exception:
        return RuntimeError(f"in a worker:\n{traceback.format_exc()}")


def _first_done(client: Any, wait: Any, futures: list[Any]) -> list[Any]:
    """Return the futures that are done, at least one; every wait has an end."""
    deadline = time.monotonic() + _SET_WITHIN_S
    while True:
        try:
            return list(wait(futures, timeout=5, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if client.status != "running":
                raise LightstageError(
                    "the Dask scheduler has gone; start it again and run the command again, what "
                    "is done is kept."
                ) from None
            if not worker_addresses(client):
                client.wait_for_workers(1, timeout=WORKERS_WITHIN_S)
            if time.monotonic() > deadline:
                raise LightstageError(
                    f"no set was finished within {_SET_WITHIN_S / 60:g} minutes; look at the "
                    f"workers' logs, and run the command again: what is done is kept."
                ) from None


def _drain(wait: Any, running: dict[Any, str]) -> None:
    """Wait for the sets under way; their workers record them."""
    if running:
        try:
            wait(list(running), timeout=WORKERS_WITHIN_S)
        except TimeoutError:
            return


def _done_before(output: Path, plan: TakePlan, digest: str, ledger: Ledger, kind: Kind) -> set[int]:
    """Return the sets that are done in a store of the same hash; none where there is no such."""
    held = store_digest(output)
    if held is None or held[:2] != (digest, kind):
        return set()
    return {item.index for item in plan.sets if ledger.is_done(unit(item.index))}


def _resolved(
    take: Take, settings: PreprocessSettings, source: FrameSource, plan: TakePlan
) -> PreprocessSettings:
    """Return the settings with what is measured once a take."""
    first = plan.sets[len(plan.sets) // 2].frames
    full_lit = int(first.tracking_frames[first.centre])
    develop = with_calibration(settings.develop, take.calibration)
    return settings.replace(develop=with_balance(develop, source, full_lit))


def _work(
    source: FrameSource,
    output: Path,
    settings: PreprocessSettings,
    kind: Kind,
    ledger: Ledger,
    costs: Costs,
    plan: TakePlan,
) -> SetWork:
    return SetWork(
        recording=str(source.path.absolute()),
        output=str(output.absolute()),
        settings=settings,
        kind=kind,
        ledger=ledger,
        options=MakerOptions(
            frames_bytes=costs.remembered_bytes, tracking=plan.tracking + _TRACKING_AHEAD
        ),
        tracking=plan.tracking,
    )


def _is_finished(output: Path, digest: str, kind: Kind) -> bool:
    return store_digest(output) == (digest, kind, True)


def _digest(take: Take, source: FrameSource, settings: PreprocessSettings) -> str:
    """Return a hash of all that the sets depend on; a session keeps it when it is copied.

    The lights' gains are not in it: they are noted beside the sets (:func:`note_calibration`).
    """
    return settings.digest(
        str(take.dome.positions_m.tolist()), take.sequence.model_dump_json(), source.identity()
    )


def unit(index: int) -> str:
    """Return the ledger's name of a set."""
    return f"set_{index:06d}"
