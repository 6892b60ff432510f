"""Films: relit frames out as H.264, ProRes or numbered pictures, and back in.

The picture written is what a display should show: linear Rec.709 light is clipped to [0, 1] and
encoded with the sRGB curve, as the toolkit's PNGs are, so that film and still look the same. Files
say so: Rec.709 primaries and matrix, limited range, and the sRGB transfer curve (IEC 61966-2-1),
which the ASWF encoding guidelines recommend for review files. EXR sequences stay linear and
unclipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb, encode_srgb, to_8bit
from lightstage.errors import InputError
from lightstage.images import FLOAT_SUFFIXES, INTEGER_SUFFIXES, read_image, write_image

#: Film files by suffix, with what is in them.
FILM_SUFFIXES = {".mp4": "H.264, 8 bits, 4:2:0", ".mov": "ProRes 422 HQ, 10 bits"}
#: Numbered pictures that a film may be written as.
_SEQUENCE_SUFFIXES = FLOAT_SUFFIXES | INTEGER_SUFFIXES
_COUNTER = re.compile(r"%0?(\d*)d")
# numbers of ISO/IEC 23091-2, as every container stores them
_REC709, _SRGB_CURVE, _LIMITED_RANGE = 1, 13, 1


class FilmWriter:
    """Writes a film frame by frame; use as a context manager.

    ``NAME.mp4`` is H.264 (plays anywhere), ``NAME.mov`` ProRes 422 HQ (for editing); both grow as
    ``NAME.partial`` and get their name when they are whole, so that a film that stopped half-way
    is never taken for one that was finished. ``frame_%04d.png`` (or ``.exr``, ``.tif``, …) writes
    numbered pictures from 0 up, each by rename; a path without a suffix is a folder of
    ``frame_%04d.png``.

    H.264 and ProRes store colour at half resolution and need even sides: a last odd row or
    column is doubled, so that the film is one pixel larger than the images.

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
        """
        self.path = Path(path)
        if width < 1 or height < 1:
            raise InputError(f"{self.path}: a film of {width} x {height} pixels.")
        self.rate = _exact_rate(rate_hz, self.path)
        self.width, self.height = width, height
        self.frames = 0
        self._sink: _FilmFile | _NumberedPictures
        if "%" in self.path.name or not self.path.suffix:
            self._sink = _NumberedPictures(self.path, overwrite)
        elif self.path.suffix.lower() in FILM_SUFFIXES:
            self._sink = _FilmFile(self.path, width, height, self.rate, crf)
        else:
            known = ", ".join(f"{suffix} ({what})" for suffix, what in FILM_SUFFIXES.items())
            raise InputError(
                f"{self.path}: {self.path.suffix} is no known film; use {known}, a folder, or a "
                f"pattern such as frame_%04d.png or frame_%04d.exr."
            )

    def write(self, linear: NDArray[np.floating]) -> None:
        """Add a frame: linear RGB ``(height, width, 3)``, exposed so that 1.0 is display white.

        NaN becomes black.
        """
        image = np.asarray(linear, dtype=np.float32)
        if image.shape != (self.height, self.width, 3):
            raise InputError(
                f"{self.path}: frame {self.frames} is {image.shape}, this film takes "
                f"({self.height}, {self.width}, 3)."
            )
        self._sink.write(np.nan_to_num(image, nan=0.0, posinf=np.inf, neginf=-np.inf))
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
                rgb = frame.reformat(
                    format="rgb48le" if fine else "rgb24", interpolation=exact
                ).to_ndarray()
                yield decode_srgb(rgb.astype(np.float32) / np.float32(65535 if fine else 255))
    except av.FFmpegError as reason:
        raise InputError(f"{path}: cannot be read as a film: {reason.strerror}.") from None


class _FilmFile:
    def __init__(self, path: Path, width: int, height: int, rate: Fraction, crf: int) -> None:
        import av

        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._even = (height + height % 2, width + width % 2)
        self._failure: type[Exception] = av.FFmpegError
        self._video_frame = av.VideoFrame
        self._closed = False
        prores = self._fine = path.suffix.lower() == ".mov"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(
                str(self._partial),
                "w",
                format="mov" if prores else "mp4",
                options={"movflags": "+faststart+write_colr"},
            )
            self._stream: Any = self._container.add_stream(
                "prores_ks" if prores else "libx264",
                rate=rate,
                options={"profile": "hq", "vendor": "apl0"} if prores else {"crf": str(crf)},
            )
        except (av.FFmpegError, OSError) as reason:
            self.abandon()
            raise InputError(f"{path}: cannot be written: {reason.strerror}.") from None
        self._stream.height, self._stream.width = self._even
        self._stream.pix_fmt = "yuv422p10le" if prores else "yuv420p"
        context = self._stream.codec_context
        context.color_primaries = context.colorspace = _REC709
        context.color_trc, context.color_range = _SRGB_CURVE, _LIMITED_RANGE

    def write(self, image: NDArray[np.float32]) -> None:
        import av.video.reformatter as reformatter

        short = [even - side for even, side in zip(self._even, image.shape[:2], strict=True)]
        if any(short):
            image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
        # 8 bits from 8 bits: ffmpeg's scaler makes 236 of white where it is given 16
        stored = (
            (encode_srgb(image) * 65535.0 + 0.5).astype(np.uint16) if self._fine else to_8bit(image)
        )
        smooth = reformatter.Interpolation
        try:
            frame = self._video_frame.from_ndarray(
                stored, format="rgb48le" if self._fine else "rgb24"
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
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._failure as reason:
            raise InputError(f"{self._path}: the encoder failed: {reason}.") from None

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


def _exact_rate(rate_hz: float, path: Path) -> Fraction:
    if not (np.isfinite(rate_hz) and 0 < rate_hz <= 100000):
        raise InputError(f"{path}: a film cannot run at {rate_hz} frames a second.")
    ntsc = Fraction(round(rate_hz * 1.001) * 1000, 1001)
    if rate_hz != round(rate_hz) and abs(float(ntsc) - rate_hz) < 2e-3:
        return ntsc
    return Fraction(rate_hz).limit_denominator(1000)
