"""How the sculpted head varies: identity, expression, skinning weights and pose correctives.

Every component is a smooth field over the neutral mesh, with one standard deviation, or one full
action of a muscle group, at coefficient 1: :mod:`identity` and :mod:`expression` hold them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightstage.head.expression import EXPRESSION
from lightstage.head.head_file import PARENTS
from lightstage.head.identity import IDENTITY, Field
from lightstage.head.parts import PART_NAMES
from lightstage.head.place import Array, Place, smoothstep
from lightstage.head.sculpture import EYE_CENTRE_M, NECK_END_M
from lightstage.head.skin import Sculpt

__all__ = [
    "EXPRESSION",
    "IDENTITY",
    "basis",
    "joint_regressor",
    "pose_correctives",
    "skinning_weights",
]

NECK, JAW, EYE_LEFT, EYE_RIGHT = 1, 2, 3, 4
#: Height and depth of the jaw's hinge.
_HINGE_M = (-0.018, 0.004)


def basis(neutral: Sculpt, fields: dict[str, Field]) -> Array:
    """Return the components as ``(V, 3, len(fields))`` metres per unit coefficient.

    An eyeball moves as one piece: with the field's value at its centre.
    """
    place = Place.of(neutral)
    return np.stack([field(place) for field in fields.values()], axis=-1)


def skinning_weights(neutral: Sculpt) -> Array:
    """Return how much each vertex follows each joint, ``(V, 5)``; rows add up to 1."""
    p = neutral.vertices.astype(np.float64)
    out = np.hypot(p[:, 0], p[:, 2] + 0.035)
    # the shoulders stay, whatever their height
    on_neck = np.maximum(smoothstep((0.100 - out) / 0.04), smoothstep((p[:, 1] + 0.130) / 0.03))
    head = smoothstep((p[:, 1] - (NECK_END_M + 0.020)) / 0.085) * on_neck
    head = np.maximum(head, smoothstep((p[:, 2] - 0.045) / 0.02))
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
    middle = np.degrees(np.arctan2(-0.0582 - _HINGE_M[0], 0.080))
    behind = smoothstep(0.5 - (angle - middle) / 44.0)
    # about the mouth its own shape divides: an opening jaw makes it an ellipse
    place = Place.of(neutral)
    around = 0.5 - 0.5 * place.above_mouth
    near = np.exp(-((place.away_from_mouth / 1.15) ** 2)) * smoothstep((p[:, 2] - 0.030) / 0.03)
    weight = behind + near * (around - behind)
    weight = weight * smoothstep((0.020 - p[:, 1]) / 0.04)
    bag = neutral.part == PART_NAMES.index("mouth_bag")
    weight = np.where(bag, around, weight)
    tooth = np.isin(
        neutral.part, [PART_NAMES.index(n) for n in ("upper_teeth", "lower_teeth", "tongue")]
    )
    weight = np.where(tooth, neutral.side < 0, weight)
    # under the chin the skin runs back to a neck that stays
    throat = smoothstep((angle + 112.0) / 45.0) * smoothstep((p[:, 2] + 0.012) / 0.03)
    weight = weight * np.where(neutral.side != 0, 1.0, throat)
    return np.where(neutral.part == PART_NAMES.index("ear"), 0.0, weight)


def pose_correctives(neutral: Sculpt) -> Array:
    """Return ``(V, 3, 36)`` metres per element of (rotation - identity) of joints 1 to 4.

    An opening jaw pushes the skin under the chin down and draws the cheeks in.
    """
    place = Place.of(neutral)
    correctives = np.zeros((len(neutral.vertices), 3, 36))
    sine_of_opening = 9 * (JAW - 1) + 3 * 2 + 1
    correctives[:, :, sine_of_opening] = place.move(
        place.bump(0.0, -0.109, 0.045, 0.03, 0.02, 0.03), y=-8.0
    ) + place.move(place.bump(0.046, -0.044, 0.052, 0.015, 0.020, 0.025) * ~place.hard, x=-7.0)
    # lids follow the gaze, both alike, so that closed ones stay closed
    for joint, left in ((EYE_LEFT, True), (EYE_RIGHT, False)):
        q, upper, lower = place.lids(left)
        down = -0.0048 * np.maximum(upper, lower) * smoothstep((0.0155 - np.abs(q[:, 0])) / 0.013)
        back = -(q[:, 1] * down) / np.maximum(q[:, 2], 0.010)
        sine_of_looking_down = 9 * (joint - 1) + 3 * 2 + 1
        correctives[:, 1, sine_of_looking_down] = down
        correctives[:, 2, sine_of_looking_down] = back
    return correctives


def joint_regressor(neutral: Sculpt) -> Array:
    """Return ``(5, V)``: each joint as a mean of vertices that stand about it."""
    p = neutral.vertices.astype(np.float64)
    regressor = np.zeros((len(PARENTS), len(p)))
    skin = neutral.part == PART_NAMES.index("skin")
    groups = {
        0: (neutral.part == PART_NAMES.index("shirt")) & (p[:, 1] < NECK_END_M + 1e-3),
        NECK: skin
        & (np.abs(p[:, 1] + 0.122) < 0.008)
        & (p[:, 2] < 0.03)
        & (np.abs(p[:, 0]) < 0.055),
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
