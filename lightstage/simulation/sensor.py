"""The simulated sensor: light to a Bayer mosaic with the noise of photons and electronics."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

Cfa = Literal["GBRG", "GRBG", "RGGB", "BGGR"]
_CHANNEL = {"R": 0, "G": 1, "B": 2}
#: Normal numbers that all frames draw their noise from, in rows that begin anywhere.
_NOISE_VALUES = 1 << 21
#: Rows worked on at a time hold about so many pixels, which stay in the processor's cache.
_BAND_PIXELS = 1 << 16


def filter_colours(cfa: Cfa) -> NDArray[np.intp]:
    """Return which of R, G, B (0, 1, 2) each pixel of the filter's 2x2 cell passes, ``(2, 2)``."""
    return np.array([_CHANNEL[colour] for colour in cfa]).reshape(2, 2)


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
        """Return the stored frame ``(height, width)`` of linear light ``(height, width, 3)``."""
        return self.read_out(self.mosaic(picture), rng)

    def read_out(
        self, light: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return the stored frame ``(height, width)`` of light behind the filter, of that shape.

        Shot noise is Gaussian of the Poisson's variance: electrons are counted in hundreds
        wherever 8 bits resolve them. Each row takes its noise from a random place of one table of
        normal numbers, which is cheaper than drawing them: two rows of any two frames share noise
        at the same column once in two million.
        """
        height, width = light.shape
        stored = np.empty((height, width), np.uint8 if self.bit_depth == 8 else np.uint16)
        table = _noise_table()
        begins = rng.integers(0, _NOISE_VALUES, size=(height,))
        span, top = self.white_level - self.black_level, (1 << self.bit_depth) - 1
        rows = max(1, _BAND_PIXELS // width)
        noise = np.empty((rows, width), np.float32)
        for start in range(0, height, rows):
            level = np.maximum(light[start : start + rows], np.float32(0.0))
            drawn = noise[: len(level)]
            for row, begin in enumerate(begins[start : start + rows].tolist()):
                drawn[row] = table[begin : begin + width]
            deviation = level * np.float32(1.0 / self.full_well)
            deviation += np.float32((self.read_noise / self.full_well) ** 2)
            np.sqrt(deviation, out=deviation)
            drawn *= deviation
            # electrons beyond the full well are lost before the reading's noise is added; the two
            # differ by less than a stored level, so one clip does for both
            level += drawn
            level *= np.float32(span)
            level += np.float32(self.black_level + 0.5)
            stored[start : start + rows] = np.clip(level, 0.0, np.float32(top + 0.5), out=level)
        return stored

    def develop(self, frame: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
        """Return the frame's light ``(height, width)``: 0 = black level, 1.0 = white level."""
        span = self.white_level - self.black_level
        return (frame.astype(np.float32) - self.black_level) / np.float32(span)


def frame_generator(seed: int, index: int, *, false: bool = False) -> np.random.Generator:
    """Return the noise source of frame ``index``, whichever frames were made before.

    With ``false``, of the false frame that comes after it.
    """
    key = [seed, index, 1] if false else [seed, index]
    return np.random.Generator(np.random.SFC64(key))


@lru_cache(maxsize=1)
def _noise_table() -> NDArray[np.float32]:
    """Return the normal numbers, of mean 0 and variance 1 exactly; the end repeats the start."""
    rng = np.random.Generator(np.random.SFC64(0x5EED))
    drawn = rng.standard_normal(_NOISE_VALUES)
    drawn = ((drawn - drawn.mean()) / drawn.std()).astype(np.float32)
    # the widest row there is
    return np.concatenate([drawn, drawn[: 1 << 16]])
