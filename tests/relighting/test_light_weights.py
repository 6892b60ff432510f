"""The weights of lights: energy, geometry, agreement with brute force."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial import SphericalVoronoi

from lightstage import Dome
from lightstage.errors import DomeError, EnvironmentMapError, InputError
from lightstage.relighting import (
    EnvironmentMap,
    divide_by_gains,
    light_weights,
    rotation_sweep,
)

DOME = Dome.evenly_spread(96).directions


def nearest_light_sums(picture, directions, height=1024):
    """Brute force, of its own making: each pixel of an enlarged map to its nearest light."""
    rows, columns = picture.shape[:2]
    width = 2 * height
    v0 = np.arange(height) / height * np.pi
    phi = ((np.arange(width) + 0.5) / width * 2 - 1) * np.pi
    sums = np.zeros((len(directions), 3))
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for row in range(height):
        theta = v0[row] + np.pi / height / 2
        towards = np.array(
            [
                np.sin(theta) * np.sin(phi),
                np.full(width, np.cos(theta)),
                -np.sin(theta) * np.cos(phi),
            ]
        )
        nearest = (unit @ towards).argmax(axis=0)
        area = (np.cos(v0[row]) - np.cos(v0[row] + np.pi / height)) * 2 * np.pi / width
        light = picture[row * rows // height, np.arange(width) * columns // width]
        for channel in range(3):
            sums[:, channel] += np.bincount(
                nearest, light[:, channel] * area, minlength=len(directions)
            )
    return sums


def integral(picture):
    height, width = picture.shape[:2]
    edges = np.cos(np.linspace(0, np.pi, height + 1))
    area = -np.diff(edges) * 2 * np.pi / width
    return (picture.astype(np.float64) * area[:, None, None]).sum(axis=(0, 1))


def random_directions(seed, count):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(
    seed=st.integers(0, 2**32 - 1),
    lights=st.integers(1, 120),
    height=st.integers(2, 70),
    layout=st.sampled_from(["sphere", "front half", "one circle", "one spot", "doubled"]),
    rotation=st.floats(-720, 720),
)
@settings(max_examples=60)
@example(seed=0, lights=96, height=2, layout="sphere", rotation=0.0)
@example(seed=0, lights=3, height=64, layout="one circle", rotation=0.0)
def test_weights_add_up_to_the_integral_for_any_map_and_layout(
    seed, lights, height, layout, rotation
):
    rng = np.random.default_rng(seed)
    picture = rng.lognormal(0, 3, size=(height, 2 * height, 3)).astype(np.float32)
    directions = random_directions(seed, lights)
    if layout == "front half":
        directions[:, 2] = np.abs(directions[:, 2])
    elif layout == "one circle":
        angle = np.arange(lights) / lights * 2 * np.pi
        directions = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    elif layout == "one spot":
        directions = np.array([0, 0, 1.0]) + 1e-3 * directions
    elif layout == "doubled":
        directions = np.concatenate([directions, directions[: (lights + 1) // 2]])
    weights = light_weights(EnvironmentMap(picture).rotated(rotation), directions)
    assert weights.shape == (len(directions), 3)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=0), integral(picture), rtol=1e-6)


@pytest.mark.parametrize("height", [2, 3, 16, 50, 256, 512])
@pytest.mark.parametrize("lights", [4, 7, 24, 96])
def test_an_even_map_gives_each_light_the_area_of_its_voronoi_cell(lights, height):
    directions = random_directions(lights, lights)
    areas = SphericalVoronoi(directions).calculate_areas()
    weights = light_weights(np.ones((height, 2 * height, 3)), directions)
    # errors come from where three cells meet within a leaf: parts of a leaf's 1e-5 sr
    np.testing.assert_allclose(weights, np.repeat(areas[:, None], 3, 1), rtol=1e-3, atol=5e-6)


@pytest.mark.parametrize("height", [512, 16])
@pytest.mark.parametrize("name", ["studio", "sunset"])
def test_real_maps_agree_with_brute_force(shared_data: Path, name, height):
    picture = cv2.imread(str(shared_data / "hdri" / f"{name}.hdr"), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    picture = cv2.resize(picture[..., ::-1], (2 * height, height), interpolation=cv2.INTER_AREA)
    brute = nearest_light_sums(picture, DOME)
    off = np.abs(light_weights(picture, DOME) - brute).sum(axis=0) / brute.sum(axis=0)
    # brute force itself is out by its pixels along the edges: at 2048 x 1024 up to 0.1 %
    assert off.max() < 0.002


def test_a_map_of_few_pixels_agrees_with_brute_force_on_a_half_dome():
    picture = np.random.default_rng(1).lognormal(0, 2, (4, 8, 3)).astype(np.float32)
    front = DOME[DOME[:, 2] > 0.1]
    brute = nearest_light_sums(picture, front)
    off = np.abs(light_weights(picture, front) - brute).sum(axis=0) / brute.sum(axis=0)
    assert off.max() < 0.002


def test_one_bright_pixel_lights_only_the_nearest_light():
    picture = np.zeros((64, 128, 3), np.float32)
    row, column = 20, 90
    picture[row, column] = (1, 2, 3)
    theta, phi = (row + 0.5) / 64 * np.pi, ((column + 0.5) / 128 - 0.5) * 2 * np.pi
    towards = [np.sin(theta) * np.sin(phi), np.cos(theta), -np.sin(theta) * np.cos(phi)]
    directions = np.array([towards, *DOME[np.degrees(np.arccos(DOME @ towards)) > 6]])
    weights = light_weights(picture, directions)
    assert weights[0].min() > 0
    assert (weights[1:] == 0).all()


@pytest.mark.parametrize(
    ("u", "v", "direction"),
    [
        (0.75, 0.5, (1, 0, 0)),
        (0.25, 0.5, (-1, 0, 0)),
        (0.5, 0.5, (0, 0, -1)),
        (0.0, 0.5, (0, 0, 1)),
        (0.3, 0.0, (0, 1, 0)),
        (0.3, 0.99, (0, -1, 0)),
    ],
)
def test_the_map_lies_on_the_sphere_as_the_design_says(u, v, direction):
    six = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    picture = np.zeros((64, 128, 3), np.float32)
    picture[min(int(v * 64), 63), int(u * 128)] = 1
    lit = light_weights(picture, six).sum(axis=1)
    assert tuple(six[lit.argmax()]) == direction
    assert np.count_nonzero(lit) == 1


def test_turning_by_whole_pixels_equals_rolling_the_picture():
    picture = np.random.default_rng(2).lognormal(0, 1, (32, 64, 3)).astype(np.float32)
    for pixels in (1, 5, 32, 63):
        turned = light_weights(EnvironmentMap(picture).rotated(360 / 64 * pixels), DOME)
        rolled = light_weights(np.roll(picture, pixels, axis=1), DOME)
        np.testing.assert_allclose(turned, rolled, rtol=3e-4)  # both within 1.5e-4 of exact


def test_turning_there_and_back_changes_nothing():
    environment = EnvironmentMap(np.random.default_rng(3).random((32, 64, 3)))
    back = environment.rotated(77.7).rotated(-77.7)
    np.testing.assert_allclose(
        light_weights(back, DOME), light_weights(environment, DOME), rtol=1e-9
    )


def test_a_quarter_turn_brings_what_is_behind_the_performer_to_image_right():
    picture = np.zeros((64, 128, 3), np.float32)
    picture[31:33, 63:65] = 1
    six = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    weights = light_weights(EnvironmentMap(picture).rotated(90), six)
    assert weights.sum(axis=1).argmax() == 0


def test_a_sweep_of_a_whole_turn_starts_as_is_and_loops():
    environment = EnvironmentMap(np.random.default_rng(4).random((16, 32, 3)))
    frames = list(rotation_sweep(environment, DOME, 4))
    assert len(frames) == 4
    np.testing.assert_array_equal(frames[0], light_weights(environment, DOME))
    np.testing.assert_allclose(frames[1], light_weights(environment.rotated(90), DOME))


def test_weights_are_linear_in_the_map():
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 32, 64, 3))
    both = light_weights(2 * a + 3 * b, DOME)
    apart = 2 * light_weights(a, DOME) + 3 * light_weights(b, DOME)
    np.testing.assert_allclose(both, apart, rtol=1e-5)


def test_lights_in_one_direction_share_their_cell():
    doubled = np.concatenate([DOME, DOME[:1], DOME[:1] * 2.5])
    picture = np.random.default_rng(6).random((32, 64, 3))
    single, weights = light_weights(picture, DOME), light_weights(picture, doubled)
    np.testing.assert_allclose(weights[[0, 96, 97]], np.repeat(single[:1] / 3, 3, 0), rtol=1e-6)
    np.testing.assert_allclose(weights[1:96], single[1:], rtol=1e-6)


def test_the_cells_of_absent_lights_go_to_their_neighbours():
    present = np.ones(96, dtype=bool)
    present[[3, 50]] = False
    picture = np.random.default_rng(7).random((32, 64, 3))
    weights = light_weights(picture, DOME, present=present)
    assert (weights[~present] == 0).all()
    np.testing.assert_allclose(weights[present], light_weights(picture, DOME[present]))


def test_order_of_the_lights_does_not_matter():
    order = np.random.default_rng(8).permutation(96)
    picture = np.random.default_rng(9).random((32, 64, 3))
    np.testing.assert_allclose(
        light_weights(picture, DOME[order]), light_weights(picture, DOME)[order], rtol=1e-9
    )


def test_weights_are_divided_by_the_lights_gains():
    weights = light_weights(np.ones((16, 32, 3)), DOME)
    gains = np.full((96, 3), 2.0)
    np.testing.assert_allclose(divide_by_gains(weights, gains), weights / 2)
    gains[7, 1] = 0
    with pytest.raises(DomeError, match="lights 7 have a gain of 0"):
        divide_by_gains(weights, gains)
    spared = light_weights(np.ones((16, 32, 3)), DOME, present=gains.all(axis=1))
    assert np.isfinite(divide_by_gains(spared, gains)).all()


@pytest.mark.parametrize(
    ("directions", "text"),
    [
        (np.zeros((0, 3)), r"\(lights, 3\)"),
        (np.zeros((5, 2)), r"\(lights, 3\)"),
        (np.zeros((2, 3)), "lights 0, 1 have no direction"),
        (np.array([[0, 0, 1], [np.nan, 0, 1]]), "lights 1 have no direction"),
    ],
)
def test_directions_that_are_none_are_refused(directions, text):
    with pytest.raises(DomeError, match=text):
        light_weights(np.ones((4, 8, 3)), directions)


def test_an_unknown_method_and_a_bad_map_are_refused():
    with pytest.raises(InputError, match="voronoi"):
        light_weights(np.ones((4, 8, 3)), DOME, method="magic")  # type: ignore[arg-type]
    with pytest.raises(EnvironmentMapError, match="twice as wide"):
        light_weights(np.ones((8, 8, 3)), DOME)
    with pytest.raises(DomeError, match="no light is present"):
        light_weights(np.ones((4, 8, 3)), DOME, present=np.zeros(96))
