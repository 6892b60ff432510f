"""Crops that follow the head: one square of constant size on a smooth path.

Training pictures and driving pictures are cut by the same code. The square's side is the same for
the whole clip, so that nothing zooms, and its centre is what is left of the head's path when its
quick part is taken away, forwards and backwards in time alike, so that it neither jitters nor lags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull

from lightstage.errors import InputError
from lightstage.head import HeadFile, shape_head
from relight_model.conditioning.compiled import compiled_fast
from relight_model.conditioning.posing import HeadPoser

if TYPE_CHECKING:
    from lightstage.fields import ReflectanceFields
    from relight_model.head.clip import HeadClip
    from relight_model.head.model import HeadModel

Float = NDArray[np.float64]
Pixel = TypeVar("Pixel", np.uint8, np.uint16, np.float16, np.float32)

#: The path follows motion slower than this, at half its swing at this frequency.
FOLLOWED_HZ = 0.5
#: Free room on each side, as a share of the crop's side.
MARGIN = 0.06
#: Share of the head's height, from crown to chin, that is kept of the neck below the chin.
NECK = 0.12
_CHIN = 8
#: The path is smoothed at this many places for each second.
_GRID_HZ = 50.0
#: Frames that are posed together, and vertices looked at beside those of the hull.
_TOGETHER, _EVERY = 64, 16
_BELOW_HEAD = 1


def crop_clip(
    clip: HeadClip,
    head: HeadFile | HeadModel,
    size: int,
    *,
    margin: float = MARGIN,
    followed_hz: float = FOLLOWED_HZ,
    inside: bool = True,
) -> HeadClip:
    """Return the clip with the view of a square crop that follows the head.

    The whole head, from the crown to a little neck, is inside the square in every frame, with
    ``margin`` to spare, as far as the picture shows it.

    Args:
        clip: its pictures are whole, not cut.
        head: the model that its coefficients belong to.
        size: the cut pictures' width and height, pixels.
        margin: free room on each side, as a share of the square's side, below 0.4.
        followed_hz: motion at this frequency is followed by half; 0 = the crop stands still.
        inside: keep the square in the picture wherever it fits; where it does not, or if this is
            false, it reaches over the edge and :func:`crop_image` pads.

    Raises:
        InputError: the clip is cut already, the numbers make no sense, or no part of the head is
            in the picture in any frame.
    """
    from dataclasses import replace

    if clip.view is not None:
        raise InputError("this clip's pictures are cut already; its view says how.")
    if size < 1 or not 0 <= margin < 0.4 or not followed_hz >= 0:
        raise InputError(
            f"a crop of {size} pixels with a margin of {margin:g}, following {followed_hz:g} Hz, "
            "makes no sense: sizes are 1 or more, margins 0 to 0.4."
        )
    boxes = head_boxes(clip, head)
    limits = np.array([clip.camera.width, clip.camera.height], np.float64)
    centres, side = _follow(boxes, clip.time_s, limits, margin, followed_hz, inside)
    view = np.empty((len(clip), 3))
    view[:, :2] = centres - 0.5 * side
    view[:, 2] = size / side
    return replace(clip, view=view, view_size=(size, size))


def head_boxes(clip: HeadClip, head: HeadFile | HeadModel) -> Float:
    """Return the head's box in the whole picture of each frame, ``(n, 4)``.

    Left, top, right, bottom in pixels of ``clip.camera``, with the middle of the top left pixel at
    (0, 0); beyond the picture where the head is.

    Raises:
        InputError: the head is behind the camera, or the clip is of another model.
    """
    model = head if isinstance(head, HeadFile) else head.head
    poser = HeadPoser(model, clip.shape, _outline(model, clip.shape))
    boxes = np.empty((len(clip), 4))
    for start in range(0, len(clip), _TOGETHER):
        rows = slice(start, start + _TOGETHER)
        points = poser(clip.expression[rows], clip.pose[rows], clip.translation_m[rows])
        if points[..., 2].max() > clip.camera.distance_m - 0.02:
            behind = int(np.argmax(points[..., 2].max(axis=1))) + start
            raise InputError(
                f"frame {behind}: the head reaches behind the camera, {clip.camera.distance_m:g} m "
                "from the origin; its translation is wrong."
            )
        places = clip.camera.project(points)
        boxes[rows, :2], boxes[rows, 2:] = places.min(axis=1), places.max(axis=1)
    return boxes


def store_view(fields: ReflectanceFields) -> tuple[Float, tuple[int, int]]:
    """Return how the pictures of a take's store were cut: a clip's ``view`` and ``view_size``.

    Args:
        fields: whose ``crop`` tells it, for each set; stores without one (imported stacks) show
            whole pictures.

    Raises:
        InputError: the store resized its pictures' sides differently, as no camera does.
    """
    size = (fields.width, fields.height)
    if not fields.has("crop"):
        return np.tile([-0.5, -0.5, 1.0], (len(fields), 1)), size
    crop = fields.read_values("crop").astype(np.float64)
    scales = np.array(size) / crop[:, 2:]
    if np.abs(scales[:, 0] / scales[:, 1] - 1.0).max() > 2.0 / min(size):
        raise InputError(
            f"{fields.path}: its pictures of {size[0]} x {size[1]} show parts of "
            f"{crop[0, 2]:g} x {crop[0, 3]:g} pixels: the sides were resized differently. "
            "Preprocess it again with a crop of the size's proportions."
        )
    return np.column_stack([crop[:, :2] - 0.5, scales.mean(axis=1)]), size


def crop_image(
    image: NDArray[Pixel],
    view: NDArray[np.floating] | tuple[float, float, float],
    size: int | tuple[int, int],
    *,
    padding: Literal["edge", "zero"] = "edge",
) -> NDArray[Pixel]:
    """Return a crop of a picture at its own size, resampled once.

    Each pixel is the mean of what it covers, weighted by a tent that is at least two source pixels
    wide: reducing drops no pixel, enlarging is bilinear, and a crop that moves by part of a pixel
    moves the picture by as much.

    Args:
        image: ``(h, w)`` or ``(h, w, c)``; integers are rounded.
        view: left, top, scale, as :meth:`PinholeCamera.viewed` takes them.
        size: the crop's width and height, or both in one.
        padding: outside the picture, the nearest ``edge`` or ``zero``.

    Raises:
        InputError: an empty picture or size, or a scale that is not above 0.
    """
    left, top, scale = (float(v) for v in view)
    width, height = (size, size) if isinstance(size, int) else size
    numbers_fit = np.isfinite([left, top, scale]).all() and scale > 0
    if image.ndim not in (2, 3) or 0 in image.shape or width < 1 or height < 1 or not numbers_fit:
        raise InputError(
            f"a picture of {image.shape} cannot be cut at ({left:g}, {top:g}) with scale "
            f"{scale:g} to {width} x {height}."
        )
    source = image.reshape(image.shape[0], image.shape[1], -1)
    work = source if source.dtype in (np.uint8, np.uint16) else source.astype(np.float32)
    columns = _tents(left, scale, width, source.shape[1], padding == "zero")
    rows = _tents(top, scale, height, source.shape[0], padding == "zero")
    out = np.empty((height, width, source.shape[2]), np.float32)
    _resample(np.ascontiguousarray(work), *rows, *columns, out)
    shaped = out.reshape(height, width, *image.shape[2:])
    if image.dtype in (np.uint8, np.uint16):
        shaped = np.clip(shaped + 0.5, 0, 255 if image.dtype == np.uint8 else 65535)
    return cast("NDArray[Pixel]", shaped.astype(image.dtype, copy=False))


def _outline(head: HeadFile, shape: Float) -> list[int]:
    """Return the vertices that tell the head's box: its convex hull above the neck, and others."""
    rest = shape_head(head, shape, ())
    if head.has_landmarks:
        corners = head.f[head.landmark_faces[_CHIN]].astype(np.int64)
        chin = float((rest[corners, 1] * head.landmark_barycentric[_CHIN]).sum())
        bottom = chin - NECK * (float(rest[:, 1].max()) - chin)
    else:
        bottom = float((head.J_regressor @ rest)[_BELOW_HEAD, 1])
    members = np.flatnonzero(rest[:, 1] >= bottom)
    hull = members[ConvexHull(rest[members]).vertices]
    return [int(v) for v in np.union1d(hull, members[::_EVERY])]


