"""Linear colour spaces that pictures are handed over in: Rec.709 and ACEScg.

Sources: ITU-R BT.709-6 (primaries, D65); SMPTE/ACES S-2014-004 (ACEScg's AP1 primaries and the ACES
white point). The change of white is the linear Bradford adaptation, as in the ACES transforms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

#: Cone responses of XYZ by Lam's Bradford transform, as ICC.1 and the ACES transforms have it.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_XY = tuple[float, float]


@dataclass(frozen=True)
class ColourSpace:
    """A linear RGB space.

    Attributes:
        name: what the command line calls it.
        title: what people call it.
        interop_id: its name by the Color Interop Forum, which OpenEXR files carry.
        primaries: CIE 1931 xy of red, green and blue.
        white: CIE 1931 xy of R = G = B.
    """

    name: str
    title: str
    interop_id: str
    primaries: tuple[_XY, _XY, _XY]
    white: _XY

    @property
    def chromaticities(self) -> tuple[float, ...]:
        """Red, green, blue and white xy in a row, as OpenEXR's header has them."""
        return tuple(value for xy in (*self.primaries, self.white) for value in xy)

    @cached_property
    def to_xyz(self) -> NDArray[np.float64]:
        """The matrix from RGB to XYZ, where (1, 1, 1) becomes the white point with Y = 1."""
        columns = np.stack([_xyz(xy) for xy in self.primaries], axis=1)
        scaled: NDArray[np.float64] = columns * np.linalg.solve(columns, _xyz(self.white))
        return scaled


REC709 = ColourSpace(
    "rec709",
    "linear Rec.709",
    "lin_rec709_scene",
    ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    (0.3127, 0.3290),
)
ACESCG = ColourSpace(
    "acescg",
    "ACEScg",
    "lin_ap1_scene",
    ((0.713, 0.293), (0.165, 0.830), (0.128, 0.044)),
    (0.32168, 0.33767),
)
COLOUR_SPACES = {space.name: space for space in (REC709, ACESCG)}


def adaptation(source: _XY, target: _XY) -> NDArray[np.float64]:
    """Return the Bradford matrix that takes XYZ under one white to XYZ under another.

    Args:
        source: xy of the white that the colours were seen under.
        target: xy of the white that they shall look the same under.
    """
    gains = (_BRADFORD @ _xyz(target)) / (_BRADFORD @ _xyz(source))
    return np.asarray(np.linalg.solve(_BRADFORD, gains[:, None] * _BRADFORD), np.float64)


def conversion(target: ColourSpace, source: ColourSpace = REC709) -> NDArray[np.float64]:
    """Return the 3x3 matrix from ``source`` RGB to ``target`` RGB; white stays (1, 1, 1)."""
    xyz = adaptation(source.white, target.white) @ source.to_xyz
    return np.asarray(np.linalg.solve(target.to_xyz, xyz), np.float64)


def convert(image: NDArray[np.float32], target: ColourSpace) -> NDArray[np.float32]:
    """Return linear Rec.709 ``(..., 3)`` in another space; negative values are kept."""
    if target == REC709:
        return image
    return image @ conversion(target).T.astype(np.float32)


def _xyz(xy: _XY) -> NDArray[np.float64]:
    x, y = xy
    return np.array([x / y, 1.0, (1.0 - x - y) / y])
