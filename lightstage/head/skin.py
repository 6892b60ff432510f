"""The head's mesh: skin with cut eyes and mouth, eyeballs, ears, mouth cavity and teeth.

Points lie densest where a face moves. The skin's triangles are those of the convex hull of the
points' directions, which is the Delaunay triangulation on the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lightstage.head import sculpture
from lightstage.head.cache import cached
from lightstage.head.neck import NECK_POINTS, NECK_TOP_M, add_neck, neck_ring
from lightstage.head.parts import (
    Array,
    Builder,
    Faces,
    add_ear,
    add_eyeball,
    add_lid_edge,
    add_mouth_bag,
    add_teeth,
    add_tongue,
    unit,
)
from lightstage.head.sculpture import (
    CORE_M,
    EYE_CENTRE_M,
    EYE_HALF_WIDTH_M,
    LOWER_LID_M,
    MOUTH_HALF_WIDTH_M,
    UPPER_LID_M,
)

_EYE_POINTS, _MOUTH_POINTS = 44, 60
_EYE_RINGS_M = (0.0, 0.0009, 0.0021, 0.0036, 0.0054, 0.0076, 0.0102)
_MOUTH_RINGS_M = (0.0, 0.0011, 0.0023, 0.0037, 0.0053, 0.0071, 0.0091, 0.0115)


@dataclass(frozen=True)
class Sculpt:
    """The neutral mesh.

    ``vertices`` (V, 3) metres; ``faces`` (F, 3), counter-clockwise seen from outside; ``part`` (V,)
    index into :data:`PART_NAMES`; ``side`` (V,): +1 above the mouth slit, -1 below, 0 elsewhere, on
    the lips' edge and in the cavity; ``local`` (V, 2): a part's own texture coordinates, metres or
    [0, 1]; ``hair`` (V,): thickness of the hair in metres; ``anchor`` (V,): the vertex with which
    each moves when the face does (itself, or the edge that a lid's or lip's inside hangs on);
    ``direction`` (V, 3): where the skin's texture looks for it, unit vectors from the core.
    """

    vertices: Array
    faces: Faces
    part: NDArray[np.int8]
    side: Array
    local: Array
    hair: Array
    anchor: NDArray[np.int64]
    direction: Array


@lru_cache(maxsize=1)
def sculpt() -> Sculpt:
    """Return the neutral mesh; always the same one. It takes 2 s the first time on a computer."""
    mesh = Sculpt(**cached("mesh", lambda: vars(_sculpted())))
    for array in vars(mesh).values():
        array.setflags(write=False)
    return mesh


def _sculpted() -> Sculpt:
    builder = Builder()
    eye_loops, mouth_loop, direction = _add_skin(builder)
    skin = builder.vertices[0]
    for centre_x, loop in zip((1.0, -1.0), eye_loops, strict=True):
        add_lid_edge(builder, skin, loop, centre_x)
    add_mouth_bag(builder, skin, mouth_loop)
    add_teeth(builder)
    add_tongue(builder)
    add_eyeball(builder, "eye_left", 1.0)
    add_eyeball(builder, "eye_right", -1.0)
    add_ear(builder, 1.0)
    add_ear(builder, -1.0)
    vertices = np.concatenate(builder.vertices)
    hair = np.zeros(len(vertices), np.float32)
    hair[: len(skin)] = hair_thickness(skin)
    faces = np.concatenate(builder.faces).astype(np.int32)
    return Sculpt(
        vertices,
        faces,
        np.concatenate(builder.part),
        np.concatenate(builder.side),
        np.concatenate(builder.local).astype(np.float32),
        hair,
        np.concatenate(builder.anchor),
        np.concatenate([direction, np.zeros((len(vertices) - len(direction), 3), np.float32)]),
    )


def hair_thickness(points: Array) -> Array:
    """Return how far the hair stands off the bare head at ``(n, 3)`` points, in metres."""
    high = _smoothstep((points[:, 1] - 0.045) / 0.06)
    deep = 0.0085 + 0.0085 * high
    return np.asarray(deep * hair_cover(points, 0.024) * _locks(points), np.float32)


def hair_cover(points: Array, ramp_m: float = 0.008) -> Array:
    """Return how much of the skin at ``(n, 3)`` points is under hair, 0 to 1.

    ``ramp_m`` is the distance from the hairline over which it comes to 1.
    """
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    # the hairline: across the forehead, back at the temples, in front of the ears, over the nape
    line = 0.070 - 0.35 * np.maximum(x - 0.030, 0.0)
    temple = np.interp(
        z,
        [-0.2, -0.060, -0.030, 0.0, 0.012, 0.030, 0.055, 0.2],
        [-0.068, -0.066, -0.010, 0.012, -0.004, 0.034, 0.060, 0.079],
    )
    edge = np.where(z > 0.055, line, np.minimum(temple, line))
    return np.asarray(_smoothstep((y - edge) / ramp_m), np.float32)


def _locks(points: Array) -> Array:
    """Return the unevenness of the hair, about 1: combed to the back and side."""
    x, y, z = points.T
    phase = 95.0 * x + 28.0 * np.sin(22.0 * z) + 20.0 * y
    fine = 240.0 * x + 60.0 * z + 3.0 * np.sin(60.0 * y)
    return np.asarray(1.0 + 0.10 * np.sin(phase) + 0.05 * np.sin(fine), np.float32)


def _smoothstep(t: Array) -> Array:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


# Skin


def _add_skin(builder: Builder) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], Array]:
    from scipy.spatial import ConvexHull

    eye_rings = [_eye_ring(ring) for ring in _EYE_RINGS_M]
    left = sculpture.surface_from_front(np.concatenate(eye_rings))
    left = _with_lid_crease(left)
    right = left * np.array([-1, 1, 1], np.float32)
    mouth = sculpture.surface_from_front(np.concatenate([_mouth_ring(r) for r in _MOUTH_RINGS_M]))
    rings = np.concatenate([left, right, mouth])
    top = neck_ring(np.full(NECK_POINTS, NECK_TOP_M))
    rings = np.concatenate([rings, top])
    skin = np.concatenate([rings, _fill(rings)])
    flat = _flattened_rings(left, mouth)
    directions = np.concatenate([flat, skin[len(flat) :]]) - CORE_M
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    triangles = ConvexHull(directions).simplices.astype(np.int64)
    a, b, c = (directions[triangles[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * (a + b + c)).sum(1) < 0
    triangles[inward] = triangles[inward][:, ::-1]

    n = _EYE_POINTS
    loops = [np.arange(n), len(left) + np.arange(n)]
    mouth_loop = 2 * len(left) + np.arange(_MOUTH_POINTS)
    keep = np.ones(len(triangles), bool)
    neck_loop = len(flat) + np.arange(NECK_POINTS)
    for loop in (*loops, mouth_loop, neck_loop):
        keep &= ~np.isin(triangles, loop).all(axis=1)
    side = np.zeros(len(skin), np.float32)
    side[mouth_loop] = np.sign(np.round(np.sin(_mouth_angles()), 6))
    outward = skin + hair_thickness(skin)[:, None] * sculpture.surface_normal(skin, 2e-3)
    builder.add("skin", outward, side)
    builder.faces.append(triangles[keep].astype(np.int32))
    below = add_neck(builder, skin, neck_loop)
    return loops, mouth_loop, np.asarray(np.concatenate([directions, below]), np.float32)


def _flattened_rings(left: Array, mouth: Array) -> Array:
    """Return the rings' points laid evenly inside their outermost ring, in the rings' order.

    Lids and lips fold over themselves as seen from the core; so laid, their triangles do not.
    """
    eye = left.reshape(len(_EYE_RINGS_M), _EYE_POINTS, 3)
    share = np.linspace(0.5, 1.0, len(_EYE_RINGS_M), dtype=np.float32)[:, None, None]
    middle = eye[-1].mean(axis=0)
    eye = (middle + share * (eye[-1] - middle)).reshape(-1, 3)
    lips = mouth.reshape(len(_MOUTH_RINGS_M), _MOUTH_POINTS, 3)
    outer = lips[-1]
    line = 0.5 * (outer + outer[-np.arange(_MOUTH_POINTS)])
    line[:, 0] *= 0.8
    share = np.linspace(0.12, 1.0, len(_MOUTH_RINGS_M), dtype=np.float32)[:, None, None]
    lips = (line + share * (outer - line)).reshape(-1, 3)
    return np.concatenate([eye, eye * np.array([-1, 1, 1], np.float32), lips])


def _fill(rings: Array) -> Array:
    """Return the skin's points away from the rings, symmetric about the middle plane."""
    middle = np.column_stack([np.zeros(150), np.cos(t := np.linspace(0.0, 2.6, 150)), np.sin(t)])
    layers: list[tuple[Array, float]] = [
        (np.concatenate([middle, middle * [1, 1, -1]]).astype(np.float32), 0.0030),
        (_nose_directions(0.0023), 0.0021),
        (_cone_directions(15000, 0.45), 0.0039),
        (_cone_directions(9000, -1.1), 0.0076),
    ]
    candidates = np.concatenate([sculpture.surface_from_core(rays) for rays, _ in layers])
    spacing = np.concatenate([np.full(len(rays), gap) for rays, gap in layers])
    inside = (candidates[:, 1] > NECK_TOP_M + 0.001) & ~_in_openings(candidates)
    middle_or_left = (candidates[:, 0] > 0.45 * spacing) | (np.abs(candidates[:, 0]) < 1e-6)
    candidates, spacing = candidates[inside & middle_or_left], spacing[inside & middle_or_left]
    chosen = candidates[_thinned(candidates, spacing, rings)]
    mirrored = chosen[chosen[:, 0] > 1e-6] * np.array([-1, 1, 1], np.float32)
    return np.concatenate([chosen, mirrored]).astype(np.float32)


