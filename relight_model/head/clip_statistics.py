"""Statistics of a performer's head parameters, for equation (6); saved with the performer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import model_validator

from lightstage.errors import InputError
from lightstage.manifest import Manifest
from relight_model.head.clip import JOINTS, HeadClip
from relight_model.head.rotations import exp_at, log_at, mean_rotation

Float = NDArray[np.float64]
Method = Literal["moments", "robust"]

#: Shares of the frames beyond which a value counts as an outlier of what was seen.
LOW, HIGH = 0.005, 0.995
#: ``robust``: shares of the frames at each end that are drawn in, and how small the deviation from
#: the median may be beside the rest's before a parameter counts as one that mostly rests.
_TAIL = 0.02
_RESTING = 1.0 / 3.0
#: Standard deviations of a normal variable to one median absolute deviation.
_MAD = 1.482602218505602


class Spread(Manifest):
    """Mean and spread of some parameters, one number for each.

    For a rotation ``mean`` is a rotation vector, and the other fields are in the tangent space at
    it (:func:`relight_model.head.rotations.log_at`): radians about the joint's own axes there.

    Attributes:
        mean: mu of equation (6).
        deviation: sigma of equation (6).
        rest: the median.
        low: below it lie 0.5 % of the frames.
        high: above it lie 0.5 % of the frames.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    rest: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len({len(values) for values in vars(self).values()}) != 1:
            raise ValueError("mean, deviation, rest, low and high must be equally long")
        if any(value < 0 for value in self.deviation):
            raise ValueError("a deviation is below 0")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low is above high")
        return self

    def array(self, name: str) -> Float:
        """Return a field as an array."""
        return np.array(getattr(self, name), dtype=np.float64)

    def taken(self, index: NDArray[np.int64], known: ArrayLike = True) -> Spread:
        """Return the parameters at ``index``, all 0 where not ``known``."""
        fields = {
            name: tuple(np.where(known, self.array(name)[index], 0.0).tolist())
            for name in Spread.model_fields
        }
        return Spread(**fields)


class ClipStatistics(Manifest):
    """How a performer's head parameters are spread: what equation (6) needs of source and target.

    Attributes:
        format: the file's version.
        head: which head model the parameters belong to.
        expression_names: as in :class:`HeadClip`.
        frames: how many frames were counted.
        method: ``moments``: mean and standard deviation, weighted by confidence; ``robust``: see
            :meth:`of`.
        shape: the mean identity of the clips, beta-bar, weighted by their frames.
        expression: phi.
        joints: theta, each joint for itself: ``global``, ``neck``, ``jaw``, ``eye_left``,
            ``eye_right``.
        translation_m: of the head in world axes.
    """

    format: Literal["lightstage head statistics 1"] = "lightstage head statistics 1"
    head: str = ""
    expression_names: tuple[str, ...] = ()
    frames: int
    method: Method = "moments"
    shape: tuple[float, ...]
    expression: Spread
    joints: dict[str, Spread]
    translation_m: Spread

    @model_validator(mode="after")
    def _is_a_head(self) -> Self:
        if tuple(self.joints) != tuple(JOINTS):
            raise ValueError(f"joints must be {', '.join(JOINTS)}")
        if any(len(s.mean) != 3 for s in (*self.joints.values(), self.translation_m)):
            raise ValueError("joints and translation_m must have 3 numbers")
        if self.expression_names and len(self.expression_names) != len(self.expression.mean):
            raise ValueError("as many expression_names as expressions are needed")
        return self

    @classmethod
    def of(cls, clips: HeadClip | Iterable[HeadClip], method: Method = "moments") -> Self:
        """Return the statistics of one performer's clips, each frame weighted by its confidence.

        Clips are taken one at a time; of each only the parameters are kept: about half a kilobyte
        a frame, 30 MB for all the sets of 80 takes.

        ``robust`` is for parameters with frames that were fitted wrongly: median, and median
        absolute deviation as a standard deviation. A parameter that rests most of the time and
        acts seldom, as a blink does, has hardly any median deviation; it gets the mean and standard
        deviation after the outer 2 % of its values at each end are drawn in.

        Raises:
            InputError: no clip; clips of different head models; no frame with confidence.
        """
        first: HeadClip | None = None
        parts: dict[str, list[Float]] = {"expression": [], "pose": [], "translation_m": []}
        weights: list[Float] = []
        shape, counted = np.zeros(0), 0.0
        for clip in [clips] if isinstance(clips, HeadClip) else clips:
            first = first or clip
            of_one_model = (
                clip.head == first.head
                and clip.expression_names == first.expression_names
                and clip.expression.shape[1] == first.expression.shape[1]
                and clip.shape.shape == first.shape.shape
            )
            if not of_one_model:
                raise InputError(
                    "statistics need clips that were fitted with one head model: one has "
                    f"{first.head or 'an unnamed head'} with {first.expression.shape[1]} "
                    f"expressions, another {clip.head or 'an unnamed head'} with "
                    f"{clip.expression.shape[1]}."
                )
            for name, values in parts.items():
                values.append(getattr(clip, name))
            weights.append(clip.weight)
            counted += float(clip.weight.sum())
            if clip.weight.any():
                share = float(clip.weight.sum()) / counted
                shape = clip.shape if len(shape) == 0 else shape + share * (clip.shape - shape)
        if first is None:
            raise InputError("statistics need at least one clip of head parameters.")
        weight = np.concatenate(weights)
        seen = weight > 0
        if not seen.any():
            raise InputError("no frame of the clip has confidence: nothing to make statistics of.")
        weight = weight[seen]
        expression, pose, translation = (np.concatenate(v)[seen] for v in parts.values())
        return cls(
            head=first.head,
            expression_names=first.expression_names,
            frames=int(seen.sum()),
            method=method,
            shape=tuple(shape.tolist()),
            expression=_spread(expression, weight, method),
            joints={
                name: _rotation_spread(pose[:, part], weight, method)
                for name, part in JOINTS.items()
            },
            translation_m=_spread(translation, weight, method),
        )

    def with_expressions(
        self, index: NDArray[np.int64], known: NDArray[np.bool_], names: tuple[str, ...]
    ) -> Self:
        """Return these with the components of another model; see :func:`expression_for`.

        A component that this model lacks never moves and stands at 0.
        """
        spread = self.expression.taken(index, known)
        return self.model_copy(update={"expression": spread, "expression_names": names})

    def check_fits(self, clip: HeadClip, whose: str) -> None:
        """Raise an :class:`InputError` unless these can be the statistics of ``clip``."""
        fits = (
            len(self.expression.mean) == clip.expression.shape[1]
            and (not self.head or not clip.head or self.head == clip.head)
            and self.expression_names == clip.expression_names
        )
        if not fits:
            raise InputError(
                f"the {whose}'s statistics are of {self.head or 'an unnamed head'} with "
                f"{len(self.expression.mean)} expressions, its clip is of "
                f"{clip.head or 'an unnamed head'} with {clip.expression.shape[1]}: make them anew "
                "with `relight_model statistics`."
            )


