"""Flow between pictures: its direction, its independence of gain and of what was asked before."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lightstage.errors import InputError
from lightstage.preprocess import flow as flow_module
from lightstage.preprocess.flow import (
    between_places,
    equalise,
    flow_method,
    flows_from,
    prepare,
    smooth_over_time,
    without_noise,
)
from lightstage.preprocess.settings import FlowSettings
from lightstage.warp import warp

DIS = FlowSettings()
METHODS = [DIS, FlowSettings(finest_scale=0), FlowSettings(warm_start=True), "deepflow"]


def settings_of(method):
    return FlowSettings(method=method) if isinstance(method, str) else method


def texture(seed=0, size=(96, 128)):
    noise = np.random.default_rng(seed).random(size).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    smooth -= smooth.min()
    return (smooth / smooth.max() * 255).astype(np.uint8)


def moved(picture, shift):
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(
        picture, move, picture.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shift", [(3.0, 0.0), (0.0, -2.0), (-4.5, 2.5)])
def test_flow_points_from_the_reference_to_where_the_pixel_went(method, shift):
    reference = texture()
    gone = moved(reference, shift)
    flow = flow_method(settings_of(method))(reference, gone, None)
    inner = flow[16:-16, 16:-16]
    assert np.abs(np.median(inner, axis=(0, 1)) - shift).max() < 0.1
    # the flow contract, in its own words
    back = warp(gone.astype(np.float32), flow)
    wrong = np.abs(back - reference)[16:-16, 16:-16]
    assert wrong.mean() < 0.2 * np.abs(reference.astype(float) - gone)[16:-16, 16:-16].mean()


def test_flows_of_several_pictures_are_each_from_the_reference():
    reference = texture()
    shifts = np.arange(-3, 4) * np.array([[1.5], [-1.0]])
    pictures = [moved(reference, shift) for shift in shifts.T]
    for warm in (False, True):
        flows = flows_from(3, pictures, DIS.replace(warm_start=warm))
        assert not flows[3].any()
        for flow, shift in zip(flows, shifts.T, strict=True):
            assert np.abs(np.median(flow[20:-20, 20:-20], axis=(0, 1)) - shift).max() < 0.15


@pytest.mark.parametrize("method", METHODS)
def test_the_same_pictures_give_the_same_flow_whatever_was_asked_before(method):
    """OpenCV's DIS object keeps buffers between calls, and starts from them."""
    find = flow_method(settings_of(method))
    a, b = texture(1), moved(texture(1), (2.0, 1.0))
    before = find(a, b, None)
    find(texture(2), texture(3), None)
    assert np.array_equal(find(a, b, None), before)
    find(texture(4, (48, 64)), texture(5, (48, 64)), None)
    find(texture(4, (160, 200)), texture(5, (160, 200)), None)
    assert np.array_equal(find(a, b, None), before)
    assert np.array_equal(flow_method(settings_of(method))(a, b, None), before)


def test_a_start_is_not_written_into():
    a = texture()
    start = np.full((*a.shape, 2), 0.5, np.float32)
    flow_method(DIS)(a, moved(a, (1.0, 0.0)), start)
    assert (start == 0.5).all()


def equalised(*lights, reference=0):
    return equalise([prepare(light) for light in lights], reference)


@pytest.mark.parametrize("gain", [0.5, 0.8, 1.25])
def test_equalising_takes_a_gain_error_away(gain):
    light = (texture().astype(np.float32) / 255) ** 2 * 0.6
    first, second = equalised(light, light * np.float32(gain))
    assert np.abs(first.astype(int) - second).max() <= 1
    assert first.max() <= 255


@pytest.mark.parametrize("gain", [0.5, 1.3])
def test_a_tracking_frame_of_another_gain_gives_the_same_flow(gain):
    light = (texture().astype(np.float32) / 255) ** 2 * 0.6
    there = (moved(texture(), (2.0, -1.5)).astype(np.float32) / 255) ** 2 * 0.6
    same = flows_from(0, equalised(light, there), DIS)[1]
    other = flows_from(0, equalised(light, there * np.float32(gain)), DIS)[1]
    # levels differ by 1 of 255 where rounding goes the other way
    assert np.abs(same - other)[8:-8, 8:-8].mean() < 0.02


def test_a_dark_picture_is_equalised_without_a_fault():
    light = (texture().astype(np.float32) / 255) ** 2
    dark = np.zeros_like(light)
    for reference in (0, 1):
        first, second = equalised(light, dark, reference=reference)
        assert first.dtype == second.dtype == np.uint8


