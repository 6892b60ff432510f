"""Prediction against truth: relit sequences over evenly spaced light directions, and raw OLAT.

One set after the other is read and let go: memory does not grow with a take's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from lightstage.colour import encode_srgb
from lightstage.dome import Dome
from lightstage.errors import InputError
from lightstage.manifest import Manifest
from lightstage.relighting import (
    divide_by_gains,
    light_weights,
    present_lights,
    relight_many,
    studio_environment,
)
from lightstage.relighting.rig import Rig, StudioLight
from lightstage.relighting.sphere import azimuth_elevation_deg
from relight_model.metrics import PictureScores, exposure_of, region_scores
from relight_model.temporal import StabilityMeter, StabilityScores

Array = NDArray[np.float32]
#: Called with the number of sets done and the number of all.
Progress = Callable[[int, int], None]


class EvaluationSettings(Manifest):
    """What is measured.

    Attributes:
        directions: how many light directions, spread evenly over the whole sphere.
        radius_deg: how large the light is: it falls to 1/e of its middle so far from it.
        olat: also measure single lights.
        temporal: also measure how steady sequences are.
        least_matte: pixels whose matte is at least this are inside.
    """

    error = InputError

    directions: Annotated[int, Field(ge=1, le=1024)] = 24
    radius_deg: Annotated[float, Field(ge=1, le=180)] = 15.0
    olat: bool = True
    temporal: bool = True
    least_matte: Annotated[float, Field(gt=0, le=1)] = 0.5


class EvaluatedField(Protocol):
    """One set, such as a :class:`lightstage.fields.ReflectanceField`."""

    @property
    def olat(self) -> NDArray[np.floating]:
        """One image per light, ``(lights, h, w, 3)`` linear; NaN where there is none."""

    @property
    def time_s(self) -> float:
        """The set's time."""


class EvaluatedFields(Protocol):
    """Sets in order of time: a store, a list, or what a network makes when it is asked."""

    def __len__(self) -> int:
        """Return how many sets there are."""

    def __getitem__(self, index: int, /) -> EvaluatedField:
        """Return a set."""


class Frame(NamedTuple):
    """One frame of a relit sequence, or one single light's picture, and its figures.

    Attributes:
        set: the set's index among those evaluated.
        time_s: its time.
        light: index of the direction, or of the single light.
        whole: figures of the whole picture.
        inside: figures inside the matte; ``None`` without one.
    """

    set: int
    time_s: float
    light: int
    whole: PictureScores
    inside: PictureScores | None


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        settings: how it was done.
        directions: ``(n, 3)`` the light directions.
        sets: how many sets were compared.
        lights: single lights in each.
        size: width and height.
        frames: every frame of the relit sequences.
        olat_frames: every single light's picture.
        stability: how steady the sequences are; ``None`` where it was not measured.
        notes: what a reader of the figures must know.
    """

    settings: EvaluationSettings
    directions: NDArray[np.float64]
    sets: int
    lights: int
    size: tuple[int, int]
    frames: tuple[Frame, ...]
    olat_frames: tuple[Frame, ...]
    stability: StabilityScores | None
    notes: tuple[str, ...] = field(default=())


def evaluate(
    prediction: EvaluatedFields,
    truth: EvaluatedFields,
    dome: Dome,
    settings: EvaluationSettings | None = None,
    *,
    mattes: Callable[[int], NDArray[np.floating]] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Return how near predicted sets are to the true ones.

    Args:
        prediction: the predicted sets.
        truth: the true ones, as many, of the same times.
        dome: the lights of both, with their gains.
        settings: what is measured.
        mattes: gives set ``index``'s true matte ``(h, w)`` in [0, 1].
        progress: called after each set.

    Raises:
        InputError: the sets differ in number, size or lights; a set has no light in common.
    """
    settings = settings or EvaluationSettings()
    if len(prediction) != len(truth) or len(truth) == 0:
        raise InputError(
            f"there are {len(prediction)} predicted sets and {len(truth)} true ones; each needs "
            f"its other."
        )
    towards = evenly_spread_directions(settings.directions)
    weights = _DirectionWeights(towards, settings.radius_deg, dome)
    relit: list[Frame] = []
    single: list[Frame] = []
    steady = StabilityMeter() if settings.temporal and len(truth) > 1 else None
    left_out, size = 0, (0, 0)
    for index in range(len(truth)):
        guess, true = prediction[index], truth[index]
        a, b = guess.olat, true.olat
        _check_images(a, b, len(dome), index)
        size = (b.shape[2], b.shape[1])
        matte = None if mattes is None else np.nan_to_num(np.asarray(mattes(index)))
        inside = None if matte is None else matte >= settings.least_matte
        present = present_lights(a) & present_lights(b) & dome.gains.all(axis=1)
        if not present.any():
            raise InputError(f"set {index}: no light has an image in both prediction and truth.")
        left_out += int((~present).sum())
        chosen = weights.of(present)
        a_relit, b_relit = (relight_many(p, chosen, missing="skip") for p in (a, b))
        relit += [
            _frame(index, true.time_s, k, a_relit[k], b_relit[k], inside)
            for k in range(len(towards))
        ]
        if settings.olat:
            single += [
                _frame(index, true.time_s, light, a[light], b[light], inside)
                for light in np.flatnonzero(present).tolist()
            ]
        if steady is not None:
            even = relight_many(b, weights.even(present)[None], missing="skip")[0]
            steady.add(true.time_s, a_relit, b_relit, even, inside)
        if progress:
            progress(index + 1, len(truth))
    notes = []
    if left_out:
        notes.append(f"{left_out} images of single lights are missing and were left out.")
    if mattes is None:
        notes.append("there were no mattes: figures are of the whole picture alone.")
    return Evaluation(
        settings, towards, len(truth), len(dome), size, tuple(relit), tuple(single),
        steady.scores() if steady is not None else None, tuple(notes),
    )  # fmt: skip


