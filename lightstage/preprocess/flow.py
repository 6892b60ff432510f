"""Flow: motion from one tracking frame to another, by whichever method was chosen.

``docs/flow.md`` holds the table of accuracy and time that the defaults were chosen from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.preprocess.settings import FlowSettings
from lightstage.warp import Flow

#: Finds the flow with ``warp(moved, flow) ~ reference`` between 8-bit pictures ``(height, width)``,
#: starting from a flow where one is given.
FlowMethod = Callable[[NDArray[np.uint8], NDArray[np.uint8], Flow | None], Flow]

#: Where installed packages offer further methods: entry points that take FlowSettings and return a
#: :data:`FlowMethod`.
ENTRY_POINTS = "lightstage.flow"
#: The brightest percentile of a tracking frame is put at this of 255 before flow is found.
_EXPOSED_AT = 230.0
#: A pixel is lit when it has this share of the brightest's light.
_LIT_SHARE = 0.1
#: Standard deviation of the blur before flow is found, in pixels.
_SOFTENED_PX = 1.0
#: A path through given points without smoothing them.
_LEAST_STRENGTH = 1e-3
#: How smooth paths are made, and over which cells they are averaged, to tell motion from noise.
_STEADY = 300.0
_NEIGHBOURS = (15, 15)
#: DIS's weight of equal brightness in its refinement, twice OpenCV's own.
_BRIGHTNESS_WEIGHT = 10.0


class Prepared(NamedTuple):
    """A tracking frame as flow sees it, before all are made equally bright.

    Attributes:
        light: ``(height, width)`` linear luminance, softened.
        top: its brightest parts' light.
        level: its lit parts' mean light; what equalises it with others.
    """

    light: NDArray[np.float32]
    top: float
    level: float


def prepare(luminance: NDArray[np.float32]) -> Prepared:
    """Return a tracking frame's luminance ``(height, width)`` softened, with its brightness.

    Noise and the colour filter's remains mislead the search; a blur of a pixel takes them away.
    """
    light = np.asarray(cv2.GaussianBlur(np.maximum(luminance, 0.0), (0, 0), _SOFTENED_PX))
    sampled = light[::2, ::2]
    top = max(float(np.percentile(sampled[::2, ::2], 99.5)), 1e-6)
    lit = sampled[sampled > _LIT_SHARE * top]
    return Prepared(light, top, float(lit.mean()) if lit.size else top)


def equalise(frames: Sequence[Prepared], reference: int) -> list[NDArray[np.uint8]]:
    """Return pictures of 8 bits, all as bright as the reference in their lit parts.

    Flow assumes that a point keeps its brightness; tracking frames differ in gain when the supply
    droops.

    Args:
        frames: the tracking frames.
        reference: which of them decides the exposure.
    """
    exposure = _EXPOSED_AT / frames[reference].top * frames[reference].level
    # rounds, and clips at 255
    scaled = [cv2.multiply(f.light, exposure / f.level, dtype=cv2.CV_8U) for f in frames]
    return [np.asarray(picture) for picture in scaled]


def dense_inverse_search(settings: FlowSettings) -> FlowMethod:
    """Return OpenCV's dense inverse search (Kroeger et al. 2016) with these settings."""

    def find(reference: NDArray[np.uint8], moved: NDArray[np.uint8], start: Flow | None) -> Flow:
        # a new object each time: a used one (OpenCV 5.0) starts from what an earlier call left in
        # its buffers, so that the same pictures give another flow, and reads outside them when it
        # is given pictures of another size
        search = _search(settings)
        begun = None if start is None else np.array(start, dtype=np.float32)
        return np.asarray(search.calc(reference, moved, begun), dtype=np.float32)

    return find


def _search(settings: FlowSettings) -> cv2.DISOpticalFlow:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(settings.finest_scale)
    search.setPatchStride(settings.patch_stride)
    search.setGradientDescentIterations(settings.gradient_descent_iterations)
    search.setVariationalRefinementIterations(settings.variational_iterations)
    search.setVariationalRefinementDelta(_BRIGHTNESS_WEIGHT)
    return search


def deep_flow(settings: FlowSettings) -> FlowMethod:
    """Return DeepFlow (Weinzaepfel et al. 2013): more accurate, ten times slower."""
    search = cv2.optflow.createOptFlow_DeepFlow()

    def find(reference: NDArray[np.uint8], moved: NDArray[np.uint8], start: Flow | None) -> Flow:
        return np.asarray(search.calc(reference, moved, None), dtype=np.float32)

    return find


_METHODS = {"dis": dense_inverse_search, "deepflow": deep_flow}


