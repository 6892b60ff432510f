"""Raw sequences: a folder of DNGs, camera raws, or TIFF, PNG and PGM mosaics as a recording."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import DamagedDataError, InputError
from lightstage.preprocess.source import CineSource, Recording, identity_of

#: Suffixes that LibRaw decodes.
RAW_SUFFIXES = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq"),
        *(".kdc", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2"),
        *(".srf", ".srw", ".x3f"),
    }
)
#: Suffixes of pictures that hold one value a pixel.
STILL_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".pgm"})
#: LibRaw tells whole seconds: such stamps say something only where frames are further apart.
_LEAST_PERIOD_NS = 4_000_000_000


@dataclass(frozen=True)
class _Kind:
    """What all frames of a sequence must have in common."""

    height: int
    width: int
    dtype: str
    cfa: str
    black_level: float
    white_level: float

    def __str__(self) -> str:
        return (
            f"{self.width}x{self.height} {self.dtype} {self.cfa}, levels {self.black_level:g} to "
            f"{self.white_level:g}"
        )


class RawSequence:
    """Raw pictures, one a frame, in natural order of their names, as a recording.

    A raw file tells its own colour filter and levels; a still (TIFF, PNG, PGM) is taken as GRAY
    with levels from 0 to its type's largest value, unless said otherwise.

    Args:
        paths: the files, in order.
        folder: what the sequence is called; the first file's folder unless given.
        cfa: the colour filter of the top left 2x2 pixels.
        black_level: stored value of no light.
        white_level: stored value of full scale.
        frame_rate_hz: frames per second.

    Raises:
        InputError: there is no file, one is not a mosaic that can be read, the levels make no
            sense, or raw files differ in size, filter or levels; the text names the file.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        folder: Path | None = None,
        cfa: str | None = None,
        black_level: float | None = None,
        white_level: float | None = None,
        frame_rate_hz: float | None = None,
    ) -> None:
        if not paths:
            raise InputError("a sequence of raw pictures needs at least one file.")
        self._paths = tuple(paths)
        self._given = {"cfa": cfa, "black_level": black_level, "white_level": white_level}
        self.path = folder or self._paths[0].parent
        self.frame_rate_hz = frame_rate_hz
        if frame_rate_hz is not None and not 0 < frame_rate_hz < 1e6:
            raise InputError(f"a rate of {frame_rate_hz} frames a second makes no sense.")
        self._kind = self._read(self._paths[0])[1]
        if not 0 <= self._kind.black_level < self._kind.white_level:
            raise InputError(
                f"{self.path}: the black level {self._kind.black_level:g} must lie below the white "
                f"level {self._kind.white_level:g}, from 0 up."
            )

    @classmethod
    def open(cls, sources: Iterable[Path], **options: Any) -> Self:
        """Open a folder of raw pictures, or the files given, sorted by their natural order.

        Args:
            sources: one folder, or files.
            options: ``cfa``, ``black_level``, ``white_level``, ``frame_rate_hz``.

        Raises:
            InputError: there are no raw pictures, or they are of several kinds.
        """
        sources = list(sources)
        for source in sources:
            if not source.exists():
                raise InputError(f"{source}: there is no such file or folder.")
        folders = [source for source in sources if source.is_dir()]
        if folders and len(sources) > 1:
            raise InputError(f"{folders[0]}: name one folder, or files; not both.")
        candidates = list(folders[0].iterdir()) if folders else sources
        known = RAW_SUFFIXES | STILL_SUFFIXES
        paths = [path for path in candidates if path.suffix.lower() in known and path.is_file()]
        # file systems of other makers leave ._NAME beside each file
        paths = sorted((p for p in paths if not p.name.startswith(".")), key=natural_order)
        where = folders[0] if folders else sources[0]
        if not paths or (not folders and len(paths) < len(sources)):
            raise InputError(
                f"{where}: no raw pictures there; known are DNG and camera raws, "
                f"{', '.join(sorted(STILL_SUFFIXES))}."
            )
        suffixes = sorted({path.suffix.lower() for path in paths})
        if len(suffixes) > 1:
            raise InputError(
                f"{where}: holds pictures of several kinds ({', '.join(suffixes)}); name the files "
                f"or move the others away."
            )
        return cls(paths, folder=folders[0] if folders else None, **options)

    def __enter__(self) -> Self:
        """Return the recording itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        reason: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: no file is kept open."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._paths)

    @property
    def width(self) -> int:
        """Frame width in pixels."""
        return self._kind.width

    @property
    def height(self) -> int:
        """Frame height in pixels."""
        return self._kind.height

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of stored values: uint8 or uint16."""
        return np.dtype(self._kind.dtype)

    @property
    def bit_depth(self) -> int:
        """Bits that a stored value can use: those of the white level."""
        return max(8, int(np.ceil(np.log2(self._kind.white_level + 1))))

    @property
    def cfa(self) -> str:
        """The colours of the top left 2x2 pixels; ``GRAY`` for none."""
        return self._kind.cfa

    @property
    def black_level(self) -> float:
        """Stored value of no light; the mean of the channels' where a raw file tells several."""
        return self._kind.black_level

    @property
    def white_level(self) -> float:
        """Stored value of full scale."""
        return self._kind.white_level

    @property
    def first_frame_number(self) -> int:
        """The number of frame 0: 0."""
        return 0

    @cached_property
    def _stamps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Times and exposures of raw files in nanoseconds; opens each, and checks its kind."""
        if self._paths[0].suffix.lower() not in RAW_SUFFIXES:
            return None
        times, exposures = [], []
        for path in self._paths:
            with _open_raw(path) as raw:
                self._check(path, self._raw_kind(path, raw))
                taken = raw.other.timestamp  # EXIF knows no time zone: taken as UTC
                seconds = 0 if taken is None else int(taken.replace(tzinfo=UTC).timestamp())
                times.append(seconds * 1_000_000_000)
                exposures.append(round(float(raw.other.shutter_speed) * 1e9))
        return np.array(times, dtype=np.int64), np.array(exposures, dtype=np.int64)

    @property
    def time_ns(self) -> NDArray[np.int64] | None:
        """Each frame's time, where the files tell it and frames are at least 4 s apart.

        Raw files tell whole seconds: for faster sequences that is no time to go by.
        """
        times = self._stamps[0] if self._stamps else None
        if times is None or (np.diff(times) < _LEAST_PERIOD_NS).any() or (times <= 0).any():
            return None
        return times

    @property
    def exposure_ns(self) -> NDArray[np.int64] | None:
        """Each frame's exposure in nanoseconds, where raw files tell it."""
        exposures = self._stamps[1] if self._stamps else None
        return None if exposures is None or not (exposures > 0).all() else exposures

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._paths)

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return the stored frame, top row first.

        Raises:
            InputError: the file is not of the same kind as the first.
            DamagedDataError: it cannot be decoded.
        """
        pixels, kind = self._read(self._paths[index])
        self._check(self._paths[index], kind)
        return pixels

    def read_rows(self, index: int, rows: ArrayLike) -> NDArray[Any]:
        """Return stored rows of a frame, equal to ``self[index][rows]``."""
        return np.asarray(self[index][np.asarray(rows).astype(np.intp)])

    def read_window(self, index: int, top: int, bottom: int) -> NDArray[Any]:
        """Return the stored rows ``top`` to ``bottom - 1`` of a frame."""
        if not 0 <= top <= bottom <= self.height:
            raise IndexError(f"rows {top} to {bottom} of {self.height} rows.")
        return self[index][top:bottom]

    def front_bytes(self) -> bytes:
        """Return nothing: what the files tell of the camera is not copied."""
        return b""

    def identity(self) -> str:
        """Return a hash of the files' size, number, form and some pixels."""
        return identity_of(self, self.size_bytes)

    def _check(self, path: Path, kind: _Kind) -> None:
        if kind != self._kind:
            raise InputError(
                f"{path}: is {kind}; the sequence began with {self._kind} "
                f"({self._paths[0].name}). All frames must be of one kind."
            )

    def _read(self, path: Path) -> tuple[NDArray[Any], _Kind]:
        if path.suffix.lower() in RAW_SUFFIXES:
            with _open_raw(path) as raw:
                kind = self._raw_kind(path, raw)
                try:
                    return np.array(raw.raw_image_visible, dtype=np.uint16, order="C"), kind
                except Exception as reason:  # LibRaw's own kinds
                    raise DamagedDataError(f"{path}: cannot be decoded: {reason}.") from None
        pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise DamagedDataError(f"{path}: is damaged, or not a picture that can be read.")
        if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"{path}: a mosaic has one 8- or 16-bit value a pixel; this is {pixels.dtype} of "
                f"shape {pixels.shape}. Colour pictures are brought in by 'import-olat'."
            )
        height, width = pixels.shape
        kind = _Kind(
            height, width, str(pixels.dtype), "GRAY", 0.0, float(np.iinfo(pixels.dtype).max)
        )
        return np.ascontiguousarray(pixels), self._as_given(kind)

    def _raw_kind(self, path: Path, raw: Any) -> _Kind:
        sizes = raw.sizes
        if raw.raw_type.name != "Flat":
            raise InputError(
                f"{path}: holds no mosaic but several values a pixel ({raw.raw_type.name}); "
                f"convert it to a DNG with its mosaic kept."
            )
        black = float(np.mean(raw.black_level_per_channel))
        kind = _Kind(
            sizes.height, sizes.width, "uint16", _filter(path, raw), black, float(raw.white_level)
        )
        return self._as_given(kind)

    def _as_given(self, kind: _Kind) -> _Kind:
        given: dict[str, Any] = {k: v for k, v in self._given.items() if v is not None}
        return replace(kind, **given)


