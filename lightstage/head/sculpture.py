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
CORE_M = np.array([0.0, -0.056, -0.005], dtype=np.float32)
EYE_CENTRE_M = np.array([0.0318, 0.0125, 0.0640], dtype=np.float32)
EYE_RADIUS_M = 0.0130
LID_RADIUS_M = 0.0147
#: The eye's opening: half its width, and how high its lids' edges stand above and below its middle.
EYE_HALF_WIDTH_M, UPPER_LID_M, LOWER_LID_M = 0.0140, 0.0051, 0.0044
#: How much higher the outer corner of an eye lies than its middle.
EYE_TILT_M = 0.0010
MOUTH_HALF_WIDTH_M = 0.0243
#: Below this height the shoulders are cut.
NECK_END_M = -0.215


def mouth_line(x: Array) -> Array:
    """Return the height of the line between the closed lips at ``x``, both in metres."""
    t = np.abs(x) / MOUTH_HALF_WIDTH_M
    return np.asarray(-0.0582 + 0.0006 * t**2 - 0.0009 * np.exp(-((t / 0.24) ** 2)), np.float32)


def vermilion(x: Array) -> tuple[Array, Array]:
    """Return how far the red of the upper and the lower lip reach from their line at ``x``, metres.

    Seen from the front.
    """
    t = np.clip(np.abs(x) / MOUTH_HALF_WIDTH_M, 0.0, 1.0)
    upper = 0.0088 * (1.0 - t**1.9) - 0.0014 * np.exp(-((x / 0.0032) ** 2))
    lower = 0.0098 * (1.0 - t**2.4)
    return np.asarray(upper, np.float32), np.asarray(lower, np.float32)


def brow_line(x: Array) -> Array:
    """Return the height of the middle of the brows' hair at ``x``, both in metres."""
    along = np.clip((np.abs(x) - 0.0098) / 0.0425, -0.2, 1.25)
    return np.asarray(
        0.0300 + 0.0066 * np.sin(np.clip(along, 0.0, 1.2) * 2.25) - 0.0040 * along**2, np.float32
    )


def lid_edge(across: Array, upper: Array) -> Array:
    """Return the height of the lids' edges above the eyeball's centre, metres.

    Args:
        across: metres from the centre, positive away from the nose, ``(n,)``.
        upper: which lid, ``(n,)`` true for the upper one.
    """
    t = np.clip(across / EYE_HALF_WIDTH_M, -1.0, 1.0)
    lid = np.where(upper, UPPER_LID_M, -LOWER_LID_M)
    # the upper lid is highest towards the nose, the lower one lowest away from it
    skew = np.where(upper, 1.0 - 0.10 * t, 1.0 + 0.16 * t)
    return np.asarray(EYE_TILT_M * t + lid * skew * (1.0 - t * t) ** 0.625)


def distance(points: Array, below: bool = True) -> Array:
    """Return the signed distance in metres of ``(n, 3)`` points to the head, negative inside.

    Exact nowhere, but never far above the true distance, which is what marching needs.
    ``below``: with neck and shoulders.
    """
    p = points.astype(np.float32).copy()
    p[:, 0] = np.abs(p[:, 0])
    d = _ellipsoid(p, (0.0, 0.036, -0.014), (0.0745, 0.088, 0.0975))
    d = _join(d, _ellipsoid(p, (0.0, -0.0236, 0.026), (0.0655, 0.0770, 0.0620)), 0.03)
    d = _join(d, _ellipsoid(p, (0.0, -0.0625, 0.028), (0.0500, 0.0375, 0.0510)), 0.022)
    d = _join(d, _ellipsoid(p, (0.0475, -0.0555, 0.002), (0.0135, 0.0240, 0.022)), 0.03)
    d = _join(d, _ellipsoid(p, (0.0, -0.0915, 0.0710), (0.0175, 0.0130, 0.0150)), 0.022)
    if below:
        d = _join(d, _shoulders(p), 0.018)
    # cheekbones, brow, temples
    d = _join(d, _ellipsoid(p, (0.0470, -0.0085, 0.0520), (0.0195, 0.0140, 0.0180)), 0.022)
    d = _join(d, _ellipsoid(p, (0.0360, -0.0390, 0.0570), (0.0200, 0.0225, 0.0180)), 0.022)
    d = _join(
        d, _capsule(p, (0.010, 0.0300, 0.0760), (0.043, 0.0325, 0.0610), 0.0075, 0.0065), 0.02
    )
    d = _carve(d, _ellipsoid(p, (0.085, 0.028, 0.045), (0.012, 0.026, 0.024)), 0.02)
    # eye sockets, then the lids over the eyeballs
    d = _carve(d, _ellipsoid(p, (0.0300, 0.0135, 0.0940), (0.0215, 0.0125, 0.0235)), 0.016)
    eye = (float(EYE_CENTRE_M[0]), float(EYE_CENTRE_M[1]), float(EYE_CENTRE_M[2]))
    lids = _ellipsoid(p, eye, (LID_RADIUS_M * 1.05, LID_RADIUS_M, LID_RADIUS_M))
    d = _join(d, lids, 0.006)
    # the upper lid's hood and the bag below the lower one
    d = _join(
        d, _capsule(p, (0.022, 0.0240, 0.0735), (0.044, 0.0225, 0.0660), 0.0035, 0.0045), 0.010
    )
    # muzzle, then the nose
    d = _join(d, _ellipsoid(p, (0.0, -0.0555, 0.0660), (0.0290, 0.0235, 0.0215)), 0.02)
    nose = _capsule(p, (0.0, 0.022, 0.0775), (0.0, -0.0195, 0.0990), 0.0062, 0.0078)
    nose = _join(nose, _ellipsoid(p, (0.0, -0.0258, 0.1012), (0.0108, 0.0094, 0.0102)), 0.009)
    d = _join(d, nose, 0.013)
    wings = _ellipsoid(p, (0.0128, -0.0302, 0.0912), (0.0058, 0.0064, 0.0092))
    wings = _join(
        wings, _capsule(p, (0.0, -0.0318, 0.0990), (0.0, -0.0368, 0.0885), 0.0044, 0.004), 0.004
    )
    d = _join(d, wings, 0.0055)
    d = _carve(d, _ellipsoid(p, (0.0068, -0.0372, 0.0960), (0.0036, 0.0036, 0.0052)), 0.004)
    # lips, the groove above them and the fold below
    groove = _capsule(p, (0.0, -0.0395, 0.0942), (0.0, -0.0462, 0.0952), 0.0030, 0.0034)
    d = _carve(d, groove, 0.005)
    d = _carve(d, _ellipsoid(p, (0.0, -0.0752, 0.0935), (0.0190, 0.0042, 0.0085)), 0.012)
    upper = _capsule(p, (0.0044, -0.0533, 0.0888), (0.0130, -0.0547, 0.0842), 0.0060, 0.0051)
    outer = _capsule(p, (0.0130, -0.0547, 0.0842), (0.0222, -0.0577, 0.0752), 0.0051, 0.0027)
    upper = _join(upper, outer, 0.002)
    upper = _join(upper, _ellipsoid(p, (0.0, -0.0553, 0.0906), (0.0055, 0.0042, 0.0048)), 0.004)
    lower = _capsule(p, (0.0, -0.0645, 0.0870), (0.0115, -0.0636, 0.0842), 0.0070, 0.0059)
    outer = _capsule(p, (0.0115, -0.0636, 0.0842), (0.0212, -0.0600, 0.0752), 0.0059, 0.0029)
    lower = _join(lower, outer, 0.002)
    d = _join(d, upper, 0.004)
    d = _join(d, lower, 0.004)
    return _carve(d, _slit(p), 0.0017)


