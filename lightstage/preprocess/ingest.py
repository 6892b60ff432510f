"""Ingest: a recording becomes ``frames.zarr``, compared with it frame by frame.

Each worker process copies one shard (a cycle of the sequence) at a time: it reads a frame, takes
its checksum, compresses it into the shard's file; when the file is on the disk it is read back
through the reader that everyone uses, and every frame's checksum compared.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from lightstage.dome import Dome
from lightstage.errors import (
    DamagedDataError,
    InputError,
    LightstageError,
    SequenceError,
    SessionError,
)
from lightstage.preprocess.frames_store import (
    KIND,
    SCHEMA_VERSION,
    FramesInfo,
    FramesStore,
    checksum,
    create_store,
    finish_store,
    is_verified,
    read_attributes,
    shard_path,
)
from lightstage.preprocess.ledger import Ledger
from lightstage.preprocess.source import Recording
from lightstage.preprocess.worker_process import prepare_worker, starting_workers
from lightstage.sequence import CaptureSequence
from lightstage.session import Session, Take, check_fit
from lightstage.zarr_shards import ShardWriter

#: Called with the number of frames done and the number of all frames.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class IngestResult:
    """What :func:`ingest_take` did.

    Attributes:
        path: the store.
        source: the recording that was copied.
        frames: frames in it.
        shards: files that hold them.
        shards_made: files written now; the others were there and verified already.
        source_bytes: the recording's size on disk.
        stored_bytes: the size of the frames in the store.
    """

    path: Path
    source: Path
    frames: int
    shards: int
    shards_made: int
    source_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class _ShardFigures:
    shard: int
    frames: int
    stored_bytes: int
    xxh3_128: list[str]


def ingest_take(
    take: Take,
    recording: Recording,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> IngestResult:
    """Copy a recording into the take's ``frames.zarr`` and verify every frame of the copy.

    Shards that an earlier run finished are not made again. Nothing is ever removed but a store
    that was not verified. Memory holds a few frames for each worker, however long the take.

    Args:
        take: the take; its ``frames.zarr`` is made.
        recording: its frames: ``take.cine`` or another source.
        workers: worker processes; 1 = this process alone.
        progress: called after each shard with frames done and frames in all.

    Raises:
        InputError: the frames are in colour already, or the take holds a verified copy of
            another recording.
        DamagedDataError: what the disk gives back is not what was written.
        CineError: a frame of the recording is damaged.
    """
    store = take.frames_path
    if recording.cfa == "RGB":
        raise InputError(
            f"{recording.path}: its frames are in colour already, not as a sensor stored them; "
            f"a store of frames holds those only."
        )
    info = FramesInfo.of(recording, take.sequence.cycle_frames)
    digest = _digest(info)
    ledger = Ledger(take.ledger_path / store.stem, digest)
    _prepare_store(store, info, digest, ledger)
    todo = [shard for shard in range(info.shards) if not _is_done(store, ledger, shard)]
    if todo or not is_verified(store):
        done = info.frames - sum(len(info.shard_frames(shard)) for shard in todo)
        if progress:
            progress(done, info.frames)
        with _pool(workers if len(todo) > 1 else 1, recording, store) as copied:
            for figures in copied(todo):
                ledger.finish(
                    _unit(figures.shard),
                    frames=figures.frames,
                    stored_bytes=figures.stored_bytes,
                    xxh3_128=figures.xxh3_128,
                )
                done += figures.frames
                if progress:
                    progress(done, info.frames)
        _finish(store, recording, info, ledger)
    elif progress:
        progress(info.frames, info.frames)
    return IngestResult(
        path=store,
        source=recording.path,
        frames=info.frames,
        shards=info.shards,
        shards_made=len(todo),
        source_bytes=info.source_bytes,
        stored_bytes=sum(shard_path(store, s).stat().st_size for s in range(info.shards)),
    )


def take_for(
    session_path: Path,
    name: str | None,
    recording: Recording,
    dome_path: Path | None = None,
    sequence_path: Path | None = None,
    performer: str = "unnamed",
) -> Take:
    """Return the take that a recording from elsewhere goes into; take and session are made if new.

    Args:
        session_path: the session's folder, or that of a take.
        name: the take's name, for a session.
        recording: what goes in.
        dome_path: the lights; the session's own unless given.
        sequence_path: what they did; the session's own unless given.
        performer: who is seen, for a new session.

    Raises:
        SessionError: a new session lacks its lights or their sequence, or the take has a
            recording of its own.
        SequenceError: the recording's frame rate is not that of the sequence.
    """
    dome = Dome.load(dome_path) if dome_path else None
    sequence = CaptureSequence.load(sequence_path) if sequence_path else None
    existing = _existing_take(session_path, name)
    if existing is not None:
        if dome is not None or sequence is not None:
            raise SessionError(
                f"{existing.path}: is there already, with its own lights; leave --dome and "
                f"--sequence out, or name a new take."
            )
        if existing.cine_path.exists() or existing.cine_path.is_symlink():
            raise SessionError(
                f"{existing.path}: has a take.cine; leave --from out to copy that, or name a new "
                f"take."
            )
        _check_rate(recording, existing.sequence)
        return existing
    session = Session.open(session_path) if Session.is_at(session_path) else None
    if session is None and (dome is None or sequence is None):
        raise SessionError(
            f"{session_path}: is a new session; give its lights with --dome and what they did "
            f"with --sequence."
        )
    dome = dome or (session.dome if session else None)
    sequence = sequence or (session.sequence if session else None)
    assert dome is not None
    assert sequence is not None
    check_fit(dome, sequence, str(recording.path))
    _check_rate(recording, sequence)
    session = session or Session.create(
        session_path, dome=dome, sequence=sequence, performer=performer
    )
    return session.add_take(
        name or "",
        origin=f"imported from {recording.name}",
        details={"recording": str(recording.path.resolve()), "storage": "frames.zarr"},
        dome=dome,
        sequence=sequence,
    )


def _digest(info: FramesInfo) -> str:
    """Return a hash of all that the store's bytes depend on; names of files are not in it."""
    described = info.model_dump_json(exclude={"source_name"})
    return xxhash.xxh3_64_hexdigest(f"{SCHEMA_VERSION} {described} {info.codec}".encode())


