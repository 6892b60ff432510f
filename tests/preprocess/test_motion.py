"""Motion of a set: flows to its tracking frames, how far each is trusted, never worse than none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lightstage.preprocess.flow import flow_method, prepare
from lightstage.preprocess.motion import find_motion
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.view import View

WIDTH, HEIGHT = 192, 160
TRACKING, CENTRE = 7, 3
SETTINGS = PreprocessSettings()


def painting(seed=0):
    """A smooth, textured picture, larger than the frame, linear light."""
    noise = np.random.default_rng(seed).random((HEIGHT + 128, WIDTH + 128)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3.0)
    smooth -= smooth.min()
    return 0.1 + 0.6 * smooth / smooth.max()


def seen(picture, shift):
    """The frame when the painting has moved by ``shift`` pixels."""
    move = np.float32([[1, 0, shift[0] - 64], [0, 1, shift[1] - 64]])
    return cv2.warpAffine(picture, move, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)


def motion_of(frames, settings=SETTINGS, offset=0.0, places=None, size=None, centre=CENTRE):
    view = View.of((0.0, 0.0, WIDTH, HEIGHT), size, (WIDTH, HEIGHT))

    def luminance(index, view):
        full = (view.flow_width, view.flow_height)
        return prepare(cv2.resize(frames[index], full, interpolation=cv2.INTER_AREA))

    places = np.arange(len(frames)) if places is None else np.array(places)
    tracking = np.arange(len(frames))
    return find_motion(tracking, places, centre, view, luminance, settings, offset), view


def pixels(motion):
    return motion.flow.astype(float) * motion.unit_px


def inner(values):
    return values[:, 12:-12, 12:-12]


def test_a_still_picture_has_exactly_no_motion_and_full_trust():
    frame = seen(painting(), (0, 0))
    motion, _ = motion_of([frame] * TRACKING)
    assert not motion.flow.any()
    assert (motion.trust == 255).all()
    assert motion.confidence == pytest.approx(np.ones(TRACKING), abs=1e-6)
    assert not motion.residual.any()
    assert not motion.motion_px.any()


def test_a_still_picture_with_noise_is_moved_by_less_than_a_hundredth_of_a_pixel():
    rng = np.random.default_rng(1)
    frame = seen(painting(), (0, 0))
    noisy = [frame + rng.normal(0, 0.004, frame.shape).astype(np.float32) for _ in range(TRACKING)]
    motion, _ = motion_of(noisy)
    assert np.hypot(*np.moveaxis(pixels(motion), -1, 0)).mean() < 0.01
    assert motion.confidence.min() > 0.9


@pytest.mark.parametrize("size", [None, (96, 80)])
def test_even_motion_is_found_in_source_pixels_at_every_size(size):
    speed = np.array([1.7, -1.1])
    frames = [seen(painting(), speed * (i - CENTRE)) for i in range(TRACKING)]
    motion, _ = motion_of(frames, size=size)
    for index in range(TRACKING):
        found = np.median(inner(pixels(motion))[index], axis=(0, 1))
        assert np.abs(found - speed * (index - CENTRE)).max() < 0.1, index
    expected = np.linalg.norm(speed) * np.abs(np.arange(TRACKING) - CENTRE)
    assert motion.motion_px == pytest.approx(expected, abs=0.35)
    assert motion.confidence.min() > 0.75
    assert (motion.residual < 0.35 * motion.residual_unaligned + 1e-6).all()


def test_a_missing_tracking_frame_leaves_the_others_flows_as_they_are():
    speed = np.array([1.7, -1.1])
    places = [0, 1, 3, 4, 5, 6]  # 2 is missing, 3 is the centre
    frames = [seen(painting(), speed * (place - 3)) for place in places]
    motion, _ = motion_of(frames, places=places, centre=2)
    for index, place in enumerate(places):
        found = np.median(inner(pixels(motion))[index], axis=(0, 1))
        assert np.abs(found - speed * (place - 3)).max() < 0.1


@pytest.mark.parametrize("offset", [-0.5, 0.3, 0.5])
def test_a_set_between_tracking_frames_is_as_far_from_each_as_its_time(offset):
    speed = np.array([2.5, 1.5])
    frames = [seen(painting(), speed * (i - CENTRE)) for i in range(TRACKING)]
    motion, _ = motion_of(frames, offset=offset)
    for index in range(TRACKING):
        found = np.median(inner(pixels(motion))[index], axis=(0, 1))
        assert np.abs(found - speed * (index - CENTRE - offset)).max() < 0.12, index


def test_what_a_foreground_hides_is_not_trusted():
    """A bar passes before a still wall: the wall's points under it are nowhere to be found."""
    wall, bar = seen(painting(), (0, 0)), 0.75
    frames = []
    for index in range(TRACKING):
        frame = wall.copy()
        left = 10 + 24 * index
        frame[:, left : left + 20] = bar
        frames.append(frame)
    motion, view = motion_of(frames)
    columns = np.arange(view.grid_width) * WIDTH / view.grid_width
    for index in (0, 1, 5, 6):
        left = 10 + 24 * index
        hidden = (columns > left + 4) & (columns < left + 16)
        trust = motion.trust[index][12:-12] / 255.0
        centre = 10 + 24 * CENTRE
        free = (np.abs(columns - left - 10) > 32) & (np.abs(columns - centre - 10) > 32)
        assert trust[:, hidden].mean() < 0.3, index
        assert trust[:, free].mean() > 0.8, index


