"""Trimap: what surely is the performer, what surely is not, from which pixels answer to light.

A light stage's background is a dark curtain that answers to no light, while the performer answers
to some: skin to lights in front, hair and edges to lights behind, which they let through. So a
pixel that stays at the background's level under both is background, one deep inside what answers
strongly to the lights in front is the performer, and what lies between is for the matting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.colour import luminance
from lightstage.errors import InputError

Array = NDArray[np.float32]

#: Lights whose direction has a z below this are behind the performer: the rim light.
RIM_BELOW_Z = -0.3
#: Pixels above the background's level by so many standard deviations of its noise are lit.
_LIT_DEVIATIONS = 4.0
#: Sure performer is above so many, and above this share of the brightest.
_SURE_DEVIATIONS = 25.0
_SURE_SHARE = 0.05
#: Noise is softened by a Gaussian of so many pixels before it is judged.
_SOFTEN_PX = 0.8
#: Shares of the picture's longer side: what is thinner than twice the first is hair, no body; the
#: second is how far inside the body's edge a pixel is sure.
_THIN_SHARE = 0.012
_INSIDE_SHARE = 0.004
#: Separate bodies smaller than this share of the largest are dropped: reflections on the stage.
_SMALL_BODY = 0.05


@dataclass(frozen=True, eq=False)
class LitSums:
    """The performer under the lights in front, and under those behind.

    Attributes:
        front: sum of the images of lights with z > 0, ``(height, width, 3)``, linear.
        rim: the same of lights with z < :data:`RIM_BELOW_Z`; ``None`` = no rim light is used.
    """

    front: Array
    rim: Array | None

    @property
    def signals(self) -> list[Array]:
        """The luminance of each sum, ``(height, width)``."""
        return [luminance(part) for part in (self.front, self.rim) if part is not None]


def lit_sums(
    images: Iterable[NDArray[np.floating]], directions: ArrayLike, *, rim_light: bool = True
) -> LitSums:
    """Return the sums over one-light images, which are looked at one by one.

    Args:
        images: one per light, ``(height, width, 3)``, linear; NaN counts as dark.
        directions: unit vectors towards the lights, ``(lights, 3)``.
        rim_light: ``False`` leaves out all lights behind the performer.

    Raises:
        InputError: no light is in front of the performer, or none behind where one is asked for.
    """
    depth = np.asarray(directions, np.float64)[:, 2]
    behind, before = depth < RIM_BELOW_Z, depth > 0.0
    if not before.any() or (rim_light and not behind.any()):
        side = "in front of" if not before.any() else "behind"
        raise InputError(
            f"there is no light {side} the performer, which a matte is found by; "
            + ("use --light front." if before.any() else "give a matte of your own.")
        )
    front: Array | None = None
    rim: Array | None = None
    for image, is_before, is_behind in zip(images, before, behind, strict=True):
        if not is_before and not (is_behind and rim_light):
            continue
        lit = np.nan_to_num(np.asarray(image, np.float32), nan=0.0)
        if is_before:
            front = lit if front is None else front + lit
        else:
            rim = lit if rim is None else rim + lit
    assert front is not None
    return LitSums(front, rim)


def trimap_of(sums: LitSums) -> Array:
    """Return 1 where the performer surely is, 0 where surely not, 0.5 between: ``(height, width)``.

    Raises:
        InputError: nothing stands out from the background.
    """
    lit = np.zeros(sums.front.shape[:2], bool)
    for signal in sums.signals:
        soft = _softened(signal)
        level, deviation = background_level(soft)
        lit |= soft > level + _LIT_DEVIATIONS * deviation
    # single pixels are noise
    speckless = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    body = _body(_softened(luminance(sums.front)))
    if not body.any():
        raise InputError(
            "nothing in the picture stands out from a dark background, so that no matte can be "
            "found: the background is lit, or the performer fills the frame. Give a matte of your "
            "own with 'lightstage composite --matte', or a --network."
        )
    trimap = np.where(speckless > 0, np.float32(0.5), np.float32(0.0))
    trimap[body] = 1.0
    return trimap


def background_level(signal: Array) -> tuple[float, float]:
    """Return the level of the darkest part of a picture and its noise's standard deviation.

    Robust (medians): the darkest quarter of the pixels first, then all that its noise explains.
    """
    dark = signal[signal <= np.percentile(signal, 25)]
    for _ in range(2):
        level = float(np.median(dark))
        deviation = 1.4826 * float(np.median(np.abs(dark - level)))
        near = signal[signal < level + 8.0 * deviation]
        dark = near if near.size else dark
    return level, max(deviation, 1e-6)


def _body(soft: Array) -> NDArray[np.bool_]:
    """Return the inside of what is lit by the lights in front, without hair that stands off."""
    from scipy.ndimage import binary_fill_holes

    level, deviation = background_level(soft)
    bright = float(np.percentile(soft, 99)) - level
    sure = soft > level + max(_SURE_DEVIATIONS * deviation, _SURE_SHARE * bright)
    longer = max(soft.shape)
    thin = _disc(max(1, round(_THIN_SHARE * longer)))
    opened = cv2.morphologyEx(
        sure.astype(np.uint8), cv2.MORPH_OPEN, thin, borderType=cv2.BORDER_REPLICATE
    )
    whole = binary_fill_holes(opened > 0)  # dark nostrils, pupils, mouths
    inside = cv2.erode(
        whole.astype(np.uint8),
        _disc(max(2, round(_INSIDE_SHARE * longer))),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=1,
    )
    count, labels, figures, _ = cv2.connectedComponentsWithStats(inside)
    if count <= 1:
        return np.zeros(soft.shape, bool)
    areas = figures[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas > _SMALL_BODY * areas.max())
    return np.isin(labels, kept)


def _softened(signal: Array) -> Array:
    return np.asarray(cv2.GaussianBlur(signal, (0, 0), _SOFTEN_PX), np.float32)


def _disc(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
