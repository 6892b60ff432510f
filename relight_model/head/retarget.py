"""Retargeting: a source's clip made to drive a target performer, and edits on the way.

The order is fixed: the source is mirrored, its expressions are found in the target's model, pose
and expression are normalised (6); then each part is taken from where it should come, scaled,
offset; last the eyes are turned to the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightstage.errors import InputError
from lightstage.head import HeadFile
from relight_model.head.clip import GLOBAL, JOINTS, HeadClip
from relight_model.head.clip_statistics import ClipStatistics
from relight_model.head.expression_names import expression_for, is_blink
from relight_model.head.interpolate import PARTS, Part, at_times, smooth
from relight_model.head.mirror import mirror, mirror_statistics
from relight_model.head.neck import look_at_camera
from relight_model.head.normalise import NormaliseOptions, normalise
from relight_model.head.rotations import compose, exp_at, from_pitch_yaw_roll, log_at

Float = NDArray[np.float64]
Origin = Literal["source", "mean", "camera"] | HeadClip

#: Scaled expressions stay within what the target was seen to do, widened by this share of it.
_ROOM = 0.5
_JOINTS_OF: dict[Part, tuple[str, ...]] = {
    "pose": ("global", "neck"),
    "jaw": ("jaw",),
    "gaze": ("eye_left", "eye_right"),
}


@dataclass(frozen=True)
class RetargetOptions:
    """What of the source drives the target, and how it is edited.

    Attributes:
        normalise: apply equation (6); otherwise parameters are taken as they are.
        normalise_options: how.
        mirror: swap the source's left and right first.
        origins: for parts (``pose``, ``jaw``, ``gaze``, ``expression``, ``blink``, ``translation``)
            that do not come from the source: ``mean``, held at the target's mean (for expressions
            and lids: at its rest); a clip of the target's own, taken as it is from its beginning;
            ``camera``, for gaze alone: look into the camera.
        amounts: factors on how far parts leave the target's mean (expressions: its rest), by part,
            by an expression's name, or ``all`` for jaw and all expressions but lids.
        pose_smoothing_s: smooth the head's pose and translation so much; see :func:`smooth`.
        pose_offset_deg: pitch, yaw, roll in degrees, added in the world's axes: down, to the
            image's right, top to the image's left.
        limit: keep scaled expressions within what the target does, and lids from closing beyond
            closed.
    """

    normalise: bool = True
    normalise_options: NormaliseOptions = field(
        default_factory=lambda: NormaliseOptions(translation=True)
    )
    mirror: bool = False
    origins: Mapping[Part, Origin] = field(default_factory=dict)
    amounts: Mapping[str, float] = field(default_factory=dict)
    pose_smoothing_s: float = 0.0
    pose_offset_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    limit: bool = True

    def __post_init__(self) -> None:
        """Check the names and numbers."""
        for part, origin in self.origins.items():
            if part not in PARTS:
                raise InputError(f"{part!r} is no part of a clip ({', '.join(PARTS)}).")
            if isinstance(origin, str) and origin not in (
                ("source", "mean", "camera") if part == "gaze" else ("source", "mean")
            ):
                raise InputError(f"{part} cannot come from {origin!r}.")
        if not np.isfinite([*self.amounts.values(), *self.pose_offset_deg]).all():
            raise InputError("amounts and offsets must be finite numbers.")


def retarget(
    source: HeadClip,
    target: HeadClip,
    options: RetargetOptions | None = None,
    *,
    source_statistics: ClipStatistics | None = None,
    target_statistics: ClipStatistics | None = None,
    head: HeadFile | None = None,
) -> HeadClip:
    """Return ``source``'s performance as a clip of ``target``.

    It has the target's identity, head model, camera and crop, the source's times and confidence.
    A crop that follows the head in the target's clip follows it here too.

    Args:
        source: the clip that drives.
        target: a clip of the performer who is driven: identity, camera and crop.
        options: see there.
        source_statistics: of more of the source than this clip; of the clip unless given.
        target_statistics: saved with the performer; of ``target`` unless given.
        head: the target's head model; only gaze at the camera needs it.

    Raises:
        InputError: head models that do not fit together, statistics of others, unknown names,
            or clips that are too short for what is taken from them.

    Source: the paper's section 3.2 and equation (6); section 10 for the virtual conference.
    """
    options = options or RetargetOptions()
    if source_statistics is not None:
        source_statistics.check_fits(source, "source")
    if target_statistics is None:
        target_statistics = ClipStatistics.of(target)
    target_statistics.check_fits(target, "target")
    if options.mirror:
        source = mirror(source)
        source_statistics = source_statistics and mirror_statistics(source_statistics)
    index, known = expression_for(source, target)
    driven = HeadClip(
        shape=target.shape,
        expression=np.where(known, source.expression[:, index], 0.0),
        pose=source.pose,
        translation_m=source.translation_m,
        time_s=source.time_s,
        camera=target.camera,
        confidence=source.confidence,
        expression_names=target.expression_names,
        head=target.head or source.head,
        details={"retargeted": _told(options)},
    )
    if options.normalise:
        of_source = source_statistics or ClipStatistics.of(source)
        of_source = of_source.with_expressions(index, known, target.expression_names)
        driven = normalise(driven, of_source, target_statistics, options.normalise_options)
    rest = target_statistics.expression.array("rest")
    driven = driven.replace(expression=np.where(known, driven.expression, rest))
    driven = _from_origins(driven, target, target_statistics, options.origins)
    driven = _scaled(driven, target_statistics, options)
    if options.pose_smoothing_s:
        driven = smooth(driven, options.pose_smoothing_s, ("pose", "translation"))
    if any(options.pose_offset_deg):
        pose = driven.pose.copy()
        offset = from_pitch_yaw_roll(options.pose_offset_deg)
        pose[:, GLOBAL] = compose(offset, pose[:, GLOBAL])
        driven = driven.replace(pose=pose)
    if options.origins.get("gaze") == "camera":
        if head is None:
            raise InputError("to look into the camera the target's head model is needed.")
        driven = look_at_camera(driven, head)
    return _in_view_of(driven, target)


def _from_origins(
    clip: HeadClip,
    target: HeadClip,
    statistics: ClipStatistics,
    origins: Mapping[Part, Origin],
) -> HeadClip:
    """Return the clip with parts held or taken from other clips."""
    pose, expression = clip.pose.copy(), clip.expression.copy()
    translation = clip.translation_m.copy()
    which_expressions = _expressions_of(clip)
    for part, origin in origins.items():
        if origin in ("source", "camera"):
            continue
        other = None
        if isinstance(origin, HeadClip):
            index, known = expression_for(origin, target)
            if part in which_expressions and not known[which_expressions[part]].all():
                raise InputError(
                    f"{part} cannot be taken from a clip of a head model that lacks some of the "
                    "target's expressions."
                )
            start = origin.time_s[0] - clip.time_s[0]
            other = at_times(origin, clip.time_s + start)
        for joint in _JOINTS_OF.get(part, ()):
            where = JOINTS[joint]
            mean = statistics.joints[joint].array("mean")
            pose[:, where] = mean if other is None else other.pose[:, where]
        if part in which_expressions:
            which = which_expressions[part]
            if part == "blink" and not which.any():
                raise InputError("this head model names no blink; lids cannot be told apart.")
            held = statistics.expression.array("rest")[which]
            expression[:, which] = held if other is None else other.expression[:, index[which]]
        if part == "translation":
            mean = statistics.translation_m.array("mean")
            translation[:] = mean if other is None else other.translation_m
    return clip.replace(pose=pose, expression=expression, translation_m=translation)


def _scaled(clip: HeadClip, statistics: ClipStatistics, options: RetargetOptions) -> HeadClip:
    """Return the clip with each part's way from the target's mean, or rest, multiplied."""
    amounts = dict(options.amounts)
    everything = amounts.pop("all", 1.0)
    pose, translation = clip.pose.copy(), clip.translation_m
    for part, joints in _JOINTS_OF.items():
        amount = amounts.pop(part, everything if part == "jaw" else 1.0)
        for joint in joints if amount != 1.0 else ():
            mean, where = statistics.joints[joint].array("mean"), JOINTS[joint]
            pose[:, where] = exp_at(mean, amount * log_at(mean, clip.pose[:, where]))
    if (amount := amounts.pop("translation", 1.0)) != 1.0:
        mean = statistics.translation_m.array("mean")
        translation = mean + amount * (translation - mean)
    factor = np.ones(clip.expression.shape[1])
    which = _expressions_of(clip)
    factor[which["expression"]] = amounts.pop("expression", everything)
    factor[which["blink"]] = amounts.pop("blink", 1.0)
    for name, amount in amounts.items():
        if name not in clip.expression_names:
            known = ", ".join(("all", *PARTS, *clip.expression_names))
            raise InputError(f"there is no {name!r} to scale; known are {known}.")
        factor[clip.expression_names.index(name)] = amount
    spread = statistics.expression
    rest, low, high = (spread.array(name) for name in ("rest", "low", "high"))
    changed = factor != 1.0
    expression = np.where(changed, rest + factor * (clip.expression - rest), clip.expression)
    if options.limit:
        room = _ROOM * (high - low)
        lids = which["blink"]
        least = np.where(lids, np.minimum(low, 0.0), low - room)
        most = np.where(lids, np.maximum(high, 1.0), high + room)
        held = np.clip(expression, least, most)
        expression = np.where(changed | lids, held, expression)
    return clip.replace(pose=pose, expression=expression, translation_m=translation)


def _expressions_of(clip: HeadClip) -> dict[str, NDArray[np.bool_]]:
    lids = is_blink(clip.expression_names, clip.expression.shape[1])
    return {"expression": ~lids, "blink": lids}


def _in_view_of(clip: HeadClip, target: HeadClip) -> HeadClip:
    """Return the clip cut as the target's pictures are.

    A crop that stands still does so here; one that follows the head keeps it as far from the
    picture's middle, and as large, as it was in the middle of the target's clip.
    """
    if target.view is None or target.view_size is None:
        return clip
    left, top, scale = target.view.T
    half = 0.5 * np.array(target.view_size)
    if np.ptp(target.view, axis=0).max() < 1e-6:
        view = np.repeat(target.view[:1], len(clip), axis=0)
        return clip.replace(view=view, view_size=target.view_size)
    middle = np.column_stack([left, top]) + half / scale[:, None]
    depth = target.camera.distance_m - target.translation_m[:, 2]
    away = np.median(
        (middle - target.camera.project(target.translation_m)) * depth[:, None], axis=0
    )
    here = target.camera.distance_m - clip.translation_m[:, 2]
    zoom = np.median(scale / depth) * here
    corner = target.camera.project(clip.translation_m) + away / here[:, None] - half / zoom[:, None]
    return clip.replace(view=np.column_stack([corner, zoom]), view_size=target.view_size)


def _told(options: RetargetOptions) -> dict[str, Any]:
    """Return the options as JSON holds them."""
    return {
        "normalise": options.normalise,
        "scale": options.normalise_options.scale,
        "most_gain": options.normalise_options.most_gain,
        "blinks": options.normalise_options.blinks,
        "mirror": options.mirror,
        "origins": {
            part: "clip" if isinstance(origin, HeadClip) else origin
            for part, origin in options.origins.items()
        },
        "amounts": dict(options.amounts),
        "pose_smoothing_s": options.pose_smoothing_s,
        "pose_offset_deg": list(options.pose_offset_deg),
    }