def _prepare_store(store: Path, info: FramesInfo, digest: str, ledger: Ledger) -> None:
    """Make the store, or leave one that was begun from the same recording."""
    if store.exists() or store.is_symlink():
        try:
            attributes = read_attributes(store)
        except InputError:
            attributes = {}
        if attributes.get("kind") != KIND:
            raise InputError(f"{store}: stands in the way and is no store of frames; move it away.")
        if attributes.get("digest") == digest:
            return
        if attributes.get("verified"):
            raise InputError(
                f"{store}: holds a verified copy of another recording "
                f"({attributes.get('source_name')}); move it away if this take is to hold "
                f"{info.source_name}."
            )
    ledger.forget_all()
    shutil.rmtree(store, ignore_errors=True)
    # made beside its place: what stands there is whole from the first moment
    partial = store.with_name(store.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    create_store(partial, info, digest)
    partial.rename(store)


def _unit(shard: int) -> str:
    return f"shard_{shard:06d}"


def _is_done(store: Path, ledger: Ledger, shard: int) -> bool:
    """Whether a shard was verified and its file is still the size it had then."""
    if not ledger.is_done(_unit(shard)):
        return False
    try:
        size = shard_path(store, shard).stat().st_size
    except FileNotFoundError:
        return False
    return size == int(ledger.figures(_unit(shard))["stored_bytes"])


def _finish(store: Path, recording: Recording, info: FramesInfo, ledger: Ledger) -> None:
    lost = [shard for shard in range(info.shards) if not _is_done(store, ledger, shard)]
    if lost:
        raise LightstageError(f"{store}: shards {lost} were not made; run the command again.")
    digests = [d for s in range(info.shards) for d in ledger.figures(_unit(s))["xxh3_128"]]
    checksums = np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(-1, 16)
    if len(checksums) != info.frames:
        raise DamagedDataError(
            f"{store}: the ledger holds {len(checksums)} checksums for {info.frames} frames; "
            f"remove {store} and run the command again."
        )
    finish_store(store, recording, checksums)


@contextmanager
def _pool(
    workers: int, recording: Recording, store: Path
) -> Iterator[Callable[[list[int]], Iterator[_ShardFigures]]]:
    """Yield a function that copies shards, in this process or by worker processes."""
    if workers <= 1:

        def copied_here(shards: list[int]) -> Iterator[_ShardFigures]:
            return (copy_shard(recording, store, shard) for shard in shards)

        yield copied_here
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_begin_work,
        initargs=(recording, store),
    )

    def copied(shards: list[int]) -> Iterator[_ShardFigures]:
        waiting: set[Future[_ShardFigures]] = set()
        try:
            with starting_workers():
                waiting.update(pool.submit(_work, shard) for shard in shards)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise LightstageError(
                f"{store}: a worker process was killed (is there enough memory?); run the "
                f"command again to go on."
            ) from None
        except KeyboardInterrupt:
            # what the workers have begun is finished and kept
            pool.shutdown(wait=True, cancel_futures=True)
            yield from _results(waiting)
            raise

    try:
        yield copied
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _results(futures: set[Future[_ShardFigures]]) -> Iterator[_ShardFigures]:
    for future in futures:
        if not future.cancelled() and future.exception() is None:
            yield future.result()


