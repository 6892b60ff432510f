"""Named studio lights: rigs that photographers and film crews know, as lights on the sphere.

Azimuth is measured in degrees from the camera (+Z), positive to image right (+X), so 180 is
behind the performer; elevation is positive upwards. Where a rig has a key side, the key stands at
**image left** (-X) and the fill or accent at image right; turn or mirror the rig for the other.

Every rig gives the same power: its luminance, integrated over the sphere, is that of an
environment of radiance 1 everywhere (4 pi).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.colour import luminance
from lightstage.errors import InputError
from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.sphere import direction_of, pixel_directions, pixel_solid_angles
from lightstage.relighting.weights import light_weights

Colour = tuple[float, float, float]

_WHITE: Colour = (1.0, 1.0, 1.0)
_WARM: Colour = (1.0, 0.84, 0.66)
_COOL: Colour = (0.72, 0.86, 1.0)


@dataclass(frozen=True)
class StudioLight:
    """One light of a rig.

    Attributes:
        azimuth_deg: from the camera, positive to image right.
        elevation_deg: above the horizon.
        radius_deg: angle at which the light falls to 1/e of its middle; 3 is a bare lamp (one
            LED or two of a dome), 15 a softbox, 30 a large silk, 180 even light from all sides.
        power: its share of the rig's luminance.
        colour: linear RGB; only the ratios count.
    """

    azimuth_deg: float
    elevation_deg: float
    radius_deg: float
    power: float
    colour: Colour = _WHITE

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector from the performer to the light."""
        u = 0.5 + (180.0 - self.azimuth_deg) / 360.0
        return direction_of(u, 0.5 - self.elevation_deg / 180.0)


_RIGS: dict[str, tuple[str, tuple[StudioLight, ...]]] = {
    "rembrandt": (
        "key high at image left, a triangle of light on the far cheek, weak fill",
        (
            StudioLight(-48, 42, 10, 0.86, (1.0, 0.95, 0.88)),
            StudioLight(50, 5, 30, 0.14),
        ),
    ),
    "butterfly": (
        "key high in front, a small shadow under the nose, fill from below",
        (StudioLight(0, 48, 10, 0.8), StudioLight(0, -35, 25, 0.2)),
    ),
    "split": (
        "hard key level at image left: half the face lit, half in shadow",
        (StudioLight(-92, 5, 6, 1.0),),
    ),
    "loop": (
        "key a little left and above, a short nose shadow, soft fill",
        (StudioLight(-30, 30, 12, 0.72), StudioLight(40, 5, 30, 0.28)),
    ),
    "rim": (
        "two lights behind the performer that draw the outline",
        (StudioLight(-148, 15, 10, 0.5), StudioLight(148, 15, 10, 0.5)),
    ),
    "cyberpunk": (
        "magenta from image left, cyan from image right, a little blue from above",
        (
            StudioLight(-75, 8, 14, 0.46, (1.0, 0.05, 0.55)),
            StudioLight(75, 8, 14, 0.46, (0.03, 0.75, 1.0)),
            StudioLight(0, 70, 25, 0.08, (0.15, 0.2, 1.0)),
        ),
    ),
    "back": (
        "a large light behind the performer, a trace of fill in front",
        (StudioLight(180, 15, 25, 0.92), StudioLight(0, 0, 40, 0.08)),
    ),
    "top": ("a softbox overhead", (StudioLight(0, 85, 18, 1.0),)),
    "hard": ("one bare lamp, high at image left", (StudioLight(-35, 35, 3, 1.0),)),
    "ambient": ("even light from all sides", (StudioLight(0, 0, 180, 1.0),)),
    "two-tone": (
        "warm key at image left, cool light behind at image right",
        (StudioLight(-50, 25, 14, 0.6, _WARM), StudioLight(140, 20, 14, 0.4, _COOL)),
    ),
}
#: Names of the studio lights, with a line about each.
STUDIO_LIGHTS: dict[str, str] = {name: line for name, (line, _) in _RIGS.items()}


def studio_rig(name: str) -> tuple[StudioLight, ...]:
    """Return the lights of the rig ``name``.

    Raises:
        InputError: there is none of that name; the text lists those there are.
    """
    if name not in _RIGS:
        raise InputError(f"there is no studio light {name!r} (there are: {', '.join(_RIGS)}).")
    return _RIGS[name][1]


@lru_cache(maxsize=32)
def studio_environment(name: str, height: int = 256) -> EnvironmentMap:
    """Return a rig as an environment map, to look at, to turn, or to light with.

    Raises:
        InputError: there is no such rig.
    """
    directions = pixel_directions(height, 2 * height)
    solid_angles = pixel_solid_angles(height, 2 * height)
    picture = np.zeros((height, 2 * height, 3))
    for light in studio_rig(name):
        # von Mises and Fisher's lobe, 1/e at the radius; scaled by what the pixels make of it
        even = light.radius_deg >= 180.0
        sharpness = 0.0 if even else 1.0 / (1.0 - np.cos(np.deg2rad(light.radius_deg)))
        lobe = np.exp(sharpness * (directions @ light.direction - 1.0))
        colour = np.array(light.colour) / float(luminance(light.colour))
        picture += (lobe / (lobe * solid_angles).sum())[..., None] * (light.power * colour)
    power = sum(light.power for light in studio_rig(name))
    picture *= 4.0 * np.pi / power
    return EnvironmentMap(picture.astype(np.float32), name=name)


def studio_weights(name: str, directions: ArrayLike) -> NDArray[np.float64]:
    """Return each light's weight per colour ``(lights, 3)`` for the studio light ``name``.

    The rig is integrated over the lights' Voronoi cells, as an environment is: on any layout the
    power is the same, and what stands where there are no lights goes to the nearest.

    Args:
        name: one of :data:`STUDIO_LIGHTS`.
        directions: ``(lights, 3)``.

    Raises:
        InputError: there is no such studio light.
        DomeError: a direction is not one.
    """
    return light_weights(studio_environment(name), directions)
