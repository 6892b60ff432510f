"""Environment maps: what is read, what is refused, how they turn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lightstage.errors import EnvironmentMapError
from lightstage.images import write_image
from lightstage.relighting import (
    ENVIRONMENTS,
    EnvironmentMap,
    load_environment,
    pixel_directions,
    pixel_solid_angles,
)


def noise(height=16, seed=0):
    return np.random.default_rng(seed).lognormal(0, 1, (height, 2 * height, 3)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 4), (17, 34), (256, 512)])
def test_solid_angles_cover_the_sphere_once(height, width):
    assert pixel_solid_angles(height, width).sum() == pytest.approx(4 * np.pi, rel=1e-12)


def test_pixel_directions_are_unit_vectors_that_balance():
    directions, areas = pixel_directions(64, 128), pixel_solid_angles(64, 128)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=2), 1)
    # by symmetry the mean direction is zero, and that of squares is a third of the sphere
    np.testing.assert_allclose((directions * areas[..., None]).sum(axis=(0, 1)), 0, atol=1e-12)
    squares = (directions**2 * areas[..., None]).sum(axis=(0, 1))
    np.testing.assert_allclose(squares, 4 * np.pi / 3, rtol=1e-3)


def test_the_integral_of_an_even_map_is_that_of_the_sphere():
    for height in (2, 15, 100, 256):
        even = EnvironmentMap(np.full((height, 2 * height, 3), (1, 2, 3)))
        np.testing.assert_allclose(even.integral(), 4 * np.pi * np.array([1, 2, 3]), rtol=1e-6)


def test_the_integral_of_a_formula_is_met():
    # radiance 1 + y^2 integrates to 4 pi (1 + 1/3)
    y = pixel_directions(256, 512)[..., 1]
    environment = EnvironmentMap(np.repeat((1 + y**2)[..., None], 3, axis=2))
    np.testing.assert_allclose(environment.integral(), 16 * np.pi / 3, rtol=1e-4)


@pytest.mark.parametrize(
    ("suffix", "relative"),
    [(".exr", 0.0), (".hdr", 0.01)],  # RGBE holds 8 bits of mantissa, shared by three colours
)
def test_hdr_and_exr_come_back_as_written(tmp_path: Path, suffix, relative):
    # colours near each other, as RGBE's shared exponent wants
    picture = noise()[..., :1] * np.float32([1.0, 0.9, 0.8])
    write_image(tmp_path / f"map{suffix}", picture)
    loaded = EnvironmentMap.load(tmp_path / f"map{suffix}")
    np.testing.assert_allclose(loaded.radiance, picture, rtol=relative)


def test_a_png_is_decoded_from_srgb(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "map.png"), np.full((4, 8, 3), 188, np.uint8))
    # sRGB 188 is half of full light, nearly: ((188/255 + 0.055) / 1.055) ** 2.4 = 0.503
    np.testing.assert_allclose(EnvironmentMap.load(tmp_path / "map.png").radiance, 0.503, atol=1e-3)


def test_real_maps_load(shared_data: Path):
    for name in ("studio", "sunset"):
        environment = load_environment(shared_data / "hdri" / f"{name}.hdr")
        assert (environment.height, environment.width) == (512, 1024)
        assert environment.radiance.max() > 1000


def spoilt(value):
    picture = noise()
    picture[3, 5, 1] = value
    return picture


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (np.ones((8, 8, 3)), "twice as wide as high, this one is 8 x 8"),
        (np.ones((8, 16)), r"array \(height, width, 3\)"),
        (np.ones((8, 16, 4)), r"array \(height, width, 3\)"),
        (np.ones((1, 2, 3)), "too small"),
        (np.full((8, 16, 3), "a"), r"array \(height, width, 3\)"),
        (spoilt(np.nan), "1 pixels are NaN or infinite, the first at column 5, row 3"),
        (spoilt(np.inf), "NaN or infinite"),
        (noise().astype(np.float64) * 1e300, "NaN or infinite"),
        (spoilt(-1), "negative radiance"),
    ],
)
def test_what_is_no_map_of_light_is_refused(picture, text):
    with pytest.raises(EnvironmentMapError, match=text):
        EnvironmentMap(picture)


def test_ringing_below_zero_is_taken_as_dark():
    assert EnvironmentMap(spoilt(-1e-3)).radiance[3, 5, 1] == 0


def test_a_map_cannot_be_changed_from_outside():
    picture = noise()
    environment = EnvironmentMap(picture)
    picture[:] = 0
    assert environment.radiance.min() > 0
    with pytest.raises(ValueError, match="read-only"):
        environment.radiance[0, 0] = 1


@pytest.mark.parametrize("name", ["nowhere", "nowhere.hdr", "nowhere.exr"])
def test_a_missing_map_is_named(name):
    with pytest.raises(EnvironmentMapError, match="nowhere"):
        load_environment(name)


def test_a_damaged_map_is_named(tmp_path: Path):
    for name in ("a.hdr", "a.exr", "a.png"):
        (tmp_path / name).write_bytes(b"not a picture")
        with pytest.raises(EnvironmentMapError, match=name):
            load_environment(tmp_path / name)


def test_exposure_is_in_stops():
    environment = EnvironmentMap(noise())
    np.testing.assert_allclose(environment.scaled(3).radiance, noise() * 8)
    np.testing.assert_allclose(environment.scaled(-1).integral(), environment.integral() / 2)
    with pytest.raises(EnvironmentMapError, match="infinite"):
        environment.scaled(1000)


def test_a_turned_picture_rolls_exactly_and_keeps_each_rows_light():
    picture = noise()
    environment = EnvironmentMap(picture)
    np.testing.assert_array_equal(
        environment.rotated(360 / 32 * 3).picture(), np.roll(picture, 3, axis=1)
    )
    part = environment.rotated(50.3).picture()
    np.testing.assert_allclose(part.sum(axis=1), picture.sum(axis=1), rtol=1e-5)
    with pytest.raises(EnvironmentMapError, match="cannot be turned"):
        environment.rotated(float("nan"))


def test_sampling_at_pixel_centres_gives_the_pixels_however_turned():
    environment = EnvironmentMap(noise()).rotated(360 / 32 * 5)
    sampled = environment.sample(pixel_directions(16, 32))
    np.testing.assert_allclose(sampled, environment.picture(), rtol=1e-4)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_built_in_environments_are_light_and_always_the_same(name):
    environment = load_environment(name)
    assert (environment.height, environment.width) == (256, 512)
    mean = environment.integral() / (4 * np.pi)
    assert (mean > 0.1).all()
    assert (mean < 3).all()
    assert load_environment(name).radiance is environment.radiance
    assert ENVIRONMENTS[name]


def test_the_sunset_has_a_low_warm_sun_at_image_left():
    sunset = load_environment("sunset")
    brightest = np.unravel_index(sunset.radiance.sum(axis=2).argmax(), (256, 512))
    x, y, _ = pixel_directions(256, 512)[brightest]
    assert x < -0.5
    assert 0.05 < y < 0.25
    red, green, blue = sunset.radiance[brightest]
    assert red > green > blue
    assert red > 500
