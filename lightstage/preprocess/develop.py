"""Develop: from a frame as the sensor stored it to linear RGB."""

from __future__ import annotations

from collections import OrderedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.half_floats import to_float, to_half
from lightstage.preprocess.demosaic import (
    BAYER_ORDERS as BAYER,
)
from lightstage.preprocess.demosaic import (
    REACH_PX,
    Balance,
    demosaic,
    demosaic_half,
    measure_balance,
)
from lightstage.preprocess.field_correction import FieldCorrection
from lightstage.preprocess.settings import Demosaic, DevelopSettings
from lightstage.preprocess.source import FrameSource
from lightstage.preprocess.view import GUARD_PX, Rectangle

#: Larger mosaics are demosaiced in bands of about so many pixels.
_BAND_PX = 400_000
_IDENTITY = tuple(np.eye(3).ravel().tolist())


def develop(
    stored: NDArray[np.generic],
    *,
    cfa: str,
    black_level: float,
    white_level: float,
    settings: DevelopSettings | None = None,
    level: int = 0,
    dark: NDArray[np.float32] | None = None,
    flat: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return linear RGB ``(height, width, 3)``, 0.0 = black level, 1.0 = white level.

    Values below black stay negative, so that noise around black keeps its mean.

    Args:
        stored: ``(height, width)`` uint8 or uint16, or ``(height, width, 3)`` colour.
        cfa: the colours of the top left 2x2 pixels, such as ``GBRG``; ``GRAY`` for none.
        black_level: stored value of no light.
        white_level: stored value of full scale.
        settings: demosaicing and colour.
        level: the picture comes out at ``1 / 2**level`` of the size, each pixel the mean of those
            it stands for; height and width must be multiples of ``2**level``.
        dark: the dark frame, ``(height, width)`` linear light; it is taken from the stored values.
        flat: the flat field, of the output's size; it divides the colours.

    Raises:
        InputError: the colour filter is not known.
    """
    settings = settings or DevelopSettings()
    if dark is not None and stored.ndim == 2:
        stored = np.subtract(stored, dark * (white_level - black_level), dtype=np.float32)
    linear = _interpolated(stored, cfa, black_level, white_level, settings, level)
    # at white level and above, light is full scale; what interpolation adds to it is no light
    np.minimum(linear, 1.0, out=linear)
    if flat is not None:
        linear /= flat
    return _coloured(linear, settings)


def _interpolated(
    stored: NDArray[np.generic],
    cfa: str,
    black_level: float,
    white_level: float,
    settings: DevelopSettings,
    level: int,
) -> NDArray[np.float32]:
    """Return camera RGB at ``1 / 2**level`` of the size."""
    span = white_level - black_level
    if stored.ndim == 2 and cfa != "GRAY":
        balance = None if settings.balance is None else Balance(*settings.balance)
        if level and settings.demosaic == "malvar":
            half = demosaic_half(
                stored, cfa, black_level=black_level, white_level=white_level, balance=balance
            )
            return _smaller(half, level - 1)
        mosaic = np.multiply(stored, np.float32(1.0 / span), dtype=np.float32)
        mosaic -= np.float32(black_level / span)
        return _smaller(_demosaiced(mosaic, cfa, settings.demosaic, balance), level)
    colour = stored if stored.ndim == 3 else np.repeat(stored[..., None], 3, axis=2)
    linear = np.multiply(colour, np.float32(1.0 / span), dtype=np.float32)
    linear -= np.float32(black_level / span)
    return _smaller(linear, level)


def _demosaiced(
    mosaic: NDArray[np.float32], cfa: str, method: Demosaic, balance: Balance | None
) -> NDArray[np.float32]:
    """Return a mosaic's colours, found in bands that stay in the processor's cache."""
    height, width = mosaic.shape
    if balance is None:
        balance = measure_balance(mosaic, cfa)
    if height * width <= _BAND_PX:
        return demosaic(mosaic, cfa, method, balance=balance)
    colour = np.empty((height, width, 3), np.float32)
    reach = REACH_PX[method] + REACH_PX[method] % 2
    rows = max(2 * reach, _BAND_PX // width // 2 * 2)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above, below = max(0, top - reach), min(height, bottom + reach)
        band = demosaic(mosaic[above:below], cfa, method, balance=balance)
        colour[top:bottom] = band[top - above : bottom - above]
    return colour


def _smaller(linear: NDArray[np.float32], level: int) -> NDArray[np.float32]:
    if not level:
        return linear
    height, width = linear.shape[:2]
    size = (width >> level, height >> level)
    return np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _coloured(linear: NDArray[np.float32], settings: DevelopSettings) -> NDArray[np.float32]:
    """Return camera RGB after white balance and colour matrix."""
    white = np.array(settings.white_balance or (1.0, 1.0, 1.0), dtype=np.float64)
    matrix = np.array(settings.colour_matrix or _IDENTITY).reshape(3, 3) * white
    if tuple(matrix.ravel().tolist()) == _IDENTITY:
        return linear
    return np.asarray(cv2.transform(linear, matrix.astype(np.float32)), dtype=np.float32)


def with_balance(
    settings: DevelopSettings, source: FrameSource, full_lit_frame: int
) -> DevelopSettings:
    """Return the settings with the colours' balance of a take, measured on a full-lit frame.

    All frames of a take are demosaiced alike, and a crop as the whole.
    """
    if settings.balance is not None or settings.demosaic == "bilinear" or source.cfa not in BAYER:
        return settings
    red, blue = measure_balance(
        source[full_lit_frame],
        source.cfa,
        black_level=source.black_level,
        white_level=source.white_level,
    )
    return settings.replace(balance=(round(red, 4), round(blue, 4)))


def read_region(source: FrameSource, index: int, region: Rectangle) -> NDArray[np.generic]:
    """Return a rectangle of a stored frame; only its rows are read."""
    rows = source.read_window(index, region.top, region.bottom)
    return rows[:, region.left : region.right]


class DevelopedFrames:
    """Developed regions of a source's frames, each developed once while it is remembered.

    Sets follow each other at less than a window's length: most frames serve several. The oldest
    are forgotten beyond ``most_bytes``. Values do not depend on which region was asked for first:
    each is developed with a guard, on whole colour cells.

    Args:
        source: the take's frames.
        settings: how they are developed.
        level: at ``1 / 2**level`` of the source's size.
        most_bytes: how much is remembered.
        slack_px: developed around each region, so that one that drifts with the head still fits.
    """

    def __init__(
        self,
        source: FrameSource,
        settings: DevelopSettings,
        level: int,
        most_bytes: int,
        slack_px: int = 0,
    ) -> None:
        self._source = source
        self._settings = settings
        self._level = level
        self._correction = FieldCorrection.of(source, settings)
        self._most_bytes = most_bytes
        self._slack_px = slack_px
        self._bytes = 0
        self._kept: OrderedDict[int, tuple[Rectangle, NDArray[np.float16]]] = OrderedDict()
        #: How many frames have been developed so far.
        self.developed = 0

    @property
    def sensor_step(self) -> float:
        """One stored value of the sensor in linear light."""
        return 1.0 / (self._source.white_level - self._source.black_level)

    def region(
        self, index: int, region: Rectangle, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return frame ``index``'s region at this level, ``(height, width, 3)`` linear.

        The array is the caller's own; it is ``out`` where one is given.
        """
        kept = self._kept.get(index)
        if kept is None or not kept[0].contains(region):
            if kept is not None:
                self._bytes -= self._kept.pop(index)[1].nbytes
            kept = self._develop(index, region)
        else:
            self._kept.move_to_end(index)
        held, half = kept
        top, left = (region.top - held.top) >> self._level, (region.left - held.left) >> self._level
        height, width = region.height >> self._level, region.width >> self._level
        return to_float(half[top : top + height, left : left + width], out)

    def _develop(self, index: int, region: Rectangle) -> tuple[Rectangle, NDArray[np.float16]]:
        source, level = self._source, self._level
        if self._slack_px:
            region = region.grown(self._slack_px, source.width, source.height)
        guard = max(GUARD_PX, REACH_PX[self._settings.demosaic])
        guarded = region.grown(guard, source.width, source.height)
        stored = read_region(source, index, guarded)
        whole = 1 << level
        rows, columns = (size // whole * whole for size in stored.shape[:2])
        used = Rectangle(guarded.left, guarded.top, columns, rows)
        linear = develop(
            stored[:rows, :columns],
            cfa=source.cfa,
            black_level=source.black_level,
            white_level=source.white_level,
            settings=self._settings,
            level=level,
            dark=self._correction.dark(used),
            flat=self._correction.flat(used, level),
        )
        self.developed += 1
        top, left = (region.top - guarded.top) >> level, (region.left - guarded.left) >> level
        height, width = region.height >> level, region.width >> level
        half = to_half(linear[top : top + height, left : left + width])
        if half.nbytes <= self._most_bytes:
            self._kept[index] = (region, half)
            self._bytes += half.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._kept.popitem(last=False)[1][1].nbytes
        return region, half
