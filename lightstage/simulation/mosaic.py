"""What a Bayer sensor gets of the performer: one colour a pixel, and nothing computed in vain.

The picture of :func:`render.render_sum` behind a colour filter, for about a third of its cost: each
sub-pixel is lit and looked up in the texture for its own pixel's colour only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.dome import Dome
from lightstage.simulation.render import SUPERSAMPLING, Scene, light_gains
from lightstage.simulation.sensor import Cfa, filter_colours

Array = NDArray[np.float32]

#: Samples worked on at a time: they stay in the processor's cache, and OpenCV's sides are short.
_BLOCK = 32000


def render_mosaic(
    scene: Scene,
    dome: Dome,
    lights: Sequence[int],
    gains: ArrayLike | None = None,
    cfa: Cfa = "GBRG",
) -> Array:
    """Return the noise-free mosaic ``(height, width)`` with ``lights`` on together.

    Args:
        scene: the performer and the camera.
        dome: where the lights are.
        lights: indices into the dome; with none the mosaic is black.
        gains: ``(lights, 3)`` or a scalar brightness of each; ``None`` = the dome's own gains.
        cfa: colours of the top row's first two pixels, then the second row's.

    Returns:
        Linear float32 in units of the sensor's white level, not clipped: to rounding
        ``SimulatedSensor.mosaic(render_sum(...))``.
    """
    camera, n = scene.camera, SUPERSAMPLING
    chosen = list(lights)
    if not chosen:
        return np.zeros((camera.height, camera.width), np.float32)
    places, gain = dome.positions_m[chosen], light_gains(dome, chosen, gains)
    colours = filter_colours(cfa)
    behind = (scene.curtain(places) @ gain).astype(np.float32)[colours]
    mosaic = _tiled(behind, camera.height, camera.width)
    window = scene.fragments
    if len(window.pixel) == 0:
        return mosaic
    light = scene.vertex_sum(places, gain)
    top, left = window.top // n, window.left // n
    # the filter as the window's own samples see it: it may begin in any row and column
    colours = np.roll(colours, (-(top % 2), -(left % 2)), axis=(0, 1)).repeat(n, 0).repeat(n, 1)
    behind = np.roll(behind, (-(top % 2), -(left % 2)), axis=(0, 1)).repeat(n, 0).repeat(n, 1)
    fine = _tiled(behind, window.height, window.width)
    _light_samples(scene, light, _tiled(colours, window.height, window.width), fine)
    size = (window.width // n, window.height // n)
    mosaic[top : top + size[1], left : left + size[0]] = cv2.resize(
        fine, size, interpolation=cv2.INTER_AREA
    )
    return mosaic


def _light_samples(scene: Scene, light: Array, colours: NDArray[np.intp], fine: Array) -> None:
    """Write each sample's value of its own colour into ``fine`` (height, width) of the window."""
    from scipy.sparse import csr_array

    vertices, model = len(scene.vertices), scene.model
    # one row for each colour of each vertex: place in that colour's texture, diffuse, specular
    table = np.empty((3, vertices, 4), np.float32)
    table[:, :, :2] = model.texel
    table[:, :, 1] += model.colour_rows[:, None]
    table[:, :, 2] = light[:, :3].T
    table[:, :, 3] = light[:, 3:].T
    rows = table.reshape(-1, 4)
    into, first_row = fine.reshape(-1), (colours * vertices).astype(np.int32).reshape(-1)
    fragments = scene.fragments
    ends = np.arange(0, 3 * _BLOCK + 1, 3, dtype=np.int32)
    for start in range(0, len(fragments.pixel), _BLOCK):
        block = slice(start, start + _BLOCK)
        pixel, weights = fragments.pixel[block], fragments.weights[block]
        corners = fragments.faces.take(fragments.face[block], axis=0)
        corners += first_row.take(pixel)[:, None]
        mixing = csr_array(
            (weights.ravel(), corners.ravel(), ends[: len(pixel) + 1]),
            shape=(len(pixel), len(rows)),
        )
        u, v, diffuse, specular = np.ascontiguousarray((mixing @ rows).T)
        albedo = cv2.remap(
            model.colour_planes, u[None], v[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        diffuse *= albedo[0]
        diffuse += specular
        into[pixel] = diffuse


def _tiled(cell: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return a picture ``(height, width)`` that repeats ``cell``."""
    rows, columns = cell.shape
    across = np.tile(cell, (1, -(-width // columns)))[:, :width]
    return np.tile(across, (-(-height // rows), 1))[:height]
