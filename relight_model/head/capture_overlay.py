"""Films that show a fit: the head's mesh, its landmarks and its gaze over the frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightstage.colour import decode_srgb
from lightstage.head import HeadFile, pose_head, rotation_matrices
from lightstage.raster import vertex_normals
from relight_model.frame_source import FrameSource
from relight_model.head.capture import Captured, Progress
from relight_model.head.clip import EYE_LEFT, EYE_RIGHT, HeadClip

Float = NDArray[np.float64]

_MESH, _SEEN, _FITTED, _GAZE = (90, 230, 190), (255, 90, 60), (255, 235, 80), (80, 200, 255)
#: Edges farther from the landmarks than this are not drawn, in metres.
_REACH_M = 0.045
_GAZE_M = 0.045


class Overlay:
    """Draws a head clip over its frames."""

    def __init__(self, head: HeadFile, clip: HeadClip) -> None:
        """Choose the edges: those of the face, thinned out where the mesh is fine."""
        from scipy.spatial import cKDTree

        self._head, self._clip = head, clip
        faces = head.f.astype(np.int64)
        places = np.einsum(
            "kc,kcd->kd", head.landmark_barycentric, head.v_template[faces[head.landmark_faces]]
        )
        reach, _ = cKDTree(places).query(head.v_template)
        kept = (reach < _REACH_M)[faces].all(axis=1)
        self._faces = faces[kept]
        pairs = np.concatenate([self._faces[:, [0, 1]], self._faces[:, [1, 2]]])
        self._edges = np.unique(np.sort(pairs, axis=1), axis=0)

    def draw(
        self,
        rgb: NDArray[np.uint8],
        index: int,
        seen_px: Float | None = None,
        fitted_px: Float | None = None,
    ) -> NDArray[np.uint8]:
        """Return frame ``index`` with the fit drawn over it; ``seen_px`` as the detector saw."""
        clip = self._clip
        camera = clip.frame_camera(index)
        vertices = pose_head(self._head, clip.shape, clip.expression[index], clip.pose[index])
        vertices = vertices + clip.translation_m[index]
        pixels = camera.project(vertices)
        normals = vertex_normals(vertices.astype(np.float32), self._head.f.astype(np.int32))
        towards = ((camera.position_m - vertices) * normals).sum(axis=1) > 0
        canvas = np.ascontiguousarray(rgb)
        drawn = canvas.copy()
        shown = self._edges[towards[self._edges].all(axis=1)]
        lines = np.rint(pixels[shown] * 16).astype(np.int32)
        limit = 16 * 4 * max(rgb.shape)
        lines = lines[(np.abs(lines) < limit).all(axis=(1, 2))]
        cv2.polylines(drawn, list(lines), False, _MESH, 1, cv2.LINE_AA, shift=4)
        trusted = clip.confidence is None or clip.confidence[index] > 0
        canvas = np.asarray(cv2.addWeighted(canvas, 0.65, drawn, 0.35, 0.0))
        scale = max(1, round(np.ptp(pixels[self._faces[:, 0], 0]) / 180.0))
        for points, colour in ((seen_px, _SEEN), (fitted_px, _FITTED)):
            if points is None or not np.isfinite(points).all():
                continue
            for point in points:
                _dot(canvas, point, scale, colour)
        head_turn = rotation_matrices(clip.pose[index].reshape(5, 3))
        turn = head_turn[0] @ head_turn[1]
        for joint, part in ((3, EYE_LEFT), (4, EYE_RIGHT)):
            eye = self._head.weights[:, joint] > 0.5
            if not eye.any():
                continue
            centre = vertices[eye].mean(axis=0)
            look = turn @ rotation_matrices(clip.pose[index, part][None])[0] @ [0.0, 0.0, 1.0]
            ends = camera.project(np.array([centre + 0.012 * look, centre + _GAZE_M * look]))
            first, last = (tuple(int(v) for v in np.rint(p)) for p in ends)
            cv2.arrowedLine(canvas, first, last, _GAZE, scale, cv2.LINE_AA, tipLength=0.25)
        if not trusted:
            cv2.putText(
                canvas, "no face: interpolated", (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6,
                _SEEN, 1, cv2.LINE_AA,
            )  # fmt: skip
        return canvas


def write_overlay(
    path: Path,
    source: FrameSource,
    head: HeadFile,
    captured: Captured,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Write the source's frames with the fit drawn over them, as a film or numbered pictures."""
    from lightstage.exchange.film import FilmWriter

    clip = captured.clip
    overlay = Overlay(head, clip)
    with FilmWriter(path, *source.size, source.rate_hz, crf=18, overwrite=True) as film:
        for picture in source:
            if picture.index >= len(clip):
                break
            k = picture.index
            drawn = overlay.draw(picture.rgb, k, captured.landmarks_px[k], captured.fitted_px[k])
            film.write(decode_srgb(drawn.astype(np.float32) / np.float32(255.0)))
            progress("overlay", k + 1, len(clip))


def _dot(canvas: NDArray[np.uint8], point: Float, radius: int, colour: tuple[int, ...]) -> None:
    centre = tuple(int(v) for v in np.rint(np.clip(point, -1e4, 1e4) * 16))
    cv2.circle(canvas, centre, radius * 16, colour, -1, cv2.LINE_AA, shift=4)
