"""A pinhole camera on +Z that looks along -Z, as a stage's camera does."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole at ``(0, 0, distance_m)`` that looks at the origin; +X image right, +Y image up.

    Pixels: ``(x, y)`` = (column, row), the middle of the top left pixel is (0, 0); ``centre_px`` is
    where the axis meets the picture, by default its middle. A crop, or a picture of another size,
    is the same camera with another centre and focal length: see :meth:`viewed`.

    Raises:
        InputError: sizes, focal length or distance that no camera has.
    """

    width: int
    height: int
    focal_px: float
    distance_m: float = 1.5
    centre_px: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the measures."""
        if self.width < 1 or self.height < 1:
            raise InputError(f"a camera of {self.width} x {self.height} pixels has no picture.")
        if not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise InputError(f"a focal length must be above 0 pixels, it is {self.focal_px}.")
        if not (math.isfinite(self.distance_m) and self.distance_m > 0):
            raise InputError(
                f"a camera must stand in front of the origin, not {self.distance_m} m."
            )

    @property
    def centre(self) -> tuple[float, float]:
        """The pixel (x, y) on the camera's axis."""
        return self.centre_px or (0.5 * (self.width - 1), 0.5 * (self.height - 1))

    @property
    def position_m(self) -> NDArray[np.float64]:
        """Where the camera stands, ``(3,)`` in metres from the origin."""
        return np.array([0.0, 0.0, self.distance_m])

    @property
    def field_of_view_rad(self) -> float:
        """The vertical angle of view, were the axis in the picture's middle."""
        return 2.0 * math.atan(0.5 * self.height / self.focal_px)

    @property
    def world_to_camera(self) -> NDArray[np.float64]:
        """``(4, 4)``: to camera coordinates, +X right, +Y up, +Z towards the camera."""
        matrix = np.eye(4)
        matrix[2, 3] = -self.distance_m
        return matrix

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the pixels ``(..., 2)`` as (x, y) of world points ``(..., 3)`` in metres."""
        p = np.asarray(points, dtype=np.float64)
        scale = self.focal_px / (self.distance_m - p[..., 2])
        x = self.centre[0] + scale * p[..., 0]
        y = self.centre[1] - scale * p[..., 1]
        return np.stack([x, y], axis=-1)

    def viewed(
        self, left: float, top: float, scale: float, width: int, height: int
    ) -> PinholeCamera:
        """Return the camera of a crop of its picture that is then resized.

        Args:
            left: column of this picture's pixel grid, in pixels from its left edge (-0.5 is the
                first pixel's left edge, as (0, 0) is its middle), where the crop begins.
            top: the same for rows.
            scale: pixels of the new picture for one of this.
            width: of the new picture.
            height: of the new picture.
        """
        x, y = self.centre
        centre = ((x - left) * scale - 0.5, (y - top) * scale - 0.5)
        return replace(
            self, width=width, height=height, focal_px=self.focal_px * scale, centre_px=centre
        )
