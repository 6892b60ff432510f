"""Head parameters between frames against the simulator's truth: the table in docs/parameters.md.

    python benchmarks/parameters_between_frames.py [--seconds 10] [--performers 0 1 2]

A performer's true parameters are taken at 25 or 60 frames a second, interpolated to 1000, and
compared with the true parameters there; root mean squares over performers and frames. "straight" is
linear interpolation, of rotations at constant speed.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from lightstage.head import pose_head, procedural_head
from lightstage.pinhole import PinholeCamera
from lightstage.simulation import Performer
from relight_model.head import rotations
from relight_model.head.clip import JOINTS, HeadClip
from relight_model.head.expression_names import is_blink
from relight_model.head.interpolate import at_times


def performed(seed: int, motion: str, times: np.ndarray) -> HeadClip:
    frames = [Performer(seed, motion).parameters(float(t)) for t in times]
    return HeadClip(
        shape=frames[0].shape,
        expression=np.array([f.expression for f in frames]),
        pose=np.array([f.pose for f in frames]),
        translation_m=np.array([f.translation_m for f in frames]),
        time_s=times,
        camera=PinholeCamera(640, 480, 900.0),
        expression_names=procedural_head().expression_names,
    )


def straight(clip: HeadClip, times: np.ndarray) -> HeadClip:
    def line(values: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(times, clip.time_s, column) for column in values.T], axis=1)

    joints = [rotations.slerp(clip.time_s, clip.pose[:, part], times) for part in JOINTS.values()]
    return clip.replace(
        expression=line(clip.expression),
        pose=np.concatenate(joints, axis=1),
        translation_m=line(clip.translation_m),
        time_s=times,
    )


def errors(clip: HeadClip, truth: HeadClip) -> dict[str, float]:
    lids = is_blink(clip.expression_names, clip.expression.shape[1])
    turned = {
        name: np.degrees(rotations.angle_between(clip.pose[:, part], truth.pose[:, part]))
        for name, part in JOINTS.items()
    }
    apart = clip.expression - truth.expression
    head = procedural_head()
    some = range(0, len(clip), 97)
    mesh = [
        (pose_head(head, c.shape, c.expression[k], c.pose[k]) + c.translation_m[k])
        for k in some
        for c in (clip, truth)
    ]
    mesh_apart = np.array([a - b for a, b in zip(mesh[::2], mesh[1::2], strict=True)])
    squares = {
        "head deg": np.concatenate([turned["global"], turned["neck"]]),
        "jaw deg": turned["jaw"],
        "eyes deg": turned["eye_left"],
        "lids": apart[:, lids],
        "expressions": apart[:, ~lids],
        "mesh mm": 1e3 * np.linalg.norm(mesh_apart, axis=-1),
    }
    return {name: float((values**2).mean()) for name, values in squares.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--performers", type=int, nargs="*", default=[0, 1, 2])
    options = parser.parse_args()
    took, made = 0.0, 0
    for motion in ("talking", "violent"):
        for rate_hz in (25, 60):
            found: dict[str, list[dict[str, float]]] = {"straight": [], "at_times": []}
            for seed in options.performers:
                knots = np.arange(round(options.seconds * rate_hz) + 1) / rate_hz
                times = np.arange(0.0, options.seconds, 1e-3)
                clip, truth = (performed(seed, motion, t) for t in (knots, times))
                found["straight"].append(errors(straight(clip, times), truth))
                start = time.perf_counter()
                fast = at_times(clip, times)
                took, made = took + time.perf_counter() - start, made + len(times)
                found["at_times"].append(errors(fast, truth))
            for method, rows in found.items():
                table = "  ".join(
                    f"{name} {np.sqrt(np.mean([row[name] for row in rows])):.4f}"
                    for name in rows[0]
                )
                print(f"{motion:8} {rate_hz:3d} Hz  {method:9} {table}")
    print(f"{made / took:.0f} frames a second")


if __name__ == "__main__":
    main()
