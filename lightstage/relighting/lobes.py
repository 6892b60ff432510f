"""Weights that fade from light to light: a cosine lobe round each.

Light from a direction is shared among the lights near it, in proportion to a power of the cosine
of half the angle, ``((1 + cos) / 2) ** n``. Shares add up to 1 everywhere, so energy is conserved
for any map and layout; and they are smooth, so that a narrow sun glides from light to light as a
map turns, where a Voronoi cell hands it over in one step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.relighting.points import PointLights

#: A lobe's sigma in units of the lights' spacing; the width that benchmarks/relight_truth.py
#: favours: narrower ones jump, wider ones blur the light.
_SIGMA_PER_SPACING = 0.36
#: Points worked on at a time.
_BLOCK = 8192


def spacing_rad(directions: NDArray[np.float64]) -> float:
    """Return the median angle from a light to its nearest neighbour; pi for a single light."""
    if len(directions) < 2:
        return float(np.pi)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -1.0)
    return float(np.median(np.arccos(np.clip(cosines.max(axis=1), -1.0, 1.0))))


def lobe_weights(points: PointLights, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each light's share of the points' energy, ``(lights, 3)``.

    Args:
        points: the map's light.
        directions: ``(lights, 3)`` distinct unit vectors, in the map's picture.
    """
    # for small angles ((1 + cos) / 2) ** n is a Gaussian with sigma = sqrt(2 / n)
    power = 2.0 / (_SIGMA_PER_SPACING * spacing_rad(directions)) ** 2
    weights = np.zeros((len(directions), 3))
    for start in range(0, len(points.directions), _BLOCK):
        part = slice(start, start + _BLOCK)
        half = np.maximum(0.5 + 0.5 * (points.directions[part] @ directions.T), 1e-30)
        share = power * np.log(half)
        share = np.exp(share - share.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        weights += share.T @ points.energy[part]
    return weights
