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


def test_one_garbage_stamp_in_the_middle_costs_nothing():
    ball = small_ball(180, drop=(40, 41, 99))
    for garbage in (0, 77, -(2**62), 2**62, int(ball.time_ns[70]), int(ball.time_ns[110])):
        stamps = ball.time_ns.copy()
        stamps[90] = garbage
        found = identify(coarse_pictures(ball), stamps, SEQUENCE, DOME.directions)
        assert found.step_index.tolist() == ball.steps.tolist()
        assert found.known.all()
        assert found.dropped.tolist() == [40, 41, 99]


def test_a_clock_that_jumps_is_bridged_by_the_pictures():
    ball = small_ball(260, drop=(150, 151))
    stamps = ball.time_ns.copy()
    stamps[148:] -= 777_777_777_777
    found = identify(coarse_pictures(ball), stamps, SEQUENCE, DOME.directions)
    assert found.step_index.tolist() == ball.steps.tolist()


def test_two_frames_that_changed_places_are_found_by_what_they_show():
    ball = small_ball(180)
    pictures = coarse_pictures(ball)
    shows = ball.steps.copy()
    for first in (50, 71, 120):
        pictures[[first, first + 1]] = pictures[[first + 1, first]]
        shows[[first, first + 1]] = shows[[first + 1, first]]
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    assert found.swapped == (50, 51, 71, 72, 120, 121)
    assert found.step_index.tolist() == shows.tolist()
    assert found.known.all()
    assert len(found.dropped) == 0
    assert found.frame_of_step()[51] == 50


def test_a_swapped_frames_time_is_that_of_the_step_it_shows():
    ball = small_ball(180)
    pictures = coarse_pictures(ball)
    pictures[[50, 51]] = pictures[[51, 50]]
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    true_times = found.step_index / SEQUENCE.frame_rate_hz
    times = found.times_s(ball.time_ns, SEQUENCE.frame_rate_hz)
    assert np.abs(times - true_times).max() < 1e-6
    stamps = ball.time_ns.copy()
    stamps[100] = 5
    times = found.times_s(stamps, SEQUENCE.frame_rate_hz)
    assert np.abs(times - true_times).max() < 1e-6


def test_a_repeated_frame_serves_only_the_step_it_shows():
    ball = small_ball(180)
    pictures = coarse_pictures(ball)
    pictures[80] = pictures[79]
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    assert found.repeated == (80,)
    assert found.step_index[80] == 79
    assert found.frame_of_step()[79] == 79
    assert found.dropped.tolist() == [80]


def test_a_false_trigger_serves_no_step():
    ball = small_ball(180)
    pictures, stamps = coarse_pictures(ball), ball.time_ns
    pictures = np.insert(pictures, 100, 0.3 * pictures[99], axis=0)
    stamps = np.insert(stamps, 100, stamps[99] + 400_000)
    found = identify(pictures, stamps, SEQUENCE, DOME.directions)
    assert found.extra == (100,)
    assert len(found.dropped) == 0
    assert 100 not in found.frame_of_step().values()
    assert np.delete(found.step_index, 100).tolist() == ball.steps.tolist()


def test_without_stamps_dropped_frames_are_found_by_the_pictures():
    drop = (40, 61, 62, 63, 150)
    ball = small_ball(260, drop=drop, stamped=False)
    found = identified(ball)
    trusted = found.known
    assert trusted.mean() > 0.97
    assert found.step_index[trusted].tolist() == ball.steps[trusted].tolist()
    assert set(drop) <= set(found.dropped.tolist())
    assert found.certainty > 0.99


FRONT = int(DOME.directions[:, 2].argmax())


def lights_of(ball) -> np.ndarray:
    return np.array([SEQUENCE.step(int(step)).light for step in ball.steps])


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_dark_or_dim_light_is_named_and_its_frames_are_kept(share):
    ball = small_ball(260)
    pictures = coarse_pictures(ball)
    pictures[lights_of(ball) == FRONT] *= share
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    assert (found.dark_lights if share == 0 else found.dim_lights) == (FRONT,)
    assert (found.dim_lights if share == 0 else found.dark_lights) == ()
    assert found.known.all()
    assert found.step_index.tolist() == ball.steps.tolist()


def test_a_light_that_is_always_on_is_named():
    ball = small_ball(260)
    pictures, lights = coarse_pictures(ball), lights_of(ball)
    always = pictures[lights == FRONT].mean(axis=0)
    pictures[lights != FRONT] += always
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    assert found.stuck_lights == (FRONT,)
    assert found.step_index.tolist() == ball.steps.tolist()
    assert found.known.all()


def test_a_sound_take_has_no_faulty_lights():
    found = identified(small_ball(260))
    assert (found.dark_lights, found.dim_lights, found.stuck_lights) == ((), (), ())


def test_appearance_from_an_earlier_take_tells_an_order_that_a_ball_cannot():
    order = tuple(np.random.default_rng(0).permutation(96).tolist())
    shuffled = SEQUENCE.replace(light_order=order)
    earlier = MovingBall(DOME, SEQUENCE, 130, width=48, height=40)
    pictures, lights = coarse_pictures(earlier), lights_of(earlier)
    looks = np.stack([pictures[lights == light].mean(axis=0) for light in range(96)])
    whole = pictures[len(SEQUENCE.preamble) + SEQUENCE.period - 1]
    # the dome's numbers are mixed up: directions say nothing, only the earlier take does
    mixed = np.random.default_rng(1).permutation(96)
    take = MovingBall(DOME, shuffled, 250, first_step=40, width=48, height=40)
    with pytest.raises(SequenceError):
        identify(coarse_pictures(take), take.time_ns, shuffled, DOME.directions[mixed])
    found = identify(
        coarse_pictures(take),
        take.time_ns,
        shuffled,
        DOME.directions[mixed],
        np.concatenate([looks, whole[None]]),
    )
    assert ((found.step_index - take.steps) % SEQUENCE.cycle_frames == 0).all()


def test_a_frame_that_is_not_what_its_step_says_is_marked():
    ball = small_ball(150)
    pictures = coarse_pictures(ball)
    tracking = len(SEQUENCE.preamble) + SEQUENCE.period - 1
    pictures[tracking] = 0.0
    found = identify(pictures, ball.time_ns, SEQUENCE, DOME.directions)
    assert np.flatnonzero(~found.known).tolist() == [tracking]
    assert tracking in found.dropped
