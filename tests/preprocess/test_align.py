"""Alignment: a moving ball's lights, aligned, agree with the ball frozen, at any crop and size."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from lightstage import CaptureSequence, Dome
from lightstage.half_floats import to_float
from lightstage.preprocess.align import between
from lightstage.preprocess.develop import develop, with_balance
from lightstage.preprocess.plan import SetFlag, plan_sets
from lightstage.preprocess.set_maker import MakerOptions, SetMaker
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.sequence import Step, StepKind
from tests.preprocess.moving_ball import MovingBall, psnr, true_identification

DOME = Dome.evenly_spread(24)
SEQUENCE = CaptureSequence(lights=24)
FAST, SLOW, STILL = (220.0, -90.0), (60.0, -25.0), (0.0, 0.0)
LIGHTS = [Step(StepKind.OLAT, light) for light in range(len(DOME))]


def settings_of(align=None, crop=None, **options):
    data = {"rate_hz": None, "align": align or {}, "crop": crop or {}, **options}
    return PreprocessSettings.parse(data, "test")


class Made:
    """One set of a ball's take, made without disk or processes."""

    def __init__(self, ball, settings, index=0, options=None):
        self.ball = ball
        take = plan_sets("ball", ball, settings, SEQUENCE, true_identification(ball))
        self.plan = take.sets[index]
        centre = int(self.plan.frames.tracking_frames[self.plan.frames.centre])
        settings = settings.replace(develop=with_balance(settings.develop, ball, centre))
        maker = SetMaker(ball, settings, options)
        self.motion = maker.motion(self.plan)
        aligner = maker.aligner(self.plan.frames, self.plan.part, self.motion)
        self.olat = to_float(np.stack(list(aligner.lights())))
        self.full_lit = to_float(aligner.full_lit())
        self.confidence = aligner.confidence()
        self.settings = settings

    def against_truth(self, only=slice(None, None, 4), margin=0.3):
        """PSNR against the frozen ball at the set's time, over what faces the camera."""
        size = self.olat.shape[2], self.olat.shape[1]
        time_s = self.plan.time_s + float(self.ball.steps[0]) / SEQUENCE.frame_rate_hz
        return psnr(self.olat[only], *frozen(self.ball, time_s, self.plan.part, size, margin, only))


def frozen(ball, time_s, part, size, margin, only=slice(None, None, 4)):
    fine = 1 if size == part[2:] else 4
    expected = np.array([ball.shown_at(step, time_s, part, size, fine) for step in LIGHTS[only]])
    left, top, width, height = part
    x = left - 0.5 + (np.arange(size[0]) + 0.5) * width / size[0]
    y = top - 0.5 + (np.arange(size[1]) + 0.5) * height / size[1]
    return expected, ball.surface(time_s, np.meshgrid(x, y))[1][..., 2] > margin


@lru_cache(maxsize=32)
def made(speed, noise=0.002, align=(), crop=(), index=0, **options):
    # 150 frames: with a cycle of 28 there are whole cycles before and after every middle set
    ball = MovingBall(DOME, SEQUENCE, 150, width=192, height=160, speed_px_per_s=speed, noise=noise)
    return Made(ball, settings_of(dict(align), dict(crop), **options), index)


NONE = (("method", "none"),)


def test_aligned_lights_agree_with_the_frozen_ball_where_unaligned_ones_do_not():
    aligned, unaligned = made(FAST), made(FAST, align=NONE)
    assert aligned.against_truth() - unaligned.against_truth() > 6.0
    assert aligned.against_truth() > 32.0
    assert aligned.confidence.min() > 0.8


def test_a_sets_full_lit_picture_is_its_centre_as_it_was_recorded():
    found = made(FAST)
    expected = found.ball.linear(Step(StepKind.TRACKING), found.plan.time_s)
    inside = found.ball.surface(found.plan.time_s)[1][..., 2] > 0.3
    assert psnr(found.full_lit[None], expected[None], inside) > 32


def test_the_true_flow_of_a_moving_ball_is_found():
    found = made(FAST)
    times = found.plan.frames.tracking_times_s
    rows, columns = found.motion.flow.shape[1:3]
    x = -0.5 + (np.arange(columns) + 0.5) * found.ball.width / columns
    y = -0.5 + (np.arange(rows) + 0.5) * found.ball.height / rows
    inside = found.ball.surface(found.plan.time_s, np.meshgrid(x, y))[1][..., 2] > 0.4
    for index, time_s in enumerate(times):
        moved = np.array(FAST) * (time_s - times[found.plan.frames.centre])
        flow = found.motion.flow[index] * found.motion.unit_px
        assert np.median(np.linalg.norm(flow[inside] - moved, axis=-1)) < 0.3, index


