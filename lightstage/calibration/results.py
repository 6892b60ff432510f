"""Results of calibrations: the manifests, and how they and their pictures come to disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from lightstage.images import write_image
from lightstage.session import Session
from lightstage.stage_calibration import (
    CALIBRATION_FOLDER,
    CalibratedLight,
    CalibrationResult,
    ColourResult,
    FieldPicture,
    GainsResult,
    LightsResult,
    StageCalibration,
)

__all__ = [
    "CalibratedLight",
    "CalibrationResult",
    "ColourResult",
    "FieldPicture",
    "GainsResult",
    "LightsResult",
    "StageCalibration",
    "save_field_picture",
    "save_result",
]


def save_result(session: Session, result: CalibrationResult) -> Path:
    """Write a result into its session by atomic replace, in place of an older one of its kind.

    Returns:
        The manifest's path.
    """
    path = session.path / CALIBRATION_FOLDER / result.file_name
    result.save(path)
    return path


def save_field_picture(
    session: Session, kind: Literal["dark", "flat"], picture: NDArray[np.floating], source: str
) -> FieldPicture:
    """Write a dark frame ``(height, width)`` or flat field ``(height, width, 3)`` as float EXR.

    The file is named by a hash of its values; one that is there already is left as it is.
    """
    values = np.ascontiguousarray(picture, dtype=np.float32)
    digest = xxhash.xxh3_64_hexdigest(values.tobytes() + str(values.shape).encode())
    record = FieldPicture(file=f"{kind}.{digest}.exr", source=source)
    path = session.path / CALIBRATION_FOLDER / record.file
    if not path.exists():
        # the suffix tells the format, so that the unfinished file ends in it, too
        partial = path.with_name(f"partial.{path.name}")
        write_image(partial, values)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    return record
