"""A chart's colours are turned into a transform, or refused with the reason."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightstage.calibration.colour_chart import (
    PATCH_LAB_D50,
    PATCH_NAMES,
    PATCH_REC709,
    ChartPatches,
    find_chart,
    fit_colour,
    patches_picture,
    read_patches,
)
from lightstage.calibration.colour_difference import delta_e_2000, lab_from_rec709
from lightstage.colour import to_8bit
from lightstage.errors import InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import colour

#: A camera's matrix with rows that add up to 1, and its white balance.
MATRIX = np.array([[1.6, -0.4, -0.2], [-0.25, 1.45, -0.2], [0.05, -0.55, 1.5]])
BALANCE = np.array([1.9, 1.0, 1.5])
EXPOSURE = 1.3
CORNERS = ((60.0, 50.0), (360.0, 50.0), (360.0, 230.0), (60.0, 230.0))


def camera_colours(rec709=PATCH_REC709):
    return rec709 @ np.linalg.inv(EXPOSURE * MATRIX * BALANCE).T


def chart_picture(colours, side=60, margin=20, gap=8):
    """A chart of square patches on dark card, first patch's middle at (50, 50) + margin's 10."""
    picture = np.full((4 * side + 2 * margin + 40, 6 * side + 2 * margin + 60, 3), 0.02)
    for index, value in enumerate(colours):
        row, column = divmod(index, 6)
        x, y = 60 + column * side, 50 + row * side
        half = (side - gap) // 2
        picture[y - half : y + half, x - half : x + half] = value
    return picture.astype(np.float32)


def test_published_values_are_those_of_colour_science():
    chart = colour.CCS_COLOURCHECKERS["ColorChecker24 - After November 2014"]
    xyz = colour.xyY_to_XYZ(np.array(list(chart.data.values())))
    assert np.abs(colour.XYZ_to_Lab(xyz, chart.illuminant) - PATCH_LAB_D50).max() < 0.01
    linear = colour.XYZ_to_RGB(xyz, "sRGB", chart.illuminant, "Bradford", apply_cctf_encoding=False)
    assert np.abs(linear - PATCH_REC709).max() < 2e-3


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=2))
def test_lab_and_delta_e_are_those_of_colour_science(pair):
    d50 = colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D50"]
    ours = lab_from_rec709(np.array(pair))
    xyz = colour.RGB_to_XYZ(np.array(pair), "sRGB", d50, "Bradford", apply_cctf_decoding=False)
    assert np.abs(colour.XYZ_to_Lab(xyz, d50) - ours).max() < 0.15
    theirs = colour.delta_E(ours[0], ours[1], method="CIE 2000")
    assert delta_e_2000(ours[0], ours[1]) == pytest.approx(theirs, abs=1e-6)


def test_delta_e_meets_the_published_test_pairs():
    # Sharma, Wu, Dalal 2005, table 1: among them one whose hues lie half a turn apart
    first = [
        [50, 2.6772, -79.7751],
        [50, 0, 0],
        [50, -0.001, 2.49],
        [50, 2.5, 0],
        [60.2574, -34.0099, 36.2677],
    ]
    second = [
        [50, 0, -82.7485],
        [50, -1, 2],
        [50, 0.0011, -2.49],
        [73, 25, -18],
        [60.4626, -34.1751, 39.4387],
    ]
    known = [2.0425, 2.3669, 4.7461, 27.1492, 1.2644]
    assert delta_e_2000(first, second) == pytest.approx(known, abs=1e-4)


def test_a_known_camera_is_recovered_in_closed_form():
    patches = read_patches(chart_picture(camera_colours()), CORNERS)
    fit = fit_colour(patches)
    assert np.abs(fit.matrix - MATRIX).max() < 1e-4
    assert np.abs(fit.white_balance - BALANCE).max() < 1e-4
    assert fit.exposure == pytest.approx(EXPOSURE, rel=1e-4)
    assert fit.delta_e.max() < 1e-2


@given(st.lists(st.floats(-0.4, 0.4), min_size=6, max_size=6), st.floats(0.2, 5), st.floats(0.2, 5))
def test_white_stays_white_whatever_the_camera(off, red, blue):
    matrix = np.eye(3)
    matrix[~np.eye(3, dtype=bool)] = off
    matrix[np.diag_indices(3)] = 1.0 - (matrix.sum(axis=1) - 1.0)
    if np.linalg.cond(matrix) > 30:
        return
    colours = PATCH_REC709 @ np.linalg.inv(matrix * np.array([red, 1.0, blue])).T
    colours = colours / colours.max() * 0.9
    flat = np.zeros_like(colours)
    if colours[18].min() < 0.03:
        return
    fit = fit_colour(ChartPatches(colours, flat, np.zeros(24), CORNERS))
    assert fit.matrix.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-9)
    assert np.abs(fit.matrix - matrix).max() < 1e-6


def test_noise_of_two_percent_costs_less_than_half_a_delta_e():
    rng = np.random.default_rng(1)
    picture = chart_picture(camera_colours())
    noisy = picture * (1.0 + rng.normal(0.0, 0.02, picture.shape)).astype(np.float32)
    fit = fit_colour(read_patches(noisy, CORNERS))
    assert fit.delta_e.mean() < 0.5
    # against the truth, not against what was fitted
    true = lab_from_rec709(camera_colours() @ (fit.exposure * fit.matrix * fit.white_balance).T)
    assert delta_e_2000(true, PATCH_LAB_D50).mean() < 0.5


@pytest.mark.parametrize("turns", [0, 2])
def test_a_chart_is_found_however_it_lies(turns):
    picture = np.rot90(chart_picture(camera_colours()), turns)
    corners = np.array(find_chart(np.ascontiguousarray(picture)))
    height, width = picture.shape[:2]
    true = np.array(CORNERS)
    if turns:
        true = np.array([width - 1, height - 1]) - true
    assert np.abs(corners - true).max() < 4.0
    fit = fit_colour(read_patches(picture, tuple(map(tuple, corners))))
    assert np.abs(fit.matrix - MATRIX).max() < 1e-3


def test_a_chart_seen_at_an_angle_is_read_right():
    picture = chart_picture(camera_colours())
    height, width = picture.shape[:2]
    seen = np.array([[40, 30], [380, 60], [360, 280], [70, 250]], np.float32)
    whole = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getPerspectiveTransform(whole, seen)
    warped = cv2.warpPerspective(picture, turn, (width, height))
    corners = cv2.perspectiveTransform(np.array([CORNERS], np.float32), turn)[0]
    fit = fit_colour(read_patches(warped, tuple(map(tuple, corners.tolist()))))
    assert np.abs(fit.matrix - MATRIX).max() < 1e-2


def test_what_cannot_be_trusted_is_refused_with_the_reason():
    good = chart_picture(camera_colours())
    with pytest.raises(InputError, match="no chart of 24 patches"):
        find_chart(np.full((200, 300, 3), 0.4, np.float32))
    with pytest.raises(InputError, match=r"over-exposed: .*white"):
        fit_colour(read_patches(np.minimum(good * 3.0, 1.0), CORNERS))
    with pytest.raises(InputError, match="more light"):
        fit_colour(read_patches(good * 0.01, CORNERS))
    with pytest.raises(InputError, match="turned by half a turn"):
        fit_colour(read_patches(good, CORNERS[2:] + CORNERS[:2]))
    with pytest.raises(InputError, match="mirrored left to right"):
        fit_colour(read_patches(good[:, ::-1], tuple((good.shape[1] - 1 - x, y) for x, y in
                   (CORNERS[1], CORNERS[0], CORNERS[3], CORNERS[2]))))  # fmt: skip
    with pytest.raises(InputError, match="outside the picture"):
        read_patches(good, ((900.0, 0.0),) + CORNERS[1:])
    with pytest.raises(InputError, match="in this order"):
        read_patches(good, (CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3]))
    mixed = camera_colours()[np.random.default_rng(0).permutation(24)]
    with pytest.raises(InputError, match=r"CIEDE2000 in the mean|not white in any light"):
        fit_colour(read_patches(chart_picture(mixed), CORNERS))


def test_the_picture_shows_measured_beside_published():
    fit = fit_colour(read_patches(chart_picture(camera_colours()), CORNERS))
    picture = patches_picture(fit)
    assert picture.shape[2] == 3 and len(PATCH_NAMES) == 24
    assert np.abs(picture[40, 30].astype(int) - to_8bit(PATCH_REC709[0])).max() <= 1
