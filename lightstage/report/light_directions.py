"""A calibration of light directions as a picture: highlights on the spheres, and a light chart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.calibration.light_directions import LightDirections
from lightstage.colour import decode_srgb, encode_srgb

_PAPER = (252, 252, 250)
_INK = (38, 42, 48)
_FAINT = (128, 134, 142)
_RULE = (216, 219, 223)
_SEEN = (56, 132, 112)
_ON_DARK = (120, 240, 200)
_DOUBTFUL = (240, 152, 36)
_LOST = (206, 66, 48)

#: Panels are squares of this side, in pixels; gaps and the head lie around them.
_PANEL, _GAP, _HEAD, _FOOT = 520, 30, 86, 62
#: A light less certain than this is drawn as doubtful, in degrees.
_DOUBTFUL_DEG = 0.25


def light_directions_picture(
    found: LightDirections, nominal: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Return a linear picture of a calibration: a panel a sphere, and two of the light chart.

    Args:
        found: the calibration.
        nominal: where lights should be, ``(lights, 3)``: drawn as small circles, and the only
            place of lights that were not found.
    """
    panels: list[tuple[str, str, NDArray[np.uint8]]] = []
    for number, silhouette in enumerate(found.silhouettes):
        title = "Highlights on the sphere"
        if len(found.silhouettes) > 1:
            title = f"Highlights on sphere {number + 1}"
        fitted = f"outline misses the fitted one by {silhouette.rms_px:.2f} px (rms)"
        note = fitted if len(silhouette.edge_px) else "outline as given"
        panels.append((title, note, _sphere_panel(found, number)))
    for front in (True, False):
        title = "Lights on the camera's side" if front else "Lights behind the performer"
        note = "as the camera sees them; rings every 30 degrees from the "
        note += "camera's axis" if front else "axis behind"
        panels.append((title, note, _chart(found, nominal, front=front)))
    width = len(panels) * (_PANEL + _GAP) + _GAP
    page = np.empty((_HEAD + 40 + _PANEL + _FOOT, width, 3), np.uint8)
    page[:] = _PAPER
    seen = int(found.seen.sum())
    sure = np.median(found.uncertainty_deg[found.seen]) if seen else math.nan
    _write(page, _GAP, 42, f"{seen} of {len(found.names)} lights found", 24, weight=650)
    words = f"uncertainty {sure:.2f} degrees in the median"
    residual = found.residual_deg[np.isfinite(found.residual_deg)]
    if len(residual):
        words += f"; the spheres agree to {np.median(residual):.2f} degrees"
    _write(page, _GAP, 66, words, 15, _FAINT)
    for index, (title, note, panel) in enumerate(panels):
        left = _GAP + index * (_PANEL + _GAP)
        _write(page, left, _HEAD + 26, title, 16, weight=650)
        page[_HEAD + 40 : _HEAD + 40 + _PANEL, left : left + _PANEL] = panel
        _write(page, left, _HEAD + 40 + _PANEL + 22, note, 13, _FAINT)
    x = _GAP
    legend = [(_SEEN, "found"), (_DOUBTFUL, f"uncertain by more than {_DOUBTFUL_DEG} degrees")]
    if nominal is not None:
        legend += [(_LOST, "not found, drawn where it should be"), (_FAINT, "where it should be")]
    for colour, words in legend:
        at = (x + 6, page.shape[0] - 19)
        cv2.circle(page, at, 5, colour, -1 if colour in (_SEEN, _DOUBTFUL) else 1, cv2.LINE_AA)
        x = _write(page, x + 18, page.shape[0] - 14, words, 13) + 28
    return decode_srgb(page.astype(np.float32) / 255.0)


