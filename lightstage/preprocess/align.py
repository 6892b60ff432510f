"""Align: each OLAT frame is warped to its set's time, cropped and resized in one resampling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.half_floats import rounded_half
from lightstage.preprocess.develop import DevelopedFrames
from lightstage.preprocess.motion import SetMotion
from lightstage.preprocess.settings import AlignSettings
from lightstage.preprocess.view import View
from lightstage.warp import INTERPOLATION_FLAGS

#: Frames that are this many times the calmest quarter's difference apart differ by noise; in linear
#: light, mean of 3x3, this is at least and at most:
_NOISE_TIMES = 4.0
_NOISE_LIMITS = (0.008, 0.03)
#: Up to about this, they differ by how the light falls; beyond it they show different things.
_MOST_SHADING = 0.8
#: Images are stored in steps of about this part of the sensor's own.
_STEPS_PER_SENSOR_STEP = 32.0


@dataclass(frozen=True)
class SetFrames:
    """Which frames make a set, and when each was taken.

    Attributes:
        light_frames: ``(lights, samples)`` index of each light's frames in the source, the set's
            own first, then those of the cycles beside it; -1 = missing.
        light_times_s: when each was taken, ``(lights, samples)``.
        tracking_frames: indices of the window's tracking frames, in order.
        tracking_times_s: when each was taken.
        centre: which of the tracking frames is nearest to the set's time.
        time_s: the set's time.
    """

    light_frames: NDArray[np.int64]
    light_times_s: NDArray[np.float64]
    tracking_frames: NDArray[np.int64]
    tracking_times_s: NDArray[np.float64]
    centre: int
    time_s: float

    @property
    def lights(self) -> int:
        """How many lights the set has."""
        return len(self.light_frames)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """The lights that have no frame, ``(lights,)``."""
        return np.asarray((self.light_frames < 0).all(axis=1))


class SetAligner:
    """Makes one set's images, a light at a time.

    The flow at an OLAT frame's own time is interpolated between the flows to the tracking frames
    before and after it, brought to the output's pixels together with crop and size, and the frame
    is resampled once.
    """

    def __init__(
        self,
        frames: SetFrames,
        motion: SetMotion,
        view: View,
        developed: DevelopedFrames,
        settings: AlignSettings,
    ) -> None:
        self._frames = frames
        self._motion = motion
        self._view = view
        self._developed = developed
        self._settings = settings
        self._places = _output_places(view)
        # a picture made smaller is smooth: a cubic would only sharpen its noise
        self._interpolation = settings.interpolation or ("linear" if view.level else "cubic")
        self._step = 2.0 ** -round(math.log2(_STEPS_PER_SENSOR_STEP / developed.sensor_step))
        self._flow_scale = np.float32(motion.unit_px / view.developed_px)
        height, width = (side >> view.level for side in view.region[:1:-1])
        #: Where a frame's light is put while it is drawn; frames that are mixed have their own.
        self._scratch = (
            np.empty((height, width, 3), np.float32) if frames.light_frames.shape[1] == 1 else None
        )
        #: Whether output pixels are source pixels, so that without motion none is resampled.
        self._unscaled = bool(
            view.level == 0
            and (view.out_width, view.out_height) == (view.width, view.height)
            and float(view.left).is_integer()
            and float(view.top).is_integer()
        )

    def light(self, light: int) -> NDArray[np.float16]:
        """Return one light's image ``(height, width, 3)``; NaN where it has no frame."""
        size = (self._view.out_height, self._view.out_width, 3)
        used = np.flatnonzero(self._frames.light_frames[light] >= 0)
        if len(used) == 0:
            return np.full(size, np.nan, np.float16)
        if len(used) == 1:
            return self._stored(self._sample(light, int(used[0])))
        return self._stored(self._fused(light, [int(sample) for sample in used]))

    def full_lit(self) -> NDArray[np.float16]:
        """Return the set's full-lit image ``(height, width, 3)``: its centre tracking frame."""
        frames = self._frames
        frame = int(frames.tracking_frames[frames.centre])
        flow = self._motion.flow[frames.centre].astype(np.float32)
        return self._stored(self._warped(frame, flow))

    def lights(self) -> Iterator[NDArray[np.float16]]:
        """Yield every light's image in order."""
        return (self.light(light) for light in range(self._frames.lights))

    def confidence(self) -> NDArray[np.float32]:
        """Return how far each light's alignment is trusted, ``(lights,)`` in [0, 1]."""
        trusted = np.zeros(self._frames.lights, np.float32)
        for light in np.flatnonzero(~self._frames.missing).tolist():
            sample = int(np.flatnonzero(self._frames.light_frames[light] >= 0)[0])
            before, share = self._between(light, sample)
            figure = self._motion.confidence
            trusted[light] = figure[before] * (1.0 - share) + figure[before + 1] * share
        return trusted

    def _stored(self, image: NDArray[np.float32]) -> NDArray[np.float16]:
        """Return linear light as it is stored: rounded far below a step of the sensor."""
        return rounded_half(image, self._step)

    def _between(self, light: int, sample: int) -> tuple[int, float]:
        time_s = float(self._frames.light_times_s[light, sample])
        return between(time_s, self._frames.tracking_times_s)

    def _sample(self, light: int, sample: int) -> NDArray[np.float32]:
        """Return one frame of a light, aligned, linear."""
        before, share = self._between(light, sample)
        frame = int(self._frames.light_frames[light, sample])
        if self._settings.method == "none":
            return self._warped(frame, None)
        flow = cv2.addWeighted(
            self._motion.flow[before], 1.0 - share, self._motion.flow[before + 1], share, 0.0,
            dtype=cv2.CV_32F,
        )  # fmt: skip
        return self._warped(frame, np.asarray(flow))

    def _warped(self, frame: int, flow: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return a developed frame at the output's pixels, moved by a flow in stored units."""
        view = self._view
        image = self._developed.region(frame, view.region, self._scratch)
        rows, columns = slice(0, view.out_height), slice(0, view.out_width)
        places = self._places
        if self._unscaled:
            # output pixels are source pixels: what does not move is copied
            top, left = int(view.top) - view.region.top, int(view.left) - view.region.left
            whole = image[top : top + view.out_height, left : left + view.out_width]
            moving = None if flow is None else self._moving_part(flow)
            if moving is None:
                return whole
            rows, columns = moving
        if flow is not None and (self._unscaled or flow.any()):
            fine = cv2.resize(
                flow, (view.out_width, view.out_height), interpolation=cv2.INTER_LINEAR
            )[rows, columns]
            places = cv2.scaleAdd(
                np.ascontiguousarray(fine),
                float(self._flow_scale),
                np.ascontiguousarray(places[rows, columns]),
            )
        drawn = _resampled(image, places, self._interpolation)
        if self._interpolation != "linear":  # others overshoot beside highlights that are clipped
            np.minimum(drawn, image.max(), out=drawn)
        if self._unscaled:
            whole[rows, columns] = drawn
            return whole
        return np.asarray(drawn, dtype=np.float32)

    def _moving_part(self, flow: NDArray[np.float32]) -> tuple[slice, slice] | None:
        """Return the rows and columns of the output in which anything moves; ``None`` = nothing."""
        moves = np.asarray((flow != 0).any(axis=-1))
        found = [np.flatnonzero(moves.any(axis=axis)) for axis in (1, 0)]
        if not found[0].size:
            return None
        sizes = zip(found, moves.shape, (self._view.out_height, self._view.out_width), strict=True)
        # a cell's flow reaches to the middles of the cells about it
        first, second = (
            slice(
                max(0, math.floor((int(cells[0]) - 1) * out / count)),
                min(out, math.ceil((int(cells[-1]) + 2) * out / count)),
            )
            for cells, count, out in sizes
        )
        return first, second

    def _trust(self, light: int, sample: int) -> NDArray[np.float32]:
        """Return how far each output pixel of a frame is trusted, ``(height, width)`` in [0, 1]."""
        before, share = self._between(light, sample)
        trust = cv2.addWeighted(
            self._motion.trust[before], (1.0 - share) / 255.0,
            self._motion.trust[before + 1], share / 255.0, 0.0, dtype=cv2.CV_32F,
        )  # fmt: skip
        size = (self._view.out_width, self._view.out_height)
        return np.asarray(cv2.resize(trust, size, interpolation=cv2.INTER_LINEAR))

    def _fused(self, light: int, samples: Sequence[int]) -> NDArray[np.float32]:
        """Return a light's image at the set's time, from its frames of several cycles.

        A light's frame is up to half a cycle from the set's time, and a head that turns meanwhile
        is shaded otherwise: alignment moves points, not shading. The frame of the next cycle on the
        other side of the set's time tells how each point's light changes, and what it was in
        between. Where all frames are alike to within noise, their mean has less of it. Where the
        set's own frame shows something hidden, the others stand in.
        """
        own, own_trust = self._sample(light, samples[0]), self._trust(light, samples[0])
        others = {k: (self._sample(light, k), self._trust(light, k)) for k in samples[1:]}
        times_s = self._frames.light_times_s[light] - self._frames.time_s
        apart = {k: _difference(image, own) for k, (image, _) in others.items()}
        image = own
        across = [k for k in others if times_s[k] * times_s[samples[0]] < 0]
        if across:
            other, trust = others[across[0]]
            share = abs(times_s[samples[0]]) / abs(times_s[samples[0]] - times_s[across[0]])
            moved = trust * own_trust * _alike(apart[across[0]], _MOST_SHADING)
            part = np.maximum(np.float32(share) * moved, trust * (1.0 - own_trust))
            image = own + cv2.subtract(other, own) * part[..., None]
        noise = {k: _noise_of(difference) for k, difference in apart.items()}
        weight = 0.05 + own_trust
        total = own * weight[..., None]
        for k, (other, trust) in others.items():
            alike = trust * own_trust * _alike(apart[k], noise[k])
            total += other * alike[..., None]
            weight += alike
        unchanged = _alike(np.maximum.reduce(list(apart.values())), max(noise.values()))
        mean = total / weight[..., None]
        return np.asarray(image + (mean - image) * unchanged[..., None], dtype=np.float32)


def _resampled(
    image: NDArray[np.float32], places: NDArray[np.float32], interpolation: str
) -> NDArray[np.float32]:
    """Return an image ``(height, width, 3)`` at the places given for each output pixel."""
    # OpenCV interpolates four numbers at once three times as fast as three, with the same result
    padded = interpolation == "linear"
    drawn = cv2.remap(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if padded else image,
        places,
        None,
        INTERPOLATION_FLAGS[interpolation],
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.cvtColor(drawn, cv2.COLOR_RGBA2RGB) if padded else drawn)


def _difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far two images are apart about each pixel, in the worst colour."""
    return np.asarray(np.abs(cv2.blur(cv2.subtract(a, b), (3, 3))).max(axis=-1))


def _noise_of(apart: NDArray[np.float32]) -> float:
    """Return within which difference two images of one light are alike but for noise."""
    calm = _NOISE_TIMES * float(np.percentile(apart[::4, ::4], 25.0))
    return min(max(calm, _NOISE_LIMITS[0]), _NOISE_LIMITS[1])


def _alike(apart: NDArray[np.float32], within: float) -> NDArray[np.float32]:
    """Return 1 where images are closer than ``within``, falling to 0 where they are not."""
    return np.asarray(1.0 / (1.0 + (apart * np.float32(1.0 / within)) ** 4), dtype=np.float32)


def between(
    time_s: float, tracking_times_s: Sequence[float] | NDArray[np.float64]
) -> tuple[int, float]:
    """Return the tracking frame before ``time_s`` and how far on to the next it lies."""
    times = np.asarray(tracking_times_s)
    before = int(np.clip(np.searchsorted(times, time_s) - 1, 0, len(times) - 2))
    return before, float((time_s - times[before]) / (times[before + 1] - times[before]))


def _output_places(view: View) -> NDArray[np.float32]:
    """Return where each output pixel lies on the developed region, ``(height, width, 2)`` x, y."""
    affine = view.output_to_developed()
    places = np.empty((view.out_height, view.out_width, 2), np.float32)
    places[..., 0] = np.arange(view.out_width) * affine[0, 0] + affine[0, 2]
    places[..., 1] = (np.arange(view.out_height) * affine[1, 1] + affine[1, 2])[:, None]
    return places
