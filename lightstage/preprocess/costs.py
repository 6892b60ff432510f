"""Costs: what a job reads, writes, remembers and takes, told before it is started."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from lightstage.aligned_store import Kind
from lightstage.errors import InputError
from lightstage.preprocess.plan import TakePlan, view_of
from lightstage.preprocess.set_maker import window_bytes
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import FrameSource

#: A worker with all its libraries, before it has any picture.
_BASE_BYTES = 260 << 20
#: Developed frames of a window are remembered up to this; beyond it they are developed anew.
_MOST_REMEMBERED_BYTES = 3 << 30
#: What images (half floats with sensor noise) and flows compress to, at the least.
_LEAST_RATIO = 1.4
#: What must stay free on a disk.
_LEFT_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Costs:
    """What making a take's sets costs.

    Attributes:
        sets: OLAT sets.
        frames: frames of the recording.
        read_bytes: what is read of the recording, all in all.
        written_bytes: the store's size, at the most.
        image_bytes: one set's images before compression.
        remembered_bytes: developed frames that each worker remembers.
        worker_bytes: the memory of each worker, at the most.
        client_bytes: the memory of the command itself, at the most.
    """

    sets: int
    frames: int
    read_bytes: int
    written_bytes: int
    image_bytes: int
    remembered_bytes: int
    worker_bytes: int
    client_bytes: int


def estimate(
    plan: TakePlan, source: FrameSource, settings: PreprocessSettings, lights: int, kind: Kind
) -> Costs:
    """Return what making the sets of a plan costs."""
    view = view_of(plan.sets[0].part, source, settings)
    pixels = view.out_width * view.out_height
    image = 6 * pixels
    grid = plan.tracking * view.grid_width * view.grid_height * 5
    per_set = grid + image + (lights * image if kind == "materialised" else 0)
    remembered = window_bytes(plan, source, settings)
    if remembered > _MOST_REMEMBERED_BYTES:
        remembered = 0
    region = view.region.width * view.region.height
    flow_pixels = view.flow_width * view.flow_height
    samples = plan.samples if plan.samples > 1 else 0
    working = (
        # one frame while it is developed, one light's image while it is drawn
        16 * region
        + (60 + 40 * samples) * pixels
        # flows and pictures of all tracking frames
        + plan.tracking * (8 + 4 + 1 + 4) * flow_pixels
        + 24 * 4 * flow_pixels
        + plan.tracking * 30 * view.grid_width * view.grid_height
    )
    frame_bytes = source.width * source.height * source[0].itemsize
    used = {int(f) for item in plan.sets for f in item.frames.light_frames.ravel() if f >= 0}
    used |= {int(f) for item in plan.sets for f in item.frames.tracking_frames}
    rows_share = view.region.height / source.height
    return Costs(
        sets=len(plan.sets),
        frames=len(source),
        read_bytes=round(len(used) * frame_bytes * rows_share),
        written_bytes=round(len(plan.sets) * per_set / _LEAST_RATIO),
        image_bytes=lights * image,
        remembered_bytes=remembered,
        worker_bytes=_BASE_BYTES + remembered + working,
        client_bytes=_BASE_BYTES + 4000 * len(source) + 20_000 * len(plan.sets),
    )


def check_it_fits(
    costs: Costs, workers: int, output: Path, memory_bytes: int | None, share: float = 1.0
) -> None:
    """Refuse a job that does not fit into memory or on the disk.

    Args:
        costs: of the whole job.
        workers: worker processes on this machine.
        output: where the store goes.
        memory_bytes: what the workers may use together; ``None`` = what is free now.
        share: the share of the job that is still to be done.

    Raises:
        InputError: it does not fit; the text says what would.
    """
    available = psutil.virtual_memory().available if memory_bytes is None else memory_bytes
    needed = costs.worker_bytes * workers + costs.client_bytes
    if needed > available:
        fewer = max(0, available - costs.client_bytes) // costs.worker_bytes
        advice = f"use --workers {fewer}" if fewer else "make the sets smaller with --size"
        raise InputError(
            f"{workers} workers of {in_gigabytes(costs.worker_bytes)} each need "
            f"{in_gigabytes(needed)} of memory, there are {in_gigabytes(available)}; {advice}."
        )
    check_disk(output, round(costs.written_bytes * share))


def check_disk(output: Path, to_write: int) -> None:
    """Refuse to write more than the disk has to spare.

    Args:
        output: where it goes.
        to_write: bytes, at the most.

    Raises:
        InputError: it does not fit.
    """
    folder = next(p for p in (output, *output.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free - _LEFT_FREE_BYTES
    if to_write > free:
        raise InputError(
            f"{output}: up to {in_gigabytes(to_write)} will be written, the disk has "
            f"{in_gigabytes(max(free, 0))} to spare; make room, write elsewhere with --output, "
            f"make the sets smaller with --size, or keep flows alone with --store virtual."
        )


def in_gigabytes(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{count / 1e9:.3g} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"
