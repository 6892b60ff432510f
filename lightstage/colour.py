"""Colour of linear light: the sRGB transfer curve and luminance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Luminance of linear Rec.709 RGB (ITU-R BT.709).
LUMINANCE_REC709 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


def encode_srgb(linear: ArrayLike) -> NDArray[np.float32]:
    """Return display values in [0, 1] for linear light of any shape; outside [0, 1] is clipped.

    Source: IEC 61966-2-1.
    """
    x = np.clip(np.asarray(linear, dtype=np.float32), 0.0, 1.0)
    curve = 1.055 * np.power(np.maximum(x, 1e-8), 1.0 / 2.4) - 0.055
    return np.where(x <= 0.0031308, 12.92 * x, curve).astype(np.float32)


def decode_srgb(display: ArrayLike) -> NDArray[np.float32]:
    """Return linear light in [0, 1] for display values in [0, 1] (IEC 61966-2-1)."""
    x = np.asarray(display, dtype=np.float32)
    return np.where(x <= 0.04045, x / 12.92, np.power((x + 0.055) / 1.055, 2.4)).astype(np.float32)


def luminance(rgb: ArrayLike) -> NDArray[np.float32]:
    """Return the luminance of linear Rec.709 ``(..., 3)`` as ``(...)``, in the same unit."""
    return np.asarray(rgb, dtype=np.float32) @ LUMINANCE_REC709


def to_8bit(linear: ArrayLike) -> NDArray[np.uint8]:
    """Return sRGB-encoded 8-bit display values of linear light, rounded to nearest."""
    return (encode_srgb(linear) * 255.0 + 0.5).astype(np.uint8)
