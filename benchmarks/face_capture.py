# ruff: noqa: E402
"""How right face capture is: simulated heads of known parameters, noise alone, real faces.

    python benchmarks/face_capture.py [--seconds 3] [--no-refine] [--real FOLDER] [--json]

FOLDER holds ``video/single_face.mp4``. Errors of landmarks are shares of the inter-ocular distance
(outer corners), of the model's own landmarks against the true ones; on real faces, of the inner 51
against the detector.
"""

from __future__ import annotations

import os

# before numpy is loaded
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lightstage.colour import encode_srgb
from lightstage.dome import Dome
from lightstage.head import pose_head, procedural_head, rotation_matrices
from lightstage.simulation import Performer, Scene, SimulatedCamera, render_full_lit
from relight_model.frame_source import Picture, open_frames
from relight_model.head.capture import Captured, CaptureSettings, capture
from relight_model.head.landmarks import landmark_detector

LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIPS = ((61, 67), (62, 66), (63, 65))


class SimulatedFrames:
    """A performer under all lights, 512x384, with a sensor's noise, 8-bit sRGB."""

    view = None

    def __init__(self, seed: int, motion: str, seconds: float, rate_hz: float = 25.0) -> None:
        self.performer = Performer(seed, motion)
        self.camera = SimulatedCamera(512, 384)
        self.name = f"performer {seed}, {motion}"
        self.count = round(seconds * rate_hz)
        self.rate_hz = rate_hz
        self.size = self.whole = (512, 384)
        self.times = 0.4 + np.arange(self.count) / rate_hz
        self._kept: list[np.ndarray] = []

    @property
    def fov_deg(self) -> float:
        return float(np.rad2deg(self.camera.field_of_view_rad))

    def __iter__(self) -> Iterator[Picture]:
        for k, at in enumerate(self.times):
            if k == len(self._kept):
                self._kept.append(self._render(k, at))
            yield Picture(k, float(at - self.times[0]), self._kept[k])

    def _render(self, k: int, at: float) -> np.ndarray:
        still = self.performer.motion == "still"
        if not still or k == 0:
            scene = Scene(self.performer.model, self.camera, self.performer.vertices(at))
            self._clean = render_full_lit(scene, Dome.evenly_spread(48))
        if k == 0:
            face = self._clean[100:300, 150:360].max(axis=2)
            self._gain = 0.85 / np.quantile(face, 0.99)
        light = self._clean * self._gain
        rng = np.random.default_rng([self.performer.seed, k])
        deviation = np.sqrt(0.006**2 * np.maximum(light, 0) + 0.002**2)
        noisy = light + deviation * rng.standard_normal(light.shape)
        return np.asarray(encode_srgb(noisy) * 255 + 0.5).astype(np.uint8)


def landmarks_of(shape: np.ndarray, expression: np.ndarray, pose: np.ndarray, move: np.ndarray,
                 camera: object) -> np.ndarray:  # fmt: skip
    head = procedural_head()
    vertices = pose_head(head, shape, expression, pose) + move
    corners = vertices[head.f[head.landmark_faces].astype(int)]
    return camera.project(np.einsum("kc,kcd->kd", head.landmark_barycentric, corners))  # type: ignore[attr-defined, no-any-return]


def against_truth(frames: SimulatedFrames, captured: Captured) -> dict[str, float]:
    clip = captured.clip
    true = [frames.performer.parameters(t) for t in frames.times]
    seen = np.array([
        landmarks_of(p.shape, p.expression, p.pose, p.translation_m, frames.camera.pinhole)
        for p in true
    ])  # fmt: skip
    fitted = np.array([
        landmarks_of(clip.shape, clip.expression[k], clip.pose[k], clip.translation_m[k],
                     clip.frame_camera(k)) for k in range(len(clip))
    ])  # fmt: skip
    iod = np.linalg.norm(seen[:, 45] - seen[:, 36], axis=-1)
    error = 100.0 * np.linalg.norm(fitted - seen, axis=-1) / iod[:, None]
    pose = np.array([p.pose for p in true])

    def turn(values: np.ndarray) -> np.ndarray:
        return rotation_matrices(values[:, :3]) @ rotation_matrices(values[:, 3:6])

    between = turn(clip.pose) @ turn(pose).transpose(0, 2, 1)
    angle = np.rad2deg(np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1)))

    def gap(px: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.mean([np.linalg.norm(px[:, a] - px[:, b], axis=-1) for a, b in pairs], axis=0)

    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a, b)[0, 1]) if min(a.std(), b.std()) > 1e-9 else float("nan")

    names = list(clip.expression_names)
    blink = [names.index("blink left"), names.index("blink right")]
    closed = np.array([p.expression[blink].mean() for p in true])
    gaze = np.rad2deg(np.abs(clip.pose[:, 9:11] - pose[:, 9:11])).mean(axis=0)
    still = float(np.linalg.norm(np.diff(fitted, axis=0), axis=-1).mean())
    return {
        "rotation_deg": float(angle.mean()),
        "rotation_95_deg": float(np.quantile(angle, 0.95)),
        "landmarks_percent": float(error.mean()),
        "inner_percent": float(error[:, 17:].mean()),
        "mouth": alike(gap(seen, LIPS), gap(fitted, LIPS)),
        "blink": alike(closed, clip.expression[:, blink].mean(axis=1)),
        "lids": alike(gap(seen, LIDS), gap(fitted, LIDS)),
        "gaze_pitch_deg": float(gaze[0]),
        "gaze_yaw_deg": float(gaze[1]),
        "frame_to_frame_px": still,
        "frames_per_s": captured.report["frames_per_s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("--unknown-lens", action="store_true", help="assume 30 degrees")
    parser.add_argument("--real", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    head, detector = procedural_head(), landmark_detector()
    results: dict[str, dict[str, float]] = {}

    def fit(source: object, settings: CaptureSettings) -> Captured:
        return capture(source, head, "", detector, settings)  # type: ignore[arg-type]

    runs = [(int(s), "talking", options.seconds) for s in options.seeds.split(",")]
    for seed, motion, seconds in [*runs, (2, "still", 1.2)]:
        frames = SimulatedFrames(seed, motion, seconds)
        list(frames)  # rendering is no part of what is timed
        settings = CaptureSettings(refine=not options.no_refine)
        if not options.unknown_lens:
            settings = CaptureSettings(frames.fov_deg, 1.5, not options.no_refine)
        results[frames.name] = against_truth(frames, fit(frames, settings))
    real = {}
    film = options.real / "video" / "single_face.mp4"
    if film.is_file():
        real["single_face.mp4"] = film
    try:
        import skimage.data

        picture = Path(f"astronaut_{time.time_ns()}.png")
        cv2.imwrite(str(picture), skimage.data.astronaut()[..., ::-1])
        real["astronaut"] = picture
    except ImportError:
        picture = None  # type: ignore[assignment]
    try:
        for name, path in real.items():
            report = fit(open_frames([path]), CaptureSettings(refine=not options.no_refine)).report
            results[name] = {
                "frames": report["frames"],
                "without_face": report["frames_without_face"],
                "inner_percent": report["residual_inner_percent_iod_mean"],
                "inner_95_percent": report["residual_inner_percent_iod_95"],
                "frames_per_s": report["frames_per_s"],
            }
    finally:
        if picture is not None:
            picture.unlink(missing_ok=True)
    if options.json:
        print(json.dumps(results))
        return
    for name, row in results.items():
        print(name)
        for key, value in row.items():
            print(f"    {key:<20} {value:8.3f}")


if __name__ == "__main__":
    main()
