"""Head track: where the head is over a take, as one smooth path and one size.

Training pictures must not jitter and must not zoom: so the crop has one side for the whole take,
and its centre follows the head slowly, with room for the quick part of the motion. The head is
found by its outline against the dark dome in full-lit tracking frames; where there is no dark
surrounding, by the colour of skin, with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.interpolate import PchipInterpolator, make_smoothing_spline

from lightstage.errors import InputError
from lightstage.manifest import Manifest
from lightstage.preprocess.source import FrameSource

#: The crop's centre follows motion slower than this, at half its swing at this frequency.
FOLLOWED_HZ = 0.5
#: Free room on each side, as a share of the crop's side.
MARGIN = 0.06
#: Share of the head's height, from crown to chin, that is kept of the neck below the chin.
NECK = 0.12
#: Pictures on which heads are sought have about this many rows, so many times a second.
_ROWS, _LOOKS_HZ = 192, 12.0
#: From the crown down, in widths of the head: where its width is known, where the chin may be.
_WIDEST_AT, _CHIN_FROM, _CHIN_TO, _CHIN_USUAL = 1.0, 1.05, 1.8, 1.4
#: The chin's tip hangs in front of the neck: lower than where the outline becomes the neck's.
_CHIN_BELOW_JAW = 1.12
_INSTEAD = "Give the crop yourself with --crop x,y,w,h."

Picture = NDArray[np.floating]


class Head(NamedTuple):
    """A head in a picture: the middle between crown and chin, and its height between them."""

    x: float
    y: float
    size: float


class _Box(NamedTuple):
    """Crown, chin and sides of a head, in pixels' edges."""

    left: float
    top: float
    right: float
    chin: float


class HeadTrack(Manifest):
    """A square that follows the head: one side, and a centre at any time.

    Attributes:
        times_s: evenly spaced times, ``(n,)``.
        centres_px: the centre at each, ``(n, 2)`` as (x, y) in pixels of the full frame; the middle
            of the top left pixel is (0, 0).
        side_px: the square's side, an even number of pixels.
        found_by: what the head was told by.
        looks: pictures that were looked at.
        lost: those in which no head was found, or one far from where it was before and after.
        warnings: what a person should know.
    """

    times_s: Annotated[tuple[float, ...], Field(min_length=1)]
    centres_px: tuple[tuple[float, float], ...]
    side_px: Annotated[int, Field(gt=0)]
    found_by: str
    looks: int
    lost: int
    warnings: tuple[str, ...] = ()

    def at(self, time_s: float) -> tuple[float, float]:
        """Return the centre (x, y) at a time; before and after the track, its first or last."""
        x, y = self.centres(np.array([time_s]))[0]
        return float(x), float(y)

    def centres(self, times_s: ArrayLike) -> NDArray[np.float64]:
        """Return the centres ``(n, 2)`` at times ``(n,)``."""
        times, known = np.asarray(self.times_s), np.asarray(self.centres_px)
        return _between(times, known, np.asarray(times_s, dtype=np.float64))


def track_head(source: FrameSource, frames: ArrayLike, times_s: ArrayLike) -> HeadTrack:
    """Follow the head through a take's tracking frames.

    Args:
        source: the take's frames.
        frames: indices of its full-lit frames, ``(n,)``; about 12 a second of them are read.
        times_s: when each was, ``(n,)``, increasing.

    Raises:
        InputError: no head is found.
    """
    frames = np.asarray(frames)
    times = np.asarray(times_s, dtype=np.float64)
    if not len(frames):
        raise InputError(f"{source.path}: has no full-lit frame to find the head in. {_INSTEAD}")
    beats = np.unique(np.floor((times - times[0]) * _LOOKS_HZ), return_index=True)[1]
    chosen = np.unique([*beats, len(frames) - 1])
    pictures = (small_picture(source, int(frames[index])) for index in chosen)
    boxes = [_boxes(picture) for picture in pictures]
    size = (source.width, source.height)
    return _track(boxes, times[chosen], size, float(small_scale(source)), str(source.path))


