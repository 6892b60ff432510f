"""How far the lids are closed: openings are rendered and compared with the frame, eye by eye.

Flow has little to hold on to at a lid that moves by its own height from frame to frame. So each
closure is rendered, with the model's mean texture lit as the frame is, and the one is taken that is
most like the frame in brightness and in redness: skin is redder than the eye under any white light.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile
from lightstage.pinhole import PinholeCamera
from relight_model.head.capture_points import HeadPoints
from relight_model.head.capture_render import FEATURES, Crop, FaceRenderer, Image, equalised
from relight_model.head.capture_solver import State, Views, predict

Float = NDArray[np.float64]

#: Closures that are rendered, and those that are told apart between them.
_CLOSURES, _FINE = np.linspace(0.0, 1.0, 9), np.linspace(0.0, 1.0, 81)
#: How far from the eyes' landmarks the face is rendered, in metres.
_REACH_M = 0.016
#: Axes of the ellipse in which an eye is compared, in widths of its opening.
_ACROSS, _UPRIGHT = 1.15, 0.75
#: What the other eye's likeness counts: lids mostly move together.
_TOGETHER = 0.5
#: Likeness that a closure far from the fit's must gain, and what is near, as a share of closing.
_HOLD, _NEAR = 0.05, 0.15
#: Softness of the pictures (pixels), and the variance that counts as no picture.
_SOFT_PX, _EMPTY = 1.0, 1e-4
#: How much redder against the eye this skin may be than the model's; the worst that can be.
_GAINS, _WORST = (0.5, 1.5), 2.0
_EYES = (("blink right", slice(36, 42)), ("blink left", slice(42, 48)))


class LidFinder:
    """Finds how far the lids are closed, with one head model that has a component for each lid."""

    def __init__(self, head: HeadFile, renderer: FaceRenderer) -> None:
        """Choose the triangles about the eyes."""
        names = list(head.expression_names)
        self._columns = [names.index(name) for name, _ in _EYES if name in names]
        self._landmarks = HeadPoints.at_landmarks(head)
        corners = head.v_template[head.f[head.landmark_faces[36:48]].astype(np.int64)]
        places = np.einsum("kc,kcd->kd", head.landmark_barycentric[36:48], corners)
        from scipy.spatial import cKDTree

        reach, _ = cKDTree(places).query(head.v_template[renderer.vertices])
        eyeball = head.weights[renderer.vertices, 3:5].sum(axis=1) > 0.5
        kept = ((reach < _REACH_M) | eyeball)[renderer.faces].all(axis=1)
        self._renderer = copy.copy(renderer)
        self._renderer.faces = np.ascontiguousarray(renderer.faces[kept])
        self._renderer.uv_corners = renderer.uv_corners[kept]

    def closed(self, state: State, views: Views, crops: list[Crop]) -> State:
        """Return the state with the lids as far closed as the frames show them.

        A head model without components named for the lids is left as it is.

        Args:
            state: the fitted heads, gaze included.
            views: the frames' cameras.
            crops: the frames' faces.
        """
        if len(self._columns) < len(_EYES):
            return state
        expression = state.expression.copy()
        for k, crop in enumerate(crops):
            likeness = self.likeness(state, k, views, crop)
            expression[k, self._columns] = best_closure(likeness, expression[k, self._columns])
        return replace(state, expression=expression)

    def likeness(self, state: State, index: int, views: Views, crop: Crop) -> Float:
        """Return how alike frame and rendering are, ``(closures, 2)``: right eye, left eye."""
        many = state[np.full(len(_CLOSURES), index)]
        many.expression[:, self._columns] = _CLOSURES[:, None]
        return self.compare(many, views, index, crop)

    def compare(self, many: State, views: Views, index: int, crop: Crop) -> Float:
        """Return how alike a frame and renderings of each of ``many`` are, ``(many, 2)``."""
        first = np.zeros(1, np.int64)
        ring = crop.to_crop(predict(self._landmarks, many[first], views[first + index])[0])
        part, left, top = _about_eyes(crop, ring[36:48])
        camera = self._renderer.camera(
            part, float(views.focal_px[index]), views.centre_px[index], views.distance_m
        )
        weights = [_ellipse(ring[eye] - [left, top], part.size) for _, eye in _EYES]
        points = self._renderer.points
        canonical = points.evaluate(many.coefficients, many.jaw, many.eyes) - many.pivot
        turned = np.einsum("nab,nvb->nva", many.rotation, canonical)
        world = np.asarray(turned + many.place_m[:, None], np.float32)
        found = np.array([self._compared(one, camera, part, weights) for one in world])
        # redness is the same under any white light: what is not red where skin would be is the eye,
        # however faint; so its difference counts, not its correlation
        full = np.maximum(found[:, :, 2].max(axis=0), 1e-4)
        red = 1.0 - np.minimum(found[:, :, 1] / full, _WORST)
        return np.asarray(0.5 * (found[:, :, 0] + red))

    def _compared(
        self, world: Image, camera: PinholeCamera, part: Crop, weights: list[Image]
    ) -> list[tuple[float, float, float]]:
        """Return of each eye: likeness in brightness, difference and variance in redness."""
        renderer = self._renderer
        seen = renderer.render(world, camera, renderer.mean_texture, part.gray)
        red = renderer.render(world, camera, renderer.mean_redness)
        inside = np.asarray(seen.mask, np.float32)
        planes = np.dstack(
            [seen.picture, equalised(part.gray, inside, FEATURES), red.picture * inside,
             part.redness * inside, inside]
        )  # fmt: skip
        planes = cv2.GaussianBlur(planes, (0, 0), _SOFT_PX)
        for k in (2, 3):
            planes[..., k] /= np.maximum(planes[..., 4], 1e-3)
        result = []
        for whole in weights:
            weight = whole * inside
            bright = _moments(planes[..., 0], planes[..., 1], weight)
            ours, theirs, both = _moments(planes[..., 2], planes[..., 3], weight)
            gain = float(np.clip(both / max(ours, 1e-6), *_GAINS))
            result.append(
                (
                    bright[2] / float(np.sqrt(bright[0] * bright[1] + _EMPTY)),
                    theirs - 2.0 * gain * both + gain * gain * ours,
                    ours,
                )
            )
        return result


def best_closure(likeness: Float, before: Float) -> Float:
    """Return the closures ``(2,)`` that are most like the frame.

    Args:
        likeness: ``(closures, 2)`` at closures evenly from 0 to 1, each eye's.
        before: ``(2,)`` what the fit said.
    """
    from scipy.interpolate import CubicSpline

    fine = CubicSpline(np.linspace(0.0, 1.0, len(likeness)), likeness)(_FINE)
    away = (_FINE[:, None] - np.clip(before, 0.0, 1.0)) ** 2
    fine = fine - _HOLD * away / (away + _NEAR**2)
    both = fine + _TOGETHER * fine[:, ::-1]
    return np.asarray(_FINE[both.argmax(axis=0)])


def _about_eyes(crop: Crop, ring: Float) -> tuple[Crop, int, int]:
    """Return the square of a crop about both eyes, and its left and top in the crop."""
    low, high = ring.min(axis=0), ring.max(axis=0)
    side = int(np.clip(round(1.35 * float((high - low).max())), 24, crop.size))
    left, top = np.clip(np.rint(0.5 * (low + high) - 0.5 * side), 0, crop.size - side).astype(int)
    window = slice(top, top + side), slice(left, left + side)
    part = Crop(
        np.ascontiguousarray(crop.gray[window]), np.ascontiguousarray(crop.redness[window]),
        crop.left + left / crop.scale, crop.top + top / crop.scale, crop.scale,
    )  # fmt: skip
    return part, int(left), int(top)


def _ellipse(ring: Float, size: int) -> Image:
    """Return where an eye of landmarks ``ring`` (6, 2) is compared, softly, ``(size, size)``."""
    along = ring[3] - ring[0]
    width = float(np.linalg.norm(along))
    middle = 0.5 * (ring[0] + ring[3])
    inside = np.zeros((size, size), np.float32)
    axes = (_ACROSS * width, _UPRIGHT * width)
    angle = float(np.rad2deg(np.arctan2(along[1], along[0])))
    cv2.ellipse(inside, ((float(middle[0]), float(middle[1])), axes, angle), 1.0, -1)
    return np.asarray(cv2.GaussianBlur(inside, (0, 0), max(0.04 * width, 0.3)), np.float32)


def _moments(a: Image, b: Image, weight: Image) -> tuple[float, float, float]:
    """Return the variances of two pictures and their covariance, under weights."""
    weight = weight / max(float(weight.sum()), 1e-6)
    a, b = a - (weight * a).sum(), b - (weight * b).sum()
    return (
        float((weight * a * a).sum()),
        float((weight * b * b).sum()),
        float((weight * a * b).sum()),
    )
