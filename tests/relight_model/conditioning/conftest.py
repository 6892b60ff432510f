from __future__ import annotations

import numpy as np
import pytest

from lightstage.head import procedural_head
from lightstage.pinhole import PinholeCamera
from relight_model.conditioning import ConditioningRenderer
from relight_model.head.clip import HeadClip


@pytest.fixture(scope="session")
def renderer() -> ConditioningRenderer:
    """The mean procedural head, one sample in each pixel's middle."""
    return ConditioningRenderer(procedural_head(), supersampling=1)


def talking_clip(frames: int = 30, rate_hz: float = 25.0, seed: int = 0) -> HeadClip:
    """A head that moves smoothly, in a picture of 640 x 480."""
    head = procedural_head()
    rng = np.random.default_rng(seed)
    time_s = np.arange(frames) / rate_hz
    pose, place = np.zeros((frames, 15)), np.zeros((frames, 3))
    for column in (0, 1, 2, 6, 9, 10):
        pose[:, column] = 0.12 * np.sin(
            2 * np.pi * rng.uniform(0.2, 1.0) * time_s + rng.uniform(0.0, 6.0)
        )
    for axis in range(3):
        place[:, axis] = 0.015 * np.sin(2 * np.pi * 0.4 * time_s + rng.uniform(0.0, 6.0))
    weights = rng.uniform(0.0, 0.3, head.expression_count)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * 0.9 * time_s)
    return HeadClip(
        shape=np.zeros(head.shape_count),
        expression=wave[:, None] * weights,
        pose=pose,
        translation_m=place,
        time_s=time_s,
        camera=PinholeCamera(640, 480, 1900.0, 1.5),
    )