def _thinned(points: Array, spacing: NDArray[np.float64], taken: Array) -> NDArray[np.int64]:
    """Return the points that keep their spacing from ``taken`` and from those chosen before."""
    from scipy.spatial import cKDTree

    free = cKDTree(taken).query(points)[0] > np.minimum(0.75 * spacing, 0.0028)
    neighbours = cKDTree(points).query_ball_point(points, spacing)
    chosen = []
    for index in range(len(points)):
        if free[index]:
            chosen.append(index)
            free[neighbours[index]] = False
    return np.array(chosen, dtype=np.int64)


def _in_openings(points: Array) -> NDArray[np.bool_]:
    """Tell which points lie within the eyes or the mouth's slit, seen from the front."""
    x, y = np.abs(points[:, 0]) - EYE_CENTRE_M[0], points[:, 1] - EYE_CENTRE_M[1]
    lid = np.where(y > 0, UPPER_LID_M, LOWER_LID_M) + _EYE_RINGS_M[-1]
    wide = EYE_HALF_WIDTH_M + _EYE_RINGS_M[-1]
    ahead = points[:, 2] > 0.02
    eye = (x / wide) ** 2 + (y / lid) ** 2 < 0.97
    reach = _MOUTH_RINGS_M[-1]
    mouth_x = points[:, 0] / (MOUTH_HALF_WIDTH_M + 0.8 * reach)
    mouth_y = (points[:, 1] - sculpture.mouth_line(points[:, 0])) / reach
    return np.asarray(ahead & (eye | (mouth_x**2 + mouth_y**2 < 0.97)))


