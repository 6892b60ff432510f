"""Normals and albedo: robust photometric stereo with lights that are known.

A matt surface sends back ``albedo * max(normal . light, 0)`` (Woodham 1980), so that three lights
tell its normal. Faces are not quite matt and shade themselves: with a dome's lights there are
enough to leave those out that do not fit. Per pixel, iteratively reweighted least squares (weights
of Geman and McClure 1985) with three reasons to trust a light less: it stands at or below the
surface's horizon, the pixel is darker than the fit (a cast shadow), or it is brighter (a highlight;
trusted less than a shadow of the same size, as gloss is broad and shadows are sharp). How large a
misfit may be shrinks from one round to the next, so that the start does not decide the end.

The fit runs on blocks of pixels that stay in the processor's cache, all 3x3 systems of a block at
once. Nothing here looks at neighbouring pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from lightstage.errors import DomeError, InputError
from lightstage.half_floats import to_float
from lightstage.manifest import Manifest
from lightstage.relighting.near_light import LightRays, rays_to
from lightstage.relighting.specular_split import specular_excess
from lightstage.relighting.visibility import visible_share

Array = NDArray[np.float32]

#: Pixels worked on at a time: a block's dozen arrays of 96 lights stay in the cache.
_BLOCK_PIXELS = 512
#: Strength of the pull towards the last round's fit where no light tells otherwise.
_PULL = 1e-2
#: Over how much of the cosine a light near the horizon gains its full weight.
_HORIZON_WIDTH = 0.1
#: Share of the bright lights' mean up to which a light is in shadow, and how soon it is not.
_SHADOW, _SHADOW_WIDTH = 0.1, 0.1
#: A misfit is judged by at least so many times the mean misfit of the lights that are trusted.
_MISFITS = 1.0
#: Of which standard error of the normal, in radians, half a confidence comes.
_HALF_CONFIDENCE_RAD = np.deg2rad(3.0)
#: Unknowns of the fit: the normal times the albedo.
_UNKNOWNS = 3


class StereoSettings(Manifest):
    """How normals are found.

    Attributes:
        rounds: rounds of reweighting.
        first_misfit: misfit, as a share of the albedo, that a light may have in the first round.
        last_misfit: the same in the last round; more where the lights agree less.
        highlight_misfit: how much of that a light may have that is too bright.
        least_cosine: cosine between normal and light below which a light is left out: there light
            that wanders through skin and the gloss of grazing light rule.
        darkest: share of the picture's bright parts below which a pixel is not known.
        white_level: value at which the sensor clips, left out; ``None`` = nowhere.
    """

    error = InputError

    rounds: Annotated[int, Field(ge=1, le=100)] = 10
    first_misfit: Annotated[float, Field(gt=0)] = 0.4
    last_misfit: Annotated[float, Field(gt=0)] = 0.06
    highlight_misfit: Annotated[float, Field(gt=0)] = 0.5
    least_cosine: Annotated[float, Field(ge=0, lt=1)] = 0.1
    darkest: Annotated[float, Field(ge=0, lt=1)] = 0.02
    white_level: Annotated[float, Field(gt=0)] | None = None


@dataclass(frozen=True, eq=False)
class SurfaceMaps:
    """What a set's lights tell of the surface, one value for each pixel, float32.

    Attributes:
        normal: ``(height, width, 3)`` unit vectors in world axes, +Z to the camera; NaN where not
            known.
        albedo: ``(height, width, 3)`` linear: what a light of gain 1 makes of the pixel when it
            stands on the normal and nothing shades it; NaN where not known.
        normal_confidence: ``(height, width)`` in [0, 1]: 0.5 where the lights that are trusted tell
            the normal to 3 degrees (its standard error), 0 where it is not known or no light is
            left over to check it. It knows of noise, of too few lights and of lights that all stand
            on one side; not of what misleads all lights alike.
        visibility: ``(height, width)`` in [0, 1]: the share of the lights above the surface that
            reach it, weighted by the cosine: 1 less the ambient occlusion. NaN where not known.
        specular: ``(height, width)``: light sent back beyond the diffuse, under light from all
            sides, in units of the albedo. NaN where not known.
        lights_used: ``(height, width)``: the sum of the lights' weights in the last fit.
    """

    normal: Array
    albedo: Array
    normal_confidence: Array
    visibility: Array
    specular: Array
    lights_used: Array


def surface_maps(
    olat: NDArray[np.floating],
    directions: ArrayLike,
    gains: ArrayLike | None = None,
    settings: StereoSettings | None = None,
    *,
    positions_m: ArrayLike | None = None,
    points_m: NDArray[np.floating] | None = None,
) -> SurfaceMaps:
    """Return normals, albedo and what goes with them for one OLAT set.

    Args:
        olat: ``(lights, height, width, 3)`` linear, any floating type; NaN where a light's picture
            or a part of it is missing.
        directions: unit vectors to the lights, ``(lights, 3)`` in world axes.
        gains: the lights' relative brightness ``(lights, 3)``, which is divided out; lights with a
            gain of 0 are left out.
        settings: how it is done.
        positions_m: the lights' places ``(lights, 3)`` in metres; with ``points_m`` their finite
            distance is taken into account instead of ``directions`` alone.
        points_m: ``(height, width, 3)`` where each pixel's surface is, in metres from the dome's
            centre; a centimetre's precision will do.

    Raises:
        DomeError: directions or gains do not fit the pictures, or fewer than three lights are left.
        InputError: the pictures have the wrong shape.
    """
    settings = settings or StereoSettings()
    olat = np.asarray(olat)
    if olat.ndim != 4 or olat.shape[3] != 3:
        raise InputError(f"OLAT images must be (lights, height, width, 3), these are {olat.shape}.")
    lights, height, width, _ = olat.shape
    towards, gain = _checked(lights, directions, gains)
    if (positions_m is None) != (points_m is None):
        raise InputError("positions_m and points_m are given together, or neither.")
    brightness = _mean_light(olat, gain)
    known = np.flatnonzero(brightness > settings.darkest * _bright_part(brightness))
    flat = olat.reshape(lights, height * width, 3)
    maps = SurfaceMaps(*(np.full((height * width, *more), fill, np.float32)
                         for more, fill in _EMPTY))  # fmt: skip
    for start in range(0, len(known), _BLOCK_PIXELS):
        chosen = known[start : start + _BLOCK_PIXELS]
        values = _block(flat, chosen, gain, settings.white_level)
        rays = LightRays(towards)
        if positions_m is not None and points_m is not None:
            rays, falloff = rays_to(positions_m, np.reshape(points_m, (-1, 3))[chosen])
            values /= falloff[..., None]
        found = _fit_block(values, rays, settings)
        for name, value in zip(SurfaceMaps.__dataclass_fields__, found, strict=True):
            getattr(maps, name)[chosen] = value
    return SurfaceMaps(
        *(
            getattr(maps, name).reshape(height, width, *more)
            for name, (more, _) in zip(SurfaceMaps.__dataclass_fields__, _EMPTY, strict=True)
        )
    )


#: Channels and fill value of each map, in the order of :class:`SurfaceMaps`.
_EMPTY: tuple[tuple[tuple[int, ...], float], ...] = (
    ((3,), np.nan), ((3,), np.nan), ((), 0.0), ((), np.nan), ((), np.nan), ((), 0.0)
)  # fmt: skip


class _Fit(NamedTuple):
    """``scaled`` (3, p) normal times albedo; ``inverse`` the six parts of the systems' inverse."""

    scaled: Array
    inverse: Array


