"""Import: a take that other software recorded becomes a take of a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lightstage.cine import CineFile
from lightstage.dome import Dome
from lightstage.errors import InputError, SequenceError, SessionError
from lightstage.preprocess.identify import Identification, coarse_pictures, identify
from lightstage.preprocess.source import CineSource
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take, check_fit

Storage = Literal["link", "copy"]
_COPY_BLOCK = 16 * 1024 * 1024


def import_take(
    session_path: Path,
    cine_path: Path,
    *,
    name: str,
    dome: Dome | None = None,
    sequence: CaptureSequence | None = None,
    storage: Storage = "link",
    performer: str = "unnamed",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Take, Identification]:
    """Add the recording ``cine_path`` to a session as the take ``name``.

    The session is made where there is none. The recording is checked against dome and sequence
    before anything is written, and the phase at which it starts is found.

    Args:
        session_path: the session's folder.
        cine_path: the recording.
        name: the take's name.
        dome: the lights; the session's own unless given.
        sequence: what the lights did; the session's own unless given.
        storage: ``link`` refers to the recording where it lies, ``copy`` copies it.
        performer: who is seen, for a new session.
        progress: called with bytes copied and bytes in all.

    Raises:
        SessionError: dome or sequence are missing, or the name is taken.
        SequenceError: the recording does not fit the sequence.
        CineError: the recording is damaged.
    """
    cine_path = cine_path.resolve()
    with CineFile(cine_path) as cine:
        frame_rate_hz = cine.frame_rate_hz
    existing = Session.open(session_path) if Session.is_at(session_path) else None
    if existing is None and session_path.exists() and not session_path.is_dir():
        raise SessionError(f"{session_path}: a session is a folder, this is a file.")
    if existing is None and (dome is None or sequence is None):
        raise SessionError(
            f"{session_path}: is a new session; give its lights with --dome and what they did "
            f"with --sequence."
        )
    dome = dome or (existing.dome if existing else None)
    sequence = sequence or (existing.sequence if existing else None)
    assert dome is not None
    assert sequence is not None
    check_fit(dome, sequence, str(cine_path))
    if frame_rate_hz and not 0.9 < frame_rate_hz / sequence.frame_rate_hz < 1.1:
        raise SequenceError(
            f"{cine_path}: was recorded at {frame_rate_hz:g} fps, the sequence says "
            f"{sequence.frame_rate_hz:g} fps; give the sequence it was made with."
        )
    with CineSource(cine_path) as source:
        try:
            found = identify(coarse_pictures(source), source.time_ns, sequence, dome.directions)
        except SequenceError as reason:
            raise SequenceError(f"{cine_path}: {reason}") from None
    session = existing or Session.create(
        session_path, dome=dome, sequence=sequence, performer=performer
    )
    take = session.add_take(
        name,
        origin=f"imported from {cine_path.name}",
        details={
            "recording": str(cine_path),
            "storage": storage,
            "first_step": int(found.step_index[0]),
            "identified_by": found.method,
            "dropped_frames": len(found.dropped),
        },
        dome=dome,
        sequence=sequence,
    )
    try:
        _place(cine_path, take.cine_path, storage, progress)
    except OSError as reason:
        shutil.rmtree(take.path)
        raise InputError(f"{cine_path}: could not be brought in: {reason}.") from None
    return take, found


def _place(
    source: Path, target: Path, storage: Storage, progress: Callable[[int, int], None] | None
) -> None:
    if storage == "link":
        target.symlink_to(source)
        return
    total, done = source.stat().st_size, 0
    partial = target.with_name(target.name + ".partial")
    with source.open("rb") as read, partial.open("wb") as write:
        while block := read.read(_COPY_BLOCK):
            write.write(block)
            done += len(block)
            if progress:
                progress(done, total)
        write.flush()
        os.fsync(write.fileno())
    if partial.stat().st_size != total:
        raise OSError("the copy is shorter than the recording")
    partial.replace(target)
