"""The plan: what is missing, off centre or skipped is told for each set, and times are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome
from lightstage.errors import InputError, SequenceError
from lightstage.preprocess.coarse import coarse_pictures
from lightstage.preprocess.identify import identify
from lightstage.preprocess.plan import SetFlag, plan_sets
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.sequence import StepKind
from tests.preprocess.moving_ball import MovingBall, true_identification

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)
FRAMES = 150
PERIOD, CYCLE = SEQUENCE.period, SEQUENCE.cycle_frames


def ball_of(**options):
    options = {"frame_count": FRAMES, "width": 48, "height": 40, "noise": 0.001, **options}
    return MovingBall(DOME, SEQUENCE, **options)


def planned(ball, *, told=True, **settings):
    """The plan of a ball's take; ``told``: its frames' steps are told, not found."""
    found = (
        true_identification(ball)
        if told
        else identify(coarse_pictures(ball), ball.time_ns, SEQUENCE, DOME.directions)
    )
    settings = PreprocessSettings.parse({"rate_hz": None, **settings}, "test")
    return plan_sets("ball", ball, settings, SEQUENCE, found)


def whole_windows():
    return SEQUENCE.windows(None, FRAMES)


@pytest.mark.parametrize("rate_hz", [None, 25.0, 60.0, 100.0])
def test_a_whole_take_has_the_sequences_sets_with_nothing_wrong(rate_hz):
    ball = ball_of()
    plan = planned(ball, told=False, rate_hz=rate_hz)
    windows = SEQUENCE.windows(rate_hz, FRAMES)
    assert len(plan.sets) == len(windows) > 1
    assert (plan.missing, plan.filled, plan.skipped_s) == ((), (), ())
    for index, (item, window) in enumerate(zip(plan.sets, windows, strict=True)):
        assert item.index == index
        assert item.frames.light_frames[:, 0].tolist() == window.frames.tolist()
        assert item.centre_frame_number == ball.first_frame_number + window.centre
        assert item.time_s == pytest.approx(window.centre / 1000, abs=1e-6)
        assert np.abs(item.frames.light_times_s[:, 0] - window.frames / 1000).max() < 1e-6
        assert item.flag == SetFlag.NONE
        assert item.offset == 0
        # every light lies between two of the set's tracking frames
        first, last = item.frames.tracking_times_s[[0, -1]]
        assert first < item.frames.light_times_s.min() < item.frames.light_times_s.max() < last


def some_olat_steps(rng, count):
    steps = [s for s in range(30, 130) if SEQUENCE.step(s).kind is StepKind.OLAT]
    return tuple(sorted(rng.choice(steps, count, replace=False).tolist()))


@pytest.mark.parametrize("seed", range(6))
def test_dropped_olat_frames_are_missing_from_exactly_the_sets_that_need_them(seed):
    drop = some_olat_steps(np.random.default_rng(seed), 1 + 2 * seed)
    # found, not told: identification and plan together
    plan = planned(ball_of(drop=drop, frame_count=FRAMES - len(drop)), told=seed > 2)
    expected = {
        (index, SEQUENCE.step(step).light)
        for index, window in enumerate(whole_windows())
        for step in drop
        if step in window.frames
    }
    assert set(plan.missing) == expected
    assert len(plan.missing) == len(expected)
    for item in plan.sets:
        flagged = SetFlag.MISSING_LIGHTS in item.flag
        assert flagged == any(index == item.index for index, _ in expected)
    assert plan.skipped_s == ()


def test_the_frames_of_a_plan_show_the_lights_they_are_for():
    """Told by the ball, whatever was dropped."""
    rng = np.random.default_rng(7)
    ball = ball_of(drop=some_olat_steps(rng, 9) + (59,), frame_count=FRAMES - 10, first_step=4)
    for align in ({}, {"fill_missing": True}, {"fuse_cycles": 1}):
        plan = planned(ball, align=align)
        for item in plan.sets:
            for light, frames in enumerate(item.frames.light_frames):
                for frame in frames[frames >= 0]:
                    assert SEQUENCE.step(int(ball.steps[frame])).light == light
            for frame in item.frames.tracking_frames:
                assert SEQUENCE.step(int(ball.steps[frame])).kind is StepKind.TRACKING
            centre = int(item.frames.tracking_frames[item.frames.centre])
            assert item.centre_frame_number == ball.first_frame_number + centre


def test_a_dropped_tracking_frame_is_flagged_and_the_set_still_made():
    windows = whole_windows()
    step = int(windows[4].tracking[0])  # bounds one set, centre of another, within others
    plan = planned(ball_of(drop=(step,), frame_count=FRAMES - 1))
    assert len(plan.sets) == len(windows)
    for item, window in zip(plan.sets, windows, strict=True):
        needs = step in window.tracking and step != window.centre
        if needs:
            assert SetFlag.MISSING_TRACKING in item.flag
            assert SetFlag.OFF_CENTRE not in item.flag
        elif step != window.centre:
            assert item.flag == SetFlag.NONE
    assert plan.missing == ()


def test_a_missing_tracking_frames_place_is_left_out_of_the_beat():
    windows = whole_windows()
    step = int(windows[4].tracking[1])
    plan = planned(ball_of(drop=(step,), frame_count=FRAMES - 1))
    item = plan.sets[4]
    shown = item.places * PERIOD + int(item.frames.tracking_times_s[0] * 1000 + 0.5)
    assert np.abs(item.frames.tracking_times_s * 1000 - shown).max() < 1e-3
    assert step not in shown


def test_a_set_whose_centre_was_dropped_is_centred_on_the_nearest_other():
    windows = SEQUENCE.windows(25.0, FRAMES)
    centre = int(windows[1].centre)
    plan = planned(ball_of(drop=(centre,), frame_count=FRAMES - 1), rate_hz=25.0)
    item = plan.sets[1]
    assert SetFlag.OFF_CENTRE in item.flag
    assert abs(item.time_s - centre / 1000) == pytest.approx(PERIOD / 1000, abs=1e-6)
    assert plan.sets[0].flag == SetFlag.NONE or SetFlag.OFF_CENTRE not in plan.sets[0].flag
    assert len(plan.sets) == len(windows)


def test_a_set_whose_centre_was_dropped_is_still_at_its_exact_time_on_request():
    windows = SEQUENCE.windows(25.0, FRAMES)
    centre = int(windows[1].centre)
    ball = ball_of(drop=(centre,), frame_count=FRAMES - 1)
    item = planned(ball, rate_hz=25.0, exact_times=True).sets[1]
    assert item.time_s == pytest.approx(windows[1].time_s, abs=1e-6)
    held = float(item.frames.tracking_times_s[item.frames.centre])
    assert item.offset == pytest.approx((windows[1].time_s - held) * 1000 / PERIOD, abs=1e-3)


def test_sets_that_cannot_be_made_are_told_with_their_times():
    """Forty frames in the middle were lost, most of a cycle and a half."""
    drop = tuple(range(90, 130))
    ball = MovingBall(DOME, SEQUENCE, 220, width=48, height=40, noise=0.001, drop=drop)
    plan = planned(ball)
    windows = SEQUENCE.windows(None, 260)
    assert len(plan.sets) + len(plan.skipped_s) == len(windows)
    assert len(plan.skipped_s) > 0
    times = [window.centre / 1000 for window in windows]
    for skipped in plan.skipped_s:
        assert min(abs(skipped - time) for time in times) < 1e-6
        assert 0.085 < skipped < 0.135
    assert [item.index for item in plan.sets] == list(range(len(plan.sets)))
    for index, light in plan.missing:
        assert (plan.sets[index].frames.light_frames[light] < 0).all()


def test_a_garbage_stamp_spoils_no_time():
    ball = ball_of(stamps={40: 10**15, 41: -(10**15), 60: 0, 80: 80_400_000})
    plan = planned(ball)
    for item, window in zip(plan.sets, whole_windows(), strict=True):
        assert np.abs(item.frames.light_times_s[:, 0] - window.frames / 1000).max() < 0.5e-3
        good = ~np.isin(window.frames, (40, 41, 60, 80))
        # a stamp 0.4 ms off among 150 bends the line by its share
        assert np.abs(item.frames.light_times_s[:, 0] - window.frames / 1000)[good].max() < 1e-5
        garbage = np.isin(window.frames, (40, 41, 60))
        assert np.abs(item.frames.light_times_s[:, 0] - window.frames / 1000)[garbage].sum() < 1e-5
        assert np.abs(item.frames.tracking_times_s - window.tracking / 1000).max() < 1e-5


def test_a_garbage_first_stamp_moves_no_set():
    plan = planned(ball_of(stamps={0: 5 * 10**14}))
    for item, window in zip(plan.sets, whole_windows(), strict=True):
        assert item.time_s == pytest.approx(window.centre / 1000, abs=1e-5)


@pytest.mark.parametrize("drift_ppm", [-100.0, 100.0])
def test_the_cameras_clock_counts_where_it_drifts_from_the_nominal_rate(drift_ppm):
    ball = MovingBall(DOME, SEQUENCE, 2000, width=32, height=24, noise=0.0, drift_ppm=drift_ppm)
    plan = planned(ball, rate_hz=25.0)
    windows = SEQUENCE.windows(25.0, 2000)
    assert len(plan.sets) == len(windows)
    true_s = 1e-3 * (1 + 1e-6 * drift_ppm)
    for item, window in zip(plan.sets, windows, strict=True):
        assert item.time_s == pytest.approx(window.centre * true_s, abs=1e-6)
        assert np.abs(item.frames.light_times_s[:, 0] - window.frames * true_s).max() < 1e-6


def test_frames_that_changed_places_serve_the_lights_they_show_at_those_times():
    index = 73
    assert SEQUENCE.step(index).kind is SEQUENCE.step(index + 1).kind is StepKind.OLAT
    ball = ball_of(swapped=(index,))
    plan = planned(ball)
    for item, window in zip(plan.sets, whole_windows(), strict=True):
        shown = ball.steps[item.frames.light_frames[:, 0]]
        assert shown.tolist() == window.frames.tolist()
        assert np.abs(item.frames.light_times_s[:, 0] - window.frames / 1000).max() < 1e-5
    assert plan.missing == ()


def test_without_stamps_frames_are_counted():
    plan = planned(ball_of(stamped=False), told=False)
    for item, window in zip(plan.sets, whole_windows(), strict=True):
        assert item.time_s == pytest.approx(window.centre / 1000, abs=1e-9)


def test_a_frame_that_is_not_known_serves_no_set():
    ball = ball_of()
    found = true_identification(ball)
    known = found.known.copy()
    known[[50, 51]] = False
    found = replace(found, known=known)
    settings = PreprocessSettings(rate_hz=None)
    plan = plan_sets("ball", ball, settings, SEQUENCE, found)
    used = {int(f) for item in plan.sets for f in item.frames.light_frames.ravel()}
    assert not used & {50, 51}
    lights = {SEQUENCE.step(step).light for step in (50, 51)} - {-1}
    assert {light for _, light in plan.missing} == lights


def test_a_take_shorter_than_a_set_is_refused():
    with pytest.raises(SequenceError, match=r"no whole OLAT set.*29 frames"):
        planned(ball_of(frame_count=30))


def test_a_crop_that_reaches_outside_is_refused_with_the_frames_size():
    with pytest.raises(InputError, match="48 x 40"):
        planned(ball_of(), crop={"mode": "rectangle", "rectangle": (20, 0, 32, 32)})


def test_all_sets_share_one_beat_of_tracking_frames():
    plan = planned(ball_of(), align={"fuse_cycles": 1})
    for item in plan.sets:
        beats = np.diff(item.frames.tracking_times_s) * 1000 / PERIOD
        assert np.abs(beats - np.diff(item.places)).max() < 1e-3
        # a fused set's frames all lie on the beat too, or one interval beyond
        used = item.frames.light_times_s[item.frames.light_frames >= 0]
        first, last = item.frames.tracking_times_s[[0, -1]]
        assert used.min() > first - PERIOD / 1000
        assert used.max() < last + PERIOD / 1000
