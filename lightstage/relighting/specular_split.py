"""Diffuse and specular: what gloss adds to each light's picture.

A surface that is not a metal sends gloss back in the light's own colour, and the rest in its own
(the dichromatic model, Shafer 1985). Gains are divided out, so the light's colour is white: what a
pixel has above its diffuse fit is gloss as far as all three colours have it. Light that wanders
through skin, mostly red, stays diffuse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightstage.errors import InputError

if TYPE_CHECKING:
    from lightstage.relighting.photometric_stereo import SurfaceMaps

Array = NDArray[np.float32]


def specular_excess(values: Array, albedo: Array, cosine: Array) -> Array:
    """Return the gloss in each light's values, ``(lights, p)``, white and never negative.

    Args:
        values: ``(lights, p, 3)`` linear, gains divided out.
        albedo: ``(p, 3)``.
        cosine: ``(lights, p)`` between normal and light, 0 below the horizon.
    """
    least = values[..., 0] - albedo[:, 0] * cosine
    for k in (1, 2):
        np.minimum(least, values[..., k] - albedo[:, k] * cosine, out=least)
    return np.maximum(least, np.float32(0), out=least)


def split_specular(
    olat: NDArray[np.floating],
    maps: SurfaceMaps,
    directions: ArrayLike,
    gains: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Return the diffuse and the specular part of an OLAT set; together they are the set.

    Both can be relit as the set itself: gloss alone shows the skin's relief, the diffuse part a
    matt face. Where the normal is not known all is diffuse.

    Args:
        olat: ``(lights, height, width, 3)`` linear.
        maps: the set's, from :func:`~lightstage.relighting.photometric_stereo.surface_maps`.
        directions: unit vectors to the lights, ``(lights, 3)``.
        gains: the lights' relative brightness ``(lights, 3)``.

    Returns:
        Two arrays ``(lights, height, width, 3)`` float32.

    Raises:
        InputError: the maps are of another size than the pictures.
    """
    if maps.normal.shape != olat.shape[1:]:
        raise InputError(
            f"maps of {maps.normal.shape[:2]} do not fit pictures of {olat.shape[1:3]} pixels."
        )
    towards = np.asarray(directions, np.float32)
    gain = np.ones((len(olat), 3), np.float32) if gains is None else np.asarray(gains, np.float32)
    diffuse = np.array(olat, np.float32)
    specular = np.zeros_like(diffuse)
    normal, albedo = maps.normal.reshape(-1, 3), maps.albedo.reshape(-1, 3)
    for light, picture in enumerate(diffuse):
        if not (gain[light] > 0).all():
            continue
        cosine = np.maximum(normal @ towards[light], 0.0)[None]
        values = (picture / gain[light]).reshape(1, -1, 3)
        gloss = np.nan_to_num(specular_excess(values, albedo, cosine)).reshape(olat.shape[1:3])
        specular[light] = gloss[..., None] * gain[light]
        picture -= specular[light]
    return diffuse, specular
