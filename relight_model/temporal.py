"""How steady a sequence is: what changes from frame to frame beyond what moves.

Frame ``t + 1`` is warped to frame ``t`` along the optical flow of the *true* frames under even
light; what remains between them, where the flow is trusted, is the warping error (Lai et al. 2018,
equation 10, with the mean absolute difference). The truth has one too: highlights move, skin
folds. So the prediction's is told beside the truth's, and so is their difference's: the mean
absolute value of ``(warped prediction - prediction) - (warped truth - truth)``, which is 0 where a
prediction changes as the truth does, whatever constant error it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import encode_srgb, to_8bit
from relight_model.metrics import exposure_of

Array = NDArray[np.float32]

#: Flow there and back may miss its start by this share of its length, and so many pixels.
_MISS_SHARE, _MISS_PX = 0.1, 0.5
#: Two sets are neighbours when they are at most so many usual intervals apart.
_MOST_INTERVALS = 1.5


@dataclass(frozen=True)
class StabilityScores:
    """Means over all pairs of neighbouring frames and all lights, of display values.

    Attributes:
        warping_error: of the prediction.
        truth_warping_error: of the truth.
        flicker: of their difference; 0 where the prediction changes just as the truth does.
        pairs: pairs of sets that were compared.
    """

    warping_error: float
    truth_warping_error: float
    flicker: float
    pairs: int


class StabilityMeter:
    """Takes sets one after the other and keeps the last one alone."""

    def __init__(self) -> None:
        self._last: tuple[float, Array, Array, Array, NDArray[np.bool_] | None] | None = None
        self._interval_s: float | None = None
        self._sums = np.zeros(3)
        self._pairs = 0

    def add(
        self,
        time_s: float,
        prediction: Array,
        truth: Array,
        even: Array,
        inside: NDArray[np.bool_] | None,
    ) -> None:
        """Take the next set.

        Args:
            time_s: its time.
            prediction: ``(n, h, w, 3)`` linear: relit by n lights, the same in every set.
            truth: the same.
            even: ``(h, w, 3)`` linear: the truth under even light, on which flow is found.
            inside: ``(h, w)``: only these pixels count; all by default.
        """
        before, self._last = self._last, (time_s, prediction, truth, even, inside)
        if before is None:
            return
        interval = time_s - before[0]
        self._interval_s = interval if self._interval_s is None else min(self._interval_s, interval)
        if interval > _MOST_INTERVALS * self._interval_s:
            return
        places, counted = warp_between(before[3], even)
        if before[4] is not None:
            counted &= before[4]
        if not counted.any():
            return
        self._pairs += 1
        for k in range(len(truth)):
            exposure = np.float32(exposure_of(before[2][k]))
            changes = []
            for old, new in ((before[1][k], prediction[k]), (before[2][k], truth[k])):
                moved = cv2.remap(
                    encode_srgb(new * exposure), places, None, cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )  # fmt: skip
                changes.append((np.asarray(moved) - encode_srgb(old * exposure))[counted])
            self._sums += np.array(
                [np.abs(c).mean(dtype=np.float64) for c in (*changes, changes[0] - changes[1])]
            ) / len(truth)

    def scores(self) -> StabilityScores | None:
        """Return the means; ``None`` where no two sets were neighbours."""
        if self._pairs == 0:
            return None
        means = self._sums / self._pairs
        return StabilityScores(float(means[0]), float(means[1]), float(means[2]), self._pairs)


def warp_between(first: Array, second: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return where each pixel of ``first`` stands in ``second``, and where that is trusted.

    Args:
        first: ``(h, w, 3)`` linear.
        second: the same.

    Returns:
        ``(h, w, 2)`` places (x, y), as OpenCV's ``remap`` takes them, and ``(h, w)``.
    """
    exposure = exposure_of(first)
    grey = [cv2.cvtColor(to_8bit(p * exposure), cv2.COLOR_RGB2GRAY) for p in (first, second)]
    there, back = _flow(grey[0], grey[1]), _flow(grey[1], grey[0])
    height, width = grey[0].shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = np.stack([x, y], axis=2) + there
    returned = np.asarray(cv2.remap(back, places, None, cv2.INTER_LINEAR)) + there
    miss = np.linalg.norm(returned, axis=2)
    allowed = _MISS_PX + _MISS_SHARE * np.linalg.norm(there, axis=2)
    within = (
        (places[..., 0] >= 0) & (places[..., 0] <= width - 1)
        & (places[..., 1] >= 0) & (places[..., 1] <= height - 1)
    )  # fmt: skip
    return places, np.asarray((miss <= allowed) & within)


def _flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Array:
    # a new object each time: a used one of OpenCV 5.0 finds another flow
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    return np.asarray(search.calc(first, second, None), np.float32)
