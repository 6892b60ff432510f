"""The neck and the shoulders: rings down from the head, then a shirt with a round collar."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lightstage.head import sculpture
from lightstage.head.parts import Array, Builder, strip, unit
from lightstage.head.sculpture import CORE_M

#: Below this height rings round the neck make the mesh.
NECK_TOP_M = -0.1125
#: Points of a ring, from the front round the subject's left; even, so that the back has one too.
NECK_POINTS = 60
_SKIN_ROWS, _SHIRT_ROWS = 8, 12
#: The collar's height in front and at the back, how thick it is and how far it stands off.
_COLLAR_FRONT_M, _COLLAR_BACK_M = -0.1545, -0.1290
_COLLAR_M = 0.0022
_AXIS_Z_M = -0.030
_HALF_SHOULDERS_M = 0.099


def neck_ring(heights: NDArray[np.floating], swell_m: float = 0.0) -> Array:
    """Return the points round the neck at ``heights`` (NECK_POINTS,), metres, mirror-symmetric.

    ``swell_m`` is how far they stand off the skin, sideways.
    """
    half = NECK_POINTS // 2 + 1
    t = np.linspace(0.0, np.pi, half)
    out = np.column_stack([np.sin(t), np.zeros(half), np.cos(t)]).astype(np.float32)
    out[[0, -1], 0] = 0.0
    axis = np.column_stack([np.zeros(half), heights[:half], np.full(half, _AXIS_Z_M)])
    axis = axis.astype(np.float32)
    ring = sculpture.march(axis + np.float32(0.15) * out, -out, 0.15) + np.float32(swell_m) * out
    # arms are left out: what is wider than the camera's picture only costs time
    ring[:, 0] = np.minimum(ring[:, 0], _HALF_SHOULDERS_M)
    mirrored = ring[-2:0:-1] * np.array([-1, 1, 1], np.float32)
    return np.asarray(np.concatenate([ring, mirrored]), np.float32)


def add_neck(builder: Builder, skin: Array, loop: NDArray[np.int64]) -> Array:
    """Add what hangs on the ring ``loop`` of the skin; return the skin's directions ``(n, 3)``."""
    turn = np.linspace(0.0, 2.0 * np.pi, NECK_POINTS, endpoint=False)
    back = 0.5 - 0.5 * np.cos(turn)
    collar = _COLLAR_FRONT_M + (_COLLAR_BACK_M - _COLLAR_FRONT_M) * back
    top = np.full(NECK_POINTS, NECK_TOP_M)
    shares = np.linspace(0.0, 1.0, _SKIN_ROWS + 1)[1:]
    # the last row goes on under the shirt
    rows = [neck_ring(top + share * (collar - 0.004 - top)) for share in shares]
    first = builder.add("skin", np.concatenate(rows))
    index = [loop] + [first + k * NECK_POINTS + np.arange(NECK_POINTS) for k in range(len(rows))]
    outline = skin[loop]
    directions = [_direction(outline, row) for row in rows]

    end = np.full(NECK_POINTS, sculpture.NECK_END_M)
    cloth = [
        neck_ring(collar - 0.003, -0.0006),
        neck_ring(collar, 0.0004),
        neck_ring(collar, _COLLAR_M),
    ]
    for share in (0.07, 0.11, *np.linspace(0.2, 1.0, _SHIRT_ROWS)):
        swell = _COLLAR_M if share < 0.1 else 0.6 * _COLLAR_M
        cloth.append(neck_ring(collar + share * (end - collar), swell))
    down = np.repeat(np.linspace(0.0, 1.0, len(cloth)), NECK_POINTS)
    local = np.column_stack([np.full(len(down), 0.07), 0.05 + 0.9 * down]).astype(np.float32)
    first = builder.add("shirt", np.concatenate(cloth), local=local)
    cloth_index = [first + k * NECK_POINTS + np.arange(NECK_POINTS) for k in range(len(cloth))]
    for strips in (index, cloth_index):
        for upper, lower in pairwise(strips):
            builder.faces.append(strip(upper, lower))
    return np.concatenate(directions)


def _direction(outline: Array, row: Array) -> Array:
    """Return where a row of the neck lies in the skin's texture, as directions from the core.

    As if the neck widened slower than a ray from the core does on its way down, so that no two
    rows lie on one another.
    """
    deep = (CORE_M[1] - row[:, 1]) / (CORE_M[1] - NECK_TOP_M)
    wide = deep**0.7
    return unit((outline - CORE_M) * np.column_stack([wide, deep, wide]))
