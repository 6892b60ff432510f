"""From landmarks to head parameters: first guess, shape of the whole clip, then every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile
from relight_model.head.capture_points import HeadPoints
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

CONTOUR, BROWS, INNER = slice(0, 17), slice(17, 27), slice(17, 68)
#: Outer corners of the eyes: the subject's right, the subject's left.
EYE_CORNERS = (36, 45)
#: Inner corners of the mouth and the middles of both lips' inner edges.
INNER_LIPS = ((61, 67), (62, 66), (63, 65))

#: Frames that the shape is found from, at most.
SHAPE_FRAMES = 160
#: Frames that are solved at once, and how many of them on either side are solved again.
WINDOW, OVERLAP = 240, 24
#: How far off a landmark usually is, as a share of the inter-ocular distance.
_LANDMARK_DEVIATION = 0.025
_CONTOUR_DEVIATION = (0.04, 0.1)  # across and along the contour
_BROW_DEVIATION = 0.035


def priors_of(head: HeadFile, shape_held: bool = False) -> Priors:
    """Return what is known of a head model's parameters before any picture.

    Components that have a name move as muscles do: from a little below 0 to a little above 1, left
    and right alike for the most part, and lids between open and closed.
    """
    count = head.expression_count
    names = head.expression_names
    deviation = np.full(count, 0.35 if names else 1.0)
    lowest, highest = np.full(count, -np.inf), np.full(count, np.inf)
    change = np.full(count, 1500.0)
    pairs = []
    for k, name in enumerate(names):
        lowest[k], highest[k] = -0.4, 1.3
        if name.startswith(("blink", "eye wide", "squint")):
            lowest[k], highest[k] = 0.0, 1.0
        if name.startswith("blink"):
            change[k], deviation[k] = 2e4, 0.4
        if name.endswith("aside"):
            lowest[k] = -1.3
        if name.endswith(" left") and name[:-5] + " right" in names:
            pairs.append((k, names.index(name[:-5] + " right")))
    return Priors(
        np.zeros(count), deviation, lowest, highest, change, tuple(pairs), shape_held=shape_held
    )


def face_scale(head: HeadFile) -> float:
    """Return the mean head's inter-ocular distance, outer corner to outer corner, in metres."""
    corners = HeadPoints.at_landmarks(head).evaluate(
        np.zeros((1, head.shapedirs.shape[2])), np.zeros((1, 3)), np.zeros((1, 6))
    )[0, list(EYE_CORNERS)]
    return float(np.linalg.norm(corners[1] - corners[0]))


def first_guess(points: HeadPoints, landmarks_px: Float, views: Views, head: HeadFile) -> State:
    """Return the mean head posed on each frame's landmarks by an affine camera, ``(n, 68, 2)``."""
    n = len(landmarks_px)
    coefficients = np.zeros((1, head.shapedirs.shape[2]))
    model = points.evaluate(coefficients, np.zeros((1, 3)), np.zeros((1, 6)))[0, INNER]
    pivot = model.mean(axis=0) - [0.0, 0.0, 0.03]
    flat = np.column_stack([model - pivot, np.ones(len(model))])
    seen = landmarks_px[:, INNER]
    upward = np.stack([seen[..., 0], -seen[..., 1]], axis=-1)
    solution = np.linalg.lstsq(flat, upward.transpose(1, 0, 2).reshape(len(model), -1), rcond=None)[
        0
    ].reshape(4, n, 2)
    rotation, place = np.empty((n, 3, 3)), np.empty((n, 3))
    for i in range(n):
        rows = solution[:3, i].T  # (2, 3)
        u, size, vt = np.linalg.svd(rows, full_matrices=False)
        level = u @ vt
        rotation[i] = np.vstack([level, np.cross(level[0], level[1])])
        scale = float(size.mean())
        depth = views.focal_px[i] / scale
        at = solution[3, i] * [1.0, -1.0] - views.centre_px[i]
        place[i] = [at[0] / scale, -at[1] / scale, views.distance_m - depth]
    return State(
        np.zeros(head.shape_count), np.zeros((n, head.expression_count)), np.zeros((n, 3)),
        np.zeros((n, 6)), rotation, place, pivot,
    )  # fmt: skip


def landmark_observations(
    points: HeadPoints,
    landmarks_px: Float,
    confidence: Float,
    face_px: Float,
    yaw: Float,
    weight: float = 1.0,
) -> Observations:
    """Return the landmarks as observations.

    The contour's landmarks slide along it, and its far side hides when the head turns.

    Args:
        points: the head at its landmarks.
        landmarks_px: ``(n, 68, 2)``.
        confidence: ``(n,)`` in [0, 1].
        face_px: ``(n,)`` the inter-ocular distance of a face seen from the front.
        yaw: ``(n,)`` radians, positive towards image right.
        weight: of all of them.
    """
    n = len(landmarks_px)
    sigma = np.full(68, _LANDMARK_DEVIATION)
    sigma[BROWS] = _BROW_DEVIATION
    strength = weight * np.sqrt(confidence) / face_px
    whitening = np.zeros((n, 68, 2, 2))
    for k in range(2):
        whitening[:, :, k, k] = strength[:, None] / sigma
    along = np.gradient(landmarks_px[:, CONTOUR], axis=1)
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    place = np.linspace(-1.0, 1.0, 17)  # image left to right
    hidden = np.clip(np.sin(yaw)[:, None] * place, 0.0, None) / 0.3
    seen = np.exp(-(hidden**2)) * strength[:, None]
    whitening[:, CONTOUR, 0] = (seen / _CONTOUR_DEVIATION[0])[..., None] * across
    whitening[:, CONTOUR, 1] = (seen / _CONTOUR_DEVIATION[1])[..., None] * along
    return Observations(points, landmarks_px, whitening)


