"""Where lights stand as each pixel sees them: far away, or at a dome's finite distance.

A dome's lights are a metre and a bit away, a head is a quarter of a metre high: at the neck a light
stands 8 degrees from where the dome's centre sees it, and a third brighter or darker.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

#: The six different products of a vector's parts.
_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@dataclass(frozen=True, eq=False)
class LightRays:
    """Unit vectors to the lights, and sums over the lights of p pixels.

    Attributes:
        towards: ``(lights, 3)``, the same for all pixels, or ``(3, lights, p)``.
    """

    towards: Array

    @cached_property
    def _products(self) -> Array:
        return np.stack([self.towards[:, i] * self.towards[:, j] for i, j in _PAIRS])

    def dot(self, vectors: Array) -> Array:
        """Return the cosines ``(lights, p)`` between lights and unit vectors ``(3, p)``."""
        if self.towards.ndim == 2:
            return np.asarray(self.towards @ vectors, np.float32)
        x, y, z = self.towards
        return np.asarray(x * vectors[0] + y * vectors[1] + z * vectors[2], np.float32)

    def moments(self, weights: Array) -> Array:
        """Return the sums of ``weights`` (lights, p) times products of directions, ``(6, p)``."""
        if self.towards.ndim == 2:
            return np.asarray(self._products @ weights, np.float32)
        weighted = [part * weights for part in self.towards]
        return np.stack([(weighted[i] * self.towards[j]).sum(axis=0) for i, j in _PAIRS])

    def project(self, weights: Array) -> Array:
        """Return the sums of ``weights`` (lights, p) times the directions, ``(3, p)``."""
        if self.towards.ndim == 2:
            return np.asarray(self.towards.T @ weights, np.float32)
        return np.stack([(part * weights).sum(axis=0) for part in self.towards])


def rays_to(positions_m: ArrayLike, points_m: NDArray[np.floating]) -> tuple[LightRays, Array]:
    """Return the rays from points ``(p, 3)`` to lights at ``(lights, 3)``, both in metres.

    The second array, ``(lights, p)``, is each light's brightness at the point against that at the
    dome's centre, where its gain is defined: it falls with the square of the distance.
    """
    places = np.asarray(positions_m, np.float32)
    points = np.asarray(points_m, np.float32)
    gap = [places[:, k, None] - points[None, :, k] for k in range(3)]
    distance2 = np.maximum(gap[0] ** 2 + gap[1] ** 2 + gap[2] ** 2, np.float32(1e-6))
    inverse = 1.0 / np.sqrt(distance2)
    towards = np.stack([part * inverse for part in gap])
    falloff = (places**2).sum(axis=1, keepdims=True) / distance2
    return LightRays(towards.astype(np.float32)), np.asarray(falloff, np.float32)
