"""Pictures inside a page: linear light to a small JPEG or PNG in a ``data:`` address."""

from __future__ import annotations

import base64
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import to_8bit

_JPEG_QUALITY = 85

Value = TypeVar("Value", bound=np.generic)


def scaled_to_width(picture: NDArray[np.floating], width: int) -> NDArray[np.float32]:
    """Return a linear picture at most ``width`` pixels wide, averaged in linear light; NaN is 0."""
    shown = np.nan_to_num(np.asarray(picture, dtype=np.float32))
    if shown.shape[1] <= width:
        return shown
    height = max(1, round(shown.shape[0] * width / shown.shape[1]))
    return np.asarray(cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA))


def enlarged_to_width(picture: NDArray[Value], width: int) -> NDArray[Value]:
    """Return a picture at least ``width`` pixels wide, each pixel a whole block of them."""
    times = max(1, -(-width // picture.shape[1]))
    return np.repeat(np.repeat(picture, times, axis=0), times, axis=1)


def inline_picture(linear: NDArray[np.floating], *, lossless: bool = False) -> str:
    """Return linear RGB ``(height, width, 3)`` or gray as a ``data:`` address of a picture.

    Args:
        linear: exposed for display; clipped to [0, 1] and encoded for sRGB.
        lossless: PNG instead of JPEG, for pictures whose single pixels matter.
    """
    return inline_encoded(to_8bit(linear), lossless=lossless)


def inline_encoded(picture: NDArray[np.uint8], *, lossless: bool = False) -> str:
    """Return an 8-bit RGB or gray picture, as it is to be shown, as a ``data:`` address."""
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    suffix, options, kind = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY], "jpeg"
    if lossless:
        suffix, options, kind = ".png", [cv2.IMWRITE_PNG_COMPRESSION, 9], "png"
    fine, data = cv2.imencode(suffix, np.ascontiguousarray(bgr), options)
    assert fine, "an 8-bit picture can be encoded"
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
