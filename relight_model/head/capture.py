"""Face capture: from the frames of a film, a take or pictures to a head clip.

Landmarks are found in a first pass over the frames; the head is fitted to them. Then the face is
rendered and compared with the frames themselves (:mod:`capture_dense`), first with the model's mean
texture on some frames, then with the clip's own texture on all. Frames are streamed: what is kept
grows by about a kilobyte with each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightstage import __version__
from lightstage.errors import InputError
from lightstage.head import HeadFile
from lightstage.pinhole import PinholeCamera
from relight_model.frame_source import FrameSource, Picture, camera_of
from relight_model.head.capture_fit import (
    INNER,
    WINDOW,
    face_px_of,
    face_scale,
    fit_landmarks,
    landmark_error,
)
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_solver import State, Views, predict, rotation_vectors
from relight_model.head.clip import GLOBAL, JAW, HeadClip
from relight_model.head.landmarks import LandmarkDetector, detector_embedding

Float = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[str, int, int], None]

#: Vertical angle of view of a lens that nobody told.
DEFAULT_FOV_DEG = 30.0
#: Landmarks that lie farther from the fit than this share of the inter-ocular distance are of no
#: face, or of another one.
_LOST = 0.20


@dataclass(frozen=True)
class CaptureSettings:
    """How a clip is fitted.

    Attributes:
        fov_deg: the camera's angle of view over the picture's shorter side.
        distance_m: from the camera to the world's origin; ``None``: to the head, on the median.
        refine: compare rendered faces with the frames.
        shape: ``(S,)`` the shape of a performer who is known.
    """

    fov_deg: float = DEFAULT_FOV_DEG
    distance_m: float | None = None
    refine: bool = True
    shape: Float | None = None


@dataclass(frozen=True, eq=False)
class Captured:
    """A fitted clip and what it was fitted to.

    ``landmarks_px`` (n, 68, 2) where the detector saw them, NaN where there was no face;
    ``fitted_px`` (n, 68, 2) the model's points for them; ``report`` figures to print.
    """

    clip: HeadClip
    landmarks_px: Float
    fitted_px: Float
    report: dict[str, Any]


@dataclass(eq=False)
class _Seen:
    """What the first pass over the frames found."""

    time_s: list[float] = field(default_factory=list)
    landmarks: list[Float] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)


def capture(
    source: FrameSource,
    head: HeadFile,
    fingerprint: str,
    detector: LandmarkDetector,
    settings: CaptureSettings | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Captured:
    """Return the head's parameters in every frame.

    Args:
        source: the frames.
        head: the model that is fitted.
        fingerprint: the model's, for the clip.
        detector: of the 68 landmarks.
        settings: how.
        progress: told (what, done, total) now and then.

    Raises:
        InputError: no frame shows a face, or the known shape is not of this model.
    """
    settings = settings or CaptureSettings()
    if settings.shape is not None and len(settings.shape) != head.shape_count:
        raise InputError(
            f"the known shape has {len(settings.shape)} coefficients, the head model has "
            f"{head.shape_count}; it is of another model."
        )
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    seen = _find_landmarks(source, detector, progress)
    seconds["landmarks"] = time.perf_counter() - started
    times, landmarks = np.array(seen.time_s), np.array(seen.landmarks)
    confidence = np.array(seen.confidence)
    count = len(times)
    if count == 0:
        raise InputError(f"{source.name}: has no frames.")
    shown = np.flatnonzero(confidence > 0)
    if len(shown) == 0:
        raise InputError(
            f"{source.name}: no face was found in {count} frame{'s' if count > 1 else ''}. A face "
            f"should look roughly towards the camera and be some 60 pixels wide or more."
        )
    camera = camera_of(source, settings.fov_deg, settings.distance_m or 1.0)
    views = _views(source, camera, count)
    points = HeadPoints.at_landmarks(head, *detector_embedding(head, detector.name))

    started = time.perf_counter()
    part = shown
    for _ in range(2):  # a second time without frames that show no face after all
        state = fit_landmarks(
            head, points, landmarks[part], confidence[part], views[part], times[part],
            settings.shape, lambda done, total: progress("fitting", done, total),
        )  # fmt: skip
        error = _share_error(head, points, state, views[part], landmarks[part])
        good = error < _LOST
        if good.all() or not good.any():
            break
        part = part[good]
    seconds["fit"] = time.perf_counter() - started
    if settings.refine:
        from relight_model.head.capture_refine import refine

        started = time.perf_counter()
        state, points = refine(
            source, head, points, state, part, views, landmarks, confidence, times,
            settings.shape is not None, progress,
        )  # fmt: skip
        seconds["refine"] = time.perf_counter() - started
        error = _share_error(head, points, state, views[part], landmarks[part])
    state, views, camera = _about_origin(state, views, camera, settings.distance_m)
    fitted = np.full((count, 68, 2), np.nan)
    fitted[part] = predict(points, state, views[part])
    trust = np.zeros(count)
    trust[part] = np.clip(confidence[part], 0.05, 1.0) * np.exp(-((error / 0.10) ** 2))
    trust[part] = np.maximum(trust[part], 0.01)
    whole = _over_gaps(state, part, times)
    clip = HeadClip(
        shape=state.shape,
        expression=whole.expression,
        pose=_pose(whole),
        translation_m=_translation(head, whole),
        time_s=times,
        camera=camera,
        view=source.view[:count] if source.view is not None else None,
        view_size=source.size if source.view is not None else None,
        confidence=trust,
        expression_names=head.expression_names,
        head=fingerprint,
        details={
            "made_by": "relight_model fit",
            "version": __version__,
            "source": source.name,
            "detector": detector.name,
            "fov_deg": settings.fov_deg,
            "refined": settings.refine,
            "shape_held": settings.shape is not None,
        },
    )
    report = _report(clip, head, points, state, views[part], landmarks[part], part, seconds, count)
    clip.details["residual_percent_iod"] = report["residual_inner_percent_iod_mean"]
    landmarks[np.setdiff1d(np.arange(count), part)] = np.nan
    return Captured(clip, landmarks, fitted, report)


def frames_at(source: FrameSource, wanted: Ints) -> Iterator[Picture]:
    """Yield some frames of a source, in order; it is not read beyond the last of them."""
    if len(wanted) == 0:
        return
    needed = set(wanted.tolist())
    last = max(needed)
    for picture in source:
        if picture.index in needed:
            yield picture
        if picture.index >= last:
            return


def _find_landmarks(source: FrameSource, detector: LandmarkDetector, progress: Progress) -> _Seen:
    seen, previous = _Seen(), None
    total = source.count or 0
    for picture in source:
        face = None
        if previous is not None:
            face = detector.track(picture.rgb, previous)
        if face is None:
            face = detector.detect(picture.rgb)
        previous = face
        seen.time_s.append(picture.time_s)
        seen.landmarks.append(np.full((68, 2), np.nan) if face is None else face.landmarks)
        seen.confidence.append(0.0 if face is None else max(float(face.confidence), 0.02))
        progress("landmarks", picture.index + 1, max(total, picture.index + 1))
    return seen


def _views(source: FrameSource, camera: PinholeCamera, count: int) -> Views:
    """Return each frame's own pinhole."""
    focal, centre = np.full(count, camera.focal_px), np.tile(camera.centre, (count, 1))
    if source.view is not None:
        left, top, scale = source.view[:count].T
        focal = focal * scale
        centre = (centre - np.column_stack([left, top])) * scale[:, None] - 0.5
    return Views(focal, centre, camera.distance_m)