def _shoulders(p: Array) -> Array:
    """Return the distance to the neck and what it stands on."""
    d = _capsule(p, (0.0, -0.05, -0.024), (0.0, -0.30, -0.048), 0.0450, 0.0520)
    # the muscle from behind the ear to the pit of the neck, the larynx
    d = _join(d, _capsule(p, (0.045, -0.060, -0.030), (0.010, -0.195, 0.006), 0.0095, 0.009), 0.02)
    d = _join(d, _capsule(p, (0.0, -0.128, 0.012), (0.0, -0.150, 0.008), 0.0075, 0.008), 0.03)
    # the muscle from the nape to the shoulder, the collar bones, the chest
    d = _join(d, _capsule(p, (0.010, -0.095, -0.062), (0.122, -0.236, -0.050), 0.014, 0.024), 0.032)
    d = _join(d, _ellipsoid(p, (0.055, -0.262, -0.040), (0.115, 0.050, 0.060)), 0.035)
    return _join(
        d, _capsule(p, (0.012, -0.210, 0.008), (0.115, -0.214, -0.018), 0.008, 0.010), 0.025
    )


def _slit(p: Array) -> Array:
    """Return the distance to the groove between the lips."""
    inside = np.clip(np.abs(p[:, 0]) / MOUTH_HALF_WIDTH_M, 0.0, 1.0)
    bottom = 0.0918 - 0.0155 * inside**2
    across = p[:, 1] - mouth_line(p[:, 0])
    ahead = np.minimum(p[:, 2] - bottom, 0.0)
    side = np.maximum(np.abs(p[:, 0]) - MOUTH_HALF_WIDTH_M, 0.0)
    return np.asarray(np.sqrt(across**2 + ahead**2 + side**2) - 0.0005, np.float32)


def surface_from_core(directions: Array, below: bool = True) -> Array:
    """Return where rays from :data:`CORE_M` leave the head for good, ``(n, 3)`` in metres."""
    return march(CORE_M + 0.36 * directions, -directions, 0.36, below)


def surface_from_front(xy: Array) -> Array:
    """Return the foremost surface points at frontal ``(n, 2)`` places, ``(n, 3)`` in metres."""
    start = np.column_stack([xy, np.full(len(xy), 0.16)]).astype(np.float32)
    return march(start, np.tile(np.array([0.0, 0.0, -1.0], np.float32), (len(xy), 1)), 0.2)


def surface_normal(points: Array, step_m: float = 5e-4) -> Array:
    """Return the outward unit normals of the field at ``(n, 3)`` points."""
    offsets = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
    gradient = sum(o * distance(points + step_m * o)[:, None] for o in offsets)
    n = np.asarray(gradient, np.float32)
    return np.asarray(n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9))


def march(start: Array, towards: Array, far_m: float, below: bool = True) -> Array:
    """Return where rays from ``start`` along unit ``towards`` first meet the head, ``(n, 3)``."""
    travelled = np.zeros(len(start), np.float32)
    active = np.arange(len(start))
    for _ in range(60):
        here = start[active] + travelled[active, None] * towards[active]
        gap = distance(here, below)
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
