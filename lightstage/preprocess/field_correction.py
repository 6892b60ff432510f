"""A camera's dark frame and flat field, as development takes them out.

Dark is taken from each stored pixel before colours are interpolated: it is a fixed pattern of the
sensor. The flat field is smooth (lens and filter), so it divides the interpolated colours: then a
pixel at full scale, which says no more than "at least this", is known to be one before that.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import SessionError
from lightstage.images import read_image
from lightstage.preprocess.settings import DevelopSettings
from lightstage.preprocess.source import FrameSource
from lightstage.preprocess.view import Rectangle
from lightstage.stage_calibration import CALIBRATION_FOLDER, StageCalibration


class FieldCorrection:
    """What is taken out of the frames of one camera.

    Args:
        width: of a frame, in pixels.
        height: of a frame.
        dark: ``(height, width)`` linear light of no light, 1.0 = white level; ``None`` = none.
        flat: ``(rows, columns, 3)`` how much of the light arrives, over the whole frame, of any
            number of rows and columns; ``None`` = all of it.
    """

    def __init__(
        self,
        width: int,
        height: int,
        dark: NDArray[np.float32] | None = None,
        flat: NDArray[np.float32] | None = None,
    ) -> None:
        self._size = width, height
        self._dark = dark
        self._flat = flat
        self._kept: tuple[tuple[Rectangle, int], NDArray[np.float32]] | None = None

    @classmethod
    def of(cls, source: FrameSource, settings: DevelopSettings, folder: Path | None = None) -> Self:
        """Return what the settings ask for.

        Args:
            source: the frames.
            settings: with the pictures' names.
            folder: where they lie; in the calibration of the recording's session unless given.

        Raises:
            SessionError: a picture is missing or does not fit the frames.
        """
        if settings.dark is None and settings.flat is None:
            return cls(0, 0)
        if folder is None:  # SESSION/takes/NAME/take.cine
            folder = source.path.absolute().parent.parent.parent / CALIBRATION_FOLDER
        dark = flat = None
        if settings.dark is not None:
            dark = _picture(folder / settings.dark)[..., 0]
            if dark.shape != (source.height, source.width):
                raise SessionError(
                    f"{folder / settings.dark}: is {dark.shape[1]} x {dark.shape[0]} pixels, the "
                    f"frames are {source.width} x {source.height}; record a dark frame of this "
                    f"size, or preprocess with --uncalibrated."
                )
        if settings.flat is not None:
            flat = _picture(folder / settings.flat)
        return cls(source.width, source.height, dark, flat)

    def dark(self, region: Rectangle) -> NDArray[np.float32] | None:
        """Return the dark frame's part of a region, linear light."""
        if self._dark is None:
            return None
        return self._dark[region.top : region.bottom, region.left : region.right]

    def flat(self, region: Rectangle, level: int = 0) -> NDArray[np.float32] | None:
        """Return the flat field of a region at ``1 / 2**level`` of the size."""
        if self._flat is None:
            return None
        if self._kept is None or self._kept[0] != (region, level):
            self._kept = (region, level), self._enlarged(self._flat, region, level)
        return self._kept[1]

    def _enlarged(
        self, flat: NDArray[np.float32], region: Rectangle, level: int
    ) -> NDArray[np.float32]:
        width, height = self._size
        step = 1 << level
        rows, columns = flat.shape[:2]
        x = (region.left + (np.arange(region.width >> level) + 0.5) * step) * columns / width - 0.5
        y = (region.top + (np.arange(region.height >> level) + 0.5) * step) * rows / height - 0.5
        at_x, at_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        return np.asarray(
            cv2.remap(flat, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )


def with_calibration(settings: DevelopSettings, calibration: StageCalibration) -> DevelopSettings:
    """Return the settings with what the calibration found wherever they do not say it themselves.

    Nothing is left open: white balance and matrix are the camera's own where neither says anything.
    """
    changes: dict[str, object] = {}
    if settings.use_calibration:
        colour, gains = calibration.colour, calibration.gains
        if colour is not None:
            changes["white_balance"] = settings.white_balance or colour.white_balance
            changes["colour_matrix"] = settings.colour_matrix or colour.colour_matrix
        if gains is not None:
            changes["dark"] = settings.dark or (gains.dark and gains.dark.file)
            changes["flat"] = settings.flat or (gains.flat and gains.flat.file)
    return settings.replace(**changes) if changes else settings


def _picture(path: Path) -> NDArray[np.float32]:
    if not path.is_file():
        raise SessionError(
            f"{path}: this picture of the calibration is gone; put it back, or calibrate and "
            f"preprocess again."
        )
    return _read(path)


@lru_cache(maxsize=4)  # a picture's name is a hash of what it holds
def _read(path: Path) -> NDArray[np.float32]:
    return read_image(path)
