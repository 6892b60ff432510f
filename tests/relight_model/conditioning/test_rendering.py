"""Conditioning maps against ray casting (Embree through trimesh) and against laws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from trimesh.ray.ray_pyembree import RayMeshIntersector

from lightstage.colour import decode_srgb
from lightstage.errors import InputError
from lightstage.head import HeadFile, pose_head, procedural_head, rotation_matrices
from lightstage.pinhole import PinholeCamera
from relight_model.conditioning import ConditioningMaps, ConditioningRenderer
from relight_model.conditioning.mesh_raster import draw_faces, place_vertices
from relight_model.conditioning.posing import HeadPoser
from relight_model.conditioning.renderer import mip_levels, resized
from tests.relight_model.conditioning.conftest import talking_clip

#: Whole picture and crops whose axis lies far from their middle.
WHOLE = PinholeCamera(160, 144, 560.0, 1.5)
CROP = PinholeCamera(640, 480, 1900.0, 1.5).viewed(231.3, 77.9, 0.71, 170, 150)
CLOSE = PinholeCamera(640, 480, 1900.0, 0.6).viewed(120.0, 10.0, 0.3, 130, 140)


def poses() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], PinholeCamera]]:
    """Pose and translation of three heads, and their cameras."""
    turned, nodding = np.zeros(15), np.zeros(15)
    turned[1] = np.radians(45.0)
    nodding[[0, 2, 3, 6, 10]] = [0.35, -0.2, 0.15, 0.25, 0.3]
    return {
        "frontal": (np.zeros(15), np.zeros(3), WHOLE),
        "45 degrees": (turned, np.array([0.012, -0.02, 0.03]), CROP),
        "nodding, near": (nodding, np.array([-0.03, 0.02, -0.05]), CLOSE),
    }


def ray_cast(
    head: HeadFile, vertices: NDArray[np.float64], camera: PinholeCamera
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mask, PNCC, smooth normals and depth at each pixel's middle, by casting a ray.

    Triangles seen from behind are taken out first, as nobody sees a head from inside.
    """
    eye = np.array([0.0, 0.0, camera.distance_m])
    whole = trimesh.Trimesh(vertices, head.f.astype(np.int64), process=False)
    towards = eye - whole.triangles_center
    front = np.flatnonzero((whole.face_normals * towards).sum(axis=1) > 0)
    mesh = trimesh.Trimesh(vertices, whole.faces[front], process=False)
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    cx, cy = camera.centre
    rays = np.stack(
        [(x - cx) / camera.focal_px, (cy - y) / camera.focal_px, -np.ones(x.shape)], axis=-1
    ).reshape(-1, 3)
    found = RayMeshIntersector(mesh).intersects_first(np.tile(eye, (len(rays), 1)), rays)
    hit = found >= 0
    triangles = mesh.triangles[found[hit]]
    # the place on the triangle's plane, in double precision
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    along = ((triangles[:, 0] - eye) * across).sum(axis=1) / (rays[hit] * across).sum(axis=1)
    places = eye + along[:, None] * rays[hit]
    shares = trimesh.triangles.points_to_barycentric(triangles, places)[..., None]
    corners = mesh.faces[found[hit]]
    low, high = head.v_template.min(axis=0), head.v_template.max(axis=0)
    maps = []
    areas = whole.area_faces[:, None] * whole.face_normals
    smooth = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(smooth, whole.faces[:, k], areas)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-20)
    for values in ((head.v_template - low) / (high - low), smooth):
        picture = np.zeros((len(rays), 3))
        picture[hit] = (values[corners] * shares).sum(axis=1)
        maps.append(picture.reshape(camera.height, camera.width, 3))
    maps[1] /= np.maximum(np.linalg.norm(maps[1], axis=2, keepdims=True), 1e-20)
    depth = np.full(len(rays), 10.0)
    depth[hit] = along
    shape = (camera.height, camera.width)
    return hit.reshape(shape), maps[0], maps[1], depth.reshape(shape)


