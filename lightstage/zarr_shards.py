"""Zarr v3 shards written chunk by chunk: no array of a whole shard is ever in memory.

A shard (https://zarr-specs.readthedocs.io, sharding codec) is its compressed chunks one after
another and then an index: offset and length of each chunk as little-endian uint64, all ones for a
chunk that is not there, and the index's CRC-32C. Handing a whole shard to Zarr costs an array of
hundreds of megabytes, which the processor spends more time mapping than compressing; here one chunk
is compressed at a time, and any Zarr implementation reads the result.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from lightstage.errors import DamagedDataError, LightstageError

#: Both fields of an index entry whose chunk is not there.
_ABSENT = (1 << 64) - 1
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
#: Blosc's own limit on what one call compresses.
_MOST_BYTES = (1 << 31) - 1 - 16


@dataclass(frozen=True)
class BloscCodec:
    """How a chunk is compressed: Blosc, as Zarr's ``blosc`` codec describes it.

    Attributes:
        typesize: bytes of the values whose bits are sorted together. For a Bayer mosaic twice a
            value's bytes compress about 6 % better: neighbours in a row have different colours.
        cname: the compressor within Blosc.
        clevel: 0 to 9.
        shuffle: how bytes or bits are sorted before.
    """

    typesize: int
    cname: Literal["lz4", "zstd"] = "lz4"
    clevel: int = 5
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"] = "bitshuffle"

    def configuration(self) -> dict[str, Any]:
        """Return the codec as an entry of Zarr's ``compressors``."""
        return {
            "name": "blosc",
            "configuration": {
                "cname": self.cname,
                "clevel": self.clevel,
                "shuffle": self.shuffle,
                "typesize": self.typesize,
                "blocksize": 0,
            },
        }

    def compress(self, array: NDArray[Any]) -> bytes:
        """Return a chunk's bytes, little-endian and in C order, compressed by one thread.

        Raises:
            LightstageError: the chunk is larger than Blosc can take (2 GB).
        """
        stored = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        if stored.nbytes > _MOST_BYTES:
            raise LightstageError(
                f"a chunk of {stored.nbytes} bytes cannot be compressed, Blosc takes at most "
                f"{_MOST_BYTES}; make the images smaller."
            )
        return bytes(
            blosc.compress(
                stored.reshape(-1).view(np.uint8),
                self.cname.encode(),
                self.clevel,
                _SHUFFLES[self.shuffle],
                0,
                typesize=self.typesize,
            )
        )


