"""Frame sources: where preprocessing reads a take's frames from."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from lightstage.cine import CineFile
from lightstage.errors import InputError, SessionError
from lightstage.session import Take

#: Which of a take's recordings to read where it has both: the .cine or the store of frames.
Preference = Literal["cine", "store"]
#: Frames whose pixels go into an identity, spread over the recording.
_IDENTITY_FRAMES = 5


class FrameSource(Protocol):
    """A take's frames as the sensor stored them, whatever holds them.

    A source is a context manager, and may be opened anew by its ``path`` in another process
    (:func:`open_path`).
    """

    @property
    def path(self) -> Path:
        """The recording: a file or a folder."""

    @property
    def width(self) -> int:
        """Frame width in pixels."""

    @property
    def height(self) -> int:
        """Frame height in pixels."""

    @property
    def cfa(self) -> str:
        """The colours of the top left 2x2 pixels, such as ``GBRG``; ``GRAY`` for none."""

    @property
    def black_level(self) -> float:
        """Stored value of no light."""

    @property
    def white_level(self) -> float:
        """Stored value of full scale."""

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Each frame's time stamp, or ``None`` where there are none."""

    @property
    def first_frame_number(self) -> int:
        """The camera's number of frame 0."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """Return the stored frame ``(height, width)``, top row first."""

    def read_rows(self, index: int, rows: ArrayLike) -> NDArray[np.generic]:
        """Return stored rows ``(len(rows), width)`` of a frame, equal to ``self[index][rows]``."""

    def read_window(self, index: int, top: int, bottom: int) -> NDArray[np.generic]:
        """Return the stored rows ``top`` to ``bottom - 1``: ``(bottom - top, width)``."""

    def identity(self) -> str:
        """Return a short hash of what the recording is; the same wherever it is copied to."""

    def __enter__(self) -> Self:
        """Return the source itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the recording."""


class Recording(FrameSource, Protocol):
    """A frame source with all that a copy of it has to keep (``frames.zarr``)."""

    @property
    def name(self) -> str:
        """What the recording is called, without its folder."""

    @property
    def size_bytes(self) -> int:
        """Its size on disk."""

    @property
    def bit_depth(self) -> int:
        """Bits that a stored value can use."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of stored values: uint8 or uint16."""

    @property
    def frame_rate_hz(self) -> float | None:
        """Nominal frames per second, or ``None`` where it is not known."""

    @property
    def exposure_ns(self) -> NDArray[np.int64] | None:
        """Each frame's exposure in nanoseconds, or ``None``."""

    def front_bytes(self) -> bytes:
        """Return what the file holds before its frames; empty where there is no one file."""


class CineSource:
    """A .cine file as a frame source.

    Raises:
        InputError: there is no such file.
        CineError: the file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._cine = CineFile(path)

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._cine.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._cine.path

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return self._cine.width

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        return self._cine.height

    @property
    def cfa(self) -> str:
        """The colours of the top left 2x2 pixels; ``GRAY`` for none."""
        return str(self._cine.cfa)

    @property
    def black_level(self) -> float:
        """Stored value of no light."""
        return float(self._cine.black_level)

    @property
    def white_level(self) -> float:
        """Stored value of full scale."""
        return float(self._cine.white_level)

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Each frame's time stamp in UTC nanoseconds, or ``None``."""
        return self._cine.time_ns

    @property
    def first_frame_number(self) -> int:
        """The camera's number of the file's first frame."""
        return self._cine.first_frame_number

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._cine)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """Return the stored frame, top row first."""
        return self._cine[index]

    def read_rows(self, index: int, rows: ArrayLike) -> NDArray[np.generic]:
        """Return stored rows of a frame; only they are read where the file is not packed."""
        return self._cine.read_rows(index, rows)

    def read_window(self, index: int, top: int, bottom: int) -> NDArray[np.generic]:
        """Return the stored rows ``top`` to ``bottom - 1`` of a frame."""
        if not 0 <= top <= bottom <= self.height:
            raise IndexError(f"rows {top} to {bottom} of {self.height} rows.")
        return self._cine.read_rows(index, np.arange(top, bottom))

    @property
    def name(self) -> str:
        """The file's name."""
        return self._cine.path.name

    @property
    def size_bytes(self) -> int:
        """The file's size on disk."""
        return self._cine.size_bytes

    @property
    def bit_depth(self) -> int:
        """Bits that a stored value can use."""
        return self._cine.bit_depth

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of stored values: uint8 or uint16."""
        return self._cine.dtype

    @property
    def frame_rate_hz(self) -> float | None:
        """Nominal frames per second."""
        return self._cine.frame_rate_hz

    @property
    def exposure_ns(self) -> NDArray[np.int64] | None:
        """Each frame's exposure in nanoseconds, or ``None``."""
        return self._cine.exposure_ns

    def front_bytes(self) -> bytes:
        """Return the file's headers, camera settings and tables of stamps, as they stand."""
        with self.path.open("rb") as file:
            return file.read(self._cine.header.file.off_image_offsets)

    def identity(self) -> str:
        """Return a hash of the file's size, frames, time stamps and some pixels."""
        return identity_of(self, self._cine.size_bytes)


