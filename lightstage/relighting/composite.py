"""Composites: the relit performer over a background, in linear light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import luminance
from lightstage.errors import InputError
from lightstage.fields import ReflectanceFields
from lightstage.relighting.combine import relight
from lightstage.relighting.environment import EnvironmentMap
from lightstage.relighting.matte import foreground_colour
from lightstage.relighting.weights import light_weights

Array = NDArray[np.float32]

#: Luminance of a face in even light of radiance 1: skin sends back some 35 to 40 % (Krishnaswamy
#: and Baranoski 2004), and chin, nose and shoulders keep a fifth of the light from it.
FACE_IN_EVEN_LIGHT = 0.30
#: Light wrap reaches in so far, as a share of the picture's longer side.
_WRAP_SHARE = 0.015


def over(colour: Array, alpha: Array, background: Array) -> Array:
    """Return ``alpha colour + (1 - alpha) background`` (Porter and Duff 1984), linear light.

    Args:
        colour: the performer's own colour, not multiplied by alpha, ``(height, width, 3)``.
        alpha: ``(height, width)`` in [0, 1].
        background: ``(height, width, 3)``.
    """
    share = alpha[..., None]
    return np.asarray(share * colour + (1.0 - share) * background, np.float32)


def composite(
    relit: NDArray[np.floating],
    alpha: Array,
    background: NDArray[np.floating],
    *,
    wrap: float = 0.0,
) -> Array:
    """Return the relit performer over a background.

    Args:
        relit: the performer before the stage's black background, ``(height, width, 3)``, linear.
        alpha: the matte, ``(height, width)`` in [0, 1].
        background: linear, in the same unit, ``(height, width, 3)``.
        wrap: how much of the background's light bleeds over the performer's edges; 0 = none, 1 =
            as bright as the background close by.

    Raises:
        InputError: sizes differ.
    """
    if relit.shape != (*alpha.shape, 3) or background.shape != relit.shape:
        raise InputError(
            f"a picture {relit.shape}, its matte {alpha.shape} and the background "
            f"{background.shape} must have the same size."
        )
    behind = np.asarray(background, np.float32)
    picture = over(foreground_colour(relit, alpha), alpha, behind)
    if wrap > 0.0:
        picture += np.float32(wrap) * light_wrap(alpha, behind)
    return picture


def light_wrap(alpha: Array, background: Array) -> Array:
    """Return the background's light that falls onto the performer's edges.

    What shows of the background, blurred, where the performer is: a lens and the air between do
    the same with a bright background.
    """
    sigma = max(1.0, _WRAP_SHARE * max(alpha.shape))
    shows = (background * (1.0 - alpha)[..., None]).astype(np.float32)
    spread = cv2.GaussianBlur(shows, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(spread * alpha[..., None], np.float32)


def radiance_unit(fields: ReflectanceFields, index: int, alpha: Array) -> float:
    """Return the radiance that a relit picture's 1.0 stands for.

    One-light images have no absolute unit, a background has: radiance. They meet in the performer:
    a face in even light of radiance 1 has a luminance of :data:`FACE_IN_EVEN_LIGHT`, so that
    background and face are exposed alike. It errs as far as the performer's skin is lighter or
    darker than that; a film keeps one unit for all its frames.

    Args:
        fields: the store.
        index: the set to measure.
        alpha: its matte.
    """
    olat = fields.read_olat(index)
    even = EnvironmentMap(np.ones((8, 16, 3), np.float32), name="even light")
    present = ~np.isnan(olat[:, ::8, ::8]).any(axis=(1, 2, 3))
    lit = relight(olat, light_weights(even, fields.directions, present=present), missing="skip")
    inside = luminance(lit)[alpha > 0.95]
    typical = float(np.median(inside)) if inside.size else 0.0
    if not typical > 0.0:
        raise InputError(
            f"{fields.path}: set {index} shows no performer to match the background's exposure "
            f"to; give the exposure with --unit."
        )
    return FACE_IN_EVEN_LIGHT / typical


def cover(picture: Array, width: int, height: int) -> Array:
    """Return a background plate scaled to fill ``width x height``; what sticks out is cut off."""
    rows, columns = picture.shape[:2]
    scale = max(width / columns, height / rows)
    part_width, part_height = width / scale, height / scale
    left, top = (columns - part_width) / 2, (rows - part_height) / 2
    if scale < 0.5:  # average first: bilinear sampling would skip pixels
        size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
        return cover(picture, width, height)
    affine = np.array(
        [[1 / scale, 0, left + 0.5 / scale - 0.5], [0, 1 / scale, top + 0.5 / scale - 0.5]]
    )
    drawn = cv2.warpAffine(
        picture, affine, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(drawn, np.float32)


def defocused(background: Array, sigma_px: float) -> Array:
    """Return a background out of focus, by a Gaussian of ``sigma_px``; 0 leaves it sharp."""
    if sigma_px <= 0.0:
        return background
    soft = cv2.GaussianBlur(background, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft, np.float32)
