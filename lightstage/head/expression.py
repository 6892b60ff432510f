"""What the muscles of a face do: the head's expression components.

After the action units of the facial action coding system; each is a full action at coefficient 1.
Where people move one side alone, each side is a component of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from lightstage.head.place import Array, Place, smoothstep
from lightstage.head.sculpture import EYE_HALF_WIDTH_M, EYE_TILT_M, LID_RADIUS_M, lid_edge

Field = Callable[[Place], Array]

#: Where lids meet: so far below the corners' line at the middle of the eye.
_MEETING_M = 0.0030
#: How far the upper lid goes over the lower one, so that no slit stays open.
_OVERLAP_M = 0.0013


def _one_side(field: Field, left: bool) -> Field:
    return lambda h: h.only(left)[:, None] * field(h)


def _smile(h: Place) -> Array:
    beside = smoothstep(np.abs(h.p[:, 0]) / 0.016)
    fold = h.bump(0.036, -0.034, 0.062, 0.011, 0.012, 0.02)
    return (
        h.move(h.corners, x=4.6, y=5.4, z=-2.2)
        + h.move(h.upper_lip, y=0.6, z=-1.2)
        + h.move(h.upper_lip * beside, y=2.2)
        + h.move(h.lower_lip, y=0.4, z=-1.4)
        + h.move(h.lower_lip * beside, y=1.6)
        + h.move(h.bump(0.041, -0.018, 0.060, 0.014, 0.012, 0.02), y=2.2, z=1.6)
        + h.move(fold * ~h.hard, x=1.0, y=2.2, z=1.0)
    )


def _pucker(h: Place) -> Array:
    lips = h.upper_lip + h.lower_lip
    return (
        h.move(h.bump(0.0235, -0.0580, 0.075, 0.0105, 0.012, 0.02) * ~h.hard, x=-7.0, z=2.4)
        + h.move(h.bump(0.0, -0.0585, 0.088, 0.014, 0.011, 0.02) * ~h.hard, z=4.2)
        + h.move(lips * smoothstep((np.abs(h.p[:, 0]) - 0.004) / 0.012), x=-2.2)
    )


def _funnel(h: Place) -> Array:
    return (
        h.move(h.corners, x=-4.2, z=1.6)
        + h.move(h.upper_lip, y=2.6, z=3.4)
        + h.move(h.lower_lip, y=-3.4, z=3.6)
    )


def _roll_in(h: Place, upper: bool) -> Array:
    """Return how a lip's red disappears between the teeth."""
    lip = h.upper_lip if upper else h.lower_lip
    edge = lip * np.exp(-((h.away_from_mouth / 0.30) ** 2))
    return h.move(edge, z=-2.8, y=-1.4 if upper else 1.6)


def _press(h: Place) -> Array:
    lips = h.upper_lip + h.lower_lip
    thinned = lips * (1.0 - np.exp(-((h.away_from_mouth / 0.14) ** 2)))
    return (
        h.move(lips, z=-1.3)
        + h.move(thinned * np.sign(h.above_mouth), y=-1.3)
        + h.move(h.corners, x=0.8, z=-0.8)
    )


def _lip_side(h: Place, left: bool, upper: bool) -> Array:
    sign = 1.0 if left else -1.0
    place = np.exp(-0.5 * ((sign * h.p[:, 0] - 0.010) / 0.0095) ** 2)
    if upper:
        fold = h.bump(0.019, -0.038, 0.078, 0.008, 0.009, 0.02) * h.only(left) * ~h.hard
        return h.move(h.upper_lip * place, y=4.4, z=0.6) + h.move(fold, y=1.8)
    return h.move(h.lower_lip * place, y=-4.6, z=0.4)


def _chin_up(h: Place) -> Array:
    chin = h.bump(0.0, -0.086, 0.082, 0.016, 0.011, 0.02) * ~h.hard
    lips = h.bump(0.0, -0.0585, 0.088, 0.017, 0.009, 0.02) * ~h.hard
    return h.move(chin, y=3.4, z=0.8) + h.move(lips, y=1.9, z=0.9)


def _blink(h: Place, left: bool) -> Array:
    """Return how the skin about one eye moves when its lids meet: over the eyeball's surface."""
    q, upper, lower = h.lids(left)
    t = np.clip(q[:, 0] / EYE_HALF_WIDTH_M, -1.0, 1.0)
    shut = EYE_TILT_M * t - _MEETING_M * (1.0 - t * t)
    # beyond the edge the upper lid stretches as one piece, folded skin follows less
    down = upper * (shut - _OVERLAP_M * (1.0 - t * t) ** 0.5 - lid_edge(q[:, 0], upper > 0))
    down = down + lower * (shut - lid_edge(q[:, 0], upper > 0))
    lengths = np.linalg.norm(q, axis=1)
    keep = np.maximum(lengths, LID_RADIUS_M * 1.03)
    level = np.hypot(q[:, 0], q[:, 1] + down)
    onto = np.sqrt(np.maximum(keep**2 - level**2, 1e-8))
    moved = np.maximum(upper, lower)
    ahead = moved * np.maximum(onto - q[:, 2], -0.001) * (np.abs(down) > 1e-6)
    # the upper lid closes in front of the lower one
    ahead = ahead + 0.0003 * upper * (1.0 - t * t)
    return np.column_stack([np.zeros(len(q)), down, ahead])


