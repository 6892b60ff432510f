"""Views: each output pixel stands for its own square of the sensor, at every crop and size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lightstage.preprocess.view import Rectangle, View, resample


@st.composite
def views(draw):
    """A view of some part of some frame, and what it was made of."""
    frame = draw(st.integers(64, 1100)), draw(st.integers(64, 1100))
    width = draw(st.floats(16, frame[0]))
    height = draw(st.floats(16, frame[1]))
    left = draw(st.floats(0, 1)) * (frame[0] - width)
    top = draw(st.floats(0, 1)) * (frame[1] - height)
    if draw(st.booleans()):
        left, top, width, height = (float(int(v)) for v in (left, top, width, height))
    size = draw(st.none() | st.tuples(st.integers(16, 512), st.integers(16, 512)))
    scale = draw(st.none() | st.floats(0.05, 1.0))
    finest = draw(st.integers(0, 3))
    part = (left, top, width, height)
    return View.of(part, size, frame, flow_scale=scale, finest_scale=finest), frame


def middle(begin, step, index):
    """The source place of the middle of a cell: pixel 0 reaches from -0.5 to 0.5."""
    return begin - 0.5 + (index + 0.5) * step


@given(views())
def test_every_grid_is_laid_on_the_source_by_its_cells_middles(made):
    view, _ = made
    developed = view.developed_px, view.developed_px
    for affine, cells, step in (
        (view.output_to_developed(), (view.out_width, view.out_height), developed),
        (view.grid_to_developed(), (view.grid_width, view.grid_height), developed),
        (view.grid_to_flow_image(), (view.grid_width, view.grid_height), view.flow_px),
    ):
        assert affine[0, 1] == affine[1, 0] == 0
        for axis, (begin, length, origin) in enumerate(
            ((view.left, view.width, view.region.left), (view.top, view.height, view.region.top))
        ):
            for index in (0, cells[axis] // 2, cells[axis] - 1):
                there = affine[axis, axis] * index + affine[axis, 2]
                asked = middle(begin, length / cells[axis], index)
                assert middle(origin, step[axis], there) == pytest.approx(asked, abs=1e-6)


@given(views())
def test_regions_lie_inside_the_frame_on_whole_cells_around_the_part(made):
    view, (width, height) = made
    region = view.region
    assert Rectangle(0, 0, width, height).contains(region)
    cell = 1 << view.level
    for begin, end, last in (
        (region.left, region.right, width),
        (region.top, region.bottom, height),
    ):
        assert begin % cell == begin % 2 == 0
        assert end == last or (end % cell == end % 2 == 0)
    # what the output shows is inside, but for fractions of the frame's last cell
    assert region.left - 0.5 <= view.left - 0.5
    assert region.top - 0.5 <= view.top - 0.5
    assert region.right >= min(width, view.left + view.width - 0.5)
    assert region.bottom >= min(height, view.top + view.height - 0.5)


@settings(max_examples=25)
@given(views())
def test_a_ramp_drawn_through_a_view_shows_each_pixels_own_place(made):
    view, (width, height) = made
    assume(view.level <= 2)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    ramp = np.dstack([x, y])
    region, whole = view.region, 1 << view.level
    cut = ramp[region.top : region.bottom, region.left : region.right]
    cut = cut[: len(cut) // whole * whole, : cut.shape[1] // whole * whole]
    rows, columns = cut.shape[0] // whole, cut.shape[1] // whole
    developed = cut.reshape(rows, whole, columns, whole, 2).mean(axis=(1, 3))
    drawn = resample(developed, view.output_to_developed(), view.out_width, view.out_height)
    expected = np.dstack(
        np.meshgrid(
            middle(view.left, view.width / view.out_width, np.arange(view.out_width)),
            middle(view.top, view.height / view.out_height, np.arange(view.out_height)),
        )
    )
    # beyond the middles of the developed border pixels the edge's value is repeated
    low, high = developed[0, 0], developed[-1, -1]
    inside = ((expected >= low) & (expected <= high)).all(axis=-1)
    assert inside.any()
    # OpenCV places to 1/32 of a pixel
    assert np.abs(drawn - expected)[inside].max() <= whole * (1 / 32 + 1e-3)


@pytest.mark.parametrize(
    ("part", "size", "level", "out"),
    [
        ((0, 0, 640, 480), None, 0, (640, 480)),
        ((100, 60, 256, 256), None, 0, (256, 256)),
        ((100, 60, 256, 256), (512, 512), 0, (512, 512)),
        ((0, 0, 640, 480), (320, 240), 1, (320, 240)),
        ((0, 0, 640, 480), (160, 120), 2, (160, 120)),
        ((0, 0, 640, 480), (160, 480), 0, (160, 480)),
    ],
)
def test_a_smaller_picture_is_made_from_a_smaller_level(part, size, level, out):
    view = View.of(part, size, (640, 480))
    assert view.level == level
    assert (view.out_width, view.out_height) == out


def test_a_much_smaller_picture_is_still_made_from_whole_cells():
    view = View.of((1500.0, 900.0, 512.0, 512.0), (16, 16), (2048, 1440))
    cell = 1 << view.level
    assert view.region.left % cell == view.region.top % cell == 0


def test_resampling_by_whole_pixels_copies_them():
    image = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    affine = np.array([[1.0, 0, 7], [0, 1.0, 5]])
    assert np.array_equal(resample(image, affine, 20, 30), image[5:35, 7:27])


def test_resampling_agrees_with_opencvs_area_of_two():
    image = np.random.default_rng(0).random((40, 52)).astype(np.float32)
    affine = np.array([[2.0, 0, 0.5], [0, 2.0, 0.5]])
    expected = cv2.resize(image, (26, 20), interpolation=cv2.INTER_AREA)
    assert np.allclose(resample(image, affine, 26, 20), expected, atol=1e-6)
