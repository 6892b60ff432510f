"""ICC profiles that say what a picture's numbers mean: primaries, white and the transfer curve.

Source: ICC.1:2022 (profile version 4.4), three-component matrix profiles (clause 8.3.3).
"""

from __future__ import annotations

import struct

import numpy as np

from lightstage.exchange.colour_spaces import ColourSpace, adaptation
from lightstage.images import Transfer

#: XYZ of the profile connection space's white, D50 as ICC.1 has it, and its xy.
_D50 = (0.9642, 1.0, 0.8249)
_D50_XY = (_D50[0] / sum(_D50), _D50[1] / sum(_D50))
#: IEC 61966-2-1 as parametricCurveType 3: (a x + b) ** g from d up, c x below.
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def icc_profile(space: ColourSpace, transfer: Transfer) -> bytes:
    """Return the profile of pictures in ``space``, encoded with ``transfer``.

    The same arguments give the same bytes: the profile holds no date of its making.
    """
    adapted = adaptation(space.white, _D50_XY)
    columns = adapted @ space.to_xyz
    if transfer == "srgb":
        values = b"".join(_fixed(value) for value in _SRGB_CURVE)
        curve = struct.pack(">4sIHH", b"para", 0, 3, 0) + values
        title = f"{space.title.removeprefix('linear ')}, sRGB curve"
    else:
        curve = struct.pack(">4sII", b"curv", 0, 0)
        title = space.title
    tags = {
        b"desc": _text(title),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(_D50),
        b"chad": struct.pack(">4sI", b"sf32", 0) + b"".join(map(_fixed, adapted.ravel())),
        b"rXYZ": _xyz(columns[:, 0]),
        b"gXYZ": _xyz(columns[:, 1]),
        b"bXYZ": _xyz(columns[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    places: dict[bytes, int] = {}
    for name, content in tags.items():
        if content not in places:  # the three curves are one
            places[content] = start + len(data)
            data += content + b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", places[content], len(content))
    size = 128 + len(table) + len(data)
    # size, CMM, version 4.4, class, colours, connection space, date, signature, platform, flags, …
    header = struct.pack(
        ">I4s4s4s4s4s6H4s4sI4s4sQI",
        *(size, b"\0" * 4, b"\x04\x40\0\0", b"mntr", b"RGB ", b"XYZ "),
        *(2026, 1, 1, 0, 0, 0),
        *(b"acsp", b"\0" * 4, 0, b"\0" * 4, b"\0" * 4, 0, 1),
    )
    header += b"".join(map(_fixed, _D50))
    return header.ljust(128, b"\0") + table + data


def _fixed(value: float) -> bytes:
    return struct.pack(">i", int(np.rint(value * 65536.0)))


def _xyz(values: object) -> bytes:
    numbers = np.asarray(values, dtype=np.float64)
    return struct.pack(">4sI", b"XYZ ", 0) + b"".join(map(_fixed, numbers))


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return struct.pack(">4sIII2s2sII", b"mluc", 0, 1, 12, b"en", b"US", len(encoded), 28) + encoded