def test_motion_out_of_the_frame_is_not_trusted():
    speed = np.array([6.0, 0.0])
    frames = [seen(painting(), speed * (i - CENTRE)) for i in range(TRACKING)]
    motion, view = motion_of(frames)
    # the centre's rightmost points have left the last frame by then
    gone = motion.trust[-1][:, -int(12 * view.grid_width / WIDTH) :]
    assert gone.mean() < 0.25 * 255


@pytest.mark.parametrize("seed", range(4))
def test_alignment_never_makes_a_tracking_frame_fit_less_than_it_did(seed):
    """Even of pictures that have nothing to do with each other, or flicker."""
    rng = np.random.default_rng(seed)
    wild = [seen(painting(seed * 10 + i), (0, 0)) for i in range(TRACKING)]
    noisy = [rng.random((HEIGHT, WIDTH)).astype(np.float32) for _ in range(TRACKING)]
    for frames in (wild, noisy):
        motion, _ = motion_of(frames)
        assert (motion.residual <= motion.residual_unaligned).all()


def test_the_same_set_gives_the_same_motion_whatever_was_computed_before():
    frames = [seen(painting(), np.array([1.0, 2.0]) * (i - CENTRE)) for i in range(TRACKING)]
    first, _ = motion_of(frames)
    motion_of([seen(painting(5), (3.0 * i, 0)) for i in range(TRACKING)], size=(64, 48))
    flow_method.cache_clear()
    motion_of([seen(painting(6), (0, 2.0 * i)) for i in range(TRACKING)])
    again, _ = motion_of(frames)
    assert np.array_equal(first.flow, again.flow)
    assert np.array_equal(first.trust, again.trust)
    assert np.array_equal(first.residual, again.residual)


def test_a_dark_set_has_no_motion_and_is_no_fault():
    motion, _ = motion_of([np.zeros((HEIGHT, WIDTH), np.float32)] * TRACKING)
    assert not motion.flow.any()
    assert np.isfinite(motion.confidence).all()


@pytest.mark.parametrize("gain", [0.5, 1.3])
def test_a_tracking_frame_of_another_gain_moves_as_before(gain):
    speed = np.array([1.7, -1.1])
    frames = [seen(painting(), speed * (i - CENTRE)) for i in range(TRACKING)]
    same, _ = motion_of(frames)
    frames[5] = frames[5] * np.float32(gain)
    other, _ = motion_of(frames)
    assert np.abs(pixels(same) - pixels(other))[5].mean() < 0.05
    assert other.confidence[5] > 0.75
