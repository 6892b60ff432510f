"""Rotations along a clip, as rotation vectors (axis times angle) in radians.

Conversions and splines are scipy's; here is what it lacks for parameters of a head: a continuous
choice of vector along a clip, the tangent space at a rotation, the Fréchet mean, smoothing without
lag. All functions take any rotation vector, beyond a half or a full turn as well, and give
vectors of at most half a turn unless they say otherwise. Arrays are ``(..., 3)`` and broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, RotationSpline, Slerp

from lightstage.errors import InputError

Float = NDArray[np.float64]

_TURN = 2.0 * np.pi


def canonical(vectors: ArrayLike) -> Float:
    """Return the same rotations with angles in [0, pi]."""
    v = np.asarray(vectors, np.float64)
    return _vectors(_rotation(v), v.shape)


def matrices(vectors: ArrayLike) -> Float:
    """Return rotation matrices ``(..., 3, 3)``; they turn column vectors."""
    v = np.asarray(vectors, np.float64)
    return np.asarray(_rotation(v).as_matrix()).reshape(*v.shape, 3)


def from_matrices(rotation_matrices: ArrayLike) -> Float:
    """Return the rotation vectors ``(..., 3)`` of rotation matrices ``(..., 3, 3)``."""
    m = np.asarray(rotation_matrices, np.float64)
    return _vectors(Rotation.from_matrix(m.reshape(-1, 3, 3)), m.shape[:-1])


def quaternions(vectors: ArrayLike) -> Float:
    """Return unit quaternions ``(..., 4)`` as x, y, z, w with w at least 0."""
    v = np.asarray(vectors, np.float64)
    return np.asarray(_rotation(v).as_quat(canonical=True)).reshape(*v.shape[:-1], 4)


def from_quaternions(xyzw: ArrayLike) -> Float:
    """Return the rotation vectors of quaternions ``(..., 4)`` as x, y, z, w, of any length."""
    q = np.asarray(xyzw, np.float64)
    return _vectors(Rotation.from_quat(q.reshape(-1, 4)), (*q.shape[:-1], 3))


def compose(outer: ArrayLike, inner: ArrayLike) -> Float:
    """Return the rotation that turns by ``inner``, then by ``outer``: the product of matrices."""
    a, b = np.broadcast_arrays(np.asarray(outer, np.float64), np.asarray(inner, np.float64))
    return _vectors(_rotation(a) * _rotation(b), a.shape)


def log_at(base: ArrayLike, vectors: ArrayLike) -> Float:
    """Return the rotations as seen from ``base``: vectors of the tangent space there.

    They are in the turned body's own axes: for a head, pitch, yaw and roll about the axes that the
    head has at ``base``. So they do not depend on how the world, or the camera, is turned.
    """
    return compose(-np.asarray(base, np.float64), vectors)


def exp_at(base: ArrayLike, tangents: ArrayLike) -> Float:
    """Return the rotations whose :func:`log_at` ``base`` are ``tangents``."""
    return compose(base, tangents)


def angle_between(first: ArrayLike, second: ArrayLike) -> Float:
    """Return the angles ``(...)`` in [0, pi] by which two rotations differ."""
    return np.asarray(np.linalg.norm(log_at(first, second), axis=-1))


def unwrapped(vectors: ArrayLike) -> Float:
    """Return the same rotations ``(n, 3)``, each vector as near to the one before as it can be.

    The first has at most half a turn. Rotation vectors cannot be continuous through a full turn
    about changing axes; short of that they are, also through half a turn.
    """
    v = canonical(vectors)
    for k in range(1, len(v)):
        before, angle = v[k - 1], float(np.linalg.norm(v[k]))
        if angle > 0.0:
            axis = v[k] / angle
            v[k] = (angle + _TURN * np.round((before @ axis - angle) / _TURN)) * axis
        elif (length := float(np.linalg.norm(before))) > 0.0:
            v[k] = _TURN * np.round(length / _TURN) * before / length
    return v


def mean_rotation(vectors: ArrayLike, weights: ArrayLike | None = None) -> Float:
    """Return Fréchet's mean ``(3,)``: where the weighted mean of :func:`log_at` is 0.

    It is found by iteration from Markley's mean of quaternions. Where rotations lie farther than a
    quarter turn from each other there may be several such means.

    Args:
        vectors: ``(n, 3)``.
        weights: ``(n,)``, at least 0; all 1 unless given.

    Raises:
        InputError: no rotation has weight.
    """
    v = np.asarray(vectors, np.float64).reshape(-1, 3)
    w = np.ones(len(v)) if weights is None else np.asarray(weights, np.float64)
    total = w.sum()
    if not total > 0:
        raise InputError("a mean of rotations needs at least one that has weight.")
    mean = _vectors(_rotation(v).mean(weights=w), (3,))
    for _ in range(100):
        step = w @ log_at(mean, v) / total
        mean = exp_at(mean, step)
        if np.abs(step).max() < 1e-15:
            break
    return mean


def slerp(knot_times: ArrayLike, vectors: ArrayLike, times: ArrayLike) -> Float:
    """Return rotations ``(m, 3)`` at ``times``, at constant speed the short way between knots."""
    knots, v, at = _interpolated(knot_times, vectors, times)
    if len(v) == 1:
        return np.repeat(canonical(v), len(at), axis=0)
    return _vectors(Slerp(knots, _rotation(v))(at), (len(at), 3))


def spline(knot_times: ArrayLike, vectors: ArrayLike, times: ArrayLike) -> Float:
    """Return rotations ``(m, 3)`` at ``times``, angular velocity and acceleration continuous.

    Between knots the rotation goes the short way. At the ends the angular acceleration is 0.
    ``times`` must lie within the knots'.
    """
    knots, v, at = _interpolated(knot_times, vectors, times)
    if len(v) == 1:
        return np.repeat(canonical(v), len(at), axis=0)
    return _vectors(RotationSpline(knots, _rotation(v))(at), (len(at), 3))


def smoothed(times: ArrayLike, vectors: ArrayLike, seconds: float) -> Float:
    """Return rotations ``(n, 3)`` smoothed by :func:`smoothed_values`, on quaternions.

    Each is the mean of the rotations about it in time, weighted: what matters is how far these
    lie from each other, not how far from the identity. Steady turning stays what it is.
    """
    q = quaternions(vectors)
    flips = np.einsum("ij,ij->i", q[1:], q[:-1]) < 0
    q[1:] *= np.where(np.cumsum(flips) % 2 == 1, -1.0, 1.0)[:, None]
    return from_quaternions(smoothed_values(times, q, seconds))


def smoothed_values(times: ArrayLike, values: ArrayLike, seconds: float) -> Float:
    """Return ``values`` ``(n, k)`` smoothed in time by a Gaussian, without lag.

    The window reaches three deviations to both sides, and less near the ends, so that it stays
    symmetric: a steady change stays what it is, and the first and last values are kept.

    Args:
        times: ``(n,)``, rising.
        values: ``(n, k)``.
        seconds: the Gaussian's standard deviation; 0 returns the values.
    """
    t, x = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if not seconds > 0 or len(t) < 3:
        return x.copy()
    reach = np.minimum(3.0 * seconds, np.minimum(t - t[0], t[-1] - t)) * (1 + 1e-9) + 1e-12
    before = np.arange(len(t)) - np.searchsorted(t, t - reach)
    after = np.searchsorted(t, t + reach, side="right") - 1 - np.arange(len(t))
    total, weight = np.zeros_like(x), np.zeros(len(t))
    for offset in range(-int(before.max()), int(after.max()) + 1):
        here = np.arange(max(0, -offset), len(t) - max(0, offset))
        apart = t[here + offset] - t[here]
        share = np.exp(-0.5 * (apart / seconds) ** 2) * (np.abs(apart) <= reach[here])
        total[here] += share[:, None] * x[here + offset]
        weight[here] += share
    return np.asarray(total / weight[:, None])


def turn_of_gaze(directions: ArrayLike) -> Float:
    """Return the rotations that turn +Z to ``directions`` ``(..., 3)`` without twisting about +Z.

    That is how eyes turn, by Listing's law. Straight backwards is about +Y.
    """
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    across = np.hypot(x, y)
    angle = np.arctan2(across, z)
    some = across > 0
    safe = np.where(some, across, 1.0)
    axis_x, axis_y = np.where(some, -y / safe, 0.0), np.where(some, x / safe, 1.0)
    return np.stack([angle * axis_x, angle * axis_y, np.zeros_like(angle)], axis=-1)


def from_pitch_yaw_roll(degrees: ArrayLike) -> Float:
    """Return the rotation ``(3,)`` of roll, then pitch, then yaw about the world's axes.

    Args:
        degrees: pitch about +X, which lowers the face; yaw about +Y, which turns it to the image's
            right; roll about +Z, which turns its top to the image's left.
    """
    pitch, yaw, roll = np.asarray(degrees, np.float64)
    return _vectors(Rotation.from_euler("zxy", [roll, pitch, yaw], degrees=True), (3,))


def _rotation(vectors: Float) -> Rotation:
    # a copy: scipy wants to write where a broadcast array may not be written
    return Rotation.from_rotvec(np.array(vectors).reshape(-1, 3))


def _vectors(rotation: Rotation, shape: tuple[int, ...]) -> Float:
    return np.asarray(rotation.as_rotvec(), np.float64).reshape(shape)


def _interpolated(
    knot_times: ArrayLike, vectors: ArrayLike, times: ArrayLike
) -> tuple[Float, Float, Float]:
    knots, at = np.asarray(knot_times, np.float64), np.asarray(times, np.float64)
    v = np.asarray(vectors, np.float64).reshape(-1, 3)
    if len(knots) != len(v) or len(v) == 0:
        raise InputError(f"{len(knots)} times for {len(v)} rotations.")
    return knots, v, at.ravel()
