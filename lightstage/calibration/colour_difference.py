"""CIELAB under D50 and the colour difference CIEDE2000."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: ICC's D50, the white of the connection space.
WHITE_D50 = np.array([0.9642, 1.0, 0.8249])
#: Linear Rec.709 to XYZ under D65 (ITU-R BT.709, IEC 61966-2-1).
REC709_TO_XYZ = np.array(
    [
        [0.4123908, 0.3575843, 0.1804808],
        [0.2126390, 0.7151687, 0.0721923],
        [0.0193308, 0.1191948, 0.9505322],
    ]
)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _adaptation(source: Array, target: Array) -> Array:
    """Return the matrix of Bradford's adaptation from one white to another, XYZ to XYZ."""
    scale = (_BRADFORD @ target) / (_BRADFORD @ source)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD)


#: Linear Rec.709, white D65, to XYZ under D50.
_REC709_TO_D50 = _adaptation(REC709_TO_XYZ.sum(axis=1), WHITE_D50) @ REC709_TO_XYZ


def lab_from_rec709(rgb: ArrayLike) -> Array:
    """Return CIELAB under D50 ``(..., 3)`` of linear Rec.709 ``(..., 3)``, 1.0 = white."""
    ratio = np.asarray(rgb, dtype=np.float64) @ _REC709_TO_D50.T / WHITE_D50
    threshold = (6.0 / 29.0) ** 3
    f = np.where(ratio > threshold, np.cbrt(ratio), ratio * (29.0 / 6.0) ** 2 / 3.0 + 4.0 / 29.0)
    return np.stack(
        [
            116.0 * f[..., 1] - 16.0,
            500.0 * (f[..., 0] - f[..., 1]),
            200.0 * (f[..., 1] - f[..., 2]),
        ],
        axis=-1,
    )


def rec709_from_lab(lab: ArrayLike) -> Array:
    """Return linear Rec.709 ``(..., 3)`` of CIELAB under D50; what lies outside is not clipped."""
    lightness, a, b = np.moveaxis(np.asarray(lab, dtype=np.float64), -1, 0)
    y = (lightness + 16.0) / 116.0
    f = np.stack([y + a / 500.0, y, y - b / 200.0], axis=-1)
    ratio = np.where(f > 6.0 / 29.0, f**3, 3.0 * (6.0 / 29.0) ** 2 * (f - 4.0 / 29.0))
    return np.asarray((ratio * WHITE_D50) @ np.linalg.inv(_REC709_TO_D50).T)


def delta_e_2000(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the colour difference CIEDE2000 ``(...)`` of CIELAB colours ``(..., 3)``.

    Source: Sharma, Wu, Dalal: The CIEDE2000 color-difference formula, Color Res. Appl. 30 (2005);
    all weights 1.
    """
    l1, a1, b1 = np.moveaxis(np.asarray(first, dtype=np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(second, dtype=np.float64), -1, 0)
    mean_chroma = 0.5 * (np.hypot(a1, b1) + np.hypot(a2, b2))
    g = 0.5 * (1.0 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)))
    a1, a2 = a1 * (1.0 + g), a2 * (1.0 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360.0, np.degrees(np.arctan2(b2, a2)) % 360.0
    gray = c1 * c2 == 0.0
    turn = np.where(gray, 0.0, (h2 - h1 + 180.0) % 360.0 - 180.0)
    d_l, d_c = l2 - l1, c2 - c1
    d_h = 2.0 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2.0))
    mean_l, mean_c = 0.5 * (l1 + l2), 0.5 * (c1 + c2)
    apart = np.abs(h1 - h2) > 180.0
    sum_h = h1 + h2
    mean_h = np.where(apart, np.where(sum_h < 360.0, sum_h + 360.0, sum_h - 360.0), sum_h) / 2.0
    mean_h = np.where(gray, sum_h, mean_h)
    t = (
        1.0
        - 0.17 * np.cos(np.radians(mean_h - 30.0))
        + 0.24 * np.cos(np.radians(2.0 * mean_h))
        + 0.32 * np.cos(np.radians(3.0 * mean_h + 6.0))
        - 0.20 * np.cos(np.radians(4.0 * mean_h - 63.0))
    )
    off_l = (mean_l - 50.0) ** 2
    s_l = 1.0 + 0.015 * off_l / np.sqrt(20.0 + off_l)
    s_c, s_h = 1.0 + 0.045 * mean_c, 1.0 + 0.015 * mean_c * t
    rotation = 2.0 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    r_t = -rotation * np.sin(np.radians(60.0 * np.exp(-(((mean_h - 275.0) / 25.0) ** 2))))
    light, chroma, hue = d_l / s_l, d_c / s_c, d_h / s_h
    square = light * light + chroma * chroma + hue * hue + r_t * chroma * hue
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))
