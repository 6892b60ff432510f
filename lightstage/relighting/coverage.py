"""How much of the sphere a dome's lights stand for, and how much of a map they miss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, QhullError

from lightstage.colour import luminance
from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.lobes import spacing_rad
from lightstage.relighting.sphere import (
    azimuth_elevation_deg,
    pixel_directions,
    pixel_solid_angles,
)

#: The farthest a point of an evenly covered sphere is from its nearest light is 0.58 of the lights'
#: spacing; real domes are uneven.
_REACH_PER_SPACING = 1.0


@dataclass(frozen=True)
class Coverage:
    """What the lights reach.

    Attributes:
        reach_deg: a direction is covered if a light is at most this far from it.
        sphere: share of the sphere that is covered, 0 to 1.
        energy: share of the map's luminance that comes from there; NaN without a map, or a black
            one.
        largest_gap_deg: the farthest that a direction is from its nearest light: the radius of
            the largest empty circle.
        gap_azimuth_deg: where that is, from the camera to image right.
        gap_elevation_deg: where that is, above the horizon.
    """

    reach_deg: float
    sphere: float
    energy: float
    largest_gap_deg: float
    gap_azimuth_deg: float
    gap_elevation_deg: float


def default_reach_deg(directions: ArrayLike) -> float:
    """Return how far a light's part of the sphere may reach: the lights' median spacing."""
    rounded = np.round(np.asarray(directions, dtype=np.float64), 6)
    vectors = np.asarray(np.unique(rounded, axis=0), dtype=np.float64)
    return float(np.rad2deg(_REACH_PER_SPACING * spacing_rad(vectors)))


def covered(
    towards: NDArray[np.float64], directions: NDArray[np.float64], reach_deg: float
) -> NDArray[np.bool_]:
    """Return which of ``towards (..., 3)`` have a light within ``reach_deg``."""
    flat = towards.reshape(-1, 3)
    limit = np.cos(np.deg2rad(min(reach_deg, 180.0))) - 1e-12
    near = np.empty(len(flat), dtype=bool)
    for start in range(0, len(flat), 32768):
        part = slice(start, start + 32768)
        near[part] = (flat[part] @ directions.T).max(axis=1) >= limit
    return near.reshape(towards.shape[:-1])


def coverage(
    directions: ArrayLike,
    environment: EnvironmentMap | None = None,
    reach_deg: float | None = None,
) -> Coverage:
    """Return how much of the sphere, and of a map's light, is near some light.

    Args:
        directions: ``(lights, 3)`` unit vectors of the lights that are there.
        environment: the map; its turn counts.
        reach_deg: how near is near; :func:`default_reach_deg` unless given.
    """
    vectors = np.asarray(directions, dtype=np.float64)
    reach = default_reach_deg(vectors) if reach_deg is None else reach_deg
    rows = 180
    sphere = covered(pixel_directions(rows, 2 * rows), vectors, reach)
    share = float((sphere * pixel_solid_angles(rows, 2 * rows)).sum() / (4.0 * np.pi))
    energy = float("nan")
    if environment is not None:
        points = environment.energy.points
        light = luminance(points.energy).astype(np.float64)
        near = covered(points.directions, environment.to_picture(vectors), reach)
        energy = float(light[near].sum() / light.sum()) if light.sum() > 0 else energy
    gap_deg, middle = _largest_gap(vectors)
    azimuth, elevation = azimuth_elevation_deg(middle)
    return Coverage(reach, share, energy, gap_deg, float(azimuth), float(elevation))


def _largest_gap(vectors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the radius and the middle of the largest circle that no light is in.

    Each facet of the lights' convex hull cuts off a cap with no light in it, and the largest empty
    cap is one of these; where the lights span no volume (few, or all on one circle) the middle is
    looked for on a grid of a degree.
    """
    try:
        planes = ConvexHull(vectors).equations
        widest = planes[planes[:, 3].argmax()]
        return float(np.rad2deg(np.arccos(np.clip(-widest[3], -1.0, 1.0)))), widest[:3]
    except (QhullError, ValueError):
        grid = pixel_directions(180, 360).reshape(-1, 3)
        cosine = (grid @ vectors.T).max(axis=1)
        lone = int(cosine.argmin())
        return float(np.rad2deg(np.arccos(np.clip(cosine[lone], -1.0, 1.0)))), grid[lone]
