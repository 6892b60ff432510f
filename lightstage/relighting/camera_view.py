"""What the camera sees of an environment: a pinhole's pixels as directions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import InputError
from lightstage.relighting.environment import EnvironmentMap


@dataclass(frozen=True)
class CameraView:
    """A pinhole that looks along -Z, with +X to image right and +Y up.

    The environment is taken to be so far away that where the camera stands makes no difference.
    Pixels are ``(x, y)``, the middle of the top left one is (0, 0).

    Attributes:
        width: of the picture, pixels.
        height: of the picture, pixels.
        focal_px: focal length in pixels along x and y; the same unless pixels are not square.
        centre: the pixel that looks along -Z; for a crop it may lie outside.
    """

    width: int
    height: int
    focal_px: tuple[float, float]
    centre: tuple[float, float]

    @classmethod
    def of(cls, width: int, height: int, fov_deg: float) -> Self:
        """Return a view whose height spans ``fov_deg``, from the upper edge to the lower.

        Raises:
            InputError: the angle is not between 0 and 180 degrees.
        """
        if not 0.0 < fov_deg < 180.0:
            raise InputError(f"a field of view of {fov_deg} degrees is none; give 1 to 170.")
        focal = 0.5 * height / np.tan(np.deg2rad(fov_deg) / 2.0)
        centre = (0.5 * (width - 1), 0.5 * (height - 1))
        return cls(width, height, (float(focal), float(focal)), centre)

    def part(self, crop: tuple[float, float, float, float], width: int, height: int) -> Self:
        """Return the view of a part of the picture.

        Args:
            crop: left, top, width, height, in this view's pixels from the picture's corner.
            width: that the part is resized to.
            height: that the part is resized to.
        """
        across, down = width / crop[2], height / crop[3]
        return type(self)(
            width,
            height,
            (self.focal_px[0] * across, self.focal_px[1] * down),
            (
                (self.centre[0] + 0.5 - crop[0]) * across - 0.5,
                (self.centre[1] + 0.5 - crop[1]) * down - 0.5,
            ),
        )

    @property
    def directions(self) -> NDArray[np.float64]:
        """The unit vector that each pixel looks along, ``(height, width, 3)``."""
        x = (np.arange(self.width) - self.centre[0]) / self.focal_px[0]
        y = (self.centre[1] - np.arange(self.height)) / self.focal_px[1]
        rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], -1.0), axis=-1)
        return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))

    def project(self, directions: ArrayLike) -> NDArray[np.float64]:
        """Return the pixels ``(..., 2)`` of directions ``(..., 3)``; NaN for what is behind."""
        d = np.asarray(directions, np.float64)
        ahead = np.where(d[..., 2] < 0, -d[..., 2], np.nan)
        x = self.centre[0] + self.focal_px[0] * d[..., 0] / ahead
        y = self.centre[1] - self.focal_px[1] * d[..., 1] / ahead
        return np.stack([x, y], axis=-1)

    def see(self, environment: EnvironmentMap) -> NDArray[np.float32]:
        """Return the part of an environment that the camera sees, linear radiance.

        Returns:
            ``(height, width, 3)``. A map finer than the view is averaged down first, so that small
            lights do not flicker between pixels; a coarser one is interpolated.
        """
        # pixels of the map to one of the view, at the middle of the picture
        ratio = environment.height / np.pi / max(self.focal_px)
        if ratio >= 2.0:
            rows = max(2, round(environment.height / ratio))
            small = cv2.resize(environment.radiance, (2 * rows, rows), interpolation=cv2.INTER_AREA)
            environment = replace(environment, radiance=np.asarray(small, np.float32))
        return environment.sample(self.directions)
