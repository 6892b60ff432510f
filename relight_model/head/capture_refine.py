"""Refinement of a fit by comparing rendered faces with frames, frame by frame, streamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile
from relight_model.frame_source import FrameSource
from relight_model.head.capture_dense import DenseMatcher, clip_texture
from relight_model.head.capture_fit import (
    face_px_of,
    face_scale,
    landmark_observations,
    priors_of,
    spread_frames,
    yaw_of,
)
from relight_model.head.capture_gaze import GazeFinder
from relight_model.head.capture_lids import LidFinder
from relight_model.head.capture_outline import OutlineFinder
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_render import Crop, FaceRenderer, Image, crop_face
from relight_model.head.capture_solver import (
    Observations,
    Priors,
    State,
    Views,
    predict,
    solve,
)

Float = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Frames that shape and texture are found from, at most.
KEY_FRAMES = 48
#: Frames refined at once, and how many of them on either side are refined again.
WINDOW, OVERLAP = 96, 6
#: Softness of the pictures (pixels) in each round: mean texture, clip's texture, every frame.
_MEAN_ROUNDS = (2.0, 1.5, 1.5, 1.5)
_OWN_ROUNDS = (2.0, 1.0)
_FRAME_ROUNDS = (2.5, 1.5, 1.0)
#: Deviation of identity coefficients, as one frame alone would have it.
_SHAPE_SPREAD, _SHAPE_SPREAD_OWN = 1.0, 1.0
_LANDMARK_WEIGHT, _LANDMARK_WEIGHT_OWN = 1.0, 0.5


def refine(
    source: FrameSource,
    head: HeadFile,
    points: HeadPoints,
    state: State,
    shown: Ints,
    views: Views,
    landmarks_px: Float,
    confidence: Float,
    time_s: Float,
    shape_held: bool,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[State, HeadPoints]:
    """Return the state refined, and the points of the head that the landmarks are.

    Args:
        source: the frames, gone through twice.
        head: the model.
        points: the head at what the detector calls landmarks.
        state: of the ``shown`` frames, fitted to landmarks.
        shown: ``(m,)`` which of the source's frames.
        views: cameras of all frames.
        landmarks_px: ``(n, 68, 2)`` of all frames.
        confidence: ``(n,)`` of the landmarks.
        time_s: ``(n,)``.
        shape_held: the shape is known.
        progress: told (what, done, total).
    """
    worker = _Refiner(head, points)
    views, landmarks_px = views[shown], landmarks_px[shown]
    confidence, time_s = confidence[shown], time_s[shown]
    keys = spread_frames(state, confidence, KEY_FRAMES)
    crops = worker.crops(source, shown[keys], state[keys], views[keys])
    part, texture = worker.fit_keys(
        state[keys], views[keys], crops, landmarks_px[keys], confidence[keys], time_s[keys],
        shape_held, lambda done, total: progress("appearance", done, total),
    )  # fmt: skip
    # what the detector thinks of this face, against what the pictures say
    bias = worker.landmark_bias(part, views[keys], landmarks_px[keys])
    state = replace(state, shape=part.shape)
    priors = replace(priors_of(head), shape_held=True)
    unbiased = landmarks_px - worker.turned(bias, state, views)
    state = _taken_over(state, part, keys)
    done: list[State] = []
    step = WINDOW - 2 * OVERLAP
    pending: dict[int, Crop] = {}
    frames = worker.stream(source, shown, state, views)
    for start in range(0, len(state), step):
        begin, end = max(0, start - OVERLAP), min(len(state), start + step + OVERLAP)
        while not pending or max(pending) < end - 1:
            place, crop = next(frames)
            pending[place] = crop
            progress("refining", place + 1, len(state))
        window = slice(begin, end)
        held = [pending[k] for k in range(begin, end)]
        now = state[window]
        seen = worker.landmarks(now, views[window], unbiased[window], confidence[window], 0.6)
        now = solve(now, views[window], [seen], priors, time_s[window], 4, rigid_only=True)
        for softness in _FRAME_ROUNDS:
            now = worker.step(
                now, views[window], held, texture, softness, unbiased[window],
                confidence[window], _LANDMARK_WEIGHT_OWN, priors, time_s[window],
            )  # fmt: skip
        now = worker.with_gaze(now, views[window], held, time_s[window])
        now = worker.step(
            now, views[window], held, texture, _FRAME_ROUNDS[-1], unbiased[window],
            confidence[window], _LANDMARK_WEIGHT_OWN, priors, time_s[window],
        )  # fmt: skip
        now = worker.lids.closed(now, views[window], held)
        now = worker.with_gaze(now, views[window], held, time_s[window])
        stop = min(len(state), start + step)
        done.append(now[slice(start - begin, stop - begin)])
        for place in [k for k in pending if k < stop - OVERLAP]:
            del pending[place]
        if stop == len(state):
            break
    joined = {
        name: np.concatenate([getattr(piece, name) for piece in done])
        for name in ("expression", "jaw", "eyes", "rotation", "place_m")
    }
    lowest, highest = priors.lowest, priors.highest
    joined["expression"] = np.clip(joined["expression"], lowest, highest)
    return replace(state, **joined), points


class _Refiner:
    """What stays the same from frame to frame."""

    def __init__(self, head: HeadFile, points: HeadPoints) -> None:
        self.head, self.points = head, points
        self.own = HeadPoints.at_landmarks(head)
        self.matcher = DenseMatcher(head, FaceRenderer(head))
        self.scale = face_scale(head)
        self.gaze = GazeFinder(head)
        self.lids = LidFinder(head, self.matcher.renderer)
        self.outline = OutlineFinder(head)

    def crop(self, rgb: NDArray[np.uint8], state: State, views: Views, index: int) -> Crop:
        """Return a frame's face."""
        one = np.array([index])
        middle = predict(self.own, state[one], views[one])[0, 27:].mean(axis=0)
        return crop_face(rgb, middle, float(face_px_of(state[one], views[one], self.scale)[0]))

    def crops(self, source: FrameSource, frames: Ints, state: State, views: Views) -> list[Crop]:
        from relight_model.head.capture import frames_at

        return [
            self.crop(picture.rgb, state, views, k)
            for k, picture in enumerate(frames_at(source, frames))
        ]

    def stream(self, source: FrameSource, shown: Ints, state: State, views: Views):  # type: ignore[no-untyped-def]
        """Yield each shown frame's place and face."""
        from relight_model.head.capture import frames_at

        for k, picture in enumerate(frames_at(source, shown)):
            yield k, self.crop(picture.rgb, state, views, k)

    def landmarks(
        self, state: State, views: Views, landmarks_px: Float, confidence: Float, weight: float
    ) -> Observations:
        return landmark_observations(
            self.points, landmarks_px, confidence, face_px_of(state, views, self.scale),
            yaw_of(state), weight,
        )  # fmt: skip

    def step(
        self, state: State, views: Views, crops: list[Crop], texture: Image | None,
        softness: float, landmarks_px: Float, confidence: Float, weight: float, priors: Priors,
        time_s: Float,
    ) -> State:  # fmt: skip
        """Return the state after one round of rendering, comparing and solving."""
        world = self.matcher.world(state)
        found = [
            self.matcher.match(world[k], views, k, crop, texture, softness)
            for k, crop in enumerate(crops)
        ]
        dense = Observations(
            self.matcher.points,
            np.array([m.target_px for m in found]),
            np.array([m.whitening for m in found]),
            4.0,
        )
        seen = self.landmarks(state, views, landmarks_px, confidence, weight)
        evidence = [dense, seen]
        outline = self.outline.find(state, views, crops)
        if outline is not None:
            evidence.append(outline)
        return solve(state, views, evidence, priors, time_s, 2)

    def fit_keys(
        self, state: State, views: Views, crops: list[Crop], landmarks_px: Float,
        confidence: Float, time_s: Float, shape_held: bool,
        progress: Callable[[int, int], None],
    ) -> tuple[State, Image]:  # fmt: skip
        """Return the key frames' state with the shape, and the clip's own texture."""
        n = len(state)
        # what is wrong with the mean texture is wrong in every frame alike: more frames are no
        # more evidence for the shape
        priors = replace(priors_of(self.head, shape_held), coupled=False, shape_deviation=n**-0.5)
        rounds = [(s, True) for s in _MEAN_ROUNDS] + [(s, False) for s in _OWN_ROUNDS]
        texture: Image | None = None
        for k, (softness, mean) in enumerate(rounds):
            if k == len(_MEAN_ROUNDS):
                state = self.with_gaze(state, views, crops, time_s)
            if not mean:
                texture = clip_texture(self.matcher, state, views, crops)
            spread = _SHAPE_SPREAD if mean else _SHAPE_SPREAD_OWN
            priors = replace(priors, shape_deviation=spread * n**-0.5)
            state = self.step(
                state, views, crops, texture, softness, landmarks_px, confidence,
                _LANDMARK_WEIGHT if mean else _LANDMARK_WEIGHT_OWN, priors, time_s,
            )  # fmt: skip
            progress(k + 1, len(rounds))
        return state, clip_texture(self.matcher, state, views, crops)

    def landmark_bias(self, state: State, views: Views, landmarks_px: Float) -> Float:
        """Return how far the detector's landmarks lie from the points, ``(68, 2)``.

        In shares of the face, x along the eyes: the median over frames.
        """
        off = landmarks_px - predict(self.points, state, views)
        off /= face_px_of(state, views, self.scale)[:, None, None]
        return np.asarray(np.median(_level(off, state, 1.0), axis=0))

    def turned(self, bias: Float, state: State, views: Views) -> Float:
        """Return a bias in each frame's pixels, ``(n, 68, 2)``."""
        wide = face_px_of(state, views, self.scale)[:, None, None]
        return _level(np.repeat(bias[None], len(state), axis=0), state, -1.0) * wide

    def with_gaze(self, state: State, views: Views, crops: list[Crop], time_s: Float) -> State:
        """Return the state with the eyes turned to where they look."""
        pixels = predict(self.own, state, views)
        found = [self.gaze.find(state, k, views, crop, pixels[k]) for k, crop in enumerate(crops)]
        sure = np.array([g.certainty for g in found])
        known = np.flatnonzero(sure > 0.3)
        if len(known) == 0:
            return state
        eyes = np.zeros((len(state), 6))
        for column, values in ((0, [g.pitch for g in found]), (1, [g.yaw for g in found])):
            across = np.interp(time_s, time_s[known], np.array(values)[known])
            eyes[:, column] = eyes[:, 3 + column] = across
        return replace(state, eyes=eyes)


def _level(vectors: Float, state: State, sign: float) -> Float:
    """Return picture vectors ``(n, L, 2)`` turned so that the eyes are level, or back again."""
    right = state.rotation[:, :2, 0]
    angle = -sign * np.arctan2(-right[:, 1], right[:, 0])
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def _taken_over(state: State, part: State, keys: Ints) -> State:
    """Return all frames with the key frames' mean correction of place and expression."""
    put = state.put(keys, part)
    change = np.median(part.expression - state[keys].expression, axis=0)
    jaw = np.median(part.jaw - state[keys].jaw, axis=0)
    rest = np.setdiff1d(np.arange(len(state)), keys)
    expression, jaws = put.expression.copy(), put.jaw.copy()
    expression[rest] += change
    jaws[rest] += jaw
    return replace(put, expression=expression, jaw=jaws)