def _follow(
    boxes: Float, times: Float, limits: Float, margin: float, followed_hz: float, inside: bool
) -> tuple[Float, float]:
    """Return the square's centres ``(n, 2)`` and its side in pixels."""
    low, high = boxes[:, :2], boxes[:, 2:]
    if inside:  # of what lies beyond the picture nothing can be shown
        low, high = (np.clip(edge, -0.5, limits - 0.5) for edge in (low, high))
        if (high - low <= 0).any(axis=1).all():
            raise InputError(
                "the head is outside the picture in every frame; camera or translation is wrong."
            )
    middle = 0.5 * (low + high)
    path = _smooth(times, middle, followed_hz)
    side = 1.0
    for _ in range(8):  # the side moves the picture's limits, and they the path
        if inside:
            # where the square is larger than the picture, all of the picture is in it
            bounds = np.stack([np.full(2, 0.5 * side - 0.5), limits - 0.5 * side - 0.5])
            first, last = bounds.min(axis=0), bounds.max(axis=0)
            path = np.clip(_smooth(times, np.clip(middle, first, last), followed_hz), first, last)
        reach = float(np.maximum(high - path, path - low).max())
        needed = max(2.0 * reach / (1.0 - 2.0 * margin), 1.0)
        if inside and needed > limits.min():
            # rather less room than a padded edge, as long as the head is whole
            needed = max(min(needed, float(limits.min())), 2.0 * reach)
        if abs(needed - side) <= 1e-6 * side:
            break
        side = max(needed, side) if inside else needed
    return path, side


