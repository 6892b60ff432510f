"""A picture of a set's maps, to look at: normals in colour, the rest in gray."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import to_8bit
from lightstage.relighting.photometric_stereo import SurfaceMaps

#: Gray between the panels and where nothing is known.
_UNKNOWN = 40
_GAP_PX = 4
#: Gloss is a few hundredths of white: shown so many times as bright as the albedo.
_SPECULAR_BRIGHTNESS = 4.0


def normal_picture(normal: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return normals ``(h, w, 3)`` as colours: x red, y green, z blue, -1 to 1 as 0 to 255."""
    known = np.isfinite(normal).all(axis=2, keepdims=True)
    levels = np.nan_to_num(normal) * 127.5 + 128.0
    return np.where(known, np.clip(levels, 0, 255), _UNKNOWN).astype(np.uint8)


def maps_picture(maps: SurfaceMaps, lit: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return six panels: what was lit, normals, albedo; visibility, specular, confidence.

    Args:
        maps: a set's.
        lit: ``(height, width, 3)`` linear, the set under all lights.
    """
    height, width = maps.visibility.shape
    white = float(np.nanpercentile(maps.albedo, 99.5)) if np.isfinite(maps.albedo).any() else 1.0
    scale = 0.9 / max(white, 1e-6)
    brightest = max(float(np.nanpercentile(lit, 99.5)), 1e-6)
    panels = [
        to_8bit(np.nan_to_num(lit) * (0.9 / brightest)),
        normal_picture(maps.normal),
        _encoded(maps.albedo * scale),
        _gray(maps.visibility),
        _encoded(np.repeat((maps.specular * scale * _SPECULAR_BRIGHTNESS)[..., None], 3, axis=2)),
        _gray(maps.normal_confidence),
    ]
    sheet = np.full((2 * height + _GAP_PX, 3 * width + 2 * _GAP_PX, 3), _UNKNOWN, np.uint8)
    for place, panel in enumerate(panels):
        row, column = divmod(place, 3)
        top, left = row * (height + _GAP_PX), column * (width + _GAP_PX)
        sheet[top : top + height, left : left + width] = panel
    return sheet


def _encoded(linear: NDArray[np.floating]) -> NDArray[np.uint8]:
    known = np.isfinite(linear).all(axis=2, keepdims=True)
    return np.where(known, to_8bit(np.nan_to_num(linear)), _UNKNOWN).astype(np.uint8)


def _gray(share: NDArray[np.floating]) -> NDArray[np.uint8]:
    levels = np.where(np.isfinite(share), np.clip(np.nan_to_num(share), 0, 1) * 255, _UNKNOWN)
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)
