"""Rasterising: which triangle each sample of a picture shows, and where in it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.pinhole import PinholeCamera

Array = NDArray[np.float32]

_NEAR_M, _FAR_M = 0.2, 10.0
_canvases = threading.local()
#: Samples worked on at a time, so that what they need stays in the processor's cache.
_BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each covered sample of a picture shows.

    All samples lie in a window of the picture: ``left``, ``top``, ``width``, ``height`` in samples.
    ``pixel`` (n,) flat index into (height, width) of the window, in order; ``face`` (n,) the
    triangle, a row of ``faces`` (F, 3); ``weights`` (n, 3) barycentric, perspective-correct.
    """

    left: int
    top: int
    width: int
    height: int
    pixel: NDArray[np.int64]
    face: NDArray[np.int32]
    weights: Array
    faces: NDArray[np.int32]

    @cached_property
    def corners(self) -> NDArray[np.int32]:
        """The vertices of each sample's triangle, ``(n, 3)``."""
        return self.faces.take(self.face, axis=0)

    def gather(self, values: Array) -> Array:
        """Return per-vertex ``(V,)`` or ``(V, k)`` values interpolated to the samples."""
        from scipy.sparse import csr_array

        ends = np.arange(0, 3 * len(self.pixel) + 1, 3, dtype=np.int32)
        mixing = csr_array(
            (self.weights.ravel(), self.corners.ravel(), ends), shape=(len(self.pixel), len(values))
        )
        return np.asarray(mixing @ values, np.float32)


def rasterise(
    vertices: Array, faces: NDArray[np.int32], camera: PinholeCamera, supersampling: int = 1
) -> Fragments:
    """Return what each sample of the camera's picture shows, nearest surface first.

    Args:
        vertices: ``(V, 3)`` world metres.
        faces: ``(F, 3)``, counter-clockwise from outside; those seen from behind are left out.
        camera: where from.
        supersampling: samples along each side of a pixel.
    """
    corners = vertices[faces]
    towards = camera.position_m.astype(np.float32) - corners[:, 0]
    front = np.flatnonzero((_outward(corners) * towards).sum(axis=1) > 0)
    count = len(front)
    left, top, width, height = _frame_around(vertices, camera, supersampling)
    if count == 0 or width <= 0 or height <= 0:
        nothing = np.zeros((0, 3), np.float32)
        return Fragments(0, 0, 0, 0, np.zeros(0, np.int64), np.zeros(0, np.int32), nothing, faces)
    colours = np.empty((count, 3, 3), np.float32)
    colours[:] = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    colours[:, :, 2] = ((np.arange(count) + 0.5) / count)[:, None]
    settings = cv2.TriangleRasterizeSettings()
    settings.setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    settings.setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    drawn, _ = cv2.triangleRasterize(
        np.ascontiguousarray(corners[front].reshape(-1, 3)),
        np.arange(3 * count, dtype=np.int32).reshape(-1, 3),
        colours.reshape(-1, 3),
        _canvas("colours", (height, width, 3), -1.0),
        _canvas("depth", (height, width), _FAR_M),
        _sheared(camera, left + 0.5 * width, top + 0.5 * height, supersampling),
        2.0 * np.arctan(0.5 * height / (camera.focal_px * supersampling)),
        _NEAR_M,
        _FAR_M,
        settings,
    )
    found = _extracted(np.asarray(drawn).reshape(-1, 3), front.astype(np.int32))
    return Fragments(left, top, width, height, *found, faces)


def vertex_normals(vertices: Array, faces: NDArray[np.int32]) -> Array:
    """Return unit normals ``(V, 3)``, faces weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    u, w = b - a, c - a
    normals = np.empty_like(vertices)
    count = len(vertices)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        component = u[:, i] * w[:, j] - u[:, j] * w[:, i]
        total = np.bincount(faces[:, 0], component, count)
        total += np.bincount(faces[:, 1], component, count)
        total += np.bincount(faces[:, 2], component, count)
        normals[:, k] = total
    return np.asarray(
        normals / np.maximum(np.sqrt((normals**2).sum(axis=1, keepdims=True)), 1e-12), np.float32
    )


def _canvas(name: str, shape: tuple[int, ...], value: float) -> Array:
    """Return an array full of ``value``, in memory that this thread uses again for the next one.

    At full size fresh memory would cost a tenth of a picture's time in page faults.
    """
    size = int(np.prod(shape))
    kept = getattr(_canvases, name, None)
    if kept is None or kept.size < size:
        kept = np.empty(size, np.float32)
        setattr(_canvases, name, kept)
    canvas = kept[:size].reshape(shape)
    canvas.fill(value)
    return np.asarray(canvas)


def _extracted(
    drawn: Array, front: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], Array]:
    """Return the drawn samples' places, faces and weights, block by block.

    Of each sample ``(n, 3)`` two weights and the place in ``front``, as a share of its length, were
    drawn; where nothing was, that is negative.
    """
    count = int(np.count_nonzero(drawn[:, 2] >= 0))
    pixel, face = np.empty(count, np.int64), np.empty(count, np.int32)
    weights = np.empty((count, 3), np.float32)
    done = 0
    for start in range(0, len(drawn), _BLOCK):
        block = drawn[start : start + _BLOCK]
        places = np.flatnonzero(block[:, 2] >= 0)
        into = slice(done, done + len(places))
        done += len(places)
        samples = weights[into]
        block.take(places, axis=0, out=samples, mode="clip")
        np.add(places, start, out=pixel[into])
        order = (samples[:, 2] * np.float32(len(front))).astype(np.int32)
        front.take(order, out=face[into], mode="clip")
        samples[:, 2] = 1.0 - samples[:, 0] - samples[:, 1]
    return pixel, face, weights


def _outward(corners: Array) -> Array:
    """Return normals ``(F, 3)``, of any length, of triangles ``(F, 3, 3)``."""
    a, b = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    parts = [a[k - 2] * b[k - 1] - a[k - 1] * b[k - 2] for k in range(3)]
    return np.stack(parts, axis=1)


def _frame_around(
    vertices: Array, camera: PinholeCamera, supersampling: int
) -> tuple[int, int, int, int]:
    """Return left, top, width and height in samples of the window that holds all vertices.

    It holds whole pixels.
    """
    pixels = camera.project(vertices) + 0.5
    limits = (camera.width, camera.height)
    left, top = (max(0, int(pixels[:, k].min()) - 1) for k in range(2))
    right, bottom = (min(limits[k], int(pixels[:, k].max()) + 2) for k in range(2))
    window = (left, top, right - left, bottom - top)
    return (
        window[0] * supersampling,
        window[1] * supersampling,
        window[2] * supersampling,
        (window[3] * supersampling),
    )


def _sheared(camera: PinholeCamera, x: float, y: float, supersampling: int) -> NDArray[np.float64]:
    """Return the world-to-camera matrix whose picture's middle is the sample ``(x, y)``.

    The rasteriser's own axis always ends in the middle: shearing along it moves that place.
    """
    focal = camera.focal_px * supersampling
    shear = np.eye(4)
    shear[0, 2] = (x - (camera.centre[0] + 0.5) * supersampling) / focal
    shear[1, 2] = -(y - (camera.centre[1] + 0.5) * supersampling) / focal
    return np.asarray(shear @ camera.world_to_camera)
