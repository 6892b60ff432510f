"""Reads FLAME's texture spaces and the texture coordinates of its template."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb
from lightstage.errors import InputError
from lightstage.head import HeadFile, TextureBasis

_TEXTURE = (
    "a texture space of FLAME (FLAME_texture.npz with mean and tex_dir) or of BFM "
    "(FLAME_albedo_from_BFM.npz with MU and PC)"
)
#: Key of the mean and of the components in each space's file.
_SPACES = {"FLAME": ("mean", "tex_dir"), "BFM": ("MU", "PC")}


@dataclass(frozen=True, eq=False)
class TextureCoordinates:
    """``vt`` (T, 2), v upwards, and ``ft`` (F, 3), the corners of each of the mesh's faces."""

    vt: NDArray[np.float32]
    ft: NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Texture:
    """A texture space; ``mean_linear`` (size, size, 3) RGB is the mean person's albedo."""

    mean_linear: NDArray[np.float32]
    basis: TextureBasis
    coordinates: TextureCoordinates | None
    range_note: str


def read_texture(path: Path, head: HeadFile, components: int) -> Texture:
    """Return the texture space of an ``.npz`` file with its first ``components``.

    The file is display-encoded BGR, top row first. Values are 0 to 255, or 0 to 1 where the mean
    nowhere is above 2.

    Raises:
        InputError: not such a file, or texture coordinates for another mesh.
    """
    try:
        # opened here: numpy leaves a file open that is no archive
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError
            space = next((s for s, keys in _SPACES.items() if all(k in file for k in keys)), None)
            if space is None:
                held = ", ".join(sorted(file.files)[:12]) or "nothing"
                raise InputError(f"{path}: {_TEXTURE} was expected. It holds {held}.")
            mean_key, basis_key = _SPACES[space]
            mean = np.asarray(file[mean_key], np.float32).ravel()
            directions = np.asarray(file[basis_key])
            directions = directions.reshape(len(mean), -1)[:, :components].astype(np.float32)
            pair = (
                (np.asarray(file["vt"]), np.asarray(file["ft"]))
                if "vt" in file and "ft" in file
                else None
            )
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, SyntaxError):
        raise InputError(f"{path}: {_TEXTURE} was expected, this is none.") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, MemoryError):
        raise InputError(f"{path}: is damaged; {_TEXTURE} was expected.") from None
    size = round((len(mean) / 3) ** 0.5)
    if size < 1 or 3 * size * size != len(mean):
        raise InputError(
            f"{path}: the mean must be a square colour picture, it has {len(mean)} numbers."
        )
    white = 255.0 if float(np.abs(mean).max()) > 2.0 else 1.0
    picture = np.ascontiguousarray(mean.reshape(size, size, 3)[..., ::-1] / white)
    directions = directions.reshape(size, size, 3, -1)[:, :, ::-1] / white
    if not (np.isfinite(picture).all() and np.isfinite(directions).all()):
        raise InputError(f"{path}: holds numbers that are not finite.")
    coordinates = None
    if pair is not None:
        coordinates = _checked_coordinates(*pair, head, path)
    return Texture(
        decode_srgb(np.clip(picture, 0.0, 1.0)),
        TextureBasis(picture, np.ascontiguousarray(directions.astype(np.float16)), space),
        coordinates,
        f"{'0 to 255' if white > 1 else '0 to 1'}, BGR, sRGB",
    )


def _checked_coordinates(
    vt: NDArray[np.generic], ft: NDArray[np.generic], head: HeadFile, path: Path
) -> TextureCoordinates:
    fits = vt.ndim == 2 and vt.shape[1] == 2 and ft.shape == head.f.shape
    if not fits or vt.dtype.kind not in "fiu" or ft.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: texture coordinates must be (any, 2) and {head.f.shape} for this model, "
            f"they are {vt.shape} and {ft.shape}."
        )
    corners = ft.astype(np.int64)
    if corners.min() < 0 or corners.max() >= len(vt) or not np.isfinite(vt.astype(float)).all():
        raise InputError(f"{path}: its faces point beyond the {len(vt)} texture coordinates.")
    return TextureCoordinates(vt.astype(np.float32), corners.astype(np.uint32))


def read_template(path: Path, head: HeadFile) -> TextureCoordinates:
    """Return the texture coordinates of a Wavefront OBJ with the faces of ``head``, in any order.

    Raises:
        InputError: no OBJ, one without texture coordinates, or one of another mesh.
    """
    coordinates: list[tuple[float, float]] = []
    by_face: dict[tuple[int, ...], tuple[int, ...]] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.split()
                if words[:1] == ["vt"]:
                    coordinates.append((float(words[1]), float(words[2])))
                elif words[:1] == ["f"]:
                    corners = [word.split("/") for word in words[1:]]
                    vertex = [int(corner[0]) - 1 for corner in corners]
                    texture = [int(corner[1]) - 1 for corner in corners]
                    by_face |= _turned(vertex, texture)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except OSError as reason:
        raise InputError(f"{path}: cannot be read: {reason.strerror}.") from None
    except (ValueError, IndexError):
        raise InputError(
            f"{path}: head_template.obj was expected: an OBJ with faces written vertex/texture."
        ) from None
    faces = [tuple(int(v) for v in face) for face in head.f]
    lacking = sum(face not in by_face for face in faces)
    if lacking or not coordinates:
        raise InputError(
            f"{path}: head_template.obj was expected, with texture coordinates for the "
            f"{len(faces)} faces of the model; {lacking or 'all'} of them are not in it."
        )
    vt = np.array(coordinates, np.float32)
    return _checked_coordinates(vt, np.array([by_face[face] for face in faces]), head, path)


def _turned(vertex: list[int], texture: list[int]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return a triangle written with each of its corners first."""
    if len(vertex) != 3:
        return {}
    turns = ([0, 1, 2], [1, 2, 0], [2, 0, 1])
    return {tuple(vertex[k] for k in t): tuple(texture[k] for k in t) for t in turns}
