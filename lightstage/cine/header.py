"""The headers of a .cine file: what is stored, checked, and what it means.

Source: the vendor's cine format document, editions 741 and 804, and the quirks of real files.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from lightstage.cine import clock
from lightstage.cine.camera_setup import LENGTH_END, CameraSetup
from lightstage.cine.packing import p10_linear
from lightstage.cine.pixel_format import (
    CC_JPEG,
    CC_RGB,
    CC_UNINTERPOLATED,
    FILTER_OF,
    PACKING_OF,
    ColourFilter,
    PixelFormat,
)
from lightstage.cine.record import at, parse, places
from lightstage.cine.source import COPY_AGAIN, CineBytes, damaged
from lightstage.errors import CineError

FILE_HEADER_BYTES = 44
BITMAP_HEADER_BYTES = 40
TIME_BLOCK, EXPOSURE_BLOCK = 1002, 1003
#: Real files hold three or four blocks. A chain of more is damage, and would take long to walk.
_MOST_BLOCKS = 256
_DEPTH_OF_LEVELS = {256: 8, 1024: 10, 4096: 12, 16384: 14, 65536: 16}

Record = TypeVar("Record")


@dataclass(frozen=True)
class FileHeader:
    """CINEFILEHEADER, as stored."""

    type: str = at(0x00, "2s", "Type")
    header_size: int = at(0x02, "H", "Headersize")
    compression: int = at(0x04, "H", "Compression")
    version: int = at(0x06, "H", "Version")
    first_movie_image: int = at(0x08, "i", "FirstMovieImage")
    total_image_count: int = at(0x0C, "I", "TotalImageCount")
    first_image_no: int = at(0x10, "i", "FirstImageNo")
    image_count: int = at(0x14, "I", "ImageCount")
    off_image_header: int = at(0x18, "I", "OffImageHeader")
    off_setup: int = at(0x1C, "I", "OffSetup")
    off_image_offsets: int = at(0x20, "I", "OffImageOffsets")
    trigger_time64: int = at(0x24, "Q", "TriggerTime")


@dataclass(frozen=True)
class BitmapHeader:
    """BITMAPINFOHEADER, as stored."""

    size: int = at(0x00, "I", "biSize")
    width: int = at(0x04, "i", "biWidth")
    height: int = at(0x08, "i", "biHeight")
    planes: int = at(0x0C, "H", "biPlanes")
    bit_count: int = at(0x0E, "H", "biBitCount")
    compression: int = at(0x10, "I", "biCompression")
    size_image: int = at(0x14, "I", "biSizeImage")
    x_pels_per_meter: int = at(0x18, "i", "biXPelsPerMeter")
    y_pels_per_meter: int = at(0x1C, "i", "biYPelsPerMeter")
    clr_used: int = at(0x20, "I", "biClrUsed")
    clr_important: int = at(0x24, "I", "biClrImportant")


@dataclass(frozen=True)
class TaggedBlock:
    """One tagged block: its type, where its data starts in the file and how many bytes it has."""

    type: int
    offset: int
    data_bytes: int


@dataclass(frozen=True)
class CineHeader:
    """Everything in front of the pictures.

    Attributes:
        file, bitmap, setup: the three structures as stored.
        blocks: the tagged blocks, in the order of the file.
        pixel_format: how an image is stored.
        cfa: the colours of the top-left 2x2 pixels, top row first.
        notes: what is odd in the headers but does not stand in the way.
    """

    file: FileHeader
    bitmap: BitmapHeader
    setup: CameraSetup
    blocks: tuple[TaggedBlock, ...]
    pixel_format: PixelFormat
    cfa: ColourFilter
    levels: tuple[int, int]
    notes: tuple[str, ...]

    @property
    def frame_rate_hz(self) -> float | None:
        """Nominal frames per second: dFrameRate where it agrees with FrameRate; None if unset."""
        whole = self.setup.frame_rate or self.setup.frame_rate_16 or 0
        exact = self.setup.d_frame_rate
        # FrameRate is dFrameRate rounded; a dFrameRate that is not near it is garbage.
        plausible = exact is not None and math.isfinite(exact) and 0 < exact < 1e9
        if exact and plausible and (not whole or abs(exact - whole) <= max(1.0, 0.01 * whole)):
            return exact
        return float(whole) or None

    @property
    def exposure_us(self) -> float | None:
        """Nominal exposure in microseconds; None if the file does not say."""
        if self.setup.shutter_ns:
            return self.setup.shutter_ns / 1000
        return float(self.setup.shutter_us or self.setup.shutter_16_us or 0) or None

    @property
    def trigger_time_ns(self) -> int:
        """The trigger, UTC nanoseconds since 1970; between images -1 and 0."""
        return int(clock.time_ns(np.array([self.file.trigger_time64], np.uint64))[0])

    def block(self, kind: int) -> TaggedBlock | None:
        """Return the first tagged block of type ``kind``, or None."""
        return next((block for block in self.blocks if block.type == kind), None)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return the stored fields that are present, under the vendor's names, by structure."""
        return {
            "CINEFILEHEADER": _by_vendor_name(self.file),
            "BITMAPINFOHEADER": _by_vendor_name(self.bitmap),
            "SETUP": _by_vendor_name(self.setup),
        }


