"""Light cards: a rig as a plan seen from above, with pictures of what it does."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import to_8bit
from lightstage.dome import Dome
from lightstage.relighting.combine import exposure_for
from lightstage.relighting.rig import Rig, StudioLight
from lightstage.relighting.studio import studio_weights

Canvas = NDArray[np.uint8]

_PAPER = (24, 24, 27)
_INK = (225, 225, 225)
_FAINT_INK = (165, 165, 172)
_FAINT = (95, 95, 102)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SIDE = 520
#: Directions that the ball is lit from: finer than its gloss.
_BALL_LIGHTS = 1200


def shaded_ball(rig: Rig, side: int = 200) -> NDArray[np.float32]:
    """Return a grey, slightly glossy ball under a rig as the camera sees it, ``(side, side, 3)``.

    Linear, not exposed: 1 is a white wall under an even environment of radiance 1.
    """
    x, y = np.meshgrid(np.linspace(-1.05, 1.05, side), np.linspace(1.05, -1.05, side))
    radius = np.hypot(x, y)
    covered = np.clip((1.0 - radius) * side / 2.1 + 0.5, 0.0, 1.0)  # a smooth edge
    inside = covered > 0
    normal = np.stack([x, y, np.sqrt(np.maximum(1.0 - radius**2, 0.0))], axis=-1)[inside]
    mirrored = 2.0 * normal[:, 2:] * normal - np.array([0.0, 0.0, 1.0])
    lamps = Dome.evenly_spread(_BALL_LIGHTS).directions
    energy = studio_weights(rig, lamps)
    seen = energy.max(axis=1) > 1e-4 * energy.max()
    lamps, energy = lamps[seen].T, energy[seen]
    lit = np.empty((len(normal), 3))
    for start in range(0, len(normal), 2048):
        part = slice(start, start + 2048)
        diffuse = np.maximum(normal[part] @ lamps, 0.0) * (0.5 / np.pi)
        gloss = np.maximum(mirrored[part] @ lamps, 0.0)
        for _ in range(6):  # to the power of 64
            gloss *= gloss
        lit[part] = (diffuse + gloss * (0.04 * 65 / (2 * np.pi))) @ energy
    ball = np.zeros((side, side, 3), np.float32)
    ball[inside] = lit * covered[inside][:, None]
    return ball


def light_card(rig: Rig, pictures: Sequence[NDArray[np.float32]] = ()) -> Canvas:
    """Return a rig's card, ``(height, width, 3)`` 8-bit sRGB.

    Left, the plan from above: the performer in the middle, the camera below, each light where it
    stands (the higher, the nearer to the middle), soft ones with a blurred beam and hard ones with
    a crisp one, in their colours, with role, elevation and power. Right, a ball under the rig and
    ``pictures``: linear images under it, such as a relit head, each exposed by itself.
    """
    columns = [_framed(picture, _SIDE) for picture in (shaded_ball(rig), *pictures)]
    table = 34 * len(rig.lights) + 24
    head = 74
    canvas = np.full((head + _SIDE + table, _SIDE * (1 + len(columns)), 3), _PAPER, np.uint8)
    _text(canvas, rig.name or "studio light", (24, 36), 0.95)
    _text(canvas, rig.description, (24, 62), 0.52, _FAINT_INK)
    canvas[head : head + _SIDE, :_SIDE] = _plan(rig)
    for number, picture in enumerate(columns, 1):
        canvas[head : head + _SIDE, _SIDE * number : _SIDE * (number + 1)] = picture
    total = sum(light.power for light in rig.lights)
    for number, light in enumerate(rig.lights, 1):
        y = head + _SIDE + 34 * number - 8
        cv2.circle(canvas, (36, y - 6), 9, _shown_colour(rig, light), -1, cv2.LINE_AA)
        _text(canvas, f"{number}", (56, y), 0.55)
        _text(canvas, _described(light, light.power / total), (84, y), 0.55)
    return canvas


def _described(light: StudioLight, share: float) -> str:
    colour = "white"
    if light.kelvin is not None:
        colour = f"{light.kelvin:.0f} K"
    elif light.rgb is not None:
        colour = "rgb " + " ".join(f"{value:g}" for value in light.rgb)
    if light.radius_deg >= 180:
        return f"{light.role}: even light from all sides, {share:.0%} of the power, {colour}"
    return (
        f"{light.role}: {light.shape}, radius {light.radius_deg:g} deg, azimuth "
        f"{light.azimuth_deg:g}, elevation {light.elevation_deg:g}, {share:.0%} of the power, "
        f"{colour}"
    )


def _plan(rig: Rig) -> Canvas:
    """Return the plan from above, ``(_SIDE, _SIDE, 3)``; the camera is at the bottom."""
    middle, reach = _SIDE // 2, int(0.38 * _SIDE)
    glow = np.zeros((_SIDE, _SIDE, 3), np.float32)
    for light in rig.lights:
        glow += _beam(rig, light, middle, reach)
    paper = np.array(_PAPER, np.float32) + np.minimum(glow, 1.0) * np.float32(150)
    canvas = np.ascontiguousarray(np.clip(paper, 0, 255).astype(np.uint8))
    for share in (1.0, 0.5):  # elevation 0 and 45 degrees
        cv2.circle(canvas, (middle, middle), int(reach * share), _FAINT, 1, cv2.LINE_AA)
    _text(canvas, "45", (middle + reach // 2 - 10, middle + 16), 0.36, _FAINT)
    cv2.ellipse(canvas, (middle, middle), (26, 32), 0, 0, 360, _INK, 2, cv2.LINE_AA)
    nose = np.array([[middle - 7, middle + 29], [middle, middle + 43], [middle + 7, middle + 29]])
    cv2.polylines(canvas, [nose.astype(np.int32)], False, _INK, 2, cv2.LINE_AA)
    top = _SIDE - 40
    cv2.rectangle(canvas, (middle - 20, top), (middle + 20, top + 24), _INK, 2, cv2.LINE_AA)
    cv2.rectangle(canvas, (middle - 8, top - 10), (middle + 8, top), _INK, 2, cv2.LINE_AA)
    _text(canvas, "camera", (middle + 30, top + 18), 0.45, _FAINT_INK)
    for number, light in enumerate(rig.lights, 1):
        if light.radius_deg >= 180:
            continue
        x, y = _place(light, middle, reach)
        size = int(np.clip(6 + 0.55 * light.radius_deg, 8, 24))
        if light.shape == "hard":
            cv2.circle(canvas, (x, y), size, _shown_colour(rig, light), -1, cv2.LINE_AA)
            cv2.circle(canvas, (x, y), size, _INK, 1, cv2.LINE_AA)
        else:  # a softbox, turned to the performer
            angle = float(np.rad2deg(np.arctan2(y - middle, x - middle)))
            box = cv2.boxPoints(((float(x), float(y)), (14.0, 2.6 * size), angle)).astype(np.int32)
            cv2.fillPoly(canvas, [box], _shown_colour(rig, light), cv2.LINE_AA)
            cv2.polylines(canvas, [box], True, _INK, 1, cv2.LINE_AA)
        side = -1 if light.elevation_deg < 0 else 1
        mark = f"{number} {light.role} {'up' if side > 0 else 'down'} {abs(light.elevation_deg):g}"
        across = cv2.getTextSize(mark, _FONT, 0.45, 1)[0][0]
        left = int(np.clip(x - across // 2, 6, _SIDE - across - 6))
        below = y + size + 26 if y >= middle else y - size - 14
        _text(canvas, mark, (left, int(np.clip(below, 16, _SIDE - 6))), 0.45)
    return canvas


def _beam(rig: Rig, light: StudioLight, middle: int, reach: int) -> NDArray[np.float32]:
    """Return the light's beam on the plan, 0 to 1 times its colour."""
    total = sum(other.power for other in rig.lights)
    colour = np.array(_shown_colour(rig, light), np.float32) / np.float32(255)
    strength = np.float32(0.35 + 0.65 * light.power / total)
    if light.radius_deg >= 180:
        y, x = np.mgrid[0:_SIDE, 0:_SIDE] - middle
        even = np.exp(-((np.maximum(np.hypot(x, y) - reach, 0.0) / 12.0) ** 2)).astype(np.float32)
        return np.asarray(even[..., None] * (0.5 * strength) * colour, dtype=np.float32)
    mask = np.zeros((_SIDE, _SIDE), np.float32)
    x, y = _place(light, middle, reach)
    away = np.array([x - middle, y - middle], dtype=float)
    length = float(np.hypot(*away))
    if length < 60:  # from overhead: a pool of light
        cv2.circle(mask, (middle, middle), int(50 + 1.5 * light.radius_deg), 0.8, -1)
    else:
        across = np.array([-away[1], away[0]]) / length
        near = 8 + 0.9 * light.radius_deg if light.shape == "soft" else 8.0
        corners = [
            np.array([x, y]) + across * near, np.array([middle, middle]) + across * 44,
            np.array([middle, middle]) - across * 44, np.array([x, y]) - across * near,
        ]  # fmt: skip
        cv2.fillPoly(mask, [np.array(corners).round().astype(np.int32)], 0.8, cv2.LINE_AA)
    if light.shape == "soft":
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 5 + 0.4 * light.radius_deg), np.float32)
    return np.asarray(mask[..., None] * strength * colour, dtype=np.float32)


