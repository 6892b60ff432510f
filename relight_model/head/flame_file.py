"""Converts the files that FLAME is published as into one head file without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.head import NO_PARENT, PARENTS, HeadFile
from relight_model.head.flame_texture import (
    Texture,
    TextureCoordinates,
    read_template,
    read_texture,
)
from relight_model.head.safe_pickle import as_array, load_npy, load_pickle

#: Components of FLAME's shape space; the rest of its 400 are expressions.
SHAPE_COMPONENTS = 300
_ALL_COMPONENTS = 400
_INNER = 51
_CONTOUR = 17
_YAWS = 79
# skin, where a file tells nothing of highlights: a dielectric, rather rough
_ROUGHNESS, _SPECULAR = 0.46, 0.040
_FLAME_ARRAYS = (
    "v_template",
    "f",
    "shapedirs",
    "posedirs",
    "J_regressor",
    "weights",
    "kintree_table",
)
_MODEL = "a FLAME model (generic_model.pkl, flame2023.pkl) "
_EMBEDDING = (
    "a landmark embedding of FLAME (landmark_embedding.npy, flame_static_embedding.pkl or "
    "flame_dynamic_embedding.npy)"
)


@dataclass(frozen=True, eq=False)
class Embedding:
    """Where landmarks lie on a mesh: faces ``(..., n)``, weights of their corners ``(..., n, 3)``.

    ``inner`` is the iBUG landmarks 17 to 67, ``frontal`` all 68 of a frontal face, ``contour`` the
    first 17 for each of 79 head yaws.
    """

    inner: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None
    frontal: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None
    contour: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Conversion:
    """A converted head, and what a person should know of it."""

    head: HeadFile
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def convert_flame(
    model: Path,
    *,
    landmarks: Sequence[Path] = (),
    texture: Path | None = None,
    template: Path | None = None,
    shape_count: int | None = None,
    texture_components: int = 50,
) -> Conversion:
    """Return the head of a FLAME file; no code in the file is run.

    Args:
        model: FLAME's pickle, of any of its versions.
        landmarks: DECA's ``landmark_embedding.npy``, or ``flame_static_embedding.pkl`` and, for a
            contour by head yaw, ``flame_dynamic_embedding.npy``.
        texture: a texture space: FLAME's (``mean``, ``tex_dir``) or BFM's (``MU``, ``PC``).
        template: ``head_template.obj``, for texture coordinates; FLAME's texture space has its own.
        shape_count: how many components are shape; 300 of 400 unless said otherwise.
        texture_components: how many of the texture's components to keep; DECA uses 50.

    Raises:
        InputError: a file that is not what it should be; the text says what was expected.
    """
    head, notes = _read_model(model, shape_count)
    missing = []
    if landmarks:
        embedding = _joined([read_embedding(path, head) for path in landmarks])
        head, said = _with_landmarks(head, embedding)
        notes += said
    else:
        missing.append("landmarks (--landmarks): needed for face capture")
    found: Texture | None = None
    coordinates: TextureCoordinates | None = None
    if texture is not None:
        found = read_texture(texture, head, texture_components)
        coordinates = found.coordinates
    if template is not None:
        coordinates = read_template(template, head)
    if found is not None:
        head = replace(head, texture=found.mean_linear, texture_basis=found.basis)
        notes.append(f"texture values were taken as {found.range_note}")
    else:
        missing.append("a texture (--texture): conditioning maps would have no colour")
    if coordinates is not None:
        head = replace(head, vt=coordinates.vt, ft=coordinates.ft)
    else:
        missing.append("texture coordinates (--template head_template.obj)")
    return Conversion(head, tuple(missing), tuple(notes))


def _read_model(path: Path, shape_count: int | None) -> tuple[HeadFile, list[str]]:
    content = load_pickle(path, _MODEL.strip())
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: {_MODEL}was expected: a dictionary of arrays.")
    lacking = [name for name in _FLAME_ARRAYS if name not in content]
    if lacking:
        held = ", ".join(sorted(content)[:12]) or "nothing"
        raise InputError(
            f"{path}: {_MODEL}was expected, but {', '.join(lacking)} is not in it. It holds {held}."
        )
    joints, bases = len(PARENTS), 9 * (len(PARENTS) - 1)
    regressor = np.shape(content["J_regressor"])
    if len(regressor) == 2 and regressor[0] != joints:
        raise InputError(
            f"{path}: is a model of {regressor[0]} joints; FLAME, a head, has {joints}."
        )

    def array(name: str, *shape: int | None) -> NDArray[Any]:
        try:
            return as_array(content[name], shape)
        except ValueError:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise InputError(
                f"{path}: {name} must be ({wanted}) finite numbers as in FLAME, it is "
                f"{np.shape(content[name])}."
            ) from None

    v_template = array("v_template", None, 3).astype(np.float64)
    vertices = len(v_template)
    shapedirs = array("shapedirs", vertices, 3, None).astype(np.float64)
    components = shapedirs.shape[2]
    if shape_count is None:
        if components != _ALL_COMPONENTS:
            raise InputError(
                f"{path}: has {components} components, FLAME has {_ALL_COMPONENTS} "
                f"({SHAPE_COMPONENTS} of shape). Say with --shape-count how many are shape."
            )
        shape_count = SHAPE_COMPONENTS
    if not 0 <= shape_count <= components:
        raise InputError(
            f"--shape-count must be 0 to {components} for {path}, it is {shape_count}."
        )
    table = array("kintree_table", 2, joints)
    # the root's parent is written as -1, or as -1 in 32 unsigned bits
    parents = np.concatenate([[NO_PARENT], table[0, 1:].astype(np.int64)])
    weights = array("J_regressor", joints, vertices).astype(np.float64)
    head = HeadFile(
        v_template=v_template,
        f=array("f", None, 3).astype(np.int64).astype(np.uint32),
        shapedirs=shapedirs,
        posedirs=array("posedirs", vertices, 3, bases).astype(np.float64),
        J_regressor=weights,
        kintree_table=np.stack([parents, np.arange(joints)]),
        weights=array("weights", vertices, joints).astype(np.float64),
        J=weights @ v_template,
        vt=np.zeros((0, 2), np.float32),
        ft=np.zeros((0, 3), np.uint32),
        texture=np.zeros((0, 0, 3), np.float32),
        landmark_faces=np.zeros(0, np.int64),
        landmark_barycentric=np.zeros((0, 3)),
        shape_count=shape_count,
        expression_names=(),
        roughness=np.full(vertices, _ROUGHNESS, np.float32),
        specular=np.full(vertices, _SPECULAR, np.float32),
    )
    head.check(str(path))
    notes = []
    tall = float(np.ptp(v_template[:, 1]))
    if not 0.1 < tall < 0.8:
        notes.append(f"the mean head is {tall:.3g} m tall: are its units metres?")
    return head, notes


def read_embedding(path: Path, head: HeadFile) -> Embedding:
    """Return the landmarks of one embedding file on the mesh of ``head``.

    Raises:
        InputError: not such a file, or one for another mesh.
    """
    is_npy = path.suffix.lower() == ".npy"
    content = load_npy(path, _EMBEDDING) if is_npy else load_pickle(path, _EMBEDDING)
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: {_EMBEDDING} was expected: a dictionary of arrays.")

    def pair(faces: str, weights: str, *shape: int) -> Any:
        if faces not in content or weights not in content:
            return None
        try:
            index = as_array(np.squeeze(np.asarray(content[faces])), shape).astype(np.int64)
            corners = np.asarray(content[weights])
            corners = as_array(corners.reshape(corners.shape[-len(shape) - 1 :]), (*shape, 3))
        except ValueError:
            raise InputError(
                f"{path}: {faces} and {weights} must be {shape} and {(*shape, 3)} numbers, they "
                f"are {np.shape(content[faces])} and {np.shape(content[weights])}."
            ) from None
        if index.min() < 0 or index.max() >= len(head.f):
            raise InputError(
                f"{path}: {faces} points beyond the {len(head.f)} faces of the model: is it for "
                f"another mesh?"
            )
        return index, corners.astype(np.float64)

    if "lmk_face_idx" in content:
        by_yaw = np.asarray(content["lmk_face_idx"]).ndim > 1
        shape = (_YAWS, _CONTOUR) if by_yaw else (_INNER,)
        found = pair("lmk_face_idx", "lmk_b_coords", *shape)
        made = Embedding(contour=found) if by_yaw else Embedding(inner=found)
    else:
        made = Embedding(
            pair("static_lmk_faces_idx", "static_lmk_bary_coords", _INNER),
            pair("full_lmk_faces_idx", "full_lmk_bary_coords", 17 + _INNER),
            pair("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords", _YAWS, _CONTOUR),
        )
    if made.inner is None and made.frontal is None and made.contour is None:
        held = ", ".join(sorted(content)[:12]) or "nothing"
        raise InputError(f"{path}: {_EMBEDDING} was expected. It holds {held}.")
    return made


def _joined(parts: Sequence[Embedding]) -> Embedding:
    names = ("inner", "frontal", "contour")
    found = {
        name: next((getattr(p, name) for p in parts if getattr(p, name) is not None), None)
        for name in names
    }
    return Embedding(**found)


def _with_landmarks(head: HeadFile, embedding: Embedding) -> tuple[HeadFile, list[str]]:
    notes: list[str] = []
    contour = embedding.contour
    if contour is not None:
        contour, said = _by_convention(head, *contour)
        notes += said
    outline = embedding.frontal
    if outline is None and contour is not None:
        outline = contour[0][0], contour[1][0]
    inner = embedding.inner
    if inner is None and embedding.frontal is not None:
        inner = embedding.frontal[0][_CONTOUR:], embedding.frontal[1][_CONTOUR:]
    if inner is None:
        raise InputError(
            "the landmarks inside the face are missing: give flame_static_embedding.pkl too "
            "(--landmarks can be given twice)."
        )
    if outline is None:
        raise InputError(
            "the landmarks of the face's outline are missing: give flame_dynamic_embedding.npy "
            "too (--landmarks can be given twice), or DECA's landmark_embedding.npy, which has all."
        )
    faces = np.concatenate([outline[0][:_CONTOUR], inner[0]])
    weights = np.concatenate([outline[1][:_CONTOUR], inner[1]])
    made = replace(
        head,
        landmark_faces=faces,
        landmark_barycentric=weights,
        contour_faces=contour[0] if contour else None,
        contour_barycentric=contour[1] if contour else None,
    )
    made.check("landmarks")
    if contour is None:
        notes.append("the outline's landmarks are those of a frontal face at any yaw")
    return made, notes


def _by_convention(
    head: HeadFile, faces: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.float64]], list[str]]:
    """Return a contour embedding with rows 1 to 39 for a face that turns to image left.

    Published code reads the table with either sign. The mesh tells which is meant: as a face turns
    to image left, its outline on that side moves forward, from the ear towards the cheek.
    """
    corners = head.v_template[head.f.astype(np.int64)[faces]]
    places = (corners * weights[..., None]).sum(axis=2)
    on_left = places[0, :, 0] < 0
    if on_left.all() or not on_left.any():
        return (faces, weights), ["the outline's landmarks all lie on one side of the face"]
    forward = places[39, :, 2] - places[0, :, 2]
    lead = float(forward[on_left].mean() - forward[~on_left].mean())
    if lead < 0:
        order = np.concatenate([[0], np.arange(40, _YAWS), np.arange(1, 40)])
        return (faces[order], weights[order]), [
            "the contour's table is for yaw of the other sign; its rows were exchanged"
        ]
    return (faces, weights), []
