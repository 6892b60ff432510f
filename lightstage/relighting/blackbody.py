"""The colour of a glowing body: what a lamp's kelvin mean in linear Rec.709."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

#: Temperatures that the approximation holds for.
KELVIN_RANGE = (1667.0, 25000.0)

#: Linear Rec.709 from CIE XYZ (ITU-R BT.709 primaries, D65).
_REC709_FROM_XYZ = np.linalg.inv(
    np.array(
        [
            [0.4123908, 0.3575843, 0.1804808],
            [0.2126390, 0.7151687, 0.0721923],
            [0.0193308, 0.1191948, 0.9505322],
        ]
    )
)


def planckian_xy(kelvin: float) -> tuple[float, float]:
    """Return the CIE 1931 chromaticity of a black body.

    Source: B. Kim et al., US patent 7024034 (2006): cubic splines through the Planckian locus,
    within 0.001 of it from 1667 to 25000 K.

    Raises:
        InputError: the temperature is outside that range.
    """
    if not KELVIN_RANGE[0] <= kelvin <= KELVIN_RANGE[1]:
        low, high = KELVIN_RANGE
        raise InputError(f"a colour temperature is from {low:.0f} to {high:.0f} K, not {kelvin}.")
    t = 1000.0 / kelvin
    if kelvin <= 4000.0:
        x = ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
    else:
        x = ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.240390
    if kelvin <= 2222.0:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000.0:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return x, y


def kelvin_rgb(kelvin: float) -> NDArray[np.float64]:
    """Return linear Rec.709 of luminance 1, ``(3,)``, for a black body seen by a D65 camera.

    Below about 1900 K blue would be negative: it is 0.

    Raises:
        InputError: the temperature is outside :data:`KELVIN_RANGE`.
    """
    x, y = planckian_xy(kelvin)
    rgb = np.maximum(_REC709_FROM_XYZ @ np.array([x / y, 1.0, (1.0 - x - y) / y]), 0.0)
    return np.asarray(rgb / (rgb @ np.array([0.2126, 0.7152, 0.0722])))
