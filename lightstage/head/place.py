"""Where on the face a point lies, in the terms that the bases are written in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightstage.head.parts import PART_NAMES
from lightstage.head.sculpture import (
    EYE_CENTRE_M,
    EYE_HALF_WIDTH_M,
    EYE_TILT_M,
    MOUTH_HALF_WIDTH_M,
    lid_edge,
    mouth_line,
)
from lightstage.head.skin import Sculpt

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Place:
    """The points that a field is evaluated on, and what they belong to.

    ``p`` (V, 3) metres: a vertex's own place, but an eyeball's centre for all of an eyeball, and
    the edge it hangs on for the inside of a lid or lip; ``side`` (V,): +1 on the upper lip's edge
    and what hangs on it, -1 on the lower's, else 0; ``part`` (V,).
    """

    p: Array
    side: Array
    part: NDArray[np.int8]

    @staticmethod
    def of(neutral: Sculpt) -> Place:
        """Return the places of a mesh's vertices."""
        points = neutral.vertices.astype(np.float64)[neutral.anchor]
        for name, mirror in (("eye_left", 1.0), ("eye_right", -1.0)):
            eye = neutral.part == PART_NAMES.index(name)
            points[eye] = EYE_CENTRE_M * [mirror, 1.0, 1.0]
        return Place(points, neutral.side.astype(np.float64), neutral.part)

    @cached_property
    def mirror(self) -> Array:
        """+1 on the subject's left, -1 on the right, smooth across the middle, ``(V,)``."""
        return np.asarray(np.tanh(self.p[:, 0] / 0.006))

    @cached_property
    def hard(self) -> NDArray[np.bool_]:
        """Which points are teeth or tongue, that no muscle of the face moves."""
        names = ("upper_teeth", "lower_teeth", "tongue")
        return np.isin(self.part, [PART_NAMES.index(name) for name in names])

    def only(self, left: bool) -> Array:
        """Return 1 on one side of the face and 0 on the other, smooth across the middle."""
        sign = 1.0 if left else -1.0
        return np.asarray(0.5 + 0.5 * np.tanh(sign * self.p[:, 0] / 0.007))

    def bump(self, x: float, y: float, z: float, rx: float, ry: float, rz: float) -> Array:
        """Return a bell on both sides of the face, 1 at its top, ``(V,)``."""
        q = np.column_stack([np.abs(self.p[:, 0]) - x, self.p[:, 1] - y, self.p[:, 2] - z])
        return np.asarray(np.exp(-0.5 * ((q / [rx, ry, rz]) ** 2).sum(axis=1)))

    def move(self, weight: Array, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
        """Return ``(V, 3)``: ``weight`` times millimetres; ``x`` is away from the middle."""
        offset = np.column_stack(
            [x * self.mirror, np.full(len(weight), y), np.full(len(weight), z)]
        )
        return np.asarray(1e-3 * weight[:, None] * offset)

    def shift(self, weight: Array, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
        """Return ``(V, 3)``: ``weight`` times millimetres; ``x`` is to the subject's left."""
        return np.asarray(1e-3 * weight[:, None] * np.array([x, y, z]))

    @property
    def ahead(self) -> Array:
        """1 on the face, 0 behind the ears, ``(V,)``."""
        return smoothstep((self.p[:, 2] - 0.0) / 0.045)

    # the mouth

    @cached_property
    def _from_mouth(self) -> tuple[Array, Array]:
        """Elliptic coordinates about the mouth: how far away, and the turn from its left corner."""
        across = self.p[:, 1] - mouth_line(self.p[:, 0].astype(np.float32))
        across = np.where(self.side > 0, 1e-7, np.where(self.side < 0, -1e-7, across))
        z = self.p[:, 0] / MOUTH_HALF_WIDTH_M + 1j * across / MOUTH_HALF_WIDTH_M
        w = np.arccosh(z)
        return np.asarray(w.real), np.asarray(w.imag)

    @property
    def away_from_mouth(self) -> Array:
        """How far from the lips' line, in half widths of the mouth near it, ``(V,)``."""
        return self._from_mouth[0]

    @property
    def above_mouth(self) -> Array:
        """+1 above the middle of the mouth, -1 below, 0 beside its corners; it jumps at the slit.

        On the lips' edges it is an ellipse over the mouth's width, the shape of an open mouth.
        """
        return np.asarray(np.sin(self._from_mouth[1]))

    @property
    def near_mouth(self) -> Array:
        """1 on the lips' edges, falling off around, ``(V,)``."""
        front = 1.0 / (1.0 + np.exp(-(self.p[:, 2] - 0.050) / 0.005))
        return np.asarray(np.exp(-0.5 * (self._from_mouth[0] / 0.34) ** 2) * front * ~self.hard)

    @property
    def upper_lip(self) -> Array:
        """1 on the upper lip's edge, 0 at the corners and on the lower lip, ``(V,)``."""
        return np.asarray(np.maximum(self.above_mouth, 0.0) * self.near_mouth)

    @property
    def lower_lip(self) -> Array:
        """1 on the lower lip's edge, 0 at the corners and on the upper lip, ``(V,)``."""
        return np.asarray(np.maximum(-self.above_mouth, 0.0) * self.near_mouth)

    @property
    def corners(self) -> Array:
        """1 at the mouth's corners, ``(V,)``."""
        return self.bump(MOUTH_HALF_WIDTH_M, -0.0578, 0.073, 0.0095, 0.0105, 0.022) * ~self.hard

    # the eyes

    def from_eye(self, left: bool) -> Array:
        """Return places relative to an eyeball's centre; x away from the nose, ``(V, 3)``."""
        sign = 1.0 if left else -1.0
        return np.asarray((self.p - EYE_CENTRE_M * [sign, 1.0, 1.0]) * [sign, 1.0, 1.0])

    @property
    def eye_region(self) -> Array:
        """1 on the lids and eyeballs, 0 beyond the socket, ``(V,)``."""
        q = np.where(self.p[:, :1] > 0, self.from_eye(True), self.from_eye(False))
        away = np.linalg.norm(q / [1.1, 0.9, 1.0], axis=1)
        return smoothstep((0.034 - away) / 0.016)

    @property
    def round_eyes(self) -> Array:
        """The places, but all of a socket drawn together towards its eyeball's centre, ``(V, 3)``.

        What scales a head moves eyes by it and leaves their size: lids go on fitting their eyeball.
        """
        centre = np.where(self.p[:, :1] > 0, 1.0, -1.0) * [1.0, 0.0, 0.0] * EYE_CENTRE_M[0]
        centre = centre + [0.0, EYE_CENTRE_M[1], EYE_CENTRE_M[2]]
        return np.asarray(self.p + self.eye_region[:, None] * (centre - self.p))

    def lids(self, left: bool) -> tuple[Array, Array, Array]:
        """Return places from an eye's centre, how much is upper and how much lower lid, ``(V,)``.

        Both are 1 at the lids' edges and fall off around.
        """
        q = self.from_eye(left)
        skin = self.part <= PART_NAMES.index("lid_edge")
        t = q[:, 0] / EYE_HALF_WIDTH_M
        upper = q[:, 1] > EYE_TILT_M * np.clip(t, -1.0, 1.0)
        beyond = np.abs(q[:, 1] - lid_edge(q[:, 0], upper))
        inside = smoothstep((1.35 - np.abs(t)) / 0.35) * skin * (q[:, 2] > -0.004)
        inside = inside * smoothstep((0.021 - np.hypot(q[:, 0] / 1.1, q[:, 1])) / 0.006)
        pull = inside * np.exp(-((beyond / 0.0062) ** 1.5))
        return q, pull * upper, pull * ~upper


def smoothstep(t: Array) -> Array:
    """Return 0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
