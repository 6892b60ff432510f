"""Photometric stereo: closed forms, laws, the simulator's truth; better than least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from lightstage import Dome
from lightstage.errors import DomeError, InputError
from lightstage.relighting.photometric_stereo import StereoSettings, surface_maps
from lightstage.relighting.specular_split import split_specular
from lightstage.simulation import SimulatedStage, render_lights
from lightstage.simulation.camera import SimulatedCamera
from lightstage.simulation.performer import Performer

DOME = Dome.evenly_spread()
LIGHTS = DOME.directions


def sphere(size=33):
    """Return the unit normals ``(size, size, 3)`` of a sphere seen from +Z; 0 outside."""
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(1, -1, size))
    inside = x**2 + y**2 < 0.98
    z = np.sqrt(np.where(inside, 1 - x**2 - y**2, 0))
    return np.where(inside[..., None], np.stack([x, y, z], axis=-1), 0), inside


def matt(normals, albedo, lights=LIGHTS):
    """Return the Lambertian pictures ``(lights, h, w, 3)`` (the closed form)."""
    cosine = np.maximum(np.einsum("yxk,lk->lyx", normals, lights), 0)
    return cosine[..., None] * albedo


def degrees_between(a, b):
    """Return the angles between unit vectors ``(..., 3)``."""
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2, 0, 1)))


def least_squares(olat, lights=LIGHTS):
    """Return what plain least squares over all lights makes of it: Woodham's method."""
    gray = olat.mean(axis=-1).reshape(len(olat), -1)
    scaled = np.linalg.lstsq(lights, gray, rcond=None)[0].T.reshape(*olat.shape[1:3], 3)
    return scaled / np.maximum(np.linalg.norm(scaled, axis=-1, keepdims=True), 1e-12)


def coloured(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.05, 0.8, (*shape, 3))


# Closed forms


def test_a_matt_spheres_normals_and_albedo_are_found_exactly():
    normals, inside = sphere()
    albedo = coloured(inside.shape)
    gains = np.random.default_rng(1).uniform(0.8, 1.2, (96, 3))
    olat = matt(normals, albedo) * gains[:, None, None, :]
    maps = surface_maps(olat, LIGHTS, gains)
    assert degrees_between(maps.normal, normals)[inside].max() < 0.1
    np.testing.assert_allclose(maps.albedo[inside], albedo[inside], rtol=1e-3)
    assert maps.normal_confidence[inside].min() > 0.99
    assert maps.visibility[inside].min() > 0.99
    assert maps.specular[inside].max() < 1e-3
    # nothing is made up where there is nothing
    assert np.isnan(maps.normal[~inside]).all()
    assert np.isnan(maps.albedo[~inside]).all()
    assert (maps.normal_confidence[~inside] == 0).all()
    # neither axis is turned round: image right is +X, up is +Y, towards the camera +Z
    assert maps.normal[16, 30, 0] > 0.7
    assert maps.normal[2, 16, 1] > 0.7
    assert maps.normal[16, 16, 2] > 0.99


def test_lights_at_their_own_distance_are_told_from_far_ones():
    normals, inside = sphere(21)
    points = 0.12 * normals
    ways = DOME.positions_m[:, None, None, :] - points
    reach = np.linalg.norm(ways, axis=-1)
    cosine = np.maximum(np.einsum("lyxk,yxk->lyx", ways, normals) / reach, 0)
    light = 0.4 * cosine * (np.linalg.norm(DOME.positions_m, axis=1)[:, None, None] / reach) ** 2
    olat = np.repeat(light[..., None], 3, axis=-1)
    near = surface_maps(olat, LIGHTS, positions_m=DOME.positions_m, points_m=points)
    assert degrees_between(near.normal, normals)[inside].max() < 0.1
    np.testing.assert_allclose(near.albedo[inside], 0.4, rtol=1e-3)
    far = surface_maps(olat, LIGHTS)
    assert np.abs(far.albedo[inside] / 0.4 - 1).mean() > 0.05


