"""Motion of a set: flow from its time to every tracking frame, how far it is trusted, its size.

Computed on the flow image (``view.py``), kept on the coarser flow grid in whole units, so that a
store of flows is compact and a set made from it later is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import luminance
from lightstage.preprocess.develop import read_region
from lightstage.preprocess.flow import (
    Prepared,
    between_places,
    equalise,
    flow_method,
    flows_from,
    prepare,
    smooth_over_time,
    without_noise,
)
from lightstage.preprocess.settings import FlowSettings, PreprocessSettings
from lightstage.preprocess.source import FrameSource
from lightstage.preprocess.view import View, resample
from lightstage.warp import Flow, compose, invert

#: Stored flows count in this share of a flow pixel.
_UNITS_PER_FLOW_PX = 64
#: The flow back is found on a picture this much smaller: it only has to tell occlusions.
_BACK_SCALE = 3
#: Differences of equalised 8-bit pictures below this are noise.
_NOISE_LEVELS = 6.0
#: Flow is found so far about what is lit, and on pictures at least so large.
_ABOUT_LIT_PX = 24
_LEAST_PX = 64
#: Motion is believed where it lessens the difference of two tracking frames by this share.
_LEAST_GAIN = 0.03
#: Pixels of an equalised picture that are brighter than this belong to the lit subject.
_LIT_LEVEL = 24


@dataclass(frozen=True)
class SetMotion:
    """Motion within one set, on the flow grid.

    Attributes:
        flow: ``(tracking, grid height, grid width, 2)`` int16: from the set's time to each tracking
            frame, in units of ``unit_px`` source pixels (flow contract of ``lightstage.warp``).
        unit_px: source pixels per unit.
        trust: ``(tracking, grid height, grid width)`` uint8: 255 where flow there and back agree
            and the pictures do, 0 where the point is hidden, outside, or was not found.
        confidence: ``(tracking,)`` mean trust over the lit part, 0 to 1.
        residual: ``(tracking,)`` mean difference between each tracking frame, aligned, and the
            centre's, as a share of the centre's brightness (square-root encoded).
        residual_unaligned: the same without alignment.
        motion_px: ``(tracking,)`` mean length of the flow over the lit part, source pixels.
    """

    flow: NDArray[np.int16]
    unit_px: float
    trust: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    residual: NDArray[np.float32]
    residual_unaligned: NDArray[np.float32]
    motion_px: NDArray[np.float32]


def flow_unit_px(view: View) -> float:
    """Return the source pixels that one unit of a stored flow stands for."""
    return max(view.flow_px) / _UNITS_PER_FLOW_PX


def still(tracking: int, view: View) -> SetMotion:
    """Return the motion of a set in which nothing moves."""
    grid = (tracking, view.grid_height, view.grid_width)
    zero = np.zeros(tracking, np.float32)
    return SetMotion(
        np.zeros((*grid, 2), np.int16), flow_unit_px(view), np.full(grid, 255, np.uint8),
        np.zeros(tracking, np.float32), zero, zero, zero,
    )  # fmt: skip


class TrackingLuminances:
    """The tracking frames of a view as luminance on the flow image; the last ones are kept."""

    def __init__(self, source: FrameSource, keep: int) -> None:
        self._source = source
        self._keep = keep
        self._kept: dict[tuple[int, View], Prepared] = {}

    def __call__(self, index: int, view: View) -> Prepared:
        """Return a frame's luminance on the flow image, prepared for flow."""
        key = (index, view._replace(left=0.0, top=0.0))  # what matters is the region
        if key not in self._kept:
            while len(self._kept) >= self._keep:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = prepare(self._luminance(index, view))
        return self._kept[key]

    def _luminance(self, index: int, view: View) -> NDArray[np.float32]:
        source, size = self._source, (view.flow_width, view.flow_height)
        stored = read_region(source, index, view.region)
        span = source.white_level - source.black_level
        if stored.ndim == 3:
            gray = luminance(stored)
        elif source.cfa == "GRAY":
            gray = stored.astype(np.float32)
        elif min(view.flow_px) >= 1.999:
            # whole colour cells: their mean has no pattern
            half = (stored.shape[1] // 2, stored.shape[0] // 2)
            whole = stored[: 2 * half[1], : 2 * half[0]].astype(np.float32)
            gray = cv2.resize(whole, half, interpolation=cv2.INTER_AREA)
        else:
            code = getattr(cv2, f"COLOR_Bayer{source.cfa}2GRAY")
            gray = cv2.cvtColor(np.ascontiguousarray(stored), code).astype(np.float32)
        light = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        return np.asarray((light - source.black_level) / span, dtype=np.float32)


def find_motion(
    tracking: NDArray[np.int64],
    places: NDArray[np.int64],
    centre: int,
    view: View,
    luminances: Callable[[int, View], Prepared],
    settings: PreprocessSettings,
    offset: float = 0.0,
) -> SetMotion:
    """Return the motion from a set's time to each of its tracking frames.

    Args:
        tracking: indices of the tracking frames, in order.
        places: each one's place on the beat of tracking frames (gaps where one is missing).
        centre: which of them is the set's centre.
        view: what the set shows.
        luminances: gives a tracking frame's luminance on the flow image.
        settings: of flow and alignment.
        offset: the set's time after the centre, in tracking intervals; between -1 and 1.
    """
    pictures = equalise([luminances(int(index), view) for index in tracking], centre)
    chosen = _chosen(places, centre, settings.flow.every)
    at_centre = int(np.searchsorted(chosen, centre))
    affine = view.grid_to_flow_image()
    grid = (view.grid_width, view.grid_height)
    flows = np.empty((len(chosen), grid[1], grid[0], 2), np.float32)
    agreed = np.ones((len(chosen), grid[1], grid[0]), np.float32)
    found = _flows_of_the_lit(at_centre, [pictures[k] for k in chosen], settings.flow)
    for index, (k, flow) in enumerate(zip(chosen, found, strict=True)):
        flows[index] = _to_grid(flow, affine, grid)
        if k != centre:
            agreement = _agreement(pictures[centre], pictures[k], flow, settings)
            agreed[index] = resample(agreement, affine, *grid)
    smooth = smooth_over_time(flows, places[chosen], at_centre, settings.flow.smoothing, places)
    smooth = without_noise(smooth, places, centre, settings.flow.still_below_px)
    agreed = between_places(agreed, places[chosen], places)
    lit = resample((pictures[centre] > _LIT_LEVEL).astype(np.float32), affine, *grid)
    weight = lit / np.float32(max(float(lit.sum()), 1e-6))
    step = np.array(view.flow_px, dtype=np.float32)
    trust = np.empty(smooth.shape[:3], np.uint8)
    figures = np.zeros((4, len(tracking)), np.float32)
    # they are soft enough that the place between pixels at which one is read counts little
    reference = resample(pictures[centre].astype(np.float32), affine, *grid)
    brightness = max(_mean(reference, weight), 1.0)
    places_xy = _grid_places(affine, grid)
    for index, picture in enumerate(pictures):
        flow = smooth[index]
        before = cv2.absdiff(resample(picture.astype(np.float32), affine, *grid), reference)
        there = places_xy + flow
        aligned = cv2.absdiff(_at(picture, there), reference)
        unaligned, residual = _mean(before, weight), _mean(aligned, weight)
        if residual > (1.0 - _LEAST_GAIN) * unaligned:
            # what hardly helps is noise: a picture is not made worse
            flow[...], aligned, residual = 0.0, before, unaligned
        fit = agreed[index] * _fit(aligned)
        fit[_outside(there, view)] = 0.0
        trust[index] = np.rint(255.0 * fit)
        length = np.hypot(flow[..., 0] * step[0], flow[..., 1] * step[1])
        confidence = _mean(fit, weight)
        figures[:, index] = (
            confidence,
            residual / brightness,
            unaligned / brightness,
            _mean(length, weight),
        )
    if offset:
        smooth, trust = _moved_to(smooth, trust, centre, places, offset, affine)
    unit = flow_unit_px(view)
    whole = np.clip(np.rint(smooth * (step / np.float32(unit))), -32767, 32767)
    return SetMotion(whole.astype(np.int16), unit, trust, *figures)


def _flows_of_the_lit(
    reference: int, pictures: list[NDArray[np.uint8]], settings: FlowSettings
) -> list[Flow]:
    """Return :func:`flows_from`, found on the part that is lit; the dark about it does not move."""
    height, width = pictures[reference].shape
    sampled = np.max([picture[::4, ::4] for picture in pictures], axis=0) > _LIT_LEVEL // 2
    rows, columns = (np.flatnonzero(sampled.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return [np.zeros((height, width, 2), np.float32) for _ in pictures]
    top, left = (max(0, 4 * int(found[0]) - _ABOUT_LIT_PX) for found in (rows, columns))
    bottom = min(height, 4 * int(rows[-1]) + 4 + _ABOUT_LIT_PX)
    right = min(width, 4 * int(columns[-1]) + 4 + _ABOUT_LIT_PX)
    if min(bottom - top, right - left) < _LEAST_PX:
        return flows_from(reference, pictures, settings)
    part = (slice(top, bottom), slice(left, right))
    parts = [np.ascontiguousarray(picture[part]) for picture in pictures]
    flows = [np.zeros((height, width, 2), np.float32) for _ in pictures]
    for whole, flow in zip(flows, flows_from(reference, parts, settings), strict=True):
        whole[part] = flow
    return flows


def _chosen(places: NDArray[np.int64], centre: int, every: int) -> NDArray[np.int64]:
    """Return the tracking frames to which flow is found: every n-th from the centre, and the ends.

    Heads and faces move at less than 15 Hz; between flows 21 ms apart theirs is known.
    """
    away = np.abs(places - places[centre])
    chosen = away % every == 0
    chosen[[0, -1]] = True
    return np.flatnonzero(chosen)


def _to_grid(flow: Flow, affine: NDArray[np.float64], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return a flow on the grid's cells, each the mean over the cell, still in flow pixels."""
    across, down = max(1, round(affine[0, 0])), max(1, round(affine[1, 1]))
    mean = (
        cv2.blur(flow, (across, down), borderType=cv2.BORDER_REPLICATE)
        if (across > 1 or down > 1)
        else flow
    )
    # a blur of even size lies half a pixel before the middle of what it covers
    shifted = affine.copy()
    shifted[0, 2] += 0.5 * (1 - across % 2)
    shifted[1, 2] += 0.5 * (1 - down % 2)
    return resample(np.asarray(mean), shifted, *grid)


def _agreement(
    centre: NDArray[np.uint8],
    moved: NDArray[np.uint8],
    flow: Flow,
    settings: PreprocessSettings,
) -> NDArray[np.float32]:
    """Return where flow there and back agree, 0 to 1, on the flow image."""
    height, width = centre.shape
    small = (max(16, width // _BACK_SCALE), max(16, height // _BACK_SCALE))
    ratio = np.array([width / small[0], height / small[1]], dtype=np.float32)
    flow_small = cv2.resize(flow, small, interpolation=cv2.INTER_AREA) / ratio
    back = flow_method(settings.flow.replace(method="dis"))(
        cv2.resize(moved, small, interpolation=cv2.INTER_AREA),
        cv2.resize(centre, small, interpolation=cv2.INTER_AREA),
        -flow_small,
    )
    missed = np.linalg.norm(compose(flow_small, back) * ratio, axis=-1)
    limit = np.float32(settings.align.confident_within_px)
    agreed = np.clip(2.0 - np.nan_to_num(missed, nan=1e3) / limit, 0.0, 1.0).astype(np.float32)
    return np.asarray(cv2.resize(agreed, (width, height), interpolation=cv2.INTER_LINEAR))


def _fit(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far an aligned picture agrees with the centre's, 0 to 1."""
    local = cv2.blur(difference, (5, 5), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(1.0 / (1.0 + (local / (3.0 * _NOISE_LEVELS)) ** 4), dtype=np.float32)


def _grid_places(affine: NDArray[np.float64], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Return where each cell of the grid lies on the flow image, ``(height, width, 2)`` x, y."""
    places = np.empty((grid[1], grid[0], 2), np.float32)
    places[..., 0] = np.arange(grid[0]) * affine[0, 0] + affine[0, 2]
    places[..., 1] = (np.arange(grid[1]) * affine[1, 1] + affine[1, 2])[:, None]
    return places


def _at(image: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.float32]:
    source = image.astype(np.float32)
    drawn = cv2.remap(source, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, dtype=np.float32)


def _outside(places: NDArray[np.float32], view: View) -> NDArray[np.bool_]:
    x, y = places[..., 0], places[..., 1]
    inside = (
        (x >= -0.5) & (x <= view.flow_width - 0.5) & (y >= -0.5) & (y <= view.flow_height - 0.5)
    )
    return np.asarray(~inside)


def _mean(values: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Return the mean of values with weights that add up to 1."""
    return float(np.vdot(values, weight))


def _moved_to(
    flows: NDArray[np.float32],
    trust: NDArray[np.uint8],
    centre: int,
    places: NDArray[np.int64],
    offset: float,
    affine: NDArray[np.float64],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return flows that start at a time ``offset`` tracking intervals after the centre.

    A point that is at x at the centre is at x + f(x) at the set's time, f being interpolated
    between the two tracking frames around it; so the set's own point y was at y + b(y), b the
    inverse of f, and flows on from there are found by composition.
    """
    neighbour = centre + (1 if offset > 0 else -1)
    if not 0 <= neighbour < len(flows):
        return flows, trust
    share = abs(offset) / abs(int(places[neighbour] - places[centre]))
    # the flow contract counts in cells of the grid it is on
    cell = np.array([affine[0, 0], affine[1, 1]], dtype=np.float32)
    on_grid = flows / cell
    back = invert(on_grid[neighbour] * np.float32(share), iterations=6)
    back = np.nan_to_num(back)
    moved = np.stack([compose(back, flow) for flow in on_grid])
    outside = np.isnan(moved)
    moved[outside] = on_grid[outside]
    return np.asarray(moved * cell, dtype=np.float32), trust
