"""The head model in torch: FLAME's function G, batched and differentiable.

The arrays come from a :class:`lightstage.head.HeadFile`: the procedural head that is shipped, or a
user's FLAME file that ``relight_model convert-head`` turned into an ``.npz``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lightstage.errors import InputError
from lightstage.head import PARENTS, HeadFile, procedural_head

JOINTS = len(PARENTS)
POSE_NUMBERS = 3 * JOINTS
#: A contour embedding has one row for each whole degree of head yaw: 0 to 39, then -1 to -39.
CONTOUR_YAWS = 79
_LARGEST_YAW_DEG = 39.0


class HeadModel(torch.nn.Module):  # type: ignore[misc]
    """Posed vertices and landmarks of a head from its shape, expression and pose.

    All numbers are buffers: the module has no parameters and never changes. Metres, +Y up, +Z out
    of the face, +X the subject's left. ``.to(device)`` and ``.double()`` work as in any module.

    Attributes:
        head: the numpy arrays it was made from (always the whole head).
        shape_count: identity coefficients S there are.
        expression_count: expression coefficients E there are.
        expression_names: what they are called; empty where the model names none, as FLAME.
        faces: ``(F, 3)`` indices of this model's own vertices.
    """

    template: Tensor
    directions: Tensor
    corrective_elements: Tensor
    correctives: Tensor
    weights: Tensor
    joint_template: Tensor
    joint_directions: Tensor
    faces: Tensor
    landmark_triangles: Tensor
    landmark_weights: Tensor
    contour_triangles: Tensor
    contour_weights: Tensor

    def __init__(
        self,
        head: HeadFile,
        *,
        vertices: Sequence[int] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take over ``head``'s arrays; of its vertices only ``vertices``, in their order."""
        super().__init__()
        self.head = head
        self.shape_count = head.shape_count
        self.expression_count = head.expression_count
        self.expression_names = head.expression_names
        total = len(head.v_template)
        kept = np.arange(total) if vertices is None else _checked_vertices(vertices, total)
        here = np.full(total, -1, np.int64)
        here[kept] = np.arange(len(kept))

        def keep(name: str, values: np.ndarray) -> None:
            kind = torch.long if np.issubdtype(values.dtype, np.integer) else dtype
            self.register_buffer(name, torch.tensor(values, dtype=kind))

        # x of all vertices, then y, then z: skinning so is four times as fast
        count = head.shapedirs.shape[2]
        keep("template", head.v_template[kept].T)
        keep("directions", head.shapedirs[kept].transpose(2, 1, 0).reshape(count, -1))
        correctives = head.posedirs[kept].transpose(2, 1, 0).reshape(-1, 3 * len(kept))
        used = np.flatnonzero(head.posedirs.any(axis=(0, 1)))
        keep("corrective_elements", used)
        keep("correctives", correctives[used])
        keep("weights", head.weights[kept].T)
        # joints are linear in the coefficients: they need no full mesh
        keep("joint_template", head.J_regressor @ head.v_template)
        joint_directions = np.tensordot(head.J_regressor, head.shapedirs, 1)
        keep("joint_directions", joint_directions.reshape(-1, count).T)
        faces = here[head.f.astype(np.int64)]
        keep("faces", faces[(faces >= 0).all(axis=1)])
        keep("landmark_triangles", here[head.f.astype(np.int64)[head.landmark_faces]])
        keep("landmark_weights", head.landmark_barycentric)
        contour_faces, contour_weights = head.contour_faces, head.contour_barycentric
        if contour_faces is None or contour_weights is None:
            contour_faces, contour_weights = np.zeros((0, 17), np.int64), np.zeros((0, 17, 3))
        keep("contour_triangles", here[head.f.astype(np.int64)[contour_faces]])
        keep("contour_weights", contour_weights)

    @staticmethod
    def procedural() -> HeadModel:
        """Return the head that is shipped."""
        return HeadModel(procedural_head())

    @staticmethod
    def load(path: Path | None) -> HeadModel:
        """Return the head of an ``.npz`` file, or the procedural one for ``None``.

        Raises:
            InputError: no such file, or not one that ``relight_model convert-head`` wrote.
        """
        if path is None:
            return HeadModel.procedural()
        if path.suffix.lower() in (".pkl", ".pickle"):
            raise InputError(
                f"{path}: is a pickle, which could run code. Convert it once: "
                f"`relight_model convert-head {path.name} -o head.npz`, then use head.npz."
            )
        return HeadModel(HeadFile.load(path))

    @property
    def fingerprint(self) -> str:
        """Hash of what gives coefficients their meaning: :attr:`HeadFile.fingerprint`."""
        return self.head.fingerprint

    def forward(self, shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """Return the posed vertices ``(B, V, 3)`` in metres.

        Args:
            shape: ``(B, S')`` identity coefficients, S' <= S; those left out are 0.
            expression: ``(B, E')`` expression coefficients, E' <= E.
            pose: ``(B, 15)`` axis-angle radians of global, neck, jaw, left eye, right eye.

        Any of the three may have one row, which then goes for the whole batch.

        Raises:
            InputError: sizes that do not fit the head or each other.

        Source: Li et al. 2017, equations (1) to (4).
        """
        self._check(shape, expression, pose)
        offset = self._blended(self.directions, shape, expression)
        rotations = rotation_matrices(pose.reshape(-1, JOINTS, 3))
        away = rotations[:, 1:] - torch.eye(3, dtype=pose.dtype, device=pose.device)
        offset = offset + away.reshape(len(pose), -1)[:, self.corrective_elements] @ (
            self.correctives
        )
        v = self.template + offset.unflatten(1, (3, -1))
        turn, shift = self._transforms(rotations, self._rest_joints(shape, expression))
        # blend the joints' transforms for each vertex, then apply them: (B, 3, 4, V)
        transforms = torch.cat([turn, shift.unsqueeze(-1)], -1).flatten(2)
        blended = (transforms.transpose(1, 2) @ self.weights).unflatten(1, (3, 4))
        posed = blended[:, :, 3]
        for axis in range(3):
            posed = torch.addcmul(posed, blended[:, :, axis], v[:, axis : axis + 1])
        return posed.transpose(1, 2).contiguous()

    def joints(self, shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """Return where the five joints are in the posed head, ``(B, 5, 3)`` in metres.

        Arguments as :meth:`forward`'s. Joints 3 and 4 are the centres of the eyeballs.
        """
        self._check(shape, expression, pose)
        rest = self._rest_joints(shape, expression)
        rotations = rotation_matrices(pose.reshape(-1, JOINTS, 3))
        turn, shift = self._transforms(rotations, rest)
        return (turn @ rest.unsqueeze(-1)).squeeze(-1) + shift

    def landmarks(self, vertices: Tensor, pose: Tensor | None = None) -> Tensor:
        """Return the 68 landmarks ``(B, 68, 3)`` of posed vertices ``(B, V, 3)``, iBUG order.

        Args:
            vertices: as :meth:`forward` returns them.
            pose: ``(B, 15)``; with it, and with an embedding that has a contour for each yaw, the
                first 17 lie on the face's outline as the camera on +Z sees it; otherwise on the
                outline of a frontal face.

        Raises:
            InputError: the head has no landmark embedding, or this model lacks its vertices.
        """
        if len(self.landmark_triangles) == 0:
            raise InputError(
                "this head has no landmarks; convert it again with `relight_model convert-head "
                "--landmarks landmark_embedding.npy`."
            )
        moving = pose is not None and len(self.contour_triangles) > 0
        lacking = (self.landmark_triangles[17 if moving else 0 :] < 0).any()
        if lacking or (moving and (self.contour_triangles < 0).any()):
            raise InputError(
                "this model has only some of the head's vertices, not all that the landmarks "
                "need; use HeadModel.at_landmarks()."
            )
        if not moving or pose is None:
            corners = vertices[:, self.landmark_triangles]
            return (corners * self.landmark_weights.unsqueeze(-1)).sum(-2)
        inner = (
            vertices[:, self.landmark_triangles[17:]] * self.landmark_weights[17:].unsqueeze(-1)
        ).sum(-2)
        rows = contour_rows(pose).expand(len(vertices))
        triangles = self.contour_triangles[rows]
        corners = vertices.unsqueeze(1).expand(-1, triangles.shape[1], -1, -1)
        index = triangles.unsqueeze(-1).expand(-1, -1, -1, 3)
        contour = (corners.gather(2, index) * self.contour_weights[rows].unsqueeze(-1)).sum(-2)
        return torch.cat([contour, inner], 1)

    def at(self, vertices: Sequence[int]) -> HeadModel:
        """Return the same head with only these vertices, in this order: cheap to evaluate.

        Joints stay those of the whole head. Indices are those of :attr:`head`'s mesh.
        """
        part = HeadModel(self.head, vertices=vertices, dtype=self.template.dtype)
        part.to(self.template.device)
        return part

    def at_landmarks(self) -> HeadLandmarks:
        """Return what evaluates the 68 landmarks alone: cheap enough for fitting."""
        return HeadLandmarks(self)

    def _check(self, shape: Tensor, expression: Tensor, pose: Tensor) -> None:
        counts = {"shape": self.shape_count, "expression": self.expression_count}
        for name, values in (("shape", shape), ("expression", expression)):
            if values.ndim != 2 or values.shape[1] > counts[name]:
                raise InputError(
                    f"the {name} must be (frames, up to {counts[name]}) coefficients of this head, "
                    f"it is {tuple(values.shape)}."
                )
        if pose.ndim != 2 or pose.shape[1] != POSE_NUMBERS:
            raise InputError(
                f"a pose must be (frames, {POSE_NUMBERS}) axis-angle numbers, it is "
                f"{tuple(pose.shape)}."
            )
        sizes = {len(shape), len(expression), len(pose)} - {1}
        if len(sizes) > 1:
            raise InputError(
                f"shape, expression and pose are for {len(shape)}, {len(expression)} and "
                f"{len(pose)} frames; each must be one row or as many as the others."
            )

    def _blended(self, directions: Tensor, shape: Tensor, expression: Tensor) -> Tensor:
        """Return the sum of components, ``(B, 3 n)``; a single row of shape is added up once."""
        first = self.shape_count
        return shape @ directions[: shape.shape[1]] + (
            expression @ directions[first : first + expression.shape[1]]
        )

    def _rest_joints(self, shape: Tensor, expression: Tensor) -> Tensor:
        moved = self._blended(self.joint_directions, shape, expression)
        return self.joint_template + moved.reshape(len(moved), JOINTS, 3)

    def _transforms(self, rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Return how each joint moves points of the unposed head: ``(B, 5, 3, 3), (B, 5, 3)``."""
        count = max(len(rotations), len(joints))
        rotations, joints = rotations.expand(count, -1, -1, -1), joints.expand(count, -1, -1)
        turns: list[Tensor] = []
        shifts: list[Tensor] = []
        for joint, parent in enumerate(PARENTS):
            centre, turn = joints[:, joint], rotations[:, joint]
            moved = centre
            if parent >= 0:
                moved = (turns[parent] @ centre.unsqueeze(-1)).squeeze(-1) + shifts[parent]
                turn = turns[parent] @ turn
            turns.append(turn)
            shifts.append(moved - (turn @ centre.unsqueeze(-1)).squeeze(-1))
        return torch.stack(turns, 1), torch.stack(shifts, 1)


class HeadLandmarks(torch.nn.Module):  # type: ignore[misc]
    """The 68 landmarks of a head, from the few vertices that carry them."""

    def __init__(self, model: HeadModel) -> None:
        """Take the vertices that the landmarks of ``model`` need."""
        super().__init__()
        used = [model.landmark_triangles.flatten(), model.contour_triangles.flatten()]
        needed = torch.unique(torch.cat(used)).tolist()
        if model.template.shape[1] != len(model.head.v_template):
            raise InputError("landmarks are taken from the whole head, not from a part of it.")
        if not needed:
            raise InputError(
                "this head has no landmarks; convert it again with `relight_model convert-head "
                "--landmarks landmark_embedding.npy`."
            )
        self.model = model.at(needed)

    def forward(self, shape: Tensor, expression: Tensor, pose: Tensor) -> Tensor:
        """Return ``(B, 68, 3)`` metres; arguments as :meth:`HeadModel.forward`'s."""
        vertices = self.model(shape, expression, pose)
        return self.model.landmarks(vertices, pose)


def rotation_matrices(axis_angles: Tensor) -> Tensor:
    """Return the rotations ``(..., 3, 3)`` of axis-angle vectors ``(..., 3)`` in radians.

    Smooth at zero too: every derivative is finite and right there. Source: Rodrigues' formula,
    ``R = I + sin(a)/a K + (1 - cos(a))/a^2 K^2``, both factors as functions of ``a^2``.
    """
    square = (axis_angles * axis_angles).sum(-1)
    small = square < 1e-2
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    t = torch.where(small, square, torch.zeros_like(square))
    # Taylor series up to a^8: the next term is below 1e-17 for a < 0.1
    sine_near = 1 + t * (-1 / 6 + t * (1 / 120 + t * (-1 / 5040 + t / 362880)))
    versine_near = 0.5 + t * (-1 / 24 + t * (1 / 720 + t * (-1 / 40320 + t / 3628800)))
    sine = torch.where(small, sine_near, angle.sin() / angle)
    versine = torch.where(small, versine_near, 2 * ((angle / 2).sin() / angle) ** 2)
    x, y, z = axis_angles.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=axis_angles.dtype, device=axis_angles.device)
    return identity + sine[..., None, None] * cross + versine[..., None, None] * (cross @ cross)


def contour_rows(pose: Tensor) -> Tensor:
    """Return which row of a contour embedding each pose ``(B, 15)`` calls for, ``(B,)``.

    By the head's yaw, global and neck together, in whole degrees and held within -39 and 39: rows
    0 to 39 are for a face turned to the subject's right (image left), 40 to 78 for -1 to -39.
    """
    with torch.no_grad():
        rotations = rotation_matrices(pose.reshape(-1, JOINTS, 3))
        head = rotations[:, 0] @ rotations[:, 1]
        level = torch.linalg.vector_norm(head[:, :2, 0], dim=1)
        yaw = torch.atan2(-head[:, 2, 0], level)
        degrees = torch.round(torch.clamp(-torch.rad2deg(yaw), max=_LARGEST_YAW_DEG)).long()
        behind = torch.where(degrees < -39, 78, 39 - degrees)
        return cast(Tensor, torch.where(degrees < 0, behind, degrees))


def _checked_vertices(vertices: Sequence[int], total: int) -> np.ndarray:
    kept = np.asarray(vertices, np.int64).ravel()
    if len(kept) == 0 or kept.min() < 0 or kept.max() >= total:
        raise InputError(f"vertices must be some of 0 to {total - 1}.")
    if len(np.unique(kept)) != len(kept):
        raise InputError("a vertex was asked for twice.")
    return kept