def _sphere_panel(found: LightDirections, number: int) -> NDArray[np.uint8]:
    """Draw one sphere's part of the brightest picture, its outline, and every highlight."""
    circle = found.silhouettes[number].circle
    half = 1.12 * circle.radius
    scale = _PANEL / (2 * half)
    # the pixel (x, y) comes to ((x, y) - middle) * scale + half a panel
    matrix = np.array(
        [
            [scale, 0.0, _PANEL / 2 - 0.5 - circle.x * scale],
            [0.0, scale, _PANEL / 2 - 0.5 - circle.y * scale],
        ]
    )
    light = np.clip(found.brightest, 0.0, None)
    top = max(float(np.percentile(light, 99.9)), 1e-6)
    # a square root more than a display needs, for what the dark ball shows to be seen; and not
    # bright, for the numbers to be read
    shown = encode_srgb(np.sqrt(np.clip(light / top, 0.0, 1.0)) * 0.25)
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    gray = cv2.warpAffine((shown * 255).astype(np.uint8), matrix, (_PANEL, _PANEL), flags=how)
    panel = np.repeat(gray[..., None], 3, axis=2)

    def at(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(pixels @ matrix[:, :2].T + matrix[:, 2])

    outline = np.rint(at(found.silhouettes[number].outline_px()) * 16).astype(np.int32)
    cv2.polylines(panel, [outline], True, (110, 190, 255), 1, cv2.LINE_AA, shift=4)
    spots = [(i, row[number]) for i, row in enumerate(found.highlights)]
    spots = [(i, spot) for i, spot in spots if np.isfinite(spot.pixel[0])]
    places = at(np.array([spot.pixel for _, spot in spots]).reshape(-1, 2))
    numbers = _free_labels(places)
    for (index, spot), (x, y), labelled in zip(spots, places, numbers, strict=True):
        colour = _colour(spot.uncertainty_deg) if spot.seen else _LOST
        colour = _ON_DARK if colour == _SEEN else colour
        centre = (round(x), round(y))
        cv2.drawMarker(panel, centre, colour, cv2.MARKER_CROSS, 9, 1, cv2.LINE_AA)
        if labelled:
            _write(panel, x + 7, y - 5, f"{index}", 12, (255, 224, 130))
    return panel


def _chart(
    found: LightDirections, nominal: NDArray[np.floating] | None, *, front: bool
) -> NDArray[np.uint8]:
    """Draw one half of all directions as an equal-area disc, +X right and +Y up."""
    panel = np.empty((_PANEL, _PANEL, 3), np.uint8)
    panel[:] = _PAPER
    radius, middle = _PANEL / 2 - 16, _PANEL / 2
    for angle in (30, 60, 90):
        ring = radius * math.sqrt(2.0) * math.sin(math.radians(angle) / 2)
        cv2.circle(panel, (round(middle), round(middle)), round(ring), _RULE, 1, cv2.LINE_AA)
    ends = (round(middle - radius), round(middle + radius))
    cv2.line(panel, (ends[0], round(middle)), (ends[1], round(middle)), _RULE, 1, cv2.LINE_AA)
    cv2.line(panel, (round(middle), ends[0]), (round(middle), ends[1]), _RULE, 1, cv2.LINE_AA)
    _write(panel, middle + 5, ends[0] + 13, "+Y up", 12, _FAINT)
    _write(panel, ends[1] - 46, middle - 5, "+X right", 12, _FAINT)

    def place(direction: NDArray[np.floating]) -> tuple[int, int] | None:
        if not np.isfinite(direction).all() or (direction[2] >= 0) != front:
            return None
        scale = radius / math.sqrt(1.0 + abs(float(direction[2])))
        x, y = middle + scale * float(direction[0]), middle - scale * float(direction[1])
        return round(x), round(y)

    marks: list[tuple[int, tuple[int, int]]] = []
    for index in range(len(found.names)):
        meant = None if nominal is None else place(nominal[index])
        at = place(found.directions[index])
        if meant is not None:
            lost = not found.seen[index]
            cv2.circle(panel, meant, 8, _LOST if lost else _FAINT, 1, cv2.LINE_AA)
            if lost:
                marks.append((index, meant))
        if at is not None:
            colour = _colour(float(found.uncertainty_deg[index]))
            cv2.circle(panel, at, 4, colour, -1, cv2.LINE_AA)
            marks.append((index, at))
    places = np.array([at for _, at in marks], dtype=np.float64).reshape(-1, 2)
    for (index, (x, y)), labelled in zip(marks, _free_labels(places), strict=True):
        if labelled:
            _write(panel, x + 8, y - 6, f"{index}", 12)
    return panel


def _colour(uncertainty_deg: float) -> tuple[int, int, int]:
    return _SEEN if uncertainty_deg <= _DOUBTFUL_DEG else _DOUBTFUL


def _free_labels(places: NDArray[np.float64]) -> Sequence[bool]:
    """Return which places have room for a number that hides no other place's."""
    taken: list[tuple[float, float]] = []
    free = []
    for x, y in places:
        room = all(abs(x - a) > 17 or abs(y - b) > 12 for a, b in taken)
        free.append(room)
        if room:
            taken.append((x, y))
    return free


def _write(
    panel: NDArray[np.uint8],
    x: float,
    y: float,
    words: str,
    size: int,
    colour: tuple[int, int, int] = _INK,
    weight: int = 400,
) -> int:
    """Write words on the base line ``y`` and return where they end."""
    face = cv2.FontFace("sans")
    at = (round(x), round(y))
    cv2.putText(panel, words, at, colour, face, size, weight)
    shape = (panel.shape[1], panel.shape[0])
    return at[0] + int(cv2.getTextSize(shape, words, (0, 0), face, size, weight)[2])
