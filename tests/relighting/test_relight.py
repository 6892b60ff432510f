"""Relighting: the sum itself, its linearity, missing lights, exposure, films' frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter
from lightstage.errors import DomeError, InputError
from lightstage.relighting import (
    exposure_for,
    film_exposure,
    light_weights,
    present_lights,
    relight,
    relight_frames,
)


def stack(seed=0, lights=5, height=7, width=9):
    return np.random.default_rng(seed).random((lights, height, width, 3), dtype=np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    lights=st.integers(1, 12),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
@settings(max_examples=40)
def test_the_image_is_the_weighted_sum_per_colour(seed, lights, height, width):
    olat = stack(seed, lights, height, width)
    weights = np.random.default_rng(seed + 1).normal(size=(lights, 3))
    exact = np.einsum("lyxc,lc->yxc", olat.astype(np.float64), weights)
    image = relight(olat, weights)
    assert image.dtype == np.float32
    # float32: a rounding of half a unit at each of the sum's terms
    bound = 2.0**-23 * (lights + 2) * np.abs(weights).sum()
    np.testing.assert_allclose(image, exact, atol=bound)


@given(seed=st.integers(0, 2**32 - 1), a=st.floats(-4, 4), b=st.floats(-4, 4))
@settings(max_examples=25)
def test_relighting_is_linear_in_the_light_and_in_the_images(seed, a, b):
    olat, other = stack(seed), stack(seed + 1)
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 5, 3))
    tolerance = 1e-4
    np.testing.assert_allclose(
        relight(olat, a * first + b * second),
        a * relight(olat, first) + b * relight(olat, second),
        atol=tolerance,
    )
    mixed = (np.float32(a) * olat + np.float32(b) * other).astype(np.float32)
    np.testing.assert_allclose(
        relight(mixed, first), a * relight(olat, first) + b * relight(other, first), atol=tolerance
    )


def test_a_large_image_is_the_same_sum_across_its_blocks():
    olat = stack(1, 3, 301, 257)
    weights = np.random.default_rng(1).random((3, 3))
    exact = np.einsum("lyxc,lc->yxc", olat.astype(np.float64), weights)
    np.testing.assert_allclose(relight(olat, weights), exact, rtol=1e-5)


def test_half_precision_and_wide_images_are_taken():
    olat = stack(2, 2, 2, 20000).astype(np.float16)
    np.testing.assert_allclose(
        relight(olat, np.ones((2, 3))), olat.astype(np.float32).sum(axis=0), rtol=1e-6
    )


def test_a_missing_light_is_refused_and_named_unless_it_is_not_needed():
    olat = stack()
    olat[3] = np.nan
    olat[1, 0, 0, 0] = np.nan
    weights = np.ones((5, 3))
    with pytest.raises(InputError, match=r"no image of light 3.*parts .* for light 1"):
        relight(olat, weights)
    weights[[1, 3]] = 0
    np.testing.assert_allclose(relight(olat, weights), olat[[0, 2, 4]].sum(axis=0), rtol=1e-6)


def test_missing_lights_can_be_taken_as_dark_or_stood_in_for():
    olat = stack()
    olat[3] = np.nan
    skipped = relight(olat, np.ones((5, 3)), missing="skip")
    np.testing.assert_allclose(skipped, olat[[0, 1, 2, 4]].sum(axis=0), rtol=1e-6)
    present = present_lights(olat)
    assert present.tolist() == [True, True, True, False, True]
    directions = Dome.evenly_spread(5).directions
    weights = light_weights(np.ones((8, 16, 3)), directions, present=present)
    assert np.isfinite(relight(olat, weights)).all()
    assert weights.sum(axis=0) == pytest.approx(4 * np.pi)


@pytest.mark.parametrize(
    ("shape", "weights", "error"),
    [
        ((5, 7, 9, 3), np.ones((4, 3)), DomeError),
        ((5, 7, 9, 3), np.ones(5), DomeError),
        ((5, 7, 9, 1), np.ones((5, 3)), InputError),
        ((7, 9, 3), np.ones((5, 3)), InputError),
        ((5, 7, 9, 3), np.full((5, 3), np.nan), InputError),
    ],
)
def test_what_does_not_fit_is_refused(shape, weights, error):
    with pytest.raises(error):
        relight(np.ones(shape, np.float32), weights)


def test_exposure_brings_the_bright_parts_to_the_target():
    image = np.linspace(0, 40, 1001, dtype=np.float32)[:, None, None] * np.ones(3, np.float32)
    assert exposure_for(image) == pytest.approx(0.8 / (0.99 * 40), rel=1e-3)
    image[5] = np.nan
    assert exposure_for(image) == pytest.approx(0.8 / (0.99 * 40), rel=1e-2)
    assert exposure_for(np.zeros((4, 4, 3))) == 1.0
    speck = np.zeros((50, 50, 3), np.float32)
    speck[0, 0] = 4
    assert exposure_for(speck) == pytest.approx(0.2)


@pytest.fixture
def fields(tmp_path: Path) -> ReflectanceFields:
    writer = FieldsWriter.create(
        tmp_path / "aligned.zarr",
        sets=3,
        height=7,
        width=9,
        dome=Dome.evenly_spread(5),
        rate_hz=25.0,
    )
    for index in range(3):
        olat = stack(index) * (index + 1)
        writer.write_set(
            index, olat=olat, full_lit=olat.sum(axis=0), time_s=index / 25, centre_frame=index
        )
    writer.finish()
    return ReflectanceFields.open(tmp_path / "aligned.zarr")


def test_a_films_frames_follow_its_plan_and_read_each_set_once(fields, monkeypatch):
    reads = []
    read = ReflectanceFields.read_olat
    monkeypatch.setattr(
        ReflectanceFields, "read_olat", lambda self, i: reads.append(i) or read(self, i)
    )
    weights = np.random.default_rng(0).random((4, 5, 3))
    plan = [(0, weights[0]), (0, weights[1]), (2, weights[2]), (1, weights[3])]
    frames = list(relight_frames(fields, plan))
    assert reads == [0, 2, 1]
    for frame, (index, weight) in zip(frames, plan, strict=True):
        np.testing.assert_allclose(frame, relight(fields[index].olat, weight))


def test_one_exposure_serves_a_film_so_that_no_looked_at_frame_burns_out(fields):
    weights = np.ones((5, 3))
    plan = [(index, weights) for index in range(3)]
    exposure = film_exposure(fields, plan)
    assert exposure == pytest.approx(exposure_for(relight(fields[2].olat, weights)))
    assert film_exposure(fields, [(0, np.zeros((5, 3)))]) == 1.0
