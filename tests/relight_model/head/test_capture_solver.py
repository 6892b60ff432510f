"""Face capture's solver, on landmarks projected from known parameters: closed form, no pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lightstage.head import HeadFile, pose_head, procedural_head, rotation_matrices
from lightstage.pinhole import PinholeCamera
from relight_model.head.capture_fit import (
    fit_landmarks,
    landmark_observations,
    priors_of,
    solve_windows,
    spread_frames,
)
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_solver import Observations, State, Views, predict, rotation_vectors

Float = NDArray[np.float64]
CAMERA = PinholeCamera(640, 480, 1200.0, 1.5)


@pytest.fixture(scope="module")
def head() -> HeadFile:
    return procedural_head()


def views_of(count: int) -> Views:
    return Views(
        np.full(count, CAMERA.focal_px), np.tile(CAMERA.centre, (count, 1)), CAMERA.distance_m
    )


def known_clip(head: HeadFile, count: int, seed: int = 3) -> tuple[State, Float]:
    """Return smooth parameters and the true pixels of the landmarks."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0.0, 1.0, count)[:, None]
    waves = np.sin(2 * np.pi * t * rng.uniform(0.3, 1.0, 64) + rng.uniform(0, 6, 64))
    expression = np.zeros((count, head.expression_count))
    for k, name in enumerate(("lips apart", "blink left", "blink right")):
        expression[:, head.expression_names.index(name)] = 0.3 + 0.25 * waves[:, 10 + min(k, 1)]
    state = State(
        shape=0.5 * rng.standard_normal(head.shape_count),
        expression=expression,
        jaw=np.column_stack([0.08 + 0.05 * waves[:, 3], 0 * t, 0 * t]),
        eyes=np.zeros((count, 6)),
        rotation=rotation_matrices(0.2 * waves[:, :3]),
        place_m=0.03 * waves[:, 4:7],
        pivot=np.array([0.0, -0.02, 0.05]),
    )
    return state, predict(HeadPoints.at_landmarks(head), state, views_of(count))


def degrees_apart(a: State, b: State) -> Float:
    turn = rotation_vectors(a.rotation @ b.rotation.transpose(0, 2, 1))
    return np.asarray(np.rad2deg(np.linalg.norm(turn, axis=1)))


def test_points_are_where_the_whole_head_has_them(head: HeadFile) -> None:
    rng = np.random.default_rng(0)
    shape, expression = (
        rng.standard_normal(head.shape_count),
        rng.uniform(0, 0.5, head.expression_count),
    )
    pose = np.zeros(15)
    pose[6:15] = 0.1 * rng.standard_normal(9)
    chosen = rng.choice(len(head.v_template), 200, replace=False)
    whole = pose_head(head, shape, expression, pose)[chosen]
    points = HeadPoints.at_vertices(head, chosen)
    coefficients = np.concatenate([shape, expression])[None]
    found = points.evaluate(coefficients, pose[None, 6:9], pose[None, 9:15])[0]
    np.testing.assert_allclose(found, whole, atol=1e-9)


def test_derivatives_agree_with_differences(head: HeadFile) -> None:
    rng = np.random.default_rng(1)
    points = HeadPoints.at_landmarks(head)
    total = head.shape_count + head.expression_count
    at = 0.3 * rng.standard_normal((1, total))
    jaw, eyes, step = np.array([[0.15, 0.02, -0.01]]), np.zeros((1, 6)), 1e-6
    exact = points.linearise(at, jaw, eyes)
    for k in (0, head.shape_count - 1, head.shape_count, total - 1):
        moved = at.copy()
        moved[0, k] += step
        slope = (points.evaluate(moved, jaw, eyes) - exact.points) / step
        np.testing.assert_allclose(exact.by_coefficient[..., k], slope, atol=1e-6)
    for k in range(3):
        moved = jaw.copy()
        moved[0, k] += step
        slope = (points.evaluate(at, moved, eyes) - exact.points) / step
        np.testing.assert_allclose(exact.by_jaw[..., k], slope, atol=2e-3)


