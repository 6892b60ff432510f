"""The sculpted head: a signed distance field of smooth unions, and rays that find its surface.

Head coordinates as in FLAME: metres, +Y up, +Z out of the face, +X the subject's left. The origin
is the middle of the head, so that the head stands about the dome's centre when not moved.
Measures are those of an adult: 0.24 m from chin to crown, 0.155 m wide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Single precision throughout.
Array = NDArray[Any]

#: Where rays to the surface start: behind the mouth, so that the underside of the nose is seen.
CORE_M = np.array([0.0, -0.062, -0.005], dtype=np.float32)
EYE_CENTRE_M = np.array([0.0315, 0.0125, 0.0645], dtype=np.float32)
EYE_RADIUS_M = 0.0135
LID_RADIUS_M = 0.0149
MOUTH_HALF_WIDTH_M = 0.0255
#: Below this height the neck is cut.
NECK_END_M = -0.215


def mouth_line(x: Array) -> Array:
    """Return the height of the line between the closed lips at ``x``, both in metres."""
    t = np.abs(x) / MOUTH_HALF_WIDTH_M
    return np.asarray(-0.0665 + 0.0010 * t**2 - 0.0007 * np.exp(-((t / 0.22) ** 2)), np.float32)


def distance(points: Array) -> Array:
    """Return the signed distance in metres of ``(n, 3)`` points to the head, negative inside.

    Exact nowhere, but never far above the true distance, which is what marching needs.
    """
    p = points.astype(np.float32).copy()
    p[:, 0] = np.abs(p[:, 0])
    d = _ellipsoid(p, (0.0, 0.036, -0.014), (0.0755, 0.089, 0.0985))
    d = _join(d, _ellipsoid(p, (0.0, -0.028, 0.026), (0.064, 0.086, 0.062)), 0.03)
    d = _join(d, _ellipsoid(p, (0.0, -0.073, 0.028), (0.049, 0.041, 0.052)), 0.022)
    d = _join(d, _ellipsoid(p, (0.047, -0.066, 0.0), (0.013, 0.026, 0.022)), 0.03)
    d = _join(d, _ellipsoid(p, (0.0, -0.1045, 0.070), (0.019, 0.0150, 0.016)), 0.022)
    d = _join(d, _capsule(p, (0.0, -0.06, -0.030), (0.0, -0.30, -0.040), 0.0455, 0.0545), 0.022)
    # muscle from behind the ear to the pit of the neck, and the larynx
    d = _join(d, _capsule(p, (0.040, -0.075, -0.034), (0.012, -0.235, 0.013), 0.010, 0.009), 0.02)
    d = _join(d, _capsule(p, (0.0, -0.152, 0.010), (0.0, -0.175, 0.010), 0.007, 0.008), 0.03)
    # cheekbones, brow, temples
    d = _join(d, _ellipsoid(p, (0.046, -0.012, 0.052), (0.0195, 0.015, 0.019)), 0.022)
    d = _join(d, _ellipsoid(p, (0.036, -0.045, 0.056), (0.020, 0.024, 0.018)), 0.022)
    d = _join(
        d, _capsule(p, (0.010, 0.0315, 0.0765), (0.043, 0.0335, 0.0615), 0.0075, 0.0065), 0.02
    )
    d = _carve(d, _ellipsoid(p, (0.084, 0.028, 0.045), (0.012, 0.026, 0.024)), 0.02)
    # eye sockets, then the lids over the eyeballs
    d = _carve(d, _ellipsoid(p, (0.030, 0.013, 0.094), (0.0215, 0.0125, 0.0235)), 0.016)
    eye = (float(EYE_CENTRE_M[0]), float(EYE_CENTRE_M[1]), float(EYE_CENTRE_M[2]))
    lids = _ellipsoid(p, eye, (LID_RADIUS_M * 1.06, LID_RADIUS_M, LID_RADIUS_M))
    d = _join(d, lids, 0.006)
    # muzzle, then the nose
    d = _join(d, _ellipsoid(p, (0.0, -0.064, 0.0665), (0.029, 0.025, 0.0215)), 0.02)
    nose = _capsule(p, (0.0, 0.024, 0.0775), (0.0, -0.026, 0.1045), 0.0066, 0.0082)
    nose = _join(nose, _ellipsoid(p, (0.0, -0.0305, 0.1075), (0.0100, 0.0088, 0.0095)), 0.010)
    nose = _join(nose, _ellipsoid(p, (0.0122, -0.0360, 0.0925), (0.0070, 0.0070, 0.0095)), 0.008)
    nose = _join(
        nose, _capsule(p, (0.0, -0.0375, 0.103), (0.0, -0.043, 0.090), 0.0042, 0.004), 0.005
    )
    d = _join(d, nose, 0.013)
    d = _carve(d, _ellipsoid(p, (0.0068, -0.0435, 0.0985), (0.0034, 0.0036, 0.0052)), 0.004)
    # lips, the groove above them and the fold below
    d = _carve(d, _capsule(p, (0.0, -0.046, 0.0945), (0.0, -0.054, 0.0955), 0.0030, 0.0034), 0.005)
    d = _carve(d, _ellipsoid(p, (0.0, -0.0848, 0.0935), (0.019, 0.0045, 0.0085)), 0.012)
    upper = _capsule(p, (0.0040, -0.0618, 0.0890), (0.0245, -0.0660, 0.0735), 0.0050, 0.0024)
    upper = _join(upper, _ellipsoid(p, (0.0, -0.0632, 0.0905), (0.0045, 0.0036, 0.0045)), 0.004)
    lower = _capsule(p, (0.0, -0.0727, 0.0868), (0.0225, -0.0677, 0.0728), 0.0063, 0.0028)
    d = _join(d, upper, 0.004)
    d = _join(d, lower, 0.004)
    return _carve(d, _slit(p), 0.0025)


def _slit(p: Array) -> Array:
    """Return the distance to the groove between the lips."""
    inside = np.clip(np.abs(p[:, 0]) / MOUTH_HALF_WIDTH_M, 0.0, 1.0)
    bottom = 0.0905 - 0.0155 * inside**2
    across = p[:, 1] - mouth_line(p[:, 0])
    ahead = np.minimum(p[:, 2] - bottom, 0.0)
    side = np.maximum(np.abs(p[:, 0]) - MOUTH_HALF_WIDTH_M, 0.0)
    return np.asarray(np.sqrt(across**2 + ahead**2 + side**2) - 0.0006, np.float32)


def surface_from_core(directions: Array) -> Array:
    """Return where rays from :data:`CORE_M` leave the head for good, ``(n, 3)`` in metres."""
    return _march(CORE_M + 0.36 * directions, -directions, 0.36)


def surface_from_front(xy: Array) -> Array:
    """Return the foremost surface points at frontal ``(n, 2)`` places, ``(n, 3)`` in metres."""
    start = np.column_stack([xy, np.full(len(xy), 0.16)]).astype(np.float32)
    return _march(start, np.tile(np.array([0.0, 0.0, -1.0], np.float32), (len(xy), 1)), 0.2)


def surface_normal(points: Array, step_m: float = 5e-4) -> Array:
    """Return the outward unit normals of the field at ``(n, 3)`` points."""
    offsets = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    gradient = sum(o * distance(points + step_m * o)[:, None] for o in offsets)
    n = np.asarray(gradient, np.float32)
    return np.asarray(n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9))


def _march(start: Array, towards: Array, far_m: float) -> Array:
    travelled = np.zeros(len(start), np.float32)
    active = np.arange(len(start))
    for _ in range(60):
        here = start[active] + travelled[active, None] * towards[active]
        gap = distance(here)
        travelled[active] += 0.85 * gap
        active = active[(np.abs(gap) > 4e-5) & (travelled[active] < far_m)]
        if len(active) == 0:
            break
    return np.asarray(start + np.minimum(travelled, far_m)[:, None] * towards, np.float32)


def _ellipsoid(p: Array, centre: tuple[float, ...], radii: tuple[float, ...]) -> Array:
    q = p - np.array(centre, np.float32)
    r = np.array(radii, np.float32)
    k0 = np.sqrt(((q / r) ** 2).sum(1))
    k1 = np.sqrt(((q / r**2) ** 2).sum(1))
    return np.asarray(k0 * (k0 - 1.0) / np.maximum(k1, 1e-6), np.float32)


def _capsule(
    p: Array, a: tuple[float, ...], b: tuple[float, ...], radius_a: float, radius_b: float
) -> Array:
    start, along = np.array(a, np.float32), np.array(b, np.float32) - np.array(a, np.float32)
    q = p - start
    h = np.clip(q @ along / float(along @ along), 0.0, 1.0)
    gap = np.linalg.norm(q - h[:, None] * along, axis=1)
    return np.asarray(gap - (radius_a + h * (radius_b - radius_a)), np.float32)


def _join(a: Array, b: Array, smooth_m: float) -> Array:
    h = np.maximum(smooth_m - np.abs(a - b), 0.0) / smooth_m
    return np.asarray(np.minimum(a, b) - h * h * (smooth_m / 4.0), np.float32)


def _carve(a: Array, b: Array, smooth_m: float) -> Array:
    return -_join(-a, b, smooth_m)