def _fit_block(
    values: Array, rays: LightRays, settings: StereoSettings
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Return the maps, in the order of :class:`SurfaceMaps`, for ``values`` (lights, p, 3)."""
    there = np.isfinite(values[..., 0] + values[..., 1] + values[..., 2])
    if not there.all():
        values = np.where(there[..., None], values, np.float32(0))
    gray = (values[..., 0] + values[..., 1] + values[..., 2]) * np.float32(1 / 3)
    weights, fit = _reweighted(gray, there, rays, settings)
    length = np.maximum(np.linalg.norm(fit.scaled, axis=0), np.float32(1e-12))
    normal = fit.scaled / length
    cosine = rays.dot(normal)
    trusted = weights.sum(axis=0)
    # the albedo's colours, by the same lights along the same normal
    share = weights * cosine
    energy: Array = np.maximum(_sum(share, cosine), np.float32(1e-6))
    albedo: Array = np.stack([_sum(share, values[..., k]) / energy for k in range(3)], axis=1)
    misfit = gray - length * cosine
    variance = _sum(weights, misfit * misfit) / np.maximum(trusted - _UNKNOWNS, 1.0)
    error2 = variance * _tangential(fit.inverse, normal) / length**2
    confidence = 1.0 / (1.0 + error2 / _HALF_CONFIDENCE_RAD**2)
    confidence = np.where(trusted > _UNKNOWNS, confidence, 0.0)
    above = np.maximum(cosine, np.float32(0))
    excess = specular_excess(values, albedo, above)
    reach = np.maximum((above * there).sum(axis=0), np.float32(1e-6))
    found = (
        normal.T,
        np.maximum(albedo, 0.0),
        confidence,
        visible_share(gray, length * above, there),
        (excess * there).sum(axis=0) / reach,
        trusted,
    )
    unknown = (there.sum(axis=0) < _UNKNOWNS) | ~np.isfinite(confidence) | (trusted < 1e-3)
    for value, (_, fill) in zip(found, _EMPTY, strict=True):
        value[unknown] = fill
    return found


def _reweighted(
    gray: Array, there: NDArray[np.bool_], rays: LightRays, settings: StereoSettings
) -> tuple[Array, _Fit]:
    """Return each light's weight ``(lights, p)`` and the fit that they lead to."""
    bright, level = _bright_lights(gray, there)
    fit = _solve(bright, gray, rays, np.zeros((3, gray.shape[1]), np.float32))
    # what is all but dark is in shadow: else a fit of almost no albedo suits the shadows best
    lit = np.clip(gray * (1.0 / (_SHADOW_WIDTH * level)) - _SHADOW / _SHADOW_WIDTH, 0.0, 1.0)
    lit *= there
    weights = bright
    allowed = np.geomspace(settings.first_misfit, settings.last_misfit, settings.rounds)
    for limit in allowed.astype(np.float32):
        length = np.maximum(np.linalg.norm(fit.scaled, axis=0), np.float32(1e-12))
        cosine = rays.dot(fit.scaled / length)
        dark = length * cosine
        dark -= gray
        misfit = np.multiply(dark, np.float32(-1.0 / settings.highlight_misfit))
        np.maximum(misfit, dark, out=misfit)  # of the two the one that is not negative
        spread = _sum(weights, misfit) / np.maximum(weights.sum(axis=0), np.float32(1e-6))
        scale = np.maximum(limit * np.maximum(length, level), np.float32(_MISFITS) * spread)
        misfit *= np.float32(1.0) / scale
        misfit *= misfit
        misfit += np.float32(1)
        misfit *= misfit
        cosine -= np.float32(settings.least_cosine)
        cosine *= np.float32(1.0 / _HORIZON_WIDTH)
        weights = np.clip(cosine, 0.0, 1.0, out=cosine)
        weights *= lit
        weights /= misfit
        fit = _solve(weights, gray, rays, fit.scaled)
    return weights, fit


def _sum(first: Array, second: Array) -> Array:
    """Return the sum over the lights of two ``(lights, p)`` arrays' product, ``(p,)``."""
    return np.asarray(np.einsum("lp,lp->p", first, second), np.float32)


def _bright_lights(gray: Array, there: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return 1 for lights that are probably neither shadowed nor a highlight, and their mean."""
    count = np.maximum(there.sum(axis=0), 1)
    lit = np.maximum(gray, np.float32(0))
    mean = lit.sum(axis=0) / count
    # a strong highlight counts no more than the brightest of a matt pixel that is half in shadow
    lit = np.minimum(lit, 8.0 * mean)
    mean = lit.sum(axis=0) / count
    bright = np.asarray(there & (gray > 0.8 * mean), np.float32)
    level = _sum(bright, lit) / np.maximum(bright.sum(axis=0), np.float32(1))
    # the brightest of a matt pixel is about 1.5 of its bright lights' mean
    bright *= gray < 2.0 * level
    level = _sum(bright, lit) / np.maximum(bright.sum(axis=0), np.float32(1))
    return bright, np.asarray(np.maximum(level, 1e-6), np.float32)


def _solve(weights: Array, gray: Array, rays: LightRays, before: Array) -> _Fit:
    """Return the weighted least-squares fit, pulled a little to ``before`` (3, p)."""
    xx, xy, xz, yy, yz, zz = rays.moments(weights)
    right = rays.project(weights * gray) + np.float32(_PULL) * before
    xx, yy, zz = xx + np.float32(_PULL), yy + np.float32(_PULL), zz + np.float32(_PULL)
    adjugate = np.stack([
        yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy,
        xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy,
    ])  # fmt: skip
    inverse = adjugate / (xx * adjugate[0] + xy * adjugate[1] + xz * adjugate[2])
    a, b, c, d, e, f = inverse
    x, y, z = right
    scaled = np.stack([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z])
    return _Fit(scaled, inverse)


def _tangential(inverse: Array, normal: Array) -> Array:
    """Return the trace of symmetric matrices, given as six parts, across the normals ``(3, p)``."""
    a, b, c, d, e, f = inverse
    x, y, z = normal
    along = a * x * x + d * y * y + f * z * z + 2.0 * (b * x * y + c * x * z + e * y * z)
    return np.asarray(np.maximum(a + d + f - along, 0.0), np.float32)


def _block(
    flat: NDArray[np.floating], chosen: NDArray[np.intp], gain: Array, white: float | None
) -> Array:
    """Return the pixels ``chosen`` of ``flat`` under lights of gain 1; NaN where not known."""
    values = to_float(np.ascontiguousarray(flat[:, chosen]))  # sums do not depend on the layout
    if white is not None:
        values[(values >= np.float32(0.995 * white)).any(axis=2)] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        values /= gain[:, None, :]
    return values


def _mean_light(olat: NDArray[np.floating], gain: Array) -> Array:
    """Return each pixel's mean over colours and lights that have a picture, ``(pixels,)``."""
    lights = len(olat)
    total = np.zeros(olat[0].size // 3, np.float32)
    count = np.zeros_like(total)
    for light in range(lights):
        if not (gain[light] > 0).all():
            continue
        gray = to_float(olat[light]).reshape(-1, 3) @ (1.0 / (3.0 * gain[light]))
        there = np.isfinite(gray)
        total += np.where(there, gray, 0.0)  # negative noise too: it cancels
        count += there
    return np.asarray(total / np.maximum(count, 1.0), np.float32)


def _bright_part(brightness: Array) -> float:
    return float(np.percentile(brightness, 99)) if brightness.size else 0.0


def _checked(lights: int, directions: ArrayLike, gains: ArrayLike | None) -> tuple[Array, Array]:
    towards = np.asarray(directions, np.float32)
    if towards.shape != (lights, 3):
        raise DomeError(
            f"light directions must be ({lights}, 3), one for each image; they are {towards.shape}."
        )
    length = np.linalg.norm(towards, axis=1, keepdims=True)
    if not np.isfinite(length).all() or not (length > 1e-9).all():
        raise DomeError("light directions must be finite vectors that are not zero.")
    gain = np.ones((lights, 3), np.float32) if gains is None else np.asarray(gains, np.float32)
    if gain.shape != (lights, 3):
        raise DomeError(f"light gains must be ({lights}, 3), they are {gain.shape}.")
    gain = np.where((gain > 0).all(axis=1, keepdims=True), gain, np.float32(np.nan))
    used = towards[np.isfinite(gain).all(axis=1)] / length[np.isfinite(gain).all(axis=1)]
    if len(used) < _UNKNOWNS or np.linalg.matrix_rank(used, tol=1e-2) < _UNKNOWNS:
        raise DomeError(
            f"normals need at least three lights that do not stand in one plane with the centre; "
            f"there are {len(used)} of a gain above 0."
        )
    return towards / length, gain