def _rotation_spread(vectors: Float, weight: Float, method: Method) -> Spread:
    mean = mean_rotation(vectors, weight)
    if method == "robust":
        for _ in range(50):
            step = _centre_and_deviation(log_at(mean, vectors), weight, method).centre
            mean = exp_at(mean, step)
            if np.abs(step).max() < 1e-12:
                break
    spread = _spread(log_at(mean, vectors), weight, method)
    return spread.replace(mean=tuple(mean.tolist()))


def _spread(values: Float, weight: Float, method: Method) -> Spread:
    centre, deviation = _centre_and_deviation(values, weight, method)
    low, rest, high = _quantiles(values, weight, (LOW, 0.5, HIGH))
    return Spread(
        mean=tuple(centre.tolist()),
        deviation=tuple(deviation.tolist()),
        rest=tuple(rest.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


class _Moments(NamedTuple):
    centre: Float
    deviation: Float


def _centre_and_deviation(values: Float, weight: Float, method: Method) -> _Moments:
    if method == "moments":
        return _moments(values, weight)
    low, median, high = _quantiles(values, weight, (_TAIL, 0.5, 1.0 - _TAIL))
    drawn_in = _moments(np.clip(values, low, high), weight)
    absolute = _MAD * _quantiles(np.abs(values - median), weight, (0.5,))[0]
    resting = absolute < _RESTING * drawn_in.deviation
    return _Moments(
        np.where(resting, drawn_in.centre, median),
        np.where(resting, drawn_in.deviation, absolute),
    )


def _moments(values: Float, weight: Float) -> _Moments:
    share = weight / weight.sum()
    # about a value of its own, so that what never moves has a deviation of 0 to the last bit
    apart = values - values[0]
    mean = share @ apart
    return _Moments(values[0] + mean, np.sqrt(share @ (apart - mean) ** 2))


def _quantiles(values: Float, weight: Float, shares: tuple[float, ...]) -> Float:
    """Return weighted quantiles ``(shares, k)`` of ``values`` ``(n, k)``, linear between frames."""
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(values, order, axis=0)
    heavy = weight[order]
    reached = np.cumsum(heavy, axis=0)
    place = (reached - 0.5 * heavy) / reached[-1:]
    return np.array(
        [
            [np.interp(share, place[:, k], ranked[:, k]) for k in range(values.shape[1])]
            for share in shares
        ]
    ).reshape(len(shares), values.shape[1])
