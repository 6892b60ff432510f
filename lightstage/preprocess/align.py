"""Align: each OLAT frame is warped to the centre of its set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.fields import to_half
from lightstage.preprocess.flow import equalise, flow_between, flows_from_centre
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.warp import Flow, disagreement, warp


@dataclass(frozen=True)
class SetFrames:
    """Which frames make a set, and when each was taken.

    Attributes:
        light_frames: index of each light's frame in the source, ``(lights,)``; -1 = missing.
        light_times_s: when each was taken, ``(lights,)``.
        tracking_frames: indices of the window's tracking frames, in order.
        tracking_times_s: when each was taken.
        centre: which of the tracking frames is the set's centre.
    """

    light_frames: NDArray[np.int64]
    light_times_s: NDArray[np.float64]
    tracking_frames: NDArray[np.int64]
    tracking_times_s: NDArray[np.float64]
    centre: int


@dataclass(frozen=True)
class AlignedSet:
    """One aligned OLAT set; arrays as in :class:`lightstage.fields.ReflectanceField`.

    ``olat`` is float16, as it is stored: a set never takes the room of float32.
    """

    olat: NDArray[np.float16]
    full_lit: NDArray[np.float32]
    confidence: NDArray[np.float32]


def align_set(
    frames: SetFrames,
    developed: Callable[[int], NDArray[np.float32]],
    settings: PreprocessSettings | None = None,
) -> AlignedSet:
    """Return the set's images as they would look had nothing moved since its centre.

    The flow at an OLAT frame's own time is interpolated between the flows to the tracking frames
    before and after it, so that each light is resampled once.

    Args:
        frames: the window.
        developed: gives the linear RGB frame of an index.
        settings: of flow and alignment.
    """
    settings = settings or PreprocessSettings()
    tracking = [developed(int(index)) for index in frames.tracking_frames]
    full_lit = tracking[frames.centre]
    lights = len(frames.light_frames)
    olat = np.empty((lights, *full_lit.shape), dtype=np.float16)
    trust = np.zeros(lights, dtype=np.float32)
    present = np.flatnonzero(frames.light_frames >= 0)
    olat[frames.light_frames < 0] = np.nan
    if settings.align.method == "none":
        for light in present:
            olat[light] = to_half(developed(int(frames.light_frames[light])))
        return AlignedSet(olat, full_lit, trust)

    gray = equalise(tracking)
    flows = flows_from_centre(gray, frames.centre, settings.flow)
    agreement = [
        _agreement(gray, flows, index, frames.centre, settings) for index in range(len(gray))
    ]
    for light in present:
        before, share = _between(frames.light_times_s[light], frames.tracking_times_s)
        flow = flows[before] * np.float32(1.0 - share) + flows[before + 1] * np.float32(share)
        image = developed(int(frames.light_frames[light]))
        warped = warp(image, flow, settings.align.interpolation)
        outside = np.isnan(warped)
        if outside.any():
            # what moved in from outside the picture is not known: the unmoved pixel stands there
            warped[outside] = image[outside]
        olat[light] = to_half(warped)
        trust[light] = agreement[before] * (1.0 - share) + agreement[before + 1] * share
    return AlignedSet(olat, full_lit, trust)


def _between(
    time_s: float, tracking_times_s: Sequence[float] | NDArray[np.float64]
) -> tuple[int, float]:
    """Return the tracking frame before ``time_s`` and how far on to the next it lies."""
    times = np.asarray(tracking_times_s)
    before = int(np.clip(np.searchsorted(times, time_s) - 1, 0, len(times) - 2))
    return before, float((time_s - times[before]) / (times[before + 1] - times[before]))


def _agreement(
    gray: list[NDArray[np.uint8]],
    flows: list[Flow],
    index: int,
    centre: int,
    settings: PreprocessSettings,
) -> float:
    """Return the share of the lit picture in which flow there and back again agree."""
    if index == centre:
        return 1.0
    back = flow_between(gray[index], gray[centre], settings.flow, -flows[index])
    lit = gray[centre] > 16
    if not lit.any():
        return 0.0
    near = disagreement(flows[index], back)[lit] <= settings.align.confident_within_px
    return float(near.mean())
