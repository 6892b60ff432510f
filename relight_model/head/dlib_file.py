"""The beginning of a dlib shape predictor's file: the mean shape in its box.

dlib writes whole numbers as a byte, whose lowest four bits tell how many bytes follow and whose
highest is the sign, and floats as two of them, mantissa and binary exponent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

#: Enough for version, sizes and 136 floats of two numbers of up to nine bytes.
_HEAD_BYTES = 4096
_POINTS = 68


def mean_shape(path: Path) -> NDArray[np.float64]:
    """Return where the landmarks of the mean face lie in its box, ``(68, 2)``, the box [0, 1]².

    Raises:
        InputError: the file cannot be read, is no shape predictor, or one of other landmarks.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_HEAD_BYTES)
    except OSError as reason:
        raise InputError(f"{path}: cannot be read ({reason.strerror}).") from None
    try:
        return _read(data)
    except (ValueError, IndexError, OverflowError) as reason:
        raise InputError(
            f"{path}: is no dlib predictor of {_POINTS} landmarks ({reason}). Expected is a file "
            f"as shape_predictor_68_face_landmarks.dat."
        ) from None


def _read(data: bytes) -> NDArray[np.float64]:
    at = 0

    def whole() -> int:
        nonlocal at
        if at >= len(data):
            raise ValueError("it ends too early")
        control = data[at]
        size = control & 0x0F
        if size > 8 or at + 1 + size > len(data):
            raise ValueError(f"byte {at} begins no number")
        value = int.from_bytes(data[at + 1 : at + 1 + size], "little")
        at += 1 + size
        return -value if control & 0x80 else value

    version = whole()
    if version != 1:
        raise ValueError(f"its version is {version}, not 1")
    # dlib marks its present layout of matrices by negative sizes
    rows, columns = abs(whole()), abs(whole())
    if (rows, columns) != (2 * _POINTS, 1):
        raise ValueError(f"its shape has {rows} x {columns} numbers, not {2 * _POINTS} x 1")
    values = []
    for _ in range(rows):
        mantissa, exponent = whole(), whole()
        if abs(exponent) > 200:
            raise ValueError("a number is out of range")
        values.append(mantissa * 2.0**exponent)
    shape = np.array(values).reshape(-1, 2)
    if np.abs(shape).max() > 3.0 or np.ptp(shape, axis=0).min() < 0.3:
        raise ValueError("its mean shape is no face")
    return shape
