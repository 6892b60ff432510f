"""How a camera sees a mirror sphere: rays, silhouettes and the law of reflection.

Camera coordinates are the world's, up to where the origin lies: +X image right, +Y image up, +Z
from the scene towards the camera. Pixels are ``(x, y)`` = (column, row), the middle of the top left
pixel is (0, 0): rows go down while Y goes up.

The silhouette of a sphere is a cone of rays around the direction of its centre, with half angle
``asin(radius / distance)``: in a perspective picture an ellipse, whose middle is *not* where the
sphere's centre is seen. So perspective silhouettes are fitted as cones of rays, never as ellipses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import InputError

Array = NDArray[np.float64]
#: Halvings of the arc in which a highlight lies: down to rounding.
_HALVINGS = 52


class Camera(Protocol):
    """What geometry needs to know of a camera."""

    def rays(self, pixels: ArrayLike) -> tuple[Array, Array]:
        """Return origins and unit directions, each ``(..., 3)``, of pixels ``(..., 2)``."""
        ...

    def project(self, points: ArrayLike) -> Array:
        """Return the pixels ``(..., 2)`` of points ``(..., 3)`` in metres."""
        ...


@dataclass(frozen=True)
class PerspectiveCamera:
    """A pinhole at the origin that looks along -Z; ``principal_px`` is where its axis is seen."""

    focal_px: float
    principal_px: tuple[float, float]

    def __post_init__(self) -> None:
        """Check the focal length."""
        if not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise InputError(f"a focal length must be above 0 pixels, it is {self.focal_px}.")

    def rays(self, pixels: ArrayLike) -> tuple[Array, Array]:
        """Return origins and unit directions, each ``(..., 3)``, of pixels ``(..., 2)``."""
        p = np.asarray(pixels, dtype=np.float64) - np.array(self.principal_px)
        along = np.stack([p[..., 0], -p[..., 1], np.full(p.shape[:-1], -self.focal_px)], axis=-1)
        return np.zeros_like(along), unit(along)

    def project(self, points: ArrayLike) -> Array:
        """Return the pixels ``(..., 2)`` of points ``(..., 3)`` before the camera, in metres."""
        p = np.asarray(points, dtype=np.float64)
        scale = self.focal_px / -p[..., 2]
        x = self.principal_px[0] + scale * p[..., 0]
        y = self.principal_px[1] - scale * p[..., 1]
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class OrthographicCamera:
    """A camera far away: all rays are parallel to -Z, a metre is ``px_per_m`` pixels long."""

    px_per_m: float
    principal_px: tuple[float, float]

    def rays(self, pixels: ArrayLike) -> tuple[Array, Array]:
        """Return origins (at Z = 0) and directions, each ``(..., 3)``, of pixels ``(..., 2)``."""
        p = (np.asarray(pixels, dtype=np.float64) - np.array(self.principal_px)) / self.px_per_m
        origins = np.stack([p[..., 0], -p[..., 1], np.zeros(p.shape[:-1])], axis=-1)
        return origins, np.broadcast_to(np.array([0.0, 0.0, -1.0]), origins.shape).copy()

    def project(self, points: ArrayLike) -> Array:
        """Return the pixels ``(..., 2)`` of points ``(..., 3)`` in metres."""
        p = np.asarray(points, dtype=np.float64)
        x = self.principal_px[0] + self.px_per_m * p[..., 0]
        y = self.principal_px[1] - self.px_per_m * p[..., 1]
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class MirrorSphere:
    """A mirror sphere in camera coordinates; its radius is the unit where metres are not known."""

    centre_m: tuple[float, float, float]
    radius_m: float

    def reflect(self, camera: Camera, pixels: ArrayLike) -> tuple[Array, Array]:
        """Return where the pixels' rays meet the sphere and where they go from there.

        Args:
            camera: whose pixels they are.
            pixels: ``(..., 2)``.

        Returns:
            Points on the sphere in metres and unit directions of the reflected rays, which point
            at what is seen in the mirror; each ``(..., 3)``, NaN where a ray passes the sphere by.
        """
        origins, along = camera.rays(pixels)
        to_centre = np.array(self.centre_m) - origins
        middle = _dot(to_centre, along)
        off_axis = to_centre - middle[..., None] * along
        inside = self.radius_m**2 - _dot(off_axis, off_axis)
        # a ray that misses has no root: NaN goes through to the result
        half_chord = np.sqrt(np.where(inside >= 0, inside, np.nan))
        points = origins + (middle - half_chord)[..., None] * along
        normals = (points - np.array(self.centre_m)) / self.radius_m
        return points, along - 2.0 * _dot(along, normals)[..., None] * normals

    def highlight(
        self, camera: Camera, light: ArrayLike, *, distant: bool = False
    ) -> NDArray[np.float64]:
        """Return the pixels ``(..., 2)`` at which lights ``(..., 3)`` are seen in the mirror.

        ``light`` holds places in metres outside the sphere, or with ``distant`` directions. NaN
        where the light is hidden behind the sphere.

        Alhazen's problem: the normal ``n`` lies in the plane of centre, camera and light, between
        the last two, where ``(unit(light - p) + unit(camera - p)) . tangent`` changes its sign;
        that falls steadily along the arc, so that halving finds it.
        """
        light = np.asarray(light, dtype=np.float64)
        centre = np.array(self.centre_m)
        perspective = isinstance(camera, PerspectiveCamera)
        first = unit(-centre) if perspective else np.array([0.0, 0.0, 1.0])
        towards = unit(light if distant else light - centre)
        across = towards - _dot(towards, first)[..., None] * first
        length = np.linalg.norm(across, axis=-1, keepdims=True)
        # straight ahead or behind any plane will do
        spare = unit(np.cross(first, [0.3, 0.8, 0.5]))
        second = np.where(length > 1e-12, across / np.maximum(length, 1e-12), spare)
        low = np.zeros(light.shape[:-1])
        high = np.arctan2(length[..., 0], _dot(towards, first))
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            cosine, sine = np.cos(middle)[..., None], np.sin(middle)[..., None]
            normal = cosine * first + sine * second
            points = centre + self.radius_m * normal
            to_light = towards if distant else unit(light - points)
            to_camera = unit(-points) if perspective else first
            further = _dot(to_light + to_camera, cosine * second - sine * first) > 0
            low, high = np.where(further, middle, low), np.where(further, high, middle)
        seen = np.minimum(_dot(normal, to_camera + 0 * normal), _dot(normal, to_light)) > 1e-6
        return np.where(seen[..., None], camera.project(points), np.nan)


def unit(vectors: Array) -> Array:
    """Return vectors ``(..., 3)`` scaled to length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def angle_deg(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the angles in degrees between unit vectors ``(..., 3)``, exact for small ones too."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    half = 0.5 * np.linalg.norm(a - b, axis=-1)
    return np.asarray(np.degrees(2.0 * np.arcsin(np.clip(half, 0.0, 1.0))))


def nearest_point(
    origins: ArrayLike, directions: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Return the point nearest to several lines, by least squares, and its distance from each.

    Args:
        origins: a point of each line, ``(lines, 3)``.
        directions: their unit directions, ``(lines, 3)``.
        weights: how much each squared distance counts, ``(lines,)``.

    Returns:
        The point ``(3,)`` and the distances ``(lines,)``.

    Raises:
        InputError: the lines are parallel: no point is the nearest.
    """
    o, d = np.asarray(origins, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    w = np.ones(len(o)) if weights is None else np.asarray(weights, dtype=np.float64)
    across = np.eye(3) - d[:, :, None] * d[:, None, :]
    matrix = (w[:, None, None] * across).sum(axis=0)
    if np.linalg.cond(matrix) > 1e10:
        raise InputError("the lines are parallel: they meet nowhere.")
    point = np.linalg.solve(matrix, np.einsum("l,lij,lj->i", w, across, o))
    missed = np.einsum("lij,lj->li", across, point - o)
    return point, np.linalg.norm(missed, axis=1)


def point_at_distance(
    origins: Array, directions: Array, centre: ArrayLike, distance_m: float
) -> Array:
    """Return where rays ``(..., 3)`` leave the sphere of ``distance_m`` around ``centre``.

    NaN where a ray begins outside it and passes by.
    """
    offset = origins - np.asarray(centre, dtype=np.float64)
    along = _dot(offset, directions)
    square = along**2 - _dot(offset, offset) + distance_m**2
    length = -along + np.sqrt(np.where(square >= 0, square, np.nan))
    return np.asarray(origins + length[..., None] * directions)


def _dot(a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(axis=-1))
