"""What a head has besides its skin: lid edges, the mouth's inside, teeth, eyeballs and ears."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightstage.head.sculpture import EYE_CENTRE_M, EYE_RADIUS_M

#: Single precision throughout.
Array = NDArray[Any]
Faces = NDArray[np.int32]
PartName = Literal[
    "skin",
    "lid_edge",
    "mouth_bag",
    "upper_teeth",
    "lower_teeth",
    "eye_left",
    "eye_right",
    "ear",
    "tongue",
    "shirt",
]
PART_NAMES: tuple[PartName, ...] = get_args(PartName)


@dataclass
class Builder:
    """Collects parts into one mesh."""

    vertices: list[Array] = field(default_factory=list)
    faces: list[Faces] = field(default_factory=list)
    part: list[NDArray[np.int8]] = field(default_factory=list)
    side: list[Array] = field(default_factory=list)
    local: list[Array] = field(default_factory=list)
    anchor: list[NDArray[np.int64]] = field(default_factory=list)
    count: int = 0

    def add(
        self,
        name: PartName,
        points: Array,
        side: Array | None = None,
        local: Array | None = None,
        anchor: NDArray[np.int64] | None = None,
    ) -> int:
        """Add a part's points; return the index of the first."""
        first, n = self.count, len(points)
        self.vertices.append(points.astype(np.float32))
        self.part.append(np.full(n, PART_NAMES.index(name), np.int8))
        self.side.append(np.zeros(n, np.float32) if side is None else side.astype(np.float32))
        self.local.append(np.zeros((n, 2), np.float32) if local is None else local)
        own = first + np.arange(n)
        self.anchor.append(own if anchor is None else np.where(anchor < 0, own, anchor))
        self.count += n
        return first


def strip(inner: NDArray[np.int64], outer: NDArray[np.int64], closed: bool = True) -> Faces:
    """Return the triangles between two rows of equal length."""
    if closed:
        inner, outer = np.append(inner, inner[0]), np.append(outer, outer[0])
    a, b, c, d = inner[:-1], inner[1:], outer[:-1], outer[1:]
    return np.concatenate([np.column_stack([a, c, b]), np.column_stack([b, c, d])]).astype(np.int32)


def add_lid_edge(builder: Builder, skin: Array, loop: NDArray[np.int64], mirror: float) -> None:
    """Add the rim of an eye's ``loop`` in the skin, on to the eyeball and behind it."""
    centre = EYE_CENTRE_M * np.array([mirror, 1, 1], np.float32)
    rim = skin[loop]
    out = unit(rim - centre)
    onto_eye = centre + out * (EYE_RADIUS_M + 0.00015)
    behind = centre + (rim - centre) * np.array([1.06, 1.25, 0.45], np.float32)
    # the rim is doubled: it has another colour and another normal towards the eye
    n = len(loop)
    local = np.zeros((3 * n, 2), np.float32)
    local[:, 1] = np.repeat([0.0, 0.5, 1.0], n)
    first = builder.add(
        "lid_edge", np.concatenate([rim, onto_eye, behind]), local=local, anchor=np.tile(loop, 3)
    )
    rows = [first + k * n + np.arange(n) for k in range(3)]
    for outer, inner in pairwise(rows):
        faces = strip(inner, outer)
        # the mirrored loop runs the other way round
        builder.faces.append(faces if mirror > 0 else faces[:, ::-1])


def add_mouth_bag(builder: Builder, skin: Array, loop: NDArray[np.int64]) -> None:
    """Add the cavity behind the slit ``loop`` in the skin; closed lips overlap in it."""
    t = np.linspace(0.0, 2.0 * np.pi, len(loop), endpoint=False)
    rim = skin[loop]
    side = np.sign(np.round(np.sin(t), 6))
    n = len(loop)
    points = [rim]
    depth = [np.zeros(n)]
    for back, swell, squeeze in (
        (0.0030, -0.0006, 1.0),
        (0.0062, 0.0012, 1.0),
        (0.0110, 0.0110, 0.98),
        (0.0240, 0.0150, 0.92),
        (0.0420, 0.0130, 0.70),
        (0.0500, 0.0010, 0.2),
    ):
        ring = rim * np.array([squeeze, 1, 1], np.float32) - np.array([0, 0, back], np.float32)
        ring[:, 1] += swell * np.sin(t)
        points.append(ring)
        depth.append(np.full(n, back / 0.050))
    rows = len(points)
    # the first rows hang on the lips' edge
    anchor = np.concatenate([np.tile(loop, 3), np.full((rows - 3) * n, -1)])
    first = builder.add(
        "mouth_bag",
        np.concatenate(points),
        np.tile(side, rows),
        np.column_stack([np.zeros(rows * n), np.concatenate(depth)]).astype(np.float32),
        anchor,
    )
    index = [first + k * n + np.arange(n) for k in range(rows)]
    for outer, inner in pairwise(index):
        builder.faces.append(strip(inner, outer))


