"""Mattes over time: neighbouring sets' mattes, moved along the stored flow, steady each other."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.fields import ReflectanceFields
from lightstage.warp import Flow, warp

Array = NDArray[np.float32]

#: A neighbour whose matte differs by more than about this shows something else.
_SAME_WITHIN = 0.25


def flow_between(
    fields: ReflectanceFields, index: int, other: int
) -> tuple[Flow, NDArray[np.float32]] | None:
    """Return the flow from set ``index`` to set ``other``, and how far it is trusted.

    The stored flow leads from a set to the tracking frames of its window, in pixels of the
    recording; the other set's time lies between two of them. Both sets' crops are heeded.

    Args:
        fields: the take's sets.
        index: the set that the flow starts from.
        other: the set that it leads to.

    Returns:
        The flow in pixels of the images, ``(height, width, 2)``, and the trust ``(height, width)``
        in [0, 1]; ``None`` where no flow is stored, or the other set lies outside the window.
    """
    if not fields.has("flow") or "flow_unit_px" not in fields.attributes:
        return None
    times = np.asarray(fields.read_values("tracking_time_s")[index], np.float64)
    there = np.isfinite(times)
    place = _place_in_time(times[there], float(fields.time_s[other]))
    if place is None:
        return None
    before, share = place
    flow = fields.read("flow", index)[before : before + 2] * fields.attributes["flow_unit_px"]
    trust = fields.read("trust", index)[before : before + 2] / 255.0
    size = (fields.width, fields.height)
    moved = _resized(flow[0] * (1.0 - share) + flow[-1] * share, size)
    trusted = _resized(np.minimum(trust[0], trust[-1]), size)
    # from the recording's pixels to those of the images
    own, others = np.asarray(fields.read_values("crop"), np.float64)[[index, other]]
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    in_pixels = np.empty((size[1], size[0], 2), np.float32)
    for axis, at in enumerate((x, y)):
        recorded = own[axis] + at * own[2 + axis] / size[axis] + moved[..., axis]
        in_pixels[..., axis] = (recorded - others[axis]) * size[axis] / others[2 + axis] - at
    return in_pixels, trusted


def steadied(
    alpha: Array, neighbours: list[tuple[Array, Flow, NDArray[np.float32]]], smoothing: float
) -> Array:
    """Return a matte drawn towards those of its neighbours in time.

    Each of two neighbours has half of ``smoothing``, less where its flow is not trusted or its
    matte is a different one; what is not taken from neighbours stays.

    Args:
        alpha: ``(height, width)`` in [0, 1].
        neighbours: the matte of each, the flow to it, and the flow's trust.
        smoothing: 0 to 1.
    """
    steady = alpha.copy()
    for other, flow, trust in neighbours:
        difference = warp(other, flow) - alpha
        same = np.exp(-((difference / np.float32(_SAME_WITHIN)) ** 2)) * trust
        steady += np.nan_to_num(np.float32(0.5 * smoothing) * same * difference)
    return np.clip(steady, 0.0, 1.0).astype(np.float32)


def _place_in_time(times: NDArray[np.float64], time_s: float) -> tuple[int, float] | None:
    """Return the index before ``time_s`` and how far it is towards the next; ``None`` = outside."""
    if len(times) < 2:
        return None
    slack = 0.5 * float(np.diff(times).max())
    if not times[0] - slack <= time_s <= times[-1] + slack:
        return None
    before = int(np.clip(np.searchsorted(times, time_s, side="right") - 1, 0, len(times) - 2))
    share = (time_s - times[before]) / (times[before + 1] - times[before])
    return before, float(np.clip(share, 0.0, 1.0))


def _resized(grid: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    drawn = cv2.resize(grid.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(drawn, np.float32)
