"""Flow: motion from a set's centre to each tracking frame of its window."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import luminance
from lightstage.preprocess.settings import FlowSettings
from lightstage.warp import Flow

#: The brightest percentile of a tracking frame is put at this of 255 before flow is found.
_EXPOSED_AT = 230.0


def equalise(tracking: Sequence[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
    """Return tracking frames as 8-bit luminance, square-root encoded and of equal brightness.

    Flow assumes that a point keeps its brightness; tracking frames differ in gain when the supply
    droops. Each is scaled so that its 99th-percentile luminance is the same.
    """
    frames = []
    for image in tracking:
        light = np.maximum(luminance(image), 0.0)
        top = max(float(np.percentile(light, 99.0)), 1e-6)
        encoded = np.sqrt(light * np.float32(1.0 / top)) * np.float32(_EXPOSED_AT)
        frames.append(np.clip(encoded + 0.5, 0, 255).astype(np.uint8))
    return frames


def flow_between(
    reference: NDArray[np.uint8],
    moved: NDArray[np.uint8],
    settings: FlowSettings | None = None,
    start: Flow | None = None,
) -> Flow:
    """Return the flow with ``warp(moved, flow) ~ reference``, ``(height, width, 2)`` pixels.

    Args:
        reference: ``(height, width)`` luminance.
        moved: the same at another time.
        settings: of the dense inverse search.
        start: a flow to start from, such as that to a time nearby.
    """
    settings = settings or FlowSettings()
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(settings.finest_scale)
    search.setGradientDescentIterations(settings.gradient_descent_iterations)
    search.setVariationalRefinementIterations(settings.variational_iterations)
    height, width = reference.shape
    if settings.scale < 1.0:
        small = (max(16, round(width * settings.scale)), max(16, round(height * settings.scale)))
        ratio = np.array([width / small[0], height / small[1]], dtype=np.float32)
        reference = cv2.resize(reference, small, interpolation=cv2.INTER_AREA)
        moved = cv2.resize(moved, small, interpolation=cv2.INTER_AREA)
        if start is not None:
            start = cv2.resize(start, small, interpolation=cv2.INTER_AREA) / ratio
        flow = search.calc(reference, moved, None if start is None else start.copy())
        resized = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized * ratio, dtype=np.float32)
    flow = search.calc(reference, moved, None if start is None else start.copy())
    return np.asarray(flow, dtype=np.float32)


def flows_from_centre(
    tracking: Sequence[NDArray[np.uint8]],
    centre: int,
    settings: FlowSettings | None = None,
) -> list[Flow]:
    """Return the flow from the centre tracking frame to each of ``tracking``.

    Works outwards in both directions, each flow starting from its neighbour's, extended at the
    same speed. The centre's own flow is zero.

    Args:
        tracking: luminance of the window's tracking frames, in order, evenly spaced in time.
        centre: which of them is the centre.
        settings: of the dense inverse search.
    """
    height, width = tracking[centre].shape
    flows: list[Flow] = [np.zeros((height, width, 2), np.float32) for _ in tracking]
    for step in (1, -1):
        stop = len(tracking) if step > 0 else -1
        for index in range(centre + step, stop, step):
            start = None
            if index != centre + step:
                ratio = (index - centre) / (index - step - centre)
                start = flows[index - step] * np.float32(ratio)
            flows[index] = flow_between(tracking[centre], tracking[index], settings, start)
    return flows