def add_teeth(builder: Builder) -> None:
    """Add both rows of teeth with their gums, the upper bound to the head, the lower to the jaw."""
    columns = 41
    s = np.linspace(-1.0, 1.0, columns)
    x = 0.0255 * np.sin(1.30 * s)
    arch = -0.030 * (1.0 - np.cos(1.30 * s))
    # each row: height over the biting edge, metres ahead of the arch, place down the texture
    profile = (
        (0.0150, -0.0030, 0.0),
        (0.0115, -0.0004, 0.15),
        (0.0085, 0.0000, 0.30),
        (0.0040, 0.0006, 0.65),
        (0.0004, 0.0000, 0.97),
        (0.0000, -0.0012, 1.0),
        (0.0040, -0.0045, 0.65),
        (0.0110, -0.0070, 0.15),
    )
    names: tuple[tuple[PartName, float, float, float], ...] = (
        ("upper_teeth", -0.0616, 0.0808, 1.0),
        ("lower_teeth", -0.0608, 0.0762, -1.0),
    )
    for name, edge, ahead, side in names:
        tooth = 0.00035 * np.abs(np.sin(7.0 * np.pi * s))  # each tooth bulges a little
        rows = [
            np.column_stack(
                [
                    x * (1.0 if side > 0 else 0.95),
                    np.full(columns, edge + side * height * (1.0 if side > 0 else 0.9)),
                    ahead + arch + forward + tooth * (0.2 < down < 0.99),
                ]
            )
            for height, forward, down in profile
        ]
        local = np.column_stack(
            [np.tile(s, len(profile)), np.repeat([down for _, _, down in profile], columns)]
        )
        count = len(profile) * columns
        first = builder.add(
            name, np.concatenate(rows).astype(np.float32), np.full(count, side, np.float32),
            local.astype(np.float32),
        )  # fmt: skip
        index = first + np.arange(count).reshape(len(profile), columns)
        for one, other in pairwise(index):
            faces = strip(one, other, closed=False)
            builder.faces.append(faces if side > 0 else faces[:, ::-1])


def add_tongue(builder: Builder) -> None:
    """Add the tongue, resting behind the lower teeth and moving with the jaw."""
    along, around = 12, 14
    t = np.linspace(0.0, 1.0, along)[:, None]
    turn = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)[None]
    # from the tip to the root
    z = 0.0700 - 0.046 * t
    half = np.sqrt(np.clip(1.0 - (1.0 - np.minimum(t / 0.42, 1.0)) ** 2, 0.0, 1.0))
    wide, thick = 0.0165 * half + 0.0006, 0.0060 * half + 0.0005
    rise = -0.0700 + 0.0055 * np.sin(np.clip(t, 0, 1) * 2.2)
    groove = 0.0012 * np.exp(-((np.cos(turn) / 0.25) ** 2)) * (np.sin(turn) > 0) * half
    x = wide * np.cos(turn)
    y = rise + thick * np.sin(turn) - groove
    z = z + 0.0 * turn
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    points = np.concatenate([points, [[0.0, float(rise[0, 0]), 0.0705]]])
    local = np.column_stack(
        [
            np.append(np.tile(0.5 + 0.5 * np.cos(turn[0]), along), 0.5),
            np.append(np.repeat(t[:, 0], around), 0.0),
        ]
    )
    first = builder.add(
        "tongue", points.astype(np.float32), np.full(len(points), -1.0, np.float32),
        local.astype(np.float32),
    )  # fmt: skip
    index = first + np.arange(along * around).reshape(along, around)
    tip = first + along * around
    builder.faces.append(
        np.column_stack([np.full(around, tip), index[0], np.roll(index[0], -1)]).astype(np.int32)
    )
    for inner, outer in pairwise(index):
        builder.faces.append(strip(inner, outer))


