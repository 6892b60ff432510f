"""The simulated sensor: light to a Bayer mosaic with the noise of photons and electronics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

Cfa = Literal["GBRG", "GRBG", "RGGB", "BGGR"]
_CHANNEL = {"R": 0, "G": 1, "B": 2}


@dataclass(frozen=True)
class SimulatedSensor:
    """A global-shutter Bayer sensor.

    ``cfa`` names the top row's first two colours, then the second row's, from the top left.
    ``full_well`` is the electrons at white level, ``read_noise`` the electrons of one reading.
    ``black_level`` and ``white_level`` are stored values; by default 4 and 254 of 8 bits, scaled
    to ``bit_depth``. A picture's 1.0 is the white level.

    Closed form, before rounding: mean ``black + s x``, variance
    ``s^2 (x / full_well + (read_noise / full_well)^2)`` with ``s = white - black``.
    """

    cfa: Cfa = "GBRG"
    bit_depth: int = 8
    full_well: float = 11000.0
    read_noise: float = 18.0
    black_level: int = field(default=-1)
    white_level: int = field(default=-1)

    def __post_init__(self) -> None:
        """Fill in the levels and check the rest."""
        if self.cfa not in get_args(Cfa):
            raise InputError(f"{self.cfa!r} is no Bayer pattern ({', '.join(get_args(Cfa))}).")
        if self.bit_depth not in (8, 10, 12, 16):
            raise InputError(f"a sensor has 8, 10, 12 or 16 bits, not {self.bit_depth}.")
        scale = 1 << (self.bit_depth - 8)
        if self.black_level < 0:
            object.__setattr__(self, "black_level", 4 * scale)
        if self.white_level < 0:
            object.__setattr__(self, "white_level", 254 * scale)
        if not 0 <= self.black_level < self.white_level < (1 << self.bit_depth):
            raise InputError(
                f"black level {self.black_level} and white level {self.white_level} do not fit "
                f"{self.bit_depth} bits."
            )

    def mosaic(self, picture: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the one colour of each pixel of ``(height, width, 3)`` that the filter passes."""
        height, width = picture.shape[:2]
        bayer = np.empty((height, width), np.float32)
        for place, colour in enumerate(self.cfa):
            row, column = divmod(place, 2)
            bayer[row::2, column::2] = picture[row::2, column::2, _CHANNEL[colour]]
        return bayer

    def expose(
        self, picture: NDArray[np.floating], rng: np.random.Generator
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the stored frame ``(height, width)`` of linear light ``(height, width, 3)``.

        Shot noise is Gaussian of the Poisson's variance: electrons are counted in hundreds
        wherever 8 bits resolve them.
        """
        light = np.maximum(self.mosaic(picture), 0.0)
        variance = light * np.float32(1.0 / self.full_well)
        variance += np.float32((self.read_noise / self.full_well) ** 2)
        noise = rng.standard_normal(light.shape, dtype=np.float32)
        noise *= np.sqrt(variance)
        # electrons beyond the full well are lost before the reading's noise is added; the two
        # differ by less than a stored level, so one clip does for both
        stored = self.black_level + (self.white_level - self.black_level) * (light + noise)
        top = (1 << self.bit_depth) - 1
        levels = np.clip(np.rint(stored), 0, top)
        return levels.astype(np.uint8) if self.bit_depth == 8 else levels.astype(np.uint16)

    def develop(self, frame: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
        """Return the frame's light ``(height, width)``: 0 = black level, 1.0 = white level."""
        span = self.white_level - self.black_level
        return (frame.astype(np.float32) - self.black_level) / np.float32(span)


def frame_generator(seed: int, index: int) -> np.random.Generator:
    """Return the noise source of frame ``index``, whichever frames were made before."""
    return np.random.Generator(np.random.SFC64([seed, index]))