@pytest.mark.parametrize("name", list(poses()))
def test_maps_agree_with_ray_casting(renderer: ConditioningRenderer, name: str) -> None:
    head = renderer.head
    pose, place, camera = poses()[name]
    expression = np.random.default_rng(3).uniform(0.0, 0.3, head.expression_count)
    vertices = pose_head(head, (), expression, pose) + place
    mask, pncc, normal, depth = ray_cast(head, vertices, camera)
    maps = renderer.render(expression, pose, place, camera)
    assert mask.mean() > 0.15
    square = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(depth, square), cv2.dilate(depth, square)
    # silhouettes, of the head and of what is in front: steeper than 76 degrees over two pixels
    edge = far - near > 8 * (camera.distance_m - place[2]) / camera.focal_px
    assert not ((maps.mask > 0) != mask)[~edge].any()
    inside = mask & ~edge
    assert inside.sum() > 0.75 * mask.sum()
    assert np.abs(maps.pncc - pncc)[inside].max() < 1e-3
    assert np.abs(maps.normal - normal)[inside].max() < 1e-3
    # at silhouettes too the two differ only where a ray grazes an edge
    both = mask & (maps.mask > 0)
    assert (np.abs(maps.pncc - pncc).max(axis=2)[both] > 1e-3).mean() < 2e-3
    assert ((maps.mask > 0) != mask).sum() <= 3


def test_a_pixels_pncc_names_the_point_of_the_mean_head_that_is_there(
    renderer: ConditioningRenderer,
) -> None:
    """PNCC moves rigidly with the head: decoded, moved and projected, it is the pixel again."""
    head = renderer.head
    low, high = head.v_template.min(axis=0), head.v_template.max(axis=0)
    rng = np.random.default_rng(5)
    for _ in range(3):
        pose = np.zeros(15)
        pose[:3] = rng.normal(0, 0.4, 3)
        place = rng.normal(0, 0.03, 3)
        pncc = renderer.render((), pose, place, CROP, ["pncc", "mask"])
        y, x = np.nonzero(pncc.mask)
        points = low + pncc.pncc[y, x].astype(np.float64) * (high - low)
        turn = rotation_matrices(pose[None, :3])[0]
        moved = (points - head.J[0]) @ turn.T + head.J[0] + place
        off = CROP.project(moved) - np.column_stack([x, y])
        assert np.abs(off).max() < 0.01


@pytest.mark.parametrize("name", list(poses()))
def test_a_picture_twice_as_large_averages_to_the_same(name: str) -> None:
    """Box-filtered: the samples of 2n with two along a side are those of n with four."""
    pose, place, camera = poses()[name]
    double = resized(camera, 2 * camera.width)
    small = ConditioningRenderer(None, supersampling=4).render((), pose, place, camera)
    large = ConditioningRenderer(None, supersampling=2).render((), pose, place, double)

    def box(values: NDArray[np.floating]) -> NDArray[np.float64]:
        rows = values.reshape(camera.height, 2, camera.width, 2, -1)
        return rows.mean(axis=(1, 3), dtype=np.float64).squeeze()

    assert np.abs(box(large.mask) - small.mask).max() < 1e-6
    assert np.abs(box(decode_srgb(large.diffuse)) - decode_srgb(small.diffuse)).max() < 1e-3
    inside = small.mask == 1
    assert np.abs(box(large.pncc) - small.pncc)[inside].max() < 1e-5
    mean = box(large.normal)
    mean /= np.maximum(np.linalg.norm(mean, axis=2, keepdims=True), 1e-9)
    apart = np.degrees(np.arccos(np.clip((mean * small.normal).sum(axis=2), -1, 1)))
    assert apart[inside].mean() < 0.2
    # lines are drawn by their distance from each pixel, and wider ones with the picture
    if camera is not WHOLE:
        assert np.abs(box(large.landmarks) - small.landmarks).mean() < 0.01


