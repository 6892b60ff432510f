"""``frames.zarr``: a recording's frames, compressed without loss, as a frame source.

A Zarr v3 group; ``docs/formats/frames.md`` describes it. It is opened by its metadata alone, and
each frame that is read is compared with the checksum of the frame that was recorded.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from lightstage import __version__
from lightstage.errors import DamagedDataError, InputError
from lightstage.manifest import Manifest, read_json, write_atomically
from lightstage.preprocess.source import Recording
from lightstage.zarr_shards import BloscCodec, ShardReader

#: Version of the store's layout; a reader refuses a newer one.
SCHEMA_VERSION = 1
#: What the group's attribute ``kind`` says.
KIND = "lightstage frames"
_METADATA = "zarr.json"
#: Shard files kept open at once.
_OPEN_SHARDS = 4


class FramesInfo(Manifest):
    """What a store's attributes say of the recording that it copies."""

    error: ClassVar = DamagedDataError

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    dtype: Literal["uint8", "uint16"]
    bit_depth: Annotated[int, Field(gt=0, le=16)]
    cfa: str
    black_level: float
    white_level: float
    frame_rate_hz: float | None
    first_frame_number: int
    frames: Annotated[int, Field(gt=0)]
    frames_per_shard: Annotated[int, Field(gt=0)]
    source_name: str
    source_bytes: int
    source_identity: str

    @classmethod
    def of(cls, recording: Recording, frames_per_shard: int) -> Self:
        """Return what a copy of ``recording`` says of it."""
        return cls(
            width=recording.width,
            height=recording.height,
            dtype="uint8" if recording.dtype == np.uint8 else "uint16",
            bit_depth=recording.bit_depth,
            cfa=recording.cfa,
            black_level=recording.black_level,
            white_level=recording.white_level,
            frame_rate_hz=recording.frame_rate_hz,
            first_frame_number=recording.first_frame_number,
            frames=len(recording),
            frames_per_shard=frames_per_shard,
            source_name=recording.name,
            source_bytes=recording.size_bytes,
            source_identity=recording.identity(),
        )

    @property
    def shards(self) -> int:
        """Files that hold the frames."""
        return -(-self.frames // self.frames_per_shard)

    @property
    def codec(self) -> BloscCodec:
        """How a frame is compressed."""
        # neighbours in a row of a mosaic have different colours: their bits are sorted in pairs
        pair = 1 if self.cfa == "GRAY" else 2
        return BloscCodec(typesize=np.dtype(self.dtype).itemsize * pair)

    def shard_frames(self, shard: int) -> range:
        """Return the indices of the frames that ``shard`` holds."""
        first = shard * self.frames_per_shard
        return range(first, min(self.frames, first + self.frames_per_shard))


class FramesStore:
    """A ``frames.zarr`` as a frame source; what was recorded is what is returned, or an error.

    Opening reads no frame. May be shared by threads; is pickled as its path.

    Args:
        path: the store's folder.
        allow_unverified: open a store whose frames have not been compared with the source yet.

    Raises:
        InputError: there is no store of frames at ``path``.
        DamagedDataError: the store is damaged, not verified, or of a newer version.
    """

    def __init__(self, path: str | os.PathLike[str], *, allow_unverified: bool = False) -> None:
        self.path = Path(path)
        self._allow_unverified = allow_unverified
        attributes = read_attributes(self.path)
        if attributes.get("kind") != KIND:
            raise InputError(f"{self.path}: is not a store of frames (frames.zarr).")
        version = attributes.get("lightstage_schema")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise DamagedDataError(
                f"{self.path}: was written by a newer lightstage (layout {version}, this one reads "
                f"up to {SCHEMA_VERSION}); update lightstage."
            )
        if not (attributes.get("verified") or allow_unverified):
            raise DamagedDataError(
                f"{self.path}: is not verified, its making was interrupted; run 'lightstage "
                f"ingest' again."
            )
        self._verified = bool(attributes.get("verified"))
        self.info = FramesInfo.parse(
            {name: attributes.get(name) for name in FramesInfo.model_fields}, str(self.path)
        )
        self._shards: OrderedDict[int, ShardReader] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Return the source itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()

    def __del__(self) -> None:
        """Close the files of a store that was forgotten."""
        if hasattr(self, "_lock"):
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the path, so that a worker process opens the store itself."""
        return _reopen, (self.path, self._allow_unverified)

    def close(self) -> None:
        """Close the files; a frame asked for later opens them again."""
        with self._lock:
            while self._shards:
                self._shards.popitem()[1].close()

    @property
    def name(self) -> str:
        """The name of the recording that was copied."""
        return self.info.source_name

    @property
    def size_bytes(self) -> int:
        """Bytes of the recording that was copied."""
        return self.info.source_bytes

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return self.info.width

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        return self.info.height

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of stored values: uint8 or uint16."""
        return np.dtype(self.info.dtype)

    @property
    def bit_depth(self) -> int:
        """Bits that a stored value can use."""
        return self.info.bit_depth

    @property
    def cfa(self) -> str:
        """The colours of the top left 2x2 pixels; ``GRAY`` for none."""
        return self.info.cfa

    @property
    def black_level(self) -> float:
        """Stored value of no light."""
        return self.info.black_level

    @property
    def white_level(self) -> float:
        """Stored value of full scale."""
        return self.info.white_level

    @property
    def frame_rate_hz(self) -> float | None:
        """Nominal frames per second."""
        return self.info.frame_rate_hz

    @property
    def first_frame_number(self) -> int:
        """The camera's number of frame 0."""
        return self.info.first_frame_number

    @cached_property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Each frame's time stamp in UTC nanoseconds, or ``None``."""
        return self._per_frame("time_ns")

    @cached_property
    def exposure_ns(self) -> NDArray[np.int64] | None:
        """Each frame's exposure in nanoseconds, or ``None``."""
        return self._per_frame("exposure_ns")

    @cached_property
    def checksums(self) -> NDArray[np.uint8] | None:
        """XXH3-128 of each frame's bytes as recorded, ``(frames, 16)``; ``None`` if unverified."""
        return self._per_frame("xxh3_128") if self._verified else None

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.info.frames

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return the stored frame, top row first.

        Raises:
            IndexError: there is no such frame.
            DamagedDataError: the frame is not the one that was recorded.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {self.path}: there are {len(self)} frames.")
        index %= len(self)
        frame = np.empty((self.height, self.width), dtype=self.dtype)
        shard, place = divmod(index, self.info.frames_per_shard)
        with self._lock:
            self._shard(shard).read_into(place, frame)
        checksums = self.checksums
        if checksums is not None and checksum(frame) != checksums[index].tobytes():
            raise DamagedDataError(
                f"{self.path}: frame {index} is not the frame that was recorded (its checksum "
                f"differs); restore {shard_path(self.path, shard)} from a backup."
            )
        return frame

    def read_rows(self, index: int, rows: ArrayLike) -> NDArray[Any]:
        """Return stored rows of a frame, equal to ``self[index][rows]``."""
        return np.asarray(self[index][np.asarray(rows).astype(np.intp)])

    def read_window(self, index: int, top: int, bottom: int) -> NDArray[Any]:
        """Return the stored rows ``top`` to ``bottom - 1`` of a frame."""
        if not 0 <= top <= bottom <= self.height:
            raise IndexError(f"rows {top} to {bottom} of {self.height} rows.")
        return self[index][top:bottom]

    def front_bytes(self) -> bytes:
        """Return what the recording's file held before its frames; empty where there is none."""
        if not (self.path / "source_front").is_dir():
            return b""
        return self._array("source_front").tobytes()

    def identity(self) -> str:
        """Return the identity of the recording that was copied: the same as that of its file."""
        return self.info.source_identity

    def _shard(self, shard: int) -> ShardReader:
        if shard in self._shards:
            self._shards.move_to_end(shard)
        else:
            if len(self._shards) >= _OPEN_SHARDS:
                self._shards.popitem(last=False)[1].close()
            path = shard_path(self.path, shard)
            self._shards[shard] = ShardReader(path, self.info.frames_per_shard)
        return self._shards[shard]

    def _per_frame(self, name: str) -> NDArray[Any] | None:
        if not (self.path / name).is_dir():
            return None
        values = self._array(name)
        if len(values) != len(self):
            raise DamagedDataError(
                f"{self.path}: '{name}' has {len(values)} entries for {len(self)} frames."
            )
        return values

    def _array(self, name: str) -> NDArray[Any]:
        import zarr

        try:
            return np.asarray(zarr.open_array(str(self.path / name), mode="r")[:])
        except Exception as reason:  # zarr raises many kinds for a damaged array
            raise DamagedDataError(f"{self.path}: '{name}' cannot be read: {reason}.") from None


def checksum(frame: NDArray[Any]) -> bytes:
    """Return the XXH3-128 of a frame's bytes: little-endian, top row first."""
    stored = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
    return xxhash.xxh3_128_digest(stored.data)


def shard_path(store: Path, shard: int) -> Path:
    """Return the file of one shard of frames, as Zarr names it."""
    return store / "frames" / "c" / str(shard) / "0" / "0"


def read_attributes(store: Path) -> dict[str, Any]:
    """Return a Zarr group's attributes.

    Raises:
        InputError: there is no Zarr group.
        DamagedDataError: its metadata are damaged.
    """
    path = store / _METADATA
    if not path.is_file():
        raise InputError(f"{store}: is not a store of frames (frames.zarr).")
    metadata = read_json(path, DamagedDataError)
    attributes = metadata.get("attributes") if isinstance(metadata, dict) else None
    if not isinstance(attributes, dict):
        raise DamagedDataError(f"{path}: holds no attributes of a Zarr group.")
    return attributes


def is_verified(store: Path) -> bool:
    """Whether there is a store of frames that was compared with its source, frame by frame."""
    try:
        attributes = read_attributes(store)
    except (InputError, DamagedDataError):
        return False
    return attributes.get("kind") == KIND and attributes.get("verified") is True


def create_store(store: Path, info: FramesInfo, digest: str) -> None:
    """Make an empty store of frames, not verified, in an empty place.

    Frames are written by :class:`~lightstage.zarr_shards.ShardWriter` at :func:`shard_path`.
    """
    import zarr

    group = zarr.open_group(str(store), mode="w", zarr_format=3)
    group.create_array(
        "frames",
        shape=(info.frames, info.height, info.width),
        chunks=(1, info.height, info.width),
        shards=(info.frames_per_shard, info.height, info.width),
        dtype=info.dtype,
        compressors=[info.codec.configuration()],
        fill_value=0,
        dimension_names=("frame", "height", "width"),
    )
    _set_attributes(
        store,
        {
            "kind": KIND,
            "lightstage_schema": SCHEMA_VERSION,
            "lightstage_version": __version__,
            "finished": False,
            "verified": False,
            "digest": digest,
            **info.model_dump(mode="json"),
        },
    )


def finish_store(store: Path, recording: Recording, checksums: NDArray[np.uint8]) -> None:
    """Write what belongs to each frame, and mark the store as verified.

    Args:
        store: the folder, with all its shards.
        recording: the source, for its stamps.
        checksums: XXH3-128 of each frame as it was read from the source and found in the store,
            ``(frames, 16)``.
    """
    import zarr

    count = len(recording)
    group = zarr.open_group(str(store), mode="r+")
    columns: dict[str, NDArray[Any] | None] = {
        "time_ns": recording.time_ns,
        "exposure_ns": recording.exposure_ns,
        "frame_number": recording.first_frame_number + np.arange(count, dtype=np.int64),
        "xxh3_128": checksums,
        "source_front": np.frombuffer(recording.front_bytes(), dtype=np.uint8),
    }
    for name, values in columns.items():
        if values is None or not len(values):
            continue
        names = ("byte",) if name == "source_front" else ("frame", "byte")[: values.ndim]
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype=values.dtype,
            compressors=None,  # whatever codecs are loaded, the same bytes
            overwrite=True,
            dimension_names=names,
        )
        array[...] = values
        for file in (store / name).rglob("*"):
            if file.is_file():
                _flush(file)
    _set_attributes(store, {"finished": True, "verified": True})


def _set_attributes(store: Path, attributes: dict[str, Any]) -> None:
    metadata = read_json(store / _METADATA, DamagedDataError)
    metadata["attributes"] = {**metadata.get("attributes", {}), **attributes}
    write_atomically(store / _METADATA, json.dumps(metadata, indent=1) + "\n")


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reopen(path: Path, allow_unverified: bool) -> FramesStore:
    return FramesStore(path, allow_unverified=allow_unverified)
