"""Normalisation, equation (6): a source's parameters as the target would have moved.

``X' = (sigma_t / sigma_s) (X_s - mu_s) + mu_t`` for theta (pose) and phi (expression) as separate
random variables. Each joint is taken for itself, and its rotation in the tangent space at its mean,
so that the equation is right however far the mean pose is turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from relight_model.head.clip import JOINTS, HeadClip
from relight_model.head.clip_statistics import ClipStatistics, Spread
from relight_model.head.expression_names import is_blink
from relight_model.head.rotations import exp_at, log_at

Float = NDArray[np.float64]

#: Below these a parameter counts as one that never moves: expression units, radians, metres.
LEAST_EXPRESSION, LEAST_ANGLE_RAD, LEAST_SHIFT_M = 1e-3, 1e-3, 1e-4
#: A joint is never turned farther than this from its mean.
_MOST_TURN_RAD = np.radians(170.0)


@dataclass(frozen=True)
class NormaliseOptions:
    """How equation (6) is applied.

    Attributes:
        scale: ``each``: every parameter has its own sigma, as the equation says. ``whole``: one
            ratio for all expressions and one for each joint, from the length of their deviations,
            so that a movement keeps its direction. ``each`` is the default since components differ
            by orders of magnitude in how much they move, and one ratio would be the largest's.
        most_gain: no parameter is scaled up by more, so that a source that hardly moves does not
            become noise.
        blinks: ``range``: the components that close the eyes are mapped from rest to fully closed
            instead of by their moments. A blink is no normal variable: with moments, a source that
            blinks twice as often closes the target's eyes only by seven tenths. ``moments``: by
            the equation.
        translation: also normalise where the head is.
    """

    scale: Literal["each", "whole"] = "each"
    most_gain: float = 5.0
    blinks: Literal["range", "moments"] = "range"
    translation: bool = False

    def __post_init__(self) -> None:
        """Check the gain."""
        if not 1.0 <= self.most_gain < np.inf:
            raise InputError(f"the most gain must be at least 1, it is {self.most_gain}.")


def normalise(
    clip: HeadClip,
    source: ClipStatistics,
    target: ClipStatistics,
    options: NormaliseOptions | None = None,
) -> HeadClip:
    """Return ``clip`` with its pose and expression normalised from ``source`` to ``target``.

    A parameter that never moves in the source (deviation below 0.001, 0.06 degrees, 0.1 mm)
    takes the target's mean and is not scaled up. With equal statistics the clip comes back as it
    was.

    Args:
        clip: of the source, with the components of both statistics.
        source: mu_s and sigma_s.
        target: mu_t and sigma_t.
        options: see there.

    Raises:
        InputError: the statistics are of another number of expressions than the clip.

    Source: the paper's equation (6).
    """
    options = options or NormaliseOptions()
    count = clip.expression.shape[1]
    if not len(source.expression.mean) == len(target.expression.mean) == count:
        raise InputError(
            f"a clip of {count} expressions cannot be normalised from statistics of "
            f"{len(source.expression.mean)} to statistics of {len(target.expression.mean)}."
        )
    expression = _mapped(
        clip.expression, source.expression, target.expression, LEAST_EXPRESSION, options
    )
    blinks = is_blink(clip.expression_names, count)
    if options.blinks == "range" and blinks.any():
        by_range = _mapped_range(clip.expression, source.expression, target.expression, options)
        expression[:, blinks] = by_range[:, blinks]
    pose = clip.pose.copy()
    for name, part in JOINTS.items():
        s, t = source.joints[name], target.joints[name]
        if s == t:
            continue
        tangent = log_at(s.array("mean"), clip.pose[:, part])
        tangent *= _gain(s, t, LEAST_ANGLE_RAD, options)
        angle = np.linalg.norm(tangent, axis=1, keepdims=True)
        tangent *= np.minimum(1.0, _MOST_TURN_RAD / np.maximum(angle, 1e-9))
        pose[:, part] = exp_at(t.array("mean"), tangent)
    translation = clip.translation_m
    if options.translation:
        translation = _mapped(
            translation, source.translation_m, target.translation_m, LEAST_SHIFT_M, options
        )
    return clip.replace(expression=expression, pose=pose, translation_m=translation)


def _mapped(x: Float, s: Spread, t: Spread, least: float, options: NormaliseOptions) -> Float:
    if s == t:
        return x.copy()
    return np.asarray(_gain(s, t, least, options) * (x - s.array("mean")) + t.array("mean"))


def _gain(s: Spread, t: Spread, least: float, options: NormaliseOptions) -> Float:
    """Return sigma_t / sigma_s, at most ``most_gain``, and at most 1 for what hardly moves."""
    of_source, of_target = s.array("deviation"), t.array("deviation")
    if options.scale == "whole":
        of_source = np.full_like(of_source, np.linalg.norm(of_source))
        of_target = np.full_like(of_target, np.linalg.norm(of_target))
    ratio = of_target / np.maximum(of_source, 1e-300)
    ratio = np.where(of_source == of_target, 1.0, ratio)
    return np.asarray(np.minimum(ratio, np.where(of_source < least, 1.0, options.most_gain)))


def _mapped_range(x: Float, s: Spread, t: Spread, options: NormaliseOptions) -> Float:
    """Map from rest to the highest that was seen: what never acts is not scaled up."""
    of_source, of_target = (v.array("high") - v.array("rest") for v in (s, t))
    ratio = of_target / np.maximum(of_source, 1e-300)
    ratio = np.where(of_source == of_target, 1.0, ratio)
    gain = np.minimum(ratio, np.where(of_source < LEAST_EXPRESSION, 1.0, options.most_gain))
    moved = np.where(s.array("rest") == t.array("rest"), x, x - s.array("rest") + t.array("rest"))
    return np.asarray(np.where(gain == 1.0, moved, gain * (x - s.array("rest")) + t.array("rest")))
