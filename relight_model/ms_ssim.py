"""Multi-scale structural similarity, differentiable, for pictures of any size from 16 pixels."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lightstage.errors import InputError

#: Exponents of the five scales (Wang et al. 2003, section 3.2).
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
#: Similarities below are taken as this: powers have no finite slope at 0.
_LEAST = 1e-4


def scale_count(height: int, width: int) -> int:
    """Return how many scales a picture has room for: the window of 11 pixels fits in each.

    Five from 176 pixels, 4 from 88, 3 from 44, 2 from 22, else one.

    Raises:
        InputError: a side below 11 pixels.
    """
    side = min(height, width)
    if side < _WINDOW:
        raise InputError(f"structural similarity needs {_WINDOW} pixels a side, not {side}.")
    return min(len(SCALE_WEIGHTS), (side // _WINDOW).bit_length())


def ms_ssim(predicted: Tensor, truth: Tensor, data_range: float = 1.0) -> Tensor:
    """Return each picture's similarity ``(n,)``, 1 for equal pictures.

    ``prod_j mean(cs_j) ^ w_j``, at the coarsest scale ``mean(l cs) ^ w``. Gaussian window of 11
    pixels, sigma 1.5; means over pixels and channels; each scale is the means of 2 x 2 pixels of
    the one before. Whole windows count, but at the coarsest scale, where few fit, pictures are
    mirrored at their edges (as torchmetrics does). Where there is room for fewer than five scales
    (:func:`scale_count`), the exponents of the first ones are scaled to the same sum.

    Args:
        predicted: ``(n, c, h, w)``.
        truth: the same shape.
        data_range: the largest value less the smallest.

    Raises:
        InputError: shapes that differ, or pictures below 11 pixels.

    Source: Wang, Simoncelli and Bovik 2003, equation (7).
    """
    if predicted.shape != truth.shape or predicted.ndim != 4:
        raise InputError(
            f"pictures must be (n, c, h, w) and alike, not {tuple(predicted.shape)} and "
            f"{tuple(truth.shape)}."
        )
    scales = scale_count(*predicted.shape[2:])
    share = sum(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS)
    result: Tensor | None = None
    for scale in range(scales):
        if scale:
            predicted, truth = F.avg_pool2d(predicted, 2), F.avg_pool2d(truth, 2)
        last = scale == scales - 1
        if last:
            edges = (_WINDOW // 2,) * 4
            predicted = F.pad(predicted, edges, mode="reflect")
            truth = F.pad(truth, edges, mode="reflect")
        luminance, structure = _terms(predicted, truth, data_range)
        value = (luminance * structure if last else structure).flatten(1).mean(dim=1)
        term = value.clamp_min(_LEAST) ** (SCALE_WEIGHTS[scale] / share)
        result = term if result is None else result * term
    assert result is not None
    return result


def _terms(x: Tensor, y: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the luminance and the contrast-structure term at each pixel, ``(n, c, h', w')``."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x = _blurred(x * x) - mean_x * mean_x
    var_y = _blurred(y * y) - mean_y * mean_y
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    return luminance, (2 * covariance + c2) / (var_x + var_y + c2)


def _blurred(x: Tensor) -> Tensor:
    """Return Gaussian means over whole windows, ``(n, c, h - 10, w - 10)``."""
    n, c, height, width = x.shape
    kernel = torch.tensor(_kernel(), dtype=x.dtype, device=x.device)
    flat = x.reshape(n * c, 1, height, width)
    rows = F.conv2d(flat, kernel.reshape(1, 1, 1, -1))
    out = F.conv2d(rows, kernel.reshape(1, 1, -1, 1))
    return out.reshape(n, c, height - _WINDOW + 1, width - _WINDOW + 1)


@lru_cache(maxsize=1)
def _kernel() -> tuple[float, ...]:
    x = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    values = torch.exp(-(x**2) / (2 * _SIGMA**2))
    return tuple((values / values.sum()).tolist())
