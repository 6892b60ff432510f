"""The simulated camera: a pinhole in front of the performer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.pinhole import PinholeCamera

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

    @cached_property
    def pinhole(self) -> PinholeCamera:
        """The same camera by its focal length."""
        focal_px = self.head_fill * self.height * self.distance_m / HEAD_HEIGHT_M
        return PinholeCamera(self.width, self.height, focal_px, self.distance_m)

    @property
    def focal_px(self) -> float:
        """The focal length in pixels."""
        return self.pinhole.focal_px

    @property
    def position_m(self) -> NDArray[np.float64]:
        """Where the camera stands, ``(3,)`` in metres from the dome's centre."""
        return self.pinhole.position_m

    @property
    def field_of_view_rad(self) -> float:
        """The vertical angle of view, from the picture's upper edge to its lower."""
        return self.pinhole.field_of_view_rad

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the pixels ``(..., 2)`` as (x, y) of world points ``(..., 3)`` in metres."""
        return self.pinhole.project(points)
