"""Demosaic: full colour of pictures whose colour is known by a formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.errors import InputError
from lightstage.preprocess.demosaic import (
    BAYER_ORDERS,
    REACH_PX,
    Balance,
    demosaic,
    demosaic_half,
    measure_balance,
)

METHODS = ("bilinear", "malvar", "residual")
CHANNEL = {"R": 0, "G": 1, "B": 2}


def mosaic_of(picture, cfa):
    mosaic = np.empty(picture.shape[:2], np.float32)
    for place, letter in enumerate(cfa):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = picture[row::2, column::2, CHANNEL[letter]]
    return mosaic


def sampled(shape, cfa):
    """Which of (height, width, 3) values a mosaic holds."""
    held = np.zeros((*shape, 3), bool)
    for place, letter in enumerate(cfa):
        row, column = divmod(place, 2)
        held[row::2, column::2, CHANNEL[letter]] = True
    return held


def skin(height, width, seed=0):
    """A texture of oblique waves, its colours those of skin, under a light that falls off and
    meets a shadow's soft edge: a closed form, band-limited at about 4 pixels a wave."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    texture = np.zeros((height, width))
    for _ in range(12):
        angle, period = rng.uniform(0, np.pi), rng.uniform(4.0, 12.0)
        along = np.cos(angle) * x + np.sin(angle) * y
        texture += 0.04 * np.sin(2 * np.pi * along / period + rng.uniform(0, 2 * np.pi))
    redness = 1.0 + 0.1 * np.sin(2 * np.pi * (x + 2 * y) / 37)
    light = (0.3 + 0.5 * x / width) / (1.0 + np.exp(-(y - 0.6 * x - 0.2 * height) / 1.2))
    albedo = np.stack([0.60 * redness, 0.33 + 0 * x, 0.23 / redness], axis=2)
    return (albedo * ((1.0 + texture) * light)[..., None]).astype(np.float32)


def psnr(error):
    return -10 * np.log10(np.mean(np.square(error, dtype=np.float64)))


