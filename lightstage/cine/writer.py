"""CineWriter: a .cine recording written frame by frame, readable by the vendor's software."""

from __future__ import annotations

import contextlib
import os
from array import array
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from lightstage.cine import clock
from lightstage.cine.camera_setup import CameraSetup
from lightstage.cine.clock import SECOND_NS, as_integer
from lightstage.cine.front_matter import Recording, front_bytes, front_matter
from lightstage.cine.pixel_format import (
    CFA_OF,
    LEVELS,
    PACKINGS,
    ColourFilter,
    Packing,
    PixelFormat,
)
from lightstage.errors import InputError

_DEPTHS = (8, 10, 12, 14, 16)
#: The header's offsets are 32 bits wide; images may lie beyond them, what is before may not.
_MOST_FRAMES = 100_000_000


class CineWriter:
    """Writes a .cine file frame by frame as they arrive, with memory for stamps only.

    Frames go to ``NAME.partial``, which becomes ``NAME`` when the writer is closed; after an error
    nothing is left. Room for ``frame_count`` stamps lies before the images, so it has to be known;
    closing earlier is allowed, and the header then tells the number that was written.

    Args:
        path: the file to make; an existing one is replaced when the writer is closed.
        width, height: pixels; P10 needs a width that is a multiple of 4, P12L of 2.
        frame_count: the most frames that will be written.
        frame_rate_hz: nominal frames per second.
        exposure_us: nominal exposure in microseconds, below 1 s.
        bit_depth: 8, 10, 12, 14 or 16 bits of a value, right-aligned. Packed frames are given (and
            read back) as 12-bit values, so 12 is the default with ``packing``, and 8 without.
        packing: "P10" keeps of each 12-bit linear value the nearest of the vendor's 1024 codes,
            "P12L" keeps all 12 bits, None stores whole bytes.
        cfa: colours of a frame's top-left 2x2, top row first: "GRAY", "GBRG", "RGGB", "GRBG" or
            "BGGR"; "RGB" for frames ``(height, width, 3)``.
        black_level, white_level: levels in the values given; the vendor's for the depth if None.
        first_frame_number: the camera's number of the first frame; negative before the trigger.
        trigger_time_ns: UTC nanoseconds since 1970; if None, when frame 0 began by its stamps.
        camera_model, serial, description: what the file says of the camera and the take.
        setup: further SETUP fields; those that this writer decides on are overwritten.

    Raises:
        InputError: an argument cannot be stored in a .cine file, or the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        width: int,
        height: int,
        frame_count: int,
        frame_rate_hz: float,
        exposure_us: float,
        bit_depth: int | None = None,
        packing: Packing | None = None,
        cfa: ColourFilter = "GRAY",
        black_level: int | None = None,
        white_level: int | None = None,
        first_frame_number: int = 0,
        trigger_time_ns: int | None = None,
        camera_model: str | None = None,
        serial: int | None = None,
        description: str | None = None,
        setup: CameraSetup | None = None,
    ) -> None:
        self.path = Path(path)
        pixel_format = _pixel_format(width, height, bit_depth, packing, cfa)
        depth_levels = LEVELS[pixel_format.bit_depth]
        named: dict[str, Any] = {
            "camera_model": camera_model,
            "serial": serial,
            "description": description,
        }
        self._recording = Recording(
            pixel_format=pixel_format,
            cfa=cfa,
            frame_rate_hz=_positive(frame_rate_hz, "frame_rate_hz"),
            exposure_ns=round(_positive(exposure_us, "exposure_us") * 1000),
            levels=(
                depth_levels[0] if black_level is None else as_integer(black_level, "black_level"),
                depth_levels[1] if white_level is None else as_integer(white_level, "white_level"),
            ),
            first_frame_number=as_integer(first_frame_number, "first_frame_number"),
            trigger_time_ns=trigger_time_ns or 0,
            setup=replace(
                setup or CameraSetup(), **{k: v for k, v in named.items() if v is not None}
            ),
        )
        self._trigger_time_ns = trigger_time_ns
        self.frame_count = as_integer(frame_count, "frame_count")
        if not 0 < self.frame_count <= _MOST_FRAMES:
            raise InputError(
                f"frame_count = {frame_count}: 1 to {_MOST_FRAMES} frames can be written."
            )
        self._time64 = array("Q")
        self._exposure = array("I")
        self._offsets = array("q")
        self._times_ns: tuple[int, int] | None = None  # of the first frame and the last
        # A trial of everything that can be refused, before a frame is lost to it.
        front_matter(self._recording, [clock.time64(trigger_time_ns or 0)], [0], [0])
        self._position = front_bytes(self.frame_count)
        self._partial = self.path.with_name(self.path.name + ".partial")
        try:
            self._file: IO[bytes] | None = self._partial.open("wb")
            self._file.seek(self._position)
        except (OSError, ValueError) as reason:
            raise InputError(f"{self.path}: cannot be written: {reason}.") from None

    def __len__(self) -> int:
        """Return the frames written so far."""
        return len(self._offsets)

    @property
    def pixel_format(self) -> PixelFormat:
        """How frames are stored; ``.shape`` and ``.dtype`` are what :meth:`write` expects."""
        return self._recording.pixel_format

    def write(self, frame: NDArray[Any], time_ns: int, exposure_ns: int | None = None) -> None:
        """Append one frame.

        Args:
            frame: integers of :attr:`pixel_format`'s shape, top row first, within the bit depth.
            time_ns: UTC nanoseconds since 1970.
            exposure_ns: this frame's exposure; the nominal one if None.

        Raises:
            InputError: the frame or a time does not fit (the writer can go on), or the disk is
                full (nothing is left of the file).
        """
        expected = self._recording.pixel_format
        pixels = np.asarray(frame)
        if pixels.shape != expected.shape or pixels.dtype.kind not in "ui":
            raise InputError(
                f"{self.path}: frame {len(self)}: integers of shape {expected.shape} are expected, "
                f"these are {pixels.dtype} of shape {pixels.shape}."
            )
        most = (1 << expected.bit_depth) - 1
        if np.iinfo(pixels.dtype).max > most or pixels.dtype.kind == "i":
            low, high = int(pixels.min()), int(pixels.max())
            if low < 0 or high > most:
                raise InputError(
                    f"{self.path}: frame {len(self)}: values from 0 to {most} are expected "
                    f"({expected.bit_depth} bits, right-aligned), these are {low} to {high}."
                )
        self._append(expected.encode(pixels), time_ns, exposure_ns)

    def write_raw(
        self, stored: bytes | bytearray | memoryview, time_ns: int, exposure_ns: int | None = None
    ) -> None:
        """Append one frame as the file stores it (packed; bottom row first unless it is packed).

        Args:
            stored: ``pixel_format.frame_bytes`` bytes.
            time_ns: UTC nanoseconds since 1970.
            exposure_ns: this frame's exposure; the nominal one if None.

        Raises:
            InputError: as :meth:`write`.
        """
        data = np.frombuffer(stored, np.uint8)
        expected = self._recording.pixel_format.frame_bytes
        if data.size != expected:
            raise InputError(
                f"{self.path}: frame {len(self)}: {expected} bytes are expected, "
                f"these are {data.size}."
            )
        self._append(data, time_ns, exposure_ns)

    def close(self) -> None:
        """Write the headers, flush to the disk and give the file its name.

        Raises:
            InputError: no frame was written, or the disk is full; nothing is left of the file.
        """
        if self._file is None:
            return
        if not len(self):
            self.abort()
            raise InputError(f"{self.path}: no frame was written, so there is no file to keep.")
        try:
            recording = replace(self._recording, trigger_time_ns=self._trigger())
            front = front_matter(recording, self._time64, self._exposure, self._offsets)
            self._file.seek(0)
            self._file.write(front)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.replace(self.path)
        except OSError as reason:
            self.abort()
            raise self._unwritable(reason) from None
        except BaseException:
            self.abort()
            raise
        self._file = None
        _flush_folder(self.path.parent)

    def abort(self) -> None:
        """Give up: close the file and remove what was written."""
        if self._file is None:
            return
        # Closing flushes, and on a full disk fails again; the file goes away all the same.
        with contextlib.suppress(OSError):
            self._file.close()
        self._file = None
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

    def __del__(self) -> None:
        """A writer that was forgotten leaves nothing behind."""
        if getattr(self, "_file", None) is not None:
            self.abort()

    def _append(self, stored: NDArray[np.uint8], time_ns: int, exposure_ns: int | None) -> None:
        if self._file is None:
            raise ValueError(f"{self.path}: the CineWriter has been closed.")
        if len(self) == self.frame_count:
            raise InputError(
                f"{self.path}: room was made for frame_count = {self.frame_count} frames, "
                "this is one more."
            )
        time_ns = as_integer(time_ns, "time_ns")
        stamp = clock.time64(time_ns)
        nominal = self._recording.exposure_ns
        exposure = clock.exposure_fraction(
            nominal if exposure_ns is None else as_integer(exposure_ns, "exposure_ns")
        )
        head = (8).to_bytes(4, "little") + stored.size.to_bytes(4, "little")
        try:
            self._file.write(head)
            self._file.write(stored.data)
        except OSError as reason:
            self.abort()
            raise self._unwritable(reason) from None
        self._time64.append(stamp)
        self._exposure.append(exposure)
        self._offsets.append(self._position)
        self._times_ns = (self._times_ns[0] if self._times_ns else time_ns, time_ns)
        self._position += len(head) + stored.size

    def _trigger(self) -> int:
        """Return the trigger's time: as given, or when frame 0 began, extrapolated from stamps."""
        if self._trigger_time_ns is not None or self._times_ns is None:
            return self._recording.trigger_time_ns
        period_ns = SECOND_NS / self._recording.frame_rate_hz
        start = self._times_ns[0] - round(self._recording.first_frame_number * period_ns)
        return min(max(start, 0), (SECOND_NS << 32) - 1)

    def _unwritable(self, reason: OSError) -> InputError:
        return InputError(
            f"{self.path}: cannot be written: {reason}. Nothing was kept; make room or choose "
            "another folder."
        )


