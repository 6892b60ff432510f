"""Studio lights: rigs that photographers and film crews know, as light on the sphere.

The rigs are the files of ``rigs/``; users write their own (:mod:`lightstage.relighting.rig`). Where
a rig has a key side, the key stands at **image left** (-X) and the fill or accent at image right;
turn or mirror the rig for the other.

Every rig gives the same power: its luminance, integrated over the sphere, is that of an
environment of radiance 1 everywhere (4 pi).
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.rig import Rig, StudioLight, load_rig, shipped_rigs
from lightstage.relighting.sphere import pixel_directions, pixel_solid_angles
from lightstage.relighting.weights import light_weights

#: Names of the studio lights, with a line about each.
STUDIO_LIGHTS: dict[str, str] = {name: rig.description for name, rig in shipped_rigs().items()}


def studio_rig(name: str | os.PathLike[str]) -> tuple[StudioLight, ...]:
    """Return the lights of the rig ``name``, or of a ``.toml`` file.

    Raises:
        InputError: there is none of that name; the text lists those there are.
    """
    return load_rig(name).lights


def studio_environment(rig: str | os.PathLike[str] | Rig, height: int = 256) -> EnvironmentMap:
    """Return a rig as an environment map, to look at, to turn, or to light with.

    Args:
        rig: its name, its file, or itself.
        height: rows of the map.

    Raises:
        InputError: there is no such rig.
    """
    return _drawn(rig if isinstance(rig, Rig) else load_rig(rig), height)


@lru_cache(maxsize=32)
def _drawn(rig: Rig, height: int) -> EnvironmentMap:
    directions = pixel_directions(height, 2 * height)
    solid_angles = pixel_solid_angles(height, 2 * height)
    picture = np.zeros((height, 2 * height, 3))
    for light in rig.lights:
        shape = _shape(light, directions @ light.direction, np.pi / height)
        # scaled by what the pixels make of it
        picture += (shape / (shape * solid_angles).sum())[..., None] * (
            light.power * rig.colour(light)
        )
    picture *= 4.0 * np.pi / sum(light.power for light in rig.lights)
    return EnvironmentMap(picture.astype(np.float32), name=rig.name or "studio light")


def _shape(
    light: StudioLight, cosine: NDArray[np.float64], pixel_rad: float
) -> NDArray[np.float64]:
    """Return a light's brightness by the cosine of the angle from its middle, at most 1."""
    if light.radius_deg >= 180.0:
        return np.ones_like(cosine)
    if light.shape == "soft":  # von Mises and Fisher's lobe, 1/e at the radius
        sharpness = 1.0 / (1.0 - np.cos(np.deg2rad(light.radius_deg)))
        return np.asarray(np.exp(sharpness * (cosine - 1.0)))
    # a disc with an edge one pixel wide
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    return np.asarray(np.clip((np.deg2rad(light.radius_deg) - angle) / pixel_rad + 0.5, 0.0, 1.0))


def studio_weights(rig: str | os.PathLike[str] | Rig, directions: ArrayLike) -> NDArray[np.float64]:
    """Return each light's weight per colour ``(lights, 3)`` for a studio light.

    The rig is integrated over the lights' Voronoi cells, as an environment is: on any layout the
    power is the same, and what stands where there are no lights goes to the nearest.

    Args:
        rig: one of :data:`STUDIO_LIGHTS`, a ``.toml`` file, or a rig.
        directions: ``(lights, 3)``.

    Raises:
        InputError: there is no such studio light.
        DomeError: a direction is not one.
    """
    return light_weights(studio_environment(rig), directions)
