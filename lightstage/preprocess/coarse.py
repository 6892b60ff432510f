"""Coarse pictures: a dozen by sixteen gray cells of a frame, from a few of its rows.

To tell which step a frame shows, all of its pixels need not be read: of each coarse row, up to four
pairs of sensor rows are. A pair and the columns of a coarse cell are whole 2x2 cells of the colour
filter, so the filter leaves no pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lightstage.preprocess.source import FrameSource

#: Rows and columns of a coarse picture.
COARSE_SHAPE = (12, 16)
#: Pairs of sensor rows that are averaged to one coarse row.
_MOST_PAIRS = 4


def coarse_pictures(
    source: FrameSource, progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Return a small gray picture of each frame, ``(frames, 12, 16)``, 0 = black, 1 = white level.

    Only :func:`coarse_rows` are read where the source can do that (``read_rows(index, rows)``
    returns ``(len(rows), width)``); the result is the same.
    """
    levels = source.black_level, source.white_level
    pictures = np.empty((len(source), *COARSE_SHAPE), dtype=np.float32)
    rows = coarse_rows(source.height)
    read_rows = getattr(source, "read_rows", None)
    for index in range(len(source)):
        part = source[index][rows] if read_rows is None else read_rows(index, rows)
        pictures[index] = coarse_from_rows(part, *levels)
        if progress is not None:
            progress(index + 1, len(source))
    return pictures


def coarse_picture(
    frame: NDArray[np.generic], black_level: float, white_level: float
) -> NDArray[np.float32]:
    """Return a small gray picture of a stored frame, ``(12, 16)``, 0 = black, 1 = white level.

    Args:
        frame: stored values, ``(height, width)``, or ``(height, width, 3)`` of which the second
            channel counts; at least 2x2. The last row or column of an odd size is left out.
        black_level: stored value of no light.
        white_level: stored value of full scale.
    """
    return coarse_from_rows(frame[coarse_rows(frame.shape[0])], black_level, white_level)


@lru_cache(maxsize=16)
def _coarse_rows(height: int) -> NDArray[np.intp]:
    pairs = max(1, height // 2)
    bands = COARSE_SHAPE[0]
    taken = max(1, min(_MOST_PAIRS, pairs // bands))
    begin = np.arange(bands) * pairs / bands
    # the middles of `taken` equal parts of each band
    middles = begin[:, None] + (np.arange(taken) + 0.5) * pairs / (bands * taken)
    pair = np.minimum(middles.astype(np.intp), pairs - 1)
    rows = np.stack([2 * pair, 2 * pair + 1], axis=-1).reshape(-1)
    rows.flags.writeable = False
    return rows


def coarse_rows(height: int) -> NDArray[np.intp]:
    """Return the sensor rows that a coarse picture needs, in order, as pairs of neighbours.

    Their number is a multiple of 24 and at most 96; of less than 24 rows some are named twice.
    """
    return _coarse_rows(height)


def coarse_from_rows(
    rows: NDArray[np.generic], black_level: float, white_level: float
) -> NDArray[np.float32]:
    """Return the coarse picture ``(12, 16)`` of a frame of which only some rows were read.

    Args:
        rows: the rows that :func:`coarse_rows` names, ``(len(rows), width)`` or with 3 channels.
        black_level: stored value of no light.
        white_level: stored value of full scale.
    """
    bands, columns = COARSE_SHAPE
    gray = rows[..., 1] if rows.ndim == 3 else rows
    exact = np.float64 if gray.dtype.kind == "f" else np.uint64 if gray.itemsize > 2 else np.uint32
    per_band = len(gray) // bands
    summed = gray.reshape(bands, per_band, -1).sum(axis=1, dtype=exact)
    cells = max(1, gray.shape[1] // 2)
    begin = np.minimum(np.arange(columns) * cells // columns, cells - 1)
    end = np.maximum((np.arange(columns) + 1) * cells // columns, begin + 1)
    running = np.zeros((bands, 2 * cells + 1), dtype=np.float64)
    np.cumsum(summed[:, : 2 * cells], axis=1, dtype=np.float64, out=running[:, 1:])
    mean = (running[:, 2 * end] - running[:, 2 * begin]) / (2 * (end - begin) * per_band)
    return np.asarray((mean - black_level) / (white_level - black_level), dtype=np.float32)
