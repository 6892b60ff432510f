"""How bright each light is per colour, from pictures of a white target under one light at a time.

A matt ball follows Lambert's law: where a light stands decides what share of it each point of the
ball gets, and what is left over is the light's own brightness. A flat card gets the cosine to its
normal. Relative brightness takes neither into account. A mirror sphere shows each light as a
highlight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError

Array = NDArray[np.float64]

#: Values from here up are taken for saturated.
SATURATED = 0.98
#: Points that get less than this share of a light say little about it.
_LEAST_SHADE = 0.15
#: Points of the ball out to this share of its radius are used: the rim mixes with the background.
_INNER_RADIUS = 0.94
#: A highlight on a mirror sphere lies within this share of the sphere's radius about its peak, and
#: is whole only so far out.
_SPOT_SHARE, _MIRROR_RIM = 0.12, 0.93
#: An outline is known to about this, in pixels.
_OUTLINE_PX = 0.3
#: A light must fall on so many pixels of the target.
_LEAST_PIXELS = 24
#: A light below this share of the median light does not shine.
_DARK_SHARE = 0.02
#: A gain of this relative standard error, or worse, is no measurement.
_LARGEST_ERROR = 0.05
#: Residuals beyond so many of their usual size are outliers.
_OUTLIER = 3.0


class GainVerdict(StrEnum):
    """What became of one light."""

    JUDGED = "judged"
    DARK = "does not shine"
    TOO_DIM = "too dim to judge"
    SATURATED = "saturated"
    OUT_OF_SIGHT = "lights no part of the target that is seen"


@dataclass(frozen=True)
class Target:
    """The target's pixels, and where in the world they are.

    Attributes:
        pixels: ``(n, 2)`` rows and columns.
        normals: ``(n, 3)`` unit normals in world axes; ``None`` takes brightness as it is.
        points_m: ``(n, 3)`` places in metres, for the distance to each light; ``None``: lights are
            far away.
        outline_px: how uncertain its outline is. Of a ball that a light behind it lights as a thin
            crescent, little is known for sure.
    """

    pixels: NDArray[np.int64]
    normals: Array | None = None
    points_m: Array | None = None
    outline_px: float = 0.0

    def shade(self, position_m: Array) -> Array:
        """Return what share of a light each pixel gets; negative where it faces away ``(n,)``."""
        if self.normals is None:
            return np.ones(len(self.pixels))
        if self.points_m is None:
            return np.asarray(self.normals @ (position_m / np.linalg.norm(position_m)))
        ray = position_m - self.points_m
        distance = np.linalg.norm(ray, axis=1)
        falloff = (np.linalg.norm(position_m) / distance) ** 2
        return np.asarray((self.normals * ray).sum(axis=1) / distance * falloff)


@dataclass(frozen=True)
class LightMeasurement:
    """One light: its brightness on the target and how sure that is.

    Attributes:
        brightness: linear camera RGB of a point that faces the light, ``(3,)``.
        error: relative standard error of the worst colour, that of the target's outline included.
        residual: root mean square of what the fit leaves, as a share of the brightness.
        pixels: how many pixels were used.
        verdict: whether it can be used.
    """

    brightness: Array
    error: float
    residual: float
    pixels: int
    verdict: GainVerdict


@dataclass(frozen=True)
class LightGains:
    """All lights' gains: each colour's mean over the lights that were judged is 1.

    Attributes:
        gains: ``(lights, 3)``; NaN where not judged, 0 where a light does not shine.
        measurements: one for each light.
        mean: what the gains were divided by, linear camera RGB ``(3,)``.
    """

    gains: Array
    measurements: tuple[LightMeasurement, ...]
    mean: Array

    @property
    def verdicts(self) -> tuple[GainVerdict, ...]:
        """What became of each light."""
        return tuple(item.verdict for item in self.measurements)


def find_ball(full_lit: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return a bright ball's middle and radius (x, y, radius) in pixels, from a full-lit picture.

    Raises:
        InputError: the brightest thing in the picture is not round.
    """
    gray = np.asarray(full_lit, np.float32).mean(axis=2)
    top = float(np.quantile(gray, 0.995))
    hint = "give its place with --ball X,Y,RADIUS in pixels."
    if top <= 0:
        raise InputError(f"the full-lit picture is dark: no ball is seen; {hint}")
    level = np.clip(gray / top * 255.0, 0, 255).astype(np.uint8)
    _, mask = cv2.threshold(level, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    area = float(cv2.contourArea(outline))
    (x, y), around = cv2.minEnclosingCircle(outline)
    if around < 8 or not 0.9 < area / (math.pi * around**2) < 1.1:
        raise InputError(f"no round white ball is found in the full-lit picture; {hint}")
    # half a pixel: the outline runs through the middles of the outermost pixels
    moments = cv2.moments(outline)
    x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    return float(x), float(y), math.sqrt(area / math.pi) + 0.5


def ball_target(
    circle: tuple[float, float, float],
    shape: tuple[int, int],
    radius_m: float | None = None,
    camera_distance_m: float | None = None,
) -> Target:
    """Return the target of a matt ball at the dome's centre.

    Args:
        circle: its outline's middle and radius (x, y, radius) in pixels.
        shape: the picture's height and width.
        radius_m: the ball's radius; with it, lights are at their finite distance.
        camera_distance_m: from the ball's middle to the camera; ``None``: far away.

    Raises:
        InputError: it does not lie in the picture, or is too small.
    """
    x0, y0, radius = circle
    height, width = shape
    if radius < 8 or x0 - radius < -1 or y0 - radius < -1:
        raise InputError(f"a ball of radius {radius:g} at {x0:g}, {y0:g} is too small or cut off.")
    if x0 + radius > width or y0 + radius > height:
        raise InputError(f"the ball is cut off by the picture's edge, {width} x {height} pixels.")
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = (columns - x0) / radius, (y0 - rows) / radius
    inside = x * x + y * y < _INNER_RADIUS**2
    x, y = x[inside], y[inside]
    if camera_distance_m is None:
        normals = np.stack([x, y, np.sqrt(1.0 - x * x - y * y)], axis=1)
    else:
        if radius_m is None or not camera_distance_m > radius_m:
            raise InputError(
                "the camera's distance goes with the ball's radius, and is larger than that."
            )
        # the outline is a cone of half angle asin(radius / distance) about the axis
        ratio = radius_m / camera_distance_m
        slope = ratio / math.sqrt(1.0 - ratio * ratio)
        ray = np.stack([x * slope, y * slope, -np.ones_like(x)], axis=1)
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        along = -camera_distance_m * ray[:, 2]
        depth = along**2 - camera_distance_m**2 + radius_m**2
        hit = (along - np.sqrt(np.maximum(depth, 0.0)))[:, None] * ray
        normals = (hit + np.array([0.0, 0.0, camera_distance_m])) / radius_m
    points = None if radius_m is None else normals * radius_m
    return Target(np.argwhere(inside), normals, points, _OUTLINE_PX)


def card_target(
    rectangle: tuple[int, int, int, int],
    shape: tuple[int, int],
    normal: tuple[float, float, float] | None = (0.0, 0.0, 1.0),
) -> Target:
    """Return the target of a flat card.

    Args:
        rectangle: left, top, width, height in pixels, wholly on the card.
        shape: the picture's height and width.
        normal: where it faces, in world axes; ``None``: brightness is taken as it is.

    Raises:
        InputError: it does not lie in the picture.
    """
    left, top, wide, high = rectangle
    height, width = shape
    if min(left, top) < 0 or min(wide, high) < 5 or left + wide > width or top + high > height:
        raise InputError(
            f"the card {left},{top},{wide},{high} must lie in the picture, which is {width} x "
            f"{height} pixels, and be at least 5 pixels wide and high."
        )
    rows, columns = np.mgrid[top : top + high, left : left + wide]
    pixels = np.stack([rows.ravel(), columns.ravel()], axis=1)
    if normal is None:
        return Target(pixels)
    length = math.hypot(*normal)
    if not length > 1e-9:
        raise InputError("a card's normal cannot be 0,0,0.")
    return Target(pixels, np.tile(np.array(normal) / length, (len(pixels), 1)))


def measure_light(
    picture: NDArray[np.floating], target: Target, position_m: Array
) -> LightMeasurement:
    """Return how bright a light is on the target.

    What the shaded side shows is light from elsewhere (the room, other things that are lit): it is
    taken off. Outliers (dirt, highlights) are left out, saturated pixels too.

    Args:
        picture: ``(height, width, 3)`` linear camera RGB, 1.0 = full scale, dark frame taken off.
        target: what is looked at.
        position_m: where the light is, from the dome's centre.
    """
    values = np.asarray(picture[target.pixels[:, 0], target.pixels[:, 1]], np.float64)
    shade = target.shade(position_m)
    lit = shade > _LEAST_SHADE
    nothing = np.zeros(3)
    if lit.sum() < _LEAST_PIXELS:
        return LightMeasurement(nothing, math.inf, 0.0, int(lit.sum()), GainVerdict.OUT_OF_SIGHT)
    burnt = np.asarray((values >= SATURATED).any(axis=1))
    if burnt[lit].mean() > 0.2:
        return LightMeasurement(nothing, math.inf, 0.0, int(lit.sum()), GainVerdict.SATURATED)
    away = shade < -0.1
    stray = np.median(values[away], axis=0) if away.sum() >= _LEAST_PIXELS else nothing
    used = lit & ~burnt
    values, shade = values[used] - stray, shade[used]
    brightness, error, residual, count = _robust_slope(values, shade)
    error = math.hypot(error, target.outline_px / math.sqrt(count))
    verdict = GainVerdict.JUDGED if error < _LARGEST_ERROR else GainVerdict.TOO_DIM
    return LightMeasurement(brightness, error, residual, count, verdict)


def measure_highlight(
    picture: NDArray[np.floating],
    circle: tuple[float, float, float],
    position_m: Array,
    radius_m: float | None = None,
    camera_distance_m: float | None = None,
) -> LightMeasurement:
    """Return how bright a light is by its highlight on a mirror sphere.

    A mirror sphere scatters a far light alike in all directions: the light in the whole highlight,
    which is what is summed up, depends on the light's brightness alone, not on where it stands.

    Args:
        picture: ``(height, width, 3)`` linear camera RGB; the highlight must not saturate.
        circle: the sphere's outline, middle and radius (x, y, radius) in pixels.
        position_m: where the light is, from the sphere's middle.
        radius_m: the sphere's radius; with it, the light is at its finite distance.
        camera_distance_m: from the sphere's middle to the camera; far away unless given.
    """
    x0, y0, radius = circle
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    off = np.hypot(columns - x0, rows - y0)
    values = np.asarray(picture, np.float64)
    gray = np.where(off < radius, values.sum(axis=2), -np.inf)
    row, column = np.unravel_index(int(gray.argmax()), gray.shape)
    near = np.hypot(columns - column, rows - row)
    spot = (near < _SPOT_SHARE * radius) & (off < radius)
    around = (near >= _SPOT_SHARE * radius) & (near < 2 * _SPOT_SHARE * radius) & (off < radius)
    nothing = np.zeros(3)
    if off[row, column] > _MIRROR_RIM * radius or around.sum() < _LEAST_PIXELS:
        return LightMeasurement(nothing, math.inf, 0.0, 0, GainVerdict.OUT_OF_SIGHT)
    if (values[spot] >= SATURATED).any():
        return LightMeasurement(nothing, math.inf, 0.0, int(spot.sum()), GainVerdict.SATURATED)
    room = np.median(values[around], axis=0)
    noise = values[around].std(axis=0)
    light = (values[spot] - room).sum(axis=0)
    if radius_m is not None:
        light /= _mirrored_share(position_m, radius_m, camera_distance_m)
    # the room's own unevenness and noise, over as many pixels as the highlight is summed from
    share = np.divide(noise, light, out=np.full(3, np.inf), where=light > 0)
    error = float(share.max() * math.sqrt(spot.sum()))
    verdict = GainVerdict.JUDGED if error < _LARGEST_ERROR else GainVerdict.TOO_DIM
    return LightMeasurement(light, error, 0.0, int(spot.sum()), verdict)


def _mirrored_share(position_m: Array, radius_m: float, camera_distance_m: float | None) -> float:
    """Return how bright a light at a finite distance is in a mirror sphere, 1 = one far away.

    Wavefronts that the sphere mirrors are curved by 2 / (R cos) and 2 cos / R along and across the
    plane of incidence: with distances a to the light and b to the camera, the light arrives spread
    over (a + b + 2 a b / (R cos)) (a + b + 2 a b cos / R).
    """
    light_far = float(np.linalg.norm(position_m))
    camera = np.array([0.0, 0.0, camera_distance_m or 1e4 * light_far])
    normal = np.array([0.0, 0.0, 1.0])
    for _ in range(20):  # the mirror's point faces half way between light and camera
        to_light, to_camera = position_m - radius_m * normal, camera - radius_m * normal
        normal = to_light / np.linalg.norm(to_light) + to_camera / np.linalg.norm(to_camera)
        normal /= max(float(np.linalg.norm(normal)), 1e-9)
    to_light = position_m - radius_m * normal
    a, b = float(np.linalg.norm(to_light)), float(np.linalg.norm(camera - radius_m * normal))
    cosine = max(float(normal @ to_light) / a, 1e-3)
    along = a + b + 2 * a * b / (radius_m * cosine)
    across = a + b + 2 * a * b * cosine / radius_m
    return (2 * light_far * float(np.linalg.norm(camera)) / radius_m) ** 2 / (along * across)


def _robust_slope(values: Array, shade: Array) -> tuple[Array, float, float, int]:
    """Return the slope of ``values = slope * shade``, its error, what it leaves, and from how many.

    Weighted by the shade, which is what least squares does; outliers in luminance are left out.
    """
    kept = np.ones(len(shade), dtype=bool)
    slope = np.zeros(3)
    for _ in range(4):
        weight = float((shade[kept] ** 2).sum())
        slope = (values[kept] * shade[kept, None]).sum(axis=0) / weight
        off = (values - shade[:, None] * slope).sum(axis=1)
        usual = 1.4826 * float(np.median(np.abs(off[kept] - np.median(off[kept]))))
        now = np.asarray(np.abs(off - np.median(off[kept])) <= _OUTLIER * usual + 1e-9)
        if now.sum() < _LEAST_PIXELS or (now == kept).all():
            break
        kept = now
    left = values[kept] - shade[kept, None] * slope
    spread = np.sqrt((left**2).mean(axis=0))
    worst = np.divide(spread, slope, out=np.full(3, np.inf), where=slope > 0)
    weight = float((shade[kept] ** 2).sum())
    return slope, float(worst.max() / math.sqrt(weight)), float(worst.max()), int(kept.sum())


def gains_from(
    measurements: list[LightMeasurement], *, limit_residual: float = 0.25, check_fit: bool = True
) -> LightGains:
    """Return the gains of all lights.

    Args:
        measurements: one for each light.
        limit_residual: the median light's residual above which the target is refused.
        check_fit: whether residuals say how well the target follows its law (not with noise alone).

    Raises:
        InputError: there is no signal, most lights saturate or cannot be judged, or the target does
            not look as it should; the text says which.
    """
    brightness = np.array([item.brightness for item in measurements])
    judged = np.array([item.verdict is GainVerdict.JUDGED for item in measurements])
    burnt = sum(item.verdict is GainVerdict.SATURATED for item in measurements)
    if burnt > 0.5 * len(measurements):
        raise InputError(
            f"the target is saturated under {burnt} of {len(measurements)} lights; expose less, or "
            f"use a gray one."
        )
    if judged.sum() < max(1, 0.25 * len(measurements)):
        said = [item.verdict for item in measurements]
        others = ", ".join(
            f"{said.count(v)} {v}" for v in GainVerdict if v is not GainVerdict.JUDGED and v in said
        )
        raise InputError(
            f"only {int(judged.sum())} of {len(measurements)} lights can be judged ({others}): "
            f"there is too little signal on the target. Expose more, and look whether its place is "
            f"right."
        )
    usual = float(np.median(brightness[judged].mean(axis=1)))
    settled = []
    for item in measurements:
        seen = item.verdict in (GainVerdict.JUDGED, GainVerdict.TOO_DIM)
        if seen and item.brightness.mean() < _DARK_SHARE * usual:
            item = LightMeasurement(
                item.brightness, item.error, item.residual, item.pixels, GainVerdict.DARK
            )
        settled.append(item)
    judged = np.array([item.verdict is GainVerdict.JUDGED for item in settled])
    residual = float(np.median([item.residual for item in settled if item.pixels and
                                item.verdict is GainVerdict.JUDGED]))  # fmt: skip
    if check_fit and residual > limit_residual:
        raise InputError(
            f"the target does not follow Lambert's law: the usual light leaves "
            f"{100 * residual:.0f} % unexplained, the limit is {100 * limit_residual:.0f} %. Is it "
            f"matt, is its place right, and do the dome's light directions fit (calibrate lights)?"
        )
    mean = brightness[judged].mean(axis=0)
    gains = np.full((len(settled), 3), np.nan)
    gains[judged] = brightness[judged] / mean
    gains[[item.verdict is GainVerdict.DARK for item in settled]] = 0.0
    return LightGains(gains, tuple(settled), mean)


def gains_picture(result: LightGains, bar_px: int = 9, height_px: int = 240) -> NDArray[np.uint8]:
    """Return a picture, sRGB, of the gains: three bars for each light, lines at 0.8, 1 and 1.2.

    Lights without a gain are marked by a gray column.
    """
    lights = len(result.gains)
    left, bottom = 44, 30
    top_gain = max(1.4, float(np.nanmax(result.gains)) * 1.1)
    width = left + lights * (bar_px + 3) + 12
    picture = np.full((height_px + bottom + 12, width, 3), 24, np.uint8)
    base = height_px + 6

    def row(gain: float) -> int:
        return base - round(gain / top_gain * height_px)

    colours = ((235, 90, 80), (90, 205, 100), (90, 130, 245))
    for light, gain in enumerate(result.gains):
        at = left + light * (bar_px + 3)
        if np.isnan(gain).any():
            picture[6:base, at : at + bar_px] = 60
        else:
            third = bar_px // 3
            for channel, colour in enumerate(colours):
                x = at + channel * third
                picture[row(float(gain[channel])) : base, x : x + third] = colour
        if light % 10 == 0:
            _write(picture, str(light), (at, base + 18))
    for gain in (0.8, 1.0, 1.2):
        picture[row(gain), left - 4 : -8] = (250, 250, 250) if gain == 1.0 else (150, 150, 150)
        _write(picture, f"{gain:.1f}", (8, row(gain) + 5))
    return picture


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    cv2.putText(
        picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (220, 220, 220), 1, cv2.LINE_AA
    )