def follow_head(
    pictures: Sequence[Picture],
    times_s: ArrayLike,
    *,
    frame_size: tuple[int, int] | None = None,
) -> HeadTrack:
    """Follow the head through pictures of full-lit frames.

    The path is a smoothing spline of what was found, without outliers; the side is such that the
    whole head, from crown to chin with hair, ears and some neck, lies inside the square with room
    to spare in every picture. The square lies inside the frame: where the head would need a larger
    one than fits, it is the largest that fits, with a warning.

    Args:
        pictures: full-lit pictures, linear light, gray or RGB, all of one size.
        times_s: when each was, ``(n,)``, increasing.
        frame_size: (width, height) of the full frame; the pictures' own unless given.

    Raises:
        InputError: no head is found in most of the pictures.
    """
    times = np.asarray(times_s, dtype=np.float64)
    if not len(pictures) or len(pictures) != len(times) or (np.diff(times) <= 0).any():
        raise InputError(f"{len(pictures)} pictures at {len(times)} increasing times are no track.")
    height, width = pictures[0].shape[:2]
    full = frame_size or (width, height)
    return _track([_boxes(p) for p in pictures], times, full, full[1] / height, "the take")


def find_head(picture: Picture) -> Head:
    """Return where the head is in a full-lit picture, in its pixels.

    Args:
        picture: linear light, ``(height, width)`` gray or ``(height, width, 3)`` RGB.

    Raises:
        InputError: there is no head, or it cannot be told from what is around it.
    """
    outline, skin = _boxes(picture)
    box = outline or skin
    if box is None:
        raise InputError(f"no head is found in the picture. {_INSTEAD}")
    return Head(
        (box.left + box.right) / 2 - 0.5, (box.top + box.chin) / 2 - 0.5, box.chin - box.top
    )


