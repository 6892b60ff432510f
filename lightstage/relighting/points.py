"""An environment as points of light: what kernels wider than a degree or two need of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import LUMINANCE_REC709
from lightstage.relighting.sphere import pixel_directions, row_solid_angles

#: Rows that are enough: blocks of at most 4 degrees, mostly 2.8, each where its light's centre is.
ROWS = 64
#: Rows below which a pixel is so large that it is split.
_FEWEST_ROWS = 64


@dataclass(frozen=True, eq=False)
class PointLights:
    """Points that together are a map's light.

    Attributes:
        directions: ``(n, 3)`` unit vectors in the map's picture.
        energy: ``(n, 3)`` integral of radiance over the solid angle that each stands for; they
            add up to the map's integral.
    """

    directions: NDArray[np.float64]
    energy: NDArray[np.float64]


def point_lights(radiance: NDArray[np.floating]) -> PointLights:
    """Return the light of a picture ``(height, width, 3)``, block by block; dark blocks are out.

    A block's point stands at the centre of its light, so that a sun smaller than a block lies
    where it was.
    """
    height = radiance.shape[0]
    finer = max(1, -(-_FEWEST_ROWS // height))
    if finer > 1:
        radiance = radiance.repeat(finer, axis=0).repeat(finer, axis=1)
    height, width = radiance.shape[:2]
    side = max(1, height // ROWS)
    solid_angles = row_solid_angles(height, width)
    columns = np.arange(0, width, side)
    energy, towards = [], []
    for top in range(0, height, side):  # by strips, or a large map would need its size again
        rows = slice(top, min(top + side, height))
        light = radiance[rows] * solid_angles[rows, None, None]
        brightness = light @ LUMINANCE_REC709.astype(np.float64)
        directions = pixel_directions(height, width, rows)
        energy.append(np.add.reduceat(light.sum(axis=0), columns, axis=0))
        moment = (brightness[..., None] * directions).sum(axis=0)
        towards.append(np.add.reduceat(moment, columns, axis=0))
    energies, moments = np.concatenate(energy), np.concatenate(towards)
    length = np.linalg.norm(moments, axis=1)
    # a block of pure colour has luminance too: only black has none
    lit = (energies > 0).any(axis=1) & (length > 0)
    return PointLights(moments[lit] / length[lit, None], energies[lit])