def identity_of(source: FrameSource, size_bytes: int) -> str:
    """Return a short hash of a recording: its size, form, time stamps and some of its pixels.

    Neither names nor dates of files are in it, so that it survives a copy.
    """
    digest = xxhash.xxh3_64()
    digest.update(
        f"{size_bytes} {len(source)} {source.width} {source.height} {source.cfa}".encode()
    )
    if source.time_ns is not None:
        digest.update(source.time_ns.tobytes())
    for index in np.unique(np.linspace(0, len(source) - 1, _IDENTITY_FRAMES).astype(int)):
        digest.update(np.ascontiguousarray(source[int(index)]).data)
    return digest.hexdigest()


def open_path(path: str | os.PathLike[str]) -> FrameSource:
    """Open a recording: a ``.cine`` file or a ``frames.zarr`` folder.

    Raises:
        InputError: there is nothing at ``path``, or it is another kind of folder.
        CineError: the .cine file is damaged.
        DamagedDataError: the store is damaged, not verified or of a newer version.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "zarr.json").is_file():
            raise InputError(f"{path}: is a folder, but not a store of frames (frames.zarr).")
        # imported here: it knows the protocol of this module
        from lightstage.preprocess.frames_store import FramesStore

        return FramesStore(path)
    return CineSource(path)


def open_source(take: Take, prefer: Preference = "cine") -> FrameSource:
    """Open a take's frames wherever they are: ``take.cine``, or a verified ``frames.zarr``.

    Args:
        take: the take.
        prefer: which to read where both are there.

    Raises:
        SessionError: the take has no recording that may be read.
        CineError: the recording is damaged.
        DamagedDataError: the store is damaged.
    """
    return open_path(recording_path(take, prefer))


def recording_path(take: Take, prefer: Preference = "cine") -> Path:
    """Return the path of the recording that :func:`open_source` opens.

    Raises:
        SessionError: the take has no recording that may be read; the text says why.
    """
    from lightstage.preprocess.frames_store import is_verified

    cine, store = take.cine_path, take.frames_path
    usable = {"cine": cine.exists(), "store": is_verified(store)}
    order = ("store", "cine") if prefer == "store" else ("cine", "store")
    for kind in order:
        if usable[kind]:
            return cine if kind == "cine" else store
    if cine.is_symlink():
        raise SessionError(
            f"{cine}: refers to {cine.readlink()}, which is not there; mount its disk or bring "
            f"the recording in again."
        )
    if store.exists():
        raise SessionError(
            f"{store}: is not verified, its making was interrupted; run 'lightstage ingest' again."
        )
    raise SessionError(f"{take.path}: this take has no recording (take.cine or frames.zarr).")
