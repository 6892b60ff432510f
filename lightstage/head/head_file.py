"""The head model in the FLAME file format, and FLAME's function G that poses it.

``procedural_head()`` makes one by our code alone, free to ship. A user's own FLAME file has the
same arrays, so whatever reads one reads the other.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import InputError

Float = NDArray[np.float64]

#: Parents of the joints: global, neck, jaw, left eye, right eye. The root has none.
PARENTS = (-1, 0, 1, 1, 1)
#: Root joint's parent in ``kintree_table``, as in FLAME's own file.
NO_PARENT = 0xFFFFFFFF
#: Coefficients' meaning is hashed to this many metres: far below what a fit can tell.
_FINGERPRINT_STEP_M = 1e-7


@dataclass(frozen=True, eq=False)
class TextureBasis:
    """How textures vary between people: ``mean + components @ coefficients``.

    ``mean`` (size, size, 3) float32 and ``components`` (size, size, 3, n) float16, both RGB, top
    row first, **display-encoded** (sRGB) with 1.0 as white; ``space`` is ``"FLAME"`` or ``"BFM"``.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float16]
    space: str


@dataclass(frozen=True, eq=False)
class HeadFile:
    """The arrays of a FLAME file; metres, +Y up, +Z out of the face, +X the subject's left.

    ``v_template`` (V, 3); ``f`` (F, 3) uint32, counter-clockwise from outside; ``shapedirs``
    (V, 3, S + E), identity first; ``posedirs`` (V, 3, 36), per element of (R - I) of neck, jaw and
    eyes; ``J_regressor`` (5, V); ``kintree_table`` (2, 5), parents then joints;
    ``weights`` (V, 5); ``J`` (5, 3). Also ``vt`` (T, 2) texture coordinates in [0, 1], v upwards;
    ``ft`` (F, 3); ``texture`` (size, size, 3) mean diffuse albedo, RGB, **linear** float32,
    [0, 1], top row first; ``landmark_faces`` (68,) and ``landmark_barycentric`` (68, 3), in the
    iBUG order.
    ``roughness`` (V,) and ``specular`` (V,): the highlight's width and strength.

    A head may lack texture coordinates, texture or landmarks: these arrays then have no rows.
    Optional: ``contour_faces`` (79, 17) and ``contour_barycentric`` (79, 17, 3), the first 17
    landmarks by head yaw (rows 0 to 39 degrees, then -1 to -39); ``texture_basis``.
    """

    v_template: Float
    f: NDArray[np.uint32]
    shapedirs: Float
    posedirs: Float
    J_regressor: Float
    kintree_table: NDArray[np.int64]
    weights: Float
    J: Float
    vt: NDArray[np.float32]
    ft: NDArray[np.uint32]
    texture: NDArray[np.float32]
    landmark_faces: NDArray[np.int64]
    landmark_barycentric: NDArray[np.float64]
    shape_count: int
    expression_names: tuple[str, ...]
    roughness: NDArray[np.float32]
    specular: NDArray[np.float32]
    contour_faces: NDArray[np.int64] | None = None
    contour_barycentric: NDArray[np.float64] | None = None
    texture_basis: TextureBasis | None = None

    @property
    def has_texture(self) -> bool:
        """Whether there are a texture and the coordinates to lay it on the mesh with."""
        return len(self.texture) > 0 and len(self.vt) > 0

    @property
    def has_landmarks(self) -> bool:
        """Whether the 68 landmarks are embedded."""
        return len(self.landmark_faces) > 0

    def save(self, path: str | os.PathLike[str], *, compress: bool = True) -> None:
        """Write the head to an ``.npz`` of plain arrays and one JSON text, never a pickle.

        Raises:
            InputError: arrays that do not fit together, or a file that cannot be written.
        """
        from lightstage.head.head_storage import save_head

        save_head(self, path, compress=compress)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> HeadFile:
        """Read a head that :meth:`save` wrote; no code in it can run.

        Raises:
            InputError: no such file, not a head, or arrays that do not fit together.
        """
        from lightstage.head.head_storage import load_head

        return load_head(path)

    def check(self, name: str) -> None:
        """Check that the arrays fit together.

        Raises:
            InputError: they do not; the text names ``name``, the array and what was expected.
        """
        from lightstage.head.head_storage import check_head

        check_head(self, name)

    @property
    def expression_count(self) -> int:
        """How many of ``shapedirs``' components are expressions."""
        return int(self.shapedirs.shape[2]) - self.shape_count

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the arrays that give coefficients their meaning: do they belong to this head?

        Landmarks, texture and other decorations do not count, nor do differences below 0.1 µm.
        """
        digest = hashlib.sha256(f"{self.shape_count} {self.shapedirs.shape}".encode())
        meaning = (self.v_template, self.shapedirs, self.posedirs, self.J_regressor, self.weights)
        for array in meaning:
            steps = np.rint(np.asarray(array) / _FINGERPRINT_STEP_M).astype("<i8")
            digest.update(steps.tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _component_rows(self) -> Float:
        """``shapedirs`` with a row for each component, ``(S + E, 3 V)``: quick to add up few."""
        return np.ascontiguousarray(self.shapedirs.reshape(-1, self.shapedirs.shape[2]).T)

    @cached_property
    def _has_corrective(self) -> NDArray[np.bool_]:
        """Which of the 36 elements move anything: the procedural head uses few."""
        return np.asarray(self.posedirs.any(axis=(0, 1)))

    @cached_property
    def _corrective_rows(self) -> Float:
        return np.ascontiguousarray(self.posedirs.reshape(-1, self.posedirs.shape[2]).T)


def pose_head(head: HeadFile, shape: ArrayLike, expression: ArrayLike, pose: ArrayLike) -> Float:
    """Return the posed vertices ``(V, 3)`` in metres: FLAME's function G.

    Args:
        head: the model.
        shape: up to S identity coefficients; those left out are 0.
        expression: up to E expression coefficients; those left out are 0.
        pose: 15 numbers, axis-angle in radians of global, neck, jaw, left eye, right eye.

    Raises:
        InputError: more coefficients than components, or a pose that is not 15 numbers.

    Source: Li et al. 2017, equations (1) to (4).
    """
    shaped = shape_head(head, shape, expression)
    return skin_head(head, shaped, head.J_regressor @ shaped, pose)


def shape_head(head: HeadFile, shape: ArrayLike, expression: ArrayLike) -> Float:
    """Return the vertices ``(V, 3)`` of an identity and expression before they are posed."""
    coefficients = np.zeros(head.shapedirs.shape[2])
    parts = (
        ("shape", shape, slice(0, head.shape_count)),
        ("expression", expression, slice(head.shape_count, None)),
    )
    for name, values, where in parts:
        given = np.asarray(values, dtype=np.float64).ravel()
        room = coefficients[where]
        if len(given) > len(room):
            raise InputError(f"{len(given)} {name} coefficients, the head has {len(room)}.")
        room[: len(given)] = given
    return np.asarray(head.v_template + _offset(head, coefficients))


def express_head(head: HeadFile, rest: Float, expression: ArrayLike) -> Float:
    """Return ``rest`` (V, 3), an identity's neutral face, with an expression, before it is posed.

    The same as :func:`shape_head` to rounding, without adding up the identity each time.
    """
    given = np.asarray(expression, dtype=np.float64).ravel()
    if len(given) > head.expression_count:
        raise InputError(
            f"{len(given)} expression coefficients, the head has {head.expression_count}."
        )
    coefficients = np.zeros(head.shapedirs.shape[2])
    coefficients[head.shape_count : head.shape_count + len(given)] = given
    return np.asarray(rest + _offset(head, coefficients))


def _offset(head: HeadFile, coefficients: Float) -> Float:
    """Return what all components together add, ``(V, 3)``."""
    return _mix(coefficients, head._component_rows, np.flatnonzero(coefficients))


def _mix(coefficients: Float, rows: Float, used: NDArray[np.intp]) -> Float:
    """Return the sum of the ``used`` rows (n, 3 V) by their coefficients, ``(V, 3)``.

    Row by row: neither a copy of the rows, nor a matrix product, whose threads fight over cores.
    """
    total, part = np.zeros(rows.shape[1]), np.empty(rows.shape[1])
    for index in used:
        np.multiply(rows[index], coefficients[index], out=part)
        total += part
    return total.reshape(-1, 3)


def skin_head(head: HeadFile, shaped: Float, joints: Float, pose: ArrayLike) -> Float:
    """Return ``shaped`` (V, 3) posed about ``joints`` (5, 3): correctives, then linear blending."""
    axis_angles = np.asarray(pose, dtype=np.float64).ravel()
    if len(axis_angles) != 3 * len(joints):
        raise InputError(f"a pose has {3 * len(joints)} numbers, {len(axis_angles)} were given.")
    if not axis_angles.any():
        return shaped.copy()
    rotations = rotation_matrices(axis_angles.reshape(-1, 3))
    elements = (rotations[1:] - np.eye(3)).ravel()
    used = np.flatnonzero((elements != 0.0) & head._has_corrective)
    posed = shaped + _mix(elements, head._corrective_rows, used)
    transforms = np.zeros((len(joints), 3, 4))
    for joint, parent in enumerate(PARENTS):
        local = np.column_stack([rotations[joint], joints[joint]])
        if parent >= 0:
            base = transforms[parent]
            local[:, 3] = base[:, :3] @ (joints[joint] - joints[parent]) + base[:, 3]
            local[:, :3] = base[:, :3] @ rotations[joint]
        transforms[joint] = local
    transforms[:, :, 3] -= np.einsum("jab,jb->ja", transforms[:, :, :3], joints)
    blended = (head.weights @ transforms.reshape(len(joints), 12)).reshape(-1, 3, 4)
    return np.asarray(np.einsum("vab,vb->va", blended[:, :, :3], posed) + blended[:, :, 3])


def rotation_matrices(axis_angles: Float) -> Float:
    """Return the rotations ``(n, 3, 3)`` of axis-angle vectors ``(n, 3)`` in radians."""
    angle = np.linalg.norm(axis_angles, axis=1)
    axis = axis_angles / np.maximum(angle, 1e-12)[:, None]
    x, y, z = axis.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    sine, versine = np.sin(angle)[:, None, None], (1.0 - np.cos(angle))[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + versine * (cross @ cross))
