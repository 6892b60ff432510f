"""The simulated camera: a pinhole in front of the performer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

#: Crown with hair to chin of the mean head, in metres.
HEAD_HEIGHT_M = 0.256


@dataclass(frozen=True)
class SimulatedCamera:
    """A pinhole on +Z that looks at the dome's centre; +X is image right, +Y image up.

    ``head_fill`` is the share of the image's height that the mean head takes at the centre.
    Pixels: ``(x, y)`` = (column, row), the middle of the top left pixel is (0, 0).
    """

    width: int = 512
    height: int = 384
    distance_m: float = 1.5
    head_fill: float = 0.72

    def __post_init__(self) -> None:
        """Check the measures."""
        if self.width < 2 or self.height < 2:
            raise InputError(f"a camera of {self.width} x {self.height} pixels has no picture.")
        if not self.distance_m > 0.3 or not self.head_fill > 0:
            raise InputError("a camera must stand more than 0.3 m from the centre and see a head.")

    @property
    def focal_px(self) -> float:
        """The focal length in pixels."""
        return self.head_fill * self.height * self.distance_m / HEAD_HEIGHT_M

    @property
    def position_m(self) -> NDArray[np.float64]:
        """Where the camera stands, ``(3,)`` in metres from the dome's centre."""
        return np.array([0.0, 0.0, self.distance_m])

    @property
    def field_of_view_rad(self) -> float:
        """The vertical angle of view, from the picture's upper edge to its lower."""
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
        x = 0.5 * (self.width - 1) + scale * p[..., 0]
        y = 0.5 * (self.height - 1) - scale * p[..., 1]
        return np.stack([x, y], axis=-1)
