"""The landmark image: lines along jaw, brows, nose, lids and lips, and a disc for each pupil."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile
from lightstage.pinhole import PinholeCamera
from relight_model.conditioning.compiled import compiled

#: What each channel of the landmark image shows.
CHANNELS = ("outline", "lids", "lips and pupils")
#: Lines through the 68 landmarks in iBUG order: channel, first, last, whether it is closed.
LINES = (
    (0, 0, 16, False),  # jaw
    (0, 17, 21, False),  # brows
    (0, 22, 26, False),
    (0, 27, 30, False),  # nose
    (0, 31, 35, False),
    (1, 36, 41, True),  # lids
    (1, 42, 47, True),
    (2, 48, 59, True),  # lips, outside and inside
    (2, 60, 67, True),
)
#: How wide a line is on the head, and how large a pupil's disc; a line has a pixel at least.
LINE_M, PUPIL_M = 0.0016, 0.0035
_LEAST_PX = 1.0
#: The eyes' joints, and the landmarks of the lids before each.
_EYES = ((3, 42, 48), (4, 36, 42))
_NEAR_M = 0.02


def _segments() -> NDArray[np.int64]:
    """Return the lines' pieces ``(n, 3)``: from, to, channel."""
    pieces = []
    for channel, first, last, closed in LINES:
        pieces += [(k, k + 1, channel) for k in range(first, last)]
        pieces += [(last, first, channel)] * closed
    return np.array(pieces, np.int64)


_SEGMENTS = _segments()


def find_pupils(head: HeadFile) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pupils' triangles on the mesh: corners ``(2, 3)`` and weights ``(2, 3)``.

    Left eye first. They lie where the axis of the resting eyeball, along +Z from its joint, leaves
    it. A head without eyeballs has none: the arrays then have no rows.
    """
    corners, weights = [], []
    faces = head.f.astype(np.int64)
    for joint, _, _ in _EYES:
        own = faces[(head.weights[faces, joint] > 0.5).all(axis=1)]
        centre = head.J[joint]
        a, b, c = (head.v_template[own[:, k]] - centre for k in range(3))
        # barycentric weights of the axis in each triangle as seen along Z
        areas = np.stack(
            [p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((b, c), (c, a), (a, b))], axis=1
        )
        total = areas.sum(axis=1)
        shares = areas / np.where(np.abs(total) > 1e-18, total, np.inf)[:, None]
        depth = (shares * np.stack([a[:, 2], b[:, 2], c[:, 2]], axis=1)).sum(axis=1)
        hit = (shares >= -1e-9).all(axis=1) & (total > 0) & (depth > 0)
        if not hit.any():
            return np.zeros((0, 3), np.int64), np.zeros((0, 3))
        chosen = np.flatnonzero(hit)[np.argmax(depth[hit])]
        corners.append(own[chosen])
        weights.append(shares[chosen])
    return np.array(corners), np.array(weights)


def draw_landmarks(
    landmarks: NDArray[np.floating], pupils: NDArray[np.floating], camera: PinholeCamera
) -> NDArray[np.float32]:
    """Return the landmark image ``(height, width, 3)`` in [0, 1], anti-aliased.

    Channels as :data:`CHANNELS`. All landmarks are drawn, hidden ones too; of a pupil only what
    lies between the lids, so that a closed eye shows none.

    Args:
        landmarks: ``(68, 3)`` world metres, iBUG order.
        pupils: ``(2, 3)``, left eye first; or no row.
        camera: where from.
    """
    picture = np.zeros((camera.height, camera.width, 3), np.float32)
    ahead = camera.distance_m - landmarks[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = camera.project(landmarks)
        spots = camera.project(pupils)
    scale = camera.focal_px / max(float(np.median(ahead)), _NEAR_M)
    half = 0.5 * max(_LEAST_PX, LINE_M * scale)
    usable = (ahead > _NEAR_M) & np.isfinite(places).all(axis=1)
    chosen = usable[_SEGMENTS[:, :2]].all(axis=1)
    _draw_segments(picture, np.nan_to_num(places), _SEGMENTS[chosen], half)
    radius = max(0.75 * _LEAST_PX, PUPIL_M * scale)
    for k in range(len(pupils)):
        _, first, last = _EYES[k]
        if usable[first:last].all() and camera.distance_m - pupils[k, 2] > _NEAR_M:
            _draw_pupil(picture, spots[k], places[first:last], radius)
    return picture


@compiled
def _draw_segments(picture: Any, places: Any, segments: Any, half: float) -> None:
    """Draw lines of round ends: a pixel's value is what of it the nearest line covers."""
    height, width = picture.shape[:2]
    reach = half + 0.5
    for s in range(segments.shape[0]):
        ax, ay = places[segments[s, 0], 0], places[segments[s, 0], 1]
        bx, by = places[segments[s, 1], 0], places[segments[s, 1], 1]
        channel = segments[s, 2]
        ux, uy = bx - ax, by - ay
        square = ux * ux + uy * uy
        top = max(0, int(np.ceil(max(min(ay, by) - reach, 0.0))))
        bottom = int(np.floor(min(max(ay, by) + reach, height - 1.0)))
        for y in range(top, bottom + 1):
            # of a slanted line only the columns near it
            low, high = min(ax, bx), max(ax, bx)
            if abs(uy) > 1e-9:
                t0 = min(max((y - reach - ay) / uy, 0.0), 1.0)
                t1 = min(max((y + reach - ay) / uy, 0.0), 1.0)
                x0, x1 = ax + t0 * ux, ax + t1 * ux
                low, high = min(x0, x1), max(x0, x1)
            first = int(np.ceil(max(low - reach, 0.0)))
            last = int(np.floor(min(high + reach, width - 1.0)))
            for x in range(first, last + 1):
                t = 0.0
                if square > 0.0:
                    t = min(max(((x - ax) * ux + (y - ay) * uy) / square, 0.0), 1.0)
                dx, dy = x - ax - t * ux, y - ay - t * uy
                cover = min(reach - np.sqrt(dx * dx + dy * dy), 1.0)
                if cover > picture[y, x, channel]:
                    picture[y, x, channel] = cover


