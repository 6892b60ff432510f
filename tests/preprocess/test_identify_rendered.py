"""Identify: rendered takes of the simulated performer, of which the camera lost frames."""

from __future__ import annotations

import numpy as np
import pytest

from lightstage.preprocess.identify import coarse_picture, identify
from lightstage.simulation import Performer, SimulatedCamera, SimulatedStage, simulate_frames

CAMERA = SimulatedCamera(width=128, height=96)


def rendered(motion: str, first: int, frame_count: int):
    """Coarse pictures, time stamps and steps of a simulated take."""
    stage = SimulatedStage(performer=Performer(seed=3, motion=motion), camera=CAMERA)
    levels = stage.sensor.black_level, stage.sensor.white_level
    shown = simulate_frames(stage, frame_count, first=first)
    pictures = np.stack([coarse_picture(frame.frame, *levels) for frame in shown])
    steps = np.arange(first, first + frame_count)
    return stage, pictures, np.array([stage.time_ns(step) for step in steps.tolist()]), steps


def check_with_drops(motion: str, first: int, frame_count: int):
    stage, pictures, stamps, steps = rendered(motion, first, frame_count)
    sequence, directions = stage.sequence, stage.dome.directions
    cycle = sequence.cycle_frames
    for seed in range(5):
        kept = np.random.default_rng(seed).random(frame_count) >= 0.05
        found = identify(pictures[kept], stamps[kept], sequence, directions)
        assert ((found.step_index - steps[kept]) % cycle == 0).all()
        assert found.known.all()
        assert (found.repeated, found.swapped, found.extra) == ((), (), ())
        assert (found.dark_lights, found.stuck_lights) == ((), ())
        lost = np.flatnonzero(~kept)
        inner = lost[(lost > np.flatnonzero(kept)[0]) & (lost < np.flatnonzero(kept)[-1])]
        shift = int(found.step_index[0] - steps[kept][0])
        assert found.dropped.tolist() == (steps[inner] + shift).tolist()
        unstamped = identify(pictures[kept], None, sequence, directions)
        wrong = (unstamped.step_index - steps[kept]) % cycle != 0
        # a loss between two lights that look alike may be seen a frame or two early or late
        assert (wrong & unstamped.known).mean() < 0.02
        assert unstamped.known.mean() > 0.95


def test_a_rendered_take_with_drops_is_told_frame_by_frame():
    check_with_drops("talking", 0, 125)


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["still", "talking", "violent"])
@pytest.mark.parametrize("first", [0, 60])
def test_long_rendered_takes_with_drops_are_told_frame_by_frame(motion, first):
    check_with_drops(motion, first, 400)
