"""Rotation about any axis, blur, saturation and clamp: laws and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lightstage import Dome
from lightstage.errors import EnvironmentMapError
from lightstage.relighting import EnvironmentMap, light_weights, pixel_directions
from lightstage.relighting.sphere import turn_matrix
from lightstage.relighting.weights import METHODS

DOME = Dome.evenly_spread(96).directions
ANGLE = st.floats(-400, 400)


def noise(height=16, seed=0):
    return np.random.default_rng(seed).lognormal(0, 2, (height, 2 * height, 3)).astype(np.float32)


@given(turn=ANGLE, pitch=ANGLE, roll=ANGLE)
def test_rotations_are_scipys(turn, pitch, roll):
    # left-handed about +Y (pictures move right), right-handed about +X, left-handed about +Z
    oracle = Rotation.from_euler("zxy", [-roll, pitch, -turn], degrees=True).as_matrix()
    np.testing.assert_allclose(turn_matrix(turn, pitch, roll), oracle, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32 - 1), turn=ANGLE, pitch=ANGLE, roll=ANGLE)
@settings(max_examples=8, deadline=None)
def test_any_rotation_and_back_is_the_identity(method, seed, turn, pitch, roll):
    environment = EnvironmentMap(noise(seed=seed))
    there = environment.rotated(turn, pitch_deg=pitch, roll_deg=roll)
    back = there.reoriented(there.orientation.T)
    np.testing.assert_allclose(back.picture(), environment.picture(), rtol=1e-4)
    weights = light_weights(environment, DOME, method)
    largest = np.abs(weights).max()
    np.testing.assert_allclose(light_weights(back, DOME, method), weights, atol=1e-9 * largest)


def test_a_thousand_small_turns_are_one_large_one():
    environment = EnvironmentMap(noise())
    many = environment
    for _ in range(1000):
        many = many.rotated(0.36, pitch_deg=0.0)
    np.testing.assert_allclose(many.orientation, np.eye(3), atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_turning_the_map_is_turning_the_lights_the_other_way(method):
    environment = EnvironmentMap(noise())
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    np.testing.assert_allclose(
        light_weights(environment.reoriented(rotation), DOME, method),
        light_weights(environment, DOME @ rotation, method),
        rtol=2e-3, atol=1e-3,
    )  # fmt: skip


def test_pitch_raises_what_is_behind_the_performer_and_roll_is_clockwise():
    picture = np.zeros((64, 128, 3), np.float32)
    picture[31:33, 63:65] = 1  # -Z
    six = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], float)
    lit = light_weights(EnvironmentMap(picture).rotated(pitch_deg=90), six).sum(axis=1)
    assert tuple(six[lit.argmax()]) == (0, 1, 0)
    picture = np.roll(picture, 32, axis=1)  # +X
    lit = light_weights(EnvironmentMap(picture).rotated(roll_deg=90), six).sum(axis=1)
    assert tuple(six[lit.argmax()]) == (0, -1, 0)


def test_the_picture_of_a_tilted_map_shows_the_light_where_it_is():
    # linear in direction, so that bilinear sampling is near exact
    height = 64
    directions = pixel_directions(height, 2 * height)
    environment = EnvironmentMap((2 + directions).astype(np.float32))
    rotation = Rotation.from_rotvec([0.4, 0.2, -0.9]).as_matrix()
    expected = 2 + directions @ rotation  # light d of the picture comes from R d
    np.testing.assert_allclose(environment.reoriented(rotation).picture(), expected, atol=3e-3)


@pytest.mark.parametrize(
    "matrix", [np.ones((3, 3)), -np.eye(3), np.eye(2), np.full((3, 3), np.nan)]
)
def test_what_is_no_rotation_is_refused(matrix):
    with pytest.raises(EnvironmentMapError, match="rotation matrix"):
        EnvironmentMap(noise()).reoriented(matrix)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(2, 60), degrees=st.floats(0.1, 90))
@settings(max_examples=25, deadline=None)
def test_blur_keeps_the_integral_of_any_map(seed, height, degrees):
    environment = EnvironmentMap(noise(height, seed))
    np.testing.assert_allclose(
        environment.blurred(degrees).integral(), environment.integral(), rtol=1e-6
    )


@pytest.mark.parametrize("degrees", [4.0, 12.0, 40.0])
@pytest.mark.parametrize("row", [1, 30, 63, 127])
def test_a_point_blurs_into_fishers_lobe_alike_at_the_pole_and_the_horizon(degrees, row):
    picture = np.zeros((128, 256, 3), np.float32)
    picture[row, 200] = 1
    environment = EnvironmentMap(picture)
    middle = pixel_directions(128, 256)[row, 200]
    soft = environment.blurred(degrees)
    k = 1 / np.deg2rad(degrees) ** 2
    cosine = pixel_directions(soft.height, soft.width) @ middle
    # von Mises and Fisher's density on the sphere, normalised in closed form
    density = k / (2 * np.pi * (1 - np.exp(-2 * k))) * np.exp(k * (cosine - 1))
    expected = density * environment.integral()[0]
    np.testing.assert_allclose(soft.radiance[..., 0], expected, atol=0.03 * expected.max())


def test_blur_of_an_even_map_is_even_and_of_a_gradient_weaker():
    even = EnvironmentMap(np.full((64, 128, 3), 2.5)).blurred(20)
    np.testing.assert_allclose(even.radiance, 2.5, rtol=2e-3)
    # a harmonic of order 1 shrinks by coth k - 1 / k
    height = 64
    gradient = EnvironmentMap((2 + pixel_directions(height, 2 * height)).astype(np.float32))
    soft = gradient.blurred(25)
    k = 1 / np.deg2rad(25) ** 2
    factor = 1 / np.tanh(k) - 1 / k
    expected = 2 + factor * pixel_directions(soft.height, soft.width)
    np.testing.assert_allclose(soft.radiance, expected, atol=0.01)


def test_saturation_keeps_luminance_and_stops_at_what_exists():
    environment = EnvironmentMap(noise())
    luminance = np.array([0.2126, 0.7152, 0.0722])
    for factor in (0.0, 0.5, 1.0, 3.0):
        changed = environment.saturated(factor).radiance
        np.testing.assert_allclose(changed @ luminance, environment.radiance @ luminance, rtol=1e-4)
        assert changed.min() >= 0
    np.testing.assert_allclose(np.ptp(environment.saturated(0).radiance, axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(
        environment.saturated(1).radiance, environment.radiance, rtol=1e-4, atol=1e-6
    )


def test_clamp_bounds_luminance_and_keeps_hue():
    environment = EnvironmentMap(noise())
    clamped = environment.clamped(1.5).radiance
    assert (clamped @ np.array([0.2126, 0.7152, 0.0722])).max() < 1.5001
    hue = environment.radiance / environment.radiance.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(clamped / clamped.sum(axis=2, keepdims=True), hue, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.blurred(-1), lambda m: m.blurred(91), lambda m: m.blurred(np.nan),
        lambda m: m.saturated(-0.1), lambda m: m.saturated(np.inf), lambda m: m.clamped(0),
        lambda m: m.rotated(np.inf), lambda m: m.rotated(pitch_deg=np.nan),
    ],
)  # fmt: skip
def test_changes_that_are_none_are_refused(change):
    with pytest.raises(EnvironmentMapError, match="environment map"):
        change(EnvironmentMap(noise()))