@pytest.mark.parametrize("method", METHODS)
@given(
    colour=st.tuples(*[st.floats(-0.05, 1.2)] * 3),
    cfa=st.sampled_from(BAYER_ORDERS),
    size=st.tuples(st.integers(2, 19), st.integers(2, 19)),
)
@settings(max_examples=60, deadline=None)
def test_an_even_colour_comes_back_to_the_border_at_any_size(method, colour, cfa, size):
    picture = np.broadcast_to(np.array(colour, np.float32), (*size, 3))
    shown = demosaic(mosaic_of(picture, cfa), cfa, method)
    assert shown.dtype == np.float32 and shown.shape == (*size, 3)
    assert np.abs(shown - picture).max() < 1e-5
    half = demosaic_half(mosaic_of(picture, cfa), cfa)
    assert half.shape == (size[0] // 2, size[1] // 2, 3)
    assert np.abs(half - picture[::2, ::2][: size[0] // 2, : size[1] // 2]).max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
@given(
    start=st.tuples(*[st.floats(0.1, 0.5)] * 3),
    right=st.tuples(*[st.floats(-0.004, 0.004)] * 3),
    down=st.tuples(*[st.floats(-0.004, 0.004)] * 3),
    cfa=st.sampled_from(BAYER_ORDERS),
)
@settings(max_examples=25, deadline=None)
def test_ramps_that_differ_from_colour_to_colour_stay_ramps(method, start, right, down, cfa):
    y, x = np.mgrid[0:96, 0:104]
    picture = np.stack([s + r * x + d * y for s, r, d in zip(start, right, down, strict=True)], -1)
    picture = picture.astype(np.float32)
    off = np.abs(demosaic(mosaic_of(picture, cfa), cfa, method) - picture)
    reach = REACH_PX[method]
    assert off[reach:-reach, reach:-reach].max() < 2e-6 * 4  # rounding
    half = demosaic_half(mosaic_of(picture, cfa), cfa)
    centre = 0.25 * sum(picture[a::2, b::2] for a in (0, 1) for b in (0, 1))
    assert np.abs(half - centre)[2:-2, 2:-2].max() < 2e-6 * 4


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("method", METHODS)
def test_what_was_measured_is_kept_and_stays_below_zero(method, cfa):
    noise = np.random.default_rng(1).normal(0.0, 0.05, (38, 45)).astype(np.float32)
    shown = demosaic(noise, cfa, method)
    held = sampled(noise.shape, cfa)
    assert np.abs((shown - noise[..., None])[held]).max() < 1e-6
    assert shown.min() < -0.05


@pytest.mark.parametrize("method", METHODS)
def test_noise_about_black_keeps_its_mean(method):
    noise = np.random.default_rng(2).normal(0.0, 0.005, (256, 256)).astype(np.float32)
    # a mean of 128^2 independent samples is good to 0.005 / 128; three times that
    balance = Balance(1.0, 1.0)
    means = demosaic(noise, "GBRG", method, balance=balance).mean(axis=(0, 1))
    for k, letter in enumerate("RGB"):
        held = sampled(noise.shape, "GBRG")[..., "RGB".index(letter)]
        assert abs(means[k] - noise[held].mean()) < 3 * 0.005 / 128


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_the_four_orders_are_one_seen_in_mirrors(method, cfa):
    mosaic = mosaic_of(skin(60, 82), cfa)
    balance = measure_balance(mosaic, cfa)
    shown = demosaic(mosaic, cfa, method, balance=balance)
    across = demosaic(
        np.ascontiguousarray(mosaic[:, ::-1]), cfa[1] + cfa[0] + cfa[3] + cfa[2], method,
        balance=balance,
    )  # fmt: skip
    down = demosaic(np.ascontiguousarray(mosaic[::-1]), cfa[2:] + cfa[:2], method, balance=balance)
    turned = demosaic(
        np.ascontiguousarray(mosaic.T), cfa[0] + cfa[2] + cfa[1] + cfa[3], method, balance=balance
    )
    # sums run in another order: rounding, enlarged where two directions weigh nearly the same
    assert np.abs(shown - across[:, ::-1]).max() < 2e-5
    assert np.abs(shown - down[::-1]).max() < 2e-5
    assert np.abs(shown - turned.transpose(1, 0, 2)).max() < 2e-5


@pytest.mark.parametrize("method", METHODS)
def test_no_sample_beyond_the_reach_counts(method):
    mosaic = mosaic_of(skin(120, 128), "GBRG")
    balance, reach = measure_balance(mosaic, "GBRG"), REACH_PX[method]
    before = demosaic(mosaic, "GBRG", method, balance=balance)
    mosaic[60, 64] += 0.5
    after = demosaic(mosaic, "GBRG", method, balance=balance)
    rows, columns = np.nonzero(np.abs(after - before).max(axis=2) > 1e-7)
    assert np.abs(rows - 60).max() <= reach and np.abs(columns - 64).max() <= reach


@pytest.mark.parametrize("method", METHODS)
@given(rows=st.integers(0, 6), columns=st.integers(0, 6))
@settings(max_examples=10, deadline=None)
def test_moving_by_whole_cells_moves_the_picture(method, rows, columns):
    mosaic = mosaic_of(skin(120, 128), "GBRG")
    balance = measure_balance(mosaic, "GBRG")
    whole = demosaic(mosaic, "GBRG", method, balance=balance)
    part = demosaic(mosaic[2 * rows :, 2 * columns :], "GBRG", method, balance=balance)
    off = np.abs(part - whole[2 * rows :, 2 * columns :])
    reach = REACH_PX[method]
    assert off[reach:, reach:].max() < 2e-5


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_skin_in_hard_light_is_far_nearer_than_bilinear(cfa, seed):
    picture = skin(160, 200, seed)
    mosaic = mosaic_of(picture, cfa)
    inside = (slice(8, -8), slice(8, -8))

    def quality(shown):
        return psnr((shown - picture)[inside])

    lifted = np.rint(mosaic * 50000).astype(np.uint16)
    known = {
        suffix: quality(cv2.cvtColor(lifted, getattr(cv2, f"COLOR_Bayer{cfa}2RGB{suffix}")) / 5e4)
        for suffix in ("", "_EA")
    }
    assert abs(quality(demosaic(mosaic, cfa, "bilinear")) - known[""]) < 0.05
    # published gains over bilinear: 5 dB for malvar (their table 1), more for residual
    assert quality(demosaic(mosaic, cfa, "malvar")) > max(known.values()) + 3
    assert quality(demosaic(mosaic, cfa, "residual")) > max(known.values()) + 6


def test_exposure_scales_the_linear_methods_exactly():
    mosaic = mosaic_of(skin(50, 60), "RGGB")
    balance = Balance(1.8, 0.7)
    for method in ("bilinear", "malvar"):
        shown = demosaic(mosaic, "RGGB", method, balance=balance)
        brighter = demosaic(mosaic * 4, "RGGB", method, balance=balance)
        assert np.array_equal(brighter, 4 * shown)  # a power of two: no rounding


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_half_size_is_malvar_and_a_mean_over_each_cell(cfa, dtype):
    light = mosaic_of(skin(62, 85), cfa)
    white = {np.uint8: 254.0, np.uint16: 4000.0, np.float32: 2.0}[dtype]
    black = 0.02 * white
    stored = black + light * (white - black)
    stored = stored.astype(dtype) if dtype is np.float32 else np.rint(stored).astype(dtype)
    developed = ((stored - np.float64(black)) / (white - black)).astype(np.float32)[:, :84]
    balance = Balance(1.7, 0.6)
    full = demosaic(developed, cfa, "malvar", balance=balance)
    cells = 0.25 * sum(full[a::2, b::2] for a in (0, 1) for b in (0, 1))
    half = demosaic_half(stored, cfa, black_level=black, white_level=white, balance=balance)
    assert np.abs(half - cells).max() < 1e-5


@pytest.mark.parametrize("cfa", BAYER_ORDERS)
def test_the_balance_is_the_colour_of_a_grey_scene_and_stays_within_limits(cfa):
    y, x = np.mgrid[0:48, 0:64] // 2  # the same within a cell: no slope between its samples
    grey = (0.2 + 0.1 * np.sin(x) * np.cos(y)).astype(np.float32)
    tinted = mosaic_of(grey[..., None] * np.array([1.8, 1.0, 0.7], np.float32), cfa)
    # the noise allowed for is a thousandth of this picture's power
    assert measure_balance(tinted, cfa) == pytest.approx((1.8, 0.7), rel=1e-3)
    stored = {"black_level": 4, "white_level": 254}
    assert measure_balance(tinted * 250 + 4, cfa, **stored) == pytest.approx((1.8, 0.7), rel=1e-3)
    assert measure_balance(np.zeros((8, 8)), cfa) == (1.0, 1.0)
    noise = np.random.default_rng(3).normal(0.0, 0.002, (64, 64))
    assert measure_balance(noise, cfa) == pytest.approx((1.0, 1.0), abs=0.2)
    red_only = mosaic_of(grey[..., None] * np.array([1.0, 0.1, 0.0], np.float32), cfa)
    assert measure_balance(red_only, cfa) == (5.0, pytest.approx(0.2))


def test_what_cannot_be_a_mosaic_is_refused_by_name():
    good = np.zeros((8, 8), np.float32)
    with pytest.raises(InputError, match="RGBW"):
        demosaic(good, "RGBW")
    with pytest.raises(InputError, match=r"\(8, 8, 3\)"):
        demosaic(np.zeros((8, 8, 3), np.float32), "GBRG")
    with pytest.raises(InputError, match=r"\(1, 8\)"):
        demosaic_half(good[:1], "GBRG")
    with pytest.raises(InputError, match="nearest"):
        demosaic(good, "GBRG", "nearest")
