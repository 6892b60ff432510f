"""Where the 68 landmarks (iBUG 300-W order) lie on the procedural head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.head.parts import PART_NAMES
from lightstage.head.sculpture import EYE_CENTRE_M, MOUTH_HALF_WIDTH_M, mouth_line
from lightstage.head.skin import Sculpt


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


def _on_lips(at: float, up_m: float) -> tuple[float, float, float]:
    """Return the place on the lips ``at`` from the middle and ``up_m`` above their line."""
    line = float(mouth_line(np.array([at], np.float32))[0])
    return at, line + up_m, 0.092 - 22.0 * at**2


def _places() -> NDArray[np.float64]:
    """Return the landmarks' places in head coordinates ``(68, 3)``; 0 is on the subject's right."""
    jaw_left = [
        (0.073, 0.010, 0.012),
        (0.071, -0.012, 0.012),
        (0.068, -0.034, 0.013),
        (0.064, -0.056, 0.014),
        (0.057, -0.077, 0.022),
        (0.047, -0.096, 0.034),
        (0.034, -0.110, 0.050),
        (0.018, -0.118, 0.067),
    ]
    brow_left = [
        (0.011, 0.0325, 0.087),
        (0.020, 0.036, 0.086),
        (0.029, 0.038, 0.082),
        (0.038, 0.0365, 0.075),
        (0.046, 0.032, 0.066),
    ]
    nose = [(0.0, 0.014, 0.092), (0.0, 0.002, 0.098), (0.0, -0.010, 0.106), (0.0, -0.024, 0.114)]
    under = [(0.0125, -0.0405, 0.095), (0.0065, -0.0425, 0.100), (0.0, -0.044, 0.103)]
    x, y, z = (float(c) for c in EYE_CENTRE_M)
    eye_left = [
        (x - 0.0136, y - 0.001, z + 0.012),
        (x - 0.0055, y + 0.0051, z + 0.014),
        (x + 0.0055, y + 0.0058, z + 0.014),
        (x + 0.0136, y + 0.001, z + 0.008),
        (x + 0.0055, y - 0.0040, z + 0.014),
        (x - 0.0055, y - 0.0047, z + 0.014),
    ]
    w, lip = MOUTH_HALF_WIDTH_M, _on_lips
    outer = [
        lip(-w, 0),
        lip(-0.015, 0.0055),
        lip(-0.005, 0.0078),
        lip(0, 0.0070),
        lip(0.005, 0.0078),
        lip(0.015, 0.0055),
        lip(w, 0),
        lip(0.014, -0.0088),
        lip(0.006, -0.0112),
        lip(0, -0.0117),
        lip(-0.006, -0.0112),
        lip(-0.014, -0.0088),
    ]
    inner = [
        lip(-0.022, 0.0),
        lip(-0.007, 0.0006),
        lip(0, 0.0006),
        lip(0.007, 0.0006),
        lip(0.022, 0.0),
        lip(0.007, -0.0008),
        lip(0, -0.0008),
        lip(-0.007, -0.0008),
    ]
    flip = [(-px, py, pz) for px, py, pz in jaw_left]
    eye_right = [(-px, py, pz) for px, py, pz in (eye_left[k] for k in (3, 2, 1, 0, 5, 4))]
    places = flip + [(0.0, -0.120, 0.076)] + jaw_left[::-1]
    places += [(-px, py, pz) for px, py, pz in brow_left[::-1]] + brow_left
    places += nose + [(-px, py, pz) for px, py, pz in under[:2]] + under[::-1]
    places += eye_right + eye_left + outer + inner
    return np.array(places)
