"""Landmarks: how long they take, how they jitter, and how far from the truth they lie.

python benchmarks/landmarks.py [--seeds 10] [--clip face.mp4]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.face_renders import render_face
from lightstage.head import procedural_head
from relight_model.head.landmark_dlib import DlibLandmarks
from relight_model.head.landmarks import (
    CONTOUR,
    INNER,
    detector_embedding,
    faces_of_clip,
    interocular_px,
)

TURNS = [(0, 0, 0), (0, -20, 0), (0, 20, 0), (12, 0, 0), (-12, 0, 0), (5, 10, 8)]
PARTS = {
    "contour": range(17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "mouth": range(48, 68),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--clip", type=Path, help="a film of one face, for its jitter")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    times(DlibLandmarks.load())
    jitter(options.clip)
    errors(options.seeds)


def times(detector: DlibLandmarks) -> None:
    print("processor time, median of 20  detect    track    no face there")
    for size in ((512, 384), (1024, 768), (1920, 1080), (3840, 2160)):
        picture = render_face(0, size=size).picture(0)
        face = detector.detect(picture)
        assert face is not None
        wall = np.full_like(picture, 120)
        took = [
            milliseconds(lambda p=picture: detector.detect(p)),
            milliseconds(lambda p=picture, f=face: detector.track(p, f)),
            milliseconds(lambda p=wall: detector.detect(p)),
        ]
        print(f"  {size[0]:5d} x {size[1]:4d}             " + "".join(f"{t:6.1f} ms" for t in took))


def milliseconds(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(20):
        began = time.process_time()
        act()
        taken.append(time.process_time() - began)
    return 1e3 * float(np.median(taken))


def jitter(clip: Path | None) -> None:
    """Print what remains from frame to frame, by how many predictions."""
    still = render_face(3)
    clips = {"still head, sensor noise": [still.picture(k) for k in range(30)]}
    if clip is not None:
        import av

        with av.open(str(clip)) as film:
            clips[clip.name] = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    print("jitter, root mean square, % of the outer eye distance: of all 68 | of the inner 51 | px")
    print("(from second differences, which motion hardly enters; predictions count the mirrored)")
    for name, frames in clips.items():
        plain = DlibLandmarks.load()
        one = []
        for frame in frames:
            box = max(plain.detector(frame, 0), key=lambda b: b.area())
            one.append([(p.x, p.y) for p in plain.predict.trees(frame, box).parts()])
        report(f"{name}: dlib's own, every frame", np.array(one, float))
        for count in (1, 3, 5):
            detector = DlibLandmarks.load(predictions=count)
            faces = [f for f in faces_of_clip(detector, frames) if f is not None]
            report(f"{name}: {2 * count} predictions", np.array([f.landmarks for f in faces]))


def report(name: str, landmarks: NDArray[np.float64]) -> None:
    second = landmarks[2:] - 2.0 * landmarks[1:-1] + landmarks[:-2]
    apart = np.mean([interocular_px(at) for at in landmarks])
    every, inner = (np.sqrt((s**2).mean() / 6.0) for s in (second, second[:, INNER]))
    print(f"  {name:48s} {100 * every / apart:5.2f} | {100 * inner / apart:5.2f} | {inner:5.3f} px")


def errors(seeds: int) -> None:
    """Print how far the found landmarks lie from the head's own places and from the table's."""
    head, detector = procedural_head(), DlibLandmarks.load()
    own = (head.landmark_faces, head.landmark_barycentric)
    table = detector_embedding(head, detector.name)
    for size in ((512, 384), (1024, 768)):
        off: dict[str, list[NDArray[np.float64]]] = {"head's own": [], "table": []}
        lost, confidence = 0, []
        for seed in range(seeds):
            for turn in TURNS:
                render = render_face(seed, turn, 0.37 * seed if seed % 2 else None, size)
                face = detector.detect(render.picture(seed))
                if face is None:
                    lost += 1
                    continue
                confidence.append(face.confidence)
                for name, embedding in (("head's own", own), ("table", table)):
                    at = render.pixels(*embedding)
                    apart = interocular_px(face.landmarks)
                    off[name].append((face.landmarks - at) / apart)
        total = seeds * len(TURNS)
        print(
            f"{size[0]} x {size[1]}: {total} renders, {lost} without a face, confidence "
            f"{min(confidence):.2f} to {max(confidence):.2f}"
        )
        for name, found in off.items():
            every = 100 * np.array(found)
            mean = np.linalg.norm(every, axis=2)
            print(
                f"  against the {name} places: inner {mean[:, INNER].mean():.2f} %, contour "
                f"{mean[:, CONTOUR].mean():.2f} %"
            )
            bias = every.mean(axis=0)
            for part, where in PARTS.items():
                told = " ".join(f"{k}:{bias[k, 0]:+.1f},{bias[k, 1]:+.1f}" for k in where)
                print(f"    mean (right, down) {part}: {told}")


if __name__ == "__main__":
    main()
