"""Verify: a recorded take checked again from disk, at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xxhash

from lightstage.capture.record import CAPTURE_FILE, CaptureRecord, Fault, summarise_stamps
from lightstage.cine import CineFile
from lightstage.errors import CineError, InputError, LightstageError, SequenceError
from lightstage.fields import ReflectanceFields
from lightstage.preprocess.identify import coarse_pictures, identify
from lightstage.preprocess.source import CineSource
from lightstage.session import Take

Progress = Callable[[int, int], None]


def frames_checksum(path: Path, progress: Progress | None = None) -> str:
    """Return the xxh3-128 of all frames' stored pixels, in order, as they lie on disk now."""
    digest = xxhash.xxh3_128()
    with CineFile(path) as cine:
        for index in range(len(cine)):
            digest.update(np.ascontiguousarray(cine[index]).data)
            if progress:
                progress(index + 1, len(cine))
    return str(digest.hexdigest())


def check_recording(
    take: Take, path: Path, *, from_start: bool, may_begin_early: bool = False
) -> list[Fault]:
    """Return what is wrong with a recording by its time stamps and by what its frames show.

    Args:
        take: gives the sequence and the dome.
        path: the recording.
        from_start: whether it must begin with the sequence's first frame.
        may_begin_early: whether frames from before the sequence may precede it, as where the
            camera beats time.
    """
    faults: list[Fault] = []
    sequence = take.sequence
    with CineSource(path) as source:
        stamps = source.time_ns
        if stamps is not None:
            summary = summarise_stamps(stamps, sequence.frame_rate_hz)
            if summary.backwards:
                text = f"the time stamps of frames {_some(summary.backwards)} go backwards"
                faults.append(Fault(code="time-stamps", text=text))
            elif summary.early:
                text = (
                    f"frames {_some(summary.early)} came before they were due: false triggers, or "
                    f"a noisy F-Sync line"
                )
                faults.append(Fault(code="time-stamps", text=text))
            elif summary.gaps:
                text = f"frames are missing before frames {_some(summary.gaps)}"
                faults.append(Fault(code="time-stamps", text=text))
            if abs(summary.frame_rate_hz / sequence.frame_rate_hz - 1.0) > 0.01:
                text = (
                    f"the camera recorded at {summary.frame_rate_hz:g} fps, not at "
                    f"{sequence.frame_rate_hz:g}: exposure and dead time may be longer than the "
                    f"frame period (over-triggering)"
                )
                faults.append(Fault(code="time-stamps", text=text))
        if len(source) < sequence.frames_per_window:
            return faults
        # as many frames as steps were executed: each must show its own, whatever its stamp says
        counted = np.rint(np.arange(len(source)) * 1e9 / sequence.frame_rate_hz).astype(np.int64)
        try:
            found = identify(coarse_pictures(source), counted, sequence, take.dome.directions)
        except SequenceError as reason:
            return [*faults, Fault(code="pictures", text=str(reason))]
        unlike = np.flatnonzero(~found.known & (found.step_index >= 0))
        if len(unlike):
            text = f"frames {_some(unlike.tolist())} do not show what the sequence says"
            faults.append(Fault(code="pictures", text=text))
        first = int(found.step_index[0])
        if from_start and (first > 0 or (first < 0 and not may_begin_early)):
            text = (
                f"the recording begins with step {first} of the sequence, not with its first: "
                f"{'frames came too early' if first < 0 else 'frames were lost at its start'}"
            )
            faults.append(Fault(code="pictures", text=text))
    return faults


def verify_take(take: Take, progress: Progress | None = None) -> list[str]:
    """Return everything that is wrong with a take on disk; nothing = whole.

    Checks the record of its capture, the recording's structure, its frames against the checksum
    written while they came in, time stamps, what the frames show, and the reflectance fields.
    """
    problems: list[str] = []
    record: CaptureRecord | None = None
    if (take.path / CAPTURE_FILE).exists():
        try:
            record = CaptureRecord.load(take.path / CAPTURE_FILE)
        except LightstageError as reason:
            problems.append(str(reason))
    if record is not None:
        problems += [f"{take.name}: {fault.text}" for fault in record.faults]
    if not take.cine_path.exists():
        problems.append(f"{take.cine_path}: the recording is missing")
        return problems
    try:
        if record is not None and record.checksum_xxh3_128:
            found = frames_checksum(take.cine_path, progress)
            if found != record.checksum_xxh3_128:
                problems.append(
                    f"{take.cine_path}: its frames are not those that the camera sent (checksum "
                    f"{found}, recorded {record.checksum_xxh3_128})"
                )
        problems += [
            f"{take.cine_path}: {fault.text}"
            for fault in check_recording(
                take,
                take.cine_path,
                from_start=record is not None and record.good,
                may_begin_early=record is not None and record.camera.get("sync") == "internal",
            )
        ]
    except (CineError, InputError, SequenceError) as reason:
        problems.append(str(reason))
    if take.aligned_path.exists():
        try:
            fields = ReflectanceFields.open(take.aligned_path)
            for index in range(len(fields)):
                fields.read_olat(index)
        except LightstageError as reason:
            problems.append(str(reason))
    return problems


def _some(numbers: tuple[int, ...] | list[int]) -> str:
    head = ", ".join(str(number) for number in numbers[:8])
    return head if len(numbers) <= 8 else f"{head} and {len(numbers) - 8} more"
