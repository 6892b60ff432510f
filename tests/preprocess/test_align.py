"""Flow and alignment: a moving ball's lights, aligned, agree with the ball frozen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lightstage import CaptureSequence, Dome
from lightstage.preprocess.align import SetFrames, align_set
from lightstage.preprocess.develop import develop
from lightstage.preprocess.flow import equalise, flow_between, flows_from_centre
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.sequence import Step, StepKind
from tests.preprocess.moving_ball import MovingBall, psnr

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)
FULL = Step(StepKind.TRACKING)


def texture(seed=0, size=(96, 128)):
    noise = np.random.default_rng(seed).random(size).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    smooth -= smooth.min()
    return (smooth / smooth.max() * 255).astype(np.uint8)


@pytest.mark.parametrize("shift", [(3.0, 0.0), (0.0, -2.0), (-4.5, 2.5)])
def test_flow_points_from_the_reference_to_where_the_pixel_went(shift):
    reference = texture()
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    moved = cv2.warpAffine(reference, move, reference.shape[::-1], flags=cv2.INTER_CUBIC)
    flow = flow_between(reference, moved)[16:-16, 16:-16]
    assert np.abs(np.median(flow, axis=(0, 1)) - shift).max() < 0.1


def test_equalising_takes_a_gain_error_away():
    ball = MovingBall(DOME, SEQUENCE, 1)
    image = ball.linear(FULL, 0.1).astype(np.float32)
    bright, dim = equalise([image, image * 0.6])
    assert np.abs(bright.astype(int) - dim).max() <= 1


def ball_set(speed=(60.0, -25.0), drop=()):
    """Return a ball's take, its first set's frames, and the set's time."""
    ball = MovingBall(DOME, SEQUENCE, 60, speed_px_per_s=speed, noise=0.002)
    window = SEQUENCE.windows(None, 60)[0]
    frames = window.frames.copy()
    frames[list(drop)] = -1
    seconds = SEQUENCE.frame_period_us / 1e6
    chosen = SetFrames(
        light_frames=frames,
        light_times_s=window.frames * seconds,
        tracking_frames=window.tracking,
        tracking_times_s=window.tracking * seconds,
        centre=window.tracking.tolist().index(window.centre),
    )
    return ball, chosen, window.centre * seconds


def developer(ball):
    return lambda index: develop(
        ball[index], cfa=ball.cfa, black_level=ball.black_level, white_level=ball.white_level
    )


def truth(ball, time_s):
    steps = [Step(StepKind.OLAT, light) for light in range(len(DOME))]
    inside = ball.surface(time_s)[1][..., 2] > 0.3
    return np.array([ball.linear(step, time_s) for step in steps]), inside


def test_aligned_lights_agree_with_the_frozen_ball_where_unaligned_ones_do_not():
    ball, frames, time_s = ball_set(speed=(220.0, -90.0))
    expected, inside = truth(ball, time_s)
    settings = PreprocessSettings()
    unaligned_settings = PreprocessSettings.parse({"align": {"method": "none"}}, "test")
    aligned = align_set(frames, developer(ball), settings)
    unaligned = align_set(frames, developer(ball), unaligned_settings)
    gain_db = psnr(aligned.olat, expected, inside) - psnr(unaligned.olat, expected, inside)
    assert gain_db > 6.0
    assert psnr(aligned.olat, expected, inside) > 30.0
    assert aligned.confidence.min() > 0.8


def test_the_true_flow_of_a_moving_ball_is_found():
    ball, frames, _ = ball_set(speed=(220.0, -90.0))
    develop_frame = developer(ball)
    gray = equalise([develop_frame(int(index)) for index in frames.tracking_frames])
    flows = flows_from_centre(gray, frames.centre)
    inside = ball.surface(frames.tracking_times_s[frames.centre])[1][..., 2] > 0.4
    for index, flow in enumerate(flows):
        seconds = frames.tracking_times_s[index] - frames.tracking_times_s[frames.centre]
        moved = np.array([220.0, -90.0]) * seconds
        error_px = np.linalg.norm(flow[inside] - moved, axis=-1)
        assert np.median(error_px) < 0.3, index


def test_a_still_ball_is_not_harmed_by_alignment():
    ball, frames, time_s = ball_set(speed=(0.0, 0.0))
    expected, inside = truth(ball, time_s)
    unaligned_settings = PreprocessSettings.parse({"align": {"method": "none"}}, "test")
    aligned = align_set(frames, developer(ball))
    unaligned = align_set(frames, developer(ball), unaligned_settings)
    assert psnr(aligned.olat, expected, inside) > psnr(unaligned.olat, expected, inside) - 0.5


def test_a_missing_light_is_marked_not_guessed():
    ball, frames, _ = ball_set(drop=(3, 17))
    aligned = align_set(frames, developer(ball))
    missing = np.isnan(aligned.olat).all(axis=(1, 2, 3))
    assert np.flatnonzero(missing).tolist() == [3, 17]
    assert aligned.confidence[[3, 17]].tolist() == [0, 0]
    assert np.isfinite(np.delete(aligned.olat, [3, 17], axis=0)).all()
