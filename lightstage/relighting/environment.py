"""Environment maps: light from all directions, as a latitude-longitude picture."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.colour import luminance
from lightstage.errors import EnvironmentMapError, InputError
from lightstage.images import read_image
from lightstage.relighting.blur import blurred
from lightstage.relighting.cells import EnergyPyramid
from lightstage.relighting.probes import Layout, layout_of, to_latitude_longitude
from lightstage.relighting.sphere import (
    pixel_directions,
    position_of,
    row_solid_angles,
    turn_matrix,
)

#: Negative values down to this part of the map's mean are ringing of a resampler: taken as 0.
NEGATIVE_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class EnvironmentMap:
    """Linear radiance from all directions, and how the whole is turned.

    Attributes:
        radiance: ``(height, width, 3)`` float32, ``width = 2 height``, not negative, read-only;
            :mod:`lightstage.relighting.sphere` says where each pixel looks.
        orientation: rotation matrix ``(3, 3)``: light from the picture's direction ``d`` comes from
            ``orientation @ d``; see :meth:`rotated`.
        name: what it is called in messages.

    Raises:
        EnvironmentMapError: the picture has the wrong shape, or holds NaN, infinity or negative
            values. Negative values of at most 1 % of the mean, which resampling with a sharp
            filter leaves behind, are set to 0 instead.
    """

    radiance: NDArray[np.float32]
    orientation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    name: str = "environment map"

    def __post_init__(self) -> None:
        object.__setattr__(self, "radiance", _checked(self.radiance, self.name))
        object.__setattr__(self, "orientation", _checked_rotation(self.orientation, self.name))

    @classmethod
    def load(cls, path: str | os.PathLike[str], layout: Layout | None = None) -> Self:
        """Read a map from ``.hdr``, ``.exr`` or float TIFF (linear radiance as it stands).

        8- and 16-bit pictures (PNG, JPEG, …) are taken as sRGB and decoded to [0, 1]: their light
        sources are clipped, so that they light a face too softly.

        Args:
            path: the file.
            layout: how the sphere lies in the picture (:mod:`lightstage.relighting.probes`);
                told by the picture's shape unless given.

        Raises:
            EnvironmentMapError: the file is missing, cannot be read, is no map of light, or its
                shape fits several layouts or none.
        """
        try:
            picture = read_image(path, transfer="srgb")
        except InputError as reason:
            raise EnvironmentMapError(str(reason)) from None
        layout = layout or layout_of(picture.shape[1], picture.shape[0], str(path))
        if layout != "latlong":
            picture = to_latitude_longitude(picture, layout, name=str(path))
        return cls(picture, name=str(path))

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return int(self.radiance.shape[0])

    @property
    def width(self) -> int:
        """Columns of the picture, twice the rows."""
        return int(self.radiance.shape[1])

    def rotated(
        self, degrees: float = 0.0, *, pitch_deg: float = 0.0, roll_deg: float = 0.0
    ) -> Self:
        """Return the map rolled, tilted, then turned about the vertical, from how it is now.

        Positive ``degrees`` move the picture to the right: by +90 the light at the map's centre
        (-Z, behind the performer) comes to image right (+X). Positive ``pitch_deg`` raise what is
        behind the performer; positive ``roll_deg`` turn clockwise as the camera sees it. A turn by
        ``360 / width * k`` equals ``np.roll(radiance, k, axis=1)``. Nothing is resampled: the
        rotation is kept exactly and applied to the directions of the lights.
        """
        for angle in (degrees, pitch_deg, roll_deg):
            _check_angle(angle, self.name)
        return self.reoriented(turn_matrix(degrees, pitch_deg, roll_deg))

    def reoriented(self, rotation: ArrayLike) -> Self:
        """Return the map turned by any rotation matrix ``(3, 3)``, from how it is now."""
        rotation = _checked_rotation(rotation, self.name)
        _ = self.energy  # the picture is the same: it is summed up once and copied along
        turned_map = copy(self)
        orientation = _checked_rotation(rotation @ self.orientation, self.name)
        object.__setattr__(turned_map, "orientation", orientation)
        return turned_map

    def to_picture(self, directions: ArrayLike) -> NDArray[np.float64]:
        """Return world directions ``(..., 3)`` as directions in the picture as it was loaded."""
        return np.asarray(np.asarray(directions, dtype=np.float64) @ self.orientation)

    def scaled(self, exposure_stops: float) -> Self:
        """Return the map with its radiance times ``2 ** exposure_stops``."""
        with np.errstate(over="ignore"):  # the check of the new map names the trouble
            brighter = self.radiance * np.exp2(np.float32(exposure_stops))
        return replace(self, radiance=brighter)

    def saturated(self, factor: float) -> Self:
        """Return the map with colours ``factor`` times as strong (0 = grey); luminance stays.

        Where stronger colours would need negative light, they stop at the limit of what exists.
        """
        if not (np.isfinite(factor) and factor >= 0):
            raise EnvironmentMapError(f"{self.name}: a saturation of {factor} is none; 0 or more.")
        grey = luminance(self.radiance)[..., None]
        away = self.radiance - grey
        # the largest factor that leaves no colour below 0
        least = np.minimum(away.min(axis=2, keepdims=True), -np.float32(1e-30))
        limit = np.minimum(np.float32(factor), np.maximum(grey / -least, min(factor, 1.0)))
        coloured = np.maximum(grey + limit * away, np.float32(0))
        return replace(self, radiance=coloured.astype(np.float32))

    def clamped(self, maximum: float) -> Self:
        """Return the map with luminance above ``maximum`` brought down to it; hue stays.

        Light is lost: compare :meth:`integral` before and after.
        """
        if not (np.isfinite(maximum) and maximum > 0):
            raise EnvironmentMapError(f"{self.name}: cannot be clamped at {maximum}; above 0.")
        light = luminance(self.radiance)[..., None]
        factor = np.float32(maximum) / np.maximum(light, np.float32(maximum))
        return replace(self, radiance=(self.radiance * factor).astype(np.float32))

    def blurred(self, degrees: float) -> Self:
        """Return the map blurred over the sphere by a Gaussian of ``degrees`` (1 sigma).

        The integral stays. The picture gets no more rows than the blur can show.
        """
        if not (np.isfinite(degrees) and 0 <= degrees <= 90):
            raise EnvironmentMapError(f"{self.name}: cannot be blurred by {degrees}; 0 to 90.")
        if degrees == 0:
            return self
        return replace(self, radiance=blurred(self.radiance, degrees))

    def kept(self, part: NDArray[np.bool_]) -> Self:
        """Return the map with no light outside ``part`` ``(height, width)`` of its picture."""
        return replace(self, radiance=np.where(part[..., None], self.radiance, np.float32(0)))

    @cached_property
    def energy(self) -> EnergyPyramid:
        """The map's light summed over blocks, not turned."""
        return EnergyPyramid(self.radiance)

    def integral(self) -> NDArray[np.float64]:
        """Return the integral of radiance over the sphere, ``(3,)``."""
        return self.energy.integral()

    def picture(self) -> NDArray[np.float32]:
        """Return the map with its turn applied, ``(height, width, 3)``, to look at or to save.

        Turns about the vertical by whole pixels are exact, others mix neighbouring columns
        linearly, which keeps each row's light. Any other rotation is sampled bilinearly.
        """
        if abs(self.orientation[1, 1] - 1.0) > 1e-12:
            return self.sample(pixel_directions(self.height, self.width))
        angle = np.arctan2(self.orientation[2, 0], self.orientation[0, 0])
        pixels = float(angle % (2.0 * np.pi) / (2.0 * np.pi) * self.width)
        whole = int(np.floor(pixels + 1e-9))
        part = np.float32(max(pixels - whole, 0.0))
        left = np.roll(self.radiance, whole, axis=1)
        if part < 1e-6:
            return left
        return (1 - part) * left + part * np.roll(self.radiance, whole + 1, axis=1)

    def sample(self, directions: ArrayLike) -> NDArray[np.float32]:
        """Return the radiance ``(..., 3)`` that comes from ``directions (..., 3)`` (bilinear)."""
        u, v = position_of(self.to_picture(directions))
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


