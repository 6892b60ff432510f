"""Head clips at other times: interpolated, resampled, smoothed, cut and joined.

What each parameter is between frames depends on how it moves (measured in docs/parameters.md):

- the head's rotations and translation are smooth: splines with continuous acceleration, rotations
  the short way;
- jaw and expressions are splines too, kept within the range that the clip shows, so that closed
  lips do not cross and a brow at rest does not dip below it;
- eyelids, eyes and the view jump and rest: monotone between neighbours, never beyond them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator

from lightstage.errors import InputError
from relight_model.head.clip import EYE_LEFT, EYE_RIGHT, GLOBAL, JAW, NECK, HeadClip
from relight_model.head.expression_names import is_blink
from relight_model.head.rotations import (
    exp_at,
    log_at,
    mean_rotation,
    smoothed,
    smoothed_values,
    spline,
)

Float = NDArray[np.float64]
Part = Literal["pose", "jaw", "gaze", "expression", "blink", "translation"]
PARTS: tuple[Part, ...] = get_args(Part)
#: What :func:`smooth` smooths unless told otherwise: lids and eyes move within one or two frames.
SLOW_PARTS: tuple[Part, ...] = ("pose", "jaw", "expression", "translation")

#: Times this little beyond what is asked are rounding.
_TIME_SLACK_S = 1e-9
#: A low-pass's deviation, as a share of the new period: a third is left at half the new rate.
_LOW_PASS_PERIODS = 0.5
#: More frames than this are a slip of a rate, not a clip.
_MOST_FRAMES = 20_000_000


def at_times(clip: HeadClip, time_s: ArrayLike) -> HeadClip:
    """Return the clip at other times.

    At a frame's own time its parameters come out. Beyond the first and last frame, by at most half
    the usual time between frames, theirs are held. A frame's confidence is the lesser of its
    neighbours'.

    Args:
        clip: any clip.
        time_s: ``(m,)`` seconds, rising.

    Raises:
        InputError: times farther outside the clip, or that do not rise.
    """
    at = np.atleast_1d(np.asarray(time_s, np.float64))
    knots = clip.time_s
    margin = 0.5 * clip.period_s + _TIME_SLACK_S
    if len(at) == 0 or not np.isfinite(at).all():
        raise InputError("a head clip can be interpolated at times in seconds; none were given.")
    if at.min() < knots[0] - margin or at.max() > knots[-1] + margin:
        raise InputError(
            f"the head clip lasts from {knots[0]:.4f} to {knots[-1]:.4f} s; at "
            f"{at.min():.4f} to {at.max():.4f} s it can only be guessed, which is refused beyond "
            "half a frame."
        )
    inside = np.clip(at, knots[0], knots[-1])
    if len(knots) == 1:
        return clip.frames(np.zeros(len(at), dtype=int)).replace(time_s=at)
    pose = np.empty((len(at), 15))
    for part in (GLOBAL, NECK):
        pose[:, part] = spline(knots, clip.pose[:, part], inside)
    for part, values_at in ((JAW, _within_range), (EYE_LEFT, _monotone), (EYE_RIGHT, _monotone)):
        mean = mean_rotation(clip.pose[:, part])
        pose[:, part] = exp_at(mean, values_at(knots, log_at(mean, clip.pose[:, part]), inside))
    expression = _within_range(knots, clip.expression, inside)
    blinks = is_blink(clip.expression_names, clip.expression.shape[1])
    if blinks.any():
        expression[:, blinks] = _monotone(knots, clip.expression[:, blinks], inside)
    confidence = None
    if clip.confidence is not None:
        after = np.clip(np.searchsorted(knots, inside - _TIME_SLACK_S), 0, len(knots) - 1)
        before = np.clip(
            np.searchsorted(knots, inside + _TIME_SLACK_S, side="right") - 1, 0, len(knots) - 1
        )
        confidence = np.minimum(clip.confidence[before], clip.confidence[after])
    return clip.replace(
        expression=expression,
        pose=pose,
        translation_m=CubicSpline(knots, clip.translation_m)(inside),
        time_s=at,
        view=None if clip.view is None else _monotone(knots, clip.view, inside),
        confidence=confidence,
    )


def resample(clip: HeadClip, rate_hz: float, *, low_pass: bool = False) -> HeadClip:
    """Return the clip at ``rate_hz`` frames a second, from its first frame to its last.

    Args:
        clip: any clip.
        rate_hz: such as 1000.
        low_pass: before going to fewer frames, take out movement that they cannot show, from all
            but lids and eyes.

    Raises:
        InputError: not a rate.
    """
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise InputError(f"a rate must be above 0 frames a second, it is {rate_hz}.")
    length = float(clip.time_s[-1] - clip.time_s[0])
    if length * rate_hz > _MOST_FRAMES:
        raise InputError(f"{length:.0f} s at {rate_hz:g} frames a second are too many frames.")
    count = int(np.floor((length + _TIME_SLACK_S) * rate_hz)) + 1
    if low_pass and clip.period_s * rate_hz < 1.0 - 1e-6:
        clip = smooth(clip, _LOW_PASS_PERIODS / rate_hz)
    return at_times(clip, clip.time_s[0] + np.arange(count) / rate_hz)


def smooth(clip: HeadClip, seconds: float, parts: Collection[Part] = SLOW_PARTS) -> HeadClip:
    """Return the clip smoothed by a Gaussian, without lag; rotations as rotations.

    The first and last frame stay; see :func:`relight_model.head.rotations.smoothed_values`.

    Args:
        clip: any clip.
        seconds: the Gaussian's standard deviation.
        parts: what to smooth; lids and eyes only where asked for.

    Raises:
        InputError: a time below 0, or a part that is none.
    """
    if not (np.isfinite(seconds) and seconds >= 0):
        raise InputError(f"a clip is smoothed over a time of at least 0 s, not {seconds}.")
    if unknown := set(parts) - set(PARTS):
        raise InputError(f"{', '.join(sorted(unknown))}: parts of a clip are {', '.join(PARTS)}.")
    pose, expression = clip.pose.copy(), clip.expression.copy()
    translation = clip.translation_m
    joints = {"pose": (GLOBAL, NECK), "jaw": (JAW,), "gaze": (EYE_LEFT, EYE_RIGHT)}
    for name, members in joints.items():
        for member in members if name in parts else ():
            pose[:, member] = smoothed(clip.time_s, clip.pose[:, member], seconds)
    blinks = is_blink(clip.expression_names, expression.shape[1])
    for name, which in (("expression", ~blinks), ("blink", blinks)):
        if name in parts and which.any():
            expression[:, which] = smoothed_values(clip.time_s, clip.expression[:, which], seconds)
    if "translation" in parts:
        translation = smoothed_values(clip.time_s, translation, seconds)
    return clip.replace(pose=pose, expression=expression, translation_m=translation)


def trim(clip: HeadClip, start_s: float | None = None, end_s: float | None = None) -> HeadClip:
    """Return the frames from ``start_s`` to ``end_s``, both included, at their own times.

    Raises:
        InputError: there is no frame in between.
    """
    from_s = clip.time_s[0] if start_s is None else start_s
    to_s = clip.time_s[-1] if end_s is None else end_s
    kept = (clip.time_s >= from_s - _TIME_SLACK_S) & (clip.time_s <= to_s + _TIME_SLACK_S)
    if not kept.any():
        raise InputError(
            f"no frame lies between {from_s:g} and {to_s:g} s; the clip lasts from "
            f"{clip.time_s[0]:g} to {clip.time_s[-1]:g} s."
        )
    return clip.frames(kept)


def concatenate(clips: Sequence[HeadClip], gap_s: float | None = None) -> HeadClip:
    """Return clips one after another.

    Args:
        clips: of one head model, identity, camera and size of view. What the first tells in
            ``details`` is kept.
        gap_s: from the last frame of one to the first of the next; the earlier clip's usual time
            between frames unless given.

    Raises:
        InputError: no clip, clips that do not fit together, or no gap for a clip of one frame.
    """
    if not clips:
        raise InputError("there are no clips to join.")
    first = clips[0]
    times = [first.time_s]
    for clip, before in zip(clips[1:], clips, strict=False):
        for name in ("head", "expression_names", "camera", "view_size"):
            if getattr(clip, name) != getattr(first, name):
                raise InputError(
                    f"clips with another {name.replace('_', ' ')} cannot be joined: "
                    f"{getattr(first, name)!r} and {getattr(clip, name)!r}."
                )
        if clip.shape.shape != first.shape.shape or not np.allclose(clip.shape, first.shape):
            raise InputError("clips of another identity (shape) cannot be joined; retarget one.")
        gap = before.period_s if gap_s is None else gap_s
        if not gap > 0:
            raise InputError("the time between clips must be above 0 s; give a gap.")
        times.append(clip.time_s - clip.time_s[0] + times[-1][-1] + gap)
    sure = None
    if any(clip.confidence is not None for clip in clips):
        sure = np.concatenate([clip.weight for clip in clips])
    return first.replace(
        expression=np.concatenate([clip.expression for clip in clips]),
        pose=np.concatenate([clip.pose for clip in clips]),
        translation_m=np.concatenate([clip.translation_m for clip in clips]),
        time_s=np.concatenate(times),
        view=None
        if first.view is None
        else np.concatenate([clip.view for clip in clips if clip.view is not None]),
        confidence=sure,
    )


def _within_range(knots: Float, values: Float, at: Float) -> Float:
    """Return the spline, never beyond the least and greatest of each column."""
    free = np.asarray(CubicSpline(knots, values)(at), np.float64)
    return np.clip(free, values.min(axis=0), values.max(axis=0))


def _monotone(knots: Float, values: Float, at: Float) -> Float:
    return np.asarray(PchipInterpolator(knots, values)(at))
