"""16-bit PNG and TIFF pictures that say what their numbers mean.

Colours carry an ICC profile; PNG also cICP code points (ISO/IEC 23091-2), which newer programs
prefer, where there are any for the space. Normals and mattes are data and carry none: a program
must not convert them.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage import __version__
from lightstage.colour import encode_srgb
from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import REC709, ColourSpace
from lightstage.exchange.field_pictures import Meaning
from lightstage.exchange.icc_profile import icc_profile
from lightstage.exchange.whole_files import finish_file
from lightstage.images import Transfer

#: Code points of ISO/IEC 23091-2: Rec.709 primaries; the sRGB curve and linear; RGB; full range.
_REC709, _CURVES, _IDENTITY, _FULL_RANGE = 1, {"srgb": 13, "linear": 8}, 0, 1
_WHITE_LEVEL = 65535.0
_PNG_SIGNATURE_AND_IHDR = 8 + 25


def encoded(image: NDArray[np.float32], meaning: Meaning, transfer: Transfer) -> NDArray[np.uint16]:
    """Return a picture's stored numbers, rounded to nearest and clipped.

    Colour is encoded by ``transfer`` with 1.0 = 65535; normals as ``(n + 1) / 2``; mattes linearly.
    """
    if meaning == "direction":
        display = (image + 1.0) / 2.0
    elif meaning == "colour" and transfer == "srgb":
        display = encode_srgb(image)
    else:
        display = image
    levels = np.clip(display, 0.0, 1.0) * _WHITE_LEVEL + 0.5
    return np.asarray(levels, dtype=np.uint16)


def write_tagged_still(
    path: str | os.PathLike[str],
    image: NDArray[np.float32],
    meaning: Meaning,
    *,
    space: ColourSpace,
    transfer: Transfer,
) -> None:
    """Write a picture ``(height, width[, 3])`` as 16-bit ``.png`` or ``.tif``, by rename.

    Args:
        path: the file.
        image: linear colour in ``space``, unit vectors, or a matte.
        meaning: which of them.
        space: what the colours are in.
        transfer: how colours are encoded.

    Raises:
        InputError: the suffix is neither, or the file cannot be written.
    """
    path = Path(path)
    stored = encoded(image, meaning, transfer)
    profile = icc_profile(space, transfer) if meaning == "colour" else None
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".png":
            partial.write_bytes(_png(stored, profile, space, transfer))
        elif path.suffix.lower() in (".tif", ".tiff"):
            _write_tiff(partial, stored, profile)
        else:
            raise InputError(f"{path}: tagged pictures are .png or .tif.")
        finish_file(partial, path)
    except OSError as reason:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {reason.strerror}.") from None


def _png(
    stored: NDArray[np.uint16], profile: bytes | None, space: ColourSpace, transfer: Transfer
) -> bytes:
    bgr = stored[..., ::-1] if stored.ndim == 3 else stored
    fine, buffer = cv2.imencode(".png", np.ascontiguousarray(bgr))
    if not fine:
        raise InputError(f"a picture of {stored.shape} cannot be encoded as PNG.")
    data = buffer.tobytes()
    if profile is None:
        return data
    chunks = b""
    if space == REC709:
        code = (_REC709, _CURVES[transfer], _IDENTITY, _FULL_RANGE)
        chunks += _chunk(b"cICP", bytes(code))
    # gAMA and cHRM for programs that know neither of the others: gamma 1 / 2.2 stands for sRGB
    chunks += _chunk(b"gAMA", struct.pack(">I", 45455 if transfer == "srgb" else 100000))
    numbers = (*space.white, *(value for xy in space.primaries for value in xy))
    chunks += _chunk(b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in numbers)))
    name = space.title.encode("latin-1")
    chunks += _chunk(b"iCCP", name + b"\0\0" + zlib.compress(profile, 9))
    place = _PNG_SIGNATURE_AND_IHDR
    return data[:place] + chunks + data[place:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _write_tiff(path: Path, stored: NDArray[np.uint16], profile: bytes | None) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        stored,
        photometric="rgb" if stored.ndim == 3 else "minisblack",
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        software=f"lightstage {__version__}",
        metadata=None,
    )
