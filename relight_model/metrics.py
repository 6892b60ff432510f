"""How near a predicted picture is to the true one: PSNR, SSIM and MAE by one definition.

Both pictures are exposed by the same factor, the one that puts the *truth's* 99th percentile of
luminance at 0.8; sRGB-encoded; clipped to [0, 1]. What is measured is on those display values.
``docs/evaluation.md`` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import encode_srgb
from lightstage.errors import InputError
from lightstage.relighting import exposure_for

Array = NDArray[np.float32]

#: Where exposure puts which percentile of the truth's luminance.
EXPOSED_PERCENTILE, EXPOSED_TO = 99.0, 0.8
#: SSIM's window is a Gaussian of this sigma, cut to so many pixels a side; K1 and K2 of the paper.
SSIM_SIGMA, SSIM_WINDOW = 1.5, 11
_K1, _K2 = 0.01, 0.03
#: Pixels along the border whose windows would reach outside; no figure counts them in SSIM.
_BORDER = SSIM_WINDOW // 2
#: A window that shows less of the matte than this has no statistics.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class PictureScores:
    """How near one picture is to the truth; NaN where there was nothing to look at.

    Attributes:
        psnr_db: peak signal to noise of display values, peak 1; infinite where they are equal.
        ssim: structural similarity of display values, mean over colours.
        mae: mean absolute error of display values.
        linear_psnr_db: peak signal to noise of exposed linear light, clipped to [0, 1]: the same
            without the sRGB curve.
        linear_mae: mean absolute error of that.
    """

    psnr_db: float
    ssim: float
    mae: float
    linear_psnr_db: float
    linear_mae: float


def exposure_of(truth: NDArray[np.floating]) -> float:
    """Return the factor that exposes a true picture, and its prediction with it.

    Args:
        truth: ``(h, w, 3)`` linear.

    Returns:
        The factor; 1 where the picture is black.
    """
    return exposure_for(truth, percentile=EXPOSED_PERCENTILE, target=EXPOSED_TO)


def picture_scores(
    prediction: NDArray[np.floating],
    truth: NDArray[np.floating],
    *,
    inside: NDArray[np.bool_] | None = None,
    exposure: float | None = None,
) -> PictureScores:
    """Return how near a picture is to the truth.

    Args:
        prediction: ``(h, w, 3)`` linear; light below 0 and not-numbers count as 0.
        truth: the same.
        inside: ``(h, w)``: only these pixels count, whatever stands outside; all by default.
        exposure: of both pictures; :func:`exposure_of` the truth by default.

    Raises:
        InputError: the pictures differ in size, or are smaller than SSIM's window.
    """
    return region_scores(prediction, truth, (inside,), exposure=exposure)[0]


def region_scores(
    prediction: NDArray[np.floating],
    truth: NDArray[np.floating],
    regions: tuple[NDArray[np.bool_] | None, ...],
    *,
    exposure: float | None = None,
) -> list[PictureScores]:
    """Return :func:`picture_scores` for several regions of a picture, each ``None`` = all of it."""
    _check(prediction, truth)
    factor = exposure_of(truth) if exposure is None else exposure
    linear = [_exposed(p, factor) for p in (prediction, truth)]
    shown = [encode_srgb(p) for p in linear]
    error, linear_error = np.abs(shown[0] - shown[1]), np.abs(linear[0] - linear[1])
    found = []
    for inside in regions:
        if inside is not None and not inside.any():
            found.append(PictureScores(*[float("nan")] * 5))
            continue
        squares, mean = _moments(error, inside)
        linear_squares, linear_mean = _moments(linear_error, inside)
        found.append(
            PictureScores(
                psnr_db=psnr_db(squares),
                ssim=ssim(*shown, inside=inside),
                mae=mean,
                linear_psnr_db=psnr_db(linear_squares),
                linear_mae=linear_mean,
            )
        )
    return found


def psnr_db(mean_square: float) -> float:
    """Return the peak signal to noise ratio of a mean squared error, peak 1, in decibels."""
    return float("inf") if mean_square == 0 else float(-10.0 * np.log10(mean_square))


def ssim(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    *,
    inside: NDArray[np.bool_] | None = None,
) -> float:
    """Return the mean structural similarity of two pictures of display values.

    A Gaussian window of 11 x 11 pixels and sigma 1.5, ``K1 = 0.01``, ``K2 = 0.03``, range 1, each
    colour on its own. Pixels nearer to the border than half a window do not count. With ``inside``
    a window sees the pixels inside alone (its weights are made to add up to 1 again), so that
    nothing outside matters; where it lies wholly inside it is the usual one.

    Args:
        a: ``(h, w, 3)`` in [0, 1].
        b: the same.
        inside: ``(h, w)``.

    Returns:
        In [-1, 1]; NaN where no pixel inside is far enough from the border.

    Source: Wang et al. 2004, equation 13 and section III-C.
    """
    _check(a, b)
    if inside is None:
        return float(_inner(_ssim_map(a, b, None)).mean())
    counted = _inner(inside)
    if not counted.any():
        return float("nan")
    # only the box that the matte takes, and a window's margin
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    height, width = inside.shape
    top, bottom = max(rows[0] - _BORDER, 0), min(rows[-1] + 1 + _BORDER, height)
    left, right = max(columns[0] - _BORDER, 0), min(columns[-1] + 1 + _BORDER, width)
    box = np.s_[top:bottom, left:right]
    wide = np.zeros((height, width), np.float32)
    wide[box] = _ssim_map(a[box], b[box], inside[box]).mean(axis=2)
    return float(_inner(wide)[counted].mean())


def _ssim_map(
    a: NDArray[np.floating], b: NDArray[np.floating], inside: NDArray[np.bool_] | None
) -> Array:
    """Return each pixel's similarity, ``(h, w, 3)``."""
    x, y = (np.ascontiguousarray(p, np.float32) for p in (a, b))
    if inside is None:

        def local(values: Array) -> Array:
            return _blurred(values)

    else:
        share = inside.astype(np.float32)
        seen = np.maximum(_blurred(share), _LEAST_SHARE)[:, :, None]
        x, y = x * share[:, :, None], y * share[:, :, None]

        def local(values: Array) -> Array:
            return np.asarray(_blurred(values) / seen)

    mean_x, mean_y = local(x), local(y)
    # squares of what is masked are masked
    variance_x = local(x * x) - mean_x * mean_x
    variance_y = local(y * y) - mean_y * mean_y
    together = local(x * y) - mean_x * mean_y
    c1, c2 = np.float32(_K1**2), np.float32(_K2**2)
    above = (2 * mean_x * mean_y + c1) * (2 * together + c2)
    below = (mean_x * mean_x + mean_y * mean_y + c1) * (variance_x + variance_y + c2)
    return np.asarray(above / below)


