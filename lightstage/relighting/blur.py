"""Blur on the sphere, not on the picture: as many degrees at the poles as at the horizon."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.relighting.sphere import row_solid_angles

#: Pixels to a sigma: finer ones would show nothing more.
_PIXELS_PER_SIGMA = 8.0
#: The kernel ends where it is exp(-18), below float32's reach beside its middle.
_REACH_SIGMAS = 6.0


def blurred(radiance: NDArray[np.floating], degrees: float) -> NDArray[np.float32]:
    """Return a latitude-longitude picture blurred by von Mises and Fisher's kernel.

    The kernel is ``exp((cos angle - 1) / sigma ** 2)``, a Gaussian of ``sigma`` where that is small
    beside the sphere. Each pixel's light is spread with a total of 1, so that the integral over the
    sphere stays. Along a row the kernel depends on the difference in longitude alone: rows are
    convolved by Fourier transforms, exactly round the seam.

    Args:
        radiance: ``(height, 2 height, 3)``, not negative.
        degrees: sigma, above 0.

    Returns:
        ``(rows, 2 rows, 3)`` with at most as many rows as given, and no more than the blur needs.
    """
    sigma = np.deg2rad(degrees)
    height, width = radiance.shape[:2]
    rows = int(min(height, max(48, np.ceil(_PIXELS_PER_SIGMA * np.pi / sigma))))
    energy = radiance * row_solid_angles(height, width)[:, None, None]
    total = energy.sum(axis=(0, 1))
    if rows < height:
        energy = cv2.resize(energy, (2 * rows, rows), interpolation=cv2.INTER_AREA)
    spectrum = np.fft.rfft(energy, axis=1)
    theta = (np.arange(rows) + 0.5) * np.pi / rows
    longitude = np.cos(2.0 * np.pi * np.arange(2 * rows) / (2 * rows))
    area = row_solid_angles(rows, 2 * rows)
    summed = np.zeros_like(spectrum)
    for row in range(rows):
        near = np.abs(theta - theta[row]) <= _REACH_SIGMAS * sigma + np.pi / rows
        cosine = np.cos(theta[near]) * np.cos(theta[row])
        across = np.sin(theta[near]) * np.sin(theta[row])
        kernel = np.exp((cosine[:, None] + across[:, None] * longitude - 1.0) / sigma**2)
        kernel /= (kernel.sum(axis=1) * area[near]).sum()
        summed[near] += np.fft.rfft(kernel, axis=1)[..., None] * spectrum[row]
    picture = np.maximum(np.fft.irfft(summed, n=2 * rows, axis=1), 0.0)
    now = (picture * area[:, None, None]).sum(axis=(0, 1))
    scale = np.divide(total, now, out=np.ones(3), where=now > 0)
    return np.asarray(picture * scale, dtype=np.float32)
