"""Parameters between frames: the laws, and the simulated performer's truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.errors import InputError
from relight_model.head.clip import EYE_LEFT, GLOBAL, JOINTS
from relight_model.head.interpolate import at_times, concatenate, resample, smooth, trim
from relight_model.head.rotations import angle_between, exp_at
from tests.relight_model.head.clips import NAMES, made_up, performed


def turned_apart(a, b):
    return max(angle_between(a.pose[:, p], b.pose[:, p]).max() for p in JOINTS.values())


@settings(max_examples=25)
@given(seed=st.integers(0, 999), n=st.integers(1, 9))
def test_at_the_frames_the_frames_come_out(seed, n):
    clip = made_up(seed, n)
    same = at_times(clip, clip.time_s)
    assert turned_apart(same, clip) < 1e-8
    for name in ("expression", "translation_m", "view", "confidence", "time_s"):
        np.testing.assert_allclose(getattr(same, name), getattr(clip, name), atol=1e-12)


def test_a_constant_speed_is_exact_at_a_thousand_frames_a_second():
    axis = np.array([0.36, 0.48, 0.8])
    time_s = np.arange(30) / 25.0

    def moving(t):
        pose = np.zeros((len(t), 15))
        for part in JOINTS.values():
            pose[:, part] = np.outer(0.7 * t - 0.2, axis)
        pose[:, GLOBAL] = exp_at([0.3, 2.9, 0.1], np.outer(4.0 * t, axis))  # through half a turn
        return made_up(
            0,
            len(t),
            time_s=t,
            pose=pose,
            expression=np.outer(t, np.ones(6)) * 0.3 + 0.1,
            translation_m=np.outer(t, [0.1, -0.2, 0.05]),
            view=np.column_stack([5 * t, 100 - 3 * t, 0.5 + 0.1 * t]),
            confidence=None,
        )

    fast = resample(moving(time_s), 1000)
    assert len(fast) == 1161
    truth = moving(fast.time_s)
    assert turned_apart(fast, truth) < 1e-7
    for name in ("expression", "translation_m", "view"):
        np.testing.assert_allclose(getattr(fast, name), getattr(truth, name), atol=1e-12)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_lids_and_eyes_stay_between_their_neighbours(seed):
    rng = np.random.default_rng(seed)
    expression = rng.uniform(0, 1, (20, 6)) * (rng.uniform(size=(20, 6)) < 0.5)
    pose = np.zeros((20, 15))
    pose[:, EYE_LEFT] = 0.5 * rng.integers(-1, 2, (20, 1)) * [0.0, 1.0, 0.0]
    clip = made_up(seed, 20, expression=expression, pose=pose)
    fast = resample(clip, 400)
    left = np.clip(np.searchsorted(clip.time_s, fast.time_s, side="right") - 1, 0, 18)
    lids = slice(NAMES.index("blink left"), NAMES.index("blink right") + 1)
    for got, knots in (
        (fast.expression[:, lids], clip.expression[:, lids]),
        (fast.pose[:, EYE_LEFT], clip.pose[:, EYE_LEFT]),
    ):
        low = np.minimum(knots[left], knots[left + 1]) - 1e-9
        high = np.maximum(knots[left], knots[left + 1]) + 1e-9
        assert ((got >= low) & (got <= high)).all()
    # nothing else goes beyond what the clip shows
    assert fast.expression.min() >= 0 and fast.expression.max() <= expression.max() + 1e-12


def test_confidence_is_the_lesser_neighbours():
    clip = made_up(1, 5, time_s=np.arange(5.0), confidence=np.array([1, 0.2, 0.9, 0.0, 0.5]))
    at = at_times(clip, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.5, 4.0])
    np.testing.assert_allclose(at.confidence, [1, 0.2, 0.2, 0.2, 0.9, 0, 0, 0.5])


def test_beyond_half_a_frame_is_refused_and_within_it_held():
    clip = made_up(1, 5, time_s=np.arange(5) / 25.0)
    edge = at_times(clip, [-0.02, 0.18])
    ends = clip.frames([0, 4])
    assert turned_apart(edge, ends) < 1e-8
    np.testing.assert_allclose(edge.expression, ends.expression)
    for times in ([-0.021], [0.0, 0.181]):
        with pytest.raises(InputError, match="beyond half a frame"):
            at_times(clip, times)
    with pytest.raises(InputError, match="beyond half a frame"):
        at_times(made_up(1, 1, time_s=np.zeros(1)), [0.01])
    for rate in (0, -5, np.inf, np.nan):
        with pytest.raises(InputError, match="rate"):
            resample(clip, rate)
    with pytest.raises(InputError, match="too many frames"):
        resample(clip, 1e12)


@pytest.mark.parametrize(("rate_hz", "most"), [(25, 1.0), (60, 0.2)])
def test_a_talking_performer_between_frames(rate_hz, most):
    # root mean squares against the simulator's truth at 1000 Hz; figures in docs/parameters.md
    fast = resample(performed(0, rate_hz=rate_hz, seconds=6), 500)
    truth = performed(0, rate_hz=500, seconds=6).frames(slice(0, len(fast)))

    def rms(values):
        return np.sqrt((values**2).mean())

    for name in ("global", "neck"):
        part = JOINTS[name]
        assert np.degrees(rms(angle_between(fast.pose[:, part], truth.pose[:, part]))) < 0.01
    assert np.degrees(rms(angle_between(fast.pose[:, 6:9], truth.pose[:, 6:9]))) < 0.35 * most
    assert np.degrees(rms(angle_between(fast.pose[:, 9:12], truth.pose[:, 9:12]))) < most
    assert rms(fast.expression - truth.expression) < 0.012 * most
    assert 1e3 * rms(fast.translation_m - truth.translation_m) < 0.01
    # the errors of going straight from frame to frame are several times as large
    straight = np.stack(
        [np.interp(fast.time_s, np.arange(6 * rate_hz) / rate_hz, column)
         for column in performed(0, rate_hz=rate_hz, seconds=6).translation_m.T], axis=1
    )  # fmt: skip
    assert rms(straight - truth.translation_m) > 10 * rms(fast.translation_m - truth.translation_m)


def test_going_down_with_a_low_pass_takes_out_what_cannot_be_shown():
    # 20 Hz cannot be shown at 25 frames a second: it would alias to 5 Hz
    t = np.arange(1000) / 200.0
    shake = np.zeros((1000, 3))
    shake[:, 0] = np.sin(2 * np.pi * 20 * t + 0.4)
    clip = made_up(0, 1000, time_s=t, translation_m=shake)
    plain, soft = resample(clip, 25), resample(clip, 25, low_pass=True)
    assert plain.translation_m[5:-5].std() > 0.3
    assert np.abs(soft.translation_m[5:-5]).max() < 0.12 * np.abs(plain.translation_m).max()
    np.testing.assert_array_equal(  # a blink lasts few frames: it is kept
        soft.expression[:, NAMES.index("blink left")],
        plain.expression[:, NAMES.index("blink left")],
    )


def test_smoothing_touches_only_what_is_asked():
    clip = made_up(2)
    soft = smooth(clip, 0.1, ("pose",))
    np.testing.assert_array_equal(soft.expression, clip.expression)
    np.testing.assert_array_equal(soft.pose[:, 6:], clip.pose[:, 6:])
    assert angle_between(soft.pose[:, GLOBAL], clip.pose[:, GLOBAL]).max() > 1e-3
    assert turned_apart(smooth(clip, 0.0), clip) < 1e-8
    with pytest.raises(InputError, match="at least 0 s"):
        smooth(clip, -1)
    with pytest.raises(InputError, match="parts of a clip are"):
        smooth(clip, 1, ("ears",))


def test_cut_and_joined_again_is_the_same():
    clip = made_up(3, 20, time_s=np.arange(20) / 25.0)
    a, b = trim(clip, None, 0.36), trim(clip, 0.4, 9)
    assert (len(a), len(b)) == (10, 10)
    joined = concatenate([a, b])
    for name in ("pose", "expression", "view", "confidence"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(clip, name))
    np.testing.assert_allclose(joined.time_s, clip.time_s)
    with pytest.raises(InputError, match="no frame lies between"):
        trim(clip, 0.05, 0.07)
    with pytest.raises(InputError, match="another identity"):
        concatenate([a, b.replace(shape=b.shape + 1)])
    with pytest.raises(InputError, match="another head"):
        concatenate([a, b.replace(head="x")])
    with pytest.raises(InputError, match="above 0 s"):
        concatenate([a.frames([0]), b])
    with pytest.raises(InputError, match="no clips"):
        concatenate([])