@pytest.mark.parametrize("elevation_deg", [0, 20, 40])
def test_visibility_is_the_closed_form_under_an_even_horizon(elevation_deg):
    # 1/pi of the integral of the cosine above an elevation e is 1 - sin(e)^2
    sine = np.sin(np.radians(elevation_deg))
    normals, inside = sphere(15)
    cosine = np.einsum("yxk,lk->lyx", normals, LIGHTS)
    olat = matt(normals, 0.5 * np.ones(3)) * (cosine > sine)[..., None]
    maps = surface_maps(olat, LIGHTS)
    assert degrees_between(maps.normal, normals)[inside].max() < 0.2
    # 96 lights sample the hemisphere coarsely: one at the edge is worth 3 %
    assert maps.visibility[inside].mean() == pytest.approx(1 - sine**2, abs=0.02)
    assert np.abs(maps.visibility[inside] - (1 - sine**2)).max() < 0.1


# Laws

seeds = st.integers(0, 2**32 - 1)


def glossy_scene(seed, size=9):
    """Return pictures of a sphere with highlights, cast shadows and noise, and its normals."""
    rng = np.random.default_rng(seed)
    normals, inside = sphere(size)
    olat = matt(normals, coloured(inside.shape, seed))
    half = LIGHTS + [0, 0, 1]
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gloss = 0.3 * np.maximum(np.einsum("yxk,lk->lyx", normals, half), 0) ** 40
    shadow = rng.random((96, *inside.shape)) < 0.2
    olat = np.where(shadow[..., None], 0, olat + gloss[..., None] * inside[..., None])
    return olat + rng.normal(0, 0.002, olat.shape), normals, inside


