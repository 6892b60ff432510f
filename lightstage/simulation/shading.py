"""Light on the head's vertices: diffuse and rough specular under lights at finite distance.

All that depends on a light is computed at the vertices and interpolated to pixels, which is linear:
so a picture under all lights is the sum of the pictures under each, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.simulation.horizon import PENUMBRA, SECTORS, Horizons, sector, tangents

Array = NDArray[np.float32]

#: How far light wraps round the terminator in skin, per colour: red travels farthest.
WRAP = (0.10, 0.035, 0.02)
#: Distance at which a light's brightness is that of its gain.
REFERENCE_DISTANCE_M = 1.3


@dataclass(frozen=True, eq=False)
class Surface:
    """Vertices to be lit: ``position``, ``normal`` (n, 3) in world metres; ``first``, ``second``
    tangents (n, 3); ``horizon`` (n, SECTORS + 1); ``roughness``, ``specular`` (n,); ``soften``
    sparse (n, n).
    """  # noqa: D205

    position: Array
    normal: Array
    first: Array
    second: Array
    horizon: Array
    roughness: Array
    specular: Array
    soften: Any


def surface_of(
    vertices: Array, normals: Array, horizons: Horizons, roughness: Array, specular: Array,
    members: NDArray[np.int64],
) -> Surface:  # fmt: skip
    """Return the surface at the vertices ``members``."""
    position, normal = vertices[members], normals[members]
    first, second = tangents(position, normal, vertices[horizons.towards[members]])
    return Surface(
        position, normal, first, second, horizons.sine[members], roughness[members],
        specular[members], horizons.soften[members][:, members],
    )  # fmt: skip


def shade(
    surface: Surface, lights_m: NDArray[np.floating], camera_m: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Return what each light of unit brightness gives to each vertex.

    Args:
        surface: n vertices.
        lights_m: ``(lights, 3)`` places in metres.
        camera_m: ``(3,)`` the camera's place in metres.

    Returns:
        diffuse ``(3, n, lights)``, to be multiplied by the albedo, and specular ``(n, lights)``.
        An unshadowed white wall at 1.3 m facing its light has diffuse 1.
    """
    p, n = surface.position, surface.normal
    lights = np.asarray(lights_m, np.float32)
    reach2 = _dot(np.float32(-2.0) * p, lights, (p**2).sum(axis=1)) + (lights**2).sum(axis=1)
    inverse = 1.0 / np.sqrt(reach2)
    cosine = _towards(n, p, lights) * inverse
    falloff = (REFERENCE_DISTANCE_M * inverse) ** 2
    turn = sector(_towards(surface.first, p, lights), _towards(surface.second, p, lights))
    # a shadow's edge is smoother than the mesh: each vertex takes its neighbours' mean
    seen = surface.soften @ _above_horizon(surface.horizon, turn, cosine)
    lit = falloff * seen
    diffuse = np.empty((3, *cosine.shape), np.float32)
    for channel, wrap in enumerate(WRAP):
        np.maximum(
            (cosine + np.float32(wrap)) * np.float32(1.0 / (1.0 + wrap)), 0.0, out=diffuse[channel]
        )
        diffuse[channel] *= lit
    return diffuse, _specular(surface, lights, camera_m, cosine, inverse) * lit


def _towards(axis: Array, p: Array, lights: Array) -> Array:
    """Return ``axis . (light - p)`` for each vertex and light, ``(n, lights)``."""
    return _dot(axis, lights, -(axis * p).sum(axis=1))


def _dot(a: Array, b: Array, start: Array) -> Array:
    """Return ``a . b + start`` for all pairs, ``(n, lights)``.

    Not a matrix product: with three terms that is no quicker, and its threads fight over cores.
    """
    total = a[:, 0, None] * b[:, 0]
    total += start[:, None]
    total += a[:, 1, None] * b[:, 1]
    total += a[:, 2, None] * b[:, 2]
    return np.asarray(total, np.float32)


def _above_horizon(horizon: Array, turn: Array, cosine: Array) -> Array:
    """Return how much of each light stands above each vertex's horizon, 0 to 1."""
    whole = turn.astype(np.int32)
    part = turn - whole.astype(np.float32)
    flat = whole + (np.arange(len(turn), dtype=np.int32) * (SECTORS + 1))[:, None]
    low = horizon.ravel().take(flat)
    flat += 1
    high = horizon.ravel().take(flat)
    edge = low + part * (high - low)
    t = np.clip((cosine - edge) * np.float32(1.0 / PENUMBRA) + 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def _specular(
    surface: Surface, lights: Array, camera_m: NDArray[np.floating], cosine: Array, inverse: Array
) -> Array:
    """Return GGX reflectance times the cosine, over pi to match the diffuse term's unit.

    Visibility term of Kelemen and Szirmay-Kalos 2001, Fresnel term of Schlick 1994.
    """
    p, n = surface.position, surface.normal
    view = np.asarray(camera_m, np.float32) - p
    view = view / np.sqrt((view**2).sum(axis=1, keepdims=True))
    facing = np.maximum((n * view).sum(axis=1), 0.0)[:, None]
    along = _towards(view, p, lights) * inverse
    half2 = np.maximum(0.5 * (1.0 + along), np.float32(0.02))  # (light . half)^2
    halfway2 = (np.maximum(cosine, 0.0) + facing) ** 2 / (4.0 * half2)  # (normal . half)^2
    alpha2 = (surface.roughness**4)[:, None]
    base = np.minimum(halfway2, 1.0) * (alpha2 - 1.0) + 1.0
    grazing = 1.0 - np.sqrt(half2)
    squared = grazing * grazing
    f0 = surface.specular[:, None]
    # a rough surface never turns into a mirror
    rise = np.float32(0.35) * (1.0 - surface.roughness)[:, None]
    fresnel = f0 + rise * squared * squared * grazing
    lobe = alpha2 / (base * base)  # pi D; the diffuse term leaves its 1 / pi out too
    # skin's microscopic relief shades itself at grazing angles, where this term would blow up
    shadowing = np.float32(0.25) / np.maximum(half2, np.float32(0.22))
    return np.asarray(lobe * fresnel * np.maximum(cosine, 0.0) * shadowing, np.float32)
