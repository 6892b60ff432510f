"""Cosine lobes and harmonics: energy, what each promises, domes with gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import sph_legendre_p

from lightstage import Dome
from lightstage.errors import InputError
from lightstage.relighting import EnvironmentMap, coverage, light_weights, pixel_directions
from lightstage.relighting.harmonics import default_order, harmonics
from lightstage.relighting.importance import importance, importance_picture
from lightstage.relighting.weights import METHODS

DOME = Dome.evenly_spread(96).directions
SMOOTH = ("cosine", "harmonics")


def integral(picture):
    edges = np.cos(np.linspace(0, np.pi, picture.shape[0] + 1))
    area = -np.diff(edges) * 2 * np.pi / picture.shape[1]
    return (picture.astype(np.float64) * area[:, None, None]).sum(axis=(0, 1))


@pytest.mark.parametrize("method", SMOOTH)
@given(
    seed=st.integers(0, 2**32 - 1),
    lights=st.integers(1, 110),
    height=st.integers(2, 90),
    layout=st.sampled_from(["sphere", "front half", "one circle", "one spot", "doubled"]),
    turn=st.floats(-720, 720),
)
@settings(max_examples=20, deadline=None)
def test_weights_add_up_to_the_integral_for_any_map_and_layout(
    method, seed, lights, height, layout, turn
):
    rng = np.random.default_rng(seed)
    picture = rng.lognormal(0, 3, size=(height, 2 * height, 3)).astype(np.float32)
    directions = rng.normal(size=(lights, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if layout == "front half":
        directions[:, 2] = np.abs(directions[:, 2])
    elif layout == "one circle":
        angle = np.arange(lights) / lights * 2 * np.pi
        directions = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    elif layout == "one spot":
        directions = np.array([0, 0, 1.0]) + 1e-3 * directions
    elif layout == "doubled":
        directions = np.concatenate([directions, directions[: (lights + 1) // 2]])
    environment = EnvironmentMap(picture).rotated(turn, pitch_deg=turn / 3)
    weights = light_weights(environment, directions, method)
    np.testing.assert_allclose(weights.sum(axis=0), integral(picture), rtol=1e-6)
    if method == "cosine":
        assert (weights >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_real_maps_add_up(shared_data, method):
    for name in ("studio", "sunset"):
        environment = EnvironmentMap.load(shared_data / "hdri" / f"{name}.hdr")
        weights = light_weights(environment, DOME, method)
        np.testing.assert_allclose(weights.sum(axis=0), integral(environment.radiance), rtol=1e-6)


def test_harmonics_are_orthonormal_and_scipys():
    height = 90
    directions = pixel_directions(height, 2 * height).reshape(-1, 3)
    edges = np.cos(np.linspace(0, np.pi, height + 1))
    area = np.repeat(-np.diff(edges) * np.pi / height, 2 * height)
    basis = harmonics(directions, 4)
    np.testing.assert_allclose(basis.T @ (area[:, None] * basis), np.eye(25), atol=2e-3)
    # m = 0 of degree 3 is the Legendre polynomial's, about the vertical
    theta = np.arccos(directions[:, 1])
    np.testing.assert_allclose(basis[:, 12], sph_legendre_p(3, 0, theta)[0], atol=1e-9)


def test_the_sum_over_lights_meets_the_maps_low_harmonics():
    picture = np.random.default_rng(0).lognormal(0, 2, (64, 128, 3)).astype(np.float32)
    weights = light_weights(picture, DOME, "harmonics")
    order = default_order(96)
    assert order == 6
    edges = np.cos(np.linspace(0, np.pi, 65))
    area = np.repeat(-np.diff(edges) * np.pi / 64, 128)
    basis = harmonics(pixel_directions(64, 128).reshape(-1, 3), order)
    expected = basis.T @ (area[:, None] * picture.reshape(-1, 3))
    np.testing.assert_allclose(
        harmonics(DOME, order).T @ weights, expected, atol=1e-9 * np.abs(expected).max()
    )


def test_looks_of_low_order_are_lit_exactly_by_harmonics():
    # a clamped cosine, as a matt wall looks, is nearly of order 6: compare with its integral
    picture = np.random.default_rng(1).lognormal(0, 2, (64, 128, 3)).astype(np.float32)
    directions = pixel_directions(64, 128)
    normal = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])
    truth = integral(picture * np.maximum(directions @ normal, 0)[..., None])
    wall = np.maximum(DOME @ normal, 0)

    def error(method):
        return np.abs(wall @ light_weights(picture, DOME, method) / truth - 1).max()

    assert error("harmonics") < 0.01
    assert error("harmonics") <= error("voronoi")


def test_a_lone_light_glides_where_voronoi_jumps():
    picture = np.zeros((256, 512, 3), np.float32)
    picture[110, 300] = 1
    sun = EnvironmentMap(picture)

    def largest_step(method):
        path = [light_weights(sun.rotated(d), DOME, method)[:, 0] for d in np.arange(0, 20, 0.5)]
        return np.abs(np.diff(path, axis=0)).sum(axis=1).max() / 2 / path[0].sum()

    assert largest_step("voronoi") > 0.4  # the sun is wider than a step
    assert largest_step("cosine") < 0.08


@pytest.mark.parametrize("method", METHODS)
def test_an_even_map_lights_every_light_about_alike(method):
    weights = light_weights(np.ones((64, 128, 3)), DOME, method)
    np.testing.assert_allclose(weights, 4 * np.pi / 96, rtol=0.11)


@pytest.mark.parametrize("method", METHODS)
def test_light_from_where_no_lights_are_goes_to_the_nearest_or_is_left_out(method):
    front = DOME[DOME[:, 2] > 0]
    picture = np.zeros((64, 128, 3), np.float32)
    picture[30:34, 62:66] = 1  # behind, far from every light
    picture[30:34, :2] = 1  # in front
    environment = EnvironmentMap(picture)
    moved = light_weights(environment, front, method)
    np.testing.assert_allclose(moved.sum(axis=0), environment.integral(), rtol=1e-6)
    left = light_weights(environment, front, method, uncovered="leave-out")
    np.testing.assert_allclose(left.sum(axis=0), environment.integral() / 3, rtol=1e-6)
    whole = light_weights(environment, DOME, method, uncovered="leave-out")
    np.testing.assert_allclose(whole.sum(axis=0), environment.integral(), rtol=1e-6)


def test_coverage_of_a_whole_and_a_half_dome():
    whole = coverage(DOME, EnvironmentMap(np.ones((32, 64, 3))))
    assert whole.sphere == pytest.approx(1.0)
    assert whole.energy == pytest.approx(1.0)
    assert whole.largest_gap_deg < 20
    # one light reaches a cap: (1 - cos reach) / 2 of the sphere
    one = coverage(np.array([[0, 0, 1.0]]), EnvironmentMap(np.ones((64, 128, 3))), reach_deg=60)
    assert one.sphere == pytest.approx(0.25, abs=0.005)
    assert one.energy == pytest.approx(0.25, abs=0.02)
    assert one.largest_gap_deg == pytest.approx(180, abs=1)
    # six along the axes: the farthest are the cube's corners, 54.7 degrees away
    six = coverage(np.concatenate([np.eye(3), -np.eye(3)]))
    assert six.largest_gap_deg == pytest.approx(np.degrees(np.arccos(1 / np.sqrt(3))))
    half = coverage(DOME[DOME[:, 2] > 0])
    assert 0.5 < half.sphere < 0.75
    assert 75 < half.largest_gap_deg <= 95
    assert abs(abs(half.gap_azimuth_deg) - 180) < 25 or abs(half.gap_elevation_deg) > 65


def test_coverage_turns_with_the_map():
    picture = np.zeros((64, 128, 3), np.float32)
    picture[30:34, 62:66] = 1
    front = DOME[DOME[:, 2] > 0]
    assert coverage(front, EnvironmentMap(picture)).energy == 0
    assert coverage(front, EnvironmentMap(picture).rotated(180)).energy == pytest.approx(1)


def test_importance_ranks_the_lights():
    weights = np.zeros((96, 3))
    weights[[5, 70, 9]] = np.array([[1], [3], [4]])
    ranked = importance(weights, DOME)
    assert [lamp.light for lamp in ranked.lights[:3]] == [9, 70, 5]
    assert [lamp.share for lamp in ranked.lights[:3]] == pytest.approx([0.5, 0.375, 0.125])
    assert ranked.lights_for(0.5) == 1
    assert ranked.lights_for(0.51) == 2
    assert ranked.effective_lights == pytest.approx(1 / (0.25 + 0.375**2 + 0.125**2))
    assert importance(np.zeros((96, 3)), DOME).effective_lights == 0


def test_the_importance_picture_shows_the_brightest_light_where_it_stands():
    picture = np.full((32, 64, 3), 1e-3, np.float32)
    picture[15:17, 47:49] = (1, 1, 1)  # +X
    environment = EnvironmentMap(picture)
    drawn = importance_picture(environment, light_weights(environment, DOME), DOME, 256)
    assert drawn.shape == (256, 512, 3)
    row, column = np.unravel_index(drawn.astype(int).sum(axis=2).argmax(), (256, 512))
    assert abs(row - 128) < 40
    assert abs(column - 384) < 40


@pytest.mark.parametrize("options", [{"uncovered": "lose"}, {"reach_deg": 0}, {"reach_deg": 181}])
def test_options_that_are_none_are_refused(options):
    with pytest.raises(InputError, match=r"lose|reach"):
        light_weights(np.ones((4, 8, 3)), DOME, **options)
