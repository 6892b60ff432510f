"""CineFile: random access to a Phantom camera's .cine recording of any length."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.cine import clock
from lightstage.cine.header import EXPOSURE_BLOCK, TIME_BLOCK, CineHeader, read_header
from lightstage.cine.inspection import inspect
from lightstage.cine.offset_table import EMPTY_ANNOTATION, OffsetTable
from lightstage.cine.pixel_format import ColourFilter
from lightstage.cine.source import CineBytes, damaged

#: Rows further apart than this many bytes are read apart: a read costs about as much.
_WORTH_SKIPPING = 1 << 14


@lru_cache(maxsize=16)
def _runs(rows: bytes, reach: int) -> tuple[list[tuple[int, int]], NDArray[np.intp]]:
    """Return which runs of rows to read, and where each row lies in them put together.

    The same rows are read of every frame of a recording.

    Args:
        rows: numbers of rows as int64, in any order.
        reach: rows that are at most so far apart are read at once.

    Returns:
        First row and count of each run; and for each row asked for its place.
    """
    stored = np.frombuffer(rows, dtype=np.int64)
    needed = np.unique(stored)
    if not needed.size:
        return [], np.empty(0, np.intp)
    parts = np.split(needed, np.flatnonzero(np.diff(needed) > reach) + 1)
    first = np.array([part[0] for part in parts])
    count = np.array([part[-1] - part[0] + 1 for part in parts])
    begin = np.cumsum(count) - count
    run = np.searchsorted(first, stored, side="right") - 1
    places = begin[run] + stored - first[run]
    places.flags.writeable = False
    return list(zip(first.tolist(), count.tolist(), strict=True)), places.astype(np.intp)


class CineFile:
    """A .cine file, read frame by frame; opening it reads headers and offsets, never pixels.

    ``len(cine)`` is the number of frames, ``cine[i]`` one frame's stored pixels with the top row
    first: ``(height, width)`` uint8 or uint16, or ``(height, width, 3)`` RGB for files already in
    colour. Values are right-aligned (12 bits are 0 to 4095); 10-bit packed files are decoded to
    12-bit linear by the vendor's table. Every frame is an array of its own that may be changed.
    Memory does not grow with the file. May be shared by threads, and is pickled as its path.

    Args:
        path: the file.
        allow_truncated: read the whole frames of a file that is cut off, instead of refusing it.

    Raises:
        InputError: there is no such file, or it is a folder.
        CineError: the file is damaged or of a kind that is not known; the text names the field,
            what was expected, what was found and what to do.
    """

    def __init__(self, path: str | os.PathLike[str], *, allow_truncated: bool = False) -> None:
        self._source = CineBytes(path)
        self._allow_truncated = allow_truncated
        try:
            self._header = read_header(self._source)
            self._offsets = OffsetTable(self._source, self._header, allow_truncated)
            self._image_size_note = self._check_image_size()
            self._check_block(TIME_BLOCK, 8)
            self._check_block(EXPOSURE_BLOCK, 4)
        except BaseException:
            self._source.close()
            raise

    def __len__(self) -> int:
        """Return the number of frames that can be read."""
        return self._offsets.count

    def __getitem__(self, index: SupportsIndex) -> NDArray[Any]:
        """Return frame ``index`` (negative: from the end), top row first.

        Raises:
            IndexError: there is no such frame.
            CineError: the frame's place in the file is damaged.
        """
        offset, annotation = self._locate(index)
        pixel_format = self._header.pixel_format
        stored = self._source.read(
            offset + annotation, pixel_format.frame_bytes, f"image {operator.index(index)}"
        )
        return pixel_format.decode(stored)

    def read_rows(self, index: SupportsIndex, rows: ArrayLike) -> NDArray[Any]:
        """Return rows of frame ``index``, equal to ``self[index][rows]``; own memory.

        Where rows are whole bytes of one colour a pixel, only these rows are read from the disk,
        neighbours at once; of packed files and of those in colour the whole frame is read.

        Args:
            index: the frame; negative from the end.
            rows: ``(n,)`` row numbers, 0 = the top row, in any order; negative from the bottom.

        Raises:
            IndexError: there is no such frame or row.
            CineError: the frame's place in the file is damaged.
        """
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise TypeError(f"rows must be a list of row numbers, not {rows!r}.")
        pixel_format = self._header.pixel_format
        if pixel_format.packing or pixel_format.rgb:
            return np.asarray(self[index][wanted.astype(np.intp)])
        height = self.height
        if wanted.size and not (-height <= wanted.min() and wanted.max() < height):
            raise IndexError(f"row {wanted.min()} or {wanted.max()} of {height} rows.")
        offset, annotation = self._locate(index)
        # whole-byte images are Windows bitmaps: the bottom row is stored first
        stored = height - 1 - wanted.astype(np.int64) % height
        row_bytes = self.width * pixel_format.bytes_per_value
        runs, places = _runs(stored.tobytes(), _WORTH_SKIPPING // max(1, row_bytes) + 1)
        name = f"image {operator.index(index)}"
        data = [
            self._source.read(offset + annotation + first * row_bytes, count * row_bytes, name)
            for first, count in runs
        ]
        if not data:
            return np.empty((0, self.width), dtype=self.dtype)
        together = data[0] if len(data) == 1 else np.concatenate(data)
        block = together.view(self.dtype.newbyteorder("<")).reshape(-1, self.width)
        return np.take(block, places, axis=0).astype(self.dtype, copy=False)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield every frame in order."""
        return (self[index] for index in range(len(self)))

    def raw_bytes(self, index: SupportsIndex) -> bytes:
        """Return frame ``index`` as it is stored: packed, bottom row first where it is so."""
        offset, annotation = self._locate(index)
        count = self._header.pixel_format.frame_bytes
        return self._source.read(offset + annotation, count, f"image {index}").tobytes()

    def annotation(self, index: SupportsIndex) -> bytes:
        """Return what the camera noted with frame ``index``; empty in most files."""
        offset, size = self._locate(index)
        return self._source.read(offset + 4, size - EMPTY_ANNOTATION, "annotation").tobytes()

    @property
    def path(self) -> Path:
        """The file."""
        return self._source.path

    @property
    def size_bytes(self) -> int:
        """The file's size on disk when it was opened."""
        return self._source.size

    @property
    def header(self) -> CineHeader:
        """Every header field as stored: ``.file``, ``.bitmap``, ``.setup``, ``.blocks``."""
        return self._header

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self._header.pixel_format.width

    @property
    def height(self) -> int:
        """Rows."""
        return self._header.pixel_format.height

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a frame's values: uint8 or uint16."""
        return self._header.pixel_format.dtype

    @property
    def bit_depth(self) -> int:
        """Bits that a returned value can use (P10 files: 12, for they are decoded to linear)."""
        return self._header.pixel_format.bit_depth

    @property
    def cfa(self) -> ColourFilter:
        """Colours of a returned array's top-left 2x2, top row first: GBRG, RGGB, GRAY, RGB."""
        return self._header.cfa

    @property
    def black_level(self) -> int:
        """The returned value that means no light."""
        return self._header.levels[0]

    @property
    def white_level(self) -> int:
        """The returned value that means full scale."""
        return self._header.levels[1]

    @property
    def frame_rate_hz(self) -> float | None:
        """Nominal frames per second, or None if the file does not say."""
        return self._header.frame_rate_hz

    @property
    def exposure_us(self) -> float | None:
        """Nominal exposure in microseconds, or None if the file does not say."""
        return self._header.exposure_us

    @property
    def trigger_time_ns(self) -> int:
        """The trigger, UTC nanoseconds since 1970."""
        return self._header.trigger_time_ns

    @property
    def first_frame_number(self) -> int:
        """The camera's number of frame 0: negative before the trigger, 0 is the first after it."""
        return self._header.file.first_image_no

    @cached_property
    def frame_numbers(self) -> NDArray[np.int64]:
        """The camera's frame numbers ``(n,)``."""
        return _frozen(self.first_frame_number + np.arange(len(self), dtype=np.int64))

    @cached_property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Time stamps ``(n,)``, UTC nanoseconds since 1970; None if the file holds none."""
        stored = self._block_values(TIME_BLOCK, "<u8")
        return None if stored is None else _frozen(clock.time_ns(stored.astype(np.uint64)))

    @cached_property
    def exposure_ns(self) -> NDArray[np.int64] | None:
        """Each frame's exposure ``(n,)`` in nanoseconds; None if the file holds none."""
        stored = self._block_values(EXPOSURE_BLOCK, "<u4")
        return None if stored is None else _frozen(clock.exposure_ns(stored.astype(np.uint32)))

    @cached_property
    def _findings(self) -> tuple[str, ...]:
        return (*self._image_size_note, *inspect(self))

    @property
    def warnings(self) -> list[str]:
        """What is odd in the file but does not stop it from being read, in plain sentences."""
        return list(self._findings)

    @property
    def damaged_indices(self) -> list[int]:
        """Frames whose offset is damaged (at most 1000 named): reading one raises CineError."""
        return list(self._offsets.suspects)

    @property
    def closed(self) -> bool:
        """Whether the file has been closed."""
        return self._source.closed

    def close(self) -> None:
        """Close the file; frames already read stay valid."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the path, so that a worker process opens the file itself."""
        return _reopen, (self.path, self._allow_truncated)

    def __repr__(self) -> str:
        return (
            f"CineFile({str(self.path)!r}: {len(self)} frames, {self.width} x {self.height}, "
            f"{self.bit_depth} bits, {self.cfa})"
        )

    def image_size_field(self, index: SupportsIndex) -> int:
        """Return the ImageSize stored before frame ``index``; some real files hold garbage."""
        offset, annotation = self._locate(index)
        return int(self._source.read(offset + annotation - 4, 4, "ImageSize").view("<u4")[0])

    def _locate(self, index: SupportsIndex) -> tuple[int, int]:
        """Return where frame ``index`` starts and the bytes of its annotation."""
        wanted = operator.index(index)
        count = len(self)
        if not -count <= wanted < count:
            raise IndexError(f"frame {wanted} of {self.path}: there are {count} frames")
        wanted %= count
        offset, end = self._offsets.window(wanted)
        annotation = int(self._source.read(offset, 4, "AnnotationSize").view("<u4")[0])
        most = end - offset - self._header.pixel_format.frame_bytes
        if not EMPTY_ANNOTATION <= annotation <= most:
            raise damaged(
                self.path,
                f"AnnotationSize of image {wanted}",
                f"{EMPTY_ANNOTATION} to {most} bytes",
                annotation,
                "This image's place in the file is damaged; other images can be read.",
            )
        return offset, annotation

    def _check_image_size(self) -> list[str]:
        """Return a note if biSizeImage is garbage, or raise if the image's size is in doubt."""
        said = self._header.bitmap.size_image
        expected = self._header.pixel_format.frame_bytes
        if said in (0, expected):
            return []
        offset, end = self._offsets.window(0)
        annotation = int(self._source.read(offset, 4, "AnnotationSize").view("<u4")[0])
        bitmap = self._header.bitmap
        if end - offset - annotation != expected:
            raise damaged(
                self.path,
                "biSizeImage, biWidth, biHeight or biBitCount",
                f"biSizeImage = {expected} bytes for {bitmap.width} x {bitmap.height} pixels "
                f"(biBitCount {bitmap.bit_count}, biCompression {bitmap.compression})",
                said,
            )
        return [f"biSizeImage = {said} is garbage: images of {expected} bytes lie end to end"]

    def _check_block(self, kind: int, entry: int) -> None:
        block = self._header.block(kind)
        claimed = self._header.file.image_count
        if block is None or block.data_bytes == entry * claimed:
            return
        held = block.data_bytes // entry
        room = (self._first_offset() - self._header.file.off_image_offsets) // 8
        if held < claimed or held == room:
            raise damaged(
                self.path,
                f"ImageCount, or BlockSize of block {kind}",
                f"one entry for each of ImageCount = {claimed} images",
                f"{held} entries",
            )

    def _first_offset(self) -> int:
        return self._offsets.window(0)[0]

    def _block_values(self, kind: int, dtype: str) -> NDArray[Any] | None:
        block = self._header.block(kind)
        if block is None:
            return None
        count = len(self) * np.dtype(dtype).itemsize
        return self._source.read(block.offset, count, f"block {kind}").view(dtype)


def _reopen(path: Path, allow_truncated: bool) -> CineFile:
    return CineFile(path, allow_truncated=allow_truncated)


def _frozen(values: NDArray[np.int64]) -> NDArray[np.int64]:
    values.flags.writeable = False
    return values
