"""True flow of a simulated performer: where what a pixel shows is at another time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer
from lightstage.simulation.raster import rasterise

Array = NDArray[np.float32]

#: A surface point that lies this far behind what is seen at its place is hidden.
_HIDDEN_M = 0.004


def true_flow(
    performer: Performer, camera: SimulatedCamera, time_s: float, other_s: float
) -> Array:
    """Return the backward flow ``(height, width, 2)`` in pixels from one time to another.

    ``flow[y, x] = (dx, dy)``: what pixel (x, y) shows at ``time_s`` is at (x + dx, y + dy) at
    ``other_s``. NaN off the performer, and where that point is hidden or outside at ``other_s``.
    """
    return np.asarray(true_flow_to_times(performer, camera, time_s, [other_s])[0])


def true_flow_to_times(
    performer: Performer, camera: SimulatedCamera, time_s: float, others_s: Sequence[float]
) -> Array:
    """Return :func:`true_flow` from one time to each of others, ``(times, height, width, 2)``.

    Args:
        performer: who moves.
        camera: where from.
        time_s: when the pixels show what is followed, in seconds.
        others_s: when to say where it is, in seconds: as of an OLAT frame's own exposure
            (``SimulatedStage.time_s``).
    """
    height, width = camera.height, camera.width
    faces = performer.model.faces
    here = performer.vertices(time_s)
    fragments = rasterise(here, faces, camera)
    row, column = np.divmod(fragments.pixel, max(fragments.width, 1))
    pixel = (row + fragments.top) * width + column + fragments.left
    place = camera.project(fragments.gather(here))
    flow = np.full((len(others_s), height * width, 2), np.nan, np.float32)
    for index, other_s in enumerate(others_s):
        there = performer.vertices(other_s)
        moved = fragments.gather(there)
        # from the point itself, not from the pixel's middle: the rasteriser's rounding cancels
        target = camera.project(moved)
        seen = _seen(moved, target, there, faces, camera)
        flow[index, pixel[seen]] = (target - place)[seen]
    return np.asarray(flow.reshape(len(others_s), height, width, 2))


def _seen(
    points: Array,
    places: NDArray[np.float64],
    vertices: Array,
    faces: NDArray[np.int32],
    camera: SimulatedCamera,
) -> NDArray[np.bool_]:
    """Return which surface points ``(n, 3)``, at pixels ``(n, 2)``, the camera sees."""
    shown = rasterise(vertices, faces, camera)
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    row, column = np.divmod(shown.pixel, max(shown.width, 1))
    depth[row + shown.top, column + shown.left] = camera.distance_m - shown.gather(vertices)[:, 2]
    # of the four pixels round a place the farthest counts: at an outline the others may show what
    # is in front of it, or the background
    around = np.asarray(
        cv2.dilate(np.where(np.isinf(depth), 0.0, depth).astype(np.float32), np.ones((2, 2)))
    )
    x, y = places[:, 0], places[:, 1]
    inside = (x > -0.5) & (x < camera.width - 0.5) & (y > -0.5) & (y < camera.height - 0.5)
    # the dilated picture's pixel is the lower right one of its four
    right = np.clip(np.floor(x).astype(np.int64) + 1, 0, camera.width - 1)
    lower = np.clip(np.floor(y).astype(np.int64) + 1, 0, camera.height - 1)
    return inside & (camera.distance_m - points[:, 2] < around[lower, right] + _HIDDEN_M)