def _smooth(times: Float, values: Float, followed_hz: float) -> Float:
    """Return ``values`` (n, 2) without their quick part; straight paths stay as they are."""
    length = float(times[-1] - times[0])
    if len(times) < 2 or followed_hz == 0 or length * followed_hz < 0.25:
        middle = 0.5 * (values.min(axis=0) + values.max(axis=0))
        return np.repeat(middle[None], len(times), axis=0)
    count = int(np.ceil(length * _GRID_HZ)) + 1
    grid = np.linspace(times[0], times[-1], count)
    sigma = np.sqrt(0.5 * np.log(2.0)) / (np.pi * followed_hz) * (count - 1) / length
    reach = min(int(4.0 * sigma) + 1, count - 1)
    evenly = np.column_stack([np.interp(grid, times, column) for column in values.T])
    # continued by its own mirror image through each end, a straight path goes straight on
    before = 2.0 * evenly[0] - evenly[reach:0:-1]
    after = 2.0 * evenly[-1] - evenly[-2 : -reach - 2 : -1]
    whole = np.concatenate([before, evenly, after])
    smooth = gaussian_filter1d(whole, sigma, axis=0, mode="nearest")[reach : reach + count]
    return np.asarray(CubicSpline(grid, smooth)(times))


def _tents(
    start: float, scale: float, count: int, length: int, zero: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return of each output pixel the source pixels ``(count, taps)`` and their weights."""
    half = max(1.0, 1.0 / scale)
    places = start + (np.arange(count) + 0.5) / scale
    first = np.floor(places - half).astype(np.int64) + 1
    taps = first[:, None] + np.arange(int(np.ceil(2.0 * half)))
    weights = np.maximum(1.0 - np.abs(taps - places[:, None]) / half, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    if zero:
        weights *= (taps >= 0) & (taps < length)
    return np.clip(taps, 0, length - 1), weights.astype(np.float32)


@compiled_fast
def _resample(
    image: Any, row_taps: Any, row_weights: Any, column_taps: Any, column_weights: Any, out: Any
) -> None:
    """Sum rows, then columns, of ``image`` (h, w, c) into ``out``."""
    height, width, channels = out.shape
    first, last = column_taps.min(), column_taps.max()
    summed = np.empty((last - first + 1, channels), np.float32)
    for y in range(height):
        summed[:] = 0.0
        for k in range(row_taps.shape[1]):
            weight = row_weights[y, k]
            if weight != 0.0:
                row = image[row_taps[y, k]]
                for x in range(first, last + 1):
                    for c in range(channels):
                        summed[x - first, c] += weight * np.float32(row[x, c])
        for x in range(width):
            for c in range(channels):
                total = np.float32(0.0)
                for k in range(column_taps.shape[1]):
                    total += column_weights[x, k] * summed[column_taps[x, k] - first, c]
                out[y, x, c] = total
