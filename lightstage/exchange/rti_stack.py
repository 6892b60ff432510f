"""Stacks of one-light pictures with a ``.lp`` file, as RTIBuilder, Relight and PTM fitters read.

Reflectance transformation imaging fits each pixel's brightness over the hemisphere that faces the
camera. Lights behind the object are therefore left out: a fit over (x, y) alone takes a light at
(x, y, -z) for the one at (x, y, z).
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import to_8bit
from lightstage.errors import InputError
from lightstage.exchange.colour_spaces import REC709
from lightstage.exchange.field_pictures import FieldPicture, read_picture
from lightstage.exchange.light_positions import write_light_positions
from lightstage.exchange.whole_files import finish_file
from lightstage.fields import ReflectanceFields

_LIGHTS_FILE = "lights.lp"
_JPEG_QUALITY = 97


def rti_pictures(
    fields: ReflectanceFields, index: int, pictures: list[FieldPicture], *, all_lights: bool
) -> list[FieldPicture]:
    """Return those light pictures that go into the stack of set ``index``.

    Raises:
        InputError: fewer than six are left, too few for any fit.
    """
    missing = fields.missing_lights(index)
    kept = [
        picture
        for picture in pictures
        if picture.light is not None
        and picture.light not in missing
        and (all_lights or fields.directions[picture.light, 2] > 0)
    ]
    if len(kept) < 6:
        raise InputError(
            f"set {index} has {len(kept)} of the chosen lights on the camera's side; a stack for "
            f"RTI needs at least 6. With --all-lights those behind are taken, too."
        )
    return kept


def write_rti_stack(
    folder: str | os.PathLike[str],
    fields: ReflectanceFields,
    index: int,
    pictures: list[FieldPicture],
    *,
    suffix: str = ".jpg",
    exposure_factor: float = 1.0,
    even_lights: bool = True,
) -> None:
    """Write one set's lights as 8-bit sRGB pictures and ``lights.lp`` beside them.

    A picture that is there is not written again: each got its name when it was whole. ``lights.lp``
    comes last, so that a stack that has one is whole.

    Args:
        folder: where.
        fields: the store.
        index: which set.
        pictures: of :func:`rti_pictures`.
        suffix: ``.jpg``, as RTIBuilder wants, or ``.png``.
        exposure_factor: what light is multiplied by before it is clipped at 1.
        even_lights: divide by the lights' calibrated gains, as fits assume equal lights.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [picture.name + suffix for picture in pictures]
    for picture, name in zip(pictures, names, strict=True):
        if not (folder / name).exists():
            image = read_picture(
                fields,
                index,
                picture,
                space=REC709,
                exposure_factor=exposure_factor,
                even_lights=even_lights,
            )
            _write_8bit(folder / name, image)
    directions = fields.directions[[picture.light or 0 for picture in pictures]]
    write_light_positions(folder / _LIGHTS_FILE, names, directions)


def _write_8bit(path: Path, image: NDArray[np.float32]) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    fine, buffer = cv2.imencode(path.suffix, to_8bit(image)[..., ::-1], options)
    if not fine:
        raise InputError(f"{path}: cannot be encoded as {path.suffix}.")
    partial = path.with_name(path.name + ".partial")
    buffer.tofile(partial)
    finish_file(partial, path)
