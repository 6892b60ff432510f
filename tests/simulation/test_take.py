"""Takes show the light that the sequence says, and truth agrees with what is recorded."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lightstage.cine import CineFile
from lightstage.dome import Dome
from lightstage.errors import FieldsError, SequenceError
from lightstage.sequence import CaptureSequence, StepKind
from lightstage.simulation import (
    Performer,
    SimulatedCamera,
    SimulatedSensor,
    SimulatedStage,
    ground_truth,
    read_truth,
    render_lights,
    simulate_frames,
    simulate_take,
    true_flow,
    write_truth,
)

CAMERA = SimulatedCamera(128, 96)


@pytest.fixture(scope="module")
def stage() -> SimulatedStage:
    sequence = CaptureSequence(lights=12, olat_per_tracking=3, tracking_pulse_us=100.0)
    return SimulatedStage(sequence, Dome.evenly_spread(12), Performer(), CAMERA, SimulatedSensor())


def test_every_frame_shows_the_light_of_its_step(stage: SimulatedStage) -> None:
    first = len(stage.sequence.preamble)
    shown = list(simulate_frames(stage, first + stage.sequence.cycle_frames))
    assert [s.index for s in shown] == list(range(len(shown)))
    for each in shown:
        assert each.step == stage.sequence.step(each.index)
        light = stage.sensor.develop(each.frame)
        if each.step.kind is StepKind.DARK:
            assert abs(light.mean()) < 1e-3
            continue
        if each.step.kind is StepKind.TRACKING:
            assert light.mean() > 0.02
    # of all lights, the one that the step names explains the frame best
    named = 0
    for each in shown[first:]:
        pictures = render_lights(stage.scene(each.index), stage.dome, range(12))
        light = stage.sensor.develop(each.frame)
        errors = [((stage.sensor.mosaic(picture) - light) ** 2).mean() for picture in pictures]
        # a light right behind the head leaves too little to tell
        if each.step.kind is StepKind.OLAT and pictures[each.step.light].mean() > 2e-3:
            assert int(np.argmin(errors)) == each.step.light
            named += 1
    assert named >= 8


def test_frames_do_not_depend_on_where_a_take_begins(stage: SimulatedStage) -> None:
    whole = [s.frame for s in simulate_frames(stage, 16)]
    late = next(simulate_frames(stage, 1, first=14))
    np.testing.assert_array_equal(late.frame, whole[14])


def test_two_processes_record_the_same_frames(stage: SimulatedStage) -> None:
    alone = list(simulate_frames(stage, 6, first=8))
    together = list(simulate_frames(stage, 6, first=8, workers=2))
    for one, other in zip(alone, together, strict=True):
        assert one.index == other.index
        # the last digit of a sum may differ with the number of threads
        assert np.abs(one.frame.astype(int) - other.frame).max() <= 1


def test_a_take_is_a_cine_file(stage: SimulatedStage, tmp_path: Path) -> None:
    done = []
    simulate_take(tmp_path / "take.cine", stage, 15, progress=lambda n, of: done.append((n, of)))
    assert done[-1] == (15, 15)
    cine = CineFile(tmp_path / "take.cine")
    assert len(cine) == 15
    expected = list(simulate_frames(stage, 15))
    for index in (0, 5, 12):
        np.testing.assert_array_equal(cine[index], expected[index].frame)
    gaps = np.diff(cine.time_ns)
    assert np.abs(gaps - 1_000_000).max() < 2_000 and np.ptp(gaps) > 0
    assert set(np.asarray(cine.exposure_ns)) == {700_000}


def test_truth_is_the_recorded_light_without_noise(stage: SimulatedStage) -> None:
    centre = int(stage.sequence.possible_centres(100)[0])
    truth = ground_truth(stage, centre)
    tracking = stage.picture(centre)
    np.testing.assert_allclose(truth.full_lit, tracking, rtol=1e-4, atol=1e-5)
    still = SimulatedStage(
        stage.sequence, stage.dome, Performer(motion="still"), CAMERA, stage.sensor
    )
    at_rest = ground_truth(still, centre)
    for light, frame in enumerate(stage.sequence.window(centre).frames):
        np.testing.assert_allclose(
            at_rest.olat[light], still.picture(int(frame)), rtol=1e-4, atol=1e-5
        )
    known = np.isfinite(at_rest.flow[..., 0])
    assert np.abs(at_rest.flow[known]).max() < 1e-3
    assert (known[:, at_rest.matte == 1.0]).mean() > 0.97
    assert not known[:, at_rest.matte == 0.0].any()


def test_a_frame_warped_by_the_true_flow_is_the_centre_frame(stage: SimulatedStage) -> None:
    """Light moves over a turning head, so a flat light: albedo is compared."""
    camera = SimulatedCamera(512, 384)
    performer = Performer(0, "talking")
    big = SimulatedStage(stage.sequence, stage.dome, performer, camera, stage.sensor)
    here, there = big.scene(400), big.scene(440)
    flow = true_flow(performer, camera, big.time_s(400), big.time_s(440))
    known = np.isfinite(flow[..., 0]) & (here.matte == 1.0)
    x, y = np.meshgrid(np.arange(512, dtype=np.float32), np.arange(384, dtype=np.float32))
    filled = np.nan_to_num(flow)
    warped = cv2.remap(there.albedo, x + filled[..., 0], y + filled[..., 1], cv2.INTER_LINEAR)
    moved = np.linalg.norm(flow[known], axis=1)
    assert np.median(moved) > 0.4
    interior = known & (cv2.erode(here.matte, np.ones((5, 5))) == 1.0)
    after = np.abs(warped - here.albedo)[interior].mean()
    before = np.abs(there.albedo - here.albedo)[interior].mean()
    assert after < 0.5 * before and after < 0.012


def test_flow_is_where_the_pinhole_sees_the_vertices(stage: SimulatedStage) -> None:
    performer, camera = Performer(0, "violent"), SimulatedCamera(256, 192)
    flow = true_flow(performer, camera, 0.2, 0.25)
    here, there = camera.project(performer.vertices(0.2)), camera.project(performer.vertices(0.25))
    front = performer.model.head.v_template[:, 2] > 0.075
    pixels = np.rint(here[front]).astype(int)
    expected = (there - here)[front]
    found = flow[pixels[:, 1], pixels[:, 0]]
    error = np.linalg.norm(found - expected, axis=1)
    assert np.nanmedian(error) < 0.05


def test_truth_is_written_and_read(stage: SimulatedStage, tmp_path: Path) -> None:
    centres = [int(c) for c in stage.sequence.possible_centres(100)[:2]]
    truths = [ground_truth(stage, centre) for centre in centres]
    write_truth(tmp_path / "truth.zarr", truths)
    for index, truth in enumerate(truths):
        read = read_truth(tmp_path / "truth.zarr", index)
        assert read.centre_frame == truth.centre_frame and read.time_s == truth.time_s
        np.testing.assert_array_equal(read.tracking, truth.tracking)
        np.testing.assert_array_equal(read.flow, truth.flow)
        np.testing.assert_allclose(read.olat, truth.olat, rtol=1e-3, atol=1e-6)
    with pytest.raises(FieldsError, match="no set 2"):
        read_truth(tmp_path / "truth.zarr", 2)
    with pytest.raises(FieldsError, match=r"truth\.zarr"):
        read_truth(tmp_path / "nothing")


def test_a_dome_that_lacks_lights_is_refused() -> None:
    with pytest.raises(SequenceError, match="12"):
        SimulatedStage(CaptureSequence(), Dome.evenly_spread(12))
