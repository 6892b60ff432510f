"""Colours in both spaces, against colour-science and published numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightstage.exchange.colour_spaces import (
    ACESCG,
    COLOUR_SPACES,
    REC709,
    adaptation,
    conversion,
    convert,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it tells what it could plot with
    colour = pytest.importorskip("colour")

#: What colour-science calls each.
NAMES = {"rec709": "ITU-R BT.709", "acescg": "ACEScg"}


def reference(name):
    """A colour space of colour-science's with matrices from primaries, not rounded ones."""
    space = colour.RGB_COLOURSPACES[NAMES[name]].copy()
    space.use_derived_transformation_matrices(True)
    return space


@pytest.mark.parametrize("name", COLOUR_SPACES)
def test_primaries_and_white_are_those_of_colour_science(name):
    theirs = reference(name)
    ours = COLOUR_SPACES[name]
    np.testing.assert_allclose(ours.primaries, theirs.primaries, atol=1e-12)
    np.testing.assert_allclose(ours.white, theirs.whitepoint, atol=1e-12)
    np.testing.assert_allclose(ours.to_xyz, theirs.matrix_RGB_to_XYZ, atol=1e-12)


def test_rec709_becomes_acescg_as_colour_science_has_it():
    theirs = colour.matrix_RGB_to_RGB(reference("rec709"), reference("acescg"), "Bradford")
    np.testing.assert_allclose(conversion(ACESCG), theirs, atol=2e-6)
    rgb = np.random.default_rng(0).normal(0.5, 1.0, (50, 3)).astype(np.float32)
    expected = colour.RGB_to_RGB(
        rgb, reference("rec709"), reference("acescg"), chromatic_adaptation_transform="Bradford"
    )
    np.testing.assert_allclose(convert(rgb, ACESCG), expected, atol=2e-6)


def test_the_matrix_is_the_one_that_the_aces_transforms_publish():
    # OpenColorIO's ACES configuration, linear Rec.709 (sRGB) to ACEScg
    published = [
        [0.613097, 0.339523, 0.047379],
        [0.070194, 0.916354, 0.013452],
        [0.020616, 0.109570, 0.869815],
    ]
    np.testing.assert_allclose(conversion(ACESCG), published, atol=1e-6)


@given(st.floats(0, 1000, width=32))
def test_grey_stays_grey(level):
    # below float32's smallest normal number one step is more than 1e-5 of a value
    grey = convert(np.full((1, 3), level, np.float32), ACESCG)
    np.testing.assert_allclose(grey, level, rtol=1e-5, atol=float(np.finfo(np.float32).tiny))


@given(arrays(np.float32, (4, 3), elements=st.floats(-4, 64, width=32)))
def test_there_and_back_is_the_same(rgb):
    back = convert(rgb, ACESCG).astype(np.float64) @ conversion(REC709, ACESCG).T
    np.testing.assert_allclose(back, rgb, atol=1e-4)


def test_colours_of_rec709_are_positive_in_acescg():
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1]), np.float32).reshape(3, -1).T
    assert convert(corners, ACESCG).min() >= 0


def test_adaptation_to_the_same_white_is_nothing():
    np.testing.assert_allclose(adaptation(REC709.white, REC709.white), np.eye(3), atol=1e-15)