@pytest.mark.parametrize("speed", [STILL, SLOW, FAST])
def test_alignment_never_ends_below_leaving_the_motion_in(speed):
    assert made(speed).against_truth() > made(speed, align=NONE).against_truth() - 0.1


def test_without_motion_a_crop_holds_the_developed_pixels_themselves():
    """No resampling: what is stored is the developed frame, rounded to the store's own step."""
    crop = {"mode": "rectangle", "rectangle": (37, 21, 90, 75)}
    found = made(STILL, noise=0.0, crop=tuple(crop.items()))
    assert not found.motion.flow.any()
    ball = found.ball
    for light in (0, 11, 23):
        frame = int(found.plan.frames.light_frames[light, 0])
        whole = develop(
            ball[frame], cfa=ball.cfa, black_level=ball.black_level,
            white_level=ball.white_level, settings=found.settings.develop,
        )  # fmt: skip
        expected = whole[21:96, 37:127]
        # rounded twice: to half floats when remembered, to 1/32 of a sensor's step when stored
        assert np.abs(found.olat[light] - expected).max() < 1 / 250 / 32 + 2**-11


@pytest.mark.parametrize("method", ["flow", "none"])
def test_a_crop_is_the_same_place_of_the_whole_picture(method):
    crop = {"mode": "rectangle", "rectangle": (37, 21, 90, 75)}
    align = (("method", method),)
    part, whole = made(STILL, 0.0, align, tuple(crop.items())), made(STILL, 0.0, align)
    assert np.array_equal(part.olat, whole.olat[:, 21:96, 37:127])


CROPS = [
    ((30, 14, 120, 120), None),
    ((30, 14, 120, 120), (60, 60)),
    ((30, 14, 120, 120), (180, 180)),
    ((31, 15, 117, 121), (80, 84)),
    ((0, 0, 192, 160), (48, 40)),
]


@pytest.mark.parametrize(("rectangle", "size"), CROPS)
def test_a_crop_at_a_size_agrees_with_the_ball_seen_at_that_crop_and_size(rectangle, size):
    crop = {"mode": "rectangle", "rectangle": rectangle, "size": size}
    found = made(FAST, crop=tuple(crop.items()))
    assert found.olat.shape[1:] == (*(size or rectangle[2:])[::-1], 3)
    assert found.against_truth() > 30
    # a place wrong by a quarter of an output pixel would be seen
    left, top, width, height = found.plan.part
    out = found.olat.shape[2], found.olat.shape[1]
    still = made(STILL, noise=0.0, crop=tuple(crop.items()))

    def fits(shift_x, shift_y):
        part = (left + shift_x * width / out[0], top + shift_y * height / out[1], width, height)
        only = slice(0, 24, 8)
        expected, inside = frozen(still.ball, still.plan.time_s, part, out, 0.3, only)
        return psnr(still.olat[only], expected, inside)

    here = fits(0, 0)
    assert all(here > fits(*shift) for shift in ((0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25)))


def drop_lights(*lights, copies=1):
    """Return the steps of the first set in which these lights are on, and their first copies."""
    window = SEQUENCE.windows(None, 150)[5]
    cycle = SEQUENCE.cycle_frames
    return tuple(int(window.frames[light]) + cycle * k for light in lights for k in range(copies))


def dropped_ball(drop, speed=SLOW):
    return MovingBall(
        DOME, SEQUENCE, 150, width=192, height=160, speed_px_per_s=speed, noise=0.002, drop=drop
    )


def test_a_missing_light_is_marked_not_guessed():
    found = Made(dropped_ball(drop_lights(3, 17)), settings_of(), index=5)
    assert found.plan.missing == [3, 17]
    assert found.plan.flag == SetFlag.MISSING_LIGHTS
    missing = np.isnan(found.olat).all(axis=(1, 2, 3))
    assert np.flatnonzero(missing).tolist() == [3, 17]
    assert found.confidence[[3, 17]].tolist() == [0, 0]
    assert np.isfinite(np.delete(found.olat, [3, 17], axis=0)).all()


