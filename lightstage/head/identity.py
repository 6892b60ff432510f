"""What people's faces differ in: the head's shape components.

Each is about one standard deviation of adults at coefficient 1, by the spread of the usual measures
(face height 7 mm, face width 6 mm, nose width 3 mm, mouth width 4 mm, eyes' distance 3.5 mm ...).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightstage.head.parts import PART_NAMES
from lightstage.head.place import Array, Place, smoothstep

Field = Callable[[Place], Array]


def _below(h: Place, top: float, bottom: float) -> Array:
    """Return 0 above ``top``, 1 below ``bottom``, on the face, its neck and shoulders."""
    return smoothstep((top - h.p[:, 1]) / (top - bottom))


def _above_lids(h: Place) -> Array:
    """Return 0 where a closed lid lies on its eyeball, 1 above it: what may move back or ahead."""
    return smoothstep((h.p[:, 1] - 0.0190) / 0.0065)


def _ears(h: Place) -> Array:
    """Return 1 on the ears and, falling off quickly, about them."""
    shell = h.part == PART_NAMES.index("ear")
    return np.where(shell, 1.0, 0.6 * h.bump(0.074, -0.003, -0.012, 0.010, 0.024, 0.014))


def _ear_scale(h: Place) -> Array:
    q = np.column_stack([np.abs(h.p[:, 0]) - 0.0735, h.p[:, 1] + 0.003, h.p[:, 2] + 0.010])
    shell = (h.part == PART_NAMES.index("ear"))[:, None]
    return np.where(shell, 0.09 * _signed(h, q), 0.0)


def _signed(h: Place, q: Array) -> Array:
    """Return offsets whose x points away from the middle as offsets in head axes."""
    return np.column_stack([q[:, 0] * np.sign(h.p[:, 0]), q[:, 1], q[:, 2]])


def _ear_out(h: Place) -> Array:
    shell = h.part == PART_NAMES.index("ear")
    behind = np.clip(0.004 - h.p[:, 2], 0.0, 0.05)
    out = np.where(shell, 0.13 * behind, 0.0)
    return np.column_stack([out * np.sign(h.p[:, 0]), np.zeros(len(out)), 0.35 * out])


def _on_lids(h: Place, wide: float, high: float, tilt: float) -> Array:
    """Return how lids move over the eyeball: stretched sideways, up and down, tilted (1 / unit)."""
    total = np.zeros_like(h.p)
    for left in (True, False):
        q = h.from_eye(left)
        away = np.hypot(q[:, 0] / 1.15, q[:, 1])
        weight = smoothstep((0.0260 - away) / 0.014) * (q[:, 2] > -0.01)
        weight = weight * (h.part <= PART_NAMES.index("lid_edge"))
        dx, dy = wide * q[:, 0], high * q[:, 1] + tilt * q[:, 0]
        # they stay as far from the eyeball's centre
        dz = -(q[:, 0] * dx + q[:, 1] * dy) / np.maximum(q[:, 2], 0.009)
        total += weight[:, None] * np.column_stack([dx if left else -dx, dy, dz])
    return total


def _lip_fullness(h: Place, upper: bool) -> Array:
    """Return a fuller lip: its red reaches farther and stands out, its edge stays."""
    lip = h.upper_lip if upper else h.lower_lip
    away = h.away_from_mouth
    spread = lip * (1.0 - np.exp(-((away / 0.16) ** 2)))
    return h.move(lip, z=1.0) + h.move(spread, y=1.9 if upper else -2.0)


def _nose_tip_turn(h: Place) -> Array:
    weight = h.bump(0.0, -0.029, 0.104, 0.013, 0.013, 0.016)
    ahead, up = h.p[:, 2] - 0.088, h.p[:, 1] + 0.026
    return weight[:, None] * np.column_stack([np.zeros(len(up)), 0.13 * ahead, -0.13 * up])


IDENTITY: dict[str, Field] = {
    # the whole
    "size": lambda h: 0.026 * h.round_eyes,
    "width": lambda h: h.round_eyes * [0.035, 0.0, 0.0],
    "depth": lambda h: h.round_eyes * [0.0, 0.0, 0.030],
    # the face's plan
    "face length": lambda h: h.shift(_below(h, 0.012, -0.100), y=-4.6),
    "face width": lambda h: h.move(
        h.bump(0.064, -0.025, 0.030, 0.03, 0.04, 0.04) * ~(h.part == PART_NAMES.index("ear")), x=2.6
    ),
    "middle face length": lambda h: h.shift(_below(h, -0.004, -0.034), y=-2.4),
    "lower face forward": lambda h: h.shift(_below(h, -0.020, -0.055) * h.ahead, z=2.4),
    "jaw width": lambda h: h.move(h.bump(0.053, -0.066, 0.014, 0.026, 0.028, 0.045), x=3.6),
    "jaw angle": lambda h: h.move(h.bump(0.053, -0.068, 0.010, 0.020, 0.022, 0.03), y=-4.2, z=-1.0),
    "jaw line": lambda h: h.move(h.bump(0.034, -0.092, 0.045, 0.016, 0.016, 0.022), x=2.6, y=-1.4),
    "chin length": lambda h: h.shift(h.bump(0.0, -0.100, 0.066, 0.034, 0.020, 0.04), y=-3.6),
    "chin forward": lambda h: h.shift(h.bump(0.0, -0.094, 0.080, 0.024, 0.016, 0.03), z=3.0),
    "chin width": lambda h: h.move(h.bump(0.015, -0.097, 0.074, 0.013, 0.014, 0.02), x=2.8),
    "under the chin": lambda h: h.shift(
        h.bump(0.0, -0.108, 0.034, 0.034, 0.016, 0.030), y=-4.5, z=1.0
    ),
    "cheekbones out": lambda h: h.move(h.bump(0.054, -0.008, 0.045, 0.016, 0.014, 0.022), x=2.4),
    "cheekbones forward": lambda h: h.move(
        h.bump(0.044, -0.012, 0.060, 0.015, 0.012, 0.02), y=0.6, z=2.2
    ),
    "cheeks": lambda h: h.move(
        h.bump(0.043, -0.044, 0.052, 0.019, 0.020, 0.03) * ~h.hard, x=3.0, z=1.6
    ),
    # the nose
    "nose length": lambda h: h.shift(h.bump(0.0, -0.030, 0.100, 0.018, 0.011, 0.03), y=-2.4, z=0.3),
    "nose forward": lambda h: h.shift(h.bump(0.0, -0.024, 0.108, 0.011, 0.016, 0.02), z=2.8),
    "nose turned up": _nose_tip_turn,
    "nose tip width": lambda h: h.move(h.bump(0.006, -0.026, 0.106, 0.0055, 0.009, 0.01), x=1.6),
    "nose width": lambda h: h.move(h.bump(0.0145, -0.031, 0.092, 0.0075, 0.009, 0.014), x=1.9),
    "nose wings up": lambda h: h.move(h.bump(0.0145, -0.032, 0.092, 0.006, 0.007, 0.010), y=1.6),
    "nose bridge": lambda h: h.shift(h.bump(0.0, 0.008, 0.088, 0.009, 0.014, 0.02), z=2.2),
    "nose bridge width": lambda h: h.move(h.bump(0.008, 0.002, 0.088, 0.006, 0.017, 0.02), x=1.3),
    "nose hump": lambda h: h.shift(h.bump(0.0, -0.006, 0.099, 0.007, 0.008, 0.02), z=1.8),
    # the mouth
    "mouth height": lambda h: h.shift(h.bump(0.0, -0.0585, 0.085, 0.030, 0.013, 0.03), y=2.0),
    "mouth width": lambda h: h.move(
        (h.bump(0.0245, -0.0582, 0.075, 0.012, 0.012, 0.022)) * ~h.hard, x=2.3
    ),
    "upper lip": lambda h: _lip_fullness(h, True),
    "lower lip": lambda h: _lip_fullness(h, False),
    "lips forward": lambda h: h.shift(h.bump(0.0, -0.058, 0.086, 0.020, 0.013, 0.03), z=2.0),
    "mouth corners": lambda h: h.move(h.corners, y=1.5),
    "groove above the lip": lambda h: h.shift(
        h.bump(0.0, -0.044, 0.089, 0.020, 0.006, 0.015) * ~h.hard, z=1.5
    ),
    # the eyes
    "eyes apart": lambda h: h.move(h.eye_region, x=1.6),
    "eyes height": lambda h: h.shift(h.eye_region, y=1.6),
    "eyes depth": lambda h: h.shift(h.eye_region, z=1.4),
    "eye width": lambda h: _on_lids(h, 0.060, 0.0, 0.0),
    "eye opening": lambda h: _on_lids(h, 0.0, 0.095, 0.0),
    "eye tilt": lambda h: _on_lids(h, 0.0, 0.0, 0.070),
    "lid fold": lambda h: h.move(
        h.bump(0.033, 0.0225, 0.076, 0.012, 0.0045, 0.012)
        * (h.part <= PART_NAMES.index("lid_edge"))
        * _above_lids(h),
        y=-1.3,
        z=1.3,
    ),
    # brows, forehead, skull
    "brow height": lambda h: h.shift(h.bump(0.029, 0.033, 0.076, 0.024, 0.0075, 0.025), y=2.0),
    "brow tilt": lambda h: (
        h.shift(h.bump(0.042, 0.033, 0.066, 0.010, 0.007, 0.02), y=1.6)
        - h.shift(h.bump(0.014, 0.032, 0.083, 0.010, 0.007, 0.02), y=1.4)
    ),
    "brow ridge": lambda h: h.shift(
        h.bump(0.024, 0.031, 0.080, 0.024, 0.009, 0.02) * _above_lids(h), z=2.2
    ),
    "brows apart": lambda h: h.move(h.bump(0.017, 0.032, 0.082, 0.010, 0.008, 0.02), x=1.5),
    "forehead": lambda h: h.shift(h.bump(0.0, 0.070, 0.075, 0.045, 0.026, 0.04), z=3.0),
    "forehead height": lambda h: h.shift(smoothstep((h.p[:, 1] - 0.035) / 0.06), y=3.6),
    "temples": lambda h: h.move(h.bump(0.064, 0.035, 0.035, 0.018, 0.024, 0.026), x=2.3),
    "back of the head": lambda h: h.shift(h.bump(0.0, 0.030, -0.100, 0.06, 0.06, 0.04), z=-5.0),
    # ears and neck
    "ear size": _ear_scale,
    "ears out": _ear_out,
    "ear height": lambda h: h.shift(_ears(h), y=2.6),
    "neck width": lambda h: (
        h.move(h.bump(0.046, -0.130, -0.022, 0.03, 0.030, 0.05), x=3.4)
        + h.shift(h.bump(0.0, -0.135, 0.02, 0.03, 0.03, 0.03), z=1.6)
    ),
    "shoulders": lambda h: h.shift(
        smoothstep((-0.125 - h.p[:, 1]) / 0.06) * smoothstep((np.abs(h.p[:, 0]) - 0.03) / 0.06),
        y=6.0,
    ),
    # one side is never quite the other
    "nose aside": lambda h: h.shift(h.bump(0.0, -0.026, 0.100, 0.014, 0.020, 0.03), x=1.2),
    "mouth aside": lambda h: h.shift(h.bump(0.0, -0.0582, 0.082, 0.026, 0.014, 0.03), x=1.2),
    "chin aside": lambda h: h.shift(h.bump(0.0, -0.098, 0.068, 0.034, 0.020, 0.04), x=1.9),
    "eyes level": lambda h: h.shift(h.eye_region * h.mirror, y=0.7),
    "brows level": lambda h: h.shift(
        h.bump(0.029, 0.033, 0.076, 0.024, 0.0075, 0.025) * h.mirror, y=1.0
    ),
    "mouth level": lambda h: h.shift(h.corners * h.mirror, y=1.0),
    "one side wider": lambda h: h.shift(
        h.bump(0.056, -0.035, 0.030, 0.024, 0.04, 0.04) * ~(h.part == PART_NAMES.index("ear")),
        x=1.6,
    ),
}
