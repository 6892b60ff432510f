"""Dark frames and flat fields of a camera, from pictures of no light and of even light."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.preprocess.develop import develop
from lightstage.preprocess.settings import DevelopSettings
from lightstage.preprocess.source import FrameSource

#: A dark frame is as dark as this: more is light that came in.
_MOST_DARK = 0.05
#: Even light lies between these, or says too little.
_LEAST_FLAT, _MOST_FLAT = 0.05, 0.97
#: The longer side of a flat field: what it keeps is smooth.
_FLAT_SIDE = 128
#: A flat field falls to no less than this of its brightest part.
_LEAST_SHARE = 0.1
#: Neighbouring parts of a flat field differ by no more than this: else something stood in view.
_LARGEST_STEP = 0.2


def mean_frame(source: FrameSource, frames: Iterable[int]) -> NDArray[np.float32]:
    """Return the mean of stored frames, ``(height, width)`` or colour, in stored values."""
    total: NDArray[np.float64] | None = None
    count = 0
    for index in frames:
        stored = np.asarray(source[index], dtype=np.float64)
        total = stored if total is None else np.add(total, stored, out=total)
        count += 1
    if total is None:
        raise InputError(f"{source.path}: has no frames of this kind.")
    return (total / count).astype(np.float32)


def dark_frame(source: FrameSource, frames: Iterable[int]) -> NDArray[np.float32]:
    """Return the dark frame ``(height, width)``, 0 = black level, 1.0 = white level.

    Raises:
        InputError: the frames are not dark.
    """
    span = source.white_level - source.black_level
    dark = (mean_frame(source, frames) - np.float32(source.black_level)) / np.float32(span)
    if dark.ndim == 3:
        raise InputError(f"{source.path}: a dark frame comes from a sensor's own pixels, not RGB.")
    # single hot pixels may be bright; light that came in lifts many
    level = float(np.quantile(dark, 0.9))
    if level > _MOST_DARK:
        raise InputError(
            f"{source.path}: its dark frames are not dark, a tenth of the pixels is above "
            f"{100 * level:.0f} % of full scale; close the shutter or put the lens cap on."
        )
    return np.asarray(dark, np.float32)


def flat_field(
    source: FrameSource, frames: Iterable[int], dark: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the flat field ``(rows, columns, 3)``: the share of light that arrives, 1.0 at most.

    It keeps what is smooth: vignetting and colour shading of lens and filter, not dust.

    Args:
        source: frames of an evenly lit white surface that fills the picture.
        frames: which of them.
        dark: the camera's dark frame.

    Raises:
        InputError: the picture is too dark or saturated, or something stands in it.
    """
    stored = mean_frame(source, frames)
    linear = develop(
        stored,
        cfa=source.cfa,
        black_level=source.black_level,
        white_level=source.white_level,
        settings=DevelopSettings(demosaic="bilinear"),
        dark=dark,
    )
    height, width = linear.shape[:2]
    scale = min(1.0, _FLAT_SIDE / max(height, width))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA))
    small = np.asarray(cv2.GaussianBlur(small, (0, 0), 1.5, borderType=cv2.BORDER_REFLECT_101))
    brightest = np.quantile(small.reshape(-1, 3), 0.999, axis=0)
    if brightest.min() < _LEAST_FLAT:
        raise InputError(
            f"{source.path}: the flat field has too little light, {100 * brightest.min():.1f} % of "
            f"full scale; at least {100 * _LEAST_FLAT:.0f} % is needed."
        )
    if brightest.max() > _MOST_FLAT:
        raise InputError(f"{source.path}: the flat field is saturated; give it less light.")
    share = small / small.reshape(-1, 3).max(axis=0)
    step = max(float(np.abs(np.diff(share, axis=axis)).max()) for axis in (0, 1))
    if share.min() < _LEAST_SHARE or step > _LARGEST_STEP:
        raise InputError(
            f"{source.path}: is no flat field: it falls to {100 * share.min():.0f} % and steps by "
            f"up to {100 * step:.0f} % within a hundredth of the picture. A white surface without "
            f"edges must fill the picture."
        )
    return np.ascontiguousarray(share, dtype=np.float32)
