"""The latitude-longitude picture of the sphere: where a pixel looks and how much of it it covers.

With ``phi = 2 pi (u - 1/2)`` and ``theta = pi v`` a point ``(u, v)`` of the picture, both in
[0, 1] from the left and from the top, looks in the direction
``(sin theta sin phi, cos theta, -sin theta cos phi)``: the top row is +Y, the centre -Z (what the
camera sees behind the performer), u = 3/4 is +X (image right), the left and right edges are +Z
(behind the camera).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def direction_of(u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
    """Return the unit vectors ``(..., 3)`` of the picture's points ``u``, ``v`` in [0, 1]."""
    phi = 2.0 * np.pi * (np.asarray(u, dtype=np.float64) - 0.5)
    theta = np.pi * np.asarray(v, dtype=np.float64)
    sine = np.sin(theta)
    return np.stack(np.broadcast_arrays(sine * np.sin(phi), np.cos(theta), -sine * np.cos(phi)), -1)


def position_of(directions: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``u`` in [0, 1) and ``v`` in [0, 1] for vectors ``(..., 3)`` of any length."""
    x, y, z = np.moveaxis(np.asarray(directions, dtype=np.float64), -1, 0)
    u = (np.arctan2(x, -z) / (2.0 * np.pi) + 0.5) % 1.0
    v = np.arctan2(np.hypot(x, z), y) / np.pi
    return u, v


def pixel_directions(height: int, width: int) -> NDArray[np.float64]:
    """Return the unit vector at each pixel's centre, ``(height, width, 3)``."""
    u = (np.arange(width) + 0.5) / width
    v = (np.arange(height) + 0.5) / height
    return direction_of(u[None, :], v[:, None])


def row_solid_angles(height: int, width: int) -> NDArray[np.float64]:
    """Return the solid angle of one pixel of each row in steradian, ``(height,)``.

    Exact: the strip between two parallels covers ``2 pi (cos theta_0 - cos theta_1)``.
    """
    edges = np.cos(np.linspace(0.0, np.pi, height + 1))
    return (edges[:-1] - edges[1:]) * (2.0 * np.pi / width)


def pixel_solid_angles(height: int, width: int) -> NDArray[np.float64]:
    """Return each pixel's solid angle in steradian, ``(height, width)``; they add up to 4 pi."""
    return np.repeat(row_solid_angles(height, width)[:, None], width, axis=1)


def turned(directions: ArrayLike, degrees: float) -> NDArray[np.float64]:
    """Return vectors ``(..., 3)`` turned about +Y so that -Z moves to +X, as pictures move right.

    Seen from above with the camera at the bottom this is clockwise: 90 degrees take -Z (behind the
    performer) to +X (image right), and +X to +Z.
    """
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
    return np.asarray(np.asarray(directions, dtype=np.float64) @ matrix.T)
