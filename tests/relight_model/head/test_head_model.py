"""The head model in torch against the numpy one, closed forms and derivatives by differences."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lightstage.errors import InputError
from lightstage.head import HeadFile, TextureBasis, pose_head, procedural_head
from relight_model.head.model import HeadModel, contour_rows, rotation_matrices


@pytest.fixture(scope="module")
def model() -> HeadModel:
    torch.set_num_threads(1)
    return HeadModel(procedural_head(), dtype=torch.float64)


def drawn(model: HeadModel, frames: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    sizes = (model.shape_count, model.expression_count, 15)
    spread = (1.0, 1.0, 0.4)
    return tuple(
        torch.tensor(s * rng.normal(size=(frames, n))) for n, s in zip(sizes, spread, strict=True)
    )


def with_contour(head: HeadFile) -> HeadFile:
    """A head with 79 contours that differ: each yaw shifts along the mesh's faces."""
    rng = np.random.default_rng(5)
    faces = rng.integers(0, len(head.f), (79, 17))
    weights = rng.dirichlet([1.0, 1.0, 1.0], (79, 17))
    return replace(head, contour_faces=faces, contour_barycentric=weights)


def test_the_torch_model_equals_the_numpy_model(model: HeadModel) -> None:
    shape, expression, pose = drawn(model, 3)
    found = model(shape, expression, pose)
    for k in range(3):
        truth = pose_head(model.head, shape[k].numpy(), expression[k].numpy(), pose[k].numpy())
        assert np.abs(found[k].numpy() - truth).max() < 1e-14


def test_single_precision_is_right_to_a_micrometre(model: HeadModel) -> None:
    shape, expression, pose = drawn(model, 2)
    single = HeadModel.procedural()(shape.float(), expression.float(), pose.float())
    assert (single - model(shape, expression, pose)).abs().max() < 1e-6


def test_fewer_coefficients_and_single_rows_mean_zeros_and_the_whole_batch(
    model: HeadModel,
) -> None:
    shape, expression, pose = drawn(model, 3)
    shape[:], expression[:, 4:] = shape[0].clone(), 0.0
    whole = model(shape, expression, pose)
    assert (model(shape[:1], expression[:, :4], pose) - whole).abs().max() < 1e-15
    still = model(torch.zeros(1, 0).double(), torch.zeros(1, 0).double(), pose[:1] * 0)
    assert np.abs(still[0].numpy() - model.head.v_template).max() < 1e-15


def test_some_vertices_alone_are_where_they_are_in_the_whole_head(model: HeadModel) -> None:
    coefficients = drawn(model, 2)
    chosen = [4000, 7, 123, 2]
    part = model.at(chosen)
    assert (part(*coefficients) - model(*coefficients)[:, chosen]).abs().max() < 1e-15
    assert part.fingerprint == model.fingerprint
    assert (part.joints(*coefficients) - model.joints(*coefficients)).abs().max() == 0
    with pytest.raises(InputError, match="at_landmarks"):
        part.landmarks(part(*coefficients))
    for wrong in ([], [-1], [10**6], [3, 3]):
        with pytest.raises(InputError):
            model.at(wrong)


def test_landmarks_lie_in_their_faces_and_alone_are_the_same(model: HeadModel) -> None:
    head = model.head
    coefficients = drawn(model, 2)
    vertices = model(*coefficients)
    corners = vertices.numpy()[:, head.f.astype(int)[head.landmark_faces]]
    truth = np.einsum("blcd,lc->bld", corners, head.landmark_barycentric)
    assert np.abs(model.landmarks(vertices).numpy() - truth).max() < 1e-15
    alone = model.at_landmarks()
    assert np.abs(alone(*coefficients).numpy() - truth).max() < 1e-15
    assert alone.model.template.shape[1] <= 3 * 68


def test_the_outline_follows_the_head_s_whole_yaw() -> None:
    head = with_contour(procedural_head())
    model = HeadModel(head, dtype=torch.float64)
    shape, expression, _ = drawn(model, 1)
    for yaw, row in ((0, 0), (-1, 1), (-38.7, 39), (-60, 39), (1, 40), (39, 78), (70, 78)):
        pose = torch.zeros(1, 15, dtype=torch.float64)
        # half of the turn by the neck: what counts is how the face stands to the camera
        pose[0, 1] = pose[0, 4] = math.radians(yaw / 2)
        assert int(contour_rows(pose)) == row
        vertices = model(shape, expression, pose)
        corners = vertices.numpy()[0, head.f.astype(int)[head.contour_faces[row]]]
        truth = np.einsum("lcd,lc->ld", corners, head.contour_barycentric[row])
        found = model.landmarks(vertices, pose)[0]
        assert np.abs(found[:17].numpy() - truth).max() < 1e-15
        assert torch.equal(found[17:], model.landmarks(vertices)[0, 17:])
        assert (model.at_landmarks()(shape, expression, pose)[0] - found).abs().max() < 1e-15


def test_the_eyes_turn_about_the_joints(model: HeadModel) -> None:
    shape, expression, pose = drawn(model, 1)
    turned = pose.clone()
    turned[0, 9:12] += 0.3
    eye = np.flatnonzero(model.head.weights[:, 3] == 1.0)
    centre = model.joints(shape, expression, pose)[0, 3]
    assert (model.joints(shape, expression, turned)[0, 3] - centre).abs().max() < 1e-15
    for angles in (pose, turned):
        v = model.at(eye.tolist())(shape, expression, angles)[0]
        distance = torch.linalg.vector_norm(v - centre, dim=1)
        if angles is pose:
            before = distance
    assert (distance - before).abs().max() < 1e-12