def add_eyeball(builder: Builder, name: PartName, mirror: float) -> None:
    """Add a ball whose rings are densest at the pupil; ``local`` is the gaze's frontal disc."""
    around = 32
    polar = np.concatenate([np.linspace(0.06, 1.15, 15), np.linspace(1.3, np.pi - 0.25, 7)])
    t = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    rings = [
        np.column_stack([np.sin(a) * np.cos(t), np.sin(a) * np.sin(t), np.full(around, np.cos(a))])
        for a in polar
    ]
    ball = np.concatenate([[[0.0, 0.0, 1.0]], *rings, [[0.0, 0.0, -1.0]]])
    angle = np.concatenate([[0.0], np.repeat(polar, around), [np.pi]])
    spread = np.minimum(angle / 1.6, 1.0)[:, None]
    flat = np.concatenate(
        [[[0.0, 0.0]], *([np.column_stack([np.cos(t), np.sin(t)])] * len(polar)), [[0.0, 1.0]]]
    )
    centre = EYE_CENTRE_M * np.array([mirror, 1, 1], np.float32)
    # the cornea stands a little proud of the ball
    radius = EYE_RADIUS_M + 0.0005 * np.exp(-((angle / 0.42) ** 4))
    first = builder.add(
        name,
        (centre + radius[:, None] * ball).astype(np.float32),
        local=(flat * spread).astype(np.float32),
    )
    rows = first + 1 + np.arange(len(polar) * around).reshape(len(polar), around)
    last = first + 1 + len(polar) * around
    fans = [np.column_stack([np.full(around, first), rows[0], np.roll(rows[0], -1)])]
    fans.append(np.column_stack([np.full(around, last), np.roll(rows[-1], -1), rows[-1]]))
    builder.faces += [fan.astype(np.int32) for fan in fans]
    for inner, outer in pairwise(rows):
        builder.faces.append(strip(inner, outer))


def add_ear(builder: Builder, mirror: float) -> None:
    """Add a shell: its outer face from the middle to the rim, then its back."""
    around = 40
    t = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    back, up = np.cos(t), np.sin(t)
    # half-width and half-height of the outline, narrower to the lobe and straight in front
    wide = np.where(back > 0, 0.0165 + 0.003 * up, 0.0125)
    outline_a = wide * np.sign(back) * np.abs(back) ** 0.9 + 0.003 * up
    outline_b = np.where(up > 0, 0.0275, 0.0310) * up
    rear = np.clip(back + 0.45 * np.maximum(up, 0), 0.0, 1.0) ** 0.5
    rows, heights = [], []
    for r in (0.06, 0.22, 0.38, 0.50, 0.60, 0.70, 0.78, 0.85, 0.92, 0.97, 1.0):
        rim = 0.0048 * np.exp(-(((r - 0.92) / 0.075) ** 2)) * (0.35 + 0.65 * rear)
        fold = 0.0036 * np.exp(-(((r - 0.62) / 0.10) ** 2)) * rear
        bowl = -0.0075 * np.exp(-((r / 0.42) ** 2))
        lobe = 0.002 * np.clip(-up, 0, 1) ** 2 * (r < 0.95)
        rows.append(np.column_stack([r * outline_a, r * outline_b]))
        heights.append(rim + fold + bowl + lobe)
    for r, low in ((0.99, -0.0035), (0.9, -0.0055), (0.6, -0.0075), (0.35, -0.0125)):
        rows.append(np.column_stack([r * outline_a, r * outline_b]))
        heights.append(np.full(around, low))
    ab, height = np.concatenate(rows), np.concatenate(heights)
    lean, tilt = np.deg2rad(21.0), np.deg2rad(10.0)
    a_axis = np.array([np.sin(lean), 0.0, -np.cos(lean)])
    b_axis = np.array([0.12, np.cos(tilt), -np.sin(tilt)])
    n_axis = np.array([np.cos(lean), 0.0, np.sin(lean)])
    centre = np.array([0.0765, -0.003, -0.012])
    points = centre + ab[:, :1] * a_axis + ab[:, 1:] * b_axis + height[:, None] * n_axis
    points[:, 0] *= mirror
    local = np.column_stack([ab[:, 0] / 0.05 + 0.5, ab[:, 1] / 0.08 + 0.5])
    first = builder.add("ear", points.astype(np.float32), local=local.astype(np.float32))
    index = first + np.arange(len(rows) * around).reshape(len(rows), around)
    for inner, outer in pairwise(index):
        faces = strip(inner, outer)
        builder.faces.append(faces if mirror > 0 else faces[:, ::-1])


def unit(v: NDArray[np.floating]) -> Array:
    """Return vectors ``(n, 3)`` at length 1."""
    return np.asarray(v / np.linalg.norm(v, axis=1, keepdims=True), np.float32)
