"""Visibility: how much of the light above a surface reaches it, told from its shadows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: Share of the light expected: below the first a light is hidden, above the second it is seen.
_HIDDEN, _SEEN = 0.25, 0.75


def visible_share(gray: Array, expected: Array, there: NDArray[np.bool_] | None = None) -> Array:
    """Return the share of the lights above the surface that reach it, weighted by the cosine.

    A light is hidden by what stands in its way where the pixel gets less than a quarter of what its
    normal and albedo promise, seen from three quarters on, and in part between: that is steadier
    under noise than the share of light itself. With lights evenly about, this is the ambient
    visibility ``1/pi * integral of V cos`` of a full hemisphere.

    Args:
        gray: ``(lights, p)`` light of each pixel.
        expected: ``(lights, p)`` unshadowed diffuse light: albedo times cosine, 0 below
            the horizon.
        there: which values are known; all unless given.

    Returns:
        ``(p,)`` in [0, 1]; 1 where no light is above the surface.
    """
    weight = expected if there is None else expected * there
    # cosines below a tenth say little of shadows, and weigh little
    ratio = gray / np.maximum(expected, np.float32(1e-12))
    seen = np.clip((ratio - _HIDDEN) / (_SEEN - _HIDDEN), 0.0, 1.0)
    whole = weight.sum(axis=0)
    share = (seen * weight).sum(axis=0) / np.maximum(whole, np.float32(1e-12))
    return np.asarray(np.where(whole > 0, np.minimum(share, 1.0), 1.0), np.float32)
