"""Mattes: the performer's share of each pixel, found from the reflectance field itself.

Closed-form matting (Levin, Lischinski and Weiss, 2008; the Laplacian and the solver are
``pymatting``'s) between the trimap's sure pixels, on a picture lit from the front and the rim at
once, drawn towards a first guess that only a stage can make: before a black background a pixel's
light is its share times the performer's, so that the share is its light over the brightest nearby,
under the lights in front or those behind, whichever says more.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import luminance
from lightstage.errors import InputError
from lightstage.relighting.trimap import LitSums, background_level, trimap_of

Array = NDArray[np.float32]

#: The brightest nearby is looked for within this share of the picture's longer side.
_NEARBY_SHARE = 0.031
#: Percentile of the guide's light that becomes its white.
_GUIDE_WHITE = 99.9
#: The rim light's brightest part becomes as bright in the guide as that of the light in front.
_RIM_PERCENTILE = 99.0


@dataclass(frozen=True)
class MatteSettings:
    """How mattes are found.

    Attributes:
        rim_light: use the lights behind the performer; ``False`` is for comparison.
        trust: how strongly the matte is drawn to the first guess, against smoothness; above 0.
        epsilon: the closed-form Laplacian's regularisation; larger for noisy pictures.
        smoothing: share of each matte that is taken from its neighbours in time, 0 to 1.
    """

    rim_light: bool = True
    trust: float = 0.03
    epsilon: float = 1e-4
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.trust > 0 and self.epsilon > 0 and 0 <= self.smoothing <= 1):
            raise InputError("a matte's trust and epsilon are above 0, its smoothing is 0 to 1.")


@dataclass(frozen=True, eq=False)
class Matte:
    """A matte and what it came from, all ``(height, width[, 3])`` float32.

    ``alpha`` and ``trimap`` lie in [0, 1]; ``guide`` is linear, exposed for display.
    """

    alpha: Array
    trimap: Array
    guide: Array


def find_matte(sums: LitSums, settings: MatteSettings | None = None) -> Matte:
    """Return the performer's matte.

    Args:
        sums: the performer lit from the front and from behind.
        settings: how.

    Raises:
        InputError: nothing stands out from the background.
    """
    settings = settings or MatteSettings()
    guide, trimap = guide_picture(sums), trimap_of(sums)
    unknown = trimap == 0.5
    if not unknown.any():
        return Matte(trimap, trimap, guide)
    guess = np.where(unknown, _first_guess(sums, trimap), trimap)
    # the rest of the picture is known: what is solved is what is not, and a pixel around it
    rows, columns = (np.flatnonzero(unknown.any(axis=axis)) for axis in (1, 0))
    part = tuple(slice(max(0, int(at[0]) - 2), int(at[-1]) + 3) for at in (rows, columns))
    alpha = trimap.copy()
    alpha[part] = _solved(guide[part], trimap[part], guess[part], settings)
    return Matte(alpha, trimap, guide)


def guide_picture(sums: LitSums) -> Array:
    """Return the picture that the matte is drawn from, linear in [0, 1], ``(height, width, 3)``.

    Light in front and the rim light together, each as bright as the other at its brightest.
    """
    guide = np.maximum(sums.front, 0.0)
    if sums.rim is not None:
        rim = np.maximum(sums.rim, 0.0)
        front_white, rim_white = (_white(part, _RIM_PERCENTILE) for part in (guide, rim))
        guide = guide + rim * np.float32(front_white / rim_white)
    return np.clip(guide / np.float32(_white(guide, _GUIDE_WHITE)), 0.0, 1.0).astype(np.float32)


def foreground_colour(image: NDArray[np.floating], alpha: Array) -> Array:
    """Return the performer's own colour at each pixel, ``(height, width, 3)``, not negative.

    At edges a picture holds the performer's share of the light only; composited with the matte as
    it stands an edge would be darkened twice. Here the colour inside goes on outwards (multi-level
    foreground estimation, Germer et al. 2020, by ``pymatting``); where the performer covers all of
    a pixel it is the picture's own.

    Args:
        image: linear light of any scale, ``(height, width, 3)``; NaN counts as dark.
        alpha: ``(height, width)`` in [0, 1].
    """
    from pymatting import estimate_foreground_ml

    light = np.maximum(np.nan_to_num(np.asarray(image, np.float32), nan=0.0), 0.0)
    white = float(light.max())
    if white <= 0.0 or not ((alpha > 0.0) & (alpha < 1.0)).any():
        return light
    # the estimate is clipped to [0, 1] as it goes along
    scaled = np.ascontiguousarray(light / np.float32(white))
    found = estimate_foreground_ml(scaled, np.ascontiguousarray(alpha, np.float32))
    colour = np.asarray(found, np.float32) * np.float32(white)
    whole = np.clip((alpha - 0.95) / 0.05, 0.0, 1.0)[..., None]
    return np.asarray(colour * (1.0 - whole) + light * whole, np.float32)


def _first_guess(sums: LitSums, trimap: Array) -> Array:
    """Return each pixel's light over the brightest nearby, under the lights that say more."""
    radius = max(2, round(_NEARBY_SHARE * max(trimap.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    guess = np.zeros(trimap.shape, np.float32)
    for signal in sums.signals:
        level, deviation = background_level(signal)
        light = signal - np.float32(level)
        nearby = cv2.dilate(np.where(trimap > 0, light, 0.0).astype(np.float32), disc)
        nearby = cv2.GaussianBlur(nearby, (0, 0), radius / 2)
        whole = np.maximum(nearby, np.float32(8.0 * deviation))
        np.maximum(guess, np.clip(light / whole, 0.0, 1.0), out=guess)
    return guess


def _solved(guide: Array, trimap: Array, guess: Array, settings: MatteSettings) -> Array:
    """Return the matte that is smooth along the guide's colour lines, and near the guess."""
    from pymatting import cg, ichol
    from pymatting.laplacian.cf_laplacian import cf_laplacian
    from scipy.sparse import eye_array

    known = trimap != 0.5
    laplacian = cf_laplacian(
        np.ascontiguousarray(guide, np.float64), epsilon=settings.epsilon, is_known=known.ravel()
    ).tocsr()
    fixed, free = np.flatnonzero(known), np.flatnonzero(~known)
    rows = laplacian[free]
    system = (rows[:, free] + settings.trust * eye_array(len(free), format="csr")).tocsc()
    values = trimap.ravel().astype(np.float64)
    wanted = settings.trust * guess.ravel()[free].astype(np.float64)
    wanted -= rows[:, fixed] @ values[fixed]
    values[free] = cg(system, wanted, M=ichol(system), maxiter=2000, rtol=1e-5)
    return np.clip(values, 0.0, 1.0).reshape(trimap.shape).astype(np.float32)


def _white(picture: Array, percentile: float) -> float:
    """Return the brightness that counts as white; never 0."""
    return max(float(np.percentile(luminance(picture), percentile)), 1e-6)
