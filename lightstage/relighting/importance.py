"""Which lights carry a map: a table and a picture of the sphere."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.colour import luminance, to_8bit
from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.sphere import azimuth_elevation_deg, position_of

#: Lights that are numbered in the picture.
_NUMBERED = 10


@dataclass(frozen=True)
class LightImportance:
    """One light's part: its index, place in degrees, share of the luminance and RGB weight."""

    light: int
    azimuth_deg: float
    elevation_deg: float
    share: float
    weight: tuple[float, float, float]


@dataclass(frozen=True)
class Importance:
    """Which lights carry a map.

    Attributes:
        lights: the brightest first; shares of luminance add up to 1 (0 for a black map), and are
            negative for lights with a negative weight.
        effective_lights: how many equal lights would be as concentrated: 1 / sum of share squared.
    """

    lights: tuple[LightImportance, ...]
    effective_lights: float

    def lights_for(self, share: float) -> int:
        """Return how few lights give at least this share of the luminance, 0 to 1."""
        given = np.cumsum([light.share for light in self.lights])
        return min(int(np.searchsorted(given, share - 1e-9)) + 1, len(self.lights))


def importance(weights: ArrayLike, directions: ArrayLike) -> Importance:
    """Return which lights carry the light that ``weights`` describe.

    Args:
        weights: ``(lights, 3)`` as :func:`~lightstage.relighting.light_weights` returns them.
        directions: ``(lights, 3)``.
    """
    weight = np.asarray(weights, dtype=np.float64)
    power = luminance(weight).astype(np.float64)
    share = power / power.sum() if power.sum() > 0 else np.zeros(len(power))
    azimuth, elevation = azimuth_elevation_deg(directions)
    order = np.argsort(-share, kind="stable")
    lights = tuple(
        LightImportance(
            int(k), float(azimuth[k]), float(elevation[k]), float(share[k]),
            (float(weight[k, 0]), float(weight[k, 1]), float(weight[k, 2])),
        )
        for k in order
    )  # fmt: skip
    squares = float((share**2).sum())
    return Importance(lights, 1.0 / squares if squares > 0 else 0.0)


def importance_picture(
    environment: EnvironmentMap, weights: ArrayLike, directions: ArrayLike, height: int = 512
) -> NDArray[np.uint8]:
    """Return the map, darkened, with a disc for each light, ``(height, 2 height, 3)`` sRGB.

    A disc's area is the light's share of the luminance and its colour the weight's; the ten that
    carry most are numbered; lights that give next to nothing are dots.
    """
    width = 2 * height
    picture = environment.picture()
    light = luminance(picture)
    exposure = 0.35 / max(float(np.percentile(light, 90)), 1e-9)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    canvas = np.ascontiguousarray(to_8bit(np.asarray(small) * exposure) // 2)
    u, v = position_of(directions)
    ranked = importance(weights, directions).lights
    largest = max(ranked[0].share, 1e-12)
    for rank in reversed(range(len(ranked))):  # the brightest on top
        lamp = ranked[rank]
        centre = (int(u[lamp.light] * width), int(v[lamp.light] * height))
        radius = round(0.055 * height * float(np.sqrt(max(lamp.share, 0.0) / largest)))
        tint = np.maximum(lamp.weight, 0.0)
        colour = to_8bit(tint / max(float(tint.max()), 1e-12)).tolist() if radius > 1 else [150] * 3
        cv2.circle(canvas, centre, max(radius, 2), colour, -1, cv2.LINE_AA)
        cv2.circle(canvas, centre, max(radius, 2) + 1, (0, 0, 0), 1, cv2.LINE_AA)
        if rank < _NUMBERED and lamp.share > 0:
            _number(canvas, str(lamp.light), centre, max(radius, 2))
    return canvas


def _number(canvas: NDArray[np.uint8], text: str, centre: tuple[int, int], radius: int) -> None:
    """Write a light's number beside its disc, within the picture."""
    size = canvas.shape[0] / 1100.0
    (across, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x = centre[0] + radius + 4
    if x + across > canvas.shape[1]:
        x = centre[0] - radius - 4 - across
    place = (x, centre[1] + int(12 * size))
    cv2.putText(
        canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA
    )
