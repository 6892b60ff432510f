"""The landmark image: lines and pupils lie where the projected points are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lightstage.head import pose_head
from lightstage.pinhole import PinholeCamera
from relight_model.conditioning import ConditioningRenderer
from relight_model.conditioning.landmark_lines import draw_landmarks

#: Channel and landmarks of closed lines, in iBUG's order.
LIDS_RIGHT, LIDS_LEFT = (1, np.arange(36, 42)), (1, np.arange(42, 48))
CHANNEL_OF = np.repeat([0, 0, 0, 1, 2], [17, 10, 9, 12, 20])


def camera(size: int) -> PinholeCamera:
    """A picture of a head at any size."""
    return PinholeCamera(512, 512, 2400.0, 1.5).viewed(-0.5, -0.5, size / 512, size, size)


def posed(renderer: ConditioningRenderer, pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 68 landmarks of the mean head, by the head file's own embedding."""
    head = renderer.head
    vertices = pose_head(head, (), (), pose)
    corners = vertices[head.f[head.landmark_faces].astype(int)]
    return np.einsum("lcx,lc->lx", corners, head.landmark_barycentric)


@pytest.mark.parametrize("size", [64, 128, 512, 2048])
def test_every_landmark_lies_on_its_line(renderer: ConditioningRenderer, size: int) -> None:
    pose = np.zeros(15)
    pose[:3] = [0.1, 0.3, -0.1]
    view = camera(size)
    picture = renderer.render((), pose, np.zeros(3), view, ["landmarks"]).landmarks
    places = view.project(posed(renderer, pose))
    # a line of one pixel through any place covers half of the nearest pixel at least, along x or y
    for place, channel in zip(places, CHANNEL_OF, strict=True):
        x, y = np.rint(place).astype(int)
        around = picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2, channel]
        assert around.max() > 0.4
    covered = (picture.max(axis=2) > 0.5).mean()
    assert 0.003 < covered < 0.12


@pytest.mark.parametrize("size", [256, 1024])
@pytest.mark.parametrize(("channel", "chosen"), [LIDS_RIGHT, LIDS_LEFT])
def test_the_centroid_of_the_drawn_lids_is_that_of_their_line(
    renderer: ConditioningRenderer, size: int, channel: int, chosen: NDArray[np.int64]
) -> None:
    view = camera(size)
    picture = renderer.render((), np.zeros(15), np.zeros(3), view, ["landmarks"]).landmarks
    places = view.project(posed(renderer, np.zeros(15)))[chosen]
    after = np.roll(places, -1, axis=0)
    length = np.linalg.norm(after - places, axis=1)
    expected = (length[:, None] * 0.5 * (places + after)).sum(axis=0) / length.sum()
    low, high = places.min(axis=0) - 0.03 * size, places.max(axis=0) + 0.03 * size
    y, x = np.mgrid[0:size, 0:size]
    near = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])
    ink = picture[..., channel] * near
    found = np.array([(ink * x).sum(), (ink * y).sum()]) / ink.sum()
    assert np.abs(found - expected).max() < 0.006 * size * 0.25


def test_pupils_follow_the_gaze_and_vanish_behind_closed_lids(
    renderer: ConditioningRenderer,
) -> None:
    view = camera(512)
    marks, _ = renderer.landmarks(pose_head(renderer.head, (), (), np.zeros(15)))
    # mouth away, lids wide open: what is left of the channel is the pupils
    marks = marks.copy()
    marks[48:] = [0.0, -0.09, 0.08]
    for eye in (slice(36, 42), slice(42, 48)):
        centre = marks[eye].mean(axis=0)
        marks[eye, 1] = centre[1] + 3.0 * (marks[eye, 1] - centre[1])

    def pupils(yaw: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        pose = np.zeros(15)
        pose[[10, 13]] = yaw
        vertices = pose_head(renderer.head, (), (), pose)
        _, spots = renderer.landmarks(vertices)
        return draw_landmarks(marks, spots, view)[..., 2], spots

    y, x = np.mgrid[0:512, 0:512]
    for yaw in (-0.15, 0.0, 0.15):
        picture, spots = pupils(yaw)
        # on the axis of the eyeball, turned about its joint
        for joint, spot in zip((3, 4), spots, strict=True):
            axis = spot - renderer.head.J[joint]
            assert abs(np.arctan2(axis[0], axis[2]) - yaw) < 0.01
        for spot in view.project(spots):
            near = np.hypot(x - spot[0], y - spot[1]) < 12
            ink = picture * near
            found = np.array([(ink * x).sum(), (ink * y).sum()]) / ink.sum()
            assert np.abs(found - spot).max() < 0.1
    marks[[37, 38]] = marks[[41, 40]]
    marks[[43, 44]] = marks[[47, 46]]
    closed, spots = pupils(0.0)
    for spot in view.project(spots):
        assert closed[np.hypot(x - spot[0], y - spot[1]) < 12].max() < 0.5
    for eye in (slice(36, 42), slice(42, 48)):
        marks[eye, 1] = marks[eye, 1].mean()
    closed, spots = pupils(0.0)
    for spot in view.project(spots):
        assert closed[np.hypot(x - spot[0], y - spot[1]) < 12].max() < 1e-3