def _place(light: StudioLight, middle: int, reach: int) -> tuple[int, int]:
    """Return where a light stands on the plan: the higher or lower, the nearer to the middle."""
    x, _, z = light.direction
    flat = max(float(np.hypot(x, z)), 1e-9)
    away = reach * (1.0 - abs(light.elevation_deg) / 90.0)
    return round(middle + away * float(x) / flat), round(middle + away * float(z) / flat)


def _shown_colour(rig: Rig, light: StudioLight) -> tuple[int, int, int]:
    colour = rig.colour(light)
    red, green, blue = to_8bit(colour / colour.max()).tolist()
    return red, green, blue


def _framed(picture: NDArray[np.float32], side: int) -> Canvas:
    """Return a linear picture, exposed, fitted into a square with a margin."""
    frame = np.full((side, side, 3), _PAPER, np.uint8)
    room = side - 24
    height, width = picture.shape[:2]
    scale = room / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    exposed = to_8bit(picture * exposure_for(picture))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    drawn = cv2.resize(exposed, size, interpolation=smooth)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = drawn
    return frame


def _text(
    canvas: Canvas,
    text: str,
    place: tuple[int, int],
    size: float,
    colour: tuple[int, int, int] = _INK,
) -> None:
    cv2.putText(canvas, text, place, _FONT, size, colour, 1, cv2.LINE_AA)