def load_environment(
    name_or_path: str | os.PathLike[str], layout: Layout | None = None
) -> EnvironmentMap:
    """Return a built-in environment (``studio``, ``overcast``, ``sunset``) or the map in a file.

    Args:
        name_or_path: a name of a built-in one, or a file.
        layout: how the sphere lies in the file's picture; told by its shape unless given.

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
    return EnvironmentMap.load(name, layout)


def _check_angle(degrees: float, name: str) -> None:
    if not np.isfinite(degrees):
        raise EnvironmentMapError(f"{name}: cannot be turned by {degrees} degrees.")


def _checked_rotation(given: ArrayLike, name: str) -> NDArray[np.float64]:
    matrix = np.array(given, dtype=np.float64)
    right = matrix.shape == (3, 3) and np.isfinite(matrix).all()
    if not right or np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-6 or np.linalg.det(matrix) < 0:
        raise EnvironmentMapError(f"{name}: is turned by a rotation matrix (3, 3), not {given!r}.")
    # the nearest true rotation, so that rounding does not add up over many turns
    left, _, right_hand = np.linalg.svd(matrix)
    matrix = np.asarray(left @ right_hand, dtype=np.float64)
    matrix.flags.writeable = False
    return matrix


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
            f"this one is {width} x {height}. Mirror-ball and cube-cross pictures are converted by "
            f"EnvironmentMap.load and by 'lightstage environment FILE --layout … -o map.exr'."
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