def _eye_ring(away_m: float) -> Array:
    t = np.linspace(0.0, 2.0 * np.pi, _EYE_POINTS, endpoint=False)
    x = (EYE_HALF_WIDTH_M + away_m) * np.cos(t)
    edge = sculpture.lid_edge(EYE_HALF_WIDTH_M * np.cos(t), np.sin(t) > 0)
    round_ring = away_m * np.sin(t)
    place = np.column_stack([EYE_CENTRE_M[0] + x, EYE_CENTRE_M[1] + edge + round_ring])
    return np.asarray(place, np.float32)


def _with_lid_crease(points: Array) -> Array:
    """Return the eye rings with the fold of the upper lid pressed in."""
    n = _EYE_POINTS
    t = np.linspace(0.0, 2.0 * np.pi, n, endpoint=False)
    depth = np.zeros(len(points), np.float32)
    upper = np.clip(np.sin(t), 0.0, 1.0) ** 0.7
    lower = np.clip(-np.sin(t), 0.0, 1.0)
    for ring, (above, below) in {
        2: (0.0002, 0.0),
        3: (0.0011, 0.0003),
        4: (0.0003, 0.0005),
    }.items():
        depth[ring * n : (ring + 1) * n] = above * upper + below * lower
    normals = sculpture.surface_normal(points)
    return np.asarray(points - depth[:, None] * normals, np.float32)


def _mouth_angles() -> NDArray[np.float64]:
    return np.linspace(0.0, 2.0 * np.pi, _MOUTH_POINTS, endpoint=False)


def _mouth_ring(away_m: float) -> Array:
    t = _mouth_angles()
    x = (MOUTH_HALF_WIDTH_M + 0.8 * away_m) * np.cos(t)
    y = sculpture.mouth_line(x.astype(np.float32)) + (0.00005 + away_m) * np.sin(t)
    return np.column_stack([x, y]).astype(np.float32)


def _nose_directions(spacing_m: float) -> Array:
    x = np.arange(0.5, 10.0) * spacing_m
    y = np.arange(-0.052, 0.030, spacing_m * 0.87)
    grid = np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)
    grid[1::2, :, 0] += 0.5 * spacing_m
    flat = grid.reshape(-1, 2)
    return unit(np.column_stack([flat, np.full(len(flat), 0.098)]) - CORE_M)


def _cone_directions(count: int, least_cosine: float) -> Array:
    """Return evenly spread directions, those within a cone about +Z (the face)."""
    index = np.arange(count)
    height = 1.0 - (2.0 * index + 1.0) / count
    around = index * np.pi * (3.0 - np.sqrt(5.0))
    level = np.sqrt(1.0 - height**2)
    directions = np.column_stack([level * np.cos(around), height, level * np.sin(around)])
    ahead = unit(directions) @ unit(np.array([[0.0, 0.12, 1.0]]))[0]
    kept = directions[(ahead > least_cosine) & (directions[:, 0] > 0)]
    return np.asarray(kept, np.float32)
