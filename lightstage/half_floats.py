"""Half floats: linear light as it is stored, converted by the processor's own instruction."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: The largest value that float16 holds; brighter light is stored as this.
FLOAT16_MAX = float(np.finfo(np.float16).max)
#: Values that are rounded at a time.
_PART = 1 << 18


def to_half(image: NDArray[np.floating]) -> NDArray[np.float16]:
    """Return values as they are stored: rounded to float16, at most ±65504; NaN stays NaN.

    Equal to numpy's conversion of the clipped values, and 5 to 10 times as fast: OpenCV uses the
    processor's own instruction for it.
    """
    if image.dtype == np.float16 or image.size == 0:
        return np.asarray(image, dtype=np.float16)
    flat = np.ascontiguousarray(image, dtype=np.float32).reshape(1, -1)
    half = cv2.add(np.clip(flat, -FLOAT16_MAX, FLOAT16_MAX), 0.0, dtype=cv2.CV_16F)
    return np.asarray(half).reshape(image.shape)


def rounded_half(image: NDArray[np.float32], step: float) -> NDArray[np.float16]:
    """Return values, all well below float16's largest, rounded to whole multiples of ``step``.

    Bits below a sensor's noise hold nothing and do not compress: without them a store is half as
    large. Added to a number so large that its last bit is worth ``step``, a power of two, a value
    is rounded to it.
    """
    large = 1.5 * 2**23 * step
    flat = np.ascontiguousarray(image).reshape(1, -1)
    half = np.empty(flat.shape, np.float16)
    # in parts that stay in the processor's cache
    for start in range(0, flat.shape[1], _PART):
        part = slice(start, start + _PART)
        whole = cv2.add(flat[:, part], large)
        half[:, part] = cv2.subtract(whole, large, dtype=cv2.CV_16F)
    return half.reshape(image.shape)


def to_float(
    stored: NDArray[np.floating], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return stored values as float32; exact, and for float16 8 times as fast as numpy.

    Args:
        stored: values of any shape.
        out: where float16 values go, of the same shape; new memory of many megabytes costs more
            than the conversion.
    """
    if stored.dtype != np.float16 or stored.size == 0:
        return np.asarray(stored, dtype=np.float32)
    rows = np.ascontiguousarray(stored).reshape(stored.shape[0], -1)
    into = None if out is None else out.reshape(rows.shape)
    return np.asarray(cv2.add(rows, 0.0, into, dtype=cv2.CV_32F)).reshape(stored.shape)
