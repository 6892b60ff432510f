"""Films: relit frames out as H.264, ProRes, FFV1 or numbered pictures, and back in.

The picture written is what a display should show: linear Rec.709 light is clipped to [0, 1] and
encoded with the sRGB curve, as the toolkit's PNGs are, so that film and still look the same. Files
say so, in the stream and in the container: Rec.709 primaries and matrix, limited range, and the
sRGB transfer curve (IEC 61966-2-1), which the ASWF encoding guidelines recommend for review files.
FFV1 keeps the 16-bit RGB numbers as they are (identity matrix, full range): nothing is lost. EXR
sequences stay linear and unclipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb, encode_srgb, to_8bit
from lightstage.errors import InputError
from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES, read_image, write_image

#: Film files by suffix, with what is in them unless a codec is named.
FILM_SUFFIXES = {
    ".mp4": "H.264, 8 bits, 4:2:0",
    ".mov": "ProRes 422 HQ, 10 bits",
    ".mkv": "FFV1, 16 bits, lossless",
}
#: Numbered pictures that a film may be written as.
_SEQUENCE_SUFFIXES = FLOAT_SUFFIXES | INTEGER_SUFFIXES
_COUNTER = re.compile(r"%0?(\d*)d")
# numbers of ISO/IEC 23091-2, as every container stores them
_REC709, _SRGB_CURVE, _LIMITED_RANGE = 1, 13, 1
# the same book's identity matrix (RGB), and full range
_IDENTITY, _FULL_RANGE = 0, 2


@dataclass(frozen=True)
class FilmCodec:
    """How one kind of film is encoded.

    Attributes:
        title: what people call it.
        encoder: FFmpeg's name of the encoder.
        pixels: FFmpeg's name of what is stored.
        suffixes: files it goes into, the usual one first.
        options: for the encoder.
        pixels_with_alpha: what is stored where there is alpha; ``None`` = it cannot be.
        fine: encoded from 16 bits rather than 8.
        even: stores chroma at half resolution, or blocks: sides are made even.
    """

    title: str
    encoder: str
    pixels: str
    suffixes: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    pixels_with_alpha: str | None = None
    fine: bool = True
    even: bool = True

    @property
    def is_rgb(self) -> bool:
        """Whether RGB is stored as it is."""
        return self.pixels.startswith("gbr")


FILM_CODECS = {
    "h264": FilmCodec("H.264, 8 bits, 4:2:0", "libx264", "yuv420p", (".mp4", ".mov"), fine=False),
    "prores422hq": FilmCodec(
        "ProRes 422 HQ, 10 bits",
        "prores_ks",
        "yuv422p10le",
        (".mov",),
        {"profile": "hq", "vendor": "apl0"},
    ),
    "prores4444": FilmCodec(
        "ProRes 4444, 10 bits, alpha",
        "prores_ks",
        "yuv444p10le",
        (".mov",),
        {"profile": "4444", "vendor": "apl0", "alpha_bits": "16"},
        pixels_with_alpha="yuva444p10le",
    ),
    "ffv1": FilmCodec(
        "FFV1, 16 bits, lossless",
        "ffv1",
        "gbrp16le",
        (".mkv",),
        {"level": "3", "slices": "16", "slicecrc": "1"},
        pixels_with_alpha="gbrap16le",
        even=False,
    ),
}
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_USUAL = {".mp4": "h264", ".mov": "prores422hq", ".mkv": "ffv1"}


class FilmWriter:
    """Writes a film frame by frame; use as a context manager.

    ``NAME.mp4`` is H.264 (plays anywhere), ``NAME.mov`` ProRes 422 HQ (for editing), ``NAME.mkv``
    FFV1 (lossless, for archives) unless another codec is named. All grow as ``NAME.partial`` and
    get their name when they are whole, so that a film that stopped half-way is never taken for one
    that was finished. ``frame_%04d.png`` (or ``.exr``, ``.tif``, …) writes numbered pictures from 0
    up, each by rename; a path without a suffix is a folder of ``frame_%04d.png``.

    H.264 and ProRes films get even sides, as their coarser colour or blocks want: a last odd row
    or column is doubled, so that the film is one pixel larger than the images.

    Raises:
        InputError: the suffix is not known, size or rate make no sense, numbered pictures stand
            there already, or the encoder refuses.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        width: int,
        height: int,
        rate_hz: float,
        *,
        crf: int = 14,
        overwrite: bool = False,
        codec: str | None = None,
        alpha: bool = False,
    ) -> None:
        """Open a film for ``width x height`` images at ``rate_hz``.

        Args:
            path: the film's file, a pattern with ``%04d``, or a folder.
            width: image width in pixels.
            height: image height in pixels.
            rate_hz: frames per second; 23.976 and its kin become their exact fractions.
            crf: H.264's quality, 0 lossless to 51; 14 is visually lossless.
            overwrite: delete the pictures of an earlier film of the same pattern. Film files are
                always replaced.
            codec: a key of :data:`FILM_CODECS` that goes into a file of this suffix.
            alpha: every frame comes with its alpha, which is stored straight (colour is not
                multiplied by it); ProRes 4444 and FFV1 only.
        """
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if width < 1 or height < 1:
            raise InputError(f"{self.path}: a film of {width} x {height} pixels.")
        self.rate = _exact_rate(rate_hz, self.path)
        self.width, self.height = width, height
        self.frames = 0
        self._alpha = alpha
        self._sink: _FilmFile | _NumberedPictures
        kind = FILM_CODECS.get(codec or _USUAL.get(suffix, ""))
        if codec is not None and (kind is None or suffix not in kind.suffixes):
            known = ", ".join(
                f"{name} in {'/'.join(c.suffixes)}" for name, c in FILM_CODECS.items()
            )
            raise InputError(f"{self.path}: {codec} does not go there; there are {known}.")
        if alpha and (kind is None or kind.pixels_with_alpha is None):
            raise InputError(f"{self.path}: alpha needs ProRes 4444 or FFV1.")
        if "%" in self.path.name or not self.path.suffix:
            self._sink = _NumberedPictures(self.path, overwrite)
        elif kind is not None:
            self._sink = _FilmFile(self.path, width, height, self.rate, crf, kind, alpha)
        else:
            known = ", ".join(f"{suffix} ({what})" for suffix, what in FILM_SUFFIXES.items())
            raise InputError(
                f"{self.path}: {self.path.suffix} is no known film; use {known}, a folder, or a "
                f"pattern such as frame_%04d.png or frame_%04d.exr."
            )

    def write(
        self, linear: NDArray[np.floating], alpha: NDArray[np.floating] | None = None
    ) -> None:
        """Add a frame: linear RGB ``(height, width, 3)``, exposed so that 1.0 is display white.

        NaN becomes black. ``alpha`` is ``(height, width)`` in [0, 1], for films that have it.
        """
        image = np.asarray(linear, dtype=np.float32)
        if image.shape != (self.height, self.width, 3):
            raise InputError(
                f"{self.path}: frame {self.frames} is {image.shape}, this film takes "
                f"({self.height}, {self.width}, 3)."
            )
        if (alpha is not None) != self._alpha or (
            alpha is not None and alpha.shape != image.shape[:2]
        ):
            raise InputError(
                f"{self.path}: frame {self.frames} has "
                f"{'no alpha' if alpha is None else f'alpha of {alpha.shape}'}, this film takes "
                f"{f'({self.height}, {self.width})' if self._alpha else 'none'}."
            )
        image = np.nan_to_num(image, nan=0.0, posinf=np.inf, neginf=-np.inf)
        if isinstance(self._sink, _FilmFile):
            self._sink.write(image, alpha)
        else:
            self._sink.write(image)
        self.frames += 1

    def close(self) -> None:
        """Finish the film and give it its name."""
        if self.frames == 0:
            self.abandon()
            raise InputError(f"{self.path}: a film needs at least one frame, none was written.")
        self._sink.close()

    def abandon(self) -> None:
        """Drop what was written; a film that stood at the path stays."""
        self._sink.abandon()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the film, or abandon it where the block failed."""
        if kind is None:
            self.close()
        else:
            self.abandon()


def read_film(path: str | os.PathLike[str]) -> Iterator[NDArray[np.float32]]:
    """Yield a film's frames as linear RGB ``(height, width, 3)``, decoded from sRGB.

    Args:
        path: what :class:`FilmWriter` writes: a film file, a ``%04d`` pattern, or a folder of
            ``frame_%04d.png``. Any film that ffmpeg reads will do.

    Raises:
        InputError: there is no film, or it is damaged.
    """
    path = Path(path)
    if "%" in path.name or path.is_dir():
        pictures = _NumberedPictures.paths(path)
        if not pictures:
            raise InputError(f"{path}: there are no such numbered pictures.")
        for picture in pictures:
            yield read_image(picture, transfer="srgb")
        return
    if not path.is_file():
        raise InputError(f"{path}: there is no such film.")
    import av
    from av.video.reformatter import Interpolation

    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: has no picture, only sound or data.")
            for frame in container.decode(video=0):
                fine = frame.format.components[0].bits > 8
                if frame.format.name in ("gbrp16le", "gbrap16le"):  # nothing to convert, or to lose
                    rgb = frame.to_ndarray()[..., :3]
                    yield decode_srgb(rgb.astype(np.float32) / np.float32(65535))
                    continue
                rgb = frame.reformat(
                    format="rgb48le" if fine else "rgb24", interpolation=exact
                ).to_ndarray()
                yield decode_srgb(rgb.astype(np.float32) / np.float32(65535 if fine else 255))
    except av.FFmpegError as reason:
        raise InputError(f"{path}: cannot be read as a film: {reason.strerror}.") from None


class _FilmFile:
    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        rate: Fraction,
        crf: int,
        codec: FilmCodec,
        alpha: bool,
    ) -> None:
        import av

        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        odd = 1 if codec.even else 0
        self._size = (height + height % 2 * odd, width + width % 2 * odd)
        self._failure: type[Exception] = av.FFmpegError
        self._video_frame = av.VideoFrame
        self._closed = False
        self._codec = codec
        container = _CONTAINERS[path.suffix.lower()]
        options = codec.options if codec.encoder != "libx264" else {"crf": str(crf)}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(
                str(self._partial),
                "w",
                format=container,
                options={"movflags": "+faststart+write_colr"} if container != "matroska" else {},
            )
            self._stream: Any = self._container.add_stream(
                codec.encoder, rate=rate, options=dict(options)
            )
        except (av.FFmpegError, OSError) as reason:
            self.abandon()
            raise InputError(f"{path}: cannot be written: {reason.strerror}.") from None
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = codec.pixels_with_alpha if alpha else codec.pixels
        context = self._stream.codec_context
        context.color_primaries, context.color_trc = _REC709, _SRGB_CURVE
        context.colorspace = _IDENTITY if codec.is_rgb else _REC709
        context.color_range = _FULL_RANGE if codec.is_rgb else _LIMITED_RANGE

    def write(self, image: NDArray[np.float32], alpha: NDArray[np.floating] | None) -> None:
        stored: NDArray[np.unsignedinteger[Any]]
        if self._codec.fine:
            stored = _to_16bit(encode_srgb(image))
        else:  # 8 bits from 8 bits: ffmpeg's scaler makes 236 of white where it is given 16
            stored = to_8bit(image)
        if alpha is not None:
            coverage = np.nan_to_num(np.asarray(alpha, np.float32))[..., None]
            stored = np.concatenate([stored, _to_16bit(coverage)], axis=-1)
        rows, columns = (
            full - side for full, side in zip(self._size, stored.shape[:2], strict=True)
        )
        if rows or columns:
            stored = np.pad(stored, ((0, rows), (0, columns), (0, 0)), mode="edge")
        try:
            for packet in self._stream.encode(self._frame(stored)):
                self._container.mux(packet)
        except self._failure as reason:
            raise InputError(f"{self._path}: the encoder failed: {reason}.") from None

    def _frame(self, stored: NDArray[np.unsignedinteger[Any]]) -> Any:
        import av.video.reformatter as reformatter

        if self._codec.is_rgb:
            frame = self._video_frame.from_ndarray(stored, format=self._stream.pix_fmt)
            frame.colorspace, frame.color_range = _IDENTITY, _FULL_RANGE
            frame.color_trc, frame.color_primaries = _SRGB_CURVE, _REC709
            return frame
        smooth = reformatter.Interpolation
        packed = "rgba64le" if stored.shape[2] == 4 else "rgb48le"
        return self._video_frame.from_ndarray(
            stored, format=packed if self._codec.fine else "rgb24"
        ).reformat(
            format=self._stream.pix_fmt,
            src_colorspace=reformatter.Colorspace.ITU709,
            dst_colorspace=reformatter.Colorspace.ITU709,
            src_color_range=reformatter.ColorRange.JPEG,
            dst_color_range=reformatter.ColorRange.MPEG,
            interpolation=smooth.BICUBIC | smooth.ACCURATE_RND | smooth.FULL_CHR_H_INP,
            dst_color_trc=_SRGB_CURVE,
            dst_color_primaries=_REC709,
        )

    def close(self) -> None:
        try:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
            self._closed = True
            self._partial.replace(self._path)
        except (self._failure, OSError) as reason:
            self.abandon()
            raise InputError(f"{self._path}: cannot be finished: {reason}.") from None

    def abandon(self) -> None:
        container = getattr(self, "_container", None)
        if container is not None and not self._closed:
            with suppress(self._failure):
                container.close()
            self._closed = True
        with suppress(OSError):  # where not even the folder could be made
            self._partial.unlink(missing_ok=True)


class _NumberedPictures:
    def __init__(self, path: Path, overwrite: bool) -> None:
        self._pattern = self.pattern(path)
        suffix = self._pattern.suffix.lower()
        if len(_COUNTER.findall(self._pattern.name)) != 1 or self._pattern.name.count("%") != 1:
            raise InputError(f"{path}: a pattern has one counter such as %04d in its file name.")
        if suffix not in _SEQUENCE_SUFFIXES:
            known = ", ".join(sorted(_SEQUENCE_SUFFIXES))
            raise InputError(f"{path}: {suffix or 'no suffix'} is no picture format ({known}).")
        earlier = self.paths(path)
        if earlier and not overwrite:
            raise InputError(
                f"{path}: {len(earlier)} pictures of an earlier film stand here "
                f"({earlier[0].name}, …); name another folder, or overwrite them."
            )
        for picture in earlier:
            picture.unlink()
        self._folder_is_new = not self._pattern.parent.exists()
        self._written: list[Path] = []

    @staticmethod
    def pattern(path: Path) -> Path:
        return path if "%" in path.name else path / "frame_%04d.png"

    @classmethod
    def paths(cls, path: Path) -> list[Path]:
        """Return the pictures that a pattern names, in the order of their numbers."""
        pattern = cls.pattern(path)
        if not pattern.parent.is_dir():
            return []
        counter = _COUNTER.search(pattern.name)
        if counter is None:
            return []
        before, after = pattern.name[: counter.start()], pattern.name[counter.end() :]
        named = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
        found = ((named.fullmatch(file.name), file) for file in pattern.parent.iterdir())
        return [file for _, file in sorted((int(m[1]), file) for m, file in found if m)]

    def write(self, image: NDArray[np.float32]) -> None:
        final = self._pattern.with_name(self._pattern.name % len(self._written))
        partial = final.with_name(f".partial-{final.name}")
        write_image(partial, image)
        partial.replace(final)
        self._written.append(final)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        for picture in self._written:
            picture.unlink(missing_ok=True)
        if self._folder_is_new and self._pattern.parent.is_dir():
            with suppress(OSError):  # somebody put something else there
                self._pattern.parent.rmdir()


def _to_16bit(display: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.asarray(np.clip(display, 0.0, 1.0) * 65535.0 + 0.5, dtype=np.uint16)


def _exact_rate(rate_hz: float, path: Path) -> Fraction:
    if not (np.isfinite(rate_hz) and 0 < rate_hz <= 100000):
        raise InputError(f"{path}: a film cannot run at {rate_hz} frames a second.")
    ntsc = Fraction(round(rate_hz * 1.001) * 1000, 1001)
    if rate_hz != round(rate_hz) and abs(float(ntsc) - rate_hz) < 2e-3:
        return ntsc
    return Fraction(rate_hz).limit_denominator(1000)