class ShardWriter:
    """Writes one shard file: chunks are compressed as they are added.

    Chunks lie in the file in the order of their indices, whatever the order in which they are
    added: the same chunks are the same bytes. One that is added before its turn waits in memory,
    compressed. The file is ``NAME.partial`` until it is closed; after an error nothing is left.

    Args:
        path: the shard's file; its folder is made.
        chunk_count: chunks of a whole shard; those never added are marked as not there.
        codec: how each is compressed.
    """

    def __init__(self, path: str | os.PathLike[str], chunk_count: int, codec: BloscCodec) -> None:
        blosc.set_nthreads(1)  # workers share the cores
        self.path = Path(path)
        self._codec = codec
        self._index = np.full((chunk_count, 2), _ABSENT, dtype="<u8")
        self._waiting: dict[int, bytes] = {}
        self._next = 0
        self._position = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_name(self.path.name + ".partial")
        self._file = self._partial.open("wb", buffering=0)

    def add(self, index: int, array: NDArray[Any]) -> None:
        """Compress ``array`` as chunk ``index`` and write it as soon as those before it are there.

        Raises:
            IndexError: the shard has no such chunk.
            ValueError: the chunk has been added before.
        """
        if not 0 <= index < len(self._index):
            raise IndexError(f"chunk {index} of a shard of {len(self._index)}.")
        if index in self._waiting or self._index[index, 0] != _ABSENT:
            raise ValueError(f"{self.path}: chunk {index} has been added before.")
        self._waiting[index] = self._codec.compress(array)
        while self._next in self._waiting:
            self._append(self._next)
            self._next += 1

    def close(self) -> None:
        """Write the index, flush to the disk and give the file its name."""
        if self._file.closed:
            return
        try:
            for index in sorted(self._waiting):
                self._append(index)
            index_bytes = self._index.tobytes()
            checksum = google_crc32c.value(index_bytes).to_bytes(4, "little")
            self._write(index_bytes + checksum)
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self.path)
        except BaseException:
            self.abort()
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abort(self) -> None:
        """Give up: close the file and remove what was written."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _append(self, index: int) -> None:
        data = self._waiting.pop(index)
        self._index[index] = self._position, len(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            self._position += written
            view = view[written:]


def write_shard(
    path: str | os.PathLike[str], chunks: list[NDArray[Any]], codec: BloscCodec
) -> None:
    """Write a shard of all its chunks at once."""
    with ShardWriter(path, len(chunks), codec) as writer:
        for index, chunk in enumerate(chunks):
            writer.add(index, chunk)


def write_chunk(path: str | os.PathLike[str], chunk: NDArray[Any], codec: BloscCodec) -> None:
    """Write the file of a chunk that is not part of a shard: whole, on the disk, then named."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(codec.compress(chunk))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class ShardReader:
    """Reads single chunks of a shard file that :class:`ShardWriter` wrote.

    Not to be shared by threads: the buffer of the compressed bytes is kept.

    Raises:
        DamagedDataError: the file is missing, cut off, or its index is damaged.
    """

    def __init__(self, path: str | os.PathLike[str], chunk_count: int) -> None:
        self.path = Path(path)
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as reason:
            raise DamagedDataError(f"{self.path}: cannot be opened: {reason.strerror}.") from None
        self._buffer = bytearray()
        try:
            self._index = self._read_index(chunk_count)
        except BaseException:
            self.close()
            raise

    def _read_index(self, chunk_count: int) -> NDArray[np.uint64]:
        size = os.fstat(self._descriptor).st_size
        index_bytes = 16 * chunk_count
        if size < index_bytes + 4:
            raise DamagedDataError(f"{self.path}: is cut off, it has {size} bytes.")
        data = self._read(size - index_bytes - 4, index_bytes + 4)
        if google_crc32c.value(bytes(data[:-4])) != int.from_bytes(data[-4:], "little"):
            raise DamagedDataError(f"{self.path}: its index is damaged (wrong CRC-32C).")
        index = np.frombuffer(data[:-4], dtype="<u8").reshape(chunk_count, 2)
        there = index[index[:, 0] != _ABSENT]
        if len(there) and int(there.sum(axis=1).max()) > size - index_bytes - 4:
            raise DamagedDataError(f"{self.path}: its index points outside the file.")
        return index.astype(np.uint64)

    def has(self, index: int) -> bool:
        """Whether chunk ``index`` is there."""
        return int(self._index[index, 0]) != _ABSENT

    def read_into(self, index: int, out: NDArray[Any]) -> None:
        """Decode chunk ``index`` into ``out``, a C-ordered array of the chunk's type and size.

        Raises:
            DamagedDataError: the chunk is not there, or is not one of ``out``'s size.
        """
        if not self.has(index):
            raise DamagedDataError(f"{self.path}: chunk {index} is not there.")
        offset, count = (int(value) for value in self._index[index])
        view = self._read(offset, count)
        # the lengths that Blosc's header tells: decoding trusts them
        raw, stored = (int.from_bytes(view[at : at + 4], "little") for at in (4, 12))
        if count < 16 or raw != out.nbytes or stored != count:
            raise DamagedDataError(f"{self.path}: chunk {index} is damaged (its Blosc header).")
        try:
            blosc.decompress(view, out.reshape(-1).view(np.uint8))
        except (RuntimeError, ValueError) as reason:
            raise DamagedDataError(f"{self.path}: chunk {index} is damaged: {reason}.") from None

    def _read(self, offset: int, count: int) -> memoryview[Any]:
        if len(self._buffer) < count:
            self._buffer = bytearray(count + count // 4)
        view = memoryview(self._buffer)[:count]
        got = 0
        while got < count:
            part = os.preadv(self._descriptor, [view[got:]], offset + got)
            if part == 0:
                raise DamagedDataError(f"{self.path}: ends at byte {offset + got}, it is cut off.")
            got += part
        return view

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
