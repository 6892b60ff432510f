"""Coarse pictures: the same from a whole frame and from a few of its rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.preprocess.coarse import (
    COARSE_SHAPE,
    coarse_from_rows,
    coarse_picture,
    coarse_pictures,
    coarse_rows,
)

SIZES = st.integers(2, 200)


@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_a_few_rows_give_the_same_picture_as_the_whole_frame(height, width, seed):
    frame = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    rows = coarse_rows(height)
    whole = coarse_picture(frame, 4, 254)
    assert whole.shape == COARSE_SHAPE
    assert (whole == coarse_from_rows(frame[rows], 4, 254)).all()


@given(SIZES)
def test_rows_come_as_pairs_of_the_colour_filter(height):
    rows = coarse_rows(height).reshape(-1, 2)
    assert (rows[:, 0] % 2 == 0).all()
    assert (rows[:, 1] == rows[:, 0] + 1).all()
    assert rows.max() < height
    assert (np.diff(rows[:, 0]) >= 0).all()


@pytest.mark.parametrize("size", [(1440, 2048), (96, 128), (41, 53), (25, 33), (12, 16)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_colour_filter_leaves_no_pattern(size, dtype):
    cell = np.array([[10, 200], [90, 40]])
    frame = np.tile(cell, (size[0] // 2 + 1, size[1] // 2 + 1))[: size[0], : size[1]].astype(dtype)
    assert np.allclose(coarse_picture(frame, 0, 255), cell.mean() / 255, atol=1e-6)


def test_a_long_take_is_read_by_its_rows():
    assert len(coarse_rows(1440)) * 10 < 1440


def test_smooth_light_is_averaged_where_it_falls():
    y, x = np.mgrid[0:480, 0:640]
    frame = (x * 60.0 + y * 40.0).astype(np.uint16)
    rows, columns = COARSE_SHAPE
    middle_x = (np.arange(columns) + 0.5) * 640 / columns - 0.5
    middle_y = (np.arange(rows) + 0.5) * 480 / rows - 0.5
    expected = middle_x[None, :] * 60.0 + middle_y[:, None] * 40.0
    found = coarse_picture(frame, 0.0, 1.0)
    # the rows taken lie within a sensor row pair of where they should
    assert np.abs(found - expected).max() < 2 * 40.0


class Frames:
    """A source that counts what is read of it."""

    width, height, cfa, black_level, white_level = 64, 48, "GBRG", 4.0, 254.0
    time_ns, first_frame_number = None, 0

    def __init__(self):
        self.frames = np.random.default_rng(0).integers(0, 256, (5, 48, 64), dtype=np.uint8)

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        return self.frames[index]


class RowFrames(Frames):
    def __getitem__(self, index):
        raise AssertionError("whole frames are not to be read")

    def read_rows(self, index, rows):
        return self.frames[index][rows]


def test_a_source_that_reads_rows_is_asked_for_rows_only():
    assert (coarse_pictures(Frames()) == coarse_pictures(RowFrames())).all()
