"""Environment maps: light from all directions, as a latitude-longitude picture."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import EnvironmentMapError, InputError
from lightstage.images import read_image
from lightstage.relighting.cells import EnergyPyramid
from lightstage.relighting.sphere import position_of, row_solid_angles, turned

#: Negative values down to this part of the map's mean are ringing of a resampler: taken as 0.
NEGATIVE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class EnvironmentMap:
    """Linear radiance from all directions, and how far it is turned about the vertical.

    Attributes:
        radiance: ``(height, width, 3)`` float32, ``width = 2 height``, not negative, read-only;
            :mod:`lightstage.relighting.sphere` says where each pixel looks.
        rotation_deg: how far the whole is turned; see :meth:`rotated`.
        name: what it is called in messages.

    Raises:
        EnvironmentMapError: the picture has the wrong shape, or holds NaN, infinity or negative
            values. Negative values of at most 1 % of the mean, which resampling with a sharp
            filter leaves behind, are set to 0 instead.
    """

    radiance: NDArray[np.float32]
    rotation_deg: float = 0.0
    name: str = "environment map"

    def __post_init__(self) -> None:
        object.__setattr__(self, "radiance", _checked(self.radiance, self.name))
        _check_angle(self.rotation_deg, self.name)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a map from ``.hdr``, ``.exr`` or float TIFF (linear radiance as it stands).

        8- and 16-bit pictures (PNG, JPEG, …) are taken as sRGB and decoded to [0, 1]: their light
        sources are clipped, so that they light a face too softly.

        Raises:
            EnvironmentMapError: the file is missing, cannot be read, or is no map of light.
        """
        try:
            picture = read_image(path, transfer="srgb")
        except InputError as reason:
            raise EnvironmentMapError(str(reason)) from None
        return cls(picture, name=str(path))

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return int(self.radiance.shape[0])

    @property
    def width(self) -> int:
        """Columns of the picture, twice the rows."""
        return int(self.radiance.shape[1])

    def rotated(self, degrees: float) -> Self:
        """Return the map turned about +Y; positive moves its picture to the right.

        By +90 degrees the light at the map's centre (-Z, behind the performer) comes to image
        right (+X). A turn by ``360 / width * k`` equals ``np.roll(radiance, k, axis=1)``. Nothing
        is resampled: the turn is kept as an angle and applied to the directions of the lights.
        """
        _check_angle(degrees, self.name)
        _ = self.energy  # the picture is the same: it is summed up once and copied along
        turned_map = copy(self)
        object.__setattr__(turned_map, "rotation_deg", (self.rotation_deg + degrees) % 360.0)
        return turned_map

    def scaled(self, exposure_stops: float) -> Self:
        """Return the map with its radiance times ``2 ** exposure_stops``."""
        with np.errstate(over="ignore"):  # the check of the new map names the trouble
            brighter = self.radiance * np.exp2(np.float32(exposure_stops))
        return replace(self, radiance=brighter)

    @cached_property
    def energy(self) -> EnergyPyramid:
        """The map's light summed over blocks, not turned."""
        return EnergyPyramid(self.radiance)

    def integral(self) -> NDArray[np.float64]:
        """Return the integral of radiance over the sphere, ``(3,)``."""
        return self.energy.integral()

    def picture(self) -> NDArray[np.float32]:
        """Return the map with its turn applied, ``(height, width, 3)``, to look at or to save.

        Turns by whole pixels are exact; others mix neighbouring columns linearly, which keeps each
        row's light.
        """
        pixels = self.rotation_deg / 360.0 * self.width
        whole = int(np.floor(pixels + 1e-9))
        part = np.float32(max(pixels - whole, 0.0))
        left = np.roll(self.radiance, whole, axis=1)
        if part < 1e-6:
            return left
        return (1 - part) * left + part * np.roll(self.radiance, whole + 1, axis=1)

    def sample(self, directions: ArrayLike) -> NDArray[np.float32]:
        """Return the radiance ``(..., 3)`` that comes from ``directions (..., 3)`` (bilinear)."""
        u, v = position_of(turned(directions, -self.rotation_deg))
        x = u * self.width - 0.5
        y = np.clip(v * self.height - 0.5, 0.0, self.height - 1.0)
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        across = (x - left).astype(np.float32)[..., None]
        down = (y - top).astype(np.float32)[..., None]
        right, left = (left + 1) % self.width, left % self.width
        bottom = np.minimum(top + 1, self.height - 1)
        upper = self.radiance[top, left] * (1 - across) + self.radiance[top, right] * across
        lower = self.radiance[bottom, left] * (1 - across) + self.radiance[bottom, right] * across
        return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def load_environment(name_or_path: str | os.PathLike[str]) -> EnvironmentMap:
    """Return a built-in environment (``studio``, ``overcast``, ``sunset``) or the map in a file.

    Raises:
        EnvironmentMapError: it is neither, or the file is no map of light.
    """
    from lightstage.relighting.procedural import ENVIRONMENTS, procedural_environment

    name = os.fspath(name_or_path)
    if name in ENVIRONMENTS:
        return procedural_environment(name)
    if not Path(name).exists() and not Path(name).suffix:
        known = ", ".join(ENVIRONMENTS)
        raise EnvironmentMapError(
            f"{name!r} is neither a built-in environment ({known}) nor a file (.hdr, .exr, .png)."
        )
    return EnvironmentMap.load(name)


def _check_angle(degrees: float, name: str) -> None:
    if not np.isfinite(degrees):
        raise EnvironmentMapError(f"{name}: cannot be turned by {degrees} degrees.")


def _checked(given: ArrayLike, name: str) -> NDArray[np.float32]:
    source = np.asarray(given)
    if source.ndim != 3 or source.shape[2] != 3 or source.dtype.kind not in "fiu":
        raise EnvironmentMapError(
            f"{name}: an environment map is an array (height, width, 3) of numbers, this is "
            f"{source.shape} of {source.dtype}."
        )
    height, width = source.shape[:2]
    if width != 2 * height:
        raise EnvironmentMapError(
            f"{name}: an environment map is a latitude-longitude picture twice as wide as high, "
            f"this one is {width} x {height}. Other layouts (mirror ball, cube, cropped panorama) "
            f"must be converted first."
        )
    if height < 2:
        raise EnvironmentMapError(f"{name}: {width} x {height} is too small; 4 x 2 is the least.")
    with np.errstate(over="ignore"):
        radiance = np.array(source, dtype=np.float32)
    bad = ~np.isfinite(radiance)
    if bad.any():
        row, column = np.argwhere(bad)[0][:2]
        raise EnvironmentMapError(
            f"{name}: {int(bad.any(axis=2).sum())} pixels are NaN or infinite, the first at "
            f"column {column}, row {row}; paint them over and save the map again."
        )
    lowest = float(radiance.min())
    if lowest < 0:
        mean = float(
            (np.maximum(radiance, 0).mean(axis=(1, 2)) * row_solid_angles(height, width)).sum()
        )
        mean *= width / (4.0 * np.pi)
        if -lowest > NEGATIVE_TOLERANCE * mean:
            raise EnvironmentMapError(
                f"{name}: holds negative radiance (down to {lowest:.4g}, the mean is {mean:.4g}); "
                f"light cannot be negative, clip the map at 0 if it is what you want."
            )
        np.maximum(radiance, 0.0, out=radiance)
    radiance.flags.writeable = False
    return radiance
