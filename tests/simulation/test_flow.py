"""True flow is where rays from the camera say that surface points are."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.simulation import Performer, SimulatedCamera, true_flow, true_flow_to_times

CAMERA = SimulatedCamera(320, 240)


def hits(
    origin: np.ndarray, towards: np.ndarray, triangles: np.ndarray
) -> tuple[float, int, np.ndarray]:
    """Return the nearest front side that a ray hits: distance, triangle and barycentric weights.

    Möller and Trumbore 1997, in double precision, on all triangles.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    first, second = b - a, c - a
    p = np.cross(towards, second)
    det = (first * p).sum(axis=1)
    front = det > 1e-15
    t = origin - a
    with np.errstate(divide="ignore", invalid="ignore"):
        u = (t * p).sum(axis=1) / det
        q = np.cross(t, first)
        v = (q @ towards) / det
        distance = (second * q).sum(axis=1) / det
    inside = front & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
    if not inside.any():
        return np.inf, -1, np.zeros(3)
    nearest = int(np.where(inside, distance, np.inf).argmin())
    return (
        float(distance[nearest]),
        nearest,
        np.array([1 - u[nearest] - v[nearest], u[nearest], v[nearest]]),
    )


@pytest.mark.parametrize("motion, from_s, to_s", [("talking", 0.4, 0.456), ("violent", 1.0, 0.93)])
def test_flow_is_what_rays_find(motion: str, from_s: float, to_s: float) -> None:
    performer = Performer(3, motion)  # type: ignore[arg-type]
    flow = true_flow(performer, CAMERA, from_s, to_s)
    here, there = (performer.vertices(t).astype(np.float64) for t in (from_s, to_s))
    faces = performer.model.faces
    eye = CAMERA.position_m
    rng = np.random.default_rng(5)
    pixels = np.column_stack([rng.integers(90, 230, 250), rng.integers(30, 215, 250)])
    errors, hidden_right, hidden, visible_right, visible = [], 0, 0, 0, 0
    for x, y in pixels:
        right = (x - 0.5 * (CAMERA.width - 1)) / CAMERA.focal_px
        up = -(y - 0.5 * (CAMERA.height - 1)) / CAMERA.focal_px
        _, face, weights = hits(eye, np.array([right, up, -1.0]), here[faces])
        found = flow[y, x]
        if face < 0:
            assert np.isnan(found).all()
            continue
        point = weights @ there[faces[face]]
        expected = CAMERA.project(point) - [x, y]
        towards = point - eye
        distance, _, _ = hits(eye, towards, there[faces])
        # in units of the way to the point; what lies within 2 mm to 8 mm may count as either
        ahead_m = (1.0 - distance) * np.linalg.norm(towards)
        if ahead_m > 0.008:
            hidden += 1
            hidden_right += bool(np.isnan(found).all())
        elif ahead_m < 0.002:
            visible += 1
            visible_right += bool(np.isfinite(found).all())
            if np.isfinite(found).all():
                errors.append(np.hypot(*(found - expected)))
    assert visible > 120
    # a pixel's middle may fall on the other side of an edge by rounding: no more than one does
    assert np.sort(errors)[-2] < 0.005
    assert visible_right >= 0.97 * visible
    assert hidden_right >= hidden - 1


def test_a_nose_that_turns_hides_the_cheek_behind_it() -> None:
    """Between the two ends of a violent turn some of what is seen becomes hidden, some does not."""
    performer, camera = Performer(0, "violent"), SimulatedCamera(256, 192)
    times = np.arange(0.0, 4.0, 0.02)
    yaw = [performer.parameters(t).pose[4] for t in times]
    left, right = times[int(np.argmin(yaw))], times[int(np.argmax(yaw))]
    flow = true_flow(performer, camera, left, right)
    matte = np.isfinite(true_flow(performer, camera, left, left)[..., 0])
    hidden = matte & np.isnan(flow[..., 0])
    assert 0.02 < hidden.sum() / matte.sum() < 0.6


def test_flows_to_several_times_are_the_flows_to_each() -> None:
    performer = Performer(1, "talking")
    times = [0.3, 0.31, 0.35]
    together = true_flow_to_times(performer, CAMERA, 0.3, times)
    for flow, time_s in zip(together, times, strict=True):
        np.testing.assert_array_equal(flow, true_flow(performer, CAMERA, 0.3, time_s))
    assert np.nanmax(np.abs(together[0])) < 1e-9
    # in the 10 ms from 0.30 to 0.31 nothing turns back: a fifth of the way is done
    assert np.nanmedian(np.abs(together[1])) < np.nanmedian(np.abs(together[2]))