def test_paths_of_constant_acceleration_are_left_alone():
    places = np.array([0, 1, 2, 4, 5, 6, 8, 9])  # with gaps
    at = (places - places[3]).astype(np.float32)
    rng = np.random.default_rng(0)
    speed, pull = rng.normal(0, 2, (2, 6, 5, 2))
    path = at[:, None, None, None] * speed + at[:, None, None, None] ** 2 * pull
    smooth = smooth_over_time(path.astype(np.float32), places, 3, 3.0)
    assert np.abs(smooth - path).max() < 1e-3


def test_a_path_is_zero_at_the_reference_and_single_errors_are_spread():
    rng = np.random.default_rng(1)
    places = np.arange(9)
    noise = rng.normal(0, 0.2, (9, 20, 20, 2)).astype(np.float32)
    noise[4] = 0
    smooth = smooth_over_time(noise, places, 4, 3.0)
    assert np.abs(smooth[4]).max() < 1e-4
    assert smooth.std() < 0.8 * noise.std()


def test_gaps_are_bridged_as_if_the_missing_flow_had_been_there():
    """A path that the smoother leaves alone is the same with and without some of its flows."""
    whole = np.arange(9)
    path = (0.7 * (whole - 4.0) + 0.05 * (whole - 4.0) ** 2)[:, None, None, None]
    path = np.tile(path, (1, 2, 2, 2)).astype(np.float32)
    kept = np.array([0, 1, 4, 5, 6, 8])
    smooth = smooth_over_time(path[kept], kept, 2, 3.0)
    assert np.abs(smooth - path[kept]).max() < 1e-4


def test_flows_between_those_found_lie_on_the_same_path():
    """Every second tracking frame's flow is found; a path of constant acceleration goes on."""
    places, every = np.array([0, 2, 4, 6, 8]), np.arange(9)

    def path(at):
        at = (at - 4.0)[:, None, None, None]
        return np.tile(0.7 * at + 0.05 * at**2, (1, 3, 2, 2)).astype(np.float32)

    for strength in (0.0, 3.0):
        found = smooth_over_time(path(places), places, 2, strength, every)
        assert np.abs(found - path(every)).max() < 2e-3
    # of too few for that, a straight line
    few = smooth_over_time(path(places[1:4]), places[1:4], 1, 3.0, np.arange(2, 7))
    assert np.array_equal(few[::2], path(places[1:4]))
    assert np.allclose(few[1], (few[0] + few[2]) / 2)


def test_values_between_places_are_on_a_line_between_them():
    values = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    found = between_places(values, np.array([0, 1, 4]), np.arange(5))
    assert np.array_equal(found[[0, 1, 4]], values)
    assert np.allclose(found[2], values[1] * 2 / 3 + values[2] / 3)


def test_smoothing_is_left_out_on_request():
    flows = np.random.default_rng(0).normal(0, 1, (9, 3, 3, 2)).astype(np.float32)
    assert smooth_over_time(flows, np.arange(9), 4, 0.0) is flows


def test_noise_is_set_towards_zero_and_motion_is_kept():
    rng = np.random.default_rng(2)
    places = np.arange(9)
    noise = rng.normal(0, 0.02, (9, 40, 50, 2)).astype(np.float32)
    noise[4] = 0
    left = without_noise(noise.copy(), places, 4, 0.06)
    assert np.abs(left).mean() < 0.05 * np.abs(noise).mean()
    motion = noise + ((places - 4) * np.float32(0.5))[:, None, None, None]
    kept = without_noise(motion.copy(), places, 4, 0.06)
    assert np.abs(kept - motion).max() < 0.01
    assert np.array_equal(without_noise(noise.copy(), places, 4, 0.0), noise)


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"no flow method 'magic'; known are dis, deepflow"):
        flow_method(FlowSettings(method="magic"))


class _Point:
    def __init__(self, name, load):
        self.name, self.load = name, load


def test_an_installed_package_can_offer_a_method(monkeypatch):
    def load():
        return lambda settings: (
            lambda reference, moved, start: np.full(
                (*reference.shape, 2), settings.variational_iterations, np.float32
            )
        )

    def wrong():
        return lambda settings: lambda reference, moved, start: np.zeros((2, 2), np.float32)

    points = [_Point("ours", load), _Point("wrong", wrong)]
    monkeypatch.setattr(flow_module, "entry_points", lambda group: points)
    flow_method.cache_clear()
    pictures = [texture(), texture()]
    flows = flows_from(0, pictures, FlowSettings(method="ours", variational_iterations=7))
    assert (flows[1] == 7).all()
    with pytest.raises(InputError, match=r"'wrong' returned an array of \(2, 2\)"):
        flows_from(0, pictures, FlowSettings(method="wrong"))
    with pytest.raises(InputError, match="dis, deepflow, ours, wrong"):
        flow_method(FlowSettings(method="magic"))
    flow_method.cache_clear()