def test_rotations_are_those_of_scipy_at_any_angle() -> None:
    rng = np.random.default_rng(1)
    axes = rng.normal(size=(400, 3))
    axes *= (10.0 ** rng.uniform(-12, 0.6, 400) / np.linalg.norm(axes, axis=1))[:, None]
    axes[:3] = np.array([0.0, 0.1, np.pi])[:, None] * [0, 1, 0]
    truth = Rotation.from_rotvec(axes).as_matrix()
    found = rotation_matrices(torch.tensor(axes)).numpy()
    assert np.abs(found - truth).max() < 2e-15
    assert np.abs(rotation_matrices(torch.tensor(axes).float()).numpy() - truth).max() < 1e-6


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.0999, 0.1001, 2.0])
def test_rotations_have_true_first_and_second_derivatives(angle: float) -> None:
    start = torch.tensor([[0.6, -0.64, 0.48]], dtype=torch.float64) * angle
    start.requires_grad_(True)
    assert torch.autograd.gradcheck(rotation_matrices, (start,))
    assert torch.autograd.gradgradcheck(rotation_matrices, (start,))


@pytest.mark.parametrize("rest", [True, False])
def test_the_model_has_true_derivatives(model: HeadModel, rest: bool) -> None:
    small = model.at([10, 3000, 4040])
    inputs = tuple((t * (0.0 if rest else 1.0)).requires_grad_(True) for t in drawn(model, 2))
    assert torch.autograd.gradcheck(small, inputs)


def test_sizes_that_do_not_fit_are_refused(model: HeadModel) -> None:
    shape, expression, pose = drawn(model, 2)
    for wrong in (
        (torch.zeros(2, 999).double(), expression, pose),
        (shape, torch.zeros(2, 999).double(), pose),
        (shape, expression, pose[:, :12]),
        (shape, expression[0], pose),
        (shape.repeat(2, 1)[:3], expression, pose),
    ):
        with pytest.raises(InputError):
            model(*wrong)


def test_the_fingerprint_tells_heads_apart_by_what_coefficients_mean(model: HeadModel) -> None:
    head = model.head
    assert HeadModel(head).fingerprint == model.fingerprint
    painted = replace(head, texture=head.texture * 0.5, landmark_faces=head.landmark_faces[::-1])
    assert HeadModel(painted).fingerprint == model.fingerprint
    assert HeadModel(replace(head, v_template=head.v_template + 1e-12)).fingerprint == (
        model.fingerprint
    )
    moved = head.shapedirs.copy()
    moved[5, 1, 2] += 1e-5
    assert HeadModel(replace(head, shapedirs=moved)).fingerprint != model.fingerprint
    fewer = replace(head, shape_count=head.shape_count - 1, expression_names=())
    assert HeadModel(fewer).fingerprint != model.fingerprint


def test_a_saved_head_is_the_same_head(model: HeadModel, tmp_path: Path) -> None:
    basis = TextureBasis(
        np.full((4, 4, 3), 0.5, np.float32), np.ones((4, 4, 3, 2), np.float16), "FLAME"
    )
    head = replace(with_contour(model.head), texture_basis=basis)
    head.save(tmp_path / "head.npz")
    again = HeadFile.load(tmp_path / "head.npz")
    for name, value in vars(head).items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(getattr(again, name), value), name
            assert getattr(again, name).dtype == value.dtype, name
    assert again.expression_names == head.expression_names
    assert again.texture_basis is not None
    assert np.array_equal(again.texture_basis.components, basis.components)
    loaded = HeadModel.load(tmp_path / "head.npz")
    assert loaded.fingerprint == model.fingerprint
    assert HeadModel.load(None).fingerprint == model.fingerprint


def test_a_head_without_landmarks_says_how_to_get_them(model: HeadModel) -> None:
    head = model.head
    bare = replace(
        head, landmark_faces=head.landmark_faces[:0], landmark_barycentric=np.zeros((0, 3))
    )
    assert not bare.has_landmarks
    with pytest.raises(InputError, match="--landmarks"):
        HeadModel(bare).at_landmarks()


def test_wrong_head_files_are_refused_with_what_was_expected(
    model: HeadModel, tmp_path: Path
) -> None:
    head = model.head
    path = tmp_path / "head.npz"
    for changes, expected in (
        ({"weights": head.weights[:-1]}, "weights must be"),
        ({"f": head.f + np.uint32(1)}, "vertices"),
        ({"v_template": head.v_template * np.nan}, "finite"),
        ({"weights": head.weights * 2}, "add up to 1"),
        ({"kintree_table": np.zeros((2, 5), np.int64)}, "parents"),
        ({"shape_count": 10**6}, "components"),
    ):
        with pytest.raises(InputError, match=expected):
            replace(head, **changes).save(path)
    assert not path.exists()
    with pytest.raises(InputError, match="no such file"):
        HeadModel.load(path)
    with pytest.raises(InputError, match="convert-head"):
        HeadModel.load(tmp_path / "generic_model.pkl")
    head.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(2)
    for _ in range(20):
        damaged = bytearray(whole[: rng.integers(len(whole))])
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            HeadFile.load(path)
    np.savez(path, about=np.array('{"format": "something else"}'))
    with pytest.raises(InputError, match="this version reads"):
        HeadFile.load(path)
