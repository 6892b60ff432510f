"""What a .cine file's image bytes mean: depth, packing, row order, colour filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightstage.cine.packing import (
    p10_code,
    p10_linear,
    pack_p10,
    pack_p12l,
    unpack_p10,
    unpack_p12l,
)

Packing = Literal["P10", "P12L"]
#: The colours of the top-left 2x2 pixels of a returned array, top row first. GRAY has no filter,
#: RGB holds all three in every pixel, UNKNOWN is a filter whose layout the vendor does not publish.
ColourFilter = Literal["GRAY", "GBRG", "RGGB", "GRBG", "BGGR", "RGB", "UNKNOWN"]

BI_RGB, BI_PACKED, BI_PACKED12L = 0, 256, 1024
CC_RGB, CC_JPEG, CC_UNINTERPOLATED = 0, 1, 2

PACKINGS: tuple[str, ...] = get_args(Packing)
COMPRESSION_OF: dict[Packing | None, int] = {None: BI_RGB, "P10": BI_PACKED, "P12L": BI_PACKED12L}
PACKING_OF: dict[int, Packing | None] = {code: name for name, code in COMPRESSION_OF.items()}

#: SETUP.CFA's low byte. 3 to 6 agree with FFmpeg, 3 and 4 with LibRaw too (the vendor's documents
#: print an impossible cell for 5). 1 and 2 were heads whose layout is not published.
FILTER_OF: dict[int, ColourFilter] = {0: "GRAY", 3: "GBRG", 4: "RGGB", 5: "GRBG", 6: "BGGR"}
CFA_OF: dict[str, int] = {"RGB": 0, **{name: code for code, name in FILTER_OF.items()}}

#: The vendor's black and white levels by depth.
LEVELS: dict[int, tuple[int, int]] = {
    8: (4, 254),
    10: (16, 1016),
    12: (64, 4064),
    14: (256, 16256),
    16: (1024, 65024),
}
#: The vendor's levels of P10, as codes; in linear values they are those of 12 bits.
P10_LEVELS = (64, 1014)


@dataclass(frozen=True)
class PixelFormat:
    """How one image is stored.

    Attributes:
        width, height: pixels.
        bit_depth: bits that a returned value can use: P10 is decoded to 12-bit linear.
        bytes_per_value: of a returned value, 1 or 2; in the file too where nothing is packed.
        packing: None (whole bytes), "P10" or "P12L".
        rgb: three colours a pixel, stored B, G, R.
    """

    width: int
    height: int
    bit_depth: int
    bytes_per_value: int
    packing: Packing | None = None
    rgb: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the returned values: uint8 or uint16."""
        return np.dtype(np.uint8 if self.bytes_per_value == 1 else np.uint16)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a returned array: (height, width), or (height, width, 3) for RGB."""
        return (self.height, self.width, 3) if self.rgb else (self.height, self.width)

    @property
    def values(self) -> int:
        """Values in one image."""
        return self.width * self.height * (3 if self.rgb else 1)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one image in the file."""
        if self.packing == "P10":
            return self.values * 5 // 4
        if self.packing == "P12L":
            return self.values * 3 // 2
        return self.values * self.bytes_per_value

    @property
    def width_step(self) -> int:
        """The width has to be a multiple of this, so that packed rows end on a whole byte."""
        return {"P10": 4, "P12L": 2}.get(self.packing or "", 1)

    def decode(self, stored: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the pixels of one image's ``(frame_bytes,)`` bytes: own memory, top row first."""
        if self.packing == "P10":
            return p10_linear().take(unpack_p10(stored), mode="clip").reshape(self.shape)
        if self.packing == "P12L":
            return unpack_p12l(stored).reshape(self.shape)
        # Whole-byte images are Windows bitmaps: bottom row first, and B, G, R where in colour.
        image = stored.view(self.dtype.newbyteorder("<")).reshape(self.shape)[::-1]
        if self.rgb:
            image = image[..., ::-1]
        return np.array(image, dtype=self.dtype, order="C")

    def encode(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the ``(frame_bytes,)`` bytes of an image of :attr:`shape`, top row first.

        Values must lie within the depth; P10 takes 12-bit linear values and keeps the nearest code.
        """
        if self.packing == "P10":
            return pack_p10(p10_code()[pixels.reshape(-1)])
        if self.packing == "P12L":
            return pack_p12l(pixels.reshape(-1).astype(np.uint16, copy=False))
        image = pixels[::-1, :, ::-1] if self.rgb else pixels[::-1]
        stored = np.ascontiguousarray(image, dtype=self.dtype.newbyteorder("<"))
        return stored.reshape(-1).view(np.uint8)
