"""Where the eyes look: the turn that puts the iris on the dark disc in the eye's opening."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.head import HeadFile, rotation_matrices
from relight_model.head.capture_render import Crop
from relight_model.head.capture_solver import State, Views

Float = NDArray[np.float64]

#: Half the angle that the iris spans at the eyeball's centre, radians.
_IRIS_RAD, _EDGE_RAD = 0.48, 0.06
#: Gazes that are tried: pitch and yaw against the head, radians.
_PITCHES, _YAWS = np.linspace(-0.5, 0.5, 13), np.linspace(-0.75, 0.75, 19)
#: An eye whose opening is lower than this share of its width tells nothing.
_LEAST_OPENING = 0.11
#: How sure a gaze is of which the best correlation is this.
_CLEAR = 0.25
_EYES = ((3, (36, 37, 38, 39, 40, 41)), (4, (42, 43, 44, 45, 46, 47)))


@dataclass(frozen=True)
class Gaze:
    """Pitch and yaw of both eyes against the head in radians, and how sure, in [0, 1]."""

    pitch: float
    yaw: float
    certainty: float


class GazeFinder:
    """Finds gazes with one head model."""

    def __init__(self, head: HeadFile) -> None:
        """Measure the eyeballs."""
        joints = head.J_regressor @ head.v_template
        self._regressor = head.J_regressor
        self._joints = joints
        self._joint_slopes = np.einsum("jv,vac->jac", head.J_regressor[3:5], head.shapedirs)
        self._radius = 0.012
        grid = np.stack(np.meshgrid(_PITCHES, _YAWS, indexing="ij"), axis=-1).reshape(-1, 2)
        self._coarse = grid

    def find(self, state: State, index: int, views: Views, crop: Crop, landmarks_px: Float) -> Gaze:
        """Return the gaze in one frame.

        Args:
            state: the fitted heads.
            index: which of them.
            views: the frames' cameras.
            crop: the frame's face.
            landmarks_px: ``(68, 2)`` the model's own landmarks in the frame.
        """
        pixels, looks = [], []
        lids = crop.to_crop(landmarks_px)
        for which, ring in _EYES:
            opening = lids[list(ring)]
            width = np.linalg.norm(opening[3] - opening[0])
            height = 0.5 * np.linalg.norm(opening[[1, 2]] - opening[[5, 4]], axis=1).sum()
            if height < _LEAST_OPENING * width or width < 6:
                continue
            values, directions = self._opening(state, index, views, crop, opening, which)
            if len(values) >= 16:
                pixels.append(values)
                looks.append(directions)
        if not pixels:
            return Gaze(0.0, 0.0, 0.0)
        score = self._scores(self._coarse, pixels, looks)
        best = self._coarse[int(score.argmax())]
        for step in (0.035, 0.012):
            near = best + step * np.stack(
                np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1, 2], indexing="ij"), axis=-1
            ).reshape(-1, 2)
            score = self._scores(near, pixels, looks)
            weight = np.exp((score - score.max()) / 0.004)
            best = (weight[:, None] * near).sum(axis=0) / weight.sum()
        certainty = float(np.clip(score.max() / _CLEAR, 0.0, 1.0))
        return Gaze(float(best[0]), float(best[1]), certainty)

    def _scores(self, gazes: Float, pixels: list[Float], looks: list[Float]) -> Float:
        ahead = rotation_matrices(np.column_stack([gazes, np.zeros(len(gazes))]))[:, :, 2]
        total = np.zeros(len(gazes))
        for values, directions in zip(pixels, looks, strict=True):
            angle = np.arccos(np.clip(directions @ ahead.T, -1.0, 1.0))
            dark = 1.0 / (1.0 + np.exp((angle - _IRIS_RAD) / _EDGE_RAD))
            dark -= dark.mean(axis=0)
            off = values - values.mean()
            total += -(off @ dark) / (
                np.sqrt((off**2).sum() * (dark**2).sum(axis=0)) + 1e-2 * len(values) ** 0.5
            )
        total /= len(pixels)
        return np.asarray(total - 4.0 * gazes[:, 0] ** 2 - 0.1 * gazes[:, 1] ** 2)

    def _opening(
        self, state: State, index: int, views: Views, crop: Crop, opening: Float, which: int
    ) -> tuple[Float, Float]:
        """Return the gray values in an eye's opening and which way the eyeball faces there."""
        size = crop.size
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.rint(opening * 16).astype(np.int32)], 1, shift=4)
        row, column = np.nonzero(mask)
        if len(row) < 16:
            return np.zeros(0), np.zeros((0, 3))
        # the landmarks of image left are the subject's right eye's, joint 4
        joint = 4 if which == 3 else 3
        coefficients = state.coefficients[index]
        rest = self._joints[joint] + self._joint_slopes[joint - 3] @ coefficients
        rotation = state.rotation[index]
        centre = rotation @ (rest - state.pivot) + state.place_m[index]
        frame = crop.to_frame(np.column_stack([column, row]).astype(np.float64))
        ray = np.column_stack(
            [
                (frame[:, 0] - views.centre_px[index, 0]) / views.focal_px[index],
                -(frame[:, 1] - views.centre_px[index, 1]) / views.focal_px[index],
                -np.ones(len(frame)),
            ]
        )
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        from_camera = centre - [0.0, 0.0, views.distance_m]
        along = ray @ from_camera
        miss = (from_camera @ from_camera) - along**2
        depth = np.sqrt(np.maximum(self._radius**2 - miss, 0.0))
        hit = ray * (along - depth)[:, None] - from_camera
        hit /= np.linalg.norm(hit, axis=1, keepdims=True)
        values = np.asarray(crop.gray[row, column], np.float64)
        low, high = np.quantile(values, [0.02, 0.9])
        return np.clip(values, low, high) / max(high, 0.02), hit @ rotation
