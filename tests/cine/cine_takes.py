"""Small recordings of random frames for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lightstage.cine import CineWriter

START_NS = 1_700_000_000_123_456_789
PERIOD_NS = 1_000_000
#: (bit_depth, packing) of every way in which pixels are stored.
FORMATS = [
    (8, None),
    (10, None),
    (12, None),
    (14, None),
    (16, None),
    (12, "P10"),
    (12, "P12L"),
]
BAYER = ["GBRG", "RGGB", "GRBG", "BGGR"]


def write_take(
    path: Path, *, frames: int = 5, width: int = 48, height: int = 32, **options: Any
) -> list[np.ndarray]:
    """Write ``frames`` random frames, 1000 a second, 500 us; return them."""
    rng = np.random.default_rng(width * height + frames)
    written = []
    arguments = {"frame_rate_hz": 1000, "exposure_us": 500, "frame_count": frames, **options}
    with CineWriter(path, width=width, height=height, **arguments) as writer:
        stored = writer.pixel_format
        for index in range(frames):
            values = rng.integers(0, 1 << stored.bit_depth, stored.shape)
            written.append(values.astype(stored.dtype))
            writer.write(written[-1], START_NS + index * PERIOD_NS)
    return written
