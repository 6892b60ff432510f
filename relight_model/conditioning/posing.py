"""One performer's head, posed quickly: FLAME's function G with the identity held.

The same numbers as :func:`lightstage.head.pose_head`, in single precision. What does not change
from frame to frame is added up once, and frames are posed many at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import InputError
from lightstage.head import PARENTS, HeadFile, rotation_matrices, shape_head
from relight_model.conditioning.compiled import compiled

Array = NDArray[np.float32]
Float = NDArray[np.float64]


class HeadPoser:
    """Poses one identity of a head; safe to use from several threads.

    ``vertex_count`` is how many vertices it returns.
    """

    def __init__(
        self, head: HeadFile, shape: ArrayLike, vertices: Sequence[int] | None = None
    ) -> None:
        """Take the head with one identity.

        Args:
            head: the model.
            shape: up to S identity coefficients; those left out are 0.
            vertices: only these, in this order; ``None`` = all.

        Raises:
            InputError: more coefficients than the head has.
        """
        chosen = slice(None) if vertices is None else np.asarray(vertices, np.int64)
        shaped = shape_head(head, shape, ())
        directions = head.shapedirs[:, :, head.shape_count :]
        self.expression_count = head.expression_count
        self._base = np.ascontiguousarray(shaped[chosen], np.float32)
        self.vertex_count = len(self._base)
        moving = np.concatenate([directions[chosen], head.posedirs[chosen]], axis=2)
        self._rows = np.ascontiguousarray(moving.reshape(-1, moving.shape[2]).T.astype(np.float32))
        self._joints = head.J_regressor @ shaped
        self._joint_rows = np.einsum("jv,vae->eja", head.J_regressor, directions)
        self._weights = np.ascontiguousarray(head.weights[chosen], np.float32)

    def __call__(self, expression: ArrayLike, pose: ArrayLike, translation_m: ArrayLike) -> Array:
        """Return the posed vertices ``(n, V, 3)`` in world metres.

        Args:
            expression: ``(n, E')`` coefficients, E' <= E; those left out are 0.
            pose: ``(n, 15)`` axis-angle radians of global, neck, jaw, left eye, right eye.
            translation_m: ``(n, 3)``, added to the posed vertices.

        Raises:
            InputError: sizes that do not fit the head or each other.
        """
        given = np.atleast_2d(np.asarray(expression, np.float64))
        poses = np.atleast_2d(np.asarray(pose, np.float64))
        places = np.atleast_2d(np.asarray(translation_m, np.float64))
        n = len(poses)
        if poses.shape != (n, 15) or places.shape != (n, 3) or len(given) != n:
            raise InputError(
                f"poses of {poses.shape}, translations of {places.shape} and expressions of "
                f"{given.shape} are not (n, 15), (n, 3) and (n, E)."
            )
        if given.shape[1] > self.expression_count:
            raise InputError(
                f"{given.shape[1]} expression coefficients, the head has {self.expression_count}."
            )
        rotations = rotation_matrices(poses.reshape(-1, 3)).reshape(n, 5, 3, 3)
        coefficients = np.zeros((n, self._rows.shape[0]), np.float32)
        coefficients[:, : given.shape[1]] = given
        coefficients[:, self.expression_count :] = (rotations[:, 1:] - np.eye(3)).reshape(n, -1)
        moved = (coefficients @ self._rows).reshape(n, -1, 3)
        count = given.shape[1]
        joints = self._joints + np.einsum("ne,eja->nja", given, self._joint_rows[:count])
        transforms = _transforms(rotations, joints)
        transforms[:, :, :, 3] += places[:, None]
        out = np.empty((n, self.vertex_count, 3), np.float32)
        _skin(self._base, moved, self._weights, transforms.astype(np.float32), out)
        return out


def _transforms(rotations: Float, joints: Float) -> Float:
    """Return how each joint moves points of the unposed head, ``(n, 5, 3, 4)``."""
    n = len(rotations)
    transforms = np.zeros((n, len(PARENTS), 3, 4))
    for joint, parent in enumerate(PARENTS):
        turn, place = rotations[:, joint], joints[:, joint]
        if parent >= 0:
            above = transforms[:, parent]
            place = np.einsum("nab,nb->na", above[:, :, :3], place - joints[:, parent])
            place = place + above[:, :, 3]
            turn = above[:, :, :3] @ turn
        transforms[:, joint, :, :3], transforms[:, joint, :, 3] = turn, place
    transforms[..., 3] -= np.einsum("njab,njb->nja", transforms[..., :3], joints)
    return cast(Float, transforms)


@compiled
def _skin(base: Any, moved: Any, weights: Any, transforms: Any, out: Any) -> None:
    """Blend the joints' transforms for each vertex and apply them; frames in turn."""
    frames, vertices = moved.shape[0], base.shape[0]
    for n in range(frames):
        for v in range(vertices):
            x = base[v, 0] + moved[n, v, 0]
            y = base[v, 1] + moved[n, v, 1]
            z = base[v, 2] + moved[n, v, 2]
            a = b = c = np.float32(0.0)
            for j in range(weights.shape[1]):
                w = weights[v, j]
                if w != 0.0:
                    t = transforms[n, j]
                    a += w * (t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3])
                    b += w * (t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3])
                    c += w * (t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3])
            out[n, v, 0] = a
            out[n, v, 1] = b
            out[n, v, 2] = c
