"""How the sculpted head varies: identity, expression, skinning weights and pose correctives.

Every component is a smooth field over the neutral mesh, with one standard deviation, or one full
action of a muscle group, at coefficient 1. Append to :data:`IDENTITY` and :data:`EXPRESSION` to
refine a basis: nothing else counts their length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.head.head_file import PARENTS
from lightstage.head.parts import PART_NAMES
from lightstage.head.sculpture import (
    EYE_CENTRE_M,
    LID_RADIUS_M,
    MOUTH_HALF_WIDTH_M,
    NECK_END_M,
    mouth_line,
)
from lightstage.head.skin import Sculpt

Array = NDArray[np.float64]

NECK, JAW, EYE_LEFT, EYE_RIGHT = 1, 2, 3, 4
_HINGE_M = (-0.022, 0.004)


@dataclass(frozen=True)
class Place:
    """What a field is evaluated on: points, whose eyeballs stand at their centres, and labels."""

    p: Array
    side: Array
    part: NDArray[np.int8]

    @property
    def mirror(self) -> Array:
        """+1 on the subject's left, -1 on the right, smooth across the middle, ``(V,)``."""
        return np.asarray(np.tanh(self.p[:, 0] / 0.006))

    def bump(self, x: float, y: float, z: float, rx: float, ry: float, rz: float) -> Array:
        """Return a bell on both sides of the face, 1 at its top, ``(V,)``."""
        q = np.column_stack([np.abs(self.p[:, 0]) - x, self.p[:, 1] - y, self.p[:, 2] - z])
        return np.asarray(np.exp(-0.5 * ((q / [rx, ry, rz]) ** 2).sum(axis=1)))

    def move(self, weight: Array, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
        """Return ``(V, 3)``: ``weight`` times millimetres; ``x`` is away from the middle."""
        offset = np.column_stack(
            [x * self.mirror, np.full(len(weight), y), np.full(len(weight), z)]
        )
        return np.asarray(1e-3 * weight[:, None] * offset)

    @property
    def lip(self) -> Array:
        """+1 on the upper lip, -1 on the lower, falling off away from the mouth, ``(V,)``."""
        across = self.p[:, 1] - mouth_line(self.p[:, 0].astype(np.float32))
        sign = np.where(self.side != 0, self.side, np.tanh(across / 0.0008))
        return np.asarray(sign * self.near_mouth)

    @property
    def near_mouth(self) -> Array:
        """1 between the mouth's corners on the lips, falling off around, ``(V,)``."""
        t = np.clip(1.0 - (np.abs(self.p[:, 0]) / (MOUTH_HALF_WIDTH_M + 0.001)) ** 2, 0.0, 1.0)
        across = np.where(self.side != 0, 0.0, self.p[:, 1] - mouth_line(self.p[:, 0].astype("f4")))
        ahead = 1.0 / (1.0 + np.exp(-(self.p[:, 2] - 0.045) / 0.006))
        return np.asarray(t * np.exp(-0.5 * (across / 0.0085) ** 2) * ahead)


Field = Callable[[Place], Array]

IDENTITY: dict[str, Field] = {
    "size": lambda h: 0.022 * h.p,
    "width": lambda h: h.p * [0.032, 0.0, 0.0],
    "height": lambda h: h.p * [0.0, 0.028, 0.0],
    "jaw width": lambda h: h.move(h.bump(0.055, -0.075, 0.015, 0.03, 0.035, 0.05), x=3.0),
    "chin length": lambda h: h.move(h.bump(0.0, -0.112, 0.065, 0.035, 0.024, 0.04), y=-3.5),
    "chin forward": lambda h: h.move(h.bump(0.0, -0.105, 0.078, 0.025, 0.018, 0.03), z=2.8),
    "nose length": lambda h: h.move(h.bump(0.0, -0.034, 0.105, 0.018, 0.014, 0.03), y=-2.2, z=0.6),
    "nose forward": lambda h: h.move(h.bump(0.0, -0.026, 0.112, 0.011, 0.018, 0.02), z=2.4),
    "nose width": lambda h: h.move(h.bump(0.013, -0.036, 0.095, 0.008, 0.010, 0.014), x=1.5),
    "nose bridge": lambda h: h.move(h.bump(0.0, 0.006, 0.092, 0.008, 0.014, 0.02), z=1.8),
    "brow": lambda h: h.move(h.bump(0.026, 0.032, 0.078, 0.022, 0.009, 0.02), y=-0.6, z=1.7),
    "cheekbones": lambda h: h.move(h.bump(0.050, -0.012, 0.05, 0.018, 0.016, 0.025), x=2.0, z=1.0),
    "cheeks": lambda h: h.move(h.bump(0.042, -0.050, 0.055, 0.020, 0.024, 0.03), x=2.2, z=1.4),
    "lips": lambda h: h.move(np.abs(h.lip), z=1.2) + h.move(h.lip - h.side * h.near_mouth, y=0.8),
    "mouth width": lambda h: h.move(h.bump(0.024, -0.066, 0.075, 0.011, 0.012, 0.02), x=1.8),
    "eyes apart": lambda h: h.move(h.bump(0.0315, 0.0125, 0.075, 0.018, 0.015, 0.03), x=1.1),
    "forehead": lambda h: h.move(h.bump(0.0, 0.07, 0.08, 0.04, 0.03, 0.04), z=2.2),
    "neck width": lambda h: h.move(h.bump(0.05, -0.17, -0.03, 0.04, 0.045, 0.06), x=2.4),
}

EXPRESSION: dict[str, Field] = {
    "lips apart": lambda h: (
        h.move(np.maximum(h.lip, 0), y=1.6) + h.move(np.minimum(h.lip, 0), y=4.2)
    ),
    "smile": lambda h: (
        h.move(h.bump(0.0265, -0.066, 0.073, 0.0095, 0.012, 0.025), x=4.2, y=4.6, z=-1.8)
        + h.move(h.bump(0.040, -0.022, 0.060, 0.014, 0.013, 0.02), y=2.2, z=1.6)
    ),
    "pucker": lambda h: (
        h.move(h.bump(0.0225, -0.066, 0.075, 0.010, 0.012, 0.02), x=-6.5, z=2.0)
        + h.move(h.bump(0.0, -0.0665, 0.09, 0.013, 0.011, 0.02), z=4.0)
    ),
    "stretch": lambda h: h.move(h.bump(0.0255, -0.068, 0.074, 0.010, 0.011, 0.02), x=4.0, z=-1.5),
    "brows up": lambda h: h.move(h.bump(0.028, 0.034, 0.076, 0.022, 0.010, 0.03), y=4.2, z=0.4),
    "frown": lambda h: h.move(
        h.bump(0.013, 0.031, 0.082, 0.010, 0.008, 0.03), x=-2.2, y=-3.0, z=0.8
    ),
    "blink left": lambda h: _closed_lids(h, 1.0),
    "blink right": lambda h: _closed_lids(h, -1.0),
    "cheek puff": lambda h: h.move(h.bump(0.040, -0.056, 0.06, 0.014, 0.017, 0.025), x=4.5, z=4.0),
    "upper lip up": lambda h: h.move(np.maximum(h.lip, 0), y=3.4, z=0.6),
    "lower lip down": lambda h: h.move(np.maximum(-h.lip, 0), y=-4.0, z=0.5),
    "corners down": lambda h: h.move(
        h.bump(0.0265, -0.067, 0.073, 0.009, 0.010, 0.02), x=0.6, y=-4.2
    ),
    "lips pressed": lambda h: h.move(h.near_mouth * (h.side == 0), z=-1.6),
    "nose wrinkle": lambda h: h.move(
        h.bump(0.012, -0.028, 0.094, 0.009, 0.011, 0.02), x=0.7, y=2.2
    ),
}


def basis(neutral: Sculpt, fields: dict[str, Field]) -> Array:
    """Return the components as ``(V, 3, len(fields))`` metres per unit coefficient.

    An eyeball moves as one piece: with the field's value at its centre.
    """
    place = Place(_rigid_eyes(neutral), neutral.side.astype(np.float64), neutral.part)
    return np.stack([field(place) for field in fields.values()], axis=-1)


def _rigid_eyes(neutral: Sculpt) -> Array:
    points = neutral.vertices.astype(np.float64)
    for name, mirror in (("eye_left", 1.0), ("eye_right", -1.0)):
        eye = neutral.part == PART_NAMES.index(name)
        points[eye] = EYE_CENTRE_M * [mirror, 1.0, 1.0]
    return points


def _closed_lids(h: Place, mirror: float) -> Array:
    """Return how the skin about one eye moves when its lids meet: along the eyeball's surface."""
    centre = EYE_CENTRE_M.astype(np.float64) * [mirror, 1.0, 1.0]
    q = h.p - centre
    in_lids = (h.part <= PART_NAMES.index("lid_edge")) & (q[:, 2] > -0.004)
    frontal = np.hypot(q[:, 0] / 0.0155, q[:, 1] / 0.0155)
    fade = np.clip((1.25 - frontal) / 0.75, 0.0, 1.0)
    fade = fade * fade * (3.0 - 2.0 * fade) * in_lids
    # the height at which lids meet follows the lower lid
    shut = (
        -0.0034 * np.clip(1.0 - (q[:, 0] / 0.0138) ** 2, 0.0, 1.0)
        + 0.0010 * q[:, 0] / 0.0136 * mirror
    )
    # the upper lid comes nearly all the way; what is near its edge moves most
    edge_up, edge_low = 0.0058, -0.0047
    up = q[:, 1] > shut
    reach = np.where(up, edge_up, edge_low) * np.clip(1.0 - (q[:, 0] / 0.0150) ** 2, 0.0, 1.0)
    beyond = np.where(up, q[:, 1] - reach, reach - q[:, 1])
    pull = np.exp(-np.maximum(beyond, 0.0) / 0.0045)
    down = (shut - reach) * pull * fade
    target = q + np.column_stack([np.zeros(len(q)), down, np.zeros(len(q))])
    lengths = np.linalg.norm(q, axis=1)
    level = np.hypot(target[:, 0], target[:, 1])
    keep = np.maximum(lengths, LID_RADIUS_M * 1.02)
    onto = np.sqrt(np.maximum(keep**2 - level**2, 1e-8))
    ahead = np.where(np.abs(down) > 1e-5, np.maximum(onto - q[:, 2], 0.0), 0.0) * fade
    return np.column_stack([np.zeros(len(q)), down, ahead])


def skinning_weights(neutral: Sculpt) -> Array:
    """Return how much each vertex follows each joint, ``(V, 5)``; rows add up to 1."""
    p = neutral.vertices.astype(np.float64)
    head = _smoothstep((p[:, 1] - (NECK_END_M + 0.02)) / 0.085)
    head = np.maximum(head, _smoothstep((p[:, 2] - 0.045) / 0.02))
    jaw = _jaw_weight(neutral) * head
    weights = np.zeros((len(p), len(PARENTS)))
    weights[:, JAW] = jaw
    weights[:, NECK] = head - jaw
    weights[:, 0] = 1.0 - head
    for name, joint in (("eye_left", EYE_LEFT), ("eye_right", EYE_RIGHT)):
        eye = neutral.part == PART_NAMES.index(name)
        weights[eye] = 0.0
        weights[eye, joint] = 1.0
    return weights


def _jaw_weight(neutral: Sculpt) -> Array:
    """Return how much each vertex follows the jaw: all below the lips, gradually in the cheeks."""
    p = neutral.vertices.astype(np.float64)
    height, ahead = p[:, 1] - _HINGE_M[0], p[:, 2] - _HINGE_M[1]
    angle = np.degrees(np.arctan2(height, ahead))
    line = mouth_line(p[:, 0].astype(np.float32)) - _HINGE_M[0]
    middle = np.degrees(np.arctan2(line, 0.084 - 14.0 * np.minimum(np.abs(p[:, 0]), 0.03) ** 2))
    outward = np.clip(np.abs(p[:, 0]) / MOUTH_HALF_WIDTH_M, 0.0, 1.6)
    width = 0.35 + 15.0 * outward**3
    # on the lips their own line divides, whatever their fullness; farther back the hinge's angle
    ahead_of_cheek = _smoothstep((p[:, 2] - 0.03) / 0.03)
    on_lips = np.degrees((height - line) / 0.085)
    below = angle - middle + ahead_of_cheek * (on_lips - (angle - middle))
    weight = _smoothstep(0.5 - below / (2.0 * width))
    half = 0.5 + 0.5 * np.clip(1.0 - outward**3, 0.0, 1.0)
    weight = np.where(neutral.side > 0, 1.0 - half, np.where(neutral.side < 0, half, weight))
    tooth = np.isin(
        neutral.part, [PART_NAMES.index("upper_teeth"), PART_NAMES.index("lower_teeth")]
    )
    weight = np.where(tooth, neutral.side < 0, weight)
    # under the chin the skin runs back to a neck that stays
    throat = _smoothstep((angle + 115.0) / 45.0) * _smoothstep((p[:, 2] + 0.012) / 0.03)
    weight = weight * np.where(neutral.side != 0, 1.0, throat)
    return np.where(neutral.part == PART_NAMES.index("ear"), 0.0, weight)


def pose_correctives(neutral: Sculpt) -> Array:
    """Return ``(V, 3, 36)`` metres per element of (rotation - identity) of joints 1 to 4.

    An opening jaw pushes the skin under the chin down and draws the cheeks in.
    """
    place = Place(_rigid_eyes(neutral), neutral.side.astype(np.float64), neutral.part)
    correctives = np.zeros((len(neutral.vertices), 3, 36))
    sine_of_opening = 9 * (JAW - 1) + 3 * 2 + 1
    correctives[:, :, sine_of_opening] = place.move(
        place.bump(0.0, -0.122, 0.045, 0.03, 0.02, 0.03), y=-9.0
    ) + place.move(place.bump(0.046, -0.050, 0.052, 0.015, 0.022, 0.025), x=-7.0)
    return correctives


def joint_regressor(neutral: Sculpt) -> Array:
    """Return ``(5, V)``: each joint as a mean of vertices that stand about it."""
    p = neutral.vertices.astype(np.float64)
    regressor = np.zeros((len(PARENTS), len(p)))
    skin = neutral.part == PART_NAMES.index("skin")
    groups = {
        0: skin & (p[:, 1] < NECK_END_M + 1e-3),
        NECK: skin & (np.abs(p[:, 1] + 0.135) < 0.008) & (p[:, 2] < 0.03),
        JAW: skin & _near(p, (0.064, _HINGE_M[0], _HINGE_M[1]), 0.012),
        EYE_LEFT: neutral.part == PART_NAMES.index("eye_left"),
        EYE_RIGHT: neutral.part == PART_NAMES.index("eye_right"),
    }
    for joint, members in groups.items():
        regressor[joint, members] = 1.0 / members.sum()
    # the iris is sampled most densely: weigh an eyeball's vertices so that its centre comes out
    for joint, mirror in ((EYE_LEFT, 1.0), (EYE_RIGHT, -1.0)):
        members = np.flatnonzero(groups[joint])
        centre = EYE_CENTRE_M * [mirror, 1.0, 1.0]
        system = np.vstack([p[members].T - centre[:, None], np.ones((1, len(members)))])
        regressor[joint, members] = np.linalg.lstsq(system, np.array([0.0, 0, 0, 1.0]), rcond=None)[
            0
        ]
    return regressor


def _near(p: Array, place: tuple[float, float, float], radius_m: float) -> NDArray[np.bool_]:
    q = np.column_stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]]) - place
    return np.asarray(np.linalg.norm(q, axis=1) < radius_m)


def _smoothstep(t: Array) -> Array:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))