@compiled
def _draw_pupil(picture: Any, spot: Any, lids: Any, radius: float) -> None:
    """Draw the part of a disc that lies inside the polygon of the lids."""
    height, width = picture.shape[:2]
    reach = radius + 0.5
    first_y = int(np.ceil(max(spot[1] - reach, 0.0)))
    last_y = int(np.floor(min(spot[1] + reach, height - 1.0)))
    first_x = int(np.ceil(max(spot[0] - reach, 0.0)))
    last_x = int(np.floor(min(spot[0] + reach, width - 1.0)))
    corners = lids.shape[0]
    # how open the eye is: a polygon thinner than a pixel covers only so much of it
    area = 0.0
    for k in range(corners):
        m = (k + 1) % corners
        area += lids[k, 0] * lids[m, 1] - lids[k, 1] * lids[m, 0]
    across = np.sqrt((lids[0, 0] - lids[3, 0]) ** 2 + (lids[0, 1] - lids[3, 1]) ** 2)
    opening = min(0.5 * abs(area) / max(across, 1e-6), 1.0)
    for y in range(first_y, last_y + 1):
        for x in range(first_x, last_x + 1):
            cover = min(reach - np.sqrt((x - spot[0]) ** 2 + (y - spot[1]) ** 2), 1.0)
            if cover <= 0.0:
                continue
            inside = False
            nearest = np.inf
            for k in range(corners):
                m = (k + 1) % corners
                ax, ay, bx, by = lids[k, 0], lids[k, 1], lids[m, 0], lids[m, 1]
                if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                    inside = not inside
                ux, uy = bx - ax, by - ay
                square = max(ux * ux + uy * uy, 1e-12)
                t = min(max(((x - ax) * ux + (y - ay) * uy) / square, 0.0), 1.0)
                dx, dy = x - ax - t * ux, y - ay - t * uy
                nearest = min(nearest, np.sqrt(dx * dx + dy * dy))
            between = min(max(0.5 + (nearest if inside else -nearest), 0.0), opening)
            cover *= between
            if cover > picture[y, x, 2]:
                picture[y, x, 2] = cover
