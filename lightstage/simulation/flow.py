"""True flow of a simulated performer: where what a pixel shows is at another time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightstage.raster import rasterise
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer

Array = NDArray[np.float32]

#: A surface point that lies this far behind what is seen at its place is hidden.
_HIDDEN_M = 0.004
#: What is seen is looked up this much finer than pixels: outlines are sharp to a quarter of one.
_FINENESS = 2


def true_flow(
    performer: Performer, camera: SimulatedCamera, time_s: float, other_s: float
) -> Array:
    """Return the backward flow ``(height, width, 2)`` in pixels from one time to another.

    ``flow[y, x] = (dx, dy)``: what pixel (x, y) shows at ``time_s`` is at (x + dx, y + dy) at
    ``other_s``. NaN off the performer, and where that point is hidden or outside at ``other_s``.
    Hidden is what lies more than 4 mm behind something else; at the outline of what hides it, that
    is told to a quarter of a pixel.
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
    fragments = rasterise(here, faces, camera.pinhole)
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
    shown = rasterise(vertices, faces, camera.pinhole, _FINENESS)
    height, width = camera.height * _FINENESS, camera.width * _FINENESS
    depth = np.full(height * width, np.inf, np.float32)
    front = np.zeros(height * width, np.int32)
    row, column = np.divmod(shown.pixel, max(shown.width, 1))
    sample = (row + shown.top) * width + column + shown.left
    depth[sample] = camera.distance_m - shown.gather(vertices)[:, 2]
    front[sample] = shown.face
    # samples' middles lie between whole numbers: the nearest sample's column and row
    x, y = (np.floor((places[:, k] + 0.5) * _FINENESS).astype(np.int64) for k in range(2))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    nearest = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    hidden = camera.distance_m - points[:, 2] > depth[nearest] + _HIDDEN_M
    # seen at a grazing angle, the point's own surface is that much nearer a quarter pixel away:
    # what counts is where the plane of what is seen there meets the way to the point itself
    doubtful = np.flatnonzero(hidden)
    a, b, c = vertices[faces[front[nearest[doubtful]]]].astype(np.float64).transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    way = points[doubtful].astype(np.float64) - camera.position_m
    with np.errstate(divide="ignore", invalid="ignore"):
        met = (normal * (a - camera.position_m)).sum(axis=1) / (normal * way).sum(axis=1)
    hidden[doubtful] = (1.0 - met) * np.linalg.norm(way, axis=1) > _HIDDEN_M
    return np.asarray(inside & ~hidden)