def _blurred(values: Array) -> Array:
    # BORDER_REFLECT repeats the edge's pixel, as scipy's and skimage's "reflect" does
    side = (SSIM_WINDOW, SSIM_WINDOW)
    return np.asarray(
        cv2.GaussianBlur(values, side, SSIM_SIGMA, borderType=cv2.BORDER_REFLECT), np.float32
    )


def _inner(values: NDArray[Any]) -> NDArray[Any]:
    return values[_BORDER:-_BORDER, _BORDER:-_BORDER]


def _exposed(linear: NDArray[np.floating], factor: float) -> Array:
    exposed = np.asarray(linear, np.float32) * np.float32(factor)
    # neither number nor light: nothing
    return np.asarray(np.clip(np.nan_to_num(exposed, copy=False), 0.0, 1.0))


def _moments(error: Array, inside: NDArray[np.bool_] | None) -> tuple[float, float]:
    """Return the mean square and the mean of errors."""
    counted = error if inside is None else error[inside]
    return float(np.square(counted, dtype=np.float64).mean()), float(counted.mean(dtype=np.float64))


def _check(prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> None:
    if prediction.shape != truth.shape or truth.ndim != 3 or truth.shape[2] != 3:
        raise InputError(
            f"pictures to compare must both be (height, width, 3); they are {prediction.shape} "
            f"and {truth.shape}."
        )
    if min(truth.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"pictures of {truth.shape[1]} x {truth.shape[0]} are smaller than SSIM's window of "
            f"{SSIM_WINDOW} x {SSIM_WINDOW} pixels."
        )
