"""Where the one-light pictures of a calibration come from: files, or reflectance fields."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.fields import ReflectanceFields
from lightstage.images import Transfer, read_image


class FilePictures:
    """Picture files, one for each light, in the order of the lights.

    Args:
        paths: the files.
        transfer: what the numbers of integer files mean.
        dark: a picture without any light, to be subtracted.
    """

    def __init__(
        self, paths: Sequence[Path], transfer: Transfer = "linear", dark: Path | None = None
    ) -> None:
        self.paths = tuple(paths)
        self.transfer: Transfer = transfer
        self._dark = None if dark is None else read_gray(dark, transfer)

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names."""
        return tuple(path.name for path in self.paths)

    def read(self, index: int) -> NDArray[np.float32]:
        """Return picture ``index``, gray and linear, ``(height, width)``."""
        gray = read_gray(self.paths[index], self.transfer)
        if self._dark is None:
            return gray
        if self._dark.shape != gray.shape:
            raise InputError(
                f"{self.paths[index]}: is {gray.shape[1]} x {gray.shape[0]}, the dark picture is "
                f"{self._dark.shape[1]} x {self._dark.shape[0]}; they must be of one size."
            )
        return gray - self._dark


class FieldPictures:
    """The lights of one set of reflectance fields."""

    def __init__(self, fields: ReflectanceFields, set_index: int) -> None:
        self._fields = fields
        self._set = set_index

    @property
    def names(self) -> tuple[str, ...]:
        """The lights by number."""
        return tuple(f"light {index}" for index in range(self._fields.lights))

    def read(self, index: int) -> NDArray[np.float32]:
        """Return light ``index``, gray and linear, ``(height, width)``; a missing one is black."""
        light = self._fields.read_light(self._set, index)
        return np.asarray(np.nan_to_num(light).mean(axis=2), dtype=np.float32)


def read_gray(path: Path, transfer: Transfer = "linear") -> NDArray[np.float32]:
    """Return a picture's mean over its colours, linear, ``(height, width)``."""
    return np.asarray(read_image(path, transfer).mean(axis=2), dtype=np.float32)