def _share_error(
    head: HeadFile, points: HeadPoints, state: State, views: Views, landmarks: Float
) -> Float:
    """Return the inner landmarks' mean error as a share of the inter-ocular distance, ``(n,)``."""
    error = landmark_error(points, state, views, landmarks)[:, INNER].mean(axis=1)
    return np.asarray(error / face_px_of(state, views, face_scale(head)))


def _about_origin(
    state: State, views: Views, camera: PinholeCamera, distance_m: float | None
) -> tuple[State, Views, PinholeCamera]:
    """Return everything moved along the axis so that the head stands about the origin."""
    if distance_m is not None:
        return state, views, camera
    shift = float(np.median(state.place_m[:, 2]))
    shift = min(shift, views.distance_m - 0.05)
    state = replace(state, place_m=state.place_m - [0.0, 0.0, shift])
    views = replace(views, distance_m=views.distance_m - shift)
    return state, views, replace(camera, distance_m=views.distance_m)


def _over_gaps(state: State, shown: Ints, times: Float) -> State:
    """Return the state of all frames, those without a face interpolated between neighbours."""
    from scipy.spatial.transform import Rotation, Slerp

    if len(shown) == len(times):
        return state
    at = np.clip(times, times[shown[0]], times[shown[-1]])
    rotation = np.repeat(state.rotation[:1], len(times), axis=0)
    if len(shown) > 1:
        rotation = Slerp(times[shown], Rotation.from_matrix(state.rotation))(at).as_matrix()

    def between(values: Float) -> Float:
        columns = [np.interp(times, times[shown], column) for column in values.T]
        return np.array(columns).T.reshape(len(times), -1)

    return replace(
        state, expression=between(state.expression), jaw=between(state.jaw),
        eyes=between(state.eyes), place_m=between(state.place_m), rotation=rotation,
    )  # fmt: skip