def _pixel_format(
    width: int, height: int, bit_depth: int | None, packing: Packing | None, cfa: str
) -> PixelFormat:
    if packing is not None and packing not in PACKINGS:
        raise InputError(f"packing = {packing!r}: None, 'P10' or 'P12L' is expected.")
    if cfa not in CFA_OF:
        raise InputError(f"cfa = {cfa!r}: one of {', '.join(CFA_OF)} is expected.")
    if packing and cfa == "RGB":
        raise InputError(f"cfa = 'RGB' cannot be packed as {packing}: use packing=None.")
    depths: dict[str | None, tuple[int, ...]] = {None: _DEPTHS, "P10": (10, 12), "P12L": (12,)}
    depth = (12 if packing else 8) if bit_depth is None else bit_depth
    if depth not in depths[packing]:
        known = " or ".join(map(str, depths[packing]))
        raise InputError(f"bit_depth = {bit_depth!r} with packing = {packing!r}: {known} expected.")
    found = PixelFormat(
        width=as_integer(width, "width"),
        height=as_integer(height, "height"),
        bit_depth=12 if packing else depth,
        bytes_per_value=1 if depth == 8 else 2,
        packing=packing,
        rgb=cfa == "RGB",
    )
    for name, length in (("width", found.width), ("height", found.height)):
        # SETUP repeats both in 16 bits.
        if not 0 < length < 1 << 16:
            raise InputError(f"{name} = {length}: 1 to 65535 pixels can be stored.")
    if found.width % found.width_step:
        raise InputError(
            f"width = {width}: a multiple of {found.width_step} is expected with {packing}."
        )
    return found


def _positive(value: float, name: str) -> float:
    if not 0 < value < 1e9:
        raise InputError(f"{name} = {value!r}: a positive number is expected.")
    return float(value)


def _flush_folder(folder: Path) -> None:
    # Windows opens no folders; there the rename is as durable as it can be made.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
