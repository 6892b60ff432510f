"""Costs: a 25-second take at full size, 73.7 GB of frames, is planned without reading them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightstage import CaptureSequence
from lightstage.preprocess.costs import estimate
from lightstage.preprocess.identify import Identification
from lightstage.preprocess.plan import plan_sets
from lightstage.preprocess.settings import PreprocessSettings

FRAMES = 25_000
SEQUENCE = CaptureSequence()


class FullSizeTake:
    """Frames as the paper records them, without their pixels."""

    path = Path("take.cine")
    width, height, cfa = 2048, 1440, "GBRG"
    black_level, white_level, first_frame_number = 4.0, 254.0, 0
    time_ns = 10**18 + np.arange(FRAMES, dtype=np.int64) * 1_000_000

    def __len__(self) -> int:
        return FRAMES

    def __getitem__(self, index: int) -> np.ndarray:
        return np.zeros((self.height, self.width), np.uint8)


@pytest.fixture(scope="module")
def found():
    steps = np.arange(FRAMES, dtype=np.int64)
    known = np.ones(FRAMES, dtype=bool)
    return Identification(steps, known, np.zeros(0, np.int64), "by construction", 1.0)


def planned(found, **choices):
    settings = PreprocessSettings.parse(choices, "test")
    source = FullSizeTake()
    plan = plan_sets("take", source, settings, SEQUENCE, found)
    return plan, source, settings


@pytest.mark.parametrize(
    ("kind", "crop", "image_px"),
    [
        ("materialised", {}, 2048 * 1440),
        ("virtual", {}, 2048 * 1440),
        ("materialised", {"mode": "rectangle", "rectangle": [512, 208, 1024, 1024],
                          "size": [512, 512]}, 512 * 512),
    ],
)  # fmt: skip
def test_a_25_second_take_at_full_size_is_planned(found, kind, crop, image_px):
    plan, source, settings = planned(found, crop=crop)
    costs = estimate(plan, source, settings, 96, kind)
    # centres from the first whole window's to the last's, 40 frames apart
    first = len(SEQUENCE.preamble) - 1 + SEQUENCE.cycle_frames // 2
    assert costs.sets == (FRAMES - 1 - SEQUENCE.cycle_frames // 2 - first) // 40 + 1
    assert costs.frames == FRAMES
    # every frame between the first window's begin and the last's end is read, its rows or all
    assert 0.985 < costs.read_bytes / (FRAMES * 2048 * 1440) <= 1.0 or crop
    images = costs.sets * 96 * image_px * 6
    if kind == "materialised":
        assert images / 2 < costs.written_bytes < images
    else:
        assert costs.written_bytes < 0.05 * images
    # what a worker needs does not depend on the take's length
    assert costs.worker_bytes < 4e9
    assert costs.client_bytes < 0.5e9


def test_a_worker_needs_no_more_for_a_longer_take(found):
    plan, source, settings = planned(found)
    short = plan_sets(
        "take",
        source,
        settings,
        SEQUENCE,
        Identification(
            found.step_index, np.arange(FRAMES) < 200, np.zeros(0, np.int64), "first 200", 1.0
        ),
    )
    whole, part = (estimate(p, source, settings, 96, "virtual") for p in (plan, short))
    assert whole.worker_bytes == part.worker_bytes
    assert whole.sets > 100 * part.sets
