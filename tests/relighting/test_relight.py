"""Relighting: the sum itself, its linearity, missing lights, exposure, films' frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage import Dome, ReflectanceFields
from lightstage.aligned_store import FieldsWriter, olat_shard
from lightstage.errors import DomeError, FieldsError, InputError
from lightstage.relighting import (
    exposure_for,
    film_exposure,
    light_weights,
    present_lights,
    relight,
    relight_frames,
    relight_many,
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


@given(
    seed=st.integers(0, 2**32 - 1),
    lights=st.integers(1, 100),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    half=st.booleans(),
)
@settings(max_examples=40)
def test_light_that_is_nowhere_negative_is_summed_to_1e_5(seed, lights, height, width, half):
    olat = stack(seed, lights, height, width).astype(np.float16 if half else np.float32)
    weights = np.random.default_rng(seed + 1).random((lights, 3))
    exact = np.einsum("lyxc,lc->yxc", olat.astype(np.float64), weights)
    np.testing.assert_allclose(relight(olat, weights), exact, rtol=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    lights=st.integers(1, 11),
    count=st.integers(0, 5),
    side=st.integers(1, 70),
    dtype=st.sampled_from([np.float16, np.float32]),
    threads=st.integers(1, 3),
)
@settings(max_examples=40)
def test_many_lights_at_once_are_each_alone_to_the_last_bit(
    seed, lights, count, side, dtype, threads
):
    olat = stack(seed, lights, side, 37).astype(dtype)
    weights = np.random.default_rng(seed).normal(size=(count, lights, 3))
    weights[::2, ::3] = 0
    images = relight_many(olat, weights, threads=threads)
    assert images.shape == (count, side, 37, 3)
    for image, own in zip(images, weights, strict=True):
        np.testing.assert_array_equal(image, relight(olat, own, threads=1))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_result_does_not_depend_on_threads(threads):
    olat = stack(4, 9, 200, 301)
    weights = np.random.default_rng(4).random((9, 3))
    alone = relight(olat, weights, threads=1)
    np.testing.assert_array_equal(relight(olat, weights, threads=threads), alone)


@pytest.mark.parametrize(
    "view",
    [
        lambda olat: olat[::2],
        lambda olat: olat[:, ::-1, 1:],
        lambda olat: olat[..., ::-1],
        lambda olat: np.moveaxis(np.ascontiguousarray(np.moveaxis(olat, 3, 1)), 1, 3),
        lambda olat: np.asfortranarray(olat),
        lambda olat: olat.astype(">f4"),
        lambda olat: olat.astype(np.float64),
        lambda olat: olat.astype(np.float16)[:, 2:],
        lambda olat: (olat * 200).astype(np.uint8),
        lambda olat: np.frombuffer(b"x" + olat.tobytes(), np.float32, offset=1).reshape(olat.shape),
    ],
)
def test_any_layout_and_type_in_memory_is_taken(view):
    olat = view(stack(5, 11, 40, 90))
    weights = np.random.default_rng(5).random((len(olat), 3))
    exact = np.einsum("lyxc,lc->yxc", olat.astype(np.float64), weights)
    np.testing.assert_allclose(relight(olat, weights), exact, rtol=1e-5)


def test_no_light_no_pixels_and_no_weights_are_dark_or_empty():
    assert not relight(stack(), np.zeros((5, 3))).any()
    assert relight(np.ones((2, 0, 4, 3), np.float32), np.ones((2, 3))).shape == (0, 4, 3)
    assert not relight(np.ones((0, 2, 4, 3), np.float32), np.ones((0, 3))).any()


def test_every_half_value_is_multiplied_exactly():
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = bits[np.isfinite(bits)]
    olat = finite[: len(finite) // 3 * 3].reshape(1, 1, -1, 3)
    np.testing.assert_array_equal(relight(olat, np.ones((1, 3)))[0], olat[0, 0].astype(np.float32))


def test_a_light_that_only_other_weights_need_may_be_missing():
    olat = stack(6)
    olat[2] = np.nan
    olat[4, 3, 3, 1] = np.inf
    weights = np.ones((3, 5, 3))
    weights[0, [2, 4]] = weights[1, 2] = 0
    weights[2] = 0
    images = relight_many(olat, weights)
    np.testing.assert_allclose(images[0], olat[[0, 1, 3]].sum(axis=0), rtol=1e-6)
    assert np.isposinf(images[1, 3, 3, 1])
    assert np.isfinite(images[1]).sum() == images[1].size - 1
    assert not images[2].any()
    weights[2, 2, 1] = 1
    with pytest.raises(InputError, match="no image of light 2"):
        relight_many(olat, weights)
    assert np.isfinite(relight_many(olat, weights, missing="skip")[2]).all()


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
@settings(max_examples=20)
def test_skipped_values_are_those_of_dark_pixels(seed, share):
    olat = stack(seed, 6)
    lost = np.random.default_rng(seed).random(olat.shape) < share
    weights = np.random.default_rng(seed).random((6, 3))
    expected = relight(np.where(lost, np.float32(0), olat), weights)
    olat[lost] = np.nan
    np.testing.assert_array_equal(relight(olat, weights, missing="skip"), expected)


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


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_films_frames_follow_its_plan_whoever_works(fields, workers):
    weights = np.random.default_rng(0).random((44, 5, 3))
    order = [0, 0, -1, 1] + [1] * 40  # the last run is longer than what shares a reading
    plan = list(zip(order, weights, strict=True))
    frames = list(relight_frames(fields, iter(plan), workers=workers))
    assert len(frames) == len(plan)
    for frame, (index, weight) in zip(frames, plan, strict=True):
        np.testing.assert_array_equal(frame, relight(fields[index].olat, weight))


def test_frames_of_one_set_share_its_reading_and_unused_lights_are_not_read(fields, monkeypatch):
    reads = []
    read = ReflectanceFields.read_stored
    monkeypatch.setattr(
        ReflectanceFields,
        "read_stored",
        lambda self, i, lights=None, out=None: (
            reads.extend((i, int(light)) for light in lights) or read(self, i, lights, out)
        ),
    )
    weights = np.ones((5, 3))
    weights[[1, 4]] = 0
    list(relight_frames(fields, [(0, weights), (0, 2 * weights), (2, weights)], workers=1))
    assert sorted(reads) == [(index, light) for index in (0, 2) for light in (0, 2, 3)]


def test_a_plan_without_end_is_read_only_somewhat_ahead(fields):
    asked = []

    def endless():
        while True:
            asked.append(len(asked) % 3)
            yield asked[-1], np.ones((5, 3))

    frames = relight_frames(fields, endless(), workers=2)
    for _ in range(4):
        next(frames)
    frames.close()
    assert len(asked) < 12


def test_a_films_missing_light_and_damaged_set_are_told(tmp_path):
    store = tmp_path / "aligned.zarr"
    writer = FieldsWriter.create(
        store, sets=2, height=7, width=9, dome=Dome.evenly_spread(5), rate_hz=25.0
    )
    olat = stack(3)
    olat[3] = np.nan
    for index in range(2):
        writer.write_set(index, olat=olat, full_lit=olat[0], time_s=index / 25, centre_frame=index)
    writer.finish()
    fields = ReflectanceFields.open(store)
    weights = np.ones((5, 3))
    with pytest.raises(InputError, match="no image of light 3"):
        list(relight_frames(fields, [(0, weights)]))
    (image,) = relight_frames(fields, [(0, weights)], missing="skip")
    np.testing.assert_allclose(image, fields[0].olat[[0, 1, 2, 4]].sum(axis=0), rtol=1e-6)
    with pytest.raises(DomeError, match="5, 3"):
        list(relight_frames(fields, [(0, weights), (0, np.ones((4, 3)))]))
    shard = olat_shard(store, 1)
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(FieldsError, match=r"set 1 .* damaged"):
        list(relight_frames(fields, [(0, 0 * weights), (1, weights)]))
    shard.unlink()
    with pytest.raises(FieldsError, match=r"set 1 .* missing"):
        list(relight_frames(fields, [(1, weights)]))


def test_a_store_of_another_layout_is_relit_alike(fields, tmp_path):
    """Other software may have written the images in other chunks."""
    import zarr

    expected = list(relight_frames(fields, [(1, np.ones((5, 3)))]))
    group = zarr.open_group(str(fields.path), mode="r+")
    images, attributes = group["olat"][...], dict(group["olat"].attrs)
    del group["olat"]
    group.create_array("olat", data=images, chunks=(1, 2, 4, 4, 3), fill_value=float("nan"))
    group["olat"].attrs.update(attributes)
    again = ReflectanceFields.open(fields.path)
    np.testing.assert_array_equal(list(relight_frames(again, [(1, np.ones((5, 3)))])), expected)


def test_one_exposure_serves_a_film_so_that_no_looked_at_frame_burns_out(fields):
    weights = np.ones((5, 3))
    plan = [(index, weights) for index in range(3)]
    exposure = film_exposure(fields, plan)
    assert exposure == pytest.approx(exposure_for(relight(fields[2].olat, weights)))
    assert film_exposure(fields, [(0, np.zeros((5, 3)))]) == 1.0


def test_the_sum_is_compiled_where_nothing_can_be_kept_on_the_disk():
    from lightstage.relighting.weighted_sum import _compiled

    space: dict = {}
    exec("def twice(x):\n    return 2 * x", space)  # has no file, so Numba has no place for it
    assert _compiled(space["twice"])(4) == 8
