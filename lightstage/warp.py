"""Flows and warps: the one contract that every flow in the toolkit keeps.

A flow is ``(height, width, 2)`` float32 with ``flow[y, x] = (dx, dy)`` in pixels, a backward map:
``warp(image, flow)[y, x] = image[y + dy, x + dx]``. NaN is invalid. Flows obey

    warp(image, compose(a, b)) == warp(warp(image, b), a)

After SOFIMA's coordinate maps.
"""

from __future__ import annotations

import functools
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Flow = NDArray[np.float32]
Interpolation = Literal["linear", "cubic", "lanczos"]
#: OpenCV's number of each interpolation.
INTERPOLATION_FLAGS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def identity_map(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the x and y coordinate of each pixel, both ``(height, width)``."""
    return _identity_map(height, width)


@functools.lru_cache(maxsize=4)
def _identity_map(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def warp(
    image: NDArray[np.float32], flow: Flow, interpolation: Interpolation = "linear"
) -> NDArray[np.float32]:
    """Return ``image[y + dy, x + dx]`` for each pixel of ``flow``.

    Args:
        image: ``(height, width)`` or ``(height, width, channels)``, of any size.
        flow: as the module says.
        interpolation: how values between pixels are found.

    Returns:
        an image of the flow's size; NaN where the flow is invalid or points outside ``image``.
    """
    x, y = identity_map(*flow.shape[:2])
    map_x, map_y = x + flow[..., 0], y + flow[..., 1]
    height, width = image.shape[:2]
    # NaN compares false, so invalid flow counts as outside
    inside = (map_x >= -0.5) & (map_x <= width - 0.5) & (map_y >= -0.5) & (map_y <= height - 0.5)
    outside = ~inside
    some_outside = bool(outside.any())
    if some_outside:
        map_x[outside] = 0.0  # remap's treatment of NaN coordinates is undefined
        map_y[outside] = 0.0
    warped = cv2.remap(
        image, map_x, map_y, INTERPOLATION_FLAGS[interpolation], borderMode=cv2.BORDER_REPLICATE
    )
    if some_outside:
        warped[outside] = np.nan
    return np.asarray(warped, dtype=np.float32)


def compose(first: Flow, second: Flow) -> Flow:
    """Return the flow that warps as warping by ``second`` and then by ``first`` does."""
    return np.asarray(first + warp(second, first), dtype=np.float32)


def invert(flow: Flow, iterations: int = 20) -> Flow:
    """Return the flow ``b`` with ``compose(b, flow) == 0``, by fixed-point iteration.

    Converges where the flow changes by less than a pixel per pixel; NaN where it leads outside.
    """
    inverse = -flow
    for _ in range(iterations):
        inverse = -warp(flow, inverse)
    return inverse


def disagreement(forward: Flow, backward: Flow) -> NDArray[np.float32]:
    """Return how far, in pixels, going forward and back again misses the start, per pixel.

    NaN where either is invalid; large at occlusions.
    """
    return np.asarray(np.linalg.norm(compose(forward, backward), axis=-1), dtype=np.float32)
