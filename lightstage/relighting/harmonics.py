"""Weights that meet a map's spherical harmonics.

The picture under a map is an integral of radiance times how the performer looks from each
direction. Where looks change slowly with the light's direction, they hold low spherical harmonics
only, and the sum over lights is exact if the weighted lights have the map's low harmonics:
``sum over l of w_l Y_k(direction_l) = integral of L Y_k`` for each harmonic ``Y_k`` up to an order.
There are more lights than harmonics; the weights taken are those nearest to the cosine lobes'
(least squares, lights counted by the part of the sphere they stand for), so that what lies above
that order is not left to chance.

Weights may be negative next to a strong narrow light. On a dome with gaps some mixtures of
harmonics cannot be seen by its lights; they are left as the lobes have them. The integral, the
harmonic of order 0, is always met.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import sph_harm_y

from lightstage.relighting.cells import EnergyPyramid, cells_for
from lightstage.relighting.lobes import lobe_weights
from lightstage.relighting.points import PointLights

#: Harmonics to a light: at more, the weights fight each other.
_HARMONICS_PER_LIGHT = 0.52
#: Above this order a dome's lights show nothing that lobes miss, and moments take long.
_HIGHEST_ORDER = 10
#: Mixtures of harmonics that the lights see less than this (1 on a whole, dense dome) are left out.
_LEAST_SEEN = 0.15


def harmonics(directions: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Return the real, orthonormal spherical harmonics, ``(n, (order + 1) ** 2)``.

    The pole is +Y, longitude is measured from +Z towards +X; columns go by degree, then from
    ``m = -degree`` to ``degree``.
    """
    x, y, z = directions.T
    theta, phi = np.arccos(np.clip(y, -1.0, 1.0)), np.arctan2(x, z)
    columns = []
    for degree in range(order + 1):
        for m in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(m), theta, phi)
            if m:
                value = np.sqrt(2.0) * (value if m > 0 else value * -1j)
            columns.append(value.real)
    return np.stack(columns, axis=1)


def default_order(lights: int) -> int:
    """Return the order that a number of lights can meet with ease: 6 for 96 lights."""
    order = int(np.sqrt(_HARMONICS_PER_LIGHT * lights)) - 1
    return int(np.clip(order, 0, _HIGHEST_ORDER))


@lru_cache(maxsize=8)
def _moments(points: PointLights, order: int) -> NDArray[np.float64]:
    total = np.zeros(((order + 1) ** 2, 3))
    for start in range(0, len(points.directions), 8192):
        part = slice(start, start + 8192)
        total += harmonics(points.directions[part], order).T @ points.energy[part]
    return total


@lru_cache(maxsize=16)
def _cell_areas(directions: bytes) -> NDArray[np.float64]:
    even = EnergyPyramid(np.ones((64, 128, 3), dtype=np.float32))
    return cells_for(64, 128, directions).integrate(even)[:, 0]


def cell_areas(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the solid angle that is nearest to each light, ``(lights,)``; they make 4 pi.

    Rotations do not change it: ask in world directions, and the answer comes from a cache.
    """
    return _cell_areas(directions.tobytes())


def harmonic_weights(
    points: PointLights,
    directions: NDArray[np.float64],
    area: NDArray[np.float64],
    order: int | None = None,
) -> NDArray[np.float64]:
    """Return weights ``(lights, 3)`` with the map's low harmonics; their sum is its integral.

    Args:
        points: the map's light.
        directions: ``(lights, 3)`` distinct unit vectors, in the map's picture.
        area: ``(lights,)`` solid angle that each light stands for; see :func:`cell_areas`.
        order: highest degree that is met; :func:`default_order` unless given.
    """
    order = default_order(len(directions)) if order is None else order
    start = lobe_weights(points, directions)
    basis = harmonics(directions, order)
    missing = _moments(points, order) - basis.T @ start
    seen, mixture = np.linalg.eigh(basis.T @ (area[:, None] * basis))
    inverse = np.divide(1.0, seen, out=np.zeros_like(seen), where=seen > _LEAST_SEEN)
    change = area[:, None] * (basis @ (mixture @ (inverse[:, None] * (mixture.T @ missing))))
    # what was left out may have held a little of order 0
    change -= area[:, None] / area.sum() * change.sum(axis=0)
    return np.asarray(start + change)
