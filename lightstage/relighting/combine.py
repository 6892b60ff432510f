"""Light a performer: the weighted sum of the one-light images, and its exposure."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.colour import luminance
from lightstage.errors import DomeError, InputError

Missing = Literal["raise", "skip"]


def relight(
    olat: NDArray[np.floating],
    weights: ArrayLike,
    *,
    missing: Missing = "raise",
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the image under a light, ``I = sum over l of w_l * OLAT_l`` per colour.

    Light is additive, so this is exact for any light that the weights describe. The unit is that
    of the one-light images times that of the weights: see :func:`exposure_for`.

    Args:
        olat: one image per light, ``(lights, height, width, 3)``, linear. Quickest are C-ordered
            float16, as fields are stored, and float32.
        weights: ``(lights, 3)``, as :func:`~lightstage.relighting.light_weights` returns them.
            Lights whose weight is 0 are not looked at.
        missing: what to do where an image that is needed holds NaN (``aligned.zarr`` marks so
            what was not recorded). ``raise`` refuses; ``skip`` takes it as dark, so that the
            result lacks that light. To keep the light's energy, give its cell to its neighbours:
            ``light_weights(…, present=present_lights(olat))``.
        threads: how many share the work, one for each core unless said otherwise; the result does
            not depend on it.

    Returns:
        ``(height, width, 3)`` float32.

    Raises:
        DomeError: the number of lights differs.
        InputError: the shapes are wrong, a weight is not finite, or an image is missing.
    """
    weight = np.asarray(weights, dtype=np.float64)
    if weight.ndim != 2:
        raise DomeError(f"weights must be (lights, 3); they are {weight.shape}.")
    image: NDArray[np.float32] = relight_many(olat, weight[None], missing=missing, threads=threads)[
        0
    ]
    return image


def relight_many(
    olat: NDArray[np.floating],
    weights: ArrayLike,
    *,
    missing: Missing = "raise",
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Return the images under several lights: the OLAT images are fetched from memory only once.

    Each is to the last bit what :func:`relight` returns for its weights.

    Args:
        olat: as in :func:`relight`.
        weights: ``(n, lights, 3)``.
        missing: as in :func:`relight`.
        threads: as in :func:`relight`.

    Returns:
        ``(n, height, width, 3)`` float32.

    Raises:
        DomeError: the number of lights differs.
        InputError: the shapes are wrong, a weight is not finite, or an image is missing.
    """
    olat = np.asarray(olat)
    if olat.ndim != 4 or olat.shape[3] != 3:
        raise InputError(f"OLAT images must be (lights, height, width, 3), these are {olat.shape}.")
    from lightstage.relighting.weighted_sum import add_weighted  # Numba takes long to import

    weight = checked_weights(weights, olat.shape[0], missing)
    images = np.zeros((len(weight), *olat.shape[1:]), dtype=np.float32)
    dark = missing == "skip"
    add_weighted(olat, weight, images, dark=dark, threads=threads)
    for image, own in zip(images, weight, strict=True):
        if not np.isnan(image).any():
            continue
        # perhaps of a light that only another of these weights needs: 0 times NaN is NaN
        image[...] = 0
        add_weighted(olat, own[None], image[None], dark=dark, threads=threads)
        if not dark and np.isnan(image).any():
            _refuse(olat, np.flatnonzero(own.any(axis=1)))
    return images


def checked_weights(weights: ArrayLike, lights: int, missing: Missing) -> NDArray[np.float32]:
    """Return weights ``(n, lights, 3)`` as they are multiplied; raise as :func:`relight_many`."""
    if missing not in get_args(Missing):
        raise InputError(f"missing must be 'raise' or 'skip', not {missing!r}.")
    weight = np.asarray(weights, dtype=np.float64)
    if weight.ndim != 3 or weight.shape[1:] != (lights, 3):
        raise DomeError(
            f"weights must be ({lights}, 3), one row for each OLAT image; they are "
            f"{weight.shape[1:] if weight.ndim == 3 else weight.shape}."
        )
    with np.errstate(over="ignore"):
        weight32 = weight.astype(np.float32)
    if not np.isfinite(weight32).all():
        raise InputError("light weights must be finite.")
    return weight32


def present_lights(olat: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which lights have an image without NaN, ``(lights,)``."""
    return np.array([not np.isnan(image).any() for image in olat], dtype=bool)


def exposure_for(
    image: NDArray[np.floating], *, percentile: float = 99.0, target: float = 0.8
) -> float:
    """Return the factor that brings an image's bright parts to ``target``.

    OLAT images have no absolute unit, so a picture or film needs one: the factor puts the given
    percentile of luminance at ``target`` of display white. Use one for a whole film.

    Args:
        image: ``(..., 3)`` linear; NaN is left out.
        percentile: of luminance; 99 lets small highlights clip.
        target: luminance that it is brought to, 1.0 = display white.

    Returns:
        The factor; 1.0 for a black image.
    """
    light = luminance(image)
    light = light[np.isfinite(light)]
    bright = float(np.percentile(light, percentile)) if light.size else 0.0
    if bright <= 0 and light.size:
        bright = float(light.max())  # a thin rim of light on black
    return target / bright if bright > 0 else 1.0


def _refuse(olat: NDArray[np.floating], used: NDArray[np.intp]) -> None:
    whole = [int(light) for light in used if np.isnan(olat[light]).all()]
    partly = [int(light) for light in used if light not in whole and np.isnan(olat[light]).any()]
    parts = []
    if whole:
        parts.append(f"there is no image of light {_listed(whole)}")
    if partly:
        parts.append(f"parts of the image are missing for light {_listed(partly)}")
    raise InputError(
        f"{'; '.join(parts) or 'the OLAT images hold infinite values'}. Use missing='skip' to take "
        f"them as dark, or light_weights(…, present=present_lights(olat)) to let their neighbours "
        f"stand in."
    )


def _listed(numbers: list[int]) -> str:
    head = ", ".join(map(str, numbers[:8]))
    return head if len(numbers) <= 8 else f"{head} and {len(numbers) - 8} more"
