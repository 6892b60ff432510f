"""Develop: linear RGB from the sensor's mosaic, whatever its colour order, region and level."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.preprocess.develop import DevelopedFrames, develop, with_balance
from lightstage.preprocess.settings import DevelopSettings
from lightstage.preprocess.view import Rectangle

CHANNEL = {"R": 0, "G": 1, "B": 2}
DEMOSAICS = ["bilinear", "malvar", "residual"]
CFAS = ["GBRG", "RGGB", "BGGR", "GRBG"]
OPTIONS = {"cfa": "GBRG", "black_level": 4, "white_level": 254}


def mosaic_of(linear, cfa, black, white, dtype):
    stored = np.empty(linear.shape[:2])
    for k, letter in enumerate(cfa):
        row, column = divmod(k, 2)
        stored[row::2, column::2] = linear[row::2, column::2, CHANNEL[letter]]
    return np.rint(black + stored * (white - black)).astype(dtype)


def settings_of(demosaic, **options):
    return DevelopSettings(demosaic=demosaic, balance=(0.9, 0.6), **options)


class Frames:
    """Random frames, and which rows of them have been read."""

    cfa, black_level, white_level = "GBRG", 4.0, 254.0

    def __init__(self, count=6, height=200, width=250):
        rng = np.random.default_rng(5)
        self._frames = rng.integers(0, 255, (count, height, width), dtype=np.uint8)
        self.width, self.height = width, height
        self.read = []

    def __len__(self):
        return len(self._frames)

    def __getitem__(self, index):
        return self._frames[index]

    def read_window(self, index, top, bottom):
        self.read.append((index, top, bottom))
        return self._frames[index, top:bottom]


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize("demosaic", DEMOSAICS)
@pytest.mark.parametrize(
    ("black", "white", "dtype"), [(4, 254, np.uint8), (64, 4064, np.uint16), (0, 65535, np.uint16)]
)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_an_even_colour_comes_back_whatever_the_mosaic(cfa, demosaic, black, white, dtype, level):
    colour = np.array([0.6, 0.3, 0.1])
    stored = mosaic_of(np.tile(colour, (12, 16, 1)), cfa, black, white, dtype)
    linear = develop(
        stored,
        cfa=cfa,
        black_level=black,
        white_level=white,
        settings=DevelopSettings(demosaic=demosaic),
        level=level,
    )
    assert linear.dtype == np.float32
    assert linear.shape == (12 >> level, 16 >> level, 3)
    assert np.abs(linear - colour).max() <= 0.5 / (white - black) + 1e-6


@pytest.mark.parametrize("demosaic", DEMOSAICS)
def test_a_ramp_stays_a_ramp_to_less_than_a_stored_level(demosaic):
    x = np.linspace(0.1, 0.9, 64)
    ramp = np.repeat(np.tile(x, (16, 1))[..., None], 3, axis=2)
    stored = mosaic_of(ramp, "GBRG", 4, 254, np.uint8)
    linear = develop(stored, settings=DevelopSettings(demosaic=demosaic), **OPTIONS)
    # half a level of rounding, and a level's slope over the pixels that are averaged
    assert np.abs(linear - ramp)[2:-2, 2:-2].max() < 1.5 / 250 + 0.8 / 63


def test_black_is_zero_white_is_one_and_noise_below_black_is_kept():
    stored = np.array([[4, 4], [4, 4]], np.uint8).repeat(4, 0).repeat(4, 1)
    options = {"cfa": "GRAY", "black_level": 4, "white_level": 254}
    assert np.abs(develop(stored, **options)).max() < 1e-6
    assert np.allclose(develop(stored * 0 + 254, **options), 1, atol=1e-6)
    assert np.allclose(develop(stored * 0, **options), -4 / 250, atol=1e-6)


@pytest.mark.parametrize("demosaic", DEMOSAICS)
def test_noise_around_black_keeps_its_mean_through_every_demosaic(demosaic):
    stored = np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8)  # mean 4: black
    linear = develop(stored, settings=settings_of(demosaic), **OPTIONS)
    deviation = np.sqrt((9**2 - 1) / 12) / 250
    assert linear.min() < 0
    assert abs(float(linear.mean())) < 4 * deviation / 64


@pytest.mark.parametrize("demosaic", DEMOSAICS)
@pytest.mark.parametrize("level", [1, 2])
def test_a_level_is_the_mean_of_the_pixels_it_stands_for(demosaic, level):
    # dark enough that nothing between pixels reaches white, where light is cut off
    stored = np.random.default_rng(1).integers(0, 90, (48, 64), dtype=np.uint8)
    settings = settings_of(demosaic)
    whole = develop(stored, settings=settings, **OPTIONS)
    step = 1 << level
    mean = whole.reshape(48 // step, step, 64 // step, step, 3).mean(axis=(1, 3))
    small = develop(stored, settings=settings, level=level, **OPTIONS)
    assert np.abs(small - mean).max() < 2e-6


@pytest.mark.parametrize("demosaic", DEMOSAICS)
@pytest.mark.parametrize("level", [0, 1])
def test_nothing_is_brighter_than_white(demosaic, level):
    stored = np.random.default_rng(1).integers(0, 256, (48, 64), dtype=np.uint8)
    linear = develop(stored, settings=settings_of(demosaic), level=level, **OPTIONS)
    assert linear.max() <= 1.0


@pytest.mark.parametrize("demosaic", DEMOSAICS)
def test_white_balance_and_matrix_are_applied_in_that_order(demosaic):
    stored = np.random.default_rng(2).integers(0, 255, (32, 32), dtype=np.uint8)
    white, matrix = (
        (1.9, 1.0, 1.4),
        np.array([[1.5, -0.4, -0.1], [-0.2, 1.3, -0.1], [0, -0.3, 1.3]]),
    )
    camera = develop(stored, settings=settings_of(demosaic), **OPTIONS)
    coloured = settings_of(
        demosaic, white_balance=white, colour_matrix=tuple(matrix.ravel().tolist())
    )
    seen = develop(stored, settings=coloured, **OPTIONS)
    expected = np.einsum("ij,yxj->yxi", matrix, camera * np.array(white))
    assert np.abs(seen - expected).max() < 1e-5


@pytest.mark.parametrize("demosaic", DEMOSAICS)
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_region_is_the_same_place_of_the_whole_frame_to_the_last_bit(demosaic, level):
    source, settings = Frames(1), settings_of(demosaic)
    frame = Rectangle(0, 0, 250 >> level << level, 200 >> level << level)
    whole = DevelopedFrames(source, settings, level, 1 << 30).region(0, frame)
    direct = develop(
        source[0][: frame.height, : frame.width], settings=settings, level=level, **OPTIONS
    )
    assert np.array_equal(whole, direct.astype(np.float16))
    for region in (
        Rectangle(64, 48, 96, 80),
        Rectangle(0, 0, 64, 64),
        Rectangle(80, 80, frame.width - 80, frame.height - 80),
        Rectangle(112, 64, 16, 16),
    ):
        part = DevelopedFrames(source, settings, level, 1 << 30).region(0, region)
        top, left = region.top >> level, region.left >> level
        rows, columns = region.height >> level, region.width >> level
        assert np.array_equal(part, whole[top : top + rows, left : left + columns]), region


def test_each_frame_is_developed_once_and_only_its_rows_are_read():
    source = Frames()
    frames = DevelopedFrames(source, settings_of("malvar"), 0, 1 << 30)
    region = Rectangle(48, 64, 64, 48)
    for _ in range(3):
        for index in range(len(source)):
            frames.region(index, region)
    assert frames.developed == len(source)
    assert len(source.read) == len(source)
    assert all(top >= 16 and bottom <= 160 for _, top, bottom in source.read)


def test_frames_are_forgotten_by_bytes_the_longest_unused_first():
    source, region = Frames(), Rectangle(0, 0, 64, 64)
    one = 64 * 64 * 3 * 2
    frames = DevelopedFrames(source, settings_of("bilinear"), 0, 2 * one)
    for index in (0, 1, 0, 2):  # 1 has gone unused for the longest
        frames.region(index, region)
    assert frames.developed == 3
    frames.region(0, region)
    frames.region(2, region)
    assert frames.developed == 3
    frames.region(1, region)
    assert frames.developed == 4


def test_nothing_is_remembered_where_nothing_may_be():
    frames = DevelopedFrames(Frames(), settings_of("bilinear"), 0, 0)
    first = frames.region(0, Rectangle(0, 0, 64, 64))
    assert np.array_equal(first, frames.region(0, Rectangle(0, 0, 64, 64)))
    assert frames.developed == 2


@pytest.mark.parametrize("slack_px", [0, 48])
def test_what_comes_out_does_not_depend_on_what_was_asked_before(slack_px):
    source, settings = Frames(), settings_of("residual")
    regions = [
        Rectangle(16 * x, 16 * y, 64, 64) for x, y in ((0, 0), (3, 2), (4, 2), (5, 5), (3, 2))
    ]
    many = DevelopedFrames(source, settings, 1, 1 << 20, slack_px)
    for index in (0, 1):
        for region in regions:
            alone = DevelopedFrames(source, settings, 1, 0).region(index, region)
            assert np.array_equal(many.region(index, region), alone), region


def test_a_caller_cannot_change_what_is_remembered():
    frames = DevelopedFrames(Frames(), settings_of("bilinear"), 0, 1 << 20)
    region = Rectangle(0, 0, 64, 64)
    first = frames.region(0, region)
    kept = first.copy()
    first[:] = 7
    assert np.array_equal(frames.region(0, region), kept)


def test_the_balance_is_measured_once_a_take_unless_it_is_given():
    light = 0.2 + 0.6 * np.sin(np.linspace(0, 3, 64)) * np.linspace(0.5, 1, 64)[:, None]
    linear = light[..., None] * np.array([1.0, 0.8, 0.5])
    source = Frames(1, 64, 64)
    source._frames[0] = mosaic_of(linear, "GBRG", 4, 254, np.uint8)
    measured = with_balance(DevelopSettings(), source, 0).balance
    assert measured == pytest.approx((1.0 / 0.8, 0.5 / 0.8), rel=0.05)
    given = DevelopSettings(balance=(1.5, 0.7))
    assert with_balance(given, source, 0).balance == (1.5, 0.7)
