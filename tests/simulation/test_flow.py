"""True flow is where rays from the camera say that surface points are."""

from __future__ import annotations

import cv2
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


def ray_flow(
    performer: Performer, from_s: float, to_s: float, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what rays say of pixels ``(n, 2)``: flow ``(n, 2)`` and how far in front of the point
    something else is at ``to_s``, ``(n,)`` metres; NaN off the performer.
    """
    here, there = (performer.vertices(t).astype(np.float64) for t in (from_s, to_s))
    faces, eye = performer.model.faces, CAMERA.position_m
    flow, ahead_m = np.full((len(pixels), 2), np.nan), np.full(len(pixels), np.nan)
    for index, (x, y) in enumerate(pixels):
        right = (x - 0.5 * (CAMERA.width - 1)) / CAMERA.focal_px
        up = -(y - 0.5 * (CAMERA.height - 1)) / CAMERA.focal_px
        _, face, weights = hits(eye, np.array([right, up, -1.0]), here[faces])
        if face < 0:
            continue
        point = weights @ there[faces[face]]
        flow[index] = CAMERA.project(point) - [x, y]
        way, _, _ = hits(eye, point - eye, there[faces])
        ahead_m[index] = max(1.0 - way, 0.0) * np.linalg.norm(point - eye)
    return flow, ahead_m


@pytest.mark.parametrize("motion, from_s, to_s", [("talking", 0.4, 0.456), ("violent", 1.0, 0.93)])
def test_flow_is_what_rays_find(motion: str, from_s: float, to_s: float) -> None:
    performer = Performer(3, motion)  # type: ignore[arg-type]
    flow = true_flow(performer, CAMERA, from_s, to_s)
    rng = np.random.default_rng(5)
    pixels = np.column_stack([rng.integers(90, 230, 250), rng.integers(30, 215, 250)])
    expected, ahead_m = ray_flow(performer, from_s, to_s, pixels)
    found = flow[pixels[:, 1], pixels[:, 0]]
    off = np.isnan(expected[:, 0])
    assert np.isnan(found[off]).all()
    seen = np.isfinite(found[:, 0])
    visible = ahead_m < 0.002
    assert visible.sum() > 120 and seen[visible].mean() > 0.98
    error = np.linalg.norm(found - expected, axis=1)[seen & visible]
    # the rasteriser computes in single precision: of 300 pixels some 1e-5
    assert error.max() < 1e-3


@pytest.mark.parametrize("seed, from_s, to_s", [(0, 2.0, 1.93), (1, 1.5, 1.8)])
def test_what_becomes_hidden_has_no_flow(seed: int, from_s: float, to_s: float) -> None:
    """Told within 4 pixels of what becomes hidden, where it is hard; 2 to 8 mm may count as either.

    Sharp to a quarter of a pixel: on outlines some of both kinds are taken for the other.
    """
    performer = Performer(seed, "violent")
    found = np.isfinite(true_flow(performer, CAMERA, from_s, to_s)[..., 0])
    covered = np.isfinite(true_flow(performer, CAMERA, from_s, from_s)[..., 0])
    hidden = (covered & ~found).astype(np.uint8)
    rows, columns = np.nonzero((cv2.dilate(hidden, np.ones((7, 7))) > 0) & covered)
    chosen = np.random.default_rng(0).permutation(len(rows))[:400]
    pixels = np.column_stack([columns, rows])[chosen]
    moved, ahead_m = ray_flow(performer, from_s, to_s, pixels)
    # what leaves the picture at its lower edge has no flow either, hidden or not
    stays = (pixels + moved)[:, 1] < CAMERA.height - 0.5
    pixels, ahead_m = pixels[stays], ahead_m[stays]
    seen = found[pixels[:, 1], pixels[:, 0]]
    assert (ahead_m > 0.008).sum() > 20
    assert (~seen[ahead_m > 0.008]).mean() > 0.9
    assert seen[ahead_m < 0.002].mean() > 0.9


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