def _pose(state: State) -> Float:
    pose = np.zeros((len(state), 15))
    pose[:, GLOBAL] = rotation_vectors(state.rotation)
    pose[:, JAW] = state.jaw
    pose[:, 9:15] = state.eyes
    return pose


def _translation(head: HeadFile, state: State) -> Float:
    """Return the model's own translation: its global rotation turns about the root joint."""
    points = HeadPoints.at_landmarks(head)
    root = points.root(state.coefficients)
    turned = np.einsum("nab,nb->na", state.rotation, root - state.pivot)
    return np.asarray(state.place_m + turned - root)


def _report(
    clip: HeadClip, head: HeadFile, points: HeadPoints, state: State, views: Views,
    landmarks: Float, shown: Ints, seconds: dict[str, float], count: int,
) -> dict[str, Any]:  # fmt: skip
    error = landmark_error(points, state, views, landmarks)
    iod = np.linalg.norm(landmarks[:, 45] - landmarks[:, 36], axis=-1)
    inner = error[:, INNER].mean(axis=1)
    share = 100.0 * inner / np.maximum(iod, 1e-6)
    fitted = predict(points, state, views)
    follow = np.flatnonzero((np.diff(shown)[1:] == 1) & (np.diff(shown)[:-1] == 1)) + 1

    def jitter(px: Float) -> float | None:
        if len(follow) == 0:
            return None
        bend = px[follow + 1] - 2.0 * px[follow] + px[follow - 1]
        return float(np.median(np.linalg.norm(bend, axis=-1)) / np.sqrt(6.0))

    report: dict[str, Any] = {
        "frames": count,
        "frames_without_face": count - len(shown),
        "duration_s": float(clip.time_s[-1] - clip.time_s[0]),
        "interocular_px": float(iod.mean()),
        "residual_inner_px_mean": float(inner.mean()),
        "residual_inner_percent_iod_mean": float(share.mean()),
        "residual_inner_percent_iod_95": float(np.quantile(share, 0.95)),
        "residual_inner_percent_iod_worst": float(share.max()),
        "jitter_px": jitter(fitted),
        "jitter_detector_px": jitter(landmarks),
        "confidence_mean": float(clip.confidence.mean()) if clip.confidence is not None else None,
        "shape_rms": float(np.sqrt((clip.shape**2).mean())),
    }
    for name, took in seconds.items():
        report[f"{name}_frames_per_s"] = count / max(took, 1e-9)
    report["frames_per_s"] = count / max(sum(seconds.values()), 1e-9)
    return report


__all__ = ["WINDOW", "CaptureSettings", "Captured", "capture", "frames_at"]