@lru_cache(maxsize=8)
def flow_method(settings: FlowSettings) -> FlowMethod:
    """Return the method that the settings name.

    Raises:
        InputError: no method has this name; the text lists those there are.
    """
    if settings.method in _METHODS:
        return _METHODS[settings.method](settings)
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if settings.method not in offered:
        known = ", ".join((*_METHODS, *sorted(offered)))
        raise InputError(
            f"there is no flow method {settings.method!r}; known are {known}. Others come from "
            f"installed packages with an entry point in the group {ENTRY_POINTS!r}."
        )
    method: FlowMethod = offered[settings.method].load()(settings)
    return method


def flows_from(
    reference: int, pictures: Sequence[NDArray[np.uint8]], settings: FlowSettings
) -> list[Flow]:
    """Return the flow from the picture ``reference`` to each, in pixels of the pictures.

    Works outwards in both directions; with a warm start each flow starts from its neighbour's,
    extended at the same speed. The reference's own flow is zero.

    Args:
        reference: which picture the others are aligned to.
        pictures: ``(height, width)`` luminance of the tracking frames in order, about evenly
            spaced in time.
        settings: which method, and its settings.
    """
    find = flow_method(settings)
    height, width = pictures[reference].shape
    flows: list[Flow] = [np.zeros((height, width, 2), np.float32) for _ in pictures]
    for step in (1, -1):
        stop = len(pictures) if step > 0 else -1
        for index in range(reference + step, stop, step):
            start = None
            if settings.warm_start and index != reference + step:
                ratio = (index - reference) / (index - step - reference)
                start = flows[index - step] * np.float32(ratio)
            flow = find(pictures[reference], pictures[index], start)
            if flow.shape != (height, width, 2):
                raise InputError(
                    f"the flow method {settings.method!r} returned an array of {flow.shape}; "
                    f"{(height, width, 2)} is due."
                )
            flows[index] = flow
    return flows


def smooth_over_time(
    flows: NDArray[np.float32],
    places: NDArray[np.int64],
    reference: int,
    strength: float,
    wanted: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return flows whose path over time is smooth in each pixel and zero at the reference.

    A Whittaker smoother (Eilers 2003): least squares with a penalty on third differences, so a
    point that moves with constant acceleration is not touched. Errors of single flows average out,
    and flows between those given are found.

    Args:
        flows: ``(n, height, width, 2)``.
        places: each flow's place on an even beat, ``(n,)`` rising; gaps are bridged.
        reference: the index of the flow that is zero.
        strength: the penalty; at 3, movements of 14 Hz are halved at 143 tracking frames a second.
        wanted: the places whose flows are returned, within those given; those given if ``None``.
    """
    target = places if wanted is None else wanted
    if len(flows) < 4:
        return between_places(flows, places, target)
    if strength <= 0 and np.array_equal(places, target):
        return flows
    count = int(places[-1] - places[0]) + 1
    given, asked = places - places[0], target - places[0]
    penalty = np.diff(np.eye(count), 3, axis=0)
    weight = np.zeros(count)
    weight[given] = 1.0
    weight[given[reference]] = 1e6
    system = np.diag(weight) + max(strength, _LEAST_STRENGTH) * penalty.T @ penalty
    hat = np.linalg.solve(system, np.diag(weight))[np.ix_(asked, given)].astype(np.float32)
    smooth = hat @ flows.reshape(len(flows), -1)
    return np.asarray(smooth.reshape(len(target), *flows.shape[1:]), dtype=np.float32)


def between_places(
    values: NDArray[np.float32], places: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return arrays ``(n, …)`` at the places wanted, linearly between those given."""
    if np.array_equal(places, wanted):
        return values
    each = np.eye(len(places))
    share = np.stack([np.interp(wanted, places, row) for row in each], axis=1).astype(np.float32)
    mixed = share @ values.reshape(len(values), -1)
    return np.asarray(mixed.reshape(len(wanted), *values.shape[1:]), dtype=np.float32)


def without_noise(
    flows: NDArray[np.float32], places: NDArray[np.int64], reference: int, still_below_px: float
) -> NDArray[np.float32]:
    """Return flows with what cannot be told from noise set towards zero.

    Noise points everywhere and changes from frame to frame, motion hangs together: the vector mean
    over a neighbourhood, of paths that are made very smooth, decides.

    Args:
        flows: ``(n, height, width, 2)``.
        places: each flow's place on an even beat.
        reference: the index of the flow that is zero.
        still_below_px: a mean motion of this length is halved, a smaller one vanishes.
    """
    if still_below_px <= 0:
        return flows
    steady = smooth_over_time(flows, places, reference, _STEADY)
    limit = np.float32(still_below_px**4)
    for flow, path in zip(flows, steady, strict=True):
        mean = np.asarray(cv2.blur(path, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE))
        squared = (mean * mean).sum(axis=-1)
        kept = squared * squared
        kept /= kept + limit
        flow *= kept[..., None]
    return flows