def open_recording(
    sources: Sequence[Path],
    *,
    cfa: str | None = None,
    black: float | None = None,
    white: float | None = None,
    rate_hz: float | None = None,
) -> Recording:
    """Open what is to be brought in: a ``.cine`` file, a folder of raw pictures, or such files.

    Raises:
        InputError: it is none of these.
    """
    cines = [path for path in sources if path.suffix.lower() == ".cine" and not path.is_dir()]
    if not cines:
        return RawSequence.open(
            sources, cfa=cfa, black_level=black, white_level=white, frame_rate_hz=rate_hz
        )
    if len(sources) > 1:
        raise InputError(
            f"{sources[1]}: a .cine file is a take of its own; bring in one at a time."
        )
    if (cfa, black, white, rate_hz) != (None,) * 4:
        raise InputError(f"{cines[0]}: tells its own --cfa, --black, --white and --rate.")
    return CineSource(cines[0])


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key by which ``frame_2`` comes before ``frame_10``."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts]


def _open_raw(path: Path) -> Any:
    import rawpy

    try:
        return rawpy.imread(str(path))
    except Exception as reason:  # LibRaw's own kinds
        if not path.is_file():
            raise InputError(f"{path}: there is no such file.") from None
        raise DamagedDataError(f"{path}: LibRaw cannot read it: {reason}.") from None


def _filter(path: Path, raw: Any) -> str:
    """Return the colours of the visible picture's top left 2x2 pixels."""
    pattern = raw.raw_pattern
    if raw.num_colors == 1 or pattern is None:
        return "GRAY"
    names = raw.color_desc.decode()
    colours = np.asarray(raw.raw_colors_visible[:2, :2]).ravel()
    cfa = "".join(names[colour] for colour in colours)
    if pattern.shape != (2, 2) or cfa not in {"RGGB", "GRBG", "GBRG", "BGGR"}:
        raise InputError(
            f"{path}: its colour filter ({cfa}, {pattern.shape[0]}x{pattern.shape[1]}) is no Bayer "
            f"filter; such frames cannot be developed yet."
        )
    return cfa
