"""Develop: linear RGB from the sensor's mosaic, whatever its colour order."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.preprocess.develop import develop
from lightstage.preprocess.settings import DevelopSettings

CHANNEL = {"R": 0, "G": 1, "B": 2}


def mosaic_of(linear, cfa, black, white, dtype):
    stored = np.empty(linear.shape[:2])
    for k, letter in enumerate(cfa):
        row, column = divmod(k, 2)
        stored[row::2, column::2] = linear[row::2, column::2, CHANNEL[letter]]
    return np.rint(black + stored * (white - black)).astype(dtype)


@pytest.mark.parametrize("cfa", ["GBRG", "RGGB", "BGGR", "GRBG"])
@pytest.mark.parametrize("demosaic", ["bilinear", "edge-aware"])
@pytest.mark.parametrize(
    ("black", "white", "dtype"), [(4, 254, np.uint8), (64, 4064, np.uint16), (0, 65535, np.uint16)]
)
def test_an_even_colour_comes_back_whatever_the_mosaic(cfa, demosaic, black, white, dtype):
    colour = np.array([0.6, 0.3, 0.1])
    stored = mosaic_of(np.tile(colour, (12, 16, 1)), cfa, black, white, dtype)
    linear = develop(
        stored,
        cfa=cfa,
        black_level=black,
        white_level=white,
        settings=DevelopSettings(demosaic=demosaic),
    )
    assert linear.dtype == np.float32
    assert np.abs(linear - colour).max() <= 0.5 / (white - black) + 1e-6


def test_a_ramp_stays_a_ramp_to_less_than_a_stored_level():
    x = np.linspace(0.1, 0.9, 64)
    ramp = np.repeat(np.tile(x, (16, 1))[..., None], 3, axis=2)
    stored = mosaic_of(ramp, "GBRG", 4, 254, np.uint8)
    linear = develop(stored, cfa="GBRG", black_level=4, white_level=254)
    # half a level of rounding, and a level's slope over the pixels that are averaged
    assert np.abs(linear - ramp)[2:-2, 2:-2].max() < 1.5 / 250 + 0.8 / 63


def test_black_is_zero_white_is_one_and_noise_below_black_is_kept():
    stored = np.array([[4, 4], [4, 4]], np.uint8).repeat(4, 0).repeat(4, 1)
    options = {"cfa": "GRAY", "black_level": 4, "white_level": 254}
    assert np.abs(develop(stored, **options)).max() < 1e-6
    assert np.allclose(develop(stored * 0 + 254, **options), 1, atol=1e-6)
    assert np.allclose(develop(stored * 0, **options), -4 / 250, atol=1e-6)
