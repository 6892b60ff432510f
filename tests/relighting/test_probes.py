"""Probes and cube crosses: each direction's light comes from where the layout's formula puts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightstage.errors import EnvironmentMapError
from lightstage.images import write_image
from lightstage.relighting import EnvironmentMap, load_environment, pixel_directions
from lightstage.relighting.probes import LAYOUTS, layout_of, to_latitude_longitude


def scene(direction):
    """Smooth light that tells every direction from every other."""
    x, y, z = np.moveaxis(direction, -1, 0)
    return np.stack([1.5 + x + 0.3 * y * z, 1.5 + y + 0.3 * x * x, 1.5 + z + 0.3 * x * y], axis=-1)


def disc(side):
    place = (np.arange(side) + 0.5) / side * 2 - 1
    return np.meshgrid(place, -place)


def angular_probe(side):
    # Debevec: (u, v) in [-1, 1]; turn (0, 0, -1) by pi r about +y, then about the axis
    u, v = disc(side)
    theta, phi = np.arctan2(v, u), np.pi * np.hypot(u, v)
    direction = np.stack(
        [np.sin(phi) * np.cos(theta), np.sin(phi) * np.sin(theta), -np.cos(phi)], axis=-1
    )
    return np.where((phi <= np.pi * 1.02)[..., None], scene(direction), 0)


def mirror_ball(side):
    # a ray down -Z is mirrored at the ball's normal: r = d - 2 (d . n) n
    x, y = disc(side)
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    normal = np.stack([x, y, z], axis=-1)
    down = np.array([0.0, 0.0, -1.0])
    mirrored = down - 2 * (normal @ down)[..., None] * normal
    return np.where((np.hypot(x, y) <= 1)[..., None], scene(mirrored), 0)


def cross(side, upright):
    """A cube seen from inside: each side drawn by turning the head, and folded out."""
    x, y = disc(side)
    ahead = np.stack([x, y, -np.ones_like(x)], axis=-1)

    def looking(turn_right, turn_up):
        # turn the head up about its own right, then right about the vertical
        c, s = np.cos(turn_up), np.sin(turn_up)
        up = ahead @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T
        c, s = np.cos(turn_right), np.sin(turn_right)
        turned = up @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]).T
        return scene(turned / np.linalg.norm(turned, axis=-1, keepdims=True))

    quarter = np.pi / 2
    picture = np.full((side * (4 if upright else 3), side * (3 if upright else 4), 3), np.nan)

    def put(column, row, face):
        picture[row * side : (row + 1) * side, column * side : (column + 1) * side] = face

    put(1, 0, looking(0, quarter))
    put(0, 1, looking(-quarter, 0))
    put(1, 1, looking(0, 0))
    put(2, 1, looking(quarter, 0))
    put(1, 2, looking(0, -quarter))
    if upright:
        put(1, 3, looking(0, -2 * quarter))  # over the bottom: upside down
    else:
        put(3, 1, looking(2 * quarter, 0))
    return picture


PICTURES = {
    "angular": angular_probe(256),
    "mirror-ball": mirror_ball(256),
    "cross-vertical": cross(64, True),
    "cross-horizontal": cross(64, False),
}


@pytest.mark.parametrize("layout", PICTURES)
def test_every_direction_gets_its_light(layout):
    height = 48
    drawn = to_latitude_longitude(PICTURES[layout], layout, height=height)
    directions = pixel_directions(height, 2 * height)
    off = np.abs(drawn - scene(directions)).max(axis=2)
    if layout == "mirror-ball":  # its rim shows what is behind the ball in less than a pixel
        off = off[directions[..., 2] > np.cos(np.deg2rad(165))]
    elif layout == "angular":
        off = off[directions[..., 2] < np.cos(np.deg2rad(4))]
    assert np.isfinite(drawn).all() or layout == "mirror-ball"
    assert off.max() < 0.03


@pytest.mark.parametrize("layout", PICTURES)
def test_the_integral_is_that_of_the_scene(layout):
    # x, y, z and their products integrate to 0, x^2 to 4 pi / 3
    environment = EnvironmentMap(to_latitude_longitude(PICTURES[layout], layout))
    expected = 4 * np.pi * np.array([1.5, 1.6, 1.5])
    np.testing.assert_allclose(environment.integral(), expected, rtol=0.01)


def test_shapes_tell_the_layout_but_squares_ask():
    assert layout_of(1024, 512, "a") == "latlong"
    assert layout_of(300, 400, "a") == "cross-vertical"
    assert layout_of(400, 300, "a") == "cross-horizontal"
    with pytest.raises(EnvironmentMapError, match=r"a\.hdr.*--layout angular or --layout mirror"):
        layout_of(512, 512, "a.hdr")
    with pytest.raises(EnvironmentMapError, match="is 500 x 300"):
        layout_of(500, 300, "a.hdr")


@pytest.mark.parametrize("layout", PICTURES)
def test_files_of_every_layout_load(tmp_path: Path, layout):
    path = tmp_path / "map.exr"
    write_image(path, np.nan_to_num(PICTURES[layout]).astype(np.float32))
    square = layout in ("angular", "mirror-ball")
    if square:
        with pytest.raises(EnvironmentMapError, match="--layout"):
            load_environment(path)
    environment = load_environment(path, layout if square else None)
    right = environment.sample([[1.0, 0, 0]])[0]
    np.testing.assert_allclose(right, scene(np.array([1.0, 0, 0])), atol=0.05)
    with pytest.raises(EnvironmentMapError, match="twice as wide"):
        load_environment(path, "latlong")


def test_an_unknown_layout_is_refused_with_those_there_are():
    with pytest.raises(EnvironmentMapError, match=", ".join(LAYOUTS)):
        to_latitude_longitude(np.ones((4, 8, 3)), "fisheye")  # type: ignore[arg-type]
