"""Flow: motion from one tracking frame to another, by whichever method was chosen.

``docs/flow.md`` holds the table of accuracy and time that the defaults were chosen from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import entry_points

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


def equalise(luminances: Sequence[NDArray[np.float32]], reference: int) -> list[NDArray[np.uint8]]:
    """Return luminances as 8 bits, square-root encoded and of equal brightness.

    Flow assumes that a point keeps its brightness; tracking frames differ in gain when the supply
    droops. Each is scaled so that its lit part is on the whole as bright as the reference's.

    Args:
        luminances: ``(height, width)`` linear.
        reference: which of them decides the exposure.
    """
    roots = [np.sqrt(np.maximum(light, 0.0)) for light in luminances]
    tops = [max(float(np.percentile(root[::2, ::2], 99.5)), 1e-4) for root in roots]
    lit = np.sqrt(_LIT_SHARE)
    levels = [
        float(root[root > lit * top].mean()) if (root > lit * top).any() else top
        for root, top in zip(roots, tops, strict=True)
    ]
    exposure = _EXPOSED_AT / tops[reference]
    frames = []
    for root, level in zip(roots, levels, strict=True):
        gain = exposure * levels[reference] / level
        scaled = cv2.multiply(root, gain, dtype=cv2.CV_8U)  # rounds, and clips at 255
        frames.append(np.asarray(scaled))
    return frames


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
    search.setGradientDescentIterations(settings.gradient_descent_iterations)
    search.setVariationalRefinementIterations(settings.variational_iterations)
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
    flows: NDArray[np.float32], places: NDArray[np.int64], reference: int, strength: float
) -> NDArray[np.float32]:
    """Return flows whose path over time is smooth in each pixel and zero at the reference.

    A Whittaker smoother (Eilers 2003): least squares with a penalty on third differences, so a
    point that moves with constant acceleration is not touched. Errors of single flows average out.

    Args:
        flows: ``(n, height, width, 2)``.
        places: each flow's place on an even beat, ``(n,)`` rising; gaps are bridged.
        reference: the index of the flow that is zero.
        strength: the penalty; at 3, movements of 14 Hz are halved at 143 tracking frames a second.
    """
    if strength <= 0 or len(flows) < 5:
        return flows
    place = places - places[0]
    count = int(place[-1]) + 1
    penalty = np.diff(np.eye(count), 3, axis=0)
    weight = np.zeros(count)
    weight[place] = 1.0
    weight[place[reference]] = 1e6
    system = np.diag(weight) + strength * penalty.T @ penalty
    hat = np.linalg.solve(system, np.diag(weight))[np.ix_(place, place)].astype(np.float32)
    return np.asarray((hat @ flows.reshape(len(flows), -1)).reshape(flows.shape), dtype=np.float32)


def without_noise(flow: Flow, still_below_px: float) -> Flow:
    """Return the flow with what cannot be told from noise set towards zero.

    Noise points everywhere, motion hangs together: the vector mean over a neighbourhood decides.
    """
    if still_below_px <= 0:
        return flow
    mean = np.asarray(cv2.blur(flow, (9, 9), borderType=cv2.BORDER_REPLICATE))
    squared = (mean * mean).sum(axis=-1)
    limit = np.float32(still_below_px**4)
    kept = squared * squared
    kept /= kept + limit
    return np.asarray(flow * kept[..., None], dtype=np.float32)
