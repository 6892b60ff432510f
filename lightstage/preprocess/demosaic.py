"""Demosaic: full colour from a sensor that saw one colour at each pixel.

Skin is far brighter in red than in blue, and a point light's picture has hard shadows and small
highlights: there colours neither change alike nor smoothly, and interpolating each by itself
(bilinear) costs more than the sensor's noise. ``residual`` says of each neighbourhood how much one
colour changes with another and interpolates what is left. ``docs/demosaic.md`` has the figures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

Array = NDArray[np.float32]
Method = Literal["bilinear", "malvar", "residual"]

BAYER_ORDERS = ("GBRG", "RGGB", "BGGR", "GRBG")

#: Mirroring about the outermost pixel keeps the phase of the colours.
_MIRROR = cv2.BORDER_REFLECT_101
#: How far, in pixels, the farthest sample lies that each method looks at.
REACH_PX = {"bilinear": 1, "malvar": 2, "residual": 30}
#: Pixels added on each side by ``residual``; even, so that the colours keep their phase.
_MARGIN = 8
#: Samples of one colour, along a line or on a side, over which colours are compared.
_LINE_WINDOW, _AREA_WINDOW = 7, 5
#: Changes of less than this, squared, are noise (an 8-bit sensor's is about 0.003 of white).
_NOISE = np.float32(1e-5)
#: Keeps divisions finite where a picture is flat.
_TINY = np.float32(1e-9)
#: How far red and blue may be from green before they are no longer made equally bright.
_BALANCE_LIMITS = (0.2, 5.0)
#: Balanced by this power: skin gains as much as from the whole, and strongly coloured things,
#: whose colours do not change together, lose little.
_BALANCE_POWER = 0.75

# Malvar, He and Cutler 2004, figure 2: green at red and blue; red and blue at green, from those to
# the left and right (transposed: from above and below); red at blue and blue at red
_GREEN = np.array(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]],
    np.float32,
) / np.float32(8)
_BESIDE = np.array(
    [[0, 0, 1, 0, 0], [0, -2, 0, -2, 0], [-2, 8, 10, 8, -2], [0, -2, 0, -2, 0], [0, 0, 1, 0, 0]],
    np.float32,
) / np.float32(16)
_ACROSS = np.array(
    [[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]],
    np.float32,
) / np.float32(16)


class Balance(NamedTuple):
    """How much red and blue change where green changes by 1, over a whole picture."""

    red: float
    blue: float


def demosaic(
    mosaic: NDArray[np.floating], cfa: str, method: Method = "residual", *,
    balance: Balance | None = None,
) -> Array:  # fmt: skip
    """Return linear RGB ``(height, width, 3)`` float32 in the mosaic's units.

    Measured samples are kept (``residual`` to rounding); values below zero are not clipped, so
    that noise keeps its mean; borders are mirrored about the outermost pixels.

    Args:
        mosaic: ``(height, width)`` linear light above black, 1.0 = white level, at least 2 x 2.
        cfa: the colours of the top left 2x2 pixels, top row first, such as ``GBRG``.
        method: ``bilinear``: each colour by itself. ``malvar``: linear 5x5 filters (Malvar, He and
            Cutler 2004) on a balanced mosaic. ``residual``: residual interpolation (Kiku, Monno,
            Tanaka and Okutomi 2013, 2016), slopes from Laplacians, on a balanced mosaic.
        balance: of the scene. ``None`` = measured; given, a crop that starts at an even row and
            column comes out as in the whole frame from ``REACH_PX`` inside its border.

    Raises:
        InputError: the colour order or the method is not known, or the mosaic is no picture.
    """
    if method not in get_args(Method):
        raise InputError(f"{method!r} is no way to demosaic ({', '.join(get_args(Method))}).")
    red = _red_site(mosaic, cfa)
    light = np.ascontiguousarray(mosaic, dtype=np.float32)
    if method == "bilinear":
        return _bilinear(light, red)
    balance = measure_balance(light, cfa) if balance is None else balance
    if method == "malvar":
        return _malvar(light, red, balance)
    return _residual(light, red, balance)


def demosaic_half(
    mosaic: NDArray[np.generic],
    cfa: str,
    *,
    black_level: float = 0.0,
    white_level: float = 1.0,
    balance: Balance | None = None,
) -> Array:
    """Return linear RGB ``(height // 2, width // 2, 3)``, each pixel in the middle of 2x2 pixels.

    What ``malvar`` and a mean over each 2x2 would give, in one step and straight from stored
    values: there is no picture of full size. An odd last row or column is left out.

    Args:
        mosaic: ``(height, width)`` uint8, uint16 or float32, at least 2 x 2.
        cfa: the colours of the top left 2x2 pixels, top row first.
        black_level: value of no light; becomes 0.
        white_level: value of full scale; becomes 1.
        balance: of the scene; ``None`` = measured.

    Raises:
        InputError: the colour order is not known, or the mosaic is no picture.
    """
    _red_site(mosaic, cfa)
    height, width = (side // 2 * 2 for side in mosaic.shape)
    whole = np.ascontiguousarray(mosaic[:height, :width])
    if balance is None:
        balance = measure_balance(whole, cfa, black_level=black_level, white_level=white_level)
    padded = np.asarray(cv2.copyMakeBorder(whole, 2, 2, 2, 2, _MIRROR))
    # split is several times faster than slicing, and filters are fastest on float32
    pairs = padded.reshape(height // 2 + 2, 2, width // 2 + 2, 2)
    phases = [part.astype(np.float32) for y in (0, 1) for part in cv2.split(pairs[:, y])]
    red, blue = _gains(balance)
    gain = {"R": 1.0 / red, "G": 1.0, "B": 1.0 / blue}
    planes = []
    for letter in "RGB":
        total: Array | None = None
        for colour, phase, kernel in zip(cfa, phases, _half_kernels(cfa, letter), strict=True):
            scale = gain[colour] / gain[letter] / (white_level - black_level)
            weights = kernel * np.float32(scale)
            black = -black_level * float(weights.sum())
            part = cv2.filter2D(phase, cv2.CV_32F, weights, delta=black)
            total = np.asarray(part) if total is None else np.add(total, part, out=total)
        assert total is not None
        planes.append(total[1:-1, 1:-1])
    return np.asarray(cv2.merge(planes), np.float32)


@lru_cache(maxsize=12)
def _half_kernels(cfa: str, letter: str) -> tuple[Array, ...]:
    """Return a 3x3 filter for each place of the 2x2 that make one colour at half size."""
    row = cfa.index("R" if letter == "G" else letter) // 2
    whole = np.zeros((6, 6), np.float32)  # rows and columns -2 to 3 about the cell's top left
    for y in (0, 1):
        for x in (0, 1):
            kernel = np.zeros((5, 5), np.float32)
            if cfa[2 * y + x] == letter:
                kernel[2, 2] = 1.0
            elif letter == "G":
                kernel = _GREEN
            elif cfa[2 * y + x] == "G":
                kernel = _BESIDE if y == row else _BESIDE.T
            else:
                kernel = _ACROSS
            whole[y : y + 5, x : x + 5] += kernel / 4
    return tuple(np.ascontiguousarray(whole[y::2, x::2]) for y in (0, 1) for x in (0, 1))


def measure_balance(
    mosaic: NDArray[np.generic], cfa: str, *, black_level: float = 0.0, white_level: float = 1.0
) -> Balance:
    """Return the red and blue of a mosaic against its green, each within 0.2 to 5.

    The slope of a line through black, fitted by least squares: bright parts count most, and of a
    picture as dark as its noise the answer is near 1. Large mosaics are looked at in every other
    cell of 2x2. A tracking frame's balance suits all frames of its take.

    Args:
        mosaic: ``(height, width)`` light in any unit.
        cfa: the colours of the top left 2x2 pixels.
        black_level: value of no light.
        white_level: value of full scale.

    Raises:
        InputError: the colour order is not known, or the mosaic is no picture.
    """
    row, column = _red_site(mosaic, cfa)
    height, width = (side // 2 * 2 for side in mosaic.shape)
    step = 2 if min(height, width) < 512 else 4
    slopes = []
    for y, x in ((row, column), (1 - row, 1 - column)):
        # the green beside it, in the same row
        green, colour = (
            (
                mosaic[y:height:step, at:width:step].astype(np.float32) - np.float32(black_level)
            ).ravel()
            for at in (1 - x, x)
        )
        noise = 4.0 * float(_NOISE) * (white_level - black_level) ** 2 * green.size
        slope = (float(green @ colour) + noise) / (float(green @ green) + noise)
        slopes.append(min(max(slope, _BALANCE_LIMITS[0]), _BALANCE_LIMITS[1]))
    return Balance(*slopes)


def _red_site(mosaic: NDArray[np.generic], cfa: str) -> tuple[int, int]:
    """Return row and column of red in the top left 2x2, having checked the arguments."""
    if cfa not in BAYER_ORDERS:
        raise InputError(
            f"a mosaic of the colour filter {cfa} cannot be developed; known are "
            f"{', '.join(BAYER_ORDERS)}."
        )
    if mosaic.ndim != 2 or min(mosaic.shape) < 2:
        raise InputError(
            f"a mosaic has rows and columns, at least two of each, not shape {mosaic.shape}."
        )
    row, column = divmod(cfa.index("R"), 2)
    return row, column


# Linear filters


def _bilinear(light: Array, red: tuple[int, int]) -> Array:
    """Interpolate each colour by itself."""
    colour = np.empty((*light.shape, 3), np.float32)
    row, column = red
    for k, (y, x) in ((0, (row, column)), (2, (1 - row, 1 - column))):
        sites = np.zeros_like(light)
        sites[y::2, x::2] = light[y::2, x::2]
        colour[:, :, k] = _between_sites(sites)
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
    around = cv2.filter2D(light, cv2.CV_32F, cross, borderType=_MIRROR)
    colour[:, :, 1] = _keep_green(light, np.asarray(around), red)
    return colour


def _malvar(light: Array, red: tuple[int, int], balance: Balance) -> Array:
    """Interpolate bilinearly and correct by the Laplacian of the colour that was measured."""
    row, column = red
    sites = ((row, column), (1 - row, 1 - column))
    level = _balanced(light, sites, balance)

    def filtered(kernel: Array) -> Array:
        return np.asarray(cv2.filter2D(level, cv2.CV_32F, kernel, borderType=_MIRROR))

    horizontal, vertical, diagonal = filtered(_BESIDE), filtered(_BESIDE.T), filtered(_ACROSS)
    colour = np.empty((*light.shape, 3), np.float32)
    colour[:, :, 1] = _keep_green(light, filtered(_GREEN), red)
    for k, (y, x), gain in zip((0, 2), sites, _gains(balance), strict=True):
        plane = colour[:, :, k]
        plane[y::2, x::2] = light[y::2, x::2]
        for (to_y, to_x), values in (
            ((y, 1 - x), horizontal),
            ((1 - y, x), vertical),
            ((1 - y, 1 - x), diagonal),
        ):
            np.multiply(values[to_y::2, to_x::2], np.float32(gain), out=plane[to_y::2, to_x::2])
    return colour


def _keep_green(light: Array, around: Array, red: tuple[int, int]) -> Array:
    """Return green: as measured at its own sites, ``around`` elsewhere. Changes ``around``."""
    row, column = red
    around[row::2, 1 - column :: 2] = light[row::2, 1 - column :: 2]
    around[1 - row :: 2, column::2] = light[1 - row :: 2, column::2]
    return around


def _gains(balance: Balance) -> tuple[float, float]:
    """Return by what red and blue are divided before colours are compared."""
    return balance.red**_BALANCE_POWER, balance.blue**_BALANCE_POWER


def _balanced(light: Array, sites: tuple[tuple[int, int], ...], balance: Balance) -> Array:
    """Return the mosaic with red and blue made about as bright as green."""
    level = light.copy()
    for (y, x), gain in zip(sites, _gains(balance), strict=True):
        level[y::2, x::2] *= np.float32(1.0 / gain)
    return level


def _between_sites(sites: Array) -> Array:
    """Interpolate bilinearly a plane that is zero but at every other pixel of every other row."""
    kernel = np.array([0.5, 1.0, 0.5], np.float32)
    return np.asarray(cv2.sepFilter2D(sites, cv2.CV_32F, kernel, kernel, borderType=_MIRROR))


# Residual interpolation


def _residual(light: Array, red: tuple[int, int], balance: Balance) -> Array:
    """Interpolate what one colour's slope on another does not explain.

    First green against the colour of its row and of its column, then the two joined by how evenly
    each runs; then red and blue against full green.
    """
    height, width = light.shape
    margin = _MARGIN
    padded = cv2.copyMakeBorder(
        light, margin, margin + height % 2, margin, margin + width % 2, _MIRROR
    )
    row, column = red
    sites = ((row, column), (1 - row, 1 - column))
    level = _balanced(np.asarray(padded), sites, balance)
    green = _keep_green(level, _green_everywhere(level, red), red)
    colour = np.empty((height, width, 3), np.float32)
    inside = (slice(margin, margin + height), slice(margin, margin + width))
    colour[:, :, 1] = green[inside]
    for k, (y, x), gain in zip((0, 2), sites, _gains(balance), strict=True):
        np.multiply(
            _against_green(level, green, y, x)[inside], np.float32(gain), out=colour[:, :, k]
        )
    return colour


def _green_everywhere(level: Array, red: tuple[int, int]) -> Array:
    """Return an estimate of green at every pixel of a balanced mosaic of even sides."""
    sign = np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)  # green minus the other colour
    if red[0] == red[1]:
        sign = -sign
    smooth = np.asarray(cv2.getGaussianKernel(7, 1.0, cv2.CV_32F), np.float32)
    change = np.array([[-1.0], [0.0], [1.0]], np.float32)
    one = np.ones((1, 1), np.float32)
    total = np.zeros_like(level)
    weights = np.zeros_like(level)
    for axis in (1, 0):
        difference = _difference_along(level, axis)
        for row, column in np.argwhere(sign < 0):
            part = difference[row::2, column::2]
            np.negative(part, out=part)
        x, y = (change, one) if axis else (one, change)
        uneven = np.asarray(cv2.sepFilter2D(difference, cv2.CV_32F, x, y, borderType=_MIRROR))
        uneven = cv2.boxFilter(np.abs(uneven), cv2.CV_32F, (5, 5), borderType=_MIRROR)
        weight = 1.0 / (uneven * uneven + _TINY)
        x, y = (smooth, one) if axis else (one, smooth)
        total += weight * cv2.sepFilter2D(difference, cv2.CV_32F, x, y, borderType=_MIRROR)
        weights += weight
    total /= weights
    total += level
    return total


def _difference_along(level: Array, axis: int) -> Array:
    """Return each pixel's value minus the other colour of its row (1) or column (0) there.

    A line alternates between two colours; neither is told from the other here.
    """
    even, odd = (level[:, 0::2], level[:, 1::2]) if axis else (level[0::2], level[1::2])
    even, odd = np.ascontiguousarray(even), np.ascontiguousarray(odd)
    window = (_LINE_WINDOW, 1) if axis else (1, _LINE_WINDOW)
    odd_at_even, even_at_odd = _mean_before(odd, axis), _mean_after(even, axis)

    slope = _slope(odd_at_even, even, window, axis)
    rest = even - slope * odd_at_even
    odd_minus_even = odd - (_mean_after(slope, axis) * odd + _mean_after(rest, axis))

    slope = _slope(even_at_odd, odd, window, axis)
    rest = odd - slope * even_at_odd
    even_minus_odd = even - (_mean_before(slope, axis) * even + _mean_before(rest, axis))

    difference = np.empty_like(level)
    if axis:
        difference[:, 0::2], difference[:, 1::2] = even_minus_odd, odd_minus_even
    else:
        difference[0::2], difference[1::2] = even_minus_odd, odd_minus_even
    return difference


def _against_green(level: Array, green: Array, y: int, x: int) -> Array:
    """Return a colour everywhere, measured at every other pixel from ``(y, x)``, given green."""
    colour = np.ascontiguousarray(level[y::2, x::2])
    guide = np.ascontiguousarray(green[y::2, x::2])
    slope = _slope(guide, colour, (_AREA_WINDOW, _AREA_WINDOW), None)
    sites = np.zeros_like(level)
    sites[y::2, x::2] = slope
    everywhere = _between_sites(sites) * green
    sites[y::2, x::2] = colour - slope * guide
    everywhere += _between_sites(sites)
    return everywhere


def _slope(guide: Array, values: Array, window: tuple[int, int], axis: int | None) -> Array:
    """Return how much ``values`` change where ``guide`` changes by 1, smoothly from place to place.

    Least squares over ``window`` (width, height) on what differs from the mean of three
    neighbours, as minimised-Laplacian residual interpolation does.
    """
    near = (3, 3) if axis is None else ((3, 1) if axis else (1, 3))
    guide = guide - cv2.blur(guide, near, borderType=_MIRROR)
    values = values - cv2.blur(values, near, borderType=_MIRROR)
    product = cv2.blur(guide * values, window, borderType=_MIRROR)
    power = cv2.blur(guide * guide, window, borderType=_MIRROR)
    return np.asarray(cv2.blur(product / (power + _NOISE), window, borderType=_MIRROR))


def _mean_after(line: Array, axis: int) -> Array:
    """Return the mean of each sample and the next along ``axis``."""
    return np.asarray(
        cv2.blur(line, (2, 1) if axis else (1, 2), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    )


def _mean_before(line: Array, axis: int) -> Array:
    """Return the mean of each sample and the one before along ``axis``."""
    size, anchor = ((2, 1), (1, 0)) if axis else ((1, 2), (0, 1))
    return np.asarray(cv2.blur(line, size, anchor=anchor, borderType=cv2.BORDER_REPLICATE))