def test_a_missing_light_is_filled_from_the_neighbouring_cycle_and_aligned():
    ball = dropped_ball(drop_lights(3, 17))
    found = Made(ball, settings_of({"fill_missing": True}), index=5)
    assert found.plan.filled == (3, 17)
    assert found.plan.missing == []
    assert found.plan.flag == SetFlag.FILLED_LIGHTS
    unaligned = Made(ball, settings_of({"fill_missing": True, "method": "none"}), index=5)
    for light in (3, 17):
        used, own = int(found.plan.frames.light_frames[light, 0]), drop_lights(light)[0]
        assert abs(int(ball.steps[used]) - own) == SEQUENCE.cycle_frames
        assert SEQUENCE.step(int(ball.steps[used])).light == light
        only = slice(light, light + 1)
        assert found.against_truth(only) > unaligned.against_truth(only) + 3
        assert found.against_truth(only) > 28


def test_a_light_that_no_cycle_has_stays_missing():
    window = SEQUENCE.windows(None, 150)[5]
    cycle = SEQUENCE.cycle_frames
    drop = tuple(int(window.frames[4]) + cycle * k for k in (-1, 0, 1))
    for align in ({"fill_missing": True}, {"fuse_cycles": 1}):
        found = Made(dropped_ball(drop), settings_of(align), index=5)
        assert found.plan.missing == [4]
        assert np.isnan(found.olat[4]).all()


def test_fusing_three_cycles_of_a_still_ball_takes_noise_down_by_the_root_of_three():
    deviations = []
    for align in ((), (("fuse_cycles", 1),)):
        found = made(STILL, 0.01, align, index=6)
        inside = found.ball.surface(0.0)[1][..., 2] > 0.3
        still = made(STILL, 0.0, index=6)  # what demosaicing does to it is no noise
        deviations.append(float(np.std((found.olat - still.olat)[:, inside])))
    assert deviations[0] / deviations[1] == pytest.approx(np.sqrt(3), rel=0.12)


@pytest.mark.parametrize("speed", [STILL, SLOW, FAST])
@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_fusing_cycles_does_not_harm_what_moves(speed, noise):
    single = made(speed, noise, index=6).against_truth()
    fused = made(speed, noise, (("fuse_cycles", 1),), index=6).against_truth()
    assert fused > single - 0.3


def test_a_dropped_light_is_taken_from_the_other_cycles_when_cycles_are_fused():
    found = Made(dropped_ball(drop_lights(3)), settings_of({"fuse_cycles": 1}), index=5)
    assert found.plan.filled == (3,)
    assert SetFlag.FILLED_LIGHTS in found.plan.flag
    assert found.against_truth(slice(3, 4)) > 28


def test_a_set_at_an_exact_time_agrees_with_the_ball_at_that_time():
    """Between tracking frames a snapped set is up to half an interval off; an exact one is not."""
    # 30 sets/s: 33.3 frames apart, tracking frames every 7
    exact = made(FAST, index=1, rate_hz=30.0, exact_times=True)
    snapped = made(FAST, index=1, rate_hz=30.0)
    wanted = SEQUENCE.windows(30.0, 150)[1].time_s
    assert exact.plan.time_s == pytest.approx(wanted, abs=1e-6)
    assert 0.15 < abs(exact.plan.offset) <= 0.5
    assert snapped.plan.offset == 0
    assert abs(snapped.plan.time_s - wanted) > 1e-3
    truth, inside = frozen(exact.ball, wanted, exact.plan.part, (192, 160), 0.3)
    assert psnr(exact.olat[::4], truth, inside) > psnr(snapped.olat[::4], truth, inside) + 3
    assert exact.against_truth() > snapped.against_truth() - 1.5
    full = exact.ball.linear(Step(StepKind.TRACKING), wanted)[None]
    assert psnr(exact.full_lit[None], full, inside) > psnr(snapped.full_lit[None], full, inside) + 3


def test_what_is_remembered_makes_no_difference():
    ball, settings = dropped_ball(()), settings_of({"fuse_cycles": 1})
    nothing = Made(ball, settings, 3, MakerOptions(frames_bytes=0, tracking=1))
    everything = Made(ball, settings, 3, MakerOptions(frames_bytes=1 << 30, tracking=100))
    assert np.array_equal(nothing.olat, everything.olat)
    assert np.array_equal(nothing.full_lit, everything.full_lit)
    assert np.array_equal(nothing.confidence, everything.confidence)


def test_a_time_lies_between_its_two_tracking_frames():
    times = np.array([0.0, 7.0, 14.0, 28.0])
    assert between(1.75, times) == (0, 0.25)
    assert between(7.0, times) in ((0, 1.0), (1, 0.0))
    assert between(21.0, times) == (2, 0.5)
    # beyond the ends the motion goes on as it was
    assert between(-7.0, times) == (0, -1.0)
    assert between(42.0, times) == (2, 2.0)
