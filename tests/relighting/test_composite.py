"""Composites: identities of alpha, linearity, where the camera sees what, exposure, wrap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.errors import InputError
from lightstage.relighting import EnvironmentMap, light_weights
from lightstage.relighting.camera_view import CameraView
from lightstage.relighting.composite import (
    FACE_IN_EVEN_LIGHT,
    composite,
    cover,
    defocused,
    light_wrap,
    over,
    radiance_unit,
)
from tests.relighting.test_matte import _soft_disc

SIZE = (64, 64)
seeds = st.integers(0, 2**32 - 1)


def _picture(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0.0, 3.0, (*SIZE, 3)).astype(np.float32)


@settings(max_examples=20)
@given(seeds)
def test_all_performer_is_the_performer_and_none_the_background(seed: int) -> None:
    performer, background = _picture(seed), _picture(seed + 1)
    ones, zeros = np.ones(SIZE, np.float32), np.zeros(SIZE, np.float32)
    assert np.array_equal(over(performer, ones, background), performer)
    assert np.array_equal(over(performer, zeros, background), background)
    assert np.array_equal(composite(performer, ones, background, wrap=0.5), performer)
    assert np.array_equal(composite(performer, zeros, background, wrap=0.5), background)


@settings(max_examples=10)
@given(seeds, st.floats(0.01, 100.0))
def test_composites_are_linear_in_light(seed: int, factor: float) -> None:
    alpha = _soft_disc()
    performer, one, other = (_picture(seed + k) * alpha.max() for k in range(3))
    black = np.zeros_like(one)
    bare = composite(performer, alpha, black, wrap=0.3)
    parts = [composite(performer, alpha, b, wrap=0.3) - bare for b in (one, other)]
    both = composite(performer, alpha, one + other, wrap=0.3) - bare
    assert np.allclose(both, parts[0] + parts[1], atol=1e-4)
    k = np.float32(factor)
    scaled = composite(performer * k, alpha, one * k, wrap=0.3)
    assert np.allclose(scaled / k, composite(performer, alpha, one, wrap=0.3), rtol=1e-3, atol=1e-3)


def test_a_performer_of_the_backgrounds_colour_leaves_no_fringe() -> None:
    alpha, colour = _soft_disc(), np.full((*SIZE, 3), (0.5, 0.4, 0.3), np.float32)
    before_black = alpha[..., None] * colour
    picture = composite(before_black, alpha, colour)
    assert np.abs(picture - colour).max() < 0.05
    # with the picture as it stands, edges would be darkened twice
    naive = over(before_black, alpha, colour)
    assert np.abs(naive - colour).max() > 0.1


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="same size"):
        composite(_picture(0), np.ones((10, 10), np.float32), _picture(1))


# What the camera sees


@given(st.floats(0.1, 1000.0), st.floats(5.0, 120.0))
def test_an_even_environment_is_seen_as_its_radiance(radiance: float, fov_deg: float) -> None:
    even = EnvironmentMap(np.full((16, 32, 3), radiance, np.float32))
    assert np.allclose(CameraView.of(24, 16, fov_deg).see(even), radiance, rtol=1e-5)


@given(st.integers(40, 87), st.integers(90, 165), st.floats(60.0, 100.0), st.integers(-20, 20))
def test_a_bright_pixel_is_seen_where_trigonometry_says(
    row: int, column: int, fov_deg: float, turn_px: int
) -> None:
    width, height = 300, 200
    picture = np.zeros((128, 256, 3), np.float32)
    picture[row, column] = 1.0
    environment = EnvironmentMap(picture).rotated(turn_px * 360.0 / 256)
    # azimuth from the map's centre to the right, and elevation, of the pixel's middle
    azimuth = 2 * np.pi * ((column + turn_px + 0.5) / 256 - 0.5)
    elevation = np.pi * (0.5 - (row + 0.5) / 128)
    focal = height / 2 / np.tan(np.deg2rad(fov_deg) / 2)

    def at(azimuth, elevation):
        x = (width - 1) / 2 + focal * np.tan(azimuth)
        return x, (height - 1) / 2 - focal * np.tan(elevation) / np.cos(azimuth)

    x, y = at(azimuth, elevation)
    # a pixel of the map is interpolated as far as the middles of its neighbours
    reach = 2 * np.pi / 256
    around = azimuth + np.linspace(-reach, reach, 9), elevation + np.linspace(-reach, reach, 9)
    xs, ys = at(*np.meshgrid(*around))
    behind = abs(azimuth) - reach > np.pi / 2
    in_front = abs(azimuth) + reach < np.pi / 2
    beside = xs.max() < -1 or xs.min() > width or ys.max() < -1 or ys.min() > height
    seen = CameraView.of(width, height, fov_deg).see(environment)[..., 0]
    if 3 < x < width - 4 and 3 < y < height - 4:
        found = np.unravel_index(int(seen.argmax()), seen.shape)
        assert abs(found[1] - x) <= 1.0
        assert abs(found[0] - y) <= 1.0
    elif behind or (in_front and beside):
        assert seen.max() == 0.0


def test_light_and_background_turn_together() -> None:
    dome = Dome.evenly_spread(96)
    view = CameraView.of(101, 101, 90.0)
    picture = np.zeros((128, 256, 3), np.float32)
    picture[60:68, 120:136] = 1.0
    for degrees in (-30.0, 0.0, 25.0):
        light = EnvironmentMap(picture).rotated(degrees)
        weights = light_weights(light, dome.directions)[:, 0]
        from_light = (weights[:, None] * dome.directions).sum(axis=0)
        seen = view.see(light)[..., :1]
        from_view = (seen * view.directions).sum(axis=(0, 1))
        angle = np.arccos(
            from_light @ from_view / np.linalg.norm(from_light) / np.linalg.norm(from_view)
        )
        assert np.rad2deg(angle) < 12.0  # a light of the dome stands for 20 degrees


@given(st.floats(0, 40), st.floats(0, 30), st.integers(8, 60), st.integers(8, 60))
def test_a_crop_sees_what_the_whole_sees_there(
    left: float, top: float, width: int, height: int
) -> None:
    whole = CameraView.of(200, 150, 40.0)
    part = whole.part((left, top, 100.0, 80.0), width, height)
    x, y = 7, 5
    places = whole.project(part.directions[y, x])
    expected = (left + (x + 0.5) * 100 / width - 0.5, top + (y + 0.5) * 80 / height - 0.5)
    assert np.allclose(places, expected, atol=1e-6)


def test_a_field_of_view_is_an_angle() -> None:
    with pytest.raises(InputError, match="field of view"):
        CameraView.of(10, 10, 180.0)


# Exposure, wrap, plates


def _lambertian_store(path: Path, albedo: float, led: float) -> tuple[ReflectanceFields, object]:
    """Return a store of a white-lit sphere of ``albedo``, whose LEDs show ``led`` of a white."""
    dome = Dome.evenly_spread(96)
    y, x = np.mgrid[:32, :32] / 15.5 - 1.0
    inside = x**2 + y**2 < 0.9
    normal = np.stack([x, -y, np.sqrt(np.maximum(0.0, 1.0 - x**2 - y**2))], axis=-1)
    shade = np.maximum(0.0, np.einsum("lk,hwk->lhw", dome.directions, normal)) * inside
    olat = np.repeat((albedo * led * shade)[..., None], 3, axis=3).astype(np.float32)
    writer = FieldsWriter.create(path, sets=1, height=32, width=32, dome=dome, rate_hz=None)
    writer.write_set(0, olat=olat, full_lit=olat.sum(axis=0), time_s=0.0, centre_frame=0)
    writer.finish()
    return ReflectanceFields.open(path), inside.astype(np.float32)


@pytest.mark.parametrize("led", [0.02, 0.7])
def test_a_face_and_the_map_share_one_exposure(tmp_path: Path, led: float) -> None:
    fields, alpha = _lambertian_store(tmp_path / "aligned.zarr", FACE_IN_EVEN_LIGHT, led)
    unit = radiance_unit(fields, 0, alpha)  # type: ignore[arg-type]
    # even light of radiance 1 gives a white wall a radiance of 1, and pi times an LED's value
    assert unit == pytest.approx(1.0 / (np.pi * led), rel=0.02)


def test_no_performer_has_no_exposure(tmp_path: Path) -> None:
    fields, _ = _lambertian_store(tmp_path / "aligned.zarr", 0.3, 1.0)
    with pytest.raises(InputError, match="--unit"):
        radiance_unit(fields, 0, np.zeros((32, 32), np.float32))


@given(seeds)
def test_light_wrap_is_at_edges_and_never_more_than_the_background(seed: int) -> None:
    alpha, background = _soft_disc(), _picture(seed)
    wrap = light_wrap(alpha, background)
    assert (wrap >= 0).all()
    assert wrap.max() <= background.max()
    assert wrap[alpha == 0.0].max() == 0.0
    assert wrap[32, 32].max() < 1e-3  # far inside
    assert wrap[(alpha > 0.5) & (alpha < 0.9)].min() > 0.0


@given(st.integers(20, 200), st.integers(20, 200))
def test_a_plate_fills_the_frame_and_keeps_its_middle(width: int, height: int) -> None:
    y, x = np.mgrid[:60, :80].astype(np.float32)
    plate = np.stack([x, y, np.ones_like(x)], axis=-1)
    filled = cover(plate, width, height)
    assert filled.shape == (height, width, 3)
    assert np.allclose(filled[..., 2], 1.0)
    assert np.allclose(filled[..., 0].mean(), 39.5, atol=0.3)
    assert np.allclose(filled[..., 1].mean(), 29.5, atol=0.3)
    # pixels stay square
    scale = max(width / 80, height / 60)
    middle = filled[height // 2, width // 4 : -width // 4, 0]
    assert np.allclose(np.diff(middle), 1 / scale, atol=0.13)


def test_defocus_keeps_the_light() -> None:
    picture = np.zeros((41, 41, 3), np.float32)
    picture[20, 20] = 5.0
    assert defocused(picture, 3.0).sum() == pytest.approx(15.0, rel=1e-3)
    assert defocused(picture, 0.0) is picture