def evenly_spread_directions(count: int) -> NDArray[np.float64]:
    """Return ``count`` unit vectors spread evenly over the sphere, ``(count, 3)``, top first."""
    return Dome.evenly_spread(count, 1.0).directions


def direction_weights(
    directions: ArrayLike, dome: Dome, radius_deg: float, present: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the light weights ``(n, lights, 3)`` of one white light from each direction.

    Each is a soft light (von Mises and Fisher's lobe, 1/e at ``radius_deg``), drawn as an
    environment and integrated over the lights' Voronoi cells as any environment is, then divided by
    the lights' gains.

    Args:
        directions: ``(n, 3)`` unit vectors.
        dome: the lights.
        radius_deg: how large the light is.
        present: ``(lights,)``: those there are; the others' part goes to their neighbours.
    """
    azimuths, elevations = azimuth_elevation_deg(directions)
    found = []
    for azimuth, elevation in zip(np.atleast_1d(azimuths), np.atleast_1d(elevations), strict=True):
        light = StudioLight(
            role="key",
            azimuth_deg=float(azimuth),
            elevation_deg=float(elevation),
            radius_deg=radius_deg,
        )
        environment = studio_environment(Rig(name="direction", lights=(light,)), height=128)
        found.append(
            divide_by_gains(
                light_weights(environment, dome.directions, present=present), dome.gains
            )
        )
    return np.stack(found)


class _DirectionWeights:
    """Each direction's weights, for the lights that are present; seldom more than one such set."""

    def __init__(self, directions: NDArray[np.float64], radius_deg: float, dome: Dome) -> None:
        self._directions, self._radius_deg, self._dome = directions, radius_deg, dome
        self._key, self._kept = b"", np.zeros((0, 0, 3))

    def of(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        if present.tobytes() != self._key:
            self._kept = direction_weights(self._directions, self._dome, self._radius_deg, present)
            self._key = present.tobytes()
        return self._kept

    def even(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the weights of light from everywhere."""
        share = present[:, None] * np.ones(3)
        return divide_by_gains(share, np.where(present[:, None], self._dome.gains, 1.0))


def _frame(
    index: int,
    time_s: float,
    light: int,
    prediction: NDArray[np.floating],
    truth: NDArray[np.floating],
    inside: NDArray[np.bool_] | None,
) -> Frame:
    regions = (None,) if inside is None else (None, inside)
    scores = region_scores(prediction, truth, regions)
    return Frame(index, time_s, light, scores[0], None if inside is None else scores[1])


def _check_images(
    a: NDArray[np.floating], b: NDArray[np.floating], lights: int, index: int
) -> None:
    if a.shape != b.shape or b.ndim != 4 or b.shape[0] != lights:
        raise InputError(
            f"set {index}: the predicted images are {a.shape}, the true ones {b.shape}; both must "
            f"be ({lights}, height, width, 3). Render and preprocess at the same size and crop."
        )


def shown_pair(
    prediction: EvaluatedFields,
    truth: EvaluatedFields,
    dome: Dome,
    evaluation: Evaluation,
    frame: Frame,
) -> tuple[Array, Array]:
    """Return a frame's prediction and truth as they were compared: exposed display values."""
    a, b = prediction[frame.set].olat, truth[frame.set].olat
    present = present_lights(a) & present_lights(b) & dome.gains.all(axis=1)
    towards = evaluation.directions[frame.light : frame.light + 1]
    weights = direction_weights(towards, dome, evaluation.settings.radius_deg, present)
    relit = [relight_many(p, weights, missing="skip")[0] for p in (a, b)]
    exposure = exposure_of(relit[1])
    return encode_srgb(relit[0] * exposure), encode_srgb(relit[1] * exposure)


class MatchedFields:
    """Some sets of a store, in another order or number: what :func:`matched` returns."""

    def __init__(self, fields: EvaluatedFields, indices: Sequence[int]) -> None:
        self.fields, self.indices = fields, [int(i) for i in indices]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.indices)

    def __getitem__(self, index: int) -> EvaluatedField:
        """Return one of them."""
        return self.fields[self.indices[index]]

    def __iter__(self) -> Iterator[EvaluatedField]:
        """Yield them in order."""
        return (self.fields[index] for index in self.indices)


def matched(
    prediction_s: NDArray[np.float64], truth_s: NDArray[np.float64], tolerance_s: float = 0.002
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which sets of two stores show the same moment: two arrays of indices.

    Args:
        prediction_s: the predicted sets' times, rising.
        truth_s: the true ones'.
        tolerance_s: how far apart two may be.

    Raises:
        InputError: none do.
    """
    after = np.clip(np.searchsorted(truth_s, prediction_s), 1, max(1, len(truth_s) - 1))
    last = len(truth_s) - 1
    before, after = np.minimum(after - 1, last), np.minimum(after, last)
    nearer = np.abs(truth_s[after] - prediction_s) < np.abs(truth_s[before] - prediction_s)
    nearest = np.where(nearer, after, before)
    fit = np.flatnonzero(np.abs(truth_s[nearest] - prediction_s) <= tolerance_s)
    if len(fit) == 0:
        raise InputError(
            f"no predicted set has a true one of its time: they run from {prediction_s[0]:.3f} to "
            f"{prediction_s[-1]:.3f} s and from {truth_s[0]:.3f} to {truth_s[-1]:.3f} s. Are they "
            f"of the same take?"
        )
    return fit, nearest[fit]


def check_same_lights(prediction: Dome, truth: Dome, tolerance_deg: float = 0.5) -> None:
    """Refuse two stores whose lights differ.

    Raises:
        InputError: in number, or one stands elsewhere.
    """
    if len(prediction) != len(truth):
        raise InputError(
            f"the prediction has {len(prediction)} lights, the truth {len(truth)}: they must be "
            f"of one dome."
        )
    cosines = (prediction.directions * truth.directions).sum(axis=1)
    apart = np.rad2deg(np.arccos(np.clip(cosines, -1.0, 1.0)))
    if apart.max() > tolerance_deg:
        raise InputError(
            f"light {int(apart.argmax())} of the prediction stands {apart.max():.1f} degrees from "
            f"the truth's: they must be of one dome, in the same order."
        )


def scores_of(frames: Sequence[Frame], where: str) -> dict[str, dict[str, Any]]:
    """Return each figure's mean, deviation, least and largest over frames; ``where`` as in Frame.

    Frames that have no figure (nothing inside the matte) are left out, and counted.
    """
    found: dict[str, dict[str, Any]] = {}
    chosen = [s for f in frames if (s := getattr(f, where)) is not None]
    for name in PictureScores.__dataclass_fields__:
        values = np.array([getattr(s, name) for s in chosen], np.float64)
        values = values[~np.isnan(values)]
        if len(values) == 0:
            continue
        whole = np.isfinite(values).all()
        found[name] = {
            "mean": float(values.mean()),
            "std": float(values.std()) if whole else (0.0 if np.isinf(values).all() else None),
            "least": float(values.min()),
            "most": float(values.max()),
            "frames": len(values),
        }
    return found


__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "Frame",
    "MatchedFields",
    "check_same_lights",
    "direction_weights",
    "evaluate",
    "evenly_spread_directions",
    "matched",
    "scores_of",
    "shown_pair",
]
