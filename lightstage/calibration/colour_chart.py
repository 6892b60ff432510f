"""White balance and colour matrix from a chart of 24 patches (ColorChecker Classic).

The matrix is found by least squares in linear light, such that the mean of the neutral patches is
met exactly (Finlayson and Drew, White-point preserving color correction, 1997), and then taken
apart into exposure, white balance and a matrix whose rows add up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.calibration.colour_difference import delta_e_2000, lab_from_rec709, rec709_from_lab
from lightstage.colour import to_8bit
from lightstage.errors import InputError

Array = NDArray[np.float64]
Corners = tuple[tuple[float, float], ...]

ROWS, COLUMNS = 4, 6
PATCH_NAMES = (
    "dark skin", "light skin", "blue sky", "foliage", "blue flower", "bluish green",
    "orange", "purplish blue", "moderate red", "purple", "yellow green", "orange yellow",
    "blue", "green", "red", "yellow", "magenta", "cyan",
    "white", "neutral 8", "neutral 6.5", "neutral 5", "neutral 3.5", "black",
)  # fmt: skip
#: CIELAB under D50, 2 degree observer, of charts made since November 2014 (X-Rite).
PATCH_LAB_D50 = np.array(
    [
        [37.54, 14.37, 14.92], [64.66, 19.27, 17.50], [49.32, -3.82, -22.54],
        [43.46, -12.74, 22.72], [54.94, 9.61, -24.79], [70.48, -32.26, -0.37],
        [62.73, 35.83, 56.50], [39.43, 10.75, -45.17], [50.57, 48.64, 16.67],
        [30.10, 22.54, -20.87], [71.77, -24.13, 58.19], [71.51, 18.24, 67.37],
        [28.37, 15.42, -49.80], [54.38, -39.72, 32.27], [42.43, 51.05, 28.62],
        [81.80, 2.67, 80.41], [50.63, 51.28, -14.12], [49.57, -29.71, -28.32],
        [95.19, -1.03, 2.93], [81.29, -0.57, 0.44], [66.89, -0.75, -0.06],
        [50.76, -0.13, 0.14], [35.63, -0.46, -0.48], [20.64, 0.07, -0.46],
    ]
)  # fmt: skip
#: The patches' linear Rec.709, white D65 (Bradford's adaptation); cyan lies a little outside.
PATCH_REC709 = rec709_from_lab(PATCH_LAB_D50)
_NEUTRAL = np.arange(18, 23)
#: The inner share of a patch that is looked at, along each side.
_INNER = 0.5
#: Values from here up are taken for saturated; a patch with more than this share of them is.
_SATURATED, _SATURATED_SHARE = 0.98, 0.01
#: The brightest patch must be brighter than this.
_LEAST_WHITE = 0.03
#: Another orientation that fits so much better is the right one.
_FITS_BETTER = 0.6
#: How the chart could lie instead: turned by 180 degrees, or seen in a mirror.
_ORIENTATIONS = {
    "turned by half a turn": (slice(None, None, -1), slice(None, None, -1)),
    "mirrored left to right": (slice(None), slice(None, None, -1)),
    "mirrored top to bottom": (slice(None, None, -1), slice(None)),
}


@dataclass(frozen=True)
class ChartPatches:
    """What a picture holds of a chart, patch by patch in the chart's order.

    Attributes:
        colours: mean linear camera RGB ``(24, 3)``.
        noise: standard deviation of a patch's pixels, ``(24, 3)``.
        saturated: the share of each patch's pixels that are at full scale, ``(24,)``.
        corners: middles of the first, sixth, last and nineteenth patch as (x, y): dark skin,
            bluish green, black and white.
    """

    colours: Array
    noise: Array
    saturated: Array
    corners: Corners


@dataclass(frozen=True)
class ColourFit:
    """A chart's fitted colour transform: ``exposure * (matrix @ (white_balance * raw))``.

    Attributes:
        white_balance: ``(3,)``, green 1.
        matrix: ``(3, 3)`` to linear Rec.709; its rows add up to 1.
        exposure: by what the picture must be multiplied for the chart's published brightness.
        corrected: the patches after all that, linear Rec.709 ``(24, 3)``.
        delta_e: CIEDE2000 of each patch ``(24,)``.
    """

    white_balance: Array
    matrix: Array
    exposure: float
    corrected: Array
    delta_e: Array


def find_chart(linear: NDArray[np.floating]) -> Corners:
    """Return the middles of a chart's corner patches, as ``ChartPatches.corners`` has them.

    Found by OpenCV's ``mcc`` detector, which knows the chart by its colours, however it lies.

    Args:
        linear: ``(height, width, 3)`` linear camera RGB.

    Raises:
        InputError: no chart is found.
    """
    # balanced and brightened as a person would see it: the detector compares colours
    white = np.maximum(np.percentile(linear.reshape(-1, 3), 99.0, axis=0), 1e-6)
    visible = np.ascontiguousarray(to_8bit(linear / white * 0.9)[..., ::-1])
    detector = cv2.mcc.CCheckerDetector.create()
    detector.setColorChartType(cv2.mcc.MCC24)
    if not detector.process(visible, 1):
        raise InputError(
            "no chart of 24 patches was found in the picture; let it fill more of the picture, "
            "evenly lit, or give the middles of its corner patches with --corners."
        )
    patches = np.array(detector.getBestColorChecker().getColorCharts(), np.float64).reshape(-1, 2)
    middles = patches.reshape(ROWS * COLUMNS, 4, 2).mean(axis=1)
    return tuple((float(middles[i][0]), float(middles[i][1])) for i in (0, 5, 23, 18))


def read_patches(linear: NDArray[np.floating], corners: Corners) -> ChartPatches:
    """Return the patches of a chart whose corner patches' middles are known.

    Args:
        linear: ``(height, width, 3)`` linear camera RGB, 1.0 = full scale.
        corners: middles of dark skin, bluish green, black and white, as (x, y) in pixels.

    Raises:
        InputError: the corners are not a convex quadrilateral inside the picture, or patches are
            smaller than 4 pixels.
    """
    height, width = linear.shape[:2]
    quad = np.array(corners, np.float32)
    if quad.min() < 0 or (quad[:, 0] >= width).any() or (quad[:, 1] >= height).any():
        raise InputError(f"a corner lies outside the picture, which is {width} x {height} pixels.")
    if quad.shape != (4, 2) or not cv2.isContourConvex(quad):
        raise InputError(
            "the four corners must be the middles of dark skin, bluish green, black and white, in "
            "this order around the chart."
        )
    grid = np.array([[0, 0], [5, 0], [5, 3], [0, 3]], np.float32)
    to_picture = cv2.getPerspectiveTransform(grid, quad)
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1) / np.array([5, 3, 5, 3])
    if sides.min() < 4:
        raise InputError(
            f"a patch is only {sides.min():.1f} pixels wide; at least 4 are needed, better 20."
        )
    half = 0.5 * _INNER
    square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]], np.float32)
    colours, noise, saturated = [], [], []
    for row in range(ROWS):
        for column in range(COLUMNS):
            outline = cv2.perspectiveTransform(
                (square + np.array([column, row], np.float32))[None], to_picture
            )[0]
            mask = np.zeros((height, width), np.uint8)
            cv2.fillConvexPoly(mask, np.round(outline).astype(np.int32), 1)
            pixels = linear[mask.astype(bool)].astype(np.float64)
            colours.append(pixels.mean(axis=0))
            noise.append(pixels.std(axis=0))
            saturated.append((pixels >= _SATURATED).any(axis=1).mean())
    return ChartPatches(np.array(colours), np.array(noise), np.array(saturated), corners)


def fit_colour(patches: ChartPatches, limit_delta_e: float = 5.0) -> ColourFit:
    """Return the transform from camera RGB to linear Rec.709.

    Args:
        patches: what was measured.
        limit_delta_e: mean CIEDE2000 above which the fit is refused.

    Raises:
        InputError: there is no signal, a patch is saturated, the chart lies otherwise than said, or
            the residual is above the limit; the text says which.
    """
    white = patches.colours.max(axis=0)
    if white.min() < _LEAST_WHITE:
        raise InputError(
            f"the chart's brightest patch is at {100 * white.min():.1f} % of full scale, at least "
            f"{100 * _LEAST_WHITE:.0f} % is needed; give the chart more light."
        )
    burnt = np.flatnonzero(patches.saturated > _SATURATED_SHARE)
    if len(burnt):
        names = ", ".join(PATCH_NAMES[index] for index in burnt)
        raise InputError(f"the chart is over-exposed: {names}; give it less light.")
    fit = _fitted(patches.colours)
    ordered = patches.colours.reshape(ROWS, COLUMNS, 3)
    for how, (rows, columns) in _ORIENTATIONS.items():
        other = _fitted(ordered[rows, columns].reshape(-1, 3))
        if other.delta_e.mean() < _FITS_BETTER * fit.delta_e.mean():
            raise InputError(
                f"the chart is {how}: give the corners in the order dark skin, bluish green, "
                f"black, white."
            )
    if not (fit.white_balance > 0).all() or not fit.exposure > 0:
        raise InputError("these are not a chart's colours: its whites are not white in any light.")
    if not fit.delta_e.mean() <= limit_delta_e:
        worst = ", ".join(
            f"{PATCH_NAMES[i]} {fit.delta_e[i]:.1f}" for i in fit.delta_e.argsort()[:-4:-1]
        )
        raise InputError(
            f"the chart's colours are met only to {fit.delta_e.mean():.1f} CIEDE2000 in the mean, "
            f"the limit is {limit_delta_e:g} (worst: {worst}). Look for glare, uneven light and "
            f"other charts, or raise --limit."
        )
    return fit


def _fitted(colours: Array) -> ColourFit:
    raw_white, white = colours[_NEUTRAL].mean(axis=0), PATCH_REC709[_NEUTRAL].mean(axis=0)
    full = _constrained_least_squares(colours, PATCH_REC709, raw_white, white)
    corrected = colours @ full.T
    delta_e = delta_e_2000(lab_from_rec709(corrected), PATCH_LAB_D50)
    # full = exposure * matrix * diag(balance), with matrix @ 1 = 1: balance is what makes the
    # camera's answer to (1, 1, 1) equal in all colours
    try:
        answer = np.linalg.solve(full, np.ones(3))
    except np.linalg.LinAlgError:
        answer = np.full(3, np.nan)
    exposure = 1.0 / answer[1]
    balance = answer[1] / answer
    return ColourFit(balance, full / exposure / balance, float(exposure), corrected, delta_e)


def _constrained_least_squares(x: Array, y: Array, x_met: Array, y_met: Array) -> Array:
    """Return the ``(3, 3)`` matrix A of least ``|x A' - y|`` with ``A x_met = y_met``."""
    normal = np.linalg.pinv(x.T @ x)
    free = (normal @ x.T @ y).T
    pull = normal @ x_met / max(float(x_met @ normal @ x_met), 1e-30)
    return np.asarray(free + np.outer(y_met - free @ x_met, pull))


def patches_picture(fit: ColourFit, side_px: int = 96) -> NDArray[np.uint8]:
    """Return a picture of the chart, sRGB: measured left, published right of each patch.

    Each patch's CIEDE2000 is written under it.
    """
    gap = side_px // 6
    height, width = ROWS * (side_px + 2 * gap) + gap, COLUMNS * (side_px + gap) + gap
    picture = np.full((height, width, 3), 32, np.uint8)
    for index in range(ROWS * COLUMNS):
        row, column = divmod(index, COLUMNS)
        top, left = gap + row * (side_px + 2 * gap), gap + column * (side_px + gap)
        middle = left + side_px // 2
        picture[top : top + side_px, left:middle] = to_8bit(fit.corrected[index])
        picture[top : top + side_px, middle : left + side_px] = to_8bit(PATCH_REC709[index])
        text = f"{fit.delta_e[index]:.1f}"
        place = (left + 2, top + side_px + gap)
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (200, 200, 200), 1, cv2.LINE_AA
        )
    return picture
