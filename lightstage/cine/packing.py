"""Packed pixels: P10 (four 10-bit codes in 5 bytes) and P12L (two 12-bit values in 3 bytes)."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Pixels = NDArray[np.uint16]


@cache
def p10_linear() -> Pixels:
    """Return the vendor's table ``(1024,)`` from a P10 code to 12-bit linear, never falling.

    Source: the cine format document; the table is ``p10_linear_lut.txt`` beside this module.
    """
    text = files("lightstage.cine").joinpath("p10_linear_lut.txt").read_text(encoding="ascii")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    table = np.array(" ".join(lines).split(), dtype=np.uint16)
    table.flags.writeable = False
    return table


@cache
def p10_code() -> Pixels:
    """Return the table ``(4096,)`` from 12-bit linear to the P10 code whose value is nearest."""
    linear = p10_linear().astype(np.float64)
    # Codes of equal value decode alike; halfway between two values the higher code is taken.
    codes = np.searchsorted((linear[1:] + linear[:-1]) / 2, np.arange(4096), side="right")
    codes.flags.writeable = False
    return codes.astype(np.uint16)


def unpack_p10(packed: Bytes) -> Pixels:
    """Return the 10-bit codes ``(n,)``, 0 to 1023, of ``(n * 5 / 4,)`` bytes, first pixel first."""
    codes = np.empty((len(packed) // 5, 4), np.uint16)
    for i in range(4):  # code i lies within bytes i and i + 1 of its group
        codes[:, i] = (_big_endian_pairs(packed, i, 5) >> (6 - 2 * i)) & 0x3FF
    return codes.reshape(-1)


def pack_p10(codes: Pixels) -> Bytes:
    """Return the bytes ``(n * 5 / 4,)`` of 10-bit codes ``(n,)``; ``n`` is a multiple of 4."""
    c0, c1, c2, c3 = (codes.reshape(-1, 4)[:, i] for i in range(4))
    packed = np.empty((len(c0), 5), np.uint8)
    packed[:, 0] = c0 >> 2
    packed[:, 1] = (c0 & 0x03) << 6 | c1 >> 4
    packed[:, 2] = (c1 & 0x0F) << 4 | c2 >> 6
    packed[:, 3] = (c2 & 0x3F) << 2 | c3 >> 8
    packed[:, 4] = c3 & 0xFF
    return packed.reshape(-1)


def unpack_p12l(packed: Bytes) -> Pixels:
    """Return the 12-bit values ``(n,)``, 0 to 4095, of ``(n * 3 / 2,)`` bytes."""
    values = np.empty((len(packed) // 3, 2), np.uint16)
    values[:, 0] = _big_endian_pairs(packed, 0, 3) >> 4
    values[:, 1] = _big_endian_pairs(packed, 1, 3) & 0xFFF
    return values.reshape(-1)


def pack_p12l(values: Pixels) -> Bytes:
    """Return the bytes ``(n * 3 / 2,)`` of 12-bit values ``(n,)``; ``n`` is even."""
    v0, v1 = (values.reshape(-1, 2)[:, i] for i in range(2))
    packed = np.empty((len(v0), 3), np.uint8)
    packed[:, 0] = v0 >> 4
    packed[:, 1] = (v0 & 0x0F) << 4 | v1 >> 8
    packed[:, 2] = v1 & 0xFF
    return packed.reshape(-1)


def _big_endian_pairs(packed: Bytes, first: int, step: int) -> NDArray[Any]:
    """Return bytes ``first`` and ``first + 1`` of each group of ``step`` as one 16-bit number."""
    data = np.ascontiguousarray(packed)
    return np.ndarray((len(data) // step,), ">u2", buffer=data.data, offset=first, strides=(step,))
