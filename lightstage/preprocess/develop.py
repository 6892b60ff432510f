"""Develop: from a frame as the sensor stored it to linear RGB."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.preprocess.settings import DevelopSettings

#: Demosaicing works on integers: 8-bit values are lifted by this, so that a mean of four
#: neighbours keeps its fraction.
_LIFT_8BIT = 128
_BAYER_ORDERS = ("GBRG", "RGGB", "BGGR", "GRBG")
_METHOD_SUFFIX = {"bilinear": "", "edge-aware": "_EA"}


def develop(
    stored: NDArray[np.generic],
    *,
    cfa: str,
    black_level: float,
    white_level: float,
    settings: DevelopSettings | None = None,
) -> NDArray[np.float32]:
    """Return linear RGB ``(height, width, 3)``, 0.0 = black level, 1.0 = white level.

    Values below black stay negative, so that noise around black keeps its mean.

    Args:
        stored: ``(height, width)`` uint8 or uint16, or ``(height, width, 3)`` colour.
        cfa: the colours of the top left 2x2 pixels, such as ``GBRG``; ``GRAY`` for none.
        black_level: stored value of no light.
        white_level: stored value of full scale.
        settings: the demosaicing method.

    Raises:
        InputError: the colour filter is not known.
    """
    settings = settings or DevelopSettings()
    scale = 1.0
    if stored.ndim == 3:
        colour = stored
    elif cfa == "GRAY":
        colour = np.repeat(stored[..., None], 3, axis=2)
    else:
        mosaic = np.ascontiguousarray(stored)
        if mosaic.dtype == np.uint8:
            mosaic = mosaic.astype(np.uint16) * np.uint16(_LIFT_8BIT)
            scale = 1.0 / _LIFT_8BIT
        colour = cv2.cvtColor(mosaic, demosaic_code(cfa, settings.demosaic))
    gain = scale / (white_level - black_level)
    linear = colour.astype(np.float32)
    linear *= np.float32(gain)
    linear -= np.float32(black_level / (white_level - black_level))
    return linear


def demosaic_code(cfa: str, method: str) -> int:
    """Return OpenCV's conversion code for a colour filter array, named by its top left 2x2.

    Raises:
        InputError: the colour filter is not one of the four Bayer orders.
    """
    if cfa not in _BAYER_ORDERS:
        raise InputError(
            f"frames with the colour filter {cfa} cannot be developed; known are "
            f"{', '.join(_BAYER_ORDERS)} and GRAY. Their stored values can still be had."
        )
    return int(getattr(cv2, f"COLOR_Bayer{cfa}2RGB{_METHOD_SUFFIX[method]}"))
