"""Where on a head model a detector's landmarks lie: each detector has its own idea of them.

A table beside this module tells, for the shipped procedural head, where the head's own landmarks
lie and how far from them the detector's, in millimetres of the head at rest: so it outlives changes
of the mesh. It is found by ``benchmarks/landmark_convention.py``. For other heads their own
landmarks are used: a FLAME file's were placed by its authors.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import DamagedDataError
from lightstage.head import HeadFile

Float = NDArray[np.float64]
Embedding = tuple[NDArray[np.int64], Float]

#: A table is of another head when half of the head's own landmarks lie farther than this from
#: where they were when it was made.
SAME_HEAD_M = 0.002


def detector_embedding(head: HeadFile, detector_name: str) -> Embedding:
    """Return where on ``head`` the landmarks of a detector lie.

    Returns:
        Faces ``(68,)`` of ``head.f`` and barycentric coordinates ``(68, 3)`` in them: the head's
        own landmarks where there is no table for this detector and this head.
    """
    own = head.landmark_faces, head.landmark_barycentric
    table = convention(detector_name)
    if table is None:
        return own
    made_for, offsets = table
    apart = np.linalg.norm(landmark_places(head, own) - made_for, axis=1)
    if not float(np.median(apart)) < SAME_HEAD_M:
        return own
    faces, weights = embed_near(head, own, made_for + offsets)
    kept = ~offsets.any(axis=1)
    faces[kept], weights[kept] = own[0][kept], own[1][kept]
    return faces, weights


def landmark_places(head: HeadFile, embedding: Embedding) -> Float:
    """Return where an embedding's landmarks lie on the head at rest, ``(68, 3)`` metres."""
    faces, weights = embedding
    corners = head.v_template[head.f[faces].astype(np.int64)]
    return np.asarray(np.einsum("kc,kcd->kd", weights, corners))


def embed_near(head: HeadFile, own: Embedding, places: Float) -> Embedding:
    """Return the points of the surface about the landmarks ``own`` that are nearest to ``places``.

    Only faces that look the same way as the landmark's own count: not the inside of the mouth
    behind a lip, nor the eyeball behind a lid.
    """
    triangles = head.v_template[head.f.astype(np.int64)]
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-15)
    group = _connected_parts(head)
    middles = triangles.mean(axis=1)
    faces = np.array(own[0], np.int64)
    weights = np.array(own[1], np.float64)
    for k, place in enumerate(places):
        before = int(own[0][k])
        alike = np.flatnonzero((normals @ normals[before] > 0.3) & (group == group[before]))
        near = alike[np.argsort(((middles[alike] - place) ** 2).sum(axis=1))[:40]]
        inside = nearest_barycentric(triangles[near], place)
        points = np.einsum("kc,kcd->kd", inside, triangles[near])
        best = int(((points - place) ** 2).sum(axis=1).argmin())
        faces[k], weights[k] = near[best], inside[best]
    return faces, weights


def nearest_barycentric(triangles: Float, place: Float) -> Float:
    """Return barycentric coordinates ``(n, 3)`` of the point of each triangle nearest to a place.

    Source: Ericson, Real-Time Collision Detection, 5.1.5: the plane's point where it is inside,
    else the nearest of the three edges' points.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    u, v, w = b - a, c - a, place - a
    uu, uv, vv = (u * u).sum(axis=1), (u * v).sum(axis=1), (v * v).sum(axis=1)
    wu, wv = (w * u).sum(axis=1), (w * v).sum(axis=1)
    area = np.maximum(uu * vv - uv * uv, 1e-30)
    s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    options = [np.stack([1.0 - s - t, s, t], axis=1)]
    inside = (options[0] >= 0.0).all(axis=1)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        p, q = triangles[:, first], triangles[:, second]
        edge = q - p
        along = ((place - p) * edge).sum(axis=1) / np.maximum((edge * edge).sum(axis=1), 1e-30)
        along = np.clip(along, 0.0, 1.0)
        option = np.zeros((len(triangles), 3))
        option[:, first], option[:, second] = 1.0 - along, along
        options.append(option)
    candidates = np.stack(options)
    points = np.einsum("okc,kcd->okd", candidates, triangles)
    distance = ((points - place) ** 2).sum(axis=2)
    distance[0, ~inside] = np.inf
    best = distance.argmin(axis=0)
    return np.asarray(candidates[best, np.arange(len(triangles))])


def _connected_parts(head: HeadFile) -> NDArray[np.int64]:
    """Return for each face a number of the piece of the mesh that it belongs to, ``(F,)``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    f = head.f.astype(np.int64)
    ends = np.concatenate([f[:, [0, 1]], f[:, [1, 2]]])
    count = len(head.v_template)
    joined = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, label = connected_components(joined, directed=False)
    return np.asarray(label[f[:, 0]], np.int64)


@lru_cache(maxsize=8)
def convention(detector_name: str) -> tuple[Float, Float] | None:
    """Return the table of a detector, ``None`` = there is none.

    Returns:
        Where the head's own landmarks were when it was made, and how far the detector's lie from
        them, each ``(68, 3)`` metres.

    Raises:
        DamagedDataError: the table is not what it should be.
    """
    if not detector_name.isidentifier():
        return None
    source = files("relight_model.head") / f"{detector_name}_convention.json"
    if not source.is_file():
        return None
    try:
        table = json.loads(source.read_text("utf-8"))
        places = 1e-3 * np.array(table["own_places_mm"], np.float64)
        offsets = 1e-3 * np.array(table["offsets_mm"], np.float64)
    except (ValueError, KeyError, TypeError) as reason:
        raise DamagedDataError(f"{source}: is damaged ({reason}). Reinstall the package.") from None
    if not places.shape == offsets.shape == (68, 3):
        raise DamagedDataError(f"{source}: must hold two tables of 68 x 3 numbers.")
    return places, offsets
