"""A minimal DNG, written by hand after the TIFF 6 and DNG 1.4 specifications."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SRATIONAL = 1, 2, 3, 4, 5, 10
_COLOURS = {"R": 0, "G": 1, "B": 2}


def write_dng(
    path: Path,
    pixels: np.ndarray,
    *,
    cfa: str = "RGGB",
    black: int = 64,
    white: int = 4095,
    when: str = "2024:01:02 03:04:05",
) -> None:
    """Write a 16-bit Bayer mosaic, uncompressed, exposed for 1/200 s."""
    height, width = pixels.shape
    data = pixels.astype("<u2").tobytes()
    identity = [(int(row == column), 1) for row in range(3) for column in range(3)]
    tags = [
        (254, _LONG, [0]),  # NewSubFileType: the full picture
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [16]),  # BitsPerSample
        (259, _SHORT, [1]),  # Compression: none
        (262, _SHORT, [32803]),  # PhotometricInterpretation: colour filter array
        (271, _ASCII, b"Test\0"),
        (272, _ASCII, b"Test Camera\0"),
        (273, _LONG, [0]),  # StripOffsets, set below
        (277, _SHORT, [1]),  # SamplesPerPixel
        (278, _LONG, [height]),
        (279, _LONG, [len(data)]),
        (306, _ASCII, when.encode() + b"\0"),
        (33421, _SHORT, [2, 2]),  # CFARepeatPatternDim
        (33422, _BYTE, bytes(_COLOURS[colour] for colour in cfa)),
        (33434, _RATIONAL, [(1, 200)]),  # ExposureTime
        (50706, _BYTE, bytes([1, 4, 0, 0])),  # DNGVersion
        (50708, _ASCII, b"Test Camera\0"),
        (50714, _SHORT, [black]),
        (50717, _LONG, [white]),
        (50721, _SRATIONAL, identity),  # ColorMatrix1
        (50728, _RATIONAL, [(1, 1)] * 3),  # AsShotNeutral
        (50778, _SHORT, [21]),  # CalibrationIlluminant1: D65
    ]
    after_tags = 8 + 2 + 12 * len(tags) + 4
    entries, beyond = [], b""
    for tag, kind, values in tags:
        packed = _packed(kind, values)
        if len(packed) > 4:
            place = struct.pack("<I", after_tags + len(beyond))
            beyond += packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries.append([tag, kind, len(values), place])
    for entry in entries:
        if entry[0] == 273:
            entry[3] = struct.pack("<I", after_tags + len(beyond))
    directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + struct.pack("<I", 0)
    path.write_bytes(head + beyond + data)


def _packed(kind: int, values) -> bytes:
    if kind in (_BYTE, _ASCII):
        return bytes(values)
    if kind in (_SHORT, _LONG):
        return struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
    flat = [number for pair in values for number in pair]
    return struct.pack(f"<{len(flat)}{'I' if kind == _RATIONAL else 'i'}", *flat)