def test_hard_edges_hold_no_background() -> None:
    """PNCC and normals of half-covered pixels are a surface's; less covered ones are empty."""
    fine = ConditioningRenderer(None, supersampling=4).render((), np.zeros(15), np.zeros(3), WHOLE)
    edge = (fine.mask >= 0.5) & (fine.mask < 1)
    assert edge.sum() > 50
    assert np.abs(np.linalg.norm(fine.normal[edge], axis=1) - 1).max() < 1e-5
    low = (fine.mask < 0.5) & (fine.mask > 0)
    assert low.any() and not fine.pncc[low].any() and not fine.normal[low].any()
    # mixed with black, y would sink by up to half between a pixel and its covered neighbour
    inner = cv2.erode((fine.mask == 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shifted = fine.pncc[:, 1:, 1] - fine.pncc[:, :-1, 1]
    beside = (edge[:, 1:] & inner[:, :-1]) | (inner[:, 1:] & edge[:, :-1])
    assert not beside.any() or np.abs(shifted[beside]).max() < 0.12


@pytest.mark.parametrize("order", [(0, 1, 2, 0, 2, 3), (1, 2, 0, 2, 3, 0)])
def test_a_floor_that_reaches_behind_the_camera_is_drawn_up_to_the_near_plane(
    order: tuple[int, ...],
) -> None:
    floor, distance, focal, size = -0.1, 1.5, 60.0, 64
    vertices = np.array(
        [[-9, floor, 9], [9, floor, 9], [9, floor, -3], [-9, floor, -3]], np.float32
    )
    faces = np.array(order, np.int32).reshape(-1, 3)
    places, box = np.empty((4, 3)), np.empty(4)
    middle = 0.5 * (size - 1)
    assert not place_vertices(vertices, distance, focal, middle, middle, places, box)
    nearness, shown = np.zeros((size, size), np.float32), np.zeros((size, size), np.int32)
    nothing = np.zeros(0, np.float32)
    draw_faces(places, faces, nothing, 0, 0, nearness, shown, np.empty((2, 9)), nothing)
    below = np.arange(size) - middle
    expected = np.where(below > 0, below / (-floor * focal), 0.0)  # 1 / depth of the floor's rows
    expected[expected < 1 / (distance + 3)] = 0.0
    assert np.abs(nearness - expected[:, None]).max() < 1e-5 * expected.max()


def test_surfaces_are_seen_from_their_front_only(renderer: ConditioningRenderer) -> None:
    """A head turned by half shows its back, not its face from inside."""
    turned = np.zeros(15)
    turned[1] = np.pi
    maps = renderer.render((), turned, np.zeros(3), WHOLE, ["normal", "pncc", "mask"])
    y, x = np.nonzero(maps.mask)
    cx, cy = WHOLE.centre
    rays = np.stack([(x - cx) / WHOLE.focal_px, (cy - y) / WHOLE.focal_px, -np.ones(len(x))], -1)
    # smooth normals may point a little away where the surface does not
    assert ((maps.normal[y, x] * rays).sum(axis=1) < 0.2).mean() > 0.99
    assert np.median(maps.pncc[y, x, 2]) < 0.5  # behind the head's middle


def test_a_head_outside_the_picture_or_behind_the_camera_shows_nothing(
    renderer: ConditioningRenderer,
) -> None:
    for place in ([2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.0, 3.0]):
        maps = renderer.render((), np.zeros(15), place, WHOLE)
        assert all(not array.any() for array in maps.arrays.values())


def test_part_of_a_head_is_the_same_in_any_crop(renderer: ConditioningRenderer) -> None:
    pose, place, _ = poses()["45 degrees"]
    whole = renderer.render((), pose, place, WHOLE)
    part = renderer.render((), pose, place, WHOLE.viewed(39.5, 19.5, 1.0, 50, 60))
    for name, values in part.arrays.items():
        assert np.abs(values - whole[name][20:80, 40:90]).max() < 1e-4, name


def test_posing_is_flames_function(renderer: ConditioningRenderer) -> None:
    head = renderer.head
    rng = np.random.default_rng(0)
    shape = rng.normal(0, 1, head.shape_count)
    expression, pose = rng.uniform(0, 0.5, (4, head.expression_count)), rng.normal(0, 0.3, (4, 15))
    place = rng.normal(0, 0.1, (4, 3))
    posed = HeadPoser(head, shape)(expression, pose, place)
    some = HeadPoser(head, shape, [5, 3, 900])(expression[:, :3], pose, place)
    for k in range(4):
        expected = pose_head(head, shape, expression[k], pose[k]) + place[k]
        assert np.abs(posed[k] - expected).max() < 1e-6
        few = pose_head(head, shape, expression[k, :3], pose[k]) + place[k]
        assert np.abs(some[k] - few[[5, 3, 900]]).max() < 1e-6


def test_diffuse_is_the_texture_at_the_pncc(renderer: ConditioningRenderer) -> None:
    """A texture of one colour is that colour, encoded, wherever the head is."""
    colour = np.array([0.5, 0.2, 0.02], np.float32)
    plain = ConditioningRenderer(None, (), np.tile(colour, (64, 32, 1)), supersampling=2)
    maps = plain.render((), np.zeros(15), np.zeros(3), WHOLE)
    assert np.abs(decode_srgb(maps.diffuse) - maps.mask[..., None] * colour).max() < 1e-4


def test_mip_levels_keep_the_mean() -> None:
    texture = np.random.default_rng(0).uniform(0, 1, (64, 128, 3))
    texels, sizes = mip_levels(texture)
    assert [tuple(s) for s in sizes[:, 1:]][-1] == (1, 1) and len(sizes) == 8
    for start, height, width in sizes:
        level = texels[start : start + height * width]
        assert np.allclose(level.mean(axis=0), texture.mean(axis=(0, 1)), atol=1e-4)


def test_clips_are_the_same_for_any_number_of_workers_and_subset() -> None:
    clip = talking_clip(20)
    renderer = ConditioningRenderer(None)
    alone = renderer.render_channels(clip, size=64)
    assert alone.shape == (20, 9, 48, 64) and alone.dtype == np.float16
    assert np.array_equal(alone, renderer.render_channels(clip, size=64, workers=2))
    some = list(renderer.render_clip(clip, [7, 3, -1], 64))
    for k, index in enumerate((7, 3, 19)):
        assert np.array_equal(some[k].channels(dtype=np.float16), alone[index])
        one = renderer.render(
            clip.expression[index], clip.pose[index], clip.translation_m[index],
            resized(clip.frame_camera(index), 64),
        )  # fmt: skip
        assert np.abs(one.channels() - alone[index]).max() < 2e-3


def test_wrong_requests_are_refused() -> None:
    renderer = ConditioningRenderer(None)
    clip = talking_clip(3)
    with pytest.raises(InputError, match="some of diffuse, pncc"):
        renderer.render((), np.zeros(15), np.zeros(3), WHOLE, ["pncc", "depth"])
    with pytest.raises(InputError, match="proportions differ"):
        next(renderer.render_clip(clip, size=(64, 64)))
    with pytest.raises(InputError, match="frames 0 to 2"):
        next(renderer.render_clip(clip, [3]))
    with pytest.raises(InputError, match="texture must be"):
        ConditioningRenderer(None, (), np.zeros((4, 4)))
    with pytest.raises(InputError, match="expression coefficients"):
        renderer.render(np.zeros(1000), np.zeros(15), np.zeros(3), WHOLE)
    with pytest.raises(InputError, match="no normal map here"):
        _ = ConditioningMaps({"pncc": np.zeros((2, 2, 3), np.float32)}).normal


def test_a_head_without_texture_or_landmarks_says_what_is_missing() -> None:
    from dataclasses import replace

    bare = replace(
        procedural_head(),
        texture=np.zeros((0, 0, 3), np.float32),
        vt=np.zeros((0, 2), np.float32),
        ft=np.zeros((0, 3), np.uint32),
        landmark_faces=np.zeros(0, np.int64),
        landmark_barycentric=np.zeros((0, 3)),
    )
    renderer = ConditioningRenderer(bare)
    maps = renderer.render((), np.zeros(15), np.zeros(3), WHOLE, ["pncc", "normal", "mask"])
    assert maps.mask.any()
    for name in ("diffuse", "landmarks"):
        with pytest.raises(InputError, match=r"this head has no (texture|landmarks)"):
            renderer.render((), np.zeros(15), np.zeros(3), WHOLE, [name])
