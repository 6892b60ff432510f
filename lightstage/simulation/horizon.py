"""Cast shadows: how high the rest of the head stands above each vertex's own horizon.

Horizon mapping (Max 1988) on the mesh: for each vertex and each direction round its normal, the
sine of the elevation below which a light is hidden. It is made once for a head at rest and moves
with the skin, so shadows neither flicker nor leak from frame to frame, cost little for any number
of lights, and never show a shadow map's acne. What it leaves out: an opening jaw or a raised brow
does not change the shadows it casts, and what stands above a gap hides the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.head.parts import PART_NAMES
from lightstage.head.skin import Sculpt
from lightstage.raster import vertex_normals

Array = NDArray[np.float32]

SECTORS = 24
#: The sine that stands for "nothing in the way", low enough for light that wraps round the skin.
CLEAR = -0.35
#: Width of a shadow's edge in sines of elevation: an LED's lens at 1.3 m and the table's own blur.
PENUMBRA = 0.13
_CASTER_SPACING_M = 0.0065


@dataclass(frozen=True, eq=False)
class Horizons:
    """``sine`` (V, SECTORS + 1): the last column repeats the first; ``towards`` (V,): the vertex
    in whose direction each vertex's first sector begins; ``soften`` sparse (V, V): the mean of a
    vertex and its neighbours.
    """  # noqa: D205

    sine: Array
    towards: NDArray[np.int64]
    soften: Any


def tangents(places: Array, normals: Array, towards: Array) -> tuple[Array, Array]:
    """Return two unit tangents ``(n, 3)`` at ``places``, right-handed with the normals.

    The first lies in the direction of the places ``towards`` (n, 3).
    """
    edge = towards - places
    edge = edge - (edge * normals).sum(axis=1, keepdims=True) * normals
    first = edge / np.maximum(np.sqrt((edge**2).sum(axis=1, keepdims=True)), 1e-12)
    first = np.asarray(first, np.float32)
    n, f = normals.T, first.T
    second = np.stack([n[k - 2] * f[k - 1] - n[k - 1] * f[k - 2] for k in range(3)], axis=1)
    return first, np.asarray(second, np.float32)


def sector(first: Array, second: Array) -> Array:
    """Return the place of a direction round the normal in [0, SECTORS), by its tangent parts.

    A rhombus takes the circle's place: monotone in the angle, without an arc tangent.
    """
    total = np.abs(first) + np.abs(second)
    ratio = first / np.maximum(total, np.float32(1e-12))
    turn = np.where(second >= 0, 1.0 - ratio, 3.0 + ratio)
    return np.asarray(turn * np.float32(SECTORS / 4.0 * (1.0 - 1e-6)), np.float32)


def find_horizons(neutral: Sculpt, vertices: NDArray[np.floating]) -> Horizons:
    """Return the horizons of a head at rest whose vertices are ``(V, 3)`` metres. Takes about 1 s.

    Args:
        neutral: the mesh's faces and parts.
        vertices: the performer's own shape, neutral expression, not posed.
    """
    v = np.asarray(vertices, np.float32)
    faces = neutral.faces
    normals = vertex_normals(v, faces)
    towards = np.zeros(len(v), np.int64)
    for k in range(3):
        towards[faces[:, k]] = faces[:, (k + 1) % 3]
    first, second = tangents(v, normals, v[towards])
    reach = np.zeros(len(v), np.float32)
    for k in range(3):
        gap = np.linalg.norm(v[faces[:, k]] - v[faces[:, (k + 1) % 3]], axis=1)
        np.maximum.at(reach, faces[:, k], gap)
    casts = np.flatnonzero(
        np.isin(neutral.part, [PART_NAMES.index("skin"), PART_NAMES.index("ear")])
    )
    # one caster in each cell of a few millimetres is enough
    cells = np.floor(v[casts] / _CASTER_SPACING_M).astype(np.int64) @ [1, 1 << 20, 1 << 40]
    casts = casts[np.unique(cells, return_index=True)[1]]
    reach = np.maximum(reach, 1.2 * _CASTER_SPACING_M)
    sine = np.full((len(v), SECTORS), CLEAR, np.float32)
    inside = ("mouth_bag", "upper_teeth", "lower_teeth", "tongue")
    outside = np.flatnonzero(~np.isin(neutral.part, [PART_NAMES.index(name) for name in inside]))
    for start in range(0, len(outside), 512):
        rows = outside[start : start + 512]
        sine[rows] = _raised(
            sine[rows], v[rows] + 4e-4 * normals[rows], normals[rows], first[rows], second[rows],
            v[casts], reach[casts],
        )  # fmt: skip
    sine = 0.5 * sine + 0.25 * (np.roll(sine, 1, axis=1) + np.roll(sine, -1, axis=1))
    _open_the_mouth(sine, neutral)
    closed = np.concatenate([sine, sine[:, :1]], axis=1).astype(np.float32)
    return Horizons(closed, towards, _neighbour_mean(faces, len(v)))


def _raised(
    sine: Array, places: Array, normals: Array, first: Array, second: Array, others: Array,
    reach: Array,
) -> Array:  # fmt: skip
    """Return the horizons ``(n, SECTORS)`` of ``places`` raised by what ``others`` hide."""
    height = normals @ others.T - (normals * places).sum(axis=1)[:, None]
    away2 = (places**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2.0 * (places @ others.T)
    # what hardly rises above the horizon hides nothing that the cosine does not
    flat = np.flatnonzero((height > 0.0012) & (height * height > 0.0036 * away2))
    up = height.ravel()[flat]
    row, other = np.divmod(flat.astype(np.int32), np.int32(len(others)))
    gap = others[other] - places[row]
    along = np.einsum("ij,ij->i", gap, first[row])
    across = np.einsum("ij,ij->i", gap, second[row])
    level = np.sqrt(along**2 + across**2)
    elevation = up / np.sqrt(level**2 + up**2)
    turn = sector(along, across)
    rising = sine.ravel()
    # a point stands for the surface about it
    half = 0.55 * reach[other] / np.maximum(level, 1e-5) * (SECTORS / (2.0 * np.pi))
    for shift in (0, -1, 1, -2, 2):
        wide = half > max(abs(shift) - 0.5, 0.0) if shift else np.ones(len(row), bool)
        bins = (turn[wide].astype(np.int32) + shift) % SECTORS
        np.maximum.at(rising, row[wide] * SECTORS + bins, elevation[wide])
    return rising.reshape(sine.shape)


def _neighbour_mean(faces: NDArray[np.int32], count: int) -> Any:
    """Return the sparse ``(count, count)`` matrix that averages a vertex with its neighbours."""
    from scipy.sparse import csr_array, diags_array

    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    itself = np.arange(count)
    rows, columns = np.concatenate([pairs[:, 0], itself]), np.concatenate([pairs[:, 1], itself])
    joined = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(count, count))
    share = (1.0 / joined.sum(axis=1)).astype(np.float32)
    return csr_array(diags_array(share, dtype=np.float32) @ joined)


def _open_the_mouth(sine: Array, neutral: Sculpt) -> None:
    """Light teeth as when the mouth is open, at rest the lips would hide them; the rest is dark."""
    depth = neutral.local[:, 1]
    # what of the cavity's light comes in at the lips: less and less, the deeper
    for name, front, back in (
        ("mouth_bag", 0.45, 1.0),
        ("tongue", 0.45, 1.0),
        ("upper_teeth", 0.22, 0.22),
        ("lower_teeth", 0.22, 0.22),
    ):
        part = neutral.part == PART_NAMES.index(name)
        sine[part] = (front + (back - front) * depth[part])[:, None]
