"""The file of a head: an ``.npz`` of plain arrays. See docs/formats/head_model.md."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from lightstage.errors import InputError
from lightstage.head.head_file import PARENTS, HeadFile, TextureBasis

#: Version of the file's layout.
FORMAT = "lightstage head 1"
TEXTURE_SPACES = ("FLAME", "BFM")
_OPTIONAL = ("contour_faces", "contour_barycentric")
_OTHER = ("shape_count", "expression_names", "texture_basis")
_ARRAYS = tuple(f.name for f in fields(HeadFile) if f.name not in (*_OPTIONAL, *_OTHER))
_KINDS: dict[str, Any] = {
    "f": np.uint32,
    "ft": np.uint32,
    "kintree_table": np.int64,
    "landmark_faces": np.int64,
    "contour_faces": np.int64,
    "vt": np.float32,
    "texture": np.float32,
    "roughness": np.float32,
    "specular": np.float32,
}
#: Damaged or foreign bytes end in one of these, whatever reads them.
_UNREADABLE = (
    OSError,
    EOFError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def save_head(head: HeadFile, path: str | os.PathLike[str], *, compress: bool = True) -> None:
    """Write ``head`` to ``path``, whole or not at all."""
    check_head(head, os.fspath(path))
    arrays = {name: np.asarray(getattr(head, name)) for name in _ARRAYS}
    arrays |= {name: getattr(head, name) for name in _OPTIONAL if getattr(head, name) is not None}
    about: dict[str, Any] = {
        "format": FORMAT,
        "shape_count": head.shape_count,
        "expression_names": head.expression_names,
    }
    if head.texture_basis is not None:
        about["texture_space"] = head.texture_basis.space
        arrays["texture_mean"] = head.texture_basis.mean
        arrays["texture_components"] = head.texture_basis.components
    write = np.savez_compressed if compress else np.savez
    partial = Path(f"{os.fspath(path)}.partial")
    try:
        with partial.open("wb") as file:
            write(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as reason:
        partial.unlink(missing_ok=True)
        raise InputError(f"{os.fspath(path)}: cannot be written: {reason.strerror}.") from None


def load_head(path: str | os.PathLike[str]) -> HeadFile:
    """Read and check a head that :func:`save_head` wrote."""
    name = os.fspath(path)
    try:
        # opened here: numpy leaves a file open that is no archive
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile) or "about" not in file:
                raise ValueError
            about = json.loads(str(file["about"]))
            version = about.get("format")
            if version != FORMAT:
                raise InputError(f"{name}: is {version!r}, this version reads {FORMAT!r}.")
            arrays: dict[str, Any] = {
                key: np.asarray(file[key], _KINDS.get(key, np.float64))
                for key in (*_ARRAYS, *_OPTIONAL)
                if key not in _OPTIONAL or key in file
            }
            if "texture_space" in about:
                arrays["texture_basis"] = TextureBasis(
                    np.asarray(file["texture_mean"], np.float32),
                    np.asarray(file["texture_components"], np.float16),
                    str(about["texture_space"]),
                )
        head = HeadFile(
            **arrays,
            shape_count=int(about["shape_count"]),
            expression_names=tuple(str(text) for text in about["expression_names"]),
        )
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder, not a head's .npz file.") from None
    except _UNREADABLE:
        raise InputError(
            f"{name}: is no head model, or is damaged. `relight_model convert-head FLAME.pkl -o "
            f"head.npz` makes one of a FLAME file."
        ) from None
    check_head(head, name)
    return head


def check_head(head: HeadFile, name: str) -> None:
    """Check that a head's arrays fit together.

    Raises:
        InputError: they do not; the text names ``name``, the array and what was expected.
    """
    v, joints, face_count = len(head.v_template), len(PARENTS), len(head.f)
    landmarks = 68 if len(head.landmark_faces) else 0
    corners = (face_count if len(head.vt) else 0, 3)
    wanted: dict[str, tuple[int | None, ...]] = {
        "v_template": (v, 3),
        "f": (face_count, 3),
        "shapedirs": (v, 3, None),
        "posedirs": (v, 3, 9 * (joints - 1)),
        "J_regressor": (joints, v),
        "kintree_table": (2, joints),
        "weights": (v, joints),
        "J": (joints, 3),
        "vt": (None, 2),
        "ft": corners,
        "texture": (None, None, 3),
        "landmark_faces": (landmarks,),
        "landmark_barycentric": (landmarks, 3),
        "roughness": (v,),
        "specular": (v,),
        "contour_faces": (79, 17),
        "contour_barycentric": (79, 17, 3),
    }
    for key, shape in wanted.items():
        array = getattr(head, key)
        if array is None and key in _OPTIONAL:
            continue
        found = np.shape(array)
        fits = len(found) == len(shape) and all(
            w in (None, n) for w, n in zip(shape, found, strict=True)
        )
        if not fits:
            text = ", ".join("any" if n is None else str(n) for n in shape)
            raise InputError(f"{name}: {key} must be ({text}), it is {found}.")
        if not np.isfinite(array).all():
            raise InputError(f"{name}: {key} holds numbers that are not finite.")
    _check_indices(head, name)
    _check_sums(head, name)
    count = head.expression_count
    if not 0 <= head.shape_count <= head.shapedirs.shape[2]:
        raise InputError(
            f"{name}: {head.shape_count} of {head.shapedirs.shape[2]} components cannot be shape."
        )
    if head.expression_names and len(head.expression_names) != count:
        raise InputError(f"{name}: {len(head.expression_names)} names for {count} expressions.")
    basis = head.texture_basis
    if basis is not None and not (
        basis.space in TEXTURE_SPACES
        and basis.mean.ndim == 3
        and basis.mean.shape[2] == 3
        and basis.components.shape[:3] == basis.mean.shape
        and basis.components.ndim == 4
    ):
        raise InputError(
            f"{name}: a texture basis is (height, width, 3) mean and (height, width, 3, n) "
            f"components of the space {' or '.join(TEXTURE_SPACES)}, not {basis.mean.shape}, "
            f"{basis.components.shape} and {basis.space!r}."
        )


def _check_indices(head: HeadFile, name: str) -> None:
    limits = {
        "f": ("vertices", len(head.v_template)),
        "ft": ("texture coordinates", len(head.vt)),
        "landmark_faces": ("faces", len(head.f)),
        "contour_faces": ("faces", len(head.f)),
    }
    for key, (what, count) in limits.items():
        array = getattr(head, key)
        if array is None or array.size == 0:
            continue
        if int(array.min()) < 0 or int(array.max()) >= count:
            raise InputError(f"{name}: {key} points beyond the {count} {what} there are.")
    if len(head.v_template) == 0 or len(head.f) == 0:
        raise InputError(f"{name}: a head has vertices and faces, this one has none.")
    parents = tuple(int(p) for p in head.kintree_table[0])
    if parents[1:] != PARENTS[1:]:
        raise InputError(
            f"{name}: the joints' parents must be none, 0, 1, 1, 1 (global, neck, jaw, eyes) as in "
            f"FLAME, they are {parents}."
        )
    if (head.contour_faces is None) != (head.contour_barycentric is None):
        raise InputError(f"{name}: contour_faces and contour_barycentric go together.")


def _check_sums(head: HeadFile, name: str) -> None:
    sums = {
        "weights": "a vertex's skinning weights",
        "J_regressor": "a joint's weights",
        "landmark_barycentric": "a landmark's weights",
        "contour_barycentric": "a contour landmark's weights",
    }
    for key, what in sums.items():
        array = getattr(head, key)
        if array is None or array.size == 0:
            continue
        off = float(np.abs(np.asarray(array, np.float64).sum(axis=-1) - 1.0).max())
        if off > 1e-2:
            raise InputError(f"{name}: {key}: {what} must add up to 1, some are {off:.3g} off.")