_WORK: dict[str, Any] = {}


def _begin_work(recording: Recording, store: Path) -> None:
    prepare_worker()
    _WORK.update(recording=recording, store=store)


def _work(shard: int) -> _ShardFigures:
    return copy_shard(_WORK["recording"], _WORK["store"], shard)


def copy_shard(recording: Recording, store: Path, shard: int) -> _ShardFigures:
    """Copy one shard's frames into the store and compare what the disk gives back.

    Raises:
        DamagedDataError: a frame in the store is not the frame of the recording.
    """
    path = shard_path(store, shard)
    digests = []
    with FramesStore(store, allow_unverified=True) as copy:
        indices = copy.info.shard_frames(shard)
        try:
            with ShardWriter(path, copy.info.frames_per_shard, copy.info.codec) as writer:
                for place, index in enumerate(indices):
                    frame = recording[index]
                    digests.append(checksum(frame))
                    writer.add(place, frame)
        except OSError as reason:  # a full disk's names no file
            raise OSError(reason.errno, reason.strerror, str(path)) from None
        _forget_cached(path)
        for index, expected in zip(indices, digests, strict=True):
            if checksum(copy[index]) != expected:
                raise DamagedDataError(
                    f"{path}: frame {index} was not read back as it was written; check the disk "
                    f"and the memory of this machine, then run the command again."
                )
    return _ShardFigures(
        shard, len(indices), path.stat().st_size, [digest.hex() for digest in digests]
    )


def _forget_cached(path: Path) -> None:
    """Ask the system to read the file from the disk, not from its memory, when it is read next."""
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _existing_take(path: Path, name: str | None) -> Take | None:
    if Take.is_at(path):
        return Take.open(path)
    if name is not None and Take.is_at(path / "takes" / name):
        return Take.open(path / "takes" / name)
    return None


def _check_rate(recording: Recording, sequence: CaptureSequence) -> None:
    rate_hz = recording.frame_rate_hz
    if rate_hz and not 0.9 < rate_hz / sequence.frame_rate_hz < 1.1:
        raise SequenceError(
            f"{recording.path}: was recorded at {rate_hz:g} fps, the sequence says "
            f"{sequence.frame_rate_hz:g} fps; give the sequence it was made with."
        )
