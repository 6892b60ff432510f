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


def pixel_directions(height: int, width: int, rows: slice = slice(None)) -> NDArray[np.float64]:
    """Return the unit vector at each pixel's centre, ``(height, width, 3)``, or of some rows."""
    u = (np.arange(width) + 0.5) / width
    v = (np.arange(height)[rows] + 0.5) / height
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


def turn_matrix(
    turn_deg: float = 0.0, pitch_deg: float = 0.0, roll_deg: float = 0.0
) -> NDArray[np.float64]:
    """Return the rotation ``(3, 3)`` that rolls, then tilts, then turns about the vertical.

    Args:
        turn_deg: about the vertical; positive takes -Z to +X, as pictures move to the right.
        pitch_deg: about image right; positive takes -Z to +Y, as pictures move up.
        roll_deg: about the camera's axis; positive takes +X to -Y, clockwise for the camera.
    """
    sine, cosine = np.sin(np.deg2rad(turn_deg)), np.cos(np.deg2rad(turn_deg))
    turn = np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
    sine, cosine = np.sin(np.deg2rad(pitch_deg)), np.cos(np.deg2rad(pitch_deg))
    pitch = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    sine, cosine = np.sin(np.deg2rad(roll_deg)), np.cos(np.deg2rad(roll_deg))
    roll = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(turn @ pitch @ roll)


def azimuth_elevation_deg(
    directions: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return degrees from the camera (+Z) towards image right (+X), and above the horizon."""
    x, y, z = np.moveaxis(np.asarray(directions, dtype=np.float64), -1, 0)
    return np.rad2deg(np.arctan2(x, z)), np.rad2deg(np.arctan2(y, np.hypot(x, z)))


def direction_at(azimuth_deg: float, elevation_deg: float) -> NDArray[np.float64]:
    """Return the unit vector at an azimuth from the camera (+Z) towards +X, and an elevation."""
    return direction_of(0.5 + (180.0 - azimuth_deg) / 360.0, 0.5 - elevation_deg / 180.0)
