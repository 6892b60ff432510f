"""OpenEXR files that hold a whole set: each picture a part, or a layer of one part.

Parts are named for the picture and have plain channels (``R G B``; ``X Y Z`` of normals, ``A`` of
mattes): Nuke shows them as layers, and a program reads one light without the others. Layers put
``light_007.R`` … into one part, with the full-lit picture as plain ``R G B``: for programs that
know no parts. Colours say what they are twice, by chromaticities and by ``colorInteropID``;
normals and mattes are no colours and have no such name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import ColourSpace
from lightstage.exchange.field_pictures import FieldPicture
from lightstage.exchange.whole_files import finish_file
from lightstage.half_floats import to_half

Layout = Literal["parts", "layers"]
Depth = Literal["half", "float"]
#: What OpenEXR calls each compression; ``dwaa`` and ``dwab`` lose detail, ``pxr24`` rounds floats.
COMPRESSIONS = {
    "zip": "ZIP_COMPRESSION",
    "zips": "ZIPS_COMPRESSION",
    "piz": "PIZ_COMPRESSION",
    "rle": "RLE_COMPRESSION",
    "pxr24": "PXR24_COMPRESSION",
    "dwaa": "DWAA_COMPRESSION",
    "dwab": "DWAB_COMPRESSION",
    "none": "NO_COMPRESSION",
}
#: The layer whose channels have no prefix.
_MAIN = "full_lit"


def write_layered_exr(
    path: str | os.PathLike[str],
    images: Iterable[tuple[FieldPicture, NDArray[np.float32], Mapping[str, Any]]],
    *,
    space: ColourSpace,
    layout: Layout = "parts",
    depth: Depth = "half",
    compression: str = "zip",
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write pictures of one size into one file.

    Args:
        path: the file; it grows as ``NAME.partial`` and gets its name when it is whole.
        images: each picture with its pixels ``(height, width[, 3])``, already in ``space``, and
            attributes of its own part. They are converted as they come, so that memory holds the
            file's own bytes and one picture.
        space: what the colours are in.
        layout: parts, or layers of one part.
        depth: ``half`` floats, clipped to ±65504, or ``float``.
        compression: a key of :data:`COMPRESSIONS`.
        attributes: for all parts: text, numbers, lists of text, small float arrays as vectors.

    Raises:
        InputError: the file cannot be written.
    """
    import OpenEXR

    path = Path(path)
    shared = {
        "type": OpenEXR.scanlineimage,
        "compression": getattr(OpenEXR, COMPRESSIONS[compression]),
        "chromaticities": space.chromaticities,
        **(attributes or {}),
    }
    colour = {
        "colorInteropID": space.interop_id,
        "adoptedNeutral": np.array(space.white, np.float32),
    }
    parts, layers = [], {}
    for picture, image, own in images:
        planes = _planes(picture, image, depth)
        if layout == "layers":
            prefix = "" if picture.name == _MAIN else f"{picture.name}."
            layers.update({prefix + letter: plane for letter, plane in planes.items()})
        else:
            header = {**shared, **(colour if picture.meaning == "colour" else {}), **own}
            parts.append(OpenEXR.Part(header, planes, name=picture.name))
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file of one part needs no name for it, and old readers take it
        file = OpenEXR.File(parts) if parts else OpenEXR.File({**shared, **colour}, layers)
        file.write(str(partial))
        finish_file(partial, path)
    except (RuntimeError, ValueError, TypeError, OSError) as reason:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written as OpenEXR: {reason}.") from None


def _planes(
    picture: FieldPicture, image: NDArray[np.float32], depth: Depth
) -> dict[str, NDArray[Any]]:
    stored = to_half(image) if depth == "half" else np.asarray(image, np.float32)
    planes = np.moveaxis(np.atleast_3d(stored), -1, 0)
    return {
        letter: np.ascontiguousarray(plane)
        for letter, plane in zip(picture.channels, planes, strict=True)
    }
