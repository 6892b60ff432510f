"""Rotations obey the laws of rotations, also at no turn, half turns and beyond whole turns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from lightstage.errors import InputError
from lightstage.head import rotation_matrices
from relight_model.head import rotations as R  # noqa: N812
from tests.relight_model.head.clips import vectors


def cross(v):
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


@given(v=vectors(4))
def test_matrices_are_exponentials(v):
    # oracles: the matrix exponential, and the head model's own Rodrigues formula
    np.testing.assert_allclose(R.matrices(v), [expm(cross(row)) for row in v], atol=1e-12)
    np.testing.assert_allclose(R.matrices(v), rotation_matrices(v), atol=1e-11)


@given(v=vectors(4))
def test_all_forms_are_the_same_rotation(v):
    m = R.matrices(v)
    short = R.canonical(v)
    assert (np.linalg.norm(short, axis=1) <= np.pi + 1e-12).all()
    for same in (short, R.from_matrices(m), R.from_quaternions(R.quaternions(v))):
        np.testing.assert_allclose(R.matrices(same), m, atol=1e-9)
        assert (R.angle_between(v, same) < 1e-9).all()
    assert (R.quaternions(v)[:, 3] >= 0).all()


@pytest.mark.parametrize("small", [1e-3, 1e-8, 1e-12, 1e-100, 0.0])
def test_small_rotations_keep_their_digits(small):
    v = small * np.array([[0.3, -0.5, 0.8]])
    np.testing.assert_allclose(R.canonical(v), v, rtol=1e-12)
    np.testing.assert_allclose(R.from_quaternions(R.quaternions(v)), v, rtol=1e-12)


@given(v=vectors(3))
def test_compose_log_and_exp_are_products(v):
    a, b, c = v
    np.testing.assert_allclose(
        R.matrices(R.compose(a, b)), R.matrices(a) @ R.matrices(b), atol=1e-9
    )
    np.testing.assert_allclose(
        R.matrices(R.log_at(a, b)), R.matrices(a).T @ R.matrices(b), atol=1e-9
    )
    assert R.angle_between(R.exp_at(a, R.log_at(a, b)), b) < 1e-7
    # how far two rotations differ is not changed by turning both
    assert R.angle_between(R.compose(c, a), R.compose(c, b)) == pytest.approx(
        R.angle_between(a, b), abs=1e-7
    )


@given(axis=vectors(1), jumps=st.lists(st.integers(-2, 2), min_size=60, max_size=60))
def test_unwrapping_undoes_jumps_by_whole_turns(axis, jumps):
    # a turn about one axis that speeds through two whole turns
    axis = np.array([1.0, 2.0, -0.5]) if np.linalg.norm(axis) < 1e-6 else axis[0]
    axis = axis / np.linalg.norm(axis)
    angle = np.linspace(-0.4, 4 * np.pi, 60) + 0.1 * np.sin(np.arange(60))
    jumped = (angle + 2 * np.pi * np.array(jumps))[:, None] * axis
    out = R.unwrapped(jumped)
    np.testing.assert_allclose(out, angle[:, None] * axis, atol=1e-6)


@given(v=vectors(1), spread=st.floats(0.01, 0.7), seed=st.integers(0, 99))
def test_the_mean_is_where_tangents_cancel(v, spread, seed):
    rng = np.random.default_rng(seed)
    cloud = R.exp_at(v[0], spread * rng.uniform(-1, 1, (12, 3)))
    weights = rng.uniform(0.1, 1, 12)
    mean = R.mean_rotation(cloud, weights)
    np.testing.assert_allclose(weights @ R.log_at(mean, cloud), 0, atol=1e-10)
    # the mean of a turned cloud is the turned mean; the mean knows nothing of whole turns
    turn = np.array([1.0, 2.0, -0.3])
    assert (
        R.angle_between(R.mean_rotation(R.compose(turn, cloud), weights), R.compose(turn, mean))
        < 1e-7
    )
    length = np.linalg.norm(cloud, axis=1, keepdims=True)
    longer = cloud * (1 + 2 * np.pi / np.maximum(length, 1e-3))
    if length.min() > 1e-3:
        assert R.angle_between(R.mean_rotation(longer, weights), mean) < 1e-7


def test_a_mean_needs_weight():
    with pytest.raises(InputError, match="weight"):
        R.mean_rotation(np.zeros((2, 3)), np.zeros(2))


@pytest.mark.parametrize("between", [R.slerp, R.spline])
def test_constant_speed_is_kept_exactly_through_half_turns(between):
    axis = np.array([0.48, 0.6, 0.64])
    start = np.array([0.5, -0.2, 2.0])
    knots = np.array([0.0, 0.3, 0.5, 0.9, 1.4, 2.0])
    at = np.linspace(0, 2, 57)
    turning = lambda t: R.exp_at(start, 4.0 * np.atleast_1d(t)[:, None] * axis)  # noqa: E731
    out = between(knots, turning(knots), at)
    assert R.angle_between(out, turning(at)).max() < 1e-8


@given(v=vectors(6))
def test_knots_are_kept_and_whole_turns_do_not_matter(v):
    knots = np.array([0.0, 0.3, 0.5, 0.9, 1.4, 2.0])
    steps = R.angle_between(v[1:], v[:-1])
    for between in (R.slerp, R.spline):
        assert R.angle_between(between(knots, v, knots), v).max() < 1e-6
    if steps.max() < 2.5:  # else which way is short may turn on rounding
        length = np.linalg.norm(v, axis=1, keepdims=True)
        jumped = np.where(length > 1e-3, v * (1 - 2 * np.pi / np.maximum(length, 1e-3)), v)
        at = np.linspace(0, 2, 21)
        assert R.angle_between(R.slerp(knots, v, at), R.slerp(knots, jumped, at)).max() < 1e-6


def test_a_spline_is_smooth_and_goes_the_short_way():
    rng = np.random.default_rng(3)
    v = np.cumsum(0.5 * rng.normal(size=(9, 3)), axis=0)
    knots = np.arange(9.0)
    at = np.linspace(0, 8, 8001)
    out = R.spline(knots, v, at)
    speed = R.log_at(out[:-1], out[1:]) / (at[1] - at[0])
    bend = np.linalg.norm(np.diff(speed, axis=0), axis=1)
    # no corner at a knot: the velocity changes there no faster than elsewhere
    near_knots = bend[np.arange(1000, 7001, 1000) - 1]
    assert near_knots.max() < 1.5 * bend.max() and bend.max() < 0.02
    # 350 degrees and 10 degrees are 20 apart
    half = R.slerp([0, 1], np.radians([[0, 0, 350.0], [0, 0, 10.0]]), [0.5])
    np.testing.assert_allclose(half, 0, atol=1e-12)


def test_smoothing_keeps_steady_turning_and_lags_nothing():
    t = np.sort(np.random.default_rng(0).uniform(0, 4, 90))
    turning = t[:, None] * np.array([0.3, 2.4, -1.0])  # through several turns
    uniform = np.linspace(0, 4, 90)
    steady = uniform[:, None] * np.array([0.3, 2.4, -1.0])
    assert R.angle_between(R.smoothed(uniform, steady, 0.1), steady).max() < 1e-7
    # a pulse stays where it was and is symmetric
    pulse = np.exp(-0.5 * ((uniform - uniform[45]) / 0.05) ** 2)[:, None]
    out = R.smoothed_values(uniform, pulse, 0.1)[:, 0]
    assert out.argmax() == 45 and out[45] < 0.6
    np.testing.assert_allclose(out[45:60], out[45:30:-1], atol=1e-12)
    # what does not move stays to the last digit, however frames lie; 0 s changes nothing
    np.testing.assert_allclose(R.smoothed_values(t, np.ones((90, 2)), 0.3), 1, rtol=1e-14)
    np.testing.assert_array_equal(R.smoothed_values(t, turning, 0.0), turning)


def test_smoothing_takes_out_noise_at_large_poses():
    # about a mean pose of 170 degrees, where rotation vectors jump
    rng = np.random.default_rng(1)
    base = np.radians(170) * np.array([0.0, 0.8, 0.6])
    noisy = R.exp_at(base, 0.1 * rng.normal(size=(400, 3)))
    out = R.smoothed(np.arange(400) / 25.0, noisy, 0.4)
    left = R.angle_between(out[60:-60], base)
    # a Gaussian window of deviation s leaves 1 / sqrt(2 sqrt(pi) s) of white noise, s in frames
    assert np.sqrt((left**2).mean()) == pytest.approx(
        0.1 * np.sqrt(3) / np.sqrt(2 * np.sqrt(np.pi) * 10), rel=0.2
    )


@given(d=vectors(1))
def test_gaze_turns_to_its_direction_without_twist(d):
    if np.linalg.norm(d) < 1e-3:
        return
    turn = R.turn_of_gaze(d[0])
    np.testing.assert_allclose(R.matrices(turn) @ [0, 0, 1], d[0] / np.linalg.norm(d[0]), atol=1e-9)
    assert turn[2] == 0


def test_pitch_lowers_yaw_goes_right_roll_goes_left():
    def turned(degrees, v):
        return R.matrices(R.from_pitch_yaw_roll(degrees)) @ v

    face, top = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert turned((20, 0, 0), face)[1] == pytest.approx(-np.sin(np.radians(20)))
    assert turned((0, 20, 0), face)[0] == pytest.approx(np.sin(np.radians(20)))
    assert turned((0, 0, 20), top)[0] == pytest.approx(-np.sin(np.radians(20)))
    # a yaw turns about the vertical whatever the pitch is
    assert turned((20, 70, 0), face)[1] == pytest.approx(-np.sin(np.radians(20)))