def spread_frames(state: State, quality: Float, count: int) -> Ints:
    """Return up to ``count`` frames, in order, whose poses and faces differ as much as may be.

    Half of them are spread in time, half are chosen farthest from those chosen before.

    Args:
        state: of all frames.
        quality: ``(n,)`` frames of less than half the median are left out.
        count: how many.
    """
    n = len(state)
    usable = np.flatnonzero(quality >= 0.5 * np.median(quality[quality > 0]))
    if len(usable) <= count:
        return usable
    chosen = list(usable[np.linspace(0, len(usable) - 1, count // 2).astype(int)])
    looks = np.concatenate(
        [3.0 * state.rotation.reshape(n, 9), 4.0 * state.jaw, 0.5 * state.expression], axis=1
    )
    near = np.full(n, np.inf)
    for k in chosen:
        near = np.minimum(near, ((looks - looks[k]) ** 2).sum(axis=1))
    while len(chosen) < count:
        k = int(usable[near[usable].argmax()])
        chosen.append(k)
        near = np.minimum(near, ((looks - looks[k]) ** 2).sum(axis=1))
    return np.unique(np.array(chosen, np.int64))


def solve_windows(
    state: State,
    views: Views,
    seen_in: Callable[[slice, State], Sequence[Observations]],
    priors: Priors,
    time_s: Float,
    iterations: int,
    window: int = WINDOW,
    overlap: int = OVERLAP,
) -> State:
    """Return every frame solved, shape held, in windows that overlap.

    ``seen_in`` gives a window's observations. Only the middle of each window is kept; what lies
    ``overlap`` frames away has no say any more.
    """
    held = replace(priors, shape_held=True)
    n = len(state)
    for start in range(0, n, window - 2 * overlap):
        begin, end = max(0, start - overlap), min(n, start + window - overlap)
        part = slice(begin, end)
        solved = solve(
            state[part], views[part], seen_in(part, state[part]), held, time_s[part], iterations
        )
        keep = slice(start, min(n, start + window - 2 * overlap))
        state = state.put(keep, solved[slice(keep.start - begin, keep.stop - begin)])
        if end == n and keep.stop == n:
            break
    return state


def yaw_of(state: State) -> Float:
    """Return how far each head is turned to image right, radians ``(n,)``."""
    ahead = state.rotation[:, :, 2]
    return np.asarray(np.arctan2(ahead[:, 0], np.hypot(ahead[:, 1], ahead[:, 2])))


def face_px_of(state: State, views: Views, scale_m: float) -> Float:
    """Return the inter-ocular distance in pixels that each face has from the front, ``(n,)``."""
    return np.asarray(views.focal_px * scale_m / (views.distance_m - state.place_m[:, 2]))


def fit_landmarks(
    head: HeadFile,
    points: HeadPoints,
    landmarks_px: Float,
    confidence: Float,
    views: Views,
    time_s: Float,
    shape: Float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> State:
    """Return the head fitted to landmarks alone.

    Args:
        head: the model.
        points: the head at what the detector calls landmarks.
        landmarks_px: ``(n, 68, 2)``.
        confidence: ``(n,)`` above 0.
        views: the frames' cameras.
        time_s: ``(n,)``.
        shape: ``(S,)`` of a performer who is known; found from the clip otherwise.
        progress: told (done, total).
    """
    scale = face_scale(head)
    priors = priors_of(head, shape_held=shape is not None)
    state = first_guess(points, landmarks_px, views, head)
    if shape is not None:
        state = replace(state, shape=shape.copy())

    def observed(chosen: slice | Ints, now: State) -> list[Observations]:
        return [
            landmark_observations(
                points, landmarks_px[chosen], confidence[chosen],
                face_px_of(now, views[chosen], scale), yaw_of(now),
            )
        ]  # fmt: skip

    chosen = spread_frames(state, confidence, SHAPE_FRAMES)
    part = state[chosen]
    calm = replace(priors, coupled=False)  # frames apart in time are not bound to each other
    for iterations, rigid in ((6, True), (8, False), (8, False)):
        part = solve(
            part, views[chosen], observed(chosen, part), calm, time_s[chosen], iterations, rigid
        )
    state = replace(state, shape=part.shape).put(chosen, part)
    rest = np.setdiff1d(np.arange(len(state)), chosen)
    for start in range(0, len(rest), WINDOW):
        few = rest[start : start + WINDOW]
        moved = solve(state[few], views[few], observed(few, state[few]), calm, time_s[few], 6, True)
        state = state.put(few, moved)
        progress(start, len(state))
    return solve_windows(state, views, observed, priors, time_s, 8)


def landmark_error(points: HeadPoints, state: State, views: Views, landmarks_px: Float) -> Float:
    """Return each landmark's distance from where it was seen, ``(n, 68)`` pixels."""
    return np.asarray(np.linalg.norm(predict(points, state, views) - landmarks_px, axis=-1))