def read_header(source: CineBytes) -> CineHeader:
    """Read and check everything in front of the offset table; no pixel is touched.

    Raises:
        CineError: a field is damaged or of a kind that is not known; the text names it.
    """
    path = source.path
    file = _read(source, FileHeader, 0, FILE_HEADER_BYTES, "CINEFILEHEADER")
    if file.type != "CI":
        raise damaged(
            path, "Type", "'CI'", repr(file.type), "Is this a .cine file? If it is, " + _lower()
        )
    if file.header_size < FILE_HEADER_BYTES:
        raise damaged(path, "Headersize", f"{FILE_HEADER_BYTES} or more", file.header_size)
    if file.version > 1:
        raise damaged(path, "Version", "0 or 1", file.version)
    if file.compression == CC_JPEG:
        raise CineError(
            f"{path}: Compression = 1 (JPEG) cannot be read: expected 0 or 2. "
            "Save the cine from the vendor's software as raw or uncompressed."
        )
    if file.compression not in (CC_RGB, CC_UNINTERPOLATED):
        raise damaged(path, "Compression", "0 (gray or RGB) or 2 (Bayer)", file.compression)
    if file.image_count == 0:
        raise damaged(path, "ImageCount", "at least 1 image", 0)
    for name, offset in (("OffImageHeader", file.off_image_header), ("OffSetup", file.off_setup)):
        if not file.header_size <= offset < source.size:
            span = f"an offset from {file.header_size} to the file's size, {source.size}"
            raise damaged(path, name, span, offset)
    bitmap = _read(
        source, BitmapHeader, file.off_image_header, BITMAP_HEADER_BYTES, "BITMAPINFOHEADER"
    )
    setup = _read_setup(source, file)
    entry = 8 if file.version else 4
    setup_end = file.off_setup + (setup.length or 0)
    if not setup_end <= file.off_image_offsets < source.size:
        span = f"an offset from SETUP's end, {setup_end}, to the file's size, {source.size}"
        raise damaged(path, "OffImageOffsets", span, file.off_image_offsets)
    if file.off_image_offsets + entry * file.image_count > source.size:
        most = (source.size - file.off_image_offsets) // entry
        raise damaged(
            path, "ImageCount", f"at most {most}, or the file is cut off", file.image_count
        )
    notes: list[str] = []
    blocks = _read_blocks(source, setup_end, file.off_image_offsets, notes)
    pixel_format = _pixel_format(source, bitmap, setup, notes)
    return CineHeader(
        file=file,
        bitmap=bitmap,
        setup=setup,
        blocks=blocks,
        pixel_format=pixel_format,
        cfa=_colour_filter(file, setup, pixel_format, notes),
        levels=_levels(setup, pixel_format, notes),
        notes=tuple(notes),
    )


def _lower() -> str:
    return COPY_AGAIN[0].lower() + COPY_AGAIN[1:]


def _by_vendor_name(record: object) -> dict[str, Any]:
    found = places(cast(Hashable, type(record)))
    values = {place.vendor_name: getattr(record, name) for name, place in found.items()}
    return {name: value for name, value in values.items() if value is not None}


def _read(source: CineBytes, record: type[Record], offset: int, count: int, name: str) -> Record:
    return parse(record, source.read(offset, count, name).tobytes())


def _read_setup(source: CineBytes, file: FileHeader) -> CameraSetup:
    """Return SETUP; fields behind its own Length are None, whatever follows in the file."""
    start = _read(source, CameraSetup, file.off_setup, LENGTH_END, "SETUP")
    if start.mark != "ST":
        raise damaged(source.path, "SETUP.Mark", "'ST'", repr(start.mark))
    length = start.length or 0
    if not LENGTH_END <= length <= source.size - file.off_setup:
        most = source.size - file.off_setup
        raise damaged(source.path, "SETUP.Length", f"{LENGTH_END} to {most} bytes", length)
    return _read(source, CameraSetup, file.off_setup, length, "SETUP")


def _read_blocks(
    source: CineBytes, start: int, end: int, notes: list[str]
) -> tuple[TaggedBlock, ...]:
    """Walk the tagged blocks between SETUP and the offset table, by their sizes."""
    blocks: list[TaggedBlock] = []
    position = start
    while end - position >= 8:
        head = source.read(position, 8, "tagged block").tobytes()
        size, kind = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:6], "little")
        if size == 0 and kind == 0:
            notes.append(f"{end - position} bytes in front of the offset table are not a block")
            break
        if not 8 <= size <= end - position:
            span = f"8 to {end - position} bytes (block at byte {position}, type {kind})"
            raise damaged(source.path, "tagged block BlockSize", span, size)
        if len(blocks) == _MOST_BLOCKS:
            raise damaged(source.path, "tagged blocks", f"at most {_MOST_BLOCKS}", "more")
        blocks.append(TaggedBlock(kind, position + 8, size - 8))
        position += size
    return tuple(blocks)


