"""The procedural head is a FLAME file, and G obeys FLAME's laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lightstage.errors import InputError
from lightstage.head import rotation_matrices
from lightstage.head.parts import PART_NAMES
from lightstage.head.skin import sculpt
from lightstage.simulation import HeadFile, pose_head, procedural_head


@pytest.fixture(scope="module")
def head() -> HeadFile:
    return procedural_head()


def test_arrays_are_those_of_a_flame_file(head: HeadFile) -> None:
    vertices = len(head.v_template)
    assert 5000 <= vertices <= 12000
    assert head.v_template.shape == (vertices, 3)
    assert head.f.dtype == np.uint32 and head.f.shape[1] == 3 and head.f.max() == vertices - 1
    assert head.shapedirs.shape == (vertices, 3, head.shape_count + head.expression_count)
    assert head.shape_count >= 10 and head.expression_count == len(head.expression_names) >= 10
    assert head.posedirs.shape == (vertices, 3, 36)
    assert head.J_regressor.shape == (5, vertices)
    assert head.kintree_table.tolist()[0][1:] == [0, 1, 1, 1]
    assert head.weights.shape == (vertices, 5)
    assert head.texture.shape[0] == head.texture.shape[1]
    assert head.texture.min() >= 0.0 and head.texture.max() <= 1.0
    assert head.vt.min() >= 0.0 and head.vt.max() <= 1.0 and head.ft.shape == head.f.shape
    np.testing.assert_allclose(head.J_regressor @ head.v_template, head.J, atol=1e-12)


def test_every_vertex_is_fully_bound(head: HeadFile) -> None:
    np.testing.assert_allclose(head.weights.sum(axis=1), 1.0, atol=1e-12)
    assert head.weights.min() >= 0.0
    np.testing.assert_allclose(head.J_regressor.sum(axis=1), 1.0, atol=1e-9)


def test_zero_parameters_give_the_template_exactly(head: HeadFile) -> None:
    np.testing.assert_array_equal(pose_head(head, (), (), np.zeros(15)), head.v_template)


def test_turning_the_global_joint_turns_the_head_rigidly(head: HeadFile) -> None:
    shape, expression = np.full(head.shape_count, 0.4), np.full(head.expression_count, 0.2)
    pose = np.zeros(15)
    pose[6:9] = (0.2, 0.0, 0.0)
    before = pose_head(head, shape, expression, pose)
    pose[:3] = turn = np.array([0.3, -0.7, 0.2])
    after = pose_head(head, shape, expression, pose)
    shaped = head.v_template + head.shapedirs @ np.concatenate([shape, expression])
    pivot = (head.J_regressor @ shaped)[0]
    expected = Rotation.from_rotvec(turn).apply(before - pivot) + pivot
    np.testing.assert_allclose(after, expected, atol=1e-9)


def test_rotations_are_those_of_scipy() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    expected = Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(rotation_matrices(vectors), expected, atol=1e-12)


def test_an_open_jaw_parts_the_lips_and_leaves_the_cranium(head: HeadFile) -> None:
    pose = np.zeros(15)
    pose[6] = 0.3
    moved = pose_head(head, (), (), pose) - head.v_template
    rows = [head.f[head.landmark_faces[k]] for k in (62, 66)]  # the middle of each lip's inside
    upper, lower = (moved[row].mean(axis=0)[1] for row in rows)
    assert upper - lower > 0.012
    crown = head.v_template[:, 1] > 0.06
    np.testing.assert_allclose(moved[crown], 0.0, atol=1e-6)


@pytest.mark.parametrize("joint, part", [(3, "eye_left"), (4, "eye_right")])
def test_an_eyeball_turns_about_its_own_centre(head: HeadFile, joint: int, part: str) -> None:
    pose = np.zeros(15)
    pose[3 * joint + 1] = 0.4
    posed = pose_head(head, (), (), pose)
    eye = sculpt().part == PART_NAMES.index(part)
    centre = head.J[joint]
    before = np.linalg.norm(head.v_template[eye] - centre, axis=1)
    np.testing.assert_allclose(np.linalg.norm(posed[eye] - centre, axis=1), before, atol=1e-9)
    np.testing.assert_allclose(posed[~eye], head.v_template[~eye], atol=1e-12)


def test_a_blink_moves_its_own_eyes_lids_down(head: HeadFile) -> None:
    expression = np.zeros(head.expression_count)
    expression[head.expression_names.index("blink left")] = 1.0
    moved = pose_head(head, (), expression, np.zeros(15)) - head.v_template
    left = head.v_template[:, 0] > 0
    assert moved[left, 1].min() < -0.006
    np.testing.assert_allclose(moved[~left], 0.0, atol=1e-9)


def test_landmarks_stand_where_a_face_has_them(head: HeadFile) -> None:
    assert head.landmark_faces.shape == (68,)
    np.testing.assert_allclose(head.landmark_barycentric.sum(axis=1), 1.0, atol=1e-9)
    corners = head.v_template[head.f[head.landmark_faces]]
    points = np.einsum("kc,kcd->kd", head.landmark_barycentric, corners)
    assert points[8, 1] == points[:, 1].min()  # chin
    assert points[30, 2] == points[:, 2].max()  # tip of the nose
    assert points[36, 0] < points[39, 0] < 0 < points[42, 0] < points[45, 0]  # eyes' corners
    assert points[48, 0] < 0 < points[54, 0]  # mouth's corners
    mirror = points[[16, 26, 45, 54]] * [-1, 1, 1]
    np.testing.assert_allclose(points[[0, 17, 36, 48]], mirror, atol=0.003)


def test_too_many_coefficients_are_refused(head: HeadFile) -> None:
    with pytest.raises(InputError, match="shape coefficients"):
        pose_head(head, np.zeros(head.shape_count + 1), (), np.zeros(15))
    with pytest.raises(InputError, match="15 numbers"):
        pose_head(head, (), (), np.zeros(6))
