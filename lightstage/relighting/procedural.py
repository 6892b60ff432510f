"""Built-in environments, made by formula: nobody needs a file to begin.

All are linear HDR, deterministic, and drawn for a performer who faces the camera (+Z).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import EnvironmentMapError
from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.sphere import pixel_directions

Picture = NDArray[np.float64]
#: Samples a side per pixel; edges of softboxes and the sun come out smooth.
_OVERSAMPLING = 2


def _studio(direction: Picture) -> Picture:
    """A dark room with a large key softbox, a strip, an overhead bank and a floor."""
    y = direction[..., 1]
    wall = np.array([0.030, 0.032, 0.038])
    picture = wall * (1.0 + 0.5 * np.maximum(y, 0.0))[..., None]
    floor = _smooth(-0.15, -0.75, y)[..., None]
    picture = picture * (1 - floor) + np.array([0.16, 0.15, 0.14]) * floor
    for azimuth, elevation, half_width, half_height, colour, radiance in (
        (-48.0, 32.0, 0.40, 0.40, (1.00, 0.95, 0.88), 16.0),  # key, image left
        (62.0, 12.0, 0.16, 0.55, (0.86, 0.93, 1.00), 6.5),  # fill strip, image right
        (165.0, 28.0, 0.14, 0.45, (1.00, 0.98, 0.95), 14.0),  # hair light from behind
        (0.0, 85.0, 0.45, 0.22, (1.00, 1.00, 1.00), 3.0),  # overhead bank
    ):
        picture += _softbox(direction, azimuth, elevation, half_width, half_height)[..., None] * (
            radiance * np.array(colour)
        )
    return np.asarray(picture)


def _overcast(direction: Picture) -> Picture:
    """A covered sky, three times as bright overhead as at the horizon, over grey ground.

    Source: the CIE standard overcast sky, (1 + 2 sin elevation) / 3.
    """
    x, y, z = np.moveaxis(direction, -1, 0)
    clouds = 1.0 + 0.07 * (
        np.sin(5.1 * x + 2.3 * z + 1.7 * np.sin(3.7 * z + 1.1))
        + np.sin(8.3 * z - 4.9 * x + 2.1 * np.sin(5.3 * x)) * 0.6
        + np.sin(13.7 * x + 11.3 * z) * 0.3
    )
    sky = ((1.0 + 2.0 * np.maximum(y, 0.0)) / 3.0 * clouds)[..., None]
    sky = sky * np.array([0.94, 1.0, 1.08]) * 1.6
    ground = (0.22 + 0.08 * np.maximum(-y, 0.0))[..., None] * np.array([1.0, 0.97, 0.90])
    below = _smooth(0.012, -0.012, y)[..., None]
    return np.asarray(sky * (1 - below) + ground * below)


def _sunset(direction: Picture) -> Picture:
    """A warm sun eight degrees high at image left in front, under a blue sky."""
    y = direction[..., 1]
    sun = _towards(-62.0, 8.0)
    cosine = direction @ sun
    high = np.maximum(y, 0.0) ** 0.55
    horizon, zenith = np.array([0.95, 0.55, 0.34]), np.array([0.13, 0.22, 0.46])
    sky = horizon * (1 - high)[..., None] + zenith * high[..., None]
    near = np.clip((cosine + 1.0) / 2.0, 0.0, 1.0)
    sky = sky * (0.35 + 0.75 * near**2)[..., None]
    glow = np.exp((cosine - 1.0) / 0.012)[..., None] * np.array([9.0, 4.2, 1.5])
    glow = glow + np.exp((cosine - 1.0) / 0.12)[..., None] * np.array([1.6, 0.75, 0.32])
    ground = np.array([0.085, 0.070, 0.062]) * (1.0 + 1.6 * near**3)[..., None]
    below = _smooth(0.01, -0.01, y)[..., None]
    # a sun of 1.2 degrees' radius: wide enough for a pixel, with a low sun's light
    disc = _smooth(np.cos(np.deg2rad(1.35)), np.cos(np.deg2rad(1.05)), cosine)[..., None]
    above = (sky + glow) * (1 - below) + ground * below
    return np.asarray(above + disc * np.array([2600.0, 1250.0, 430.0]))


_FORMULAS: dict[str, Callable[[Picture], Picture]] = {
    "studio": _studio,
    "overcast": _overcast,
    "sunset": _sunset,
}
#: Names of the built-in environments, with a line about each.
ENVIRONMENTS: dict[str, str] = {
    "studio": "a dark studio: key softbox at image left, strip at right, hair light, overhead bank",
    "overcast": "a covered sky, soft from above",
    "sunset": "a low warm sun at image left under a blue sky",
}


@lru_cache(maxsize=8)
def procedural_environment(name: str, height: int = 256) -> EnvironmentMap:
    """Return the built-in environment ``name`` as a map of ``2 height x height`` pixels.

    Raises:
        EnvironmentMapError: there is none of that name, or it would be too small to show.
    """
    if name not in _FORMULAS:
        known = ", ".join(ENVIRONMENTS)
        raise EnvironmentMapError(
            f"there is no built-in environment {name!r} (there are: {known})."
        )
    if height < 16:
        raise EnvironmentMapError(f"a built-in environment needs at least 16 rows, not {height}.")
    fine = height * _OVERSAMPLING
    directions = pixel_directions(fine, 2 * fine)
    picture = np.empty((height, 2 * height, 3), dtype=np.float32)
    for row in range(height):
        strip = _FORMULAS[name](directions[row * _OVERSAMPLING : (row + 1) * _OVERSAMPLING])
        blocks = strip.reshape(_OVERSAMPLING, 2 * height, _OVERSAMPLING, 3)
        picture[row] = blocks.mean(axis=(0, 2))
    return EnvironmentMap(picture, name=name)


def _towards(azimuth_deg: float, elevation_deg: float) -> NDArray[np.float64]:
    """Return the direction at an azimuth from +Z towards +X, and an elevation."""
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(elevation_deg)
    return np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ]
    )


def _softbox(
    direction: Picture, azimuth: float, elevation: float, half_width: float, half_height: float
) -> NDArray[np.float64]:
    """Return a flat rectangular source's brightness: 1 inside, a little less at its rim."""
    axis = _towards(azimuth, elevation)
    right = np.cross(np.array([0.0, 1.0, 0.0]), axis)
    right /= np.linalg.norm(right)
    up = np.cross(axis, right)
    depth = direction @ axis
    ahead = np.maximum(depth, 1e-3)
    x, y = direction @ right / ahead / half_width, direction @ up / ahead / half_height
    inside = _smooth(1.03, 0.97, np.abs(x)) * _smooth(1.03, 0.97, np.abs(y)) * (depth > 1e-2)
    return np.asarray(inside * (1.0 - 0.35 * np.minimum(x * x + y * y, 2.0) / 2.0))


def _smooth(start: float, end: float, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 0 at ``start`` and beyond, 1 at ``end`` and beyond, a cubic step between."""
    t = np.clip((x - start) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