def _pixel_format(
    source: CineBytes, bitmap: BitmapHeader, setup: CameraSetup, notes: list[str]
) -> PixelFormat:
    path = source.path
    if bitmap.size < BITMAP_HEADER_BYTES:
        raise damaged(path, "biSize", f"{BITMAP_HEADER_BYTES} or more", bitmap.size)
    if bitmap.planes != 1:
        raise damaged(path, "biPlanes", "1", bitmap.planes)
    if bitmap.bit_count not in (8, 16, 24, 48):
        raise damaged(path, "biBitCount", "8, 16, 24 or 48", bitmap.bit_count)
    if bitmap.compression not in PACKING_OF:
        known = "0 (unpacked), 256 (P10) or 1024 (P12L)"
        raise damaged(path, "biCompression", known, bitmap.compression)
    for name, length in (("biWidth", bitmap.width), ("biHeight", bitmap.height)):
        # No image is larger than its file; a damaged size must not become an allocation.
        if not 0 < length <= source.size:
            span = f"1 or more pixels, and an image within the file's {source.size} bytes"
            raise damaged(path, name, span, length)
    packing = PACKING_OF[bitmap.compression]
    rgb = bitmap.bit_count in (24, 48)
    if packing and rgb:
        raise damaged(path, "biBitCount", f"8 or 16 with {packing}", bitmap.bit_count)
    whole_byte = not packing and bitmap.bit_count in (8, 24)
    found = PixelFormat(
        width=bitmap.width,
        height=bitmap.height,
        bit_depth=12
        if packing
        else 8
        if whole_byte
        else _sixteen_bit_depth(path, bitmap, setup, notes),
        bytes_per_value=1 if whole_byte else 2,
        packing=packing,
        rgb=rgb,
    )
    if found.width % found.width_step:
        span = f"a multiple of {found.width_step} with {packing}"
        raise damaged(path, "biWidth", span, found.width)
    if found.frame_bytes > source.size:
        raise damaged(
            path,
            "biWidth x biHeight",
            f"an image within the file's {source.size} bytes",
            f"{found.width} x {found.height} = {found.frame_bytes} bytes an image",
        )
    return found


def _sixteen_bit_depth(
    path: Any, bitmap: BitmapHeader, setup: CameraSetup, notes: list[str]
) -> int:
    """Return the real depth of values stored in 16 bits: RealBPP, else the number of levels."""
    by_levels = _DEPTH_OF_LEVELS.get(bitmap.clr_important)
    real = setup.real_bpp or 0
    if 8 <= real <= 16:
        if by_levels and by_levels != real and bitmap.clr_important != 0:
            notes.append(f"RealBPP = {real}, but biClrImportant = {bitmap.clr_important} levels")
        return real
    if real and not by_levels:
        raise damaged(path, "SETUP.RealBPP", "8 to 16 bits", real)
    if real:
        notes.append(f"RealBPP = {real} is not a depth; biClrImportant says {by_levels} bits")
    return by_levels or 16


def _colour_filter(
    file: FileHeader, setup: CameraSetup, pixel_format: PixelFormat, notes: list[str]
) -> ColourFilter:
    code = setup.cfa or 0
    if pixel_format.rgb:
        return "RGB"
    # As the vendor defines them: Compression says whether pixels are raw, CFA what the sensor has.
    if file.compression == CC_RGB:
        if code & 0xFF:
            notes.append(f"CFA = {code}, but Compression = 0 says that the pixels are gray")
        return "GRAY"
    if code == 0:
        notes.append("Compression = 2 says Bayer, but CFA = 0 says gray")
    if code & ~0xFF:
        notes.append(f"CFA = 0x{code:08x}: the upper bits mark gray heads and are not used")
    found = FILTER_OF.get(code & 0xFF, "UNKNOWN")
    if found == "UNKNOWN":
        notes.append(f"CFA = {code & 0xFF} is not known (3 to 6 are): pixels are not developed")
    return found


def _levels(setup: CameraSetup, pixel_format: PixelFormat, notes: list[str]) -> tuple[int, int]:
    """Return black and white in returned values; full scale where SETUP does not say."""
    full = (0, (1 << pixel_format.bit_depth) - 1)
    if setup.black_level is None or setup.white_level is None:
        return full
    black, white = setup.black_level, setup.white_level
    if pixel_format.packing == "P10" and 0 <= black < white < 1024:
        # Stored as codes, as the pixels are: they go through the same table.
        table = p10_linear()
        return int(table[black]), int(table[white])
    if 0 <= black < white <= full[1]:
        return black, white
    notes.append(
        f"BlackLevel = {black} and WhiteLevel = {white} do not fit {pixel_format.bit_depth} bits; "
        f"{full[0]} and {full[1]} are used"
    )
    return full
