"""Face capture from frames: a simulated performer whose parameters are known, and wrong input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.face_capture import SimulatedFrames, against_truth
from lightstage.errors import InputError
from lightstage.head import procedural_head
from relight_model.frame_source import camera_of, open_frames
from relight_model.head.capture import CaptureSettings, capture
from relight_model.head.landmarks import landmark_detector


@pytest.mark.slow
def test_a_simulated_performer_is_found_again() -> None:
    """Tolerances are above what benchmarks/face_capture.py measures: the clip is short."""
    frames = SimulatedFrames(1, "talking", 0.6)
    settings = CaptureSettings(frames.fov_deg, 1.5)
    captured = capture(frames, procedural_head(), "", landmark_detector(), settings)
    found = against_truth(frames, captured)
    assert found["rotation_deg"] < 2.5
    assert found["inner_percent"] < 2.0
    assert captured.clip.confidence is not None and (captured.clip.confidence > 0.3).all()


def test_frames_without_a_face_are_marked_and_bridged() -> None:
    frames = SimulatedFrames(2, "talking", 0.28)
    list(frames)
    for gone in (3, 4):
        frames._kept[gone] = np.zeros_like(frames._kept[gone])
    settings = CaptureSettings(frames.fov_deg, 1.5, refine=False)
    captured = capture(frames, procedural_head(), "", landmark_detector(), settings)
    trust = captured.clip.confidence
    assert trust is not None
    np.testing.assert_array_equal(np.flatnonzero(trust == 0), [3, 4])
    assert captured.report["frames_without_face"] == 2
    ends, between = captured.clip.translation_m[[2, 5]], captured.clip.translation_m[3]
    np.testing.assert_allclose(between, ends[0] + (ends[1] - ends[0]) / 3.0, atol=1e-3)


def test_no_face_at_all_says_so(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(InputError, match="no face"):
        capture(open_frames([path]), procedural_head(), "", landmark_detector())


def test_a_shape_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    settings = CaptureSettings(shape=np.zeros(3))
    with pytest.raises(InputError, match="3 coefficients"):
        capture(open_frames([path]), procedural_head(), "", landmark_detector(), settings)


def test_the_real_clip_is_fitted(shared_data: Path) -> None:
    """Landmarks alone; 4 % of the inter-ocular distance is what issue 6 asks for."""
    film = shared_data / "video" / "single_face.mp4"
    if not film.is_file():
        pytest.skip("the real clip is absent")
    settings = CaptureSettings(refine=False)
    captured = capture(open_frames([film]), procedural_head(), "", landmark_detector(), settings)
    assert captured.report["frames_without_face"] == 0
    assert captured.report["residual_inner_percent_iod_worst"] < 4.0


def test_a_lens_spans_the_shorter_side(tmp_path: Path) -> None:
    for size in ((160, 120), (120, 160)):
        path = tmp_path / f"{size[0]}.png"
        cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
        camera = camera_of(open_frames([path]), 90.0)
        assert camera.focal_px == pytest.approx(60.0)
