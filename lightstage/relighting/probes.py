"""Layouts of the whole sphere in a picture, converted to latitude-longitude.

All look from the performer's place with the camera's axes: +X is image right, +Y up, and the
middle of a layout that has one is -Z, what the camera sees behind the performer.

``latlong``
    twice as wide as high (:mod:`lightstage.relighting.sphere`).
``angular``
    a light probe (P. Debevec, *Light Probe Image Gallery*): a disc in a square; the angle from -Z
    grows in proportion to the distance from the middle, up to 180 degrees at the rim.
``mirror-ball``
    a photograph of a mirror ball from afar (orthographic), taken from the camera's side and cropped
    to the ball: the middle shows the camera (+Z), the rim what is behind the ball (-Z), where a
    photograph has next to no pixels.
``cross-vertical``, ``cross-horizontal``
    a cube's six sides, folded out: up above, down below the side of -Z, left and right beside it;
    +Z is at the far right of the horizontal cross, upside down at the foot of the vertical one.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import EnvironmentMapError
from lightstage.relighting.sphere import direction_of

Layout = Literal["latlong", "angular", "mirror-ball", "cross-vertical", "cross-horizontal"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

#: Width to height of each layout.
_SHAPES: dict[Layout, tuple[int, int]] = {
    "latlong": (2, 1),
    "angular": (1, 1),
    "mirror-ball": (1, 1),
    "cross-vertical": (3, 4),
    "cross-horizontal": (4, 3),
}
#: Samples a side per pixel of the result.
_OVERSAMPLING = 2

_Vector = tuple[int, int, int]
#: Each side of the cube: the way it looks, what is to its right and up in the picture, and its
#: column and row in either cross.
_SIDES: dict[str, tuple[_Vector, _Vector, _Vector, tuple[int, int]]] = {
    "up": ((0, 1, 0), (1, 0, 0), (0, 0, 1), (1, 0)),
    "left": ((-1, 0, 0), (0, 0, -1), (0, 1, 0), (0, 1)),
    "middle": ((0, 0, -1), (1, 0, 0), (0, 1, 0), (1, 1)),
    "right": ((1, 0, 0), (0, 0, 1), (0, 1, 0), (2, 1)),
    "down": ((0, -1, 0), (1, 0, 0), (0, 0, -1), (1, 2)),
}
_BACK: dict[Layout, tuple[_Vector, _Vector, _Vector, tuple[int, int]]] = {
    "cross-vertical": ((0, 0, 1), (1, 0, 0), (0, -1, 0), (1, 3)),
    "cross-horizontal": ((0, 0, 1), (-1, 0, 0), (0, 1, 0), (3, 1)),
}


def layout_of(width: int, height: int, name: str) -> Layout:
    """Return the only layout that a picture of this shape can have.

    Raises:
        EnvironmentMapError: several can, as all squares, or none.
    """
    fitting = [
        layout for layout, (across, down) in _SHAPES.items() if width * down == height * across
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise EnvironmentMapError(
            f"{name}: a square map ({width} x {height}) may be a light probe or a photograph of a "
            f"mirror ball; say which with --layout angular or --layout mirror-ball."
        )
    raise EnvironmentMapError(
        f"{name}: is {width} x {height}. An environment map is twice as wide as high "
        f"(latitude-longitude), square (mirror ball), 3:4 or 4:3 (cube cross); crop it to that."
    )


def to_latitude_longitude(
    picture: NDArray[np.floating], layout: Layout, *, height: int | None = None, name: str = "map"
) -> NDArray[np.float32]:
    """Return a picture of any layout as ``(height, 2 height, 3)`` radiance.

    Args:
        picture: ``(rows, columns, 3)`` linear radiance; parts that the layout does not use may
            hold anything.
        layout: how the sphere lies in it.
        height: rows of the result; as fine as the picture unless given.
        name: what the picture is called in messages.

    Raises:
        EnvironmentMapError: there is no such layout, or the picture's shape is not that layout's.
    """
    if layout not in LAYOUTS:
        known = ", ".join(LAYOUTS)
        raise EnvironmentMapError(f"there is no layout {layout!r} of maps (there are: {known}).")
    rows, columns = picture.shape[:2]
    across, down = _SHAPES[layout]
    if rows * across != columns * down:
        raise EnvironmentMapError(
            f"{name}: a map in layout {layout} is {across}:{down}, this one is {columns} x {rows}; "
            f"crop it to that, or choose another --layout."
        )
    picture = np.ascontiguousarray(picture, dtype=np.float32)
    if layout == "latlong":
        return picture
    if height is None:
        # a quarter turn gets the pixels it has in the picture: half a probe's side, one cube side
        height = rows if layout in ("angular", "mirror-ball") else 2 * rows // down
    result = np.empty((height, 2 * height, 3), np.float32)
    fine = _OVERSAMPLING
    u = (np.arange(2 * height * fine) + 0.5) / (2 * height * fine)
    step = max(1, 4096 // (height * fine))  # rows at a time, so that memory stays small
    for top in range(0, height, step):
        strip = slice(top, min(top + step, height))
        v = (np.arange(strip.start * fine, strip.stop * fine) + 0.5) / (height * fine)
        samples = _sampled(picture, direction_of(u[None, :], v[:, None]), layout)
        shape = (strip.stop - strip.start, fine, 2 * height, fine, 3)
        result[strip] = samples.reshape(shape).mean(axis=(1, 3))
    return result


def _sampled(
    picture: NDArray[np.float32], direction: NDArray[np.float64], layout: Layout
) -> NDArray[np.float32]:
    """Return the picture's radiance ``(..., 3)`` in directions ``(..., 3)``."""
    if layout in ("angular", "mirror-ball"):
        x, y = _on_disc(direction, layout)
        side = picture.shape[0]
        return _bilinear(picture, (x + 1.0) * side / 2.0 - 0.5, (1.0 - y) * side / 2.0 - 0.5)
    side = picture.shape[0] // _SHAPES[layout][1]
    sides = [*_SIDES.values(), _BACK[layout]]
    ahead = np.stack([direction @ np.array(axis, dtype=float) for axis, *_ in sides], axis=-1)
    facing = ahead.argmax(axis=-1)
    result = np.empty((*direction.shape[:-1], 3), np.float32)
    for number, (axis, right, up, (column, row)) in enumerate(sides):
        here = facing == number
        if not here.any():
            continue
        towards = direction[here]
        depth = towards @ np.array(axis, dtype=float)
        x = (towards @ np.array(right, dtype=float) / depth + 1.0) * side / 2.0 - 0.5
        y = (1.0 - towards @ np.array(up, dtype=float) / depth) * side / 2.0 - 0.5
        # one side alone: its neighbour in the cross may be blank
        face = picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
        result[here] = _bilinear(face, x[None], y[None])[0]
    return result


def _on_disc(
    direction: NDArray[np.float64], layout: Layout
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where directions lie on a ball's disc, right and up, both in [-1, 1]."""
    x, y, z = np.moveaxis(direction, -1, 0)
    if layout == "angular":
        away = np.hypot(x, y)
        radius = np.arctan2(away, -z) / np.pi
        scale = radius / np.maximum(away, 1e-12)
        return x * scale, y * scale
    # the ball's normal is halfway between the direction and the way to the camera
    length = np.sqrt(np.maximum(2.0 + 2.0 * z, 1e-12))
    return x / length, y / length


def _bilinear(
    picture: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the picture at pixel places; beyond its edge is its edge."""
    drawn = np.empty((*x.shape, 3), np.float32)
    for left in range(0, x.shape[1], 16384):  # OpenCV's sides are short
        part = slice(left, left + 16384)
        drawn[:, part] = cv2.remap(
            np.ascontiguousarray(picture),
            x[:, part].astype(np.float32),
            y[:, part].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ).reshape(x.shape[0], -1, 3)
    return drawn
