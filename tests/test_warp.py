"""The flow contract: its algebraic law, and its signs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.warp import compose, disagreement, invert, warp

SIZE = 48


def smooth_flow(seed: int, strength_px: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((SIZE, SIZE, 2)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9)
    return smooth / np.abs(smooth).max() * np.float32(strength_px)


def plane() -> np.ndarray:
    """An image on which linear interpolation is exact."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return 3 * x - 2 * y + 5


def test_the_flow_says_where_a_pixel_comes_from():
    image = np.zeros((8, 10), np.float32)
    image[3, 7] = 1
    flow = np.zeros((8, 10, 2), np.float32)
    flow[..., 0], flow[..., 1] = 2, -1
    moved = warp(image, flow)
    assert moved[4, 5] == 1
    assert np.isnan(moved[0]).all()
    assert np.isnan(moved[:, 9]).all()


def test_zero_flow_changes_nothing():
    image = np.random.default_rng(0).random((9, 11, 3), dtype=np.float32)
    assert np.array_equal(warp(image, np.zeros((9, 11, 2), np.float32), "cubic"), image)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 3), st.floats(0, 3))
def test_warping_by_a_composition_is_warping_twice(seed_a, seed_b, strength_a, strength_b):
    a, b = smooth_flow(seed_a, strength_a), smooth_flow(seed_b, strength_b)
    image = plane()
    once = warp(image, compose(a, b))
    twice = warp(warp(image, b), a)
    both = np.isfinite(once) & np.isfinite(twice)
    assert both[8:-8, 8:-8].all()
    # remap places points to 1/32 pixel; the plane's slope is at most 3 a pixel along each axis
    assert np.abs(once - twice)[8:-8, 8:-8].max() < 3 * 5 / 32


@given(st.integers(0, 10**6), st.floats(0, 3))
def test_an_inverse_undoes_the_flow(seed, strength):
    flow = smooth_flow(seed, strength)
    loop = disagreement(invert(flow), flow)[8:-8, 8:-8]
    assert np.nanmax(loop) < 0.1


def test_an_invalid_flow_stays_invalid():
    flow = np.zeros((SIZE, SIZE, 2), np.float32)
    flow[5, 6] = np.nan
    assert np.isnan(warp(plane(), flow)[5, 6])
    assert np.isnan(compose(flow, flow)[5, 6]).all()
    assert np.isnan(warp(plane(), flow)).sum() == 1


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
def test_each_interpolation_keeps_a_plane(interpolation):
    flow = np.full((SIZE, SIZE, 2), 0.25, np.float32)
    expected = plane() + 3 * 0.25 - 2 * 0.25
    off = np.abs(warp(plane(), flow, interpolation) - expected)[5:-5, 5:-5]
    # OpenCV's cubic kernel (a = -0.75) bends a ramp by up to 3/64 of its slope along each axis
    assert off.max() <= 5 * 3 / 64
