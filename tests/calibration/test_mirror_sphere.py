"""Mirror spheres obey the law of reflection, and their outlines are cones of rays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightstage.calibration.mirror_sphere import (
    MirrorSphere,
    OrthographicCamera,
    PerspectiveCamera,
    angle_deg,
    nearest_point,
    point_at_distance,
    unit,
)
from lightstage.calibration.silhouette import Circle, fit_silhouette, given_silhouette
from lightstage.errors import InputError

NEAR = PerspectiveCamera(900.0, (199.5, 149.5))
FAR = OrthographicCamera(800.0, (199.5, 149.5))
cameras = st.sampled_from([NEAR, FAR])
spheres = st.builds(
    lambda x, y, z, r: MirrorSphere((x, y, z), r),
    st.floats(-0.2, 0.2),
    st.floats(-0.2, 0.2),
    st.floats(-2.0, -1.0),
    st.floats(0.02, 0.15),
)
directions = (
    st.tuples(*(3 * [st.floats(-1, 1)])).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)
).map(unit)


@given(cameras, spheres, st.floats(0, 0.97), st.floats(0, 2 * np.pi))
def test_light_leaves_at_the_angle_at_which_it_comes(camera, sphere, share, turn):
    scale = 800 if camera is FAR else 900 / -sphere.centre_m[2]
    offset = 0.9 * share * scale * sphere.radius_m * np.array([np.cos(turn), np.sin(turn)])
    pixel = camera.project(sphere.centre_m) + offset
    point, ray = sphere.reflect(camera, pixel)
    normal = (point - np.array(sphere.centre_m)) / sphere.radius_m
    incoming = camera.rays(pixel)[1]
    assert np.linalg.norm(normal) == pytest.approx(1.0, abs=1e-9)
    assert camera.project(point) == pytest.approx(pixel, abs=1e-7)
    assert incoming @ normal < 0 < ray @ normal
    assert ray @ normal == pytest.approx(-(incoming @ normal), abs=1e-9)
    # in one plane with the normal, and of unit length
    assert np.cross(incoming, ray) @ normal == pytest.approx(0.0, abs=1e-9)
    assert np.linalg.norm(ray) == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=50)
@given(cameras, spheres, directions, st.floats(0.6, 3.0))
def test_the_ray_from_a_highlight_goes_through_its_light(camera, sphere, direction, away):
    light = np.array(sphere.centre_m) + away * direction
    pixel = sphere.highlight(camera, light)
    if np.isnan(pixel).any():  # hidden: only possible behind the sphere
        behind = [0, 0, -1] if camera is FAR else unit(np.array(sphere.centre_m))
        assert direction @ behind > 0.7
        return
    point, ray = sphere.reflect(camera, pixel)
    assert angle_deg(unit(light - point), ray) < 1e-3
    place = point_at_distance(point, ray, sphere.centre_m, away)
    assert np.linalg.norm(place - light) < 1e-4


@given(directions.filter(lambda v: v[2] > -0.95))
def test_far_away_the_normal_halves_light_and_view(direction):
    sphere = MirrorSphere((0.0, 0.0, 0.0), 0.1)
    normal = unit(direction + np.array([0.0, 0.0, 1.0]))
    expected = [199.5 + 80.0 * normal[0], 149.5 - 80.0 * normal[1]]
    assert sphere.highlight(FAR, direction, distant=True) == pytest.approx(expected, abs=1e-6)
    _, ray = sphere.reflect(FAR, expected)
    assert angle_deg(ray, direction) < 1e-4


@pytest.mark.parametrize("camera", [NEAR, FAR])
def test_a_light_above_is_seen_in_the_upper_rows_and_has_positive_y(camera):
    sphere = MirrorSphere((0.0, 0.0, -1.5), 0.06)
    column, row = sphere.highlight(camera, [0.0, 1.0, -1.4])
    assert row < 149.5
    assert column == pytest.approx(199.5)
    _, ray = sphere.reflect(camera, [199.5, 149.5 - 5])
    assert ray[1] > 0 < ray[2]
    _, ray = sphere.reflect(camera, [199.5 + 5, 149.5])
    assert ray[0] > 0


@pytest.mark.parametrize("camera", [NEAR, FAR])
def test_a_light_straight_behind_is_hidden(camera):
    sphere = MirrorSphere((0.0, 0.0, -1.5), 0.06)
    assert np.isnan(sphere.highlight(camera, [0.0, 0.0, -3.0])).all()


@given(st.floats(-0.35, 0.35), st.floats(-0.2, 0.2), st.floats(0.9, 2.0), st.floats(0.03, 0.1))
def test_rays_just_within_the_outline_meet_the_sphere_and_others_do_not(x, y, away, radius):
    sphere = MirrorSphere((x, y, -away), radius)
    circle = Circle(*NEAR.project(sphere.centre_m), 900 * radius / away)
    seen = given_silhouette(circle, NEAR, NEAR.principal_px, radius)
    outline = seen.outline_px(90)
    middle = outline.mean(axis=0)
    within, beyond = middle + 0.999 * (outline - middle), middle + 1.001 * (outline - middle)
    assert np.isfinite(seen.sphere.reflect(NEAR, within)[0]).all()
    assert np.isnan(seen.sphere.reflect(NEAR, beyond)[0]).all()


@pytest.mark.parametrize("centre", [(0.0, 0.0, -1.5), (0.4, 0.2, -1.5), (-0.55, -0.3, -1.2)])
def test_a_sphere_is_found_where_it_is_from_its_outline(centre):
    # the oracle is the distance of each pixel's ray from the centre: no outline, no ellipse
    camera = PerspectiveCamera(700.0, (399.5, 299.5))
    fine = 4
    y, x = (np.indices((600 * fine, 800 * fine)) + 0.5) / fine - 0.5
    ray = np.stack([x - 399.5, 299.5 - y, np.full(x.shape, -700.0)], axis=-1)
    cosine = (ray @ np.array(centre)) / np.linalg.norm(ray, axis=-1) / np.linalg.norm(centre)
    disc = cosine > np.sqrt(1 - (0.09 / np.linalg.norm(centre)) ** 2)
    picture = disc.reshape(600, fine, 800, fine).mean(axis=(1, 3)).astype(np.float32)
    area = picture.sum()
    middle = (picture.sum(axis=0) @ np.arange(800), picture.sum(axis=1) @ np.arange(600))
    start = Circle(middle[0] / area + 2, middle[1] / area - 2, np.sqrt(area / np.pi) * 1.05)
    found = fit_silhouette(picture, start, camera, camera.principal_px, 0.09)
    assert found.rms_px < 0.1
    assert found.coverage > 0.95
    assert found.sphere.centre_m == pytest.approx(centre, abs=2e-3)
    # and the middle of the ellipse is not where the centre is seen
    off = np.linalg.norm(camera.project(centre) - np.array(middle) / area)
    assert (off > 0.3) == (centre[0] != 0)


def test_an_ellipse_is_no_sphere_to_a_camera_far_away():
    picture = np.zeros((300, 400), np.uint8)
    cv2.ellipse(picture, (200, 150), (105, 95), 0, 0, 360, 255, -1, cv2.LINE_AA)
    with pytest.raises(InputError, match=r"is an ellipse of 10\d\.\d x 9\d\.\d pixels.*--focal"):
        fit_silhouette(picture / np.float32(255), Circle(200, 150, 100), None, (199.5, 149.5))


def test_a_circle_far_off_the_axis_is_no_sphere_to_a_near_camera():
    picture = np.zeros((300, 400), np.uint8)
    cv2.circle(picture, (340, 150), 50, 255, -1, cv2.LINE_AA)
    camera = PerspectiveCamera(300.0, (199.5, 149.5))
    with pytest.raises(InputError, match="--focal or --fov is wrong"):
        fit_silhouette(picture / np.float32(255), Circle(340, 150, 50), camera, (199.5, 149.5))


def test_a_square_is_no_sphere():
    picture = np.zeros((300, 400), np.float32)
    picture[100:200, 150:250] = 1.0
    with pytest.raises(InputError, match="outline"):
        fit_silhouette(picture, Circle(200, 150, 56), None, (199.5, 149.5))


@given(st.lists(directions, min_size=2, max_size=5), st.tuples(*(3 * [st.floats(-2, 2)])))
def test_lines_through_a_point_meet_in_it(through, point):
    through = np.array(through)
    if angle_deg(through[:, None], through[None]).max() < 1.0:
        return
    if angle_deg(through[:, None], -through[None]).min() < 1.0:
        return
    origins = np.array(point) - np.arange(1, len(through) + 1)[:, None] * through
    found, missed = nearest_point(origins, through)
    assert found == pytest.approx(np.array(point), abs=1e-6)
    assert missed.max() < 1e-6


def test_parallel_lines_meet_nowhere():
    with pytest.raises(InputError, match="parallel"):
        nearest_point([[0, 0, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 1]])


@pytest.mark.parametrize("focal", [0.0, -3.0, float("nan")])
def test_a_focal_length_is_positive(focal):
    with pytest.raises(InputError, match="focal length must be above 0"):
        PerspectiveCamera(focal, (0.0, 0.0))
