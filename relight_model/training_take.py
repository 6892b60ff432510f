"""A take to learn from: reflectance fields, and the head parameters of their moments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.fields import ReflectanceFields
from relight_model.conditioning import StackLayout
from relight_model.head.clip import HeadClip

#: Where a take's head parameters are looked for, in this order.
CLIP_NAMES = ("head.npz", "truth_head.npz")
#: A set and the frame of its parameters may be so far apart: half the time from one tracking frame
#: to the next.
MOST_APART_S = 0.004
#: A frame of a stack may be off its time by this share of the time between frames.
_MOST_OFF = 0.5


@dataclass(frozen=True, eq=False)
class TrainingTake:
    """Fields and clip that were matched by time.

    Attributes:
        fields: the OLAT sets.
        clip: head parameters; at the sets' times, or more often.
        frames: ``(sets,)`` each set's frame of the clip.
        where: for messages.
    """

    fields: ReflectanceFields
    clip: HeadClip
    frames: NDArray[np.int64]
    where: str

    @classmethod
    def open(cls, path: Path, clip: Path | HeadClip | None = None) -> TrainingTake:
        """Open a take, a session of one take, or a store, with its head parameters.

        Args:
            path: where the fields are.
            clip: the parameters or their file; ``head.npz`` or ``truth_head.npz`` beside the store
                by default.

        Raises:
            InputError: there are no parameters, or they are not of these sets.
        """
        fields = ReflectanceFields.open(path)
        if clip is None:
            clip = _clip_beside(fields)
        loaded = clip if isinstance(clip, HeadClip) else HeadClip.load(clip)
        return cls.matched(fields, loaded, str(path))

    @classmethod
    def matched(cls, fields: ReflectanceFields, clip: HeadClip, where: str = "") -> TrainingTake:
        """Put fields and a clip together by time.

        A clip whose times count from the first set is understood too.

        Raises:
            InputError: a set has no frame within 4 ms, or the pictures have other proportions.
        """
        where = where or str(fields.path)
        frames, apart = _nearest(fields.time_s, clip.time_s)
        if apart.max() > MOST_APART_S:
            shifted = _nearest(fields.time_s - fields.time_s[0], clip.time_s)
            if shifted[1].max() <= MOST_APART_S:
                frames, apart = shifted
        if apart.max() > MOST_APART_S:
            lost = int(apart.argmax())
            raise InputError(
                f"{where}: the head parameters are not of these sets: set {lost}, at "
                f"{fields.time_s[lost]:.3f} s, is {1e3 * apart[lost]:.1f} ms from the nearest "
                f"frame of the clip, whose {len(clip)} frames run from {clip.time_s[0]:.3f} to "
                f"{clip.time_s[-1]:.3f} s. Fit this take: relight_model fit."
            )
        seen = clip.frame_camera(0)
        if abs(seen.width * fields.height - seen.height * fields.width) > max(
            fields.height, fields.width
        ):
            raise InputError(
                f"{where}: the clip's pictures are {seen.width} x {seen.height}, the sets' "
                f"{fields.width} x {fields.height}: parameters and sets are not of the same crop. "
                f"Fit this take as it was preprocessed."
            )
        return cls(fields, clip, frames, where)

    def stack_frames(self, index: int, layout: StackLayout) -> NDArray[np.int64]:
        """Return which frames of the clip the stack of set ``index`` shows, oldest first.

        Frames ``layout.step`` usual intervals apart. Where the clip does not reach back so far, or
        has a gap, the oldest frame that there is stands for those before it.

        Returns:
            ``(layout.frames,)``.
        """
        clip, newest = self.clip, int(self.frames[index])
        interval = clip.period_s * layout.step
        wanted = clip.time_s[newest] - interval * np.arange(layout.frames)
        frames, apart = _nearest(wanted, clip.time_s[: newest + 1])
        lost = np.flatnonzero(apart > _MOST_OFF * max(clip.period_s, 1e-9) + 1e-9)
        if len(lost):
            frames[lost[0] :] = frames[max(lost[0] - 1, 0)]
        return frames[::-1].copy()


def _clip_beside(fields: ReflectanceFields) -> Path:
    for name in CLIP_NAMES:
        if (fields.path.parent / name).is_file():
            return fields.path.parent / name
    raise InputError(
        f"{fields.path.parent}: has no head parameters ({' or '.join(CLIP_NAMES)}); make them with "
        f"relight_model fit, or name their file."
    )


def _nearest(
    wanted_s: NDArray[np.float64], times_s: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the index of the nearest of rising ``times_s``, and how far away it is."""
    after = np.clip(np.searchsorted(times_s, wanted_s), 0, len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(times_s[before] - wanted_s) <= np.abs(times_s[after] - wanted_s)
    chosen = np.where(nearer, before, after).astype(np.int64)
    return chosen, np.abs(times_s[chosen] - wanted_s)