def _lid_pull(h: Place, left: bool, upper_mm: float, lower_mm: float, hood_mm: float) -> Array:
    q, upper, lower = h.lids(left)
    t = np.clip(q[:, 0] / EYE_HALF_WIDTH_M, -1.0, 1.0)
    rise = 1e-3 * np.sqrt(1.0 - t * t) * (upper_mm * upper + lower_mm * lower)
    back = -(q[:, 1] * rise) / np.maximum(q[:, 2], 0.010)
    hood = h.bump(0.033, 0.0235, 0.074, 0.013, 0.005, 0.02) * h.only(left)
    return np.column_stack([np.zeros(len(q)), rise, back]) + h.move(hood, y=hood_mm)


def _brow_inner_up(h: Place) -> Array:
    return h.move(h.bump(0.014, 0.0335, 0.083, 0.011, 0.0095, 0.03), y=5.0, x=-0.4) + h.move(
        h.bump(0.014, 0.050, 0.083, 0.014, 0.010, 0.03), y=2.4, z=0.4
    )


def _brow_outer_up(h: Place) -> Array:
    return h.move(h.bump(0.038, 0.0345, 0.070, 0.012, 0.0095, 0.03), y=4.8, z=0.2) + h.move(
        h.bump(0.036, 0.050, 0.072, 0.014, 0.010, 0.03), y=2.2
    )


def _frown(h: Place) -> Array:
    return h.move(h.bump(0.014, 0.0315, 0.082, 0.011, 0.008, 0.03), x=-2.4, y=-3.4, z=0.9) + h.move(
        h.bump(0.034, 0.0315, 0.074, 0.012, 0.007, 0.03), y=-1.3
    )


def _stretch(h: Place) -> Array:
    return h.move(h.corners, x=4.6, y=-1.4, z=-1.6) + h.move(
        (h.upper_lip + h.lower_lip) * smoothstep(np.abs(h.p[:, 0]) / 0.02), x=1.4, z=-0.6
    )


def _corner_down(h: Place) -> Array:
    return h.move(h.corners, x=0.6, y=-4.6) + h.move(
        h.bump(0.029, -0.072, 0.070, 0.009, 0.010, 0.02) * ~h.hard, y=-2.2, z=0.4
    )


def _cheek_puff(h: Place) -> Array:
    cheek = h.bump(0.040, -0.050, 0.062, 0.014, 0.016, 0.025) * ~h.hard
    return h.move(cheek, x=5.0, z=4.4)


def _cheek_raise(h: Place) -> Array:
    return h.move(h.bump(0.040, -0.012, 0.066, 0.015, 0.010, 0.02), y=3.0, z=1.2) + h.move(
        h.bump(0.048, 0.008, 0.056, 0.010, 0.008, 0.02), x=-0.8, y=0.6
    )


def _nose_wrinkle(h: Place) -> Array:
    return (
        h.move(h.bump(0.012, -0.026, 0.092, 0.009, 0.011, 0.02), x=0.7, y=2.5)
        + h.move(h.bump(0.010, 0.004, 0.088, 0.010, 0.010, 0.02), y=1.2, z=0.8)
        + h.move(h.upper_lip, y=1.0)
    )


def _mouth_aside(h: Place) -> Array:
    return h.shift(h.bump(0.0, -0.0585, 0.082, 0.025, 0.014, 0.03) * ~h.hard, x=5.0)


EXPRESSION: dict[str, Field] = {
    "lips apart": lambda h: h.move(h.upper_lip, y=1.7) + h.move(h.lower_lip, y=-4.4),
    "smile left": _one_side(_smile, True),
    "smile right": _one_side(_smile, False),
    "pucker": _pucker,
    "funnel": _funnel,
    "upper lip in": partial(_roll_in, upper=True),
    "lower lip in": partial(_roll_in, upper=False),
    "lips pressed": _press,
    "stretch left": _one_side(_stretch, True),
    "stretch right": _one_side(_stretch, False),
    "corner down left": _one_side(_corner_down, True),
    "corner down right": _one_side(_corner_down, False),
    "upper lip up left": partial(_lip_side, left=True, upper=True),
    "upper lip up right": partial(_lip_side, left=False, upper=True),
    "lower lip down left": partial(_lip_side, left=True, upper=False),
    "lower lip down right": partial(_lip_side, left=False, upper=False),
    "chin up": _chin_up,
    "mouth aside": _mouth_aside,
    "cheek puff left": _one_side(_cheek_puff, True),
    "cheek puff right": _one_side(_cheek_puff, False),
    "cheek raise left": _one_side(_cheek_raise, True),
    "cheek raise right": _one_side(_cheek_raise, False),
    "nose wrinkle": _nose_wrinkle,
    "nostrils wide": lambda h: h.move(
        h.bump(0.0145, -0.033, 0.092, 0.0065, 0.007, 0.012), x=1.8, y=0.5
    ),
    "brow inner up left": _one_side(_brow_inner_up, True),
    "brow inner up right": _one_side(_brow_inner_up, False),
    "brow outer up left": _one_side(_brow_outer_up, True),
    "brow outer up right": _one_side(_brow_outer_up, False),
    "frown left": _one_side(_frown, True),
    "frown right": _one_side(_frown, False),
    "blink left": partial(_blink, left=True),
    "blink right": partial(_blink, left=False),
    "eye wide left": partial(_lid_pull, left=True, upper_mm=1.9, lower_mm=-0.4, hood_mm=1.2),
    "eye wide right": partial(_lid_pull, left=False, upper_mm=1.9, lower_mm=-0.4, hood_mm=1.2),
    "squint left": partial(_lid_pull, left=True, upper_mm=-0.8, lower_mm=2.2, hood_mm=-0.7),
    "squint right": partial(_lid_pull, left=False, upper_mm=-0.8, lower_mm=2.2, hood_mm=-0.7),
}
