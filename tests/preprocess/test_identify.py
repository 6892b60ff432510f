"""Identify: which step each frame shows, against a ball whose every frame is known."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome
from lightstage.errors import SequenceError
from lightstage.preprocess.identify import coarse_pictures, identify
from tests.preprocess.moving_ball import MovingBall

DOME = Dome.evenly_spread(96)
SEQUENCE = CaptureSequence()


def small_ball(frame_count: int, **options) -> MovingBall:
    return MovingBall(DOME, SEQUENCE, frame_count, width=48, height=40, **options)


def identified(ball: MovingBall, sequence=SEQUENCE, directions=DOME.directions):
    return identify(coarse_pictures(ball), ball.time_ns, sequence, directions)


def test_with_a_preamble_every_frame_is_told():
    ball = small_ball(150)
    found = identified(ball)
    assert found.step_index.tolist() == ball.steps.tolist()
    assert found.known.all()
    assert len(found.dropped) == 0
    assert "preamble" in found.method


@pytest.mark.parametrize("first_step", [10, 11, 16, 17, 18, 60, 121, 300])
@pytest.mark.parametrize("stamped", [True, False])
def test_a_take_that_starts_in_mid_cycle_is_placed_by_its_pictures(first_step, stamped):
    ball = small_ball(160, first_step=first_step, stamped=stamped)
    found = identified(ball)
    cycle = SEQUENCE.cycle_frames
    assert ((found.step_index - ball.steps) % cycle == 0).all()
    assert found.step_index[0] >= len(SEQUENCE.preamble)
    assert found.method == "appearance"
    assert found.margin > 0.1
    if not stamped:
        assert any("no time stamps" in warning for warning in found.warnings)


def test_frames_from_before_the_sequence_are_told_apart():
    ball = small_ball(150)
    pictures = coarse_pictures(ball)
    early = np.concatenate([np.zeros((5, *pictures.shape[1:]), np.float32), pictures])
    stamps = np.concatenate([ball.time_ns[0] - np.arange(5, 0, -1) * 1_000_000, ball.time_ns])
    found = identify(early, stamps, SEQUENCE, DOME.directions)
    assert found.step_index.tolist() == [*range(-5, 0), *ball.steps.tolist()]
    assert (~found.known).nonzero()[0].tolist() == [0, 1, 2, 3, 4]
    assert len(found.dropped) == 0


def test_dropped_frames_are_listed_and_the_rest_keep_their_place():
    drop = (20, 21, 22, 47, 130)
    ball = small_ball(180, drop=drop)
    found = identified(ball)
    assert found.step_index.tolist() == ball.steps.tolist()
    assert found.dropped.tolist() == list(drop)


def test_lights_in_another_order_are_noticed():
    ball = small_ball(150)
    shifted = (*SEQUENCE.light_order[30:], *SEQUENCE.light_order[:30])
    with pytest.raises(SequenceError, match="light order"):
        identified(ball, SEQUENCE.replace(light_order=shifted))


def test_without_preamble_a_random_order_is_refused_not_guessed():
    ball = small_ball(150, first_step=40)
    order = tuple(np.random.default_rng(0).permutation(96).tolist())
    with pytest.raises(SequenceError, match=r"cannot be told|contradict"):
        identified(ball, SEQUENCE.replace(light_order=order))


def test_another_period_is_refused():
    ball = small_ball(150)
    with pytest.raises(SequenceError):
        identified(ball, SEQUENCE.replace(olat_per_tracking=8))


def test_another_frame_rate_is_refused():
    ball = small_ball(150)
    with pytest.raises(SequenceError, match="us apart"):
        identified(ball, SEQUENCE.replace(frame_rate_hz=500.0))


def test_a_take_shorter_than_a_window_is_refused():
    ball = small_ball(100)
    with pytest.raises(SequenceError, match="needs 113"):
        identified(ball)


def test_a_garbage_stamp_is_told_and_does_not_shift_the_frames():
    ball = small_ball(150)
    stamps = ball.time_ns.copy()
    stamps[-1] = 77
    found = identify(coarse_pictures(ball), stamps, SEQUENCE, DOME.directions)
    assert found.step_index.tolist() == ball.steps.tolist()
    assert any("garbage" in warning for warning in found.warnings)


def test_a_frame_that_is_not_what_its_step_says_is_marked():
    ball = small_ball(150)
    pictures = coarse_pictures(ball)
    tracking = len(SEQUENCE.preamble) + SEQUENCE.period - 1
    pictures[tracking] = 0.0
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    assert np.flatnonzero(~found.known).tolist() == [tracking]
    assert tracking in found.dropped