def small_picture(source: FrameSource, index: int) -> NDArray[np.float32]:
    """Return a small picture of a frame, black subtracted, 1.0 = white: RGB, or gray for GRAY.

    It is :func:`small_scale` times smaller. One cell row of the colour filter is read of each of
    its rows, and cells are averaged along the row.
    """
    scale = small_scale(source)
    step = scale // 2
    cells = np.arange(source.height // scale) * step + step // 2
    rows = source.read_rows(index, np.stack([2 * cells, 2 * cells + 1], axis=1).ravel())
    rows = rows[:, : source.width // scale * scale]
    if rows.ndim == 3:
        cell = np.asarray(rows[0::2, 0::2], np.float32)
    else:
        place = [rows[y::2, x::2].astype(np.float32) for y in (0, 1) for x in (0, 1)]
        cfa = source.cfa
        if sorted(cfa) == sorted("RGGB"):
            greens = [k for k in range(4) if cfa[k] == "G"]
            green = (place[greens[0]] + place[greens[1]]) / 2
            cell = np.stack([place[cfa.index("R")], green, place[cfa.index("B")]], axis=-1)
        else:
            cell = np.mean(place, axis=0)
    size = (max(1, source.width // scale), len(cells))
    small = np.asarray(cv2.resize(cell, size, interpolation=cv2.INTER_AREA), np.float32)
    linear = (small - source.black_level) / (source.white_level - source.black_level)
    return np.asarray(linear, dtype=np.float32)


def small_scale(source: FrameSource) -> int:
    """Return how many pixels of the frame a pixel of its small picture stands for, an even number.

    Small pictures have at least about 190 rows where the frame has so many.
    """
    return max(2, source.height // _ROWS // 2 * 2)


def _boxes(picture: Picture) -> tuple[_Box | None, _Box | None]:
    """Return the head by its outline against the dark, and by the colour of skin."""
    linear = np.clip(np.nan_to_num(np.asarray(picture, dtype=np.float32)), 0.0, None)
    outline = _by_outline(linear)
    return outline, None if outline is not None or linear.ndim == 2 else _by_skin(linear)


def _by_outline(linear: NDArray[np.float32]) -> _Box | None:
    # the root tells dark hair from darkness, and makes noise even
    gray = np.sqrt(linear if linear.ndim == 2 else linear.mean(axis=2))
    gray = cv2.GaussianBlur(gray, (3, 3), 0)
    height, width = gray.shape
    rim, deep = max(2, width // 24), height * 2 // 3
    border = np.concatenate(
        [gray[:2].ravel(), gray[:deep, :rim].ravel(), gray[:deep, -rim:].ravel()]
    )
    dark = float(np.median(border))
    spread = 1.4826 * float(np.median(np.abs(border - dark)))
    bright = float(np.percentile(gray, 97)) - dark
    threshold = max(6.0 * spread, 0.12 * bright)
    if bright < 0.02 or threshold > 0.5 * bright:
        return None  # nothing stands out from what is around
    if (border > dark + threshold).mean() > 0.25:
        return None
    box = _head_of(gray > dark + threshold)
    if box is None or (box.left < 1 and box.right > width - 1):
        return None
    return box


def _by_skin(linear: NDArray[np.float32]) -> _Box | None:
    """Return the head around the largest patch of skin's colour, by a face's usual proportions."""
    white = max(float(np.percentile(linear, 99)), 1e-6)
    encoded = (255 * np.clip(linear / white, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    _, red, blue = cv2.split(cv2.cvtColor(encoded, cv2.COLOR_RGB2YCrCb))
    skin = (red > 138) & (red < 180) & (blue > 90) & (blue < 135)
    skin &= encoded.max(axis=2) > 50
    patch = _largest(skin, inside=True)
    if patch is None:
        return None
    face = _head_of(patch)
    if face is None:
        return None
    wide, middle = face.right - face.left, (face.left + face.right) / 2
    # the throat is skin too; hair is above the forehead and beside the temples
    chin = min(face.chin, face.top + 1.45 * wide)
    return _Box(middle - 0.62 * wide, face.top - 0.4 * wide, middle + 0.62 * wide, chin)


def _largest(mask: NDArray[np.bool_], inside: bool = False) -> NDArray[np.bool_] | None:
    """Return the largest connected part, its holes filled; ``inside``: not at the upper edges."""
    height, width = mask.shape
    size = max(3, height // 60 | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cleaned)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    if inside:
        left, right = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_WIDTH]
        at_edge = (left == 0) | (left + right == width) | (stats[:, cv2.CC_STAT_TOP] == 0)
        areas[at_edge] = 0
    if count < 2 or areas.max() < 0.005 * mask.size:
        return None
    return np.asarray(labels == int(areas.argmax()))


def _head_of(mask: NDArray[np.bool_]) -> _Box | None:
    """Return the head of a person's outline: from its top down to where it narrows to a neck."""
    body = _largest(mask)
    if body is None:
        return None
    there: NDArray[np.bool_] = np.any(body, axis=1)
    first = body.argmax(axis=1)
    last = body.shape[1] - body[:, ::-1].argmax(axis=1)
    # a strand or a point of the hair is no crown
    wide_enough: NDArray[np.bool_] = there & (body.sum(axis=1) >= max(2, 0.02 * body.shape[1]))
    rows = np.flatnonzero(wide_enough)
    if len(rows) < 8:
        return None
    top = int(rows[0])
    widths = np.where(there, last - first, 0)[top : rows[-1] + 1].astype(float)
    depth = np.arange(1, len(widths) + 1)
    deep_enough = np.flatnonzero(depth >= _WIDEST_AT * np.maximum.accumulate(widths))
    if not len(deep_enough):
        return None
    width = float(widths[: deep_enough[0] + 1].max())
    low, high = int(_CHIN_FROM * width), int(_CHIN_TO * width)
    neck = float(widths[low:high].min()) if len(widths) > low else width
    chin = int(_CHIN_USUAL * width)  # where hair or a collar hides the neck
    if neck < 0.8 * width:
        # the jaw passes into the neck: nearly as narrow as it gets
        jaw = low + int(np.argmax(widths[low:high] <= neck + 0.15 * (width - neck)))
        chin = round(_CHIN_BELOW_JAW * jaw)
    chin = min(chin, len(widths))
    sides = slice(top, top + max(1, min(chin, int(1.1 * width))))
    left, right = float(first[sides][there[sides]].min()), float(last[sides][there[sides]].max())
    return _Box(left, float(top), right, float(top + chin))


def _track(
    found: list[tuple[_Box | None, _Box | None]],
    times_s: NDArray[np.float64],
    frame_size: tuple[int, int],
    scale: float,
    where: str,
) -> HeadTrack:
    warnings = []
    by = "outline"
    boxes = [outline for outline, _ in found]
    if sum(box is not None for box in boxes) <= len(boxes) / 2:
        by, boxes = "colour of skin", [skin for _, skin in found]
        warnings.append(
            "the head does not stand out from dark surroundings; it was told by the colour of "
            "skin, which is less sure: look at the crop, or give it with --crop x,y,w,h"
        )
    kept = np.array([box is not None for box in boxes])
    if kept.sum() <= len(boxes) / 2:
        raise InputError(
            f"{where}: a head is found in {int(kept.sum())} of {len(boxes)} full-lit pictures. "
            f"{_INSTEAD}"
        )
    edges = np.array([box for box in boxes if box is not None]) * scale
    times = times_s[kept]
    good = _without_outliers(edges)
    edges, times = edges[good], times[good]
    lost = len(boxes) - len(times)
    if lost > len(boxes) / 10:
        warnings.append(f"the head was not found, or not where it could be, in {lost} pictures")
    # room for the neck; the centre is that of what has to be inside
    edges[:, 3] += NECK * (edges[:, 3] - edges[:, 1])
    width, height = frame_size
    edges = np.clip(edges, 0, [width, height, width, height])
    grid = _grid(times_s)
    centres = np.stack([(edges[:, 0] + edges[:, 2]) / 2, (edges[:, 1] + edges[:, 3]) / 2], axis=1)
    side, largest = 2.0, float(min(width, height) // 2 * 2)
    for _ in range(3):  # the side moves the frame's limits, and they the centres
        half = side / 2
        inside = np.clip(centres, half, [width - half, height - half])
        path = np.clip(_smooth(times, inside, grid), half, [width - half, height - half])
        here = _between(grid, path, times)
        reach = np.max(np.abs(edges - np.concatenate([here, here], axis=1)).max(axis=0))
        needed = 2 * reach / (1 - 2 * MARGIN)
        side = min(np.ceil(needed / 2) * 2, largest)
    if needed > largest:
        warnings.append(
            f"the head with its room would need a crop of {round(needed)} pixels; the frame has "
            f"room for {round(largest)}"
        )
    half = side / 2
    path = np.clip(path, half, [width - half, height - half]) - 0.5  # to pixels' middles
    return HeadTrack(
        times_s=tuple(grid.tolist()),
        centres_px=tuple((x, y) for x, y in np.round(path, 3).tolist()),
        side_px=int(side),
        found_by=by,
        looks=len(boxes),
        lost=lost,
        warnings=tuple(warnings),
    )


def _without_outliers(edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which boxes ``(n, 4)`` lie near the median of those around them in time."""
    count = len(edges)
    good = np.ones(count, dtype=bool)
    if count < 5:
        return good
    size = np.median(edges[:, 3] - edges[:, 1])
    reach = min(6, (count - 1) // 2)
    padded = np.pad(edges, ((reach, reach), (0, 0)), mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    middle = np.median(around, axis=-1)
    spread = 1.4826 * np.median(np.abs(around - middle[..., None]), axis=-1)
    far = np.abs(edges - middle) > np.maximum(5.0 * spread, 0.12 * size)
    return np.asarray(~far.any(axis=1))


def _grid(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return evenly spaced times that tell a path of this smoothness."""
    length = float(times_s[-1] - times_s[0])
    count = int(np.ceil(length * 16.0 * FOLLOWED_HZ)) + 1
    return np.linspace(times_s[0], times_s[-1], max(count, 1 if length == 0 else 2))


def _smooth(
    times: NDArray[np.float64], values: NDArray[np.float64], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the smooth path of ``values`` ``(n, 2)`` at the times ``grid``."""
    length = float(times[-1] - times[0])
    if len(times) < 5 or length * FOLLOWED_HZ < 0.5:
        # too short to follow anything: the middle of what was seen
        middle = (values.min(axis=0) + values.max(axis=0)) / 2
        return np.repeat(middle[None], len(grid), axis=0)
    # a smoothing spline halves what swings at (density / lam) ** (1 / 4) / (2 pi)
    lam = len(times) / length / (2 * np.pi * FOLLOWED_HZ) ** 4
    columns = [make_smoothing_spline(times, column, lam=lam)(grid) for column in values.T]
    return np.stack(columns, axis=1)


def _between(
    grid: NDArray[np.float64], path: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the path at ``times``: smooth, and never beyond its neighbouring samples.

    So a crop that lies inside the frame at the samples does so between them.
    """
    if len(grid) < 2:
        return np.repeat(path[:1], len(times), axis=0)
    return np.asarray(PchipInterpolator(grid, path)(np.clip(times, grid[0], grid[-1])))