@given(seed=seeds, power=st.floats(0.01, 100))
@settings(max_examples=10)
def test_brighter_lights_make_the_albedo_brighter_and_nothing_else(seed, power):
    olat, _, inside = glossy_scene(seed)
    a, b = surface_maps(olat, LIGHTS), surface_maps(power * olat, LIGHTS)
    np.testing.assert_allclose(b.normal[inside], a.normal[inside], atol=2e-3)
    np.testing.assert_allclose(b.albedo[inside], power * a.albedo[inside], rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(b.visibility[inside], a.visibility[inside], atol=5e-3)
    # a gain that is known leaves the albedo alone
    c = surface_maps(power * olat, LIGHTS, np.full((96, 3), power))
    np.testing.assert_allclose(c.albedo[inside], a.albedo[inside], rtol=1e-2, atol=1e-6)


@given(seed=seeds)
@settings(max_examples=10)
def test_the_order_of_the_lights_does_not_matter(seed):
    olat, _, inside = glossy_scene(seed)
    order = np.random.default_rng(seed).permutation(96)
    a, b = surface_maps(olat, LIGHTS), surface_maps(olat[order], LIGHTS[order])
    np.testing.assert_allclose(b.normal[inside], a.normal[inside], atol=2e-3)
    np.testing.assert_allclose(b.albedo[inside], a.albedo[inside], atol=2e-3)


def test_half_floats_and_floats_of_the_same_values_give_the_same_to_the_last_bit():
    half = glossy_scene(5, size=33)[0].astype(np.float16)
    a, b = surface_maps(half, LIGHTS), surface_maps(half.astype(np.float32), LIGHTS)
    for name in a.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@given(seed=seeds)
@settings(max_examples=10)
def test_turning_the_lights_turns_the_normals(seed):
    olat, _, inside = glossy_scene(seed)
    turn = Rotation.random(random_state=seed % 2**31)
    a, b = surface_maps(olat, LIGHTS), surface_maps(olat, turn.apply(LIGHTS))
    np.testing.assert_allclose(b.normal[inside], turn.apply(a.normal[inside]), atol=2e-3)
    np.testing.assert_allclose(b.albedo[inside], a.albedo[inside], atol=2e-3)


@given(seed=seeds)
@settings(max_examples=10)
def test_diffuse_and_gloss_add_up_to_the_set(seed):
    olat, _, _ = glossy_scene(seed)
    gains = np.random.default_rng(seed).uniform(0.7, 1.3, (96, 3))
    maps = surface_maps(olat, LIGHTS, gains)
    diffuse, specular = split_specular(olat, maps, LIGHTS, gains)
    np.testing.assert_allclose(diffuse + specular, olat, atol=1e-6)
    assert specular.min() >= 0
    with pytest.raises(InputError, match="do not fit"):
        split_specular(olat[:, :-1], maps, LIGHTS)


# What it is for: shadows and gloss


def test_shadows_and_gloss_hurt_it_less_than_least_squares():
    olat, normals, inside = glossy_scene(3, size=33)
    error = degrees_between(surface_maps(olat, LIGHTS).normal, normals)[inside]
    plain = degrees_between(least_squares(olat), normals)[inside]
    assert np.median(error) < 1.0
    assert error.mean() < 0.25 * plain.mean()


def test_gloss_is_found_where_it_is():
    normals, inside = sphere(33)
    half = LIGHTS + [0, 0, 1]
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    cosine = np.einsum("yxk,lk->lyx", normals, LIGHTS)
    gloss = 0.4 * np.maximum(np.einsum("yxk,lk->lyx", normals, half), 0) ** 60 * (cosine > 0)
    olat = matt(normals, np.array([0.5, 0.3, 0.2])) + gloss[..., None] * inside[..., None]
    maps = surface_maps(olat, LIGHTS)
    _, specular = split_specular(olat, maps, LIGHTS)
    found, true = specular[..., 0][:, inside], gloss[:, inside]
    assert np.abs(found - true).mean() < 0.1 * true.mean()
    whole = gloss.sum(axis=0)[inside] / np.maximum(cosine, 0).sum(axis=0)[inside]
    np.testing.assert_allclose(maps.specular[inside], whole, atol=0.02)


def test_light_at_the_sensors_white_is_left_out():
    normals, inside = sphere(21)
    olat = matt(normals, np.array([1.4, 0.9, 0.7]))
    clipped = np.minimum(olat, 1.0)
    maps = surface_maps(clipped, LIGHTS, settings=StereoSettings(white_level=1.0))
    assert degrees_between(maps.normal, normals)[inside].max() < 0.1
    np.testing.assert_allclose(maps.albedo[inside, 0], 1.4, rtol=1e-2)


def test_missing_lights_and_parts_are_done_without():
    normals, inside = sphere(21)
    olat = matt(normals, coloured(inside.shape))
    olat[::5] = np.nan
    olat[1, :10] = np.nan
    olat[2] = 7.0  # dead, as its gain says
    gains = np.ones((96, 3))
    gains[2] = 0
    maps = surface_maps(olat.astype(np.float16), LIGHTS, gains)
    assert degrees_between(maps.normal, normals)[inside].max() < 0.2
    olat[:, 10, 10] = np.nan
    olat[:2, 10, 10] = 0.3
    assert np.isnan(surface_maps(olat, LIGHTS, gains).normal[10, 10]).all()


def test_confidence_falls_with_noise_and_with_fewer_lights():
    normals, inside = sphere(21)
    olat = matt(normals, 0.3 * np.ones(3))
    rng = np.random.default_rng(0)
    few = Dome.evenly_spread(12).directions

    def confidence(noise, lights=LIGHTS):
        pictures = matt(normals, 0.3 * np.ones(3), lights)
        noisy = pictures + rng.normal(0, noise, pictures.shape)
        return surface_maps(noisy, lights).normal_confidence[inside].mean()

    assert olat.max() > 0
    assert confidence(0.001) > confidence(0.03) > confidence(0.1)
    assert confidence(0.03) > confidence(0.03, few)


# The simulator's truth


@pytest.fixture(scope="module")
def head():
    """Return a head's pictures with its true normals, albedo, inside and what shades it."""
    stage = SimulatedStage(
        camera=SimulatedCamera(width=128, height=96), performer=Performer(motion="still")
    )
    scene = stage.scene(300)
    olat = render_lights(scene, DOME, range(96))
    return olat, scene.normal, scene.albedo, scene.matte > 0.99


def pixel_points(height, width, pixel_size_m):
    x = (np.arange(width) - 0.5 * (width - 1)) * pixel_size_m
    y = (0.5 * (height - 1) - np.arange(height)) * pixel_size_m
    return np.stack([*np.meshgrid(x, y), np.zeros((height, width))], axis=-1)


def test_a_heads_normals_and_albedo_agree_with_the_truth(head):
    olat, normals, albedo, inside = head
    points = pixel_points(96, 128, 0.256 / (0.72 * 96))
    far = surface_maps(olat, LIGHTS)
    near = surface_maps(olat, LIGHTS, positions_m=DOME.positions_m, points_m=points)
    plain = degrees_between(least_squares(olat), normals)
    error = degrees_between(far.normal, normals)
    near_error = degrees_between(near.normal, normals)
    assert np.median(error[inside]) < 4.0
    assert np.median(near_error[inside]) < 2.5
    assert error[inside].mean() < 0.75 * plain[inside].mean()
    assert near_error[inside].mean() < 0.5 * plain[inside].mean()
    relative = np.abs(far.albedo / albedo - 1)[inside]
    assert np.median(relative) < 0.1
    # in the parts that are shaded by others, and in those with gloss
    cosine = np.maximum(np.einsum("yxk,lk->lyx", normals, LIGHTS), 0)
    matt_light = cosine * albedo.mean(axis=-1)
    gray = olat.mean(axis=-1)
    shaded = inside & (np.minimum(gray, matt_light).sum(axis=0) < 0.85 * matt_light.sum(axis=0))
    glossy = inside & (gray.sum(axis=0) > 1.1 * matt_light.sum(axis=0))
    for part in (shaded, glossy):
        assert part.sum() > 100
        assert error[part].mean() < 0.8 * plain[part].mean()
    # the confidence tells good from bad
    sure = inside & (far.normal_confidence > np.median(far.normal_confidence[inside]))
    assert error[sure].mean() < 0.5 * error[inside & ~sure].mean()


# What is refused


def test_what_does_not_fit_is_refused():
    olat = np.ones((5, 4, 4, 3), np.float32)
    five = Dome.evenly_spread(5).directions
    with pytest.raises(InputError, match="must be"):
        surface_maps(olat[0], five)
    with pytest.raises(DomeError, match=r"\(5, 3\)"):
        surface_maps(olat, five[:4])
    with pytest.raises(DomeError, match="gains"):
        surface_maps(olat, five, np.ones(5))
    with pytest.raises(DomeError, match="not zero"):
        surface_maps(olat, five * [[0], [1], [1], [1], [1]])
    with pytest.raises(DomeError, match="three lights"):
        surface_maps(olat[:2], five[:2])
    flat = np.stack([np.cos(np.arange(5)), np.sin(np.arange(5)), np.zeros(5)], axis=1)
    with pytest.raises(DomeError, match="one plane"):
        surface_maps(olat, flat)
    with pytest.raises(InputError, match="together"):
        surface_maps(olat, five, positions_m=five)
    with pytest.raises(InputError):
        StereoSettings(rounds=0)


def test_a_black_set_is_known_nowhere():
    maps = surface_maps(np.zeros((96, 3, 4, 3)), LIGHTS)
    assert np.isnan(maps.normal).all()
    assert (maps.normal_confidence == 0).all()
