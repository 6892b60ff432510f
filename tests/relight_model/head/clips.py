"""Head clips for tests: made up, random, and of the simulated performer."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lightstage.head import procedural_head
from lightstage.pinhole import PinholeCamera
from lightstage.simulation import Performer
from relight_model.head.clip import HeadClip

CAMERA = PinholeCamera(640, 480, 900.0, 1.4, (310.0, 250.0))
NAMES = ("smile", "brow up left", "brow up right", "blink left", "blink right", "mouth aside")


def made_up(seed=0, n=40, **changes):
    """A smooth random clip with a large mean pose, at a rate that is not quite steady."""
    rng = np.random.default_rng(seed)
    time_s = (np.arange(n) + rng.uniform(-0.2, 0.2, n)) / 25.0

    def waves(count, size):
        phase, speed = rng.uniform(0, 6, (2, 3, count))
        return size * np.sin(time_s[:, None, None] * (2 + speed) + phase).mean(axis=1)

    pose = waves(15, 0.4) + 0.6 * rng.normal(size=15)
    fields = {
        "shape": rng.normal(size=7),
        "expression": waves(len(NAMES), 0.5) + rng.uniform(0.2, 0.6, len(NAMES)),
        "pose": pose,
        "translation_m": waves(3, 0.03) + 0.02 * rng.normal(size=3),
        "time_s": time_s,
        "camera": CAMERA,
        "view": np.column_stack([waves(2, 9.0) + 100.0, 0.5 + 0.0 * time_s]),
        "view_size": (128, 96),
        "confidence": rng.uniform(0.2, 1.0, n),
        "expression_names": NAMES,
        "head": "made up",
    }
    return HeadClip(**(fields | changes))


def performed(seed=0, motion="talking", seconds=12.0, rate_hz=25.0, start_s=0.0, **changes):
    """The simulated performer's true parameters."""
    time_s = start_s + np.arange(round(seconds * rate_hz)) / rate_hz
    frames = [Performer(seed, motion).parameters(float(t)) for t in time_s]
    fields = {
        "shape": frames[0].shape,
        "expression": np.array([f.expression for f in frames]),
        "pose": np.array([f.pose for f in frames]),
        "translation_m": np.array([f.translation_m for f in frames]),
        "time_s": time_s,
        "camera": PinholeCamera(640, 480, 900.0, 1.5),
        "expression_names": procedural_head().expression_names,
    }
    return HeadClip(**(fields | changes))


def vectors(n, most=9.0):
    """Rotation vectors ``(n, 3)`` of any length, also none, half turns and whole turns."""
    axis = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)
    angle = st.one_of(
        st.sampled_from([0.0, 1e-9, 1e-4, np.pi - 1e-9, np.pi, np.pi + 1e-9, 2 * np.pi]),
        st.floats(0, most),
    )
    one = st.builds(lambda v, a: a * np.array(v) / np.linalg.norm(v), axis, angle)
    return st.lists(one, min_size=n, max_size=n).map(np.array)