def test_landmarks_of_known_parameters_are_met(head: HeadFile) -> None:
    truth, pixels = known_clip(head, 24)
    points, time_s = HeadPoints.at_landmarks(head), np.arange(24) / 25.0
    found = fit_landmarks(head, points, pixels, np.ones(24), views_of(24), time_s)
    error = np.linalg.norm(predict(points, found, views_of(24)) - pixels, axis=-1)
    iod = np.linalg.norm(pixels[:, 45] - pixels[:, 36], axis=-1).mean()
    # what priors pull away is a fraction of a percent
    assert error[:, 17:].mean() < 0.006 * iod
    assert degrees_apart(found, truth).mean() < 2.0


def test_outliers_hardly_matter(head: HeadFile) -> None:
    _, pixels = known_clip(head, 16)
    rng = np.random.default_rng(5)
    broken = pixels.copy()
    for frame in range(16):
        wrong = rng.choice(np.arange(17, 68), 4, replace=False)
        broken[frame, wrong] += rng.uniform(30, 60, (4, 2))
    points, time_s = HeadPoints.at_landmarks(head), np.arange(16) / 25.0
    clean, rough = (
        fit_landmarks(head, points, px, np.ones(16), views_of(16), time_s)
        for px in (pixels, broken)
    )
    assert degrees_apart(clean, rough).mean() < 1.5
    moved = predict(points, clean, views_of(16)) - predict(points, rough, views_of(16))
    assert np.median(np.linalg.norm(moved, axis=-1)) < 1.0


def test_a_known_shape_is_held(head: HeadFile) -> None:
    truth, pixels = known_clip(head, 10)
    points = HeadPoints.at_landmarks(head)
    found = fit_landmarks(
        head, points, pixels, np.ones(10), views_of(10), np.arange(10) / 25.0, truth.shape
    )
    np.testing.assert_array_equal(found.shape, truth.shape)
    assert degrees_apart(found, truth).mean() < 1.0


def test_still_landmarks_give_constant_parameters(head: HeadFile) -> None:
    _, pixels = known_clip(head, 1)
    points = HeadPoints.at_landmarks(head)
    still = np.repeat(pixels, 12, axis=0)
    found = fit_landmarks(head, points, still, np.ones(12), views_of(12), np.arange(12) / 25.0)
    fitted = predict(points, found, views_of(12))
    assert np.abs(np.diff(fitted, axis=0)).max() < 1e-2


def test_windows_leave_no_seams(head: HeadFile) -> None:
    truth, pixels = known_clip(head, 60)
    points, time_s, views = HeadPoints.at_landmarks(head), np.arange(60) / 25.0, views_of(60)

    def seen(part: slice | NDArray[np.int64], now: State) -> list[Observations]:
        one = np.ones(len(now))
        return [landmark_observations(points, pixels[part], one, 100.0 * one, 0.0 * one)]

    start = replace(truth, expression=0 * truth.expression)
    whole = solve_windows(start, views, seen, priors_of(head), time_s, 12, window=120)
    parts = solve_windows(start, views, seen, priors_of(head), time_s, 12, window=30, overlap=8)
    assert degrees_apart(whole, parts).max() < 0.05
    apart = predict(points, whole, views) - predict(points, parts, views)
    assert np.abs(apart).max() < 0.1


def test_frames_for_the_shape_are_spread(head: HeadFile) -> None:
    truth, _ = known_clip(head, 50)
    turned = truth.rotation.copy()
    turned[17] = rotation_matrices(np.array([[0.0, 0.9, 0.0]]))[0]
    chosen = spread_frames(replace(truth, rotation=turned), np.ones(50), 10)
    assert len(chosen) <= 10 and 17 in chosen
    doubtful = np.ones(50)
    doubtful[17] = 0.01
    assert 17 not in spread_frames(replace(truth, rotation=turned), doubtful, 10)
