"""Where the 68 landmarks (iBUG 300-W order) lie on the procedural head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.head.parts import PART_NAMES
from lightstage.head.sculpture import (
    EYE_CENTRE_M,
    EYE_HALF_WIDTH_M,
    MOUTH_HALF_WIDTH_M,
    brow_line,
    lid_edge,
    mouth_line,
    surface_from_core,
    surface_from_front,
    vermilion,
)
from lightstage.head.skin import Sculpt

#: Where from the contour is seen.
_CAMERA_M = 1.3
#: Landmarks 42 to 47: how far along the eye, and on which lid.
_LID_POINTS = (
    (-1.0, True),
    (-0.38, True),
    (0.38, True),
    (0.95, True),
    (0.40, False),
    (-0.36, False),
)


def embed(neutral: Sculpt) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each landmark's face ``(68,)`` and barycentric coordinates ``(68, 3)``.

    The landmark is the point of the skin nearest to its place among the faces' corners' fans.
    """
    skin = np.flatnonzero((neutral.part[neutral.faces] == PART_NAMES.index("skin")).all(axis=1))
    corners = neutral.vertices[neutral.faces[skin]].astype(np.float64)
    faces, coordinates = [], []
    for place in _places():
        centre = corners.mean(axis=1)
        near = np.argsort(((centre - place) ** 2).sum(axis=1))[:24]
        weights = np.array([_nearest_weights(corners[k], place) for k in near])
        points = np.einsum("kc,kcd->kd", weights, corners[near])
        best = int(((points - place) ** 2).sum(axis=1).argmin())
        faces.append(int(skin[near[best]]))
        coordinates.append(weights[best])
    return np.array(faces, dtype=np.int64), np.array(coordinates)


def _nearest_weights(
    triangle: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return barycentric weights of the triangle's point nearest to ``place``, kept inside."""
    a, b, c = triangle
    edges = np.column_stack([b - a, c - a])
    solution = np.linalg.lstsq(edges, place - a, rcond=None)[0]
    weights = np.maximum([1.0 - solution.sum(), *solution], 0.0)
    return np.asarray(weights / weights.sum())


def _on_lips(at: float, share: float) -> tuple[float, float, float]:
    """Return a place on the lips ``at`` from the middle.

    ``share`` of the red's height away from the lips' line, positive up.
    """
    x = np.array([at], np.float32)
    upper, lower = (float(side[0]) for side in vermilion(x))
    line = float(mouth_line(x)[0])
    away = share * (upper if share > 0 else lower)
    return _seen(at, line + away)


def _seen(x: float, y: float) -> tuple[float, float, float]:
    """Return the foremost place of the skin at ``x`` and ``y``."""
    found = surface_from_front(np.array([[x, y]], np.float32))[0]
    return float(found[0]), float(found[1]), float(found[2])


def _contour() -> list[tuple[float, float, float]]:
    """Return the left half of the face's outline as the camera sees it, from the ear to the chin.

    In front of the ears, without the neck; evenly spaced along the outline.
    """
    index = np.arange(60000)
    height = 1.0 - (2.0 * index + 1.0) / len(index)
    around = index * np.pi * (3.0 - np.sqrt(5.0))
    level = np.sqrt(1.0 - height**2)
    directions = np.column_stack([level * np.cos(around), height, level * np.sin(around)])
    directions = directions[(directions[:, 0] > -0.01) & (directions[:, 1] < 0.75)]
    points = surface_from_core(directions.astype(np.float32), below=False).astype(np.float64)
    points = points[(points[:, 2] > 0.006) & (np.abs(points[:, 1]) < 0.14)]
    centre = np.array([0.0, -0.030])
    flat = points[:, :2] / (1.0 - points[:, 2:] / _CAMERA_M) - centre
    turn = np.arctan2(flat[:, 0], -flat[:, 1])
    reach = np.hypot(flat[:, 0], flat[:, 1])
    slots = np.linspace(0.0, np.deg2rad(135.0), 136)
    rim = []
    for middle in slots:
        near = np.flatnonzero(np.abs(turn - middle) < np.deg2rad(1.5))
        rim.append(points[near[reach[near].argmax()]])
    outline = np.array(rim)
    outline[0, 0] = 0.0
    start = int(np.argmax(outline[:, 1] > EYE_CENTRE_M[1] + 0.001))
    outline = outline[: start + 1]
    # evenly along the outline as it is seen
    steps = np.linalg.norm(np.diff(outline[:, :2], axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0.0, length[-1], 9)
    even = np.column_stack([np.interp(at, length, outline[:, k]) for k in range(3)])
    return [(float(x), float(y), float(z)) for x, y, z in even]


def _places() -> NDArray[np.float64]:
    """Return the landmarks' places in head coordinates ``(68, 3)``; 0 is on the subject's right."""
    contour = _contour()
    chin, jaw_left = contour[0], contour[:0:-1]
    brow_left = [
        _seen(x, float(brow_line(np.array([x]))[0]) + 0.0008)
        for x in (0.0105, 0.0195, 0.0290, 0.0390, 0.0490)
    ]
    nose = [_seen(0.0, y) for y in (0.0150, 0.0014, -0.0122, -0.0258)]
    under = [(0.0122, -0.0362, 0.0915), (0.0062, -0.0385, 0.0945), (0.0, -0.0396, 0.0945)]
    eye_left = [_on_lid(t, upper) for t, upper in _LID_POINTS]
    w, lip = MOUTH_HALF_WIDTH_M, _on_lips
    outer = [
        lip(-w, 0.0),
        lip(-0.0140, 0.9),
        lip(-0.0048, 0.9),
        lip(0.0, 0.9),
        lip(0.0048, 0.9),
        lip(0.0140, 0.9),
        lip(w, 0.0),
        lip(0.0140, -1.0),
        lip(0.0062, -1.0),
        lip(0.0, -1.0),
        lip(-0.0062, -1.0),
        lip(-0.0140, -1.0),
    ]
    inner = [
        lip(-0.0215, 0.01),
        lip(-0.0075, 0.08),
        lip(0.0, 0.08),
        lip(0.0075, 0.08),
        lip(0.0215, 0.01),
        lip(0.0075, -0.08),
        lip(0.0, -0.08),
        lip(-0.0075, -0.08),
    ]
    flip = [(-px, py, pz) for px, py, pz in jaw_left]
    eye_right = [(-px, py, pz) for px, py, pz in (eye_left[k] for k in (3, 2, 1, 0, 5, 4))]
    places = [*flip, chin, *jaw_left[::-1]]
    places += [(-px, py, pz) for px, py, pz in brow_left[::-1]] + brow_left
    places += nose + [(-px, py, pz) for px, py, pz in under[:2]] + under[::-1]
    places += eye_right + eye_left + outer + inner
    return np.array(places)


def _on_lid(share: float, upper: bool) -> tuple[float, float, float]:
    """Return a place at a left lid's edge, ``share`` of the half width from its middle."""
    across = share * EYE_HALF_WIDTH_M
    edge = float(lid_edge(np.array([across]), np.array([upper]))[0])
    x, y = float(EYE_CENTRE_M[0]) + across, float(EYE_CENTRE_M[1]) + edge
    return _seen(x, y + (0.0002 if upper else -0.0002))
