"""Single pictures on disk: what a file's numbers mean, read and written in one place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb, encode_srgb
from lightstage.errors import InputError

Transfer = Literal["linear", "srgb"]

#: Suffixes of pictures that hold radiance as floating point.
FLOAT_SUFFIXES = frozenset({".exr", ".hdr", ".pic"})
#: Suffixes of pictures that hold 8- or 16-bit integers.
INTEGER_SUFFIXES = frozenset(
    {".png", ".tif", ".tiff", ".pgm", ".ppm", ".pnm", ".bmp", ".jpg", ".jpeg", ".webp", ".tga"}
)


def read_image(path: str | os.PathLike[str], transfer: Transfer = "linear") -> NDArray[np.float32]:
    """Return a picture as ``(height, width, 3)`` linear float32; gray becomes three equal channels.

    Integer files are scaled so that their full scale (255 or 65535) is 1.0, and decoded from sRGB
    where ``transfer`` says so. HDR, EXR and float TIFF values are returned as they stand.

    Raises:
        InputError: there is no such file, or no decoder reads it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such picture file.")
    if path.suffix.lower() == ".exr":
        return _read_exr(path)
    if path.suffix.lower() == ".tga":
        return _scaled(_read_tga(path), transfer)
    pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path}: is damaged, or not a picture of a kind that can be read.")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    else:
        pixels = pixels[..., 2::-1]
    return _scaled(pixels, transfer)


def _scaled(pixels: NDArray[Any], transfer: Transfer) -> NDArray[np.float32]:
    """Return stored RGB as linear light; integers of full scale become 1.0."""
    if np.issubdtype(pixels.dtype, np.integer):
        scaled = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
        return decode_srgb(scaled) if transfer == "srgb" else np.ascontiguousarray(scaled)
    return np.ascontiguousarray(pixels, dtype=np.float32)


def _read_tga(path: Path) -> NDArray[np.uint8]:
    """Return a Targa's pixels ``(height, width, 3)``; OpenCV 5 does not read them, FFmpeg does."""
    import av

    try:
        with av.open(str(path), format="image2", options={"pattern_type": "none"}) as file:
            frame = next(file.decode(video=0))
        return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    except (av.FFmpegError, StopIteration) as reason:
        raise InputError(f"{path}: is damaged, or not a Targa picture: {reason}.") from None


def write_image(path: str | os.PathLike[str], linear: NDArray[np.floating]) -> None:
    """Write linear RGB ``(height, width, 3)`` or gray ``(height, width)`` to ``path``.

    ``.exr`` and ``.hdr`` keep linear floating point; ``.tif`` holds 16 bits and the others 8, both
    sRGB-encoded and clipped to [0, 1].

    Raises:
        InputError: the suffix is not known or the folder cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    picture = np.asarray(linear, dtype=np.float32)
    if suffix not in FLOAT_SUFFIXES | INTEGER_SUFFIXES:
        known = ", ".join(sorted(FLOAT_SUFFIXES | INTEGER_SUFFIXES))
        raise InputError(f"{path}: {suffix or 'no suffix'} is no known picture format ({known}).")
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".exr":
        _write_exr(path, picture)
        return
    if suffix not in FLOAT_SUFFIXES:
        levels = 65535 if suffix in {".tif", ".tiff"} else 255
        picture = (encode_srgb(picture) * levels + 0.5).astype(
            np.uint16 if levels == 65535 else np.uint8
        )
    write_stored(path, picture)


def write_stored(path: str | os.PathLike[str], stored: NDArray[np.generic]) -> None:
    """Write stored values, RGB or gray, to ``path`` as they are, with no curve or scaling."""
    path = Path(path)
    bgr = stored[..., ::-1] if stored.ndim == 3 else stored
    try:
        fine, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(bgr))
    except cv2.error as reason:
        raise InputError(f"{path}: cannot be encoded: {reason.err}.") from None
    if not fine:
        raise InputError(f"{path}: cannot be encoded as {path.suffix}.")
    try:
        encoded.tofile(path)
    except OSError as reason:
        raise InputError(f"{path}: cannot be written: {reason.strerror}.") from None


def _read_exr(path: Path) -> NDArray[np.float32]:
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except Exception as reason:  # the binding raises RuntimeError and its own kinds alike
        raise InputError(f"{path}: cannot be read as OpenEXR: {reason}.") from None
    if {"R", "G", "B"} <= channels.keys():
        planes = [channels[name] for name in "RGB"]
    elif "Y" in channels:
        planes = [channels["Y"]] * 3
    else:
        raise InputError(f"{path}: has no R, G, B or Y channel, only {', '.join(channels)}.")
    return np.stack(planes, axis=-1).astype(np.float32)


def _write_exr(path: Path, picture: NDArray[np.float32]) -> None:
    import OpenEXR

    names = "RGB" if picture.ndim == 3 else "Y"
    planes = np.moveaxis(np.atleast_3d(picture), -1, 0)
    channels = {
        name: np.ascontiguousarray(plane) for name, plane in zip(names, planes, strict=True)
    }
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    try:
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))
    except Exception as reason:  # as above
        raise InputError(f"{path}: cannot be written as OpenEXR: {reason}.") from None
