"""The head model at a few of its points, with derivatives: what face capture fits.

A few hundred points suffice to fit a head. In numpy, with derivatives written out, a frame costs
well under a millisecond. The head's rigid motion is kept apart: here the points are those of a
head whose global and neck rotation are 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile, rotation_matrices

Float = NDArray[np.float64]
Ints = NDArray[np.int64]

_JAW, _EYE_LEFT, _EYE_RIGHT = 2, 3, 4
#: The joints that move against the head, and where their elements lie in the pose correctives.
_MOVING = (_JAW, _EYE_LEFT, _EYE_RIGHT)


@dataclass(frozen=True, eq=False)
class Linearised:
    """Points and their derivatives.

    ``points`` (n, L, 3) metres; ``by_coefficient`` (n, L, 3, S + E), or (n, L, 3, E) where the
    shape is held; ``by_jaw`` (n, L, 3, 3) per radian of the jaw's axis-angle.
    """

    points: Float
    by_coefficient: Float
    by_jaw: Float


class HeadPoints:
    """The head model evaluated at ``L`` points, each a weighted mean of ``K`` vertices."""

    def __init__(self, head: HeadFile, vertices: Ints, weights: Float) -> None:
        """Choose the points.

        Args:
            head: the model.
            vertices: ``(L, K)`` which vertices each point is the mean of.
            weights: ``(L, K)`` with how much of each; rows add up to 1.
        """
        chosen = vertices.ravel()
        self.count, self._corners = vertices.shape
        self.shape_count = head.shape_count
        self._share = weights
        self._template = head.v_template[chosen]
        self._directions = np.ascontiguousarray(head.shapedirs[chosen])
        self._rows = np.ascontiguousarray(self._directions.reshape(-1, self._directions.shape[2]).T)
        self._skinning = head.weights[chosen]
        self._correctives = {
            joint: np.ascontiguousarray(head.posedirs[chosen][:, :, 9 * (joint - 1) : 9 * joint])
            for joint in _MOVING
        }
        self._bent = {joint: bool(np.abs(c).max() > 0) for joint, c in self._correctives.items()}
        regressor = head.J_regressor
        self._joints = np.asarray(regressor @ head.v_template)
        self._joint_directions = np.einsum("jv,vac->jac", regressor, head.shapedirs)
        self._moved_by = {
            joint: bool(self._skinning[:, joint].max() > 0) or self._bent[joint]
            for joint in _MOVING
        }

    @classmethod
    def at_vertices(cls, head: HeadFile, vertices: Ints) -> HeadPoints:
        """Return the head at some of its vertices."""
        return cls(head, vertices[:, None], np.ones((len(vertices), 1)))

    @classmethod
    def at_landmarks(
        cls, head: HeadFile, faces: Ints | None = None, barycentric: Float | None = None
    ) -> HeadPoints:
        """Return the head at its 68 landmarks, or at those of another embedding."""
        faces = head.landmark_faces if faces is None else faces
        shares = head.landmark_barycentric if barycentric is None else barycentric
        return cls(head, head.f[faces].astype(np.int64), shares)

    def root(self, coefficients: Float) -> Float:
        """Return the place ``(n, 3)`` of the joint that the global rotation turns about."""
        return np.asarray(self._joints[0] + coefficients @ self._joint_directions[0].T)

    def evaluate(self, coefficients: Float, jaw: Float, eyes: Float) -> Float:
        """Return the points ``(n, L, 3)`` in metres.

        Args:
            coefficients: ``(n, S + E)`` identity, then expression.
            jaw: ``(n, 3)`` axis-angle.
            eyes: ``(n, 6)`` axis-angles of the left and the right eye.
        """
        return self._posed(coefficients, jaw, eyes)[0]

    def linearise(
        self, coefficients: Float, jaw: Float, eyes: Float, shape_held: bool = False
    ) -> Linearised:
        """Return the points and their derivatives; arguments as :meth:`evaluate`.

        With ``shape_held`` the derivatives are those by the expression alone.
        """
        n, total = len(coefficients), self._template.shape[0]
        first = self.shape_count if shape_held else 0
        directions = self._directions[..., first:]
        points, shaped, turned = self._posed(coefficients, jaw, eyes)
        by_coefficient = np.broadcast_to(directions, (n, *directions.shape))
        if turned:
            blend = np.broadcast_to(np.eye(3), (n, total, 3, 3)).copy()
            lever = np.zeros((n, total, 3, directions.shape[2]))
            for joint, excess in turned.items():
                weighted = self._skinning[:, joint][:, None, None] * excess[:, None]
                blend += weighted
                lever -= weighted @ self._joint_directions[joint][:, first:]
            by_coefficient = blend @ directions + lever
        by_jaw = np.zeros((n, total, 3, 3))
        if self._moved_by[_JAW]:
            for k, slope in enumerate(_rotation_slopes(jaw)):
                arm = shaped - self._joint(_JAW, coefficients)[:, None]
                moved = np.einsum("nab,nvb->nva", slope, arm) * self._skinning[:, _JAW][:, None]
                if self._bent[_JAW]:
                    bend = np.einsum("vae,ne->nva", self._correctives[_JAW], slope.reshape(n, 9))
                    moved = moved + bend  # a corrective's own turn with the jaw is second order
                by_jaw[:, :, :, k] = moved
        return Linearised(points, self._mean(by_coefficient), self._mean(by_jaw))

    def _posed(
        self, coefficients: Float, jaw: Float, eyes: Float
    ) -> tuple[Float, Float, dict[int, Float]]:
        n = len(coefficients)
        shaped = (coefficients @ self._rows).reshape(n, -1, 3) + self._template
        turns = {_JAW: jaw, _EYE_LEFT: eyes[:, :3], _EYE_RIGHT: eyes[:, 3:]}
        excess = {
            joint: rotation_matrices(turn) - np.eye(3)
            for joint, turn in turns.items()
            if self._moved_by[joint] and turn.any()
        }
        for joint, rest in excess.items():
            if self._bent[joint]:
                shaped = shaped + np.einsum(
                    "vae,ne->nva", self._correctives[joint], rest.reshape(n, 9)
                )
        posed = shaped
        for joint, rest in excess.items():
            arm = shaped - self._joint(joint, coefficients)[:, None]
            posed = posed + self._skinning[:, joint][:, None] * np.einsum("nab,nvb->nva", rest, arm)
        return self._mean(posed), shaped, excess

    def _joint(self, joint: int, coefficients: Float) -> Float:
        return np.asarray(self._joints[joint] + coefficients @ self._joint_directions[joint].T)

    def _mean(self, values: Float) -> Float:
        """Return each point's mean over its vertices, ``(n, L, …)`` of ``(n, L K, …)``."""
        if self._corners == 1:
            return values
        apart = values.reshape(len(values), self.count, self._corners, *values.shape[2:])
        return np.asarray(np.einsum("nlk...,lk->nl...", apart, self._share))


def _rotation_slopes(axis_angles: Float) -> list[Float]:
    """Return d rotation / d each of the three numbers of axis-angles, three of ``(n, 3, 3)``."""
    rotation = rotation_matrices(axis_angles)
    angle = np.linalg.norm(axis_angles, axis=1)
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5 - angle**2 / 24.0, (1.0 - np.cos(safe)) / safe**2)
    second = np.where(small, 1.0 / 6.0, (safe - np.sin(safe)) / safe**3)
    cross = cross_matrices(axis_angles)
    left = (
        np.eye(3) + first[:, None, None] * cross + second[:, None, None] * (cross @ cross)
    )  # left Jacobian of the exponential
    return [cross_matrices(left[:, :, k]) @ rotation for k in range(3)]


def cross_matrices(vectors: Float) -> Float:
    """Return the matrices ``(…, 3, 3)`` that take the cross product with ``(…, 3)``."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return np.stack(rows, axis=-1).reshape(*vectors.shape[:-1], 3, 3)
