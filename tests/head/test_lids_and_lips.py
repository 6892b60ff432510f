"""Eyes close, lips meet, the mesh is sound: told by rays and by its own geometry."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.head import HeadFile, pose_head, procedural_head
from lightstage.head.bases import IDENTITY
from lightstage.head.parts import PART_NAMES, PartName
from lightstage.head.skin import sculpt

trimesh = pytest.importorskip("trimesh")

CAMERAS = ((0.0, 0.0, 1.3), (0.5, 0.1, 1.2), (-0.5, 0.1, 1.2), (0.0, -0.4, 1.2), (0.0, 0.4, 1.2))


@pytest.fixture(scope="module")
def head() -> HeadFile:
    return procedural_head()


def posed(
    head: HeadFile,
    actions: dict[str, float],
    joints: dict[int, float] | None = None,
    shape: np.ndarray | tuple[()] = (),
) -> np.ndarray:
    expression, pose = np.zeros(head.expression_count), np.zeros(15)
    for name, value in actions.items():
        expression[head.expression_names.index(name)] = value
    for place, value in (joints or {}).items():
        pose[place] = value
    return pose_head(head, shape, expression, pose)


def rays_that_reach(
    head: HeadFile, vertices: np.ndarray, targets: np.ndarray, camera: tuple[float, ...],
    parts: tuple[PartName, ...],
) -> int:  # fmt: skip
    """Count the rays from ``camera`` through ``targets`` that first meet one of ``parts``."""
    mesh = trimesh.Trimesh(vertices, head.f.astype(np.int64), process=False)
    start = np.tile(camera, (len(targets), 1))
    met = mesh.ray.intersects_first(start, targets - start)
    part = sculpt().part[head.f[met[met >= 0]][:, 0]]
    return int(np.isin(part, [PART_NAMES.index(name) for name in parts]).sum())


def eyeball_rays(head: HeadFile, vertices: np.ndarray) -> int:
    """Count the rays about both eyes, from five cameras, that meet an eyeball."""
    total = 0
    for name in ("eye_left", "eye_right"):
        centre = vertices[sculpt().part == PART_NAMES.index(name)].mean(axis=0)
        x, y = np.meshgrid(np.linspace(-0.017, 0.017, 80), np.linspace(-0.012, 0.012, 60))
        targets = centre + np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 0.012)])
        for camera in CAMERAS:
            total += rays_that_reach(head, vertices, targets, camera, ("eye_left", "eye_right"))
    return total


BLINK = {"blink left": 1.0, "blink right": 1.0}


def test_open_eyes_show_their_eyeballs(head: HeadFile) -> None:
    assert eyeball_rays(head, posed(head, {})) > 5000


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("degrees", [-20.0, 0.0, 20.0])
def test_no_ray_reaches_an_eyeball_behind_closed_lids(
    head: HeadFile, axis: int, degrees: float
) -> None:
    turn = np.deg2rad(degrees)
    assert eyeball_rays(head, posed(head, BLINK, {9 + axis: turn, 12 + axis: turn})) == 0


@pytest.mark.parametrize("seed", range(4))
def test_lids_close_for_any_identity(head: HeadFile, seed: int) -> None:
    shape = np.random.default_rng(seed).standard_normal(head.shape_count).clip(-2, 2)
    assert eyeball_rays(head, posed(head, BLINK, shape=shape)) == 0


def test_one_eye_closes_alone(head: HeadFile) -> None:
    both, one = posed(head, {}), posed(head, {"blink left": 1.0})
    assert 0.4 < eyeball_rays(head, one) / eyeball_rays(head, both) < 0.6


def mouth_targets() -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-0.027, 0.027, 100), np.linspace(-0.088, -0.045, 160))
    return np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 0.085)])


def test_closed_lips_show_nothing_of_the_mouths_inside(head: HeadFile) -> None:
    inside: tuple[PartName, ...] = ("upper_teeth", "lower_teeth", "tongue")
    for camera in CAMERAS:
        assert rays_that_reach(head, head.v_template, mouth_targets(), camera, inside) == 0


def test_an_open_mouth_shows_teeth_and_tongue(head: HeadFile) -> None:
    opened = posed(head, {}, {6: 0.25})
    for part in ("upper_teeth", "lower_teeth", "tongue"):
        assert rays_that_reach(head, opened, mouth_targets(), CAMERAS[0], (part,)) > 20


def test_an_open_mouth_is_round(head: HeadFile) -> None:
    """Half way from the middle to a corner it is still 0.7 to 1 of its height open: an ellipse."""
    loop = np.flatnonzero((sculpt().side != 0) & (sculpt().part == PART_NAMES.index("skin")))
    rest, opened = head.v_template[loop], posed(head, {}, {6: 0.25})[loop]
    upper = sculpt().side[loop] > 0
    height = {}
    for place in (0.0, 0.5):
        near = np.abs(rest[:, 0] / np.abs(rest[:, 0]).max() - place) < 0.06
        height[place] = opened[near & upper, 1].mean() - opened[near & ~upper, 1].mean()
    assert height[0.0] > 0.010
    assert 0.7 < height[0.5] / height[0.0] < 1.0


def test_the_mean_head_without_its_hair_is_its_own_mirror_image(head: HeadFile) -> None:
    """Hair is combed to one side."""
    from scipy.spatial import cKDTree

    points = head.v_template[sculpt().hair == 0]
    away, partner = cKDTree(points).query(points * [-1, 1, 1])
    assert away.max() < 2e-6
    assert len(np.unique(partner)) > 0.98 * len(points)


def test_no_face_is_degenerate_or_turned_inside_out(head: HeadFile) -> None:
    faces = head.f.astype(np.int64)
    a, b, c = (head.v_template[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    assert 0.5 * np.linalg.norm(normal, axis=1).min() > 1e-9  # a thousandth of a square millimetre
    # neighbours go round their common edge in opposite directions: all faces agree on the outside
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    for name in ("eye_left", "eye_right"):
        members = (sculpt().part[faces] == PART_NAMES.index(name)).all(axis=1)
        volume = (a[members] * np.cross(b[members], c[members])).sum() / 6.0
        assert volume == pytest.approx(4.0 / 3.0 * np.pi * 0.013**3, rel=0.05)


def test_no_two_components_are_nearly_the_same(head: HeadFile) -> None:
    """With columns of length 1, no direction of the coefficients moves the mesh 60 times less."""
    columns = head.shapedirs.reshape(-1, head.shapedirs.shape[2])
    assert np.linalg.norm(columns, axis=0).min() > 1e-4
    assert np.linalg.cond(columns / np.linalg.norm(columns, axis=0)) < 60.0
    assert head.shape_count == len(IDENTITY) >= 45 and head.expression_count >= 26


def test_each_sides_action_is_the_others_mirror_image(head: HeadFile) -> None:
    from scipy.spatial import cKDTree

    points = head.v_template
    partner = cKDTree(points).query(points * [-1, 1, 1])[1]
    # where two vertices share a place, any of them will do
    for name in head.expression_names:
        if not name.endswith(" left"):
            continue
        one = posed(head, {name: 1.0}) - points
        other = posed(head, {name.replace("left", "right"): 1.0}) - points
        skin = sculpt().part == PART_NAMES.index("skin")
        np.testing.assert_allclose(one[partner][skin] * [-1, 1, 1], other[skin], atol=3e-5)


def test_each_eyes_joint_is_its_eyeballs_centre(head: HeadFile) -> None:
    shape = np.random.default_rng(1).standard_normal(head.shape_count)
    vertices = pose_head(head, shape, (), np.zeros(15))
    joints = head.J_regressor @ vertices
    for joint, name in ((3, "eye_left"), (4, "eye_right")):
        ball = vertices[sculpt().part == PART_NAMES.index(name)]
        radius = np.linalg.norm(ball - joints[joint], axis=1)
        assert radius.min() > 0.0128 and radius.max() < 0.0138  # the cornea stands proud
